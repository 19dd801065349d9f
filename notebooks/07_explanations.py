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
# A {term}`pair` is interesting if there is a *context* in which its head is active. A context that nobody
# can name is not much of a finding. So for every kept pair we compare the prompts on which the head is
# active with those on which it is not, and say in a sentence what sets them apart. Here we only say it;
# whether it is true is asked of other prompts in {ref}`scores`.
#
# | needs | leaves |
# | --- | --- |
# | `02_neurons`, `03_suffixes`, `04_heads`, `04_pairs` from {ref}`heads` and before | `05_explanations`: a sentence for every pair, and the rule it stands for |

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

from lookups.artifacts import Stopwatch, load, save
from lookups.candidates import candidates
from lookups.contrast import SIZES
from lookups.features import said
from lookups.figures import COLOURS, house_style
from lookups.instructions import explaining, judging
from lookups.log_odds import log_odds
from lookups.model import load_model
from lookups.pair_prompts import PairPrompts, examples, widest
from lookups.run_explainers import run_explainers
from lookups.runs import check_run, read_run
from lookups.views import PromptText, escaped, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
stopwatch = Stopwatch()
neurons = load(settings, "02_neurons").drop_duplicates("neuron").set_index("neuron")
pairs = load(settings, "04_pairs")
prompts = PairPrompts(
    load(settings, "03_suffixes"), load(settings, "04_heads"),
    tokens=neurons.token, decode=model.decode,
)  # fmt: skip

# %% [markdown]
# ## Which pairs
#
# All kept pairs are explained: those of the selected neurons, which the claim is about, and those of the
# neurons examined for comparison. Only training prompts may be looked at. A pair with fewer than
# {glue:text}`fewest` of one kind teaches nothing and is left out.

# %%
FEWEST = 3
glue("fewest", FEWEST, display=False)
kept = pairs[pairs.kept]
few = kept[["n_active"]].assign(rest=kept.n_prompts - kept.n_active).min(axis=1) < FEWEST
kept = kept[~few].reset_index(drop=True)
keys = list(kept[["neuron", "head"]].itertuples(index=False, name=None))
cases = {key: prompts.case(*key) for key in keys}
groups = {"selected": kept.selected, "the paper's list": kept.group == "top"}
groups |= {"random": kept.group == "random", "middle layers": kept.group == "middle"}
counts = {"kept pairs": {name: int(some.sum()) for name, some in groups.items()}}
counts["neurons"] = {name: kept[some].neuron.nunique() for name, some in groups.items()}
counts["too few prompts"] = {"selected": int(few.sum()) if len(few) else 0}
pd.DataFrame(counts).astype("Int64").fillna(0)

# %% [markdown]
# ## One pair by hand
#
# The pair of a selected neuron whose head brings most on active prompts over what it brings on the others.
# Try to finish the sentence "the head is active when …" yourself:

# %%
own = kept[kept.selected] if kept.selected.any() else kept
hand = next(widest(own)[["neuron", "head"]].itertuples(index=False, name=None), None)
NOTHING = Markdown("*This run kept no pair, so there is nothing to explain.*")


def side_by_side(key: tuple[str, str], most: int = 6):
    case = cases[key]
    kinds = {f"{key[1]} active for {key[0]}": case.active, f"{key[1]} inactive": case.inactive}
    return prompt_table(
        {title: [PromptText(o.text, o.token) for o in some[:most]] for title, some in kinds.items()}
    )


side_by_side(hand) if hand else NOTHING

# %% [markdown]
# `contrast`, the explainer that needs nothing but the prompts, collects what can be *seen* in them: words,
# two or three words in a row, a word at a place counted from the end, and pairs of words in order with
# anything between ("not only … but"). For each it asks how much more common it is among active prompts.
# The measure is the log-odds ratio with an informative prior {cite}`monroe2008`: the shares of both kinds are
# drawn towards the share among all prompts, and divided by its standard deviation the ratio becomes $z$,
# which is large only for what is both common and lopsided.

# %%
table = pd.DataFrame()
if hand:
    learned = [*cases[hand].active, *cases[hand].inactive]
    active = np.arange(len(learned)) < len(cases[hand].active)
    found = candidates([one.text for one in learned])
    of_kind = [found.held[:, active == kind].sum(axis=1) for kind in (True, False)]
    ratio = log_odds(*of_kind, of_active=int(active.sum()), of_inactive=int((~active).sum()))
    table = pd.DataFrame({"feature": [said(one, present=True) for one in found.features],
                          "active with it": of_kind[0], "inactive with it": of_kind[1],
                          "log-odds": ratio.delta, "z": ratio.z.round(2)})  # fmt: skip
    order = table.z.abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order].head(8).reset_index(drop=True)
