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
# A sentence that fits the prompts it was made from proves nothing. So every {term}`explanation` now has to sort prompts
# that it has never seen into active and inactive ones. We compare what it gets right with guessing, with explanations
# of *other* heads, with judges that explain nothing, and with neurons in which there should be nothing to explain.
#
# **In short:** {glue:text}`scores-headline`
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

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue
from scipy.stats import hypergeom

from lookups.run.store import Stopwatch, load, save
from lookups.record.read import REPORTED
from lookups.corpus.documents import run_documents
from lookups.measure.activation import activations
from lookups.measure.attention import look
from lookups.explain.running_example import running_pairs
from lookups.explain.controls import drawn_lenders, likeness, permuted_verdicts, shuffled_within
from lookups.errors import MissingStage, StaleStage
from lookups.explain.explainer import (
    Explanation,
    PairPrompts,
    Question,
    check_apart,
    examples,
    follow_share,
)
from lookups.show.figures import COLOURS, house_style
from lookups.statistics.bootstrap import (
    UNKNOWN,
    Estimate,
    bootstrap_mean,
    lots_of,
    percent,
    written,
)
from lookups.statistics.scores import (
    Counts,
    auroc,
    between_pairs,
    coin_scores,
    count,
    fisher,
    newcombe,
    paper_summary,
    q_values,
    sampling_variance,
    score,
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
# Each pair is asked about up to {glue:text}`held-out` active and as many inactive prompts of the test split, chosen at
# random from all that its neuron has there. Test prompts that read the same as a training prompt have been left out
# before. No prompt from which anything was explained may be asked about, and the cell ends in an error if one is.


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
counted = said[(said.explainer == "contrast") & said.neuron.map(neurons.selected)]
guessed = [not json.loads(rule)["told_apart"] for rule in counted.rule]
found_words = {key: not guess for key, guess in zip(keys_of(counted), guessed, strict=True)}
glue("pairs-judged", len(guessed), display=False)
glue("pairs-guessed", sum(guessed), display=False)
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
    f"{one_kind} have prompts of one kind only and cannot be scored, as in the paper.\n\nWith so few prompts the scores of a "
    f"judge who tosses a coin have a standard deviation of {coin:.2f} around one half. A single pair's score therefore says "
    "little. What follows is about means over pairs, and each mean has an interval."
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
# A sentence that finds no words still gives its best guess, and it is the guess that is judged: of the {glue:text}`pairs-judged`
# sentences on selected neurons {glue:text}`pairs-guessed` are such guesses. Each sentence gives one verdict about every held-out prompt. In
# brackets stands ✓ where the verdict is right; a token that did not follow is struck out, and what followed stands behind it:


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
# The {term}`head explanation score` E is the mean of two rates: the share of active prompts that were called active, and
# the share of inactive ones that were not ({eq}`eq-score`). A judge that does not look at the prompt gets one half. An
# answer that could not be read counts as none; a second, *strict* score counts it as wrong.


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
        + (" With so few prompts of one kind this says little." if min(counts.tp + counts.fn, counts.tn + counts.fp) < 5 else "")
    )  # fmt: skip


by_hand_score = scored_by_hand(hand) if hand else ""
Markdown(by_hand_score) if hand else NOTHING

# %% [markdown]
# The second pair that we follow is judged in the same way:

# %% tags=["hide-input"]
Markdown(
    f"> {escaped(explanations[*second, 'contrast'].text)}\n\n({second[1]} and the “{escaped(neurons.token[second[0]])}” neuron, "
    f"{second[0]}.) {scored_by_hand(second)}"
) if second else Markdown("*There is no further pair with held-out prompts.*")

# %% [markdown]
# The interval is Newcombe's, built from a {term}`Wilson interval` for each of the two rates {cite}`newcombe1998`. A
# one-sided exact test by Fisher says whether the verdicts go with activity at all.
#
# ## All pairs, all judges, all controls
#
# Each explanation judges the prompts of its own pair. Three {term}`controls <control>` are judged on the same prompts:
#
# - *Permuted*: the same verdicts in random order. What they score is chance.
# - *Other head*: the explanation of another head of the same neuron. If it does as well, we have described the neuron and
#   not the head. Two heads that are active on much the same prompts (a correlation φ above one half) are not used as
#   controls for each other.
# - *Other neuron*: the explanation of a pair of another neuron.
#
# Heads of one neuron are often active on different prompts, so the explanation of another head may do worse than chance.
# Every explanation is lent exactly once, unless one neuron has more than half of the pairs:


