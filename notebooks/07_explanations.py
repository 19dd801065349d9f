# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (explanations)=
# # Can we say when a head is active?
#
# A {term}`pair` of a head and a neuron is a look-up only if the head is active in some *context* and not in others.
# A context that nobody can put into words would be hard to believe in. So for every kept pair we compare the prompts
# on which the head is active with those on which it is not, and say in a sentence what sets them apart. Whether the
# sentence is also true of other prompts is the question of {ref}`scores`.
#
# **In short:** {glue:text}`words-headline`
#
# | needs | leaves |
# | --- | --- |
# | `follow_rates`, `suffixes`, `heads`, `pairs` from {ref}`heads` and before | `explanations`: a sentence for every pair, and the rule behind it |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue
from tqdm import tqdm

from lookups.run.store import Stopwatch, load, save
from lookups.explain.contrast import SIZES, SURE, log_odds
from lookups.explain.features import candidates, said
from lookups.show.figures import COLOURS, house_style
from lookups.explain.language_model import explaining, judging, run_explainers
from lookups.model.loaded import load_model
from lookups.explain.explainer import Case, PairPrompts, examples, follow_share
from lookups.explain.running_example import running_pairs
from lookups.settings import check_run, read_run
from lookups.show.views import escaped, prompt_table, quotes, readable
from lookups.statistics.bootstrap import lots_of, written
from lookups.statistics.differences import Values, group_difference

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
stopwatch = Stopwatch()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
pairs = load(settings, "pairs")
prompts = PairPrompts(
    load(settings, "suffixes"), load(settings, "heads"),
    tokens=neurons.token, decode=model.decode, vocabulary=model.vocabulary,
)  # fmt: skip
NOTHING = Markdown("*This run kept no pair, so there is nothing to explain.*")


def keys_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table[["neuron", "head"]].itertuples(index=False, name=None))


# %% [markdown]
# ## Which pairs
#
# Every kept pair is explained: the pairs of selected neurons, which the claim is about, and those of the neurons that
# they are compared with. Explanations are made from training prompts only. A pair with fewer than
# {glue:text}`fewest` prompts of either kind is left out, because so few teach nothing.

# %%
FEWEST = 3
kept = pairs[pairs.kept]
rarer = np.minimum(kept.n_active, kept.n_prompts - kept.n_active)
kept = kept[rarer >= FEWEST].reset_index(drop=True)
keys = keys_of(kept)
cases = {key: prompts.case(*key) for key in keys}

# %% tags=["hide-input"]
glue("fewest", FEWEST, display=False)
groups = {"selected": kept.selected, "random, matched": kept.group == "random"}
groups |= {"the paper's list": kept.group == "top", "middle layers": kept.group == "middle"}
of_each = {"selected": neurons.selected, "random, matched": neurons.group == "random"}
of_each |= {"the paper's list": neurons.group == "top", "middle layers": neurons.group == "middle"}
by_group = pd.DataFrame(
    {
        name: {
            "neurons examined": int((of_each[name] & neurons.examined).sum()),
            "neurons with a kept pair": kept[some].neuron.nunique(),
            "kept pairs": int(some.sum()),
            "training prompts a pair, median": kept[some].n_prompts.median(),
        }
        for name, some in groups.items()
    }
).T
mine = by_group.loc["selected"]
Markdown(
    f"Of {mine['neurons examined']:.0f} selected neurons, {mine['neurons with a kept pair']:.0f} have a pair that can be explained. "
    f"They have {mine['kept pairs']:.0f} such pairs in all, with {mine['training prompts a pair, median']:.0f} training prompts in the median."
) if mine["kept pairs"] else Markdown("*No selected neuron has a kept pair with enough prompts of both kinds.*")  # fmt: skip

# %% [markdown]
# ## One pair by hand
#
# We go on with the pair of the {ref}`running example <running-example>`. Below are its training prompts, at most six of each
# kind, with the neuron's token appended; the token is struck out where something else really came next. Before you read
# on, finish the sentence "the head is active when …" yourself.


# %% tags=["hide-input"]
explainers = run_explainers(settings)
hand, second, *_ = [*running_pairs(settings, rates, kept), None, None]


