# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (scores)=
# # Are the explanations true?
#
# Words that fit the prompts they were made from prove nothing. So every {term}`explanation` now has to sort
# prompts that it has never seen, active ones from inactive ones. What it gets right is compared with guessing,
# with explanations of *other* heads, with judges that explain nothing, and with neurons in which there should be
# nothing to explain.
#
# | needs | leaves |
# | --- | --- |
# | `explanations` from {ref}`explanations` | `verdicts`: what was said of every held-out prompt |
# | `follow_rates`, `suffixes`, `heads`, `pairs` | `scores`: how well each explanation sorts |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups.run.store import Stopwatch, load, save
from lookups.corpus.documents import run_documents
from lookups.measure.activation import activations
from lookups.measure.attention import look
from lookups.explain.running_example import running_pairs
from lookups.explain.controls import likeness, permuted_verdicts, shuffled_among, shuffled_within
from lookups.errors import MissingStage, StaleStage
from lookups.explain.explainer import (
    Explanation,
    PairPrompts,
    Question,
    apart,
    check_apart,
    examples,
    follow_share,
)
from lookups.show.figures import COLOURS, house_style
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, lots_of, percent, written
from lookups.statistics.scores import (
    Counts,
    auroc,
    between_pairs,
    coin_scores,
    count,
    fisher,
    mean_over,
    newcombe,
    paper_summary,
    q_values,
    sampling_variance,
    score,
    score_strict,
    smallest_p,
    smallest_p_as_called,
)
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.explain.language_model import run_explainers
from lookups.settings import check_run, read_run
from lookups.show.views import BOS, LONGEST, attention_view, escaped, prompt_table, quotes, readable
from lookups.corpus.wikipedia import article_of

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
stopwatch = Stopwatch()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "suffixes")
pairs = load(settings, "pairs")
said = load(settings, "explanations")
prompts = PairPrompts(
    suffixes, load(settings, "heads"),
    tokens=neurons.token, decode=model.decode, vocabulary=model.vocabulary,
)  # fmt: skip
explainers = run_explainers(settings)
first = next(iter(explainers))
explanations = {
    (row.neuron, row.head, row.explainer): Explanation(row.explainer, row.explanation, row.rule)
    for row in said.itertuples()
}
NOTHING = Markdown("*This run has no explained pair, so there is nothing to show here.*")


def keys_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table[["neuron", "head"]].itertuples(index=False, name=None))


# %% [markdown]
# ## Prompts that nobody has seen
#
# Each pair is asked about up to {glue:text}`held-out` active and as many inactive prompts of the
# test split, chosen at random from all that its neuron has there. No prompt from which anything was
# explained is ever asked about: the cell ends in an error if one is. Test prompts that read the
# same as a training prompt have been left out before.


# %%
def held_out_of(neuron: str, head: str) -> pd.DataFrame:
    rows = prompts.rows(neuron, head, "test")
    order = lots_of(settings.seed, neuron, head).permutation(len(rows))
    return rows.iloc[order].groupby("active").head(settings.held_out).reset_index(drop=True)


keys = keys_of(said.drop_duplicates(["neuron", "head"]))
held_out = {key: held_out_of(*key) for key in keys}
for key in keys:
    check_apart(prompts.case(*key), Question(Explanation("", ""), tuple(examples(held_out[key]))))

# %% tags=["hide-input"]
glue("held-out", settings.held_out, display=False)
kinds = pd.DataFrame(
    [(*key, int(rows.active.sum()), int((~rows.active).sum())) for key, rows in held_out.items()],
    columns=["neuron", "head", "n_active", "n_inactive"],
)
middle = kinds[["n_active", "n_inactive"]].median().fillna(0).round().astype(int)
coin = coin_scores(*middle).sd if middle.min() > 0 else np.nan
one_kind = int((kinds[["n_active", "n_inactive"]].min(axis=1) == 0).sum())
glue("coin-median", f"{coin:.2f}", display=False)
Markdown(
    f"The {len(kinds)} pairs have {middle.n_active} active and {middle.n_inactive} inactive held-out prompts in the median. "
    f"{one_kind} have prompts of one kind only and cannot be scored, as in the paper. With so few prompts a judge who "
    f"tosses a coin strays from one half by {coin:.2f} (one standard deviation), so a single pair's score says little: "
    "what follows is about means over pairs, and each mean has an interval."
) if len(kinds) else NOTHING  # fmt: skip

# %% [markdown]
# ## One pair by hand
#
# This is the pair of the {ref}`running example <running-example>`, with the sentence that {ref}`explanations` gave it:

# %% tags=["hide-input"]
followed = [key for key in running_pairs(settings, rates, pairs) if key in held_out]
hand, second, *_ = [*followed, None, None]
Markdown(
    f"The explanation of {hand[1]} for the “{escaped(neurons.token[hand[0]])}” neuron ({hand[0]}):\n\n"
    f"> {escaped(explanations[*hand, 'contrast'].text)}"
) if hand else NOTHING

# %% [markdown]
# Every held-out prompt gets one verdict by it; wrong ones are marked:


# %% tags=["hide-input"]
def marked(key: tuple[str, str], explainer: str = "contrast", most: int = 8):
    rows = held_out[key]
    asked = Question(explanations[*key, explainer], tuple(examples(rows)))
    rows = rows.assign(verdict=[one.active for one in explainers[explainer].judge(asked)])
    columns = {}
    for kind in (True, False):
        some = rows[rows.active == kind].head(most)
        notes = [
            f"{'✓' if r.verdict == kind else '✗ wrong'} · {r.source}" for r in some.itertuples()
        ]
        columns[f"{key[1]} {'active' if kind else 'inactive'}"] = quotes(some, notes)
    return prompt_table(columns)


marked(hand) if hand else NOTHING

# %% tags=["hide-input"]
shown = held_out[hand] if hand else pd.DataFrame(columns=["active", "token_ids"])
fits = shown[shown.active & (shown.token_ids.map(len) < LONGEST)] if hand else shown
ids = list(fits.iloc[fits.token_ids.map(len).argmax()].token_ids) if len(fits) else []
attention_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    look(model, Neuron.parse(hand[0]), [Head.parse(hand[1])], ids).pattern,
    [hand[1]],
    name="fig-scored-attention",
    look_for="The longest of the active held-out prompts. Read the last row: does the head look at "
    "what the explanation names?",
) if ids else NOTHING  # fmt: skip

# %% [markdown]
# ## The score
#
# The {term}`head explanation score` is the mean of two rates: the share of active prompts that were called
# active, and the share of inactive ones that were not ({eq}`eq-score`). A judge that does not look at the prompt
# gets one half. Answers that could not be read are no answers; a *strict* score counts them as wrong.


# %%
def head_explanation_score(counts: Counts) -> float:
    found = counts.tp / (counts.tp + counts.fn)
    refused = counts.tn / (counts.tn + counts.fp)
    return (found + refused) / 2