# %%
def shuffled_among(pairs: list[tuple[str, str]], *, seed: int) -> dict:
    """Draw for each pair one of another neuron whose explanation it borrows."""
    pairs = sorted(set(pairs))
    allowed = np.array([[one[0] != other[0] for other in pairs] for one in pairs], bool, ndmin=2)
    return drawn_lenders(pairs, allowed, lots_of(seed, "among"))


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
# The table `scores` has one row for each pair, explainer and control. Its column `q` corrects p for the number of tests
# within each explainer and control of this run, after {term}`Benjamini–Hochberg`; `q_by` does the same under any
# dependence between the tests {cite}`benjamini2001`. The column `score_strict` counts answers that could not be read as wrong:


# %%
def score_strict(counts: Counts) -> float:
    fp, fn = counts.fp + counts.unread_inactive, counts.fn + counts.unread_active
    return score(Counts(counts.tp, fp, counts.tn, fn))


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
# We take the mean score over the pairs of the selected neurons. Its interval resamples neurons, because pairs of one
# neuron share their prompts.
#
# In {numref}`fig-explainers` every explainer has a row. An explanation says something about its own head if the filled
# mark lies to the right of the grey ones. It is worth its words if it also lies to the right of the judges
# that explain nothing: `bag-of-words`, which weighs every token, and `nearest`, which looks for the most similar
# training prompt. (AUROC, in the table, is the share of pairs of an active and an inactive prompt in which the judge
# thinks the active one more likely to be active.)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Explanations carry something if their filled mark lies to the right of the grey marks of the same row, which are their controls, and of the dashed line, which is what a judge gets who does not look at the prompt. Marks are mean head explanation scores over the pairs of selected neurons, with 95 % intervals over neurons.", "name": "fig-explainers"}, "image": {"alt": "Mean scores with intervals, by explainer and control"}}
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
# A head may be active simply because of the token that the prompt ends in, or of the last two or three. Any rule that
# remembers endings would then sort the prompts, and there would be no *context* to speak of.
#
# So we ask a judge who reads only the last one, two or three tokens of a prompt, and answers as an {term}`n-gram` model
# with back-off would. It takes the training prompts that share most of these tokens with the held-out prompt. If the
# head is active on a larger share of them than of all training prompts, the held-out prompt is called active.


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


# %% tags=["hide-input"]
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
endings_table = {
    name: {"pairs": int(remembered[name].notna().sum()), "mean E": str(mean), f"{first} less this": str(less.get(name, "–"))}
    for name, mean in means_of.items()
}  # fmt: skip
last_line = f"`{first}` {compared(less['last 1'], 'a judge who remembers the last token alone')}." if len(remembered) else ""  # fmt: skip
Markdown(
    f"A judge who remembers the last token alone scores {means_of['last 1']}, one who remembers the last three {means_of['last 3']}. `{first}` "
    f"{compared(less['last 1'], 'the first')}, and it {compared(less['last 3'], 'the second')}."
) if len(remembered) else NOTHING

# %% [markdown]
# A look-up claims more than that a head is active. How well do the last tokens alone predict (a) whether the neuron
# fires, (b) whether the head is active, and (c) whether the token follows? This time the judge gives each held-out
# prompt a number. We ask how often a prompt of which the claim is true has a higher number than one of which it is
# false. One half means that the tokens say nothing.
#
# - For (a), the number is how many of its last tokens the prompt shares with a training prompt of the neuron. Prompts on
#   which the neuron fires are its own. Those on which it is silent come from the other selected neurons, one prompt of
#   each, provided that the neuron stays below {glue:text}`silent-below` of its strongest activation there. They
#   are easy to tell from its own.
# - For (b), it is the share of training prompts with the same ending on which the head is active.
# - For (c), it is how likely the token is in an n-gram model with back-off that has counted all of the run's
#   training documents.
#
# For (c) we also ask the neuron's activation, and the head's effect on it (its attribution where that decides). If one of them alone
# predicts better than the last tokens whether the token follows, it must know more of the context than they tell. If it does not, this
# remains open: it might still add to them.


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