def side_by_side(key: tuple[str, str], most: int = 6):
    rows = prompts.rows(*key, "train")
    kinds = {f"{key[1]} active": rows[rows.active], f"{key[1]} inactive": rows[~rows.active]}
    return prompt_table({title: quotes(some.head(most)) for title, some in kinds.items()})


Markdown(
    f"The pair is {hand[1]} and the “{escaped(neurons.token[hand[0]])}” neuron ({hand[0]})."
) if hand else NOTHING

# %% tags=["hide-input"]
side_by_side(hand) if hand else NOTHING

# %% [markdown]
# The explainer `contrast` needs nothing but these prompts. It collects what can be *seen* in them: words, two or three
# words in a row, a word at a certain place counted from the end, two words in order with anything between them
# ("not only … but"), and how long the prompt is.
#
# For each of these features it asks how much more common it is among active prompts than among inactive ones. The
# measure is the log-odds ratio with an informative prior {cite}`monroe2008`, which draws the shares of both kinds
# towards the share among all prompts. Divided by its standard deviation, this ratio becomes $z$, which is large only
# for a feature that many prompts have and that one kind has much more often than the other.

# %%
learned = [*cases[hand].active, *cases[hand].inactive] if hand else []
active = np.arange(len(learned)) < (len(cases[hand].active) if hand else 0)
seen = candidates([one.text for one in learned])
of_kind = [seen.held[:, active == kind].sum(axis=1) for kind in (True, False)]
if hand:
    ratio = log_odds(*of_kind, of_active=int(active.sum()), of_inactive=int((~active).sum()))

# %% tags=["hide-input"]
table = pd.DataFrame()
if hand:
    table = pd.DataFrame({"the prompt …": [said(one) for one in seen.features],
                          "active prompts": of_kind[0], "inactive prompts": of_kind[1],
                          "log-odds": ratio.delta, "z": ratio.z.round(2)})  # fmt: skip
    order = table.z.abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order].head(8).reset_index(drop=True)
table.round(2) if hand else NOTHING

# %% [markdown]
# The feature of largest $|z|$ becomes the first condition of a checklist. Each further condition is the strongest one
# among prompts that the list so far does not tell apart. A prompt is called active if enough conditions are
# true of it: more than half-way from their mean number on inactive training prompts to that on active ones.
#
# How long the list may be ({glue:text}`sizes` conditions) is settled by cross-validation: some of the training prompts
# are left out in turn, and a list made from the others sorts them. It is judged by its *balanced accuracy*, the mean
# of two shares: of active prompts that it calls active, and of inactive ones that it does not. We take the shortest
# list that comes within one standard error of the best.
#
# Words count as found only if the best balanced accuracy lies above one half by more than {glue:text}`sure` of its standard
# errors. Fewer would not do, because the best of thousands of features always sorts some prompts by luck. The standard error
# of a pair with few prompts is large: nine prompts in ten may be sorted rightly, and still no words are found. The sentence
# then says so, and gives its best guess. This is the sentence for our pair:

# %% tags=["hide-input"]
glue("sizes", ", ".join(map(str, SIZES)), display=False)
glue("sure", SURE, display=False)
by_hand = explainers["contrast"].explain(cases[hand]) if hand else None
Markdown(f"> {escaped(by_hand.text)}") if hand else NOTHING

# %% [markdown]
# The same checklist is kept as a rule that a program can apply to any prompt:

# %% tags=["hide-cell"]
print(json.dumps(json.loads(by_hand.rule), ensure_ascii=False, indent=1)[:1500]) if hand else None

# %% [markdown]
# The second pair that we follow gets its sentence in the same way:

# %% tags=["hide-input"]
Markdown(
    f"> {escaped(explainers['contrast'].explain(cases[second]).text)}\n\n(This is about {second[1]} and the "
    f"“{escaped(neurons.token[second[0]])}” neuron, {second[0]}.)"
) if second else Markdown("*There is no kept pair of a further neuron.*")