# %% tags=["hide-input"]
def scored_by_hand(key: tuple[str, str]) -> str:
    rows = held_out[key]
    asked = Question(explanations[*key, "contrast"], tuple(examples(rows)))
    counts = count([one.active for one in explainers["contrast"].judge(asked)], rows.active)
    if (counts.tp + counts.fn) and (counts.tn + counts.fp):
        assert np.isclose(head_explanation_score(counts), score(counts))
    low, high = newcombe(counts)
    return (
        f"{counts.tp} of {counts.tp + counts.fn} active prompts were called active, and so were {counts.fp} of "
        f"{counts.tn + counts.fp} inactive ones: E = {score(counts):.2f}, 95 % interval {low:.2f} to {high:.2f}."
    )  # fmt: skip


by_hand_score = scored_by_hand(hand) if hand else ""
Markdown(by_hand_score) if hand else NOTHING

# %% [markdown]
# And the second pair that we follow:

# %% tags=["hide-input"]
Markdown(
    f"> {escaped(explanations[*second, 'contrast'].text)}\n\n({second[1]} and the “{escaped(neurons.token[second[0]])}” neuron, "
    f"{second[0]}.) {scored_by_hand(second)}"
) if second else Markdown("*There is no further pair with held-out prompts.*")

# %% [markdown]
# The interval is Newcombe's, built from a {term}`Wilson interval` for each of the two rates
# {cite}`newcombe1998`. Fisher's exact test, one-sided, says whether the verdicts go with activity
# at all.
#
# ## All pairs, all judges, all controls
#
# Each explanation judges the prompts of its own pair. Three {term}`controls <control>` are judged
# on the same prompts:
#
# - *permuted*: the same verdicts in random order. What is left is chance.
# - *other head*: the explanation of another head of the same neuron. If it does as well, we have described the
#   neuron, not the head. Heads that are active on the same prompts (φ above one half) are no controls for each other.
# - *other neuron*: the explanation of a pair of another neuron.
#
# Heads of one neuron often exclude each other, so the explanation of another head may be worse than chance.

# %%
activity = {
    key: prompts.rows(*key, "train").sort_values("prompt").active.to_numpy() for key in keys
}
borrowed = {
    "other head": shuffled_within(activity, seed=settings.seed),
    "other neuron": shuffled_among(keys, seed=settings.seed),
}
lenders = {"none": {key: key for key in keys}} | borrowed

# %% tags=["hide-input"]
Markdown(
    f"Of {len(keys)} pairs, {len(lenders['other head'])} can borrow from another head of their neuron "
    f"and {len(lenders['other neuron'])} from another neuron. The others have no second head that differs enough."
)


# %% tags=["hide-input"]
asked_about = {key: tuple(examples(rows)) for key, rows in held_out.items()}
blank = {"neuron": str, "head": str, "prompt": str, "active": bool, "verdict": "boolean",
         "probability": "Float64", "explainer": str, "control": str, "lender": str}  # fmt: skip


def verdicts_under(control: str, explainer: str) -> pd.DataFrame:
    """Ask one explainer about every pair, with the explanation that a control gives it."""
    lent = {key: lenders[control][key] for key in keys if key in lenders[control]}
    if not lent:
        return pd.DataFrame(columns=list(blank))
    questions = [
        Question(explanations[*of, explainer], asked_about[key]) for key, of in lent.items()
    ]
    answers = [one for some in explainers[explainer].judge_all(questions) for one in some]
    table = pd.concat([held_out[key][["neuron", "head", "prompt", "active"]] for key in lent])
    table["verdict"] = pd.array([one.active for one in answers], dtype="boolean")
    table["probability"] = pd.array([one.probability for one in answers], dtype="Float64")
    lender = np.repeat([".".join(of) for of in lent.values()], [len(held_out[key]) for key in lent])
    return table.assign(explainer=explainer, control=control, lender=lender)