# %% tags=["hide-input"] mystnb={"figure": {"caption": "If a neuron or its head knew more of the context than the last tokens tell, its orange mark would lie to the right of the blue circles in the last row. Each mark says how well one thing predicts another on held-out prompts: of pairs of prompts, one of which the claim on the left is true of, the share that is put in the right order, with 95 % intervals over neurons. Controls of the last three tokens use the training prompts of another neuron (a), exchanged labels (b), and the token of another neuron (c); the dashed line is guessing.", "name": "fig-last-tokens"}, "image": {"alt": "How well the last one, two and three tokens predict whether the neuron fires, the head is active and the token follows"}}
STYLES = {"last 1": ("o", "blue", 0.35), "last 2": ("o", "blue", 0.65), "last 3": ("o", "blue", 1.0),
          "last 3, control": ("x", "grey", 1.0), "the neuron's activation": ("s", "orange", 1.0),
          "what decides for the head": ("^", "orange", 1.0)}  # fmt: skip
QUESTIONS = ("(a) neuron fires", "(b) head is active", "(c) token follows")
figure, axis = plt.subplots(figsize=(6.4, 3.6))
last_tokens_table, how_well = {}, {}
for row, question in enumerate(QUESTIONS):
    for at, (judge, (mark, colour, alpha)) in enumerate(STYLES.items()):
        some = told[(told.question == question) & (told.judge == judge)]
        if not len(some):
            continue
        found = how_well[question, judge] = bootstrap_mean(some.auroc, some.neuron, seed=settings.seed)  # fmt: skip
        unit = "pairs" if "head" in question + judge else "neurons"
        last_tokens_table[question, judge] = {"over": f"{len(some)} {unit}", "prompts in the right order": str(found)}  # fmt: skip
        place = row + 0.13 * (at - 2.5)
        axis.hlines(place, found.low, found.high, color=COLOURS[colour], alpha=alpha)
        axis.plot(found.mean, place, mark, color=COLOURS[colour], alpha=alpha,
                  label=judge.replace("last ", "last tokens: ") if question == QUESTIONS[-1] else None)  # fmt: skip
axis.axvline(0.5, color="black", linestyle="--", linewidth=0.8)
axis.set_yticks(range(3), QUESTIONS)
axis.set_ylim(2.5, -0.5)
axis.set(xlabel="pairs of prompts in the right order", xlim=(0.3, 1.0))
if how_well:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncol=2)
plt.show()


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
    return f"predicts {word} than these tokens do (difference {gain})"


three = {question: how_well[question, "last 3"] for question in QUESTIONS if (question, "last 3") in how_well}  # fmt: skip
sentence = ", ".join(f"{found} (the {question[4:]})" for question, found in three.items())
of_neuron, of_head = said_of("the neuron's activation"), said_of("what decides for the head")
endings_line = (
    f"The last three tokens alone put this share of pairs of prompts in the right order: {sentence}. As to whether the token follows, the neuron's activation "
    f"{of_neuron}, and the head's {settings.measure} {of_head}. (A difference is over the neurons for which both are known.)"
)  # fmt: skip
Markdown(endings_line) if len(three) == len(QUESTIONS) else NOTHING

# %% [markdown]
# All of these prompts make the neuron fire, so its activation varies less here than in other texts. The question is only
# what the neuron and its heads know beyond that.
#
# How much of a prompt the neuron itself needs was measured in {ref}`truncation`. How often are its last three tokens, or
# fewer, enough?

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
# A head that looks up a token should be active where that token really follows. For every pair we compare how often it
# follows the held-out prompts on which the head is active with how often it follows the others.
#
# There are three controls: another head of the neuron, the labels of the pair in random order, and the pairs of the
# matched random neurons. The table `scores` has both rates of every pair.


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
# Scores differ from pair to pair. Some of this is luck: with few prompts, a judge who tosses a coin also scores high on
# some pairs and low on others. {numref}`fig-scores` compares the scores with those that coins would get on exactly
# these numbers of prompts.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "To the extent that explanations are true, the scores of the pairs of selected neurons (bars) lie further right than those of a judge who tosses a coin on the same numbers of held-out prompts (line).", "name": "fig-scores"}, "image": {"alt": "Histogram of head explanation scores with the distribution under guessing"}}
plain = own[(own.explainer == first) & (own.control == "none")].dropna(subset="score")
asked_of = (plain.tp + plain.fn + plain.tn + plain.fp).median()
glue("prompts-of-a-pair", int(asked_of) if len(plain) else "no", display=False)
edges = np.linspace(0, 1, 21)
null, by_coins = np.zeros(len(edges) - 1), dict.fromkeys((0.6, 0.8), 0.0)
for row in plain.itertuples():
    coin = coin_scores(row.tp + row.fn, row.tn + row.fp)
    null += np.histogram(coin.score, edges, weights=coin.probability)[0]
    for at in by_coins:
        by_coins[at] += coin.probability[coin.score > at + 1e-9].sum()