# %% [markdown]
# ## What a language model is asked
#
# A run file may also name a language model (`llm:`) as an explainer. It gets the same prompts, each with the token
# appended, and answers in two to three sentences. This is the whole request for our pair, followed by the question
# that the model would be asked about each held-out prompt, given the sentence above:

# %% tags=["hide-cell"]
print(explaining(cases[hand]) if hand else "")

# %% tags=["hide-cell"]
print(judging(by_hand.text, cases[hand].active[0]) if hand else "")

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper asks GPT-4 {cite}`neo2024`; here a language model is one explainer of several. The default run needs no
# network. Its explainer `contrast` finds words by counting them: it cannot name a meaning that no word carries, and
# it cannot make one up.
# ```
#
# A run with a language model counts all its requests before it sends any, and sends none without `--yes`. There is one
# request for each explanation and one for each verdict in {ref}`scores`, where every explanation judges the prompts
# of its own pair and, as a control, those of two others.


# %% tags=["hide-input"]
def to_be_judged(place: int) -> list:
    """About the prompts that one explanation will be asked about: those of three pairs."""
    three = [keys[(place + step) % len(keys)] for step in range(min(3, len(keys)))]
    rows = [prompts.rows(*key, "test").groupby("active").head(settings.held_out) for key in three]
    return [one for some in rows for one in examples(some)]


if "llm" in explainers:
    told = explainers["llm"].plan(
        list(cases.values()), [to_be_judged(place) for place in range(len(keys))]
    )
    if explainers["llm"].plan(list(cases.values()), [()] * len(cases)).requests:
        explainers["llm"].confirm(told)  # stops here, and says what it would cost, without --yes
Markdown(
    f"{told}." if "llm" in explainers else "This run names no language model, so nothing is sent."
)

# %% [markdown]
# ## All pairs, all explainers
#
# Two further judges explain nothing and can sort prompts all the same. A sentence is worth something only if it sorts
# better than they do. `bag-of-words` is a logistic regression on how often each token occurs. `nearest` looks up the
# most similar training prompt and answers what that one was.

# %% tags=["hide-input"]
tables = []
for name, explainer in explainers.items():
    made = explainer.explain_all([cases[key] for key in keys])
    rows = zip(keys, made, strict=True)
    tables += [(*key, name, one.text, one.rule, one.digest) for key, one in tqdm(list(rows))]
columns = ["neuron", "head", "explainer", "explanation", "rule", "digest"]
explained = pd.DataFrame(tables, columns=columns)
of_pair = keys_of(explained)
explained["n_active"] = [len(cases[key].active) for key in of_pair]
explained["n_inactive"] = [len(cases[key].inactive) for key in of_pair]
unexplained = int((explained.explanation == "").sum())
Markdown(
    f"{len(keys)} pairs are explained by {', '.join(f'`{name}`' for name in explainers)}"
    + (f"; {unexplained} explanations could not be had." if unexplained else ".")
)

# %% [markdown]
# The table has the pairs of selected neurons whose checklists sort best. *Left out* is the balanced accuracy on training
# prompts that were left out in turn. The length of the list was chosen by it, so it is too high, and with few prompts
# even a high one may be luck: then the sentence says that no words tell. *Follows* is how often the neuron's token
# really followed, on active and on inactive training prompts.


# %% tags=["hide-input"]
def follows_of(key: tuple[str, str]) -> tuple[float, float]:
    rows = prompts.rows(*key, "train")
    return follow_share(rows[rows.active]), follow_share(rows[~rows.active])


contrast = explained[explained.explainer == "contrast"].reset_index(drop=True)
parts = [json.loads(rule) for rule in contrast.rule]
contrast["left out"] = [one["balanced_accuracy"] for one in parts]
contrast["told apart"] = [one["told_apart"] for one in parts]
contrast = contrast.astype({"left out": float, "told apart": bool})
facts = kept.set_index(["neuron", "head"])[["token", "selected", "group"]]
contrast = contrast.merge(facts.reset_index(), on=["neuron", "head"])
surest = contrast[contrast.selected] if contrast.selected.any() else contrast
surest = surest.sort_values(
    ["left out", "neuron", "head"], ascending=[False, True, True], kind="stable"
).head(12)
known = np.array([follows_of(key) for key in keys_of(surest)], float).reshape(-1, 2)
surest = surest.assign(**{"follows, active": known[:, 0], "inactive": known[:, 1]})
NO_WORDS = (
    "No words tell the active prompts from the others with any certainty. The best guess is that"
)
shorter = [text.replace(NO_WORDS, "Guess:") for text in surest.explanation]
surest.assign(token=surest.token.map(readable), explanation=shorter)[
    ["token", "neuron", "head", "follows, active", "inactive", "left out", "explanation"]
].reset_index(drop=True).round(2)