table.round(2) if hand else NOTHING

# %% [markdown]
# The strongest becomes the first condition of a checklist, and each next one is the strongest among
# prompts that the list so far does not tell apart. A prompt is called active where enough conditions are
# true: more than half-way from the mean of the inactive to that of the active training prompts. How long the list may be ({glue:text}`sizes` conditions) is settled by cross-validation on
# the training prompts: the shortest list whose balanced accuracy is within a standard error of the best.
# If the best does not clearly beat chance, the sentence says so. What comes out is one sentence, and the
# same thing as a rule that can be applied to any prompt:

# %%
glue("sizes", ", ".join(map(str, SIZES)), display=False)
explainers = run_explainers(settings)
by_hand = explainers["contrast"].explain(cases[hand]) if hand else None
Markdown(f"> {escaped(by_hand.text)}") if hand else NOTHING

# %%
print(json.dumps(json.loads(by_hand.rule), ensure_ascii=False, indent=1)[:1500]) if hand else None

# %% [markdown]
# ## What a language model is asked
#
# A run file may name a language model (`llm:`), on a server of one's own or elsewhere. It gets the same
# prompts, each with the token appended, and answers in two to three sentences. The whole request for this
# pair, which is sent to nobody unless the run says so:

# %% tags=["hide-output"]
print(explaining(cases[hand])[0]["content"] if hand else "")

# %% [markdown]
# And what it will be asked about each held-out prompt, one at a time, given some explanation (here that of
# `contrast`, and a training prompt for show):

# %% tags=["hide-output"]
print(judging(by_hand.text, cases[hand].active[0])[0]["content"] if hand else "")

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper asks GPT-4 {cite}`neo2024`. Here that is one explainer of several. The default run needs no
# network: `contrast` finds its words by counting, so it cannot name a meaning that no word carries, and it
# cannot make one up. A run with `llm:` says beforehand how many requests it will send and what they may
# cost, sends nothing without `--yes`, and keeps every reply.
# ```
#
# ## What it would cost
#
# Before anything is sent, the whole run is counted: a request for each explanation, and one for each verdict
# in {ref}`scores`, where every explanation judges its own pair and, as a control, about two others.


# %%
def to_be_judged(place: int) -> list:
    """About the prompts that one explanation will be asked about: those of three pairs."""
    three = [keys[(place + step) % len(keys)] for step in range(min(3, len(keys)))]
    rows = [prompts.rows(*key, "test").groupby("active").head(settings.held_out) for key in three]
    return [one for some in rows for one in examples(some)]


if "llm" in explainers:
    told = explainers["llm"].plan(
        list(cases.values()), [to_be_judged(place) for place in range(len(keys))]
    )
    explainers["llm"].confirm(told)  # stops here, and says what it would cost, without --yes
Markdown(
    f"{told}." if "llm" in explainers else "This run names no language model: nothing is sent."
)

# %% [markdown]
# ## All pairs, all explainers
#
# Beside `contrast` stand two judges that explain nothing and still sort prompts, which any explanation has
# to beat: `bag-of-words` (logistic regression on how often each token occurs) and `nearest` (as the most
# similar training prompt).

# %%
tables = []
for name, explainer in explainers.items():
    made = explainer.explain_all([cases[key] for key in keys])
    rows = zip(keys, made, strict=True)
    tables += [(*key, name, one.text, one.rule, one.digest) for key, one in tqdm(list(rows))]
explained = pd.DataFrame(
    tables, columns=["neuron", "head", "explainer", "explanation", "rule", "digest"]
)
explained["n_active"] = [
    len(cases[key].active) for key in zip(explained.neuron, explained["head"], strict=True)
]
explained["n_inactive"] = [
    len(cases[key].inactive) for key in zip(explained.neuron, explained["head"], strict=True)
]
explained.groupby("explainer", sort=False).agg(
    pairs=("digest", "size"), different=("digest", "nunique"),
    unexplained=("explanation", lambda text: int((text == "").sum())),
)  # fmt: skip

# %% [markdown]
# What each said of the pair above, and what its rule begins with (a language model's rule is its words):

# %%
replies = explained.merge(pd.DataFrame([hand] if hand else [], columns=["neuron", "head"]))
replies.assign(rule=replies.rule.str.slice(0, 120))[["explainer", "explanation", "rule"]].set_index(
    "explainer"
)