figure, axis = plt.subplots()
axis.hist(plain.score, edges, color=COLOURS["blue"], alpha=0.7, label="found")
axis.stairs(null, edges, color="black", label="coins")
axis.set(xlabel="head explanation score E", ylabel="pairs")
axis.yaxis.get_major_locator().set_params(integer=True)
axis.legend()
plt.show()

# %% tags=["hide-input"]
beyond = [
    f"{int((plain.score > at + 1e-9).sum())} of {len(plain)} pairs score above {at}, where coins would get {by_coins[at]:.1f}"
    for at in by_coins
]
Markdown("; ".join(beyond) + ".") if len(plain) else NOTHING

# %% [markdown]
# The variance over pairs is the sum of two. The variance of luck is known for each pair from its own counts. What is left
# is the variance *between* pairs, and only this means that some heads are explained better than others. (Errors of
# different pairs are taken as independent. Pairs of one neuron share their prompts, so the variance between pairs may
# be a little too large.)

# %% tags=["hide-input"]
spread = between_pairs(plain.score, plain.variance)
between = np.sqrt(max(spread.between, 0)) if np.isfinite(spread.between) else np.nan
Markdown(
    f"Over the {spread.pairs} pairs with at least two prompts of each kind, the scores have a standard deviation of {np.sqrt(spread.observed):.2f}. Luck alone gives "
    f"{np.sqrt(spread.sampling):.2f}; what is left between pairs is {between:.2f}."
) if spread.pairs > 1 else NOTHING  # fmt: skip

# %% [markdown]
# ## What can ten prompts show?
#
# The paper asks about 10 prompts a pair, in later runs about 20. With ten prompts, the scores of a judge who guesses have
# a standard deviation of {glue:text}`coin-10`, so that about a third of the pairs come out beyond
# {glue:text}`coin-10-band` by luck. {numref}`fig-prompts-needed` in the appendix shows how much E varies by luck with
# other numbers of prompts.
#
# Ten prompts can support a *mean* over hundreds of pairs. They cannot say which heads are explained well, and luck alone makes up
# much of the spread of such scores. Nor does a positive skew of the scores, which the paper tests, show good explanations: unequal
# numbers of prompts can make one, too. Our own pairs are hardly better off, with {glue:text}`prompts-of-a-pair` held-out prompts in the median.
#
# How many explanations are better than luck, each by itself?

# %% tags=["hide-input"]
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
tests = pd.DataFrame(tests).set_index("explainer")
mine, significant = tests.loc[first], f"q < {settings.false_discovery_rate}"
Markdown(
    f"With {mine['p < .05']} of {mine.pairs} explanations by `{first}`, the verdicts go with activity at p < .05, before any "
    f"correction. With {mine[significant]} they still do at a {percent(settings.false_discovery_rate)} false discovery rate. At most "
    f"{mine['with its own number of calls']} could have reached p < .05 at all, given the number of prompts and how many of them were called active."
) if mine.pairs else NOTHING  # fmt: skip

# %% [markdown]
# ## Next-token neurons against others
#
# Do explanations do better for next-token neurons than for others? There are two comparisons. Random neurons
# of the same layers, matched to the selected ones in how strongly and how often they fire and in how frequent their token
# is, went through the same steps with prompts of their own. So did the same network with {term}`permuted weights`.
# The neurons of the permuted network were chosen by the paper's rule, so they must be compared with those on the paper's
# list in the trained network.
#
# All groups pass one filter: their pairs were kept by the same rule, explained by the same explainer, and have held-out
# prompts of both kinds.


# %%
def passes(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table.control == "none") & (table.explainer == first)].dropna(subset="score")