# %% [markdown]
# Are contexts easier to put into words for next-token neurons than for others? The random neurons in
# {numref}`fig-explained` are matched to the selected ones and show what to expect of the heads of any neuron. A neuron that is
# selected and stands on the paper's list counts in both groups. A pair has about {glue:text}`prompts-median` training prompts, so single points are rough, and only the groups should be
# compared.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The higher a group's points lie, the better words tell when its heads are active. Each point is a kept pair: the balanced accuracy of its checklist on training prompts that were left out. Filled points are pairs for which contrast claims to have found words, open ones those for which it says that no words tell. Bars are medians; the dashed line is guessing.", "name": "fig-explained"}, "image": {"alt": "Cross-validated balanced accuracy of the contrast explainer by group of neurons"}}
glue("prompts-median", int(kept.n_prompts.median()) if len(kept) else 0, display=False)
drawn = {
    "selected": (contrast.selected, "blue"),
    "random, matched": (contrast.group == "random", "grey"),
    "the paper's list": (contrast.group == "top", "orange"),
}
figure, axis = plt.subplots()
shown = {}
for place, (name, (mine, colour)) in enumerate(drawn.items()):
    some = contrast[mine].sort_values("left out", kind="stable")
    across = place + np.linspace(-0.3, 0.3, len(some))
    for flag, fill in {True: "full", False: "none"}.items():
        chosen = (some["told apart"] == flag).to_numpy()
        axis.plot(across[chosen], some["left out"][chosen], "o", color=COLOURS[colour],
                  fillstyle=fill, markersize=4)  # fmt: skip
    middle = some["left out"].median()
    axis.hlines(middle, place - 0.35, place + 0.35, color="black")
    shown[name] = {"pairs": len(some), "neurons": some.neuron.nunique(),
                   "words found": int(some["told apart"].sum()),
                   "median": round(float(middle), 2)}  # fmt: skip
axis.axhline(0.5, color="black", linestyle="--", linewidth=0.8)
axis.set_xticks(range(len(shown)), list(shown))
lowest = min(0.3, contrast["left out"].min() - 0.03)
axis.set(ylabel="balanced accuracy, left out", ylim=(lowest, 1.03))
plt.show()
pd.DataFrame(shown).T

# %% tags=["hide-input"]
compared = [contrast[drawn[name][0]] for name in ("selected", "random, matched")]
gap = group_difference(*(Values(one["left out"], one.neuron) for one in compared), seed=settings.seed)  # fmt: skip
word = (
    "better"
    if gap.low > 0
    else "worse"
    if gap.high < 0
    else "neither better nor worse, as far as these pairs tell,"
)
Markdown(
    f"The checklists for selected neurons sort the prompts that were left out {word} than those for random neurons: the balanced accuracy differs by "
    f"{written(gap, digits=2)}."
) if np.isfinite(gap.low) else NOTHING  # fmt: skip

# %% [markdown]
# ## Check and save
#
# An explanation must not depend on the order of the prompts, and it must be made from training prompts only:

# %% tags=["hide-input"]
if hand:
    again = explainers["contrast"].explain(
        cases[hand]._replace(active=cases[hand].active[::-1], inactive=cases[hand].inactive[::-1])
    )
    assert again == by_hand