# %% [markdown]
# What `contrast` says, for the selected neurons whose pairs it is surest of. *In cross-validation* is the
# balanced accuracy of its best list on training prompts that were left out; it chose the list, so it
# flatters.


# %%
contrast = explained[explained.explainer == "contrast"].reset_index(drop=True)
parts = [json.loads(rule) for rule in contrast.rule]
contrast["in cross-validation"] = [one["balanced_accuracy"] for one in parts]
contrast["told apart"] = [one["told_apart"] for one in parts]
contrast = contrast.astype({"in cross-validation": float, "told apart": bool})
facts = kept.set_index(["neuron", "head"])[["token", "selected", "group", "gap"]]
contrast = contrast.merge(facts.reset_index(), on=["neuron", "head"])
surest = contrast[contrast.selected] if contrast.selected.any() else contrast
surest = surest.sort_values(
    ["in cross-validation", "neuron", "head"], ascending=[False, True, True], kind="stable"
).head(12)
surest.assign(token=surest.token.map(readable))[
    ["neuron", "token", "head", "n_active", "n_inactive", "in cross-validation", "explanation"]
].reset_index(drop=True).round(2)

# %% [markdown]
# In {numref}`fig-explained`, a group whose points lie further up is one whose contexts can be told by
# words. Random neurons show what heads do anyway.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How well the best checklist of contrast sorts training prompts that were left out, for the kept pairs of each group of neurons (bar: median). Filled: pairs for which it claims to have found words; open: those for which it says that no words tell.", "name": "fig-explained"}, "image": {"alt": "Cross-validated balanced accuracy of the contrast explainer by group of neurons"}}
figure, axis = plt.subplots()
shown = {}
for place, (name, colour) in enumerate(
    {"selected": "blue", "the paper's list": "orange", "random": "grey"}.items()
):
    mine = {"selected": contrast.selected, "the paper's list": contrast.group == "top"}
    some = contrast[mine.get(name, contrast.group == "random")]
    some = some.sort_values("in cross-validation", kind="stable")
    across = place + np.linspace(-0.3, 0.3, len(some))
    for flag, fill in {True: "full", False: "none"}.items():
        chosen = (some["told apart"] == flag).to_numpy()
        axis.plot(across[chosen], some["in cross-validation"][chosen], "o", color=COLOURS[colour],
                  fillstyle=fill)  # fmt: skip
    middle = some["in cross-validation"].median()
    axis.hlines(middle, place - 0.35, place + 0.35, color="black")
    shown[name] = {"pairs": len(some), "words found": int(some["told apart"].sum()),
                   "median": round(float(middle), 2)}  # fmt: skip
axis.axhline(0.5, color="black", linestyle="--", linewidth=0.8)
axis.set_xticks(range(3), list(shown))
axis.set(ylabel="balanced accuracy, left out", ylim=(0.3, 1.03))
plt.show()
pd.DataFrame(shown).T

# %% [markdown]
# ## Check and save
#
# Explaining again gives the same; an explanation is made from training prompts only:

# %%
if hand:
    again = explainers["contrast"].explain(
        cases[hand]._replace(active=cases[hand].active[::-1], inactive=cases[hand].inactive[::-1])
    )
    assert again == by_hand
assert all(
    "/train/" in one.prompt for case in cases.values() for one in case.active + case.inactive
)
assert not explained.duplicated(["neuron", "head", "explainer"]).any()
save(settings, "05_explanations", explained, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `05_explanations`: {len(explained)} explanations of {len(keys)} pairs.")

# %% [markdown]
# ## What we know

# %%
told = contrast[contrast.selected]["told apart"]
control = contrast[contrast.group == "random"]["told apart"]
glue("explained-pairs", int(told.sum()), display=False)
glue("explained-of", len(told), display=False)
if not len(told):
    reading = "No pair of a selected neuron was kept, so none is explained."
else:
    reading = (
        f"For {int(told.sum())} of {len(told)} pairs of selected neurons `contrast` finds words that set "
        f"active from inactive training prompts apart; for pairs of random neurons, {int(control.sum())} "
        f"of {len(control)}. "
    )
    if len(control) and told.mean() <= control.mean():
        reading += "That is no more than for random neurons: words tell when heads are active, whether or not it matters to a next-token neuron."
Markdown(reading)

# %% [markdown]
# What is not known: whether any of these sentences is true of prompts they were not made from. That is
# the question of {ref}`scores`.
#
# ```{admonition} Try it
# :class: tip
# Cover the sentence above, read the two columns of prompts, and write your own. Which of you would sort new
# prompts better?
# ```