def is_in(group: str, table: pd.DataFrame) -> pd.Series:
    return table.selected if group == "selected" else table.group == group


# %% [markdown]
# Pairs share neurons, and prompts share articles. So there are two intervals: one resamples neurons, the other
# resamples articles and takes the pairs as they are. For the second, each prompt counts with its deviation from
# the rate of its pair and kind (the mean score, linearised in the prompts). The wider of the
# two is the one to believe.


# %% tags=["hide-input"]
def mean_over(verdicts: pd.DataFrame, units: pd.Series, *, seed: int) -> Estimate:
    """The mean score over pairs, with an interval from resampling what prompts share: `units` says
    of each row where its prompt comes from. Verdicts that are missing were unread, and left out."""
    rows = verdicts.assign(unit=pd.array(list(units), dtype=object)).dropna(subset="verdict")
    rows["right"] = (rows.verdict.astype(bool) == rows.active.astype(bool)).astype(float)
    of_pair = rows.groupby(["neuron", "head"])
    rows = rows[of_pair.active.transform("nunique") == 2]
    if not len(rows):
        return UNKNOWN
    of_kind = rows.groupby(["neuron", "head", "active"]).right
    mean = float(of_kind.mean().mean())
    weight = len(rows) / (of_kind.ngroups * of_kind.transform("size"))
    values = mean + weight * (rows.right - of_kind.transform("mean"))
    return bootstrap_mean(values, rows.unit, seed=seed)


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
# The control with permuted weights reads passages of at most 24 tokens, this run passages of at most 96. A neuron of the
# permuted network fires strongly only where it reads the whole prompt: of prompts of 96 tokens, two in three could not be
# cut to fewer than 25 there in an earlier run, and no pair was left. In the shorter passages many of its pairs are kept, and their scores
# are no better than chance. But these pairs belong to a handful of neurons, and passages, layers and the number of pairs a neuron differ
# too. So we cannot say how much of the gap between the two networks is due to the weights.


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
        "Selected neurons to which a random one is matched",
        "the random ones",
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
# A pair of a random neuron has a real head and real prompts, so words may well tell when that head is active. The row of
# random neurons shows how much of a good score is owed to heads in general rather than to look-ups of next-token
# neurons.
#
# ## Where explanations fail
#
# What do pairs with low scores have in common? We correlate each pair's E with what was known before it was scored. Among
# this is the distance between active and inactive prompts in the quantity that decides, in standard deviations. (The
# best and the worst explanations are listed in the appendix.)


# %%
def apart(rows: pd.DataFrame, measure: str) -> float:
    """How far the two kinds of prompts lie apart, in sds in a kind; not known without any spread."""
    kinds = [rows[measure][rows.active == kind] for kind in (True, False)]
    within = np.sqrt(np.mean([kind.var() for kind in kinds]))
    return float((kinds[0].mean() - kinds[1].mean()) / within) if within > 0 else float("nan")


# %% tags=["hide-input"]
def known_before(row) -> dict:
    train = prompts.rows(row.neuron, row.head, "train")
    asked = Question(explanations[row.neuron, row.head, first], tuple(examples(train)))
    learned = count([one.active for one in explainers[first].judge(asked)], train.active)
    return {
        "the distance between the two kinds of prompts": apart(train, settings.measure),
        "the number of prompts of the rarer kind": min(train.active.sum(), (~train.active).sum()),
        "E on the training prompts": score(learned),
        "the length of the prompts": train.token_ids.map(len).median(),
        "how often the token follows where the head is active": follow_share(train[train.active]),
    }


known = pd.DataFrame([known_before(row) for row in plain.itertuples()], index=plain.index)
varied = known.loc[:, known.nunique() > 1] if len(known) else known
goes_with = varied.corrwith(plain.score, method="spearman").dropna() if len(known) > 2 else pd.Series(dtype=float)  # fmt: skip
goes_with = goes_with.sort_values(key=abs, ascending=False, kind="stable")
Markdown(
    f"Over {len(known)} pairs, the rank correlation of E is "
    + ", ".join(f"{value + 0.0:.2f} with {name}" for name, value in goes_with.round(2).items())
    + f". On the training prompts that they were made from, explanations score {known['E on the training prompts'].median():.2f} in the median."
    if len(goes_with) else "There are too few scored pairs to say."
)  # fmt: skip