def in_random_order(table: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of every pair in another order; probabilities move with them."""
    order, start = [], 0
    for key in keys if len(table) else []:
        places = range(start, start := start + len(held_out[key]))
        order += permuted_verdicts(places, seed=settings.seed, of=key)
    moved = table[["verdict", "probability"]].iloc[order].set_index(table.index)
    return table.assign(**moved, control="permuted")


made = [verdicts_under(control, explainer) for explainer in explainers for control in lenders]
made += [in_random_order(table) for table in made if (table.control == "none").all()]
verdicts = pd.concat([table.astype(blank) for table in made], ignore_index=True)
unread = int(verdicts.verdict.isna().sum())
Markdown(f"{len(verdicts)} verdicts were given; {unread} answers could not be read.")

# %% [markdown]
# The table `scores` has one row per pair, explainer and control. `q` is Benjamini and Hochberg's,
# within each explainer and control of this run {cite}`benjamini1995`; `q_by` holds under any
# dependence between the tests {cite}`benjamini2001`.


# %%
def score_row(rows: pd.DataFrame) -> dict:
    counts = count(rows.verdict, rows.active)
    chances = rows.probability.to_numpy(float, na_value=np.nan)
    test, (low, high) = fisher(counts), newcombe(counts)
    return counts._asdict() | {
        "score": score(counts), "score_strict": score_strict(counts), "low": low, "high": high,
        "p": test.p, "mid_p": test.mid_p, "auroc": auroc(chances, rows.active),
        "variance": sampling_variance(counts),
    }  # fmt: skip


# %% tags=["hide-input"]
by = ["neuron", "head", "explainer", "control"]
found = [
    dict(zip(by, key, strict=True)) | score_row(rows)
    for key, rows in verdicts[[*by, "verdict", "probability", "active"]].groupby(by, sort=False)
]
measured = ["score", "score_strict", "low", "high", "p", "mid_p", "auroc", "variance"]
scores = pd.DataFrame(found, columns=[*by, *Counts._fields, *measured])
scores = scores.astype(dict.fromkeys(Counts._fields, int) | dict.fromkeys(measured, float))
for method, name in {"bh": "q", "by": "q_by"}.items():
    scores[name] = scores.groupby(["explainer", "control"], sort=False).p.transform(
        lambda p, method=method: q_values(p, method=method)
    )
for kind, name in {True: "follows_active", False: "follows_inactive"}.items():
    shares = {key: follow_share(rows[rows.active == kind]) for key, rows in held_out.items()}
    scores[name] = np.array([shares[key] for key in keys_of(scores)], float)
facts = pairs[["neuron", "head", "token", "group", "selected", "share", "gap"]]
scores = scores.merge(facts, on=["neuron", "head"]).astype({"selected": bool})


# %% [markdown]
# ## Better than chance, and better than no explanation?
#
# We take the mean over the pairs of the selected neurons. Its interval resamples neurons, since
# pairs of one neuron share their prompts. In {numref}`fig-explainers` an explanation is worth its
# words if its point lies to the right of the grey marks of its own row, and to the right of the
# judges that explain nothing (`bag-of-words` weighs every token, `nearest` looks for the most
# similar training prompt).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Mean head explanation score over the pairs of selected neurons, with 95 % intervals over neurons. Filled: each explanation on its own pair; open: controls. Explanations that carry something lie to the right of their controls and of the dashed line. The dashed line is what a judge gets who does not look at the prompt.", "name": "fig-explainers"}, "image": {"alt": "Mean scores with intervals, by explainer and control"}}
MARKS = {"none": "o", "permuted": "x", "other head": "s", "other neuron": "^"}
own = scores[scores.selected] if scores.selected.any() else scores
figure, axis = plt.subplots(figsize=(6.4, 1.4 + 0.9 * len(explainers)))
summary = {}
for row, explainer in enumerate(explainers):
    for place, (control, mark) in enumerate(MARKS.items()):
        some = own[(own.explainer == explainer) & (own.control == control)].dropna(subset="score")
        mean = bootstrap_mean(some.score.tolist(), some.neuron.tolist(), seed=settings.seed)
        summary[explainer, control] = {
            "pairs": len(some), "mean E": str(mean), "strict": f"{some.score_strict.mean():.3f}",
            "mean AUROC": f"{some.auroc.mean():.3f}" if some.auroc.notna().any() else "–",
        }  # fmt: skip
        colour = COLOURS["blue" if control == "none" else "grey"]
        at = row + 0.16 * (place - 1.5)
        axis.hlines(at, mean.low, mean.high, color=colour)
        axis.plot(mean.mean, at, mark, color=colour, label=control if not row else None,
                  fillstyle="full" if control == "none" else "none")  # fmt: skip
axis.axvline(0.5, color="black", linestyle="--", linewidth=0.8)
axis.set_yticks(range(len(explainers)), list(explainers))
axis.invert_yaxis()
axis.set(xlabel="mean head explanation score E", xlim=(0.2, 1.0))
axis.legend(title="control", bbox_to_anchor=(1.01, 1), loc="upper left")
plt.show()
pd.DataFrame(summary).T.rename_axis(["explainer", "control"])


# %% tags=["hide-input"]
def gain_over(column: str, rows: pd.DataFrame, own_column: str, other: str) -> Estimate:
    """How much higher one column's scores are than another's, on the pairs that have both."""
    wide = rows.pivot(index=["neuron", "head"], columns=column, values="score")
    wide = wide.reindex(columns=[own_column, other]).astype(float).dropna()
    gain = (wide[own_column] - wide[other]).tolist()
    return bootstrap_mean(gain, wide.index.get_level_values(0).tolist(), seed=settings.seed)


def compared(gain: Estimate, name: str) -> str:
    if not np.isfinite(gain.low):
        return f"cannot be compared with {name}, since too few pairs have both"
    if gain.low > 0:
        return f"is better than {name} by {gain}"
    if gain.high < 0:
        return f"is worse than {name} by {Estimate(-gain.mean, -gain.high, -gain.low)}"
    return f"is neither better nor worse than {name}, as far as these pairs tell ({gain})"


plainly = own[own.control == "none"]
gains = {
    f"the explanation of {c.replace('other', 'another')}": gain_over("control", own[own.explainer == first], "none", c)
    for c in ("other head", "other neuron")
} | {f"`{e}`": gain_over("explainer", plainly, first, e) for e in explainers if e != first}  # fmt: skip
compared_lines = [f"- `{first}` {compared(gain, name)}." for name, gain in gains.items()]
Markdown("On the same pairs:\n\n" + "\n".join(compared_lines)) if len(plainly) else NOTHING

# %% [markdown]
# (n-grams)=
# ## Is it more than the last words?
#
# A head may be active simply because of the token that the prompt ends in, or of the last two or three. Then any rule that
# remembers endings would do, and there is no *context* to speak of. So a judge is asked about the same prompts who reads their last
# one, two or three tokens only, and answers as an {term}`n-gram` model with back-off would. Take the training prompts that share
# most of these tokens with a held-out prompt. If the head is active on a larger share of them than of all training prompts, the
# held-out prompt is called active.


# %%
def share_of_alike(ends: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """How often a label is true of the training prompts that share the longest end with each."""
    ends = np.minimum(ends, most)
    return np.array([labels[one == one.max()].mean() for one in ends])


def by_endings(key: tuple[str, str], most: int) -> float:
    """E of a judge who remembers the last tokens of the training prompts, and nothing else."""
    labels, test = prompts.rows(*key, "train").active.to_numpy(float), held_out[key]
    said = share_of_alike(ends_of(key), labels, most) > labels.mean()
    return score(count(pd.Series(said, test.index, dtype="boolean"), test.active))


# %% tags=["hide-input", "hide-output"]
def in_lists(rows: pd.DataFrame) -> list[list[int]]:
    return [np.asarray(ids).tolist() for ids in rows.token_ids]


def shared_ends(asked: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """How many of its last tokens each prompt that is asked about shares with each that is known."""
    ends = [likeness(ids, other)[0] for ids in in_lists(asked) for other in in_lists(known)]
    return np.array(ends, int).reshape(len(asked), len(known))


@cache
def ends_of(key: tuple[str, str]) -> np.ndarray:
    """The same of a pair's held-out prompts and its training prompts."""
    return shared_ends(held_out[key], prompts.rows(*key, "train"))


LAST = (1, 2, 3)
remembered = own[(own.control == "none") & own.score.notna()][
    ["neuron", "head", "explainer", "score"]
]
remembered = remembered.pivot(index=["neuron", "head"], columns="explainer", values="score")
for most in LAST:
    remembered[f"last {most}"] = [by_endings(key, most) for key in remembered.index]
remembered = remembered.astype(float)


def mean_of(values: pd.Series) -> Estimate:
    """The mean over pairs, with an interval that resamples neurons."""
    return bootstrap_mean(values, values.index.get_level_values(0), seed=settings.seed)


means_of = {name: mean_of(remembered[name]) for name in remembered}
less = {name: mean_of(remembered[first] - remembered[name]) for name in remembered if name != first and len(remembered)}  # fmt: skip
table = {
    name: {"pairs": int(remembered[name].notna().sum()), "mean E": str(mean), f"{first} less this": str(less.get(name, "–"))}
    for name, mean in means_of.items()
}  # fmt: skip
glue("ending-score", str(means_of["last 3"]) if len(remembered) else "–", display=False)
pd.DataFrame(table).T.rename_axis("judge") if len(remembered) else NOTHING

# %% tags=["hide-input"]
Markdown(
    f"A judge who remembers the last three tokens scores {means_of['last 3']}; `{first}` "
    f"{compared(less['last 3'], 'this judge')}."
) if len(remembered) else NOTHING

# %% [markdown]
# A look-up claims more than that a head is active. How well do the last one, two or three tokens alone say (a) whether the
# neuron fires, (b) whether the head is active, and (c) whether the token follows? This time the judge gives each held-out prompt
# a number, and we ask how often a prompt of which it is true has a higher number than one of which it is not; one half
# means that the tokens say nothing (this is the AUROC of the table above):
#
# - (a) how many of its last tokens the prompt shares with a training prompt of the neuron. Prompts on which the neuron fires are its own;
#   those on which it is silent come from the other selected neurons, one prompt of each, as far as the neuron
#   stays below {glue:text}`silent-below` of its strongest activation there. These are easy to tell from its own;
# - (b) on which share of the training prompts that end alike the head is active;
# - (c) how likely the token is in an n-gram model with back-off, which has counted all of the run's training documents.
#
# For (c) the same is asked of the neuron's activation, and of what decides whether the head is active. A neuron or head that knows
# more of the context than the last tokens tell should say better whether the token follows.


# %%
def by_counts(ids: list[int], token_id: int, most: int) -> float:
    """How likely a token is after these in the training documents, as far as the last ones say."""
    chance = (following == token_id).mean()
    for length in range(1, min(most, len(ids)) + 1):
        alike = endings[length] == coded(ids[-length:])
        chance = ((following[alike] == token_id).sum() + chance) / (alike.sum() + 1)
    return float(chance)


# %% tags=["hide-input"]
def coded(ids) -> int:
    """A few tokens as one number."""
    number = 0
    for token in ids:
        number = number * model.d_vocab + int(token)
    return number


SILENT = 0.1
glue("silent-below", percent(SILENT), display=False)
texts = run_documents(settings, model, "train")
streams = [np.asarray(texts[row].ids, np.int64) for row in range(len(texts))]
flat, place = np.concatenate(streams), np.concatenate([np.arange(len(ids)) for ids in streams])
go_on = np.r_[place[1:] > 0, False]  # something follows in the same document
following, endings = np.roll(flat, -1)[go_on], {}
for length in LAST:  # the last tokens up to each place; -1 where the document has not so many
    numbers = sum(np.roll(flat, back) * model.d_vocab**back for back in range(length))
    endings[length] = np.where(place >= length - 1, numbers, -1)[go_on]
mine = suffixes[suffixes.neuron.map(neurons.selected)]
mine = mine[(mine.split == "train") | ~mine.also_in_train]
mine = mine.assign(token_id=mine.neuron.map(neurons.token_id).astype(int))
train, test = (dict(list(mine[mine.split == split].groupby("neuron"))) for split in ("train", "test"))  # fmt: skip
examined = sorted(set(train) & set(test))
pool = [test[name].iloc[[lots_of(settings.seed, "pool", name).integers(len(test[name]))]] for name in examined]  # fmt: skip
pool = pd.concat(pool, ignore_index=True) if pool else mine[:0]
asked_of = [Neuron.parse(name) for name in examined for _ in examined]
fired = activations(model, asked_of, in_lists(pool) * len(examined)) if len(pool) else np.zeros(0)
fired = fired.reshape(len(examined), len(examined))
lender = dict(zip(examined, examined[1:] + examined[:1], strict=True))


def told_of_neuron(name: str, elsewhere: pd.DataFrame) -> list[tuple]:
    """Questions (a) and (c) of one neuron: question, judge, neuron, and how well it is told."""
    own, rows = test[name], []
    both = pd.concat([own, elsewhere])
    fires = np.arange(len(both)) < len(own)
    known = own[own.next_token_id >= 0]
    follows = known.next_token_id == known.token_id
    for kind, of in {"": name, ", control": lender[name]}.items():
        ends = shared_ends(both, train[of]).max(axis=1)
        for most in LAST:
            judge, token = f"last {most}{kind}", int(neurons.token_id[of])
            rows.append(("(a) neuron fires", judge, name, auroc(np.minimum(ends, most), fires)))
            chances = [round(by_counts(ids, token, most), 9) for ids in in_lists(known)]
            rows.append(("(c) token follows", judge, name, auroc(chances, follows)))
    activation = auroc(known.activation, follows)
    return [*rows, ("(c) token follows", "the neuron's activation", name, activation)]


def told_of_pair(key: tuple[str, str]) -> list[tuple]:
    """Question (b) of one pair, and what its head says for (c)."""
    train, test, rows = prompts.rows(*key, "train"), held_out[key], []
    labels, ends = train.active.to_numpy(float), ends_of(key)
    lots = lots_of(settings.seed, "labels", *key)
    mixed = [lots.permutation(labels) for _ in range(20)]
    for most in LAST:
        for judge, some in {f"last {most}": [labels], f"last {most}, control": mixed}.items():
            each = [auroc(share_of_alike(ends, label, most), test.active) for label in some]
            rows.append(("(b) head is active", judge, key[0], float(np.mean(each))))
    known = test[test.next_token.notna()]
    told = auroc(known[settings.measure], known.next_token == known.token)
    return [*rows, ("(c) token follows", "what decides for the head", key[0], told)]


of_selected = [key for key in keys if neurons.selected[key[0]]]
told = [row for key in of_selected for row in told_of_pair(key)]
for name, activation in zip(examined, fired, strict=True):
    silent = activation < SILENT * train[name].whole_activation.max()
    told += told_of_neuron(name, pool[silent])
told = pd.DataFrame(told, columns=["question", "judge", "neuron", "auroc"]).dropna(subset="auroc")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How well the last tokens of a held-out prompt alone say three things, with 95 % intervals over neurons: the share of pairs of prompts, one of which it is true of, that are put in the right order. Circles: the last one, two and three tokens (light to dark); crosses: controls of the last three (the training prompts of another neuron, exchanged labels, the token of another neuron); for whether the token follows, also the neuron's activation (square) and what decides whether a head is active (triangle). Context is what lies to the right of the circles.", "name": "fig-last-tokens"}, "image": {"alt": "How well the last one, two and three tokens say whether the neuron fires, the head is active and the token follows"}}
STYLES = {"last 1": ("o", "blue", 0.35), "last 2": ("o", "blue", 0.65), "last 3": ("o", "blue", 1.0),
          "last 3, control": ("x", "grey", 1.0), "the neuron's activation": ("s", "orange", 1.0),
          "what decides for the head": ("^", "orange", 1.0)}  # fmt: skip
QUESTIONS = ("(a) neuron fires", "(b) head is active", "(c) token follows")
figure, axis = plt.subplots(figsize=(6.4, 3.0))
table, how_well = {}, {}
for row, question in enumerate(QUESTIONS):
    for at, (judge, (mark, colour, alpha)) in enumerate(STYLES.items()):
        some = told[(told.question == question) & (told.judge == judge)]
        if not len(some):
            continue
        found = how_well[question, judge] = bootstrap_mean(some.auroc, some.neuron, seed=settings.seed)  # fmt: skip
        unit = "pairs" if "head" in question + judge else "neurons"
        table[question, judge] = {"over": f"{len(some)} {unit}", "prompts in the right order": str(found)}  # fmt: skip
        place = row + 0.13 * (at - 2.5)
        axis.hlines(place, found.low, found.high, color=COLOURS[colour], alpha=alpha)
        axis.plot(found.mean, place, mark, color=COLOURS[colour], alpha=alpha)
axis.axvline(0.5, color="black", linestyle="--", linewidth=0.8)
axis.set_yticks(range(3), QUESTIONS)
axis.set_ylim(2.5, -0.5)
axis.set(xlabel="pairs of prompts in the right order", xlim=(0.3, 1.0))
plt.show()
pd.DataFrame(table).T.rename_axis(["question", "judge"]) if table else NOTHING


# %% tags=["hide-input"]
def more_than_endings(judge: str) -> Estimate:
    """How much better than the last three tokens something says whether the token follows."""
    some = told[told.question == "(c) token follows"]
    endings_say = some[some.judge == "last 3"].set_index("neuron").auroc
    rows = some[some.judge == judge]
    gain = (rows.auroc.to_numpy() - endings_say.reindex(rows.neuron).to_numpy(), rows.neuron)
    return bootstrap_mean(*gain, seed=settings.seed)


def said_of(judge: str) -> str:
    gain = more_than_endings(judge)
    if not np.isfinite(gain.low):
        return "cannot be compared with this"
    word = "better" if gain.low > 0 else "worse" if gain.high < 0 else "neither better nor worse"
    return f"tells {word} than these tokens (difference {gain})"


three = {question: how_well[question, "last 3"] for question in QUESTIONS if (question, "last 3") in how_well}  # fmt: skip
for question, found in three.items():
    glue(f"endings-{question[1]}", f"{found.mean:.2f}", display=False)
sentence = ", ".join(f"{question} {found}" for question, found in three.items())
of_neuron, of_head = said_of("the neuron's activation"), said_of("what decides for the head")
endings_line = (
    f"The last three tokens alone put this share of pairs of prompts in the right order: {sentence}. Whether the token follows, the neuron's activation "
    f"{of_neuron}, and what decides whether the head is active {of_head}."
)  # fmt: skip
Markdown(endings_line) if len(three) == len(QUESTIONS) else NOTHING

# %% [markdown]
# All of these prompts make the neuron fire, so its activation varies less here than in texts at large: the question
# is what the neuron and its heads know beyond that.
#
# How much of a prompt the neuron itself needs was measured in {ref}`truncation`. How often are its last three tokens, or fewer,
# enough?

# %% tags=["hide-input"]
chosen = suffixes[suffixes.neuron.map(neurons.selected) & (suffixes.split == "test")]
lengths = chosen.token_ids.map(len)
short = [percent((lengths <= most).mean()) for most in LAST] if len(chosen) else []
Markdown(
    f"The held-out prompts of selected neurons, cut to the shortest suffix that keeps their activation, have {lengths.median():.0f} tokens "
    f"in the median. The last token alone is enough on {short[0]} of them, the last two on {short[1]}, "
    f"the last three on {short[2]}. On all others the neuron needs more of the text than any of these judges reads."
) if short else NOTHING

# %% [markdown]
# (follows)=
# ## Does the token follow where the head is active?
#
# A head that looks up a token should be active where that token really follows. For every pair we compare how often it follows the
# held-out prompts on which the head is active with how often it follows the others. Three controls: another head of
# the neuron, the labels of the pair in random order, and the pairs of the matched random neurons. Both rates of each pair stand in
# the table `scores`.


# %% tags=["hide-input"]
def rates_of(key: tuple[str, str], by: str) -> tuple[float, float]:
    """How often the token follows active and inactive held-out prompts, by some labels."""
    rows = held_out[key]
    if by == "another head":
        other = prompts.rows(*borrowed["other head"][key], "test").set_index("prompt").active
        rows = rows.assign(active=rows.prompt.map(other)).dropna(subset="active")
        rows = rows.astype({"active": bool})
    if by == "labels in random order":
        order = lots_of(settings.seed, by, *key).permutation(len(rows))
        rows = rows.assign(active=rows.active.to_numpy()[order])
    return follow_share(rows[rows.active]), follow_share(rows[~rows.active])


groups_of = {"selected": of_selected, "random": [key for key in keys if neurons.group[key[0]] == "random"]}  # fmt: skip
asked = {("selected", by): of_selected for by in ("own head", "another head", "labels in random order")}  # fmt: skip
asked["selected", "another head"] = [key for key in of_selected if key in borrowed["other head"]]
asked["random", "own head"] = groups_of["random"]
table, follow_gaps = {}, {}
for (group, labels), some in asked.items():
    rates = pd.DataFrame([(key[0], *rates_of(key, labels)) for key in some], columns=["neuron", "active", "inactive"])  # fmt: skip
    both = rates.dropna().astype({"active": float, "inactive": float})
    gap = bootstrap_mean(both.active - both.inactive, both.neuron, seed=settings.seed)
    follow_gaps[group, labels] = gap
    table[f"{group} neurons", labels] = {
        "pairs": len(both), "follows, active": f"{both.active.mean():.3f}", "follows, inactive": f"{both.inactive.mean():.3f}",
        "active less inactive": written(gap), "never follows where active": int((rates.active == 0).sum()),
    }  # fmt: skip
pd.DataFrame(table).T.rename_axis(["", "labels of"]) if keys else NOTHING

# %% tags=["hide-input"]
gap = follow_gaps["selected", "own head"]
where = (
    "cannot be compared, since there are too few pairs" if not np.isfinite(gap.low)
    else "more often where its head is active than where it is not" if gap.low > 0
    else "less often where its head is active than where it is not" if gap.high < 0
    else "about as often where its head is inactive as where it is active"
)  # fmt: skip
glue("follow-gap", written(gap), display=False)
follow_line = (
    f"The token of a selected neuron follows {where} (difference {written(gap)})."
    if np.isfinite(gap.low) else f"How often the token follows {where}."
)  # fmt: skip
Markdown(follow_line)

# %% [markdown]
# ## Is the spread real?
#
# Scores differ from pair to pair. Some of that is luck: with few prompts even a coin scores .3 on
# one pair and .7 on the next. {numref}`fig-scores` compares the scores with those that coins would
# get on exactly these numbers of prompts.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Scores of the pairs of selected neurons (bars) lie further right than those of a judge who tosses a coin on the same numbers of held-out prompts (line) to the extent that the explanations are true.", "name": "fig-scores"}, "image": {"alt": "Histogram of head explanation scores with the distribution under guessing"}}
plain = own[(own.explainer == first) & (own.control == "none")].dropna(subset="score")
edges = np.linspace(0, 1, 21)
null = np.zeros(len(edges) - 1)
for row in plain.itertuples():
    coin = coin_scores(row.tp + row.fn, row.tn + row.fp)
    null += np.histogram(coin.score, edges, weights=coin.probability)[0]
found = np.histogram(plain.score, edges)[0]
figure, axis = plt.subplots()
axis.stairs(found, edges, fill=True, color=COLOURS["blue"], alpha=0.7, label="found")
axis.stairs(null, edges, color="black", label="coins")
axis.set(xlabel="head explanation score E", ylabel="pairs")
axis.yaxis.get_major_locator().set_params(integer=True)
axis.legend()
plt.show()
above = [0.5, 0.6, 0.7, 0.8, 0.9]
pd.DataFrame(
    {
        "found": [int((plain.score > at).sum()) for at in above],
        "expected of coins": [round(float(null[edges[:-1] >= at - 1e-9].sum()), 1) for at in above],
    },
    index=[f"E above {at}" for at in above],
)

# %% [markdown]
# The variance over pairs is the sum of two variances: that of luck, which is known for each pair
# from its own counts, and that *between* pairs, which is what "some heads are explained better than
# others" means. (Errors of different pairs are taken as independent. Pairs of one neuron share
# their prompts, so the second may be a little too large.)

# %% tags=["hide-input"]
spread = between_pairs(plain.score, plain.variance)
between = np.sqrt(max(spread.between, 0)) if np.isfinite(spread.between) else np.nan
Markdown(
    f"Over {spread.pairs} pairs the scores have a standard deviation of {np.sqrt(spread.observed):.2f}. Luck alone gives "
    f"{np.sqrt(spread.sampling):.2f}; what is left between pairs is {between:.2f}."
) if spread.pairs > 1 else NOTHING  # fmt: skip

# %% [markdown]
# ## How many prompts does it take?
#
# The paper asks 10 prompts a pair, in later runs 20. How far would E stray with so many? For every pair we draw
# samples of each size from its held-out prompts, half of each kind, with replacement:


# %%
def strays(rows: pd.DataFrame, size: int, draws: int = 200) -> float:
    """The standard deviation of E over samples of `size` prompts, half of each kind."""
    random = np.random.default_rng(settings.seed)
    rates = []
    for kind in (True, False):
        right = (rows.verdict[rows.active == kind] == kind).to_numpy(dtype=bool)
        rates.append(random.choice(right, (draws, size // 2)).mean(axis=1))
    return float(np.mean(rates, axis=0).std())


# %% tags=["hide-input"] mystnb={"figure": {"caption": "How far E strays by luck alone, by the number of held-out prompts: the mean over this run's pairs with their middle half (blue), and a coin (grey). Only where the blue line is well below the dashed one, the standard deviation between pairs, can pairs be told from each other.", "name": "fig-prompts-needed"}, "image": {"alt": "Standard deviation of the score by number of held-out prompts"}}
sizes = [10, 20, 50, 100]
asked = verdicts[(verdicts.explainer == first) & (verdicts.control == "none")].dropna(
    subset="verdict"
)
asked = asked.merge(plain[["neuron", "head"]], on=["neuron", "head"])
of_pairs = [rows for _, rows in asked.groupby(["neuron", "head"], sort=False)]
by_size = {n: [strays(rows, n) for rows in of_pairs] for n in sizes}
coins = [coin_scores(n // 2, n // 2).sd for n in sizes]
glue("coin-10", f"{coins[0]:.2f}", display=False)
glue("coin-10-band", f"{0.5 - coins[0]:.2f} to {0.5 + coins[0]:.2f}", display=False)
figure, axis = plt.subplots(figsize=(4.8, 3.4))
middle = [np.quantile(values, [0.25, 0.75]) if values else (np.nan, np.nan) for values in by_size.values()]  # fmt: skip
means = [np.mean(values) if values else np.nan for values in by_size.values()]
axis.fill_between(sizes, *np.transpose(middle), color=COLOURS["blue"], alpha=0.2)
axis.plot(sizes, means, "o-", color=COLOURS["blue"], label="this run's pairs")
axis.plot(sizes, coins, "x-", color=COLOURS["grey"], label="a coin")
if between > 0:
    axis.axhline(between, color="black", linestyle="--", linewidth=0.8, label="between pairs")
axis.set(
    xlabel="held-out prompts, half of each kind", ylabel="standard deviation of E", ylim=(0, None)
)
axis.set_xticks(sizes)
axis.legend()
plt.show()
pd.DataFrame({"this run's pairs, mean": means, "a coin": coins}, index=sizes).round(3)

# %% [markdown]
# ```{admonition} What ten prompts can and cannot show
# :class: note
# With ten prompts a judge who guesses has a standard deviation of {glue:text}`coin-10`: a third of the pairs come out
# beyond {glue:text}`coin-10-band` by luck. Ten prompts can carry a *mean* over hundreds of pairs; they cannot say which
# heads are explained well, and a histogram of such scores is mostly a histogram of luck. The lopsidedness (skew) of
# the scores, which the paper tests, is not evidence of quality either: it depends on the numbers of prompts as much
# as on the heads.
# ```
#
# How many pairs are better than luck, each by itself? The table counts how many *could* have been
# significant, given how many prompts there were and how many of them were called active, and how
# many were:

# %% tags=["hide-cell"]
tests = []
for explainer in explainers:
    some = own[(own.explainer == explainer) & (own.control == "none")].dropna(subset="p")
    least = [smallest_p(r.tp + r.fn, r.tn + r.fp) for r in some.itertuples()]
    calls = [smallest_p_as_called(r.tp + r.fn, r.tn + r.fp, r.tp + r.fp) for r in some.itertuples()]
    rate = settings.false_discovery_rate
    tests.append({
        "explainer": explainer, "pairs": len(some), "could reach p < .05": int((np.array(least) < 0.05).sum()),
        "with its own number of calls": int((np.array(calls) < 0.05).sum()),
        "p < .05": int((some.p < 0.05).sum()), "mid-p < .05": int((some.mid_p < 0.05).sum()),
        f"q < {rate}": int((some.q < rate).sum()), f"q < {rate}, any dependence": int((some.q_by < rate).sum()),
    })  # fmt: skip
pd.DataFrame(tests).set_index("explainer")

# %% [markdown]
# ## Next-token neurons against others
#
# Random neurons of the same layers, matched to the selected ones in how strongly and how often they
# fire and in how frequent their token is, went through the same steps with prompts of their own. So
# did the same network with the entries of every weight matrix permuted. Its neurons were chosen by
# the paper's rule, so it must be compared with the paper's list in the trained network. All groups
# pass one filter: their pairs were kept by the same rule, explained by the same explainer, and have
# held-out prompts of both kinds.


# %%
def passes(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table.control == "none") & (table.explainer == first)].dropna(subset="score")


def is_in(group: str, table: pd.DataFrame) -> pd.Series:
    return table.selected if group == "selected" else table.group == group


# %% [markdown]
# Pairs share neurons, and prompts share articles. So beside the interval over neurons stands one that resamples
# articles and takes the pairs as they are ({func}`~lookups.statistics.scores.mean_over`). The wider of the two is the
# one to believe.


# %% tags=["hide-input"]
def with_articles(scores, verdicts, suffixes, examined) -> dict[str, pd.DataFrame]:
    """What a row of the table is computed from: one run's tables, through the filter."""
    article = suffixes.drop_duplicates("prompt").set_index("prompt").source.map(article_of)
    asked = passes(verdicts.assign(score=0.0))
    asked = asked.assign(article=asked.prompt.map(article))
    return {"scores": passes(scores), "verdicts": asked, "neurons": examined[examined.examined]}


def row_of(group: str, tables: dict) -> dict:
    mine = tables["scores"][is_in(group, tables["scores"])]
    asked = tables["verdicts"].merge(mine[["neuron", "head"]], on=["neuron", "head"])
    examined = tables["neurons"][is_in(group, tables["neurons"])]
    over = {"neurons": bootstrap_mean(mine.score.tolist(), mine.neuron.tolist(), seed=settings.seed),
            "articles": mean_over(asked, asked.article, seed=settings.seed)}  # fmt: skip
    return {
        "neurons examined": len(examined),
        "with a scored pair": mine.neuron.nunique(),
        "pairs scored": len(mine),
        "pairs a neuron": round(len(mine) / len(examined), 2) if len(examined) else np.nan,
        "mean E": round(over["neurons"].mean, 3),
        **{f"over {unit}": f"[{one.low:.3f}, {one.high:.3f}]" for unit, one in over.items()},
        f"q < {settings.false_discovery_rate}": int((mine.q < settings.false_discovery_rate).sum()),
    }


trained = with_articles(scores, verdicts, suffixes, neurons.reset_index())
groups = {
    "selected neurons": row_of("selected", trained),
    "random, matched": row_of("random", trained),
    "the paper's list": row_of("top", trained),
}

# %% tags=["hide-input"]
absent = ""
if settings.permuted is not None:
    try:
        other = read_run(settings.permuted)
        permuted = with_articles(
            load(other, "scores"), load(other, "verdicts"), load(other, "suffixes"),
            load(other, "follow_rates").drop_duplicates("neuron"),
        )  # fmt: skip
        groups["the paper's list, weights permuted"] = row_of("top", permuted)
    except (MissingStage, StaleStage) as error:
        absent = f"The network with permuted weights is not in this table: {error}"
else:
    absent = "This run names no run with permuted weights (`permuted:`), so none is in this table."
pd.DataFrame(groups).T


# %% [markdown] tags=["default-run"]
# A neuron of the permuted network fires strongly only where it reads the whole prompt. Of the passages of 96 tokens
# that this run reads, two in three could not be cut to fewer than 25 tokens there, and no pair was left. So the control reads
# passages of at most 24 tokens; many of its pairs are kept there, and their scores are no better than chance. Since
# passages, layers and the number of pairs a neuron differ, the gap between the two networks is not due to the weights alone.


# %% tags=["hide-input"]
def difference(one: pd.DataFrame, other: pd.DataFrame, draws: int = 2000) -> Estimate:
    """How much higher the scores of one group of neurons are; neurons resampled in each group."""
    random = np.random.default_rng(settings.seed)
    totals = [
        some.groupby("neuron").score.agg(["sum", "count"]).to_numpy(float) for some in (one, other)
    ]
    if min(map(len, totals)) < 2:
        return Estimate(one.score.mean() - other.score.mean(), np.nan, np.nan)
    drawn = [
        some[random.integers(len(some), size=(draws, len(some)))].sum(axis=1) for some in totals
    ]
    gaps = np.subtract(*(some[:, 0] / some[:, 1] for some in drawn))
    return Estimate(
        one.score.mean() - other.score.mean(), *map(float, np.quantile(gaps, [0.025, 0.975]))
    )


def apart_or_not(gap: Estimate, one: str, other: str) -> str:
    if not np.isfinite(gap.low):
        return f"{one} and {other} cannot be compared: one of them has fewer than two neurons with a scored pair."
    if gap.low > 0:
        return f"{one} score higher than {other}, by {gap}."
    if gap.high < 0:
        return f"{one} score lower than {other}, by {Estimate(-gap.mean, -gap.high, -gap.low)}."
    return f"{one} score neither higher nor lower than {other}, as far as these pairs tell (difference {gap})."


partners = set(neurons.matched_to[neurons.group == "random"])
with_control = trained["scores"][
    trained["scores"].neuron.isin(partners) & trained["scores"].selected
]
control = trained["scores"][is_in("random", trained["scores"])]
lines = [
    apart_or_not(
        difference(with_control, control),
        "Selected neurons that have a control",
        "their matched random neurons",
    )
]
if "the paper's list, weights permuted" in groups:
    lists = [tables["scores"][is_in("top", tables["scores"])] for tables in (trained, permuted)]
    lines += [
        apart_or_not(
            difference(*lists),
            "Neurons on the paper's list",
            "those on a list made by the same rule in the network with permuted weights",
        )
    ]
against = lines[0]
Markdown("\n".join(f"- {line}" for line in [*lines, *([absent] if absent else [])]))

# %% [markdown]
# A pair of a random neuron has a real head and real prompts, so words may well tell when that head
# is active. The row of random neurons says how much of a good score is owed to heads in general,
# and how much to look-ups of next-token neurons.
#
# ## Where explanations fail
#
# Here are the pairs of selected neurons with the best and the worst scores, and what was said of
# them. *Follows* is how often the neuron's token really followed, on active and on inactive
# held-out prompts. A pair whose token never follows where its head is active is marked ✗:

# %% tags=["hide-input", "hide-output"]
ordered = plain.sort_values(
    ["score", "neuron", "head"], ascending=[False, True, True], kind="stable"
)
few = pd.concat([ordered.head(6), ordered[6:].tail(6)])
few = few.assign(
    explanation=[
        explanations[*key, first].text.split(" The best guess is ")[0] for key in keys_of(few)
    ],
    E=[f"{row.score:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in few.itertuples()],
    follows=[f"{row.follows_active:.2f} / {row.follows_inactive:.2f}" for row in few.itertuples()],
    prompts=few.tp + few.fn + few.tn + few.fp,
    token=[f"{readable(row.token)} ✗" if row.follows_active == 0 else readable(row.token) for row in few.itertuples()],
)  # fmt: skip
few[["token", "neuron", "head", "prompts", "follows", "E", "explanation"]].reset_index(drop=True)

# %% [markdown]
# The best and the worst, prompt by prompt:

# %% tags=["hide-cell"]
looked = [keys_of(ordered)[at] for at in (0, -1)] if len(ordered) else []
marked(looked[0], first) if looked else NOTHING

# %% tags=["hide-cell"]
marked(looked[1], first) if looked else NOTHING

# %% [markdown]
# What goes with a failure? Each pair's E is compared with what was known before it was scored: how
# far apart active and inactive prompts lie in what decides (in standard deviations), how many
# training prompts the rarer kind had, how well the explanation sorts the prompts it was made from,
# how many tokens the prompts have, and how often the token follows where the head is active.


# %% tags=["hide-input"]
def of_pair(row) -> dict:
    train = prompts.rows(row.neuron, row.head, "train")
    asked = Question(explanations[row.neuron, row.head, first], tuple(examples(train)))
    learned = count([one.active for one in explainers[first].judge(asked)], train.active)
    return {
        "kinds apart": apart(train, settings.measure),
        "prompts of the rarer kind": min(train.active.sum(), (~train.active).sum()),
        "E on the prompts explained from": score(learned),
        "tokens a prompt": train.token_ids.map(len).median(),
        "token follows, active": follow_share(train[train.active]),
    }


known = pd.DataFrame([of_pair(row) for row in plain.itertuples()], index=plain.index)
varied = known.loc[:, known.nunique() > 1] if len(known) else known
goes_with = (
    varied.corrwith(plain.score, method="spearman") if len(known) > 2 else pd.Series(dtype=float)
)
goes_with = goes_with.dropna().sort_values(key=abs, ascending=False, kind="stable")
Markdown(
    f"E goes most with *{goes_with.index[0]}* (rank correlation over pairs {goes_with.iloc[0]:.2f})"
    + (f" and least with *{goes_with.index[-1]}* ({goes_with.iloc[-1]:.2f})." if len(goes_with) > 1 else ".")
    if len(goes_with) else "There are too few scored pairs to say."
)  # fmt: skip

# %% tags=["hide-cell"]
pd.DataFrame({"rank correlation with E": goes_with, "median": known.median()}).round(2) if len(
    goes_with
) else NOTHING

# %% [markdown]
# ## Beside the paper
#
# | run | mean E | sd | skew | p (skew > 0) |
# | --- | --- | --- | --- | --- |
# | GPT-2 small {cite}`neo2024` | .650 | .194 | −.122 | .789 |
# | GPT-2 medium | .610 | .201 | +.113 | .097 |
# | GPT-2 large | .575 | .227 | −.132 | .960 |
# | GPT-2 large, random neurons | .558 | .191 | +.230 | 4.0e-5 |
# | Pythia-160m | .621 | .206 | −.038 | .602 |
# | Pythia-1.4b | .574 | .176 | −.098 | .832 |
#
# There the explainer is GPT-4, a pair has 10 or 20 held-out prompts, and heads are called active by another rule, so
# the two tables describe different things. The same figures for this run:

# %% tags=["hide-input", "hide-output"]
beside = {}
for explainer in explainers:
    some = own[(own.explainer == explainer) & (own.control == "none")].score.dropna()
    beside[explainer] = paper_summary(some)._asdict()
pd.DataFrame(beside).T.rename_axis("this run, selected neurons").round(3)

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper asks a language model about 10 or 20 held-out prompts a pair and reports the mean of E over pairs, without
# an interval. Here all held-out prompts are asked about, up to twice {glue:text}`held-out`; every score has an interval
# and a test, the mean an interval over neurons and one over articles, and beside it stand controls on the same
# prompts. Unread answers, which the paper drops, are counted, and the strict score takes them as wrong.
# ```
#
# ## Check and save
#
# Permuting verdicts keeps how many were called active; all judges are asked about the same prompts
# of a pair:

# %% tags=["hide-input"]
calls = verdicts.groupby([*by[:3], "control"]).verdict.sum().unstack("control")
calls = calls.reindex(columns=["none", "permuted"])
assert calls["none"].eq(calls["permuted"]).all()
assert not verdicts.duplicated(["neuron", "head", "explainer", "control", "prompt"]).any()
assert verdicts.prompt.str.contains("/test/").all()
assert pairs.set_index(["neuron", "head"]).kept.reindex(keys_of(scores)).all()
assert (scores.score.isna() | scores.score.between(0, 1)).all()
assert (scores.low.isna() | ((scores.low <= scores.score) & (scores.score <= scores.high))).all()
facts = {"model": model, "seconds": stopwatch.seconds}
save(settings, "verdicts", verdicts, **facts)
save(settings, "scores", scores, **facts)
Markdown(f"Saved `verdicts` ({len(verdicts)} rows) and `scores` ({len(scores)}).")

# %% [markdown] tags=["default-run"]
# Held-out prompts are few here, on average about five active and eleven inactive ones of a pair, so a single score says little and only means can be
# trusted. On average the sentences are better than chance and better than the sentences of other heads, but not
# by much, and they cannot be told from a judge that merely looks for the most similar training prompt. Nor can they be told from a
# judge that remembers nothing but the last token: whatever the sentences say beyond it has not been shown to help. Selected neurons
# have not been shown to score higher than the random neurons matched to them. We take this as a warning against reading
# a good sentence as evidence for a look-up. What we had not expected is how little an active head says about the next
# token. Among prompts that make the neuron fire, the token follows about as often where the head is inactive, as far as so few
# pairs can show (the difference is {glue:text}`follow-gap`), and the last three tokens tell better than the head whether it
# will. (The chapter on silencing heads counts prompts and not pairs, and finds a somewhat larger difference.) A head may switch the neuron on in a certain context without the token
# being more likely to follow there.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
mean = bootstrap_mean(plain.score.tolist(), plain.neuron.tolist(), seed=settings.seed)
glue("mean-score", str(mean), display=False)
glue("scored-pairs", len(plain), display=False)
lines = [f"- Explanations by `{first}` score {mean} on {len(plain)} pairs of selected neurons."]
further = [endings_line] if len(three) == len(QUESTIONS) else []
further = [f"- {line}" for line in (against, *further, follow_line)]
Markdown(
    "\n".join([*lines, *compared_lines, *further]) if len(plain) else "No pair could be scored."
)

# %% [markdown]
# What is not known: whether the head that was explained makes a difference to what the model says. A true description
# of when a head feeds a neuron is not yet a cause. And an explanation that sorts prompts may name what goes along with
# the context rather than what the head reads.
#
# ## Exercises
#
# 1. How many of the scored pairs have an interval that lies above one half, and how many would have one by
#    luck?

# %% tags=["hide-cell"]
# By luck about one in forty would, since the interval is two-sided.
above = int((plain.low > 0.5).sum())
assert above <= len(plain)
f"{above} of {len(plain)} pairs; by luck about {len(plain) / 40:.1f}"

# %% [markdown]
# 2. Are pairs easier to explain when their head is active on half of the prompts than when it is rarely
#    active?

# %% tags=["hide-cell"]
# E counts both kinds of prompt alike, so it need not depend on how common they are.
balance = plain.assign(apart_from_half=(plain["share"] - 0.5).abs())
correlation = balance[["score", "apart_from_half"]].corr("spearman").iloc[0, 1]
assert not abs(correlation) > 1 + 1e-9
f"rank correlation of score and distance from one half: {correlation:.2f}"

# %% [markdown]
# 3. To try on your own: Set `held_out: 5` in a copy of the run file. How many pairs have an interval that excludes one half now, and which of
#    the controls can still be told from the explanations?