assert all(
    "/train/" in one.prompt for case in cases.values() for one in case.active + case.inactive
)
assert not explained.duplicated(["neuron", "head", "explainer"]).any()
assert neurons.examined.reindex(kept.neuron).all()
save(settings, "explanations", explained, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `explanations`: {len(explained)} explanations of {len(keys)} pairs.")

# %% [markdown] tags=["default-run"]
# We expected `contrast` to find words for most pairs, since the contexts had looked so plain when we read the prompts.
# For most pairs it finds none. Some of its sentences are what a reader would have said, such as that L23.H6 is active
# for the " or" neuron when the prompt contains *either*. Others go by a word such as *the* or *of*, which tells a
# reader little.
#
# The pair of the running example surprised us. The words "as a" sort all its training prompts rightly, and still the
# sentence says that no words tell, because so few prompts could be sorted by some words or other through luck. Nor
# does a pair without words lack a context: about sixteen prompts are few for a judge that knows no English.

# %% [markdown]
# ## What we know


# %% tags=["hide-input"]
def shuffled(key: tuple[str, str]) -> Case:
    """The pair's prompts with the labels *active* and *inactive* dealt out anew."""
    every, n = [*cases[key].active, *cases[key].inactive], len(cases[key].active)
    mixed = [every[i] for i in lots_of(settings.seed, "labels", *key).permutation(len(every))]
    return cases[key]._replace(active=tuple(mixed[:n]), inactive=tuple(mixed[n:]))


mine, others = contrast[contrast.selected], contrast[contrast.group == "random"]
found, control = mine["told apart"], others["told apart"]
dealt = [explainers["contrast"].explain(shuffled(key)) for key in keys_of(mine)]
by_luck = sum(json.loads(one.rule)["told_apart"] for one in dealt)
more = group_difference(*(Values(one["told apart"].astype(float), one.neuron) for one in (mine, others)), seed=settings.seed)  # fmt: skip
glue("explained-pairs", int(found.sum()), display=False)
glue("explained-of", len(found), display=False)
if not len(found):
    reading = "No pair of a selected neuron was kept, so none is explained."
else:
    reading = (
        f"`contrast` finds words for {int(found.sum())} of {len(found)} pairs of selected neurons"
    )
    reading += (
        f" and for {int(control.sum())} of {len(control)} pairs of random ones"
        if len(control)
        else ""
    )
    reading += f" (a difference of shares of {written(more, digits=2)})" if np.isfinite(more.low) else ""  # fmt: skip
    reading += f". With the labels of the prompts shuffled it finds words for {by_luck} of the {len(found)}. "
    if len(control) and found.mean() <= control.mean():
        reading += "So far, words tell as often for heads of random neurons: nothing here is special to next-token neurons."
glue("words-headline", reading, display=False)
Markdown(reading)

# %% [markdown]
# What is not known is whether any of these sentences is true of prompts that it was not made from. Where no words were
# found, it is not known either whether there is no context or whether it takes a better reader to name it.
#
# ## Exercises
#
# 1. How many conditions does a sentence of `contrast` have? (Not every length that was tried need occur, and a list ends early
#    when no further feature adds anything; with none, the head is called active wherever most training prompts are.)

# %% tags=["hide-cell"]
# Some have many: such a sentence fits its training prompts well and says little to a reader.
sizes = [len(one["conditions"]) for one in parts]
assert all(size <= max(SIZES) for size in sizes)
pd.Series(sizes, dtype=int).value_counts().sort_index().rename_axis("conditions").to_frame(
    "pairs"
).T

# %% [markdown]
# 2. How many sentences speak of the very end of the prompt?

# %% tags=["hide-cell"]
# They describe the last words, of which the neuron itself reads the last: little context is needed.
at_the_end = [any("end" in each["kind"] for each in one["conditions"]) for one in parts]
assert contrast.explanation[at_the_end].str.contains("ends? in").all()
f"{sum(at_the_end)} of {len(contrast)} sentences"

# %% [markdown]
# 3. To try on your own: Compare the sentence that you wrote for the pair by hand with that of `contrast`. Which of the
#    two would sort new prompts better?
#
# How well do these sentences sort prompts that nobody has seen? {ref}`scores` puts them to the test.
#
# ## Appendix: the pairs of each group
#
# How many neurons of each group were examined, how many have a kept pair with enough prompts of both kinds, and how
# many such pairs there are:

# %% tags=["hide-input", "hide-output"]
by_group.round().astype("Int64")