# %% [markdown]
# ## Compared with the paper
#
# The paper {cite}`neo2024` has GPT-4 as its explainer, 10 or 20 held-out prompts a pair, and another rule by which heads
# are called active, so its scores and ours describe different things. A table of both is in the appendix.

# %% tags=["hide-input"]
paper = pd.DataFrame(REPORTED).set_index("run")[["mean", "sd", "skew", "p_skew"]]
ours = own[own.control == "none"].dropna(subset="score").groupby("explainer", sort=False).score
ours = pd.DataFrame({f"this run, {name}": paper_summary(some)._asdict() for name, some in ours}).T
of_random = paper.index.str.contains("random")
Markdown(
    f"The paper's means lie between {paper['mean'][~of_random].min():.3f} and {paper['mean'][~of_random].max():.3f} for "
    f"next-token neurons, and it has {paper['mean'][of_random].iloc[0]:.3f} for random ones."
    + (f" The mean of `{first}` in this run is {plain.score.mean():.3f}." if len(plain) else "")
)

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper reports the mean of E over pairs, without an interval. Here up to {glue:text}`held-out` held-out prompts of
# each kind are asked about; every score has an interval and a test, the mean has one interval over neurons and one over
# articles, and controls judge the same prompts. Unread answers, which the paper drops, are counted, and the strict
# score takes them as wrong.
# ```
#
# ## Check and save
#
# Permuting verdicts must not change how many prompts were called active, and all judges must have been asked about the
# same prompts of a pair:

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
# We expected the sentences to sort new prompts nearly as well as those that they were made from. They do better than
# chance and better than the sentences of other heads, but not by much, and a judge who remembers nothing but the last
# token does as well. So whatever the sentences say beyond that token has not been shown to help, and a good sentence
# alone is no evidence for a look-up.
#
# What surprised us more is how little an active head says about the next token. Among prompts that make the neuron fire,
# we could not find that the token follows more often where the head is active (the difference is {glue:text}`follow-gap`). This does not
# show that there is no difference: a pair has few held-out prompts, and {ref}`head-ablation` counts prompts and
# not pairs.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
mean = bootstrap_mean(plain.score.tolist(), plain.neuron.tolist(), seed=settings.seed)
by_kind = {}
for what, kind in {"words were found": True, "no words were found, and the best guess is judged": False}.items():  # fmt: skip
    some = plain[[found_words.get(key) == kind for key in keys_of(plain)]]
    if len(some):
        its = bootstrap_mean(some.score.tolist(), some.neuron.tolist(), seed=settings.seed)
        by_kind[what] = f"{its} where {what} ({len(some)} pairs of {some.neuron.nunique()} neurons)"
split = f": {', '.join(by_kind.values())}" if first == "contrast" and len(by_kind) == 2 else ""
lines = [
    f"- Explanations by `{first}` score {mean} on {len(plain)} pairs of selected neurons{split}."
]
glue("scores-headline",
     " ".join(line.removeprefix("- ") for line in [*lines, last_line, against])
     if len(plain) else "No pair could be scored.", display=False)  # fmt: skip
further = [endings_line] if len(three) == len(QUESTIONS) else []
further = [f"- {line}" for line in (against, *further, follow_line)]
Markdown(
    "\n".join([*lines, *compared_lines, *further]) if len(plain) else "No pair could be scored."
)

# %% [markdown]
# What is not known is whether the head that was explained makes a difference to what the model says. A true description
# of when a head feeds a neuron is not yet a cause. And an explanation that sorts prompts may name what goes along with
# the context rather than what the head reads.
#
# ## Exercises
#
# 1. How many of the scored pairs have an interval that lies above one half, and how many would have one by
#    luck?


# %% tags=["hide-cell"]
# One in forty would if a 95 % interval were exact. With few prompts there are only a few possible scores, so we
# count: of all orders of a pair's verdicts, in which share would its interval lie above one half?
def by_luck(row) -> float:
    n_active, n_inactive, calls = row.tp + row.fn, row.tn + row.fp, row.tp + row.fp
    share = 0.0
    for tp in range(max(0, calls - n_inactive), min(calls, n_active) + 1):
        fp = calls - tp
        if newcombe(Counts(tp, fp, n_inactive - fp, n_active - tp))[0] > 0.5:
            share += hypergeom.pmf(tp, n_active + n_inactive, n_active, calls)
    return share


above, lucky = int((plain.low > 0.5).sum()), sum(map(by_luck, plain.itertuples()))
assert 0 <= lucky <= len(plain)
f"{above} of {len(plain)} pairs; a judge who guesses would have {lucky:.1f} (one in forty would be {len(plain) / 40:.1f})"

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
# 3. To try on your own: Set `held_out: 5` in a copy of the run file. How many pairs have an interval that excludes one
#    half now, and which of the controls can still be told from the explanations?
#
# Does the model need the heads that we have explained? {ref}`head-ablation` silences them.
#
# ## Appendix: more tables, and how many prompts it takes
#
# The judges who remember the last tokens, next to those of {numref}`fig-explainers`, on the same pairs:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(endings_table).T.rename_axis("judge") if len(remembered) else NOTHING

# %% [markdown]
# The numbers drawn in {numref}`fig-last-tokens`:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(last_tokens_table).T.rename_axis(["question", "judge"]) if how_well else NOTHING

# %% [markdown]
# How much does E vary by luck with other numbers of prompts? For every pair we draw samples of each size from its held-out
# prompts, half of each kind, with replacement:


# %% tags=["hide-input", "hide-output"] mystnb={"figure": {"caption": "Pairs can be told from each other only where the blue line lies well below the dashed one, the standard deviation between pairs. Lines: how much E varies by luck alone, by the number of held-out prompts, as a mean over this run's pairs with their middle half (blue), and for a coin (grey).", "name": "fig-prompts-needed"}, "image": {"alt": "Standard deviation of the score by number of held-out prompts"}}
def deviation(rows: pd.DataFrame, size: int, draws: int = 200) -> float:
    """The standard deviation of E over samples of `size` prompts, half of each kind."""
    random = np.random.default_rng(settings.seed)
    rates = []
    for kind in (True, False):
        right = (rows.verdict[rows.active == kind] == kind).to_numpy(dtype=bool)
        rates.append(random.choice(right, (draws, size // 2)).mean(axis=1))
    return float(np.mean(rates, axis=0).std())


sizes = [10, 20, 50, 100]
asked = verdicts[(verdicts.explainer == first) & (verdicts.control == "none")].dropna(
    subset="verdict"
)
asked = asked.merge(plain[["neuron", "head"]], on=["neuron", "head"])
of_pairs = [rows for _, rows in asked.groupby(["neuron", "head"], sort=False)]
by_size = {n: [deviation(rows, n) for rows in of_pairs] for n in sizes}
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
# Better than luck, each by itself: how many explanations could have been significant, given how many prompts there were and
# how many of them were called active, and how many were:

# %% tags=["hide-input", "hide-output"]
tests

# %% [markdown]
# The pairs of selected neurons with the best and the worst scores. *Follows* is how often the neuron's token really
# followed, on active and on inactive held-out prompts; a pair whose token never follows where its head is active is
# marked ✗:

# %% tags=["hide-input", "hide-output"]
NO_WORDS = (
    "No words tell the active prompts from the others with any certainty. The best guess is that"
)
ordered = plain.sort_values(
    ["score", "neuron", "head"], ascending=[False, True, True], kind="stable"
)
few = pd.concat([ordered.head(6), ordered[6:].tail(6)])
few = few.assign(
    explanation=[explanations[*key, first].text.replace(NO_WORDS, "Guess:") for key in keys_of(few)],
    E=[f"{row.score:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in few.itertuples()],
    follows=[f"{row.follows_active:.2f} / {row.follows_inactive:.2f}" for row in few.itertuples()],
    prompts=few.tp + few.fn + few.tn + few.fp,
    token=[f"{readable(row.token)} ✗" if row.follows_active == 0 else readable(row.token) for row in few.itertuples()],
)  # fmt: skip
few[["token", "neuron", "head", "prompts", "follows", "E", "explanation"]].reset_index(drop=True)

# %% [markdown]
# Scores in the paper and here, for the pairs of next-token neurons unless it says otherwise; *p_skew* is that of a test
# that the skew is above 0:

# %% tags=["hide-input", "hide-output"]
both = pd.concat([paper, ours.reindex(columns=paper.columns)]) if len(ours) else paper
both.rename_axis("run").round({"mean": 3, "sd": 3, "skew": 3, "p_skew": 5})
