# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (attention)=
# # What does an active head look at?
#
# A {term}`pair` was kept because its head drives the neuron on some prompts and not on others. If
# that is a {term}`context look-up`, something in the text must tell the two kinds of prompt apart,
# the head must look there, and whoever reads a few prompts of each kind should be able to sort new
# ones. We put all three to the test: with a simple regression on words, with the attention itself,
# and with readers who do not know the answer.
#
# | needs | leaves |
# | --- | --- |
# | `follow_rates`, `suffixes`, `heads`, `pairs` from {ref}`heads` and before | `deck`: the prompts of the blind sort |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from einops import einsum
from IPython.display import Markdown
from myst_nb import glue
from scipy.stats import binomtest, fisher_exact
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline

from lookups.run.store import Stopwatch, load, save
from lookups.corpus.documents import run_documents
from lookups.measure.attention import looks
from lookups.explain.blind_sort import (
    CLEAR,
    SORT,
    majority,
    mapping_of,
    read_verdicts,
    scored,
)
from lookups.show.figures import COLOURS, house_style
from lookups.measure.activation import Site, activations
from lookups.model.batches import batches_by_length
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
from lookups.explain.explainer import PairPrompts, follow_share
from lookups.explain.running_example import running_pairs
from lookups.settings import check_run, read_run
from lookups.statistics.bootstrap import lots_of, percent
from lookups.statistics.scores import auroc
from lookups.show.look_ups import look_up_view, measured_prompts
from lookups.show.views import (
    BOS,
    LONGEST,
    attention_view,
    escaped,
    prompt_table,
    quotes,
    readable,
    token_view,
)

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "suffixes")
attributions = load(settings, "heads")
pairs = load(settings, "pairs")
prompts = PairPrompts(
    suffixes, attributions[attributions.neuron.map(neurons.selected)],
    tokens=neurons.token, decode=model.decode, vocabulary=model.vocabulary,
)  # fmt: skip
pairs = pairs[pairs.selected].reset_index(drop=True)
kept = pairs[pairs.kept].reset_index(drop=True)
NOTHING = Markdown(
    "*This run kept no pair of a selected neuron, so there is nothing to show here.*"
)


def prompts_of(pair, split: str) -> pd.DataFrame:
    return prompts.rows(pair.neuron, pair.head, split)


def keys_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table[["neuron", "head"]].itertuples(index=False, name=None))


def called(neuron: str) -> str:
    return f"the “{escaped(neurons.token[neuron])}” neuron ({neuron})"


# %% [markdown]
# We look at the kept pairs of the selected neurons. A held-out prompt that reads the same as a training
# prompt would test memory, so it is left out:

# %% tags=["hide-input"]
glue("kept-pairs", len(kept), display=False)
Markdown(
    f"{kept.neuron.nunique()} of {int(neurons.selected.sum())} selected neurons have a kept pair. There are "
    f"{len(kept)} such pairs, with {kept['head'].nunique()} different heads, out of {len(pairs)} pairs of a selected "
    f"neuron and a candidate head. {int(prompts.left_out[neurons.selected].sum())} held-out prompts are left out."
)  # fmt: skip

# %% [markdown]
# ## One pair by hand
#
# The neurons of the {ref}`running example <running-example>` now get their heads: of each neuron's kept
# pairs we take the one whose head brings most on its active prompts, compared with the others
# ({func}`~lookups.explain.running_example.running_pairs`). The table shows its strongest prompts of the two kinds. The neuron's token is appended and
# marked. Where something else followed in the text, the token is struck out, and the column *next*
# shows what followed. What sets the left side apart from the right?


# %% tags=["hide-input"]
hand, second, *_ = [*running_pairs(settings, rates, pairs), None, None]


def side_by_side(key: tuple[str, str], most: int = 6):
    rows = prompts.rows(*key, "train")
    kinds = {f"{key[1]} active": rows[rows.active], f"{key[1]} inactive": rows[~rows.active]}
    return prompt_table({title: quotes(some.head(most)) for title, some in kinds.items()})


Markdown(f"The pair is {hand[1]} and {called(hand[0])}.") if hand else NOTHING

# %% tags=["hide-input"]
side_by_side(hand) if hand else NOTHING

# %% [markdown]
# The same prompts can be read on one line. Arcs go from the last token to the tokens that the head attends to: the wider the arc, the more
# attention; blue where the head drives the neuron from there, orange where it holds the neuron back. Under each token is the
# neuron's activation, and at the end of the line what the model expects next, with the head and without it:


# %% tags=["hide-input"]
def on_one_line(key: tuple[str, str], name: str):
    rows = prompts.rows(*key, "train")
    some = pd.concat([rows[rows.active].head(3), rows[~rows.active].head(3)])
    return look_up_view(
        measured_prompts(model, *key, some), f"{key[1]} and {called(key[0])}", name=name,
        look_for="Choose a prompt on either side. Which tokens does the head read where it is active, "
        "and what does the model expect without it?",
    )  # fmt: skip


on_one_line(hand, "look-up-example") if hand else NOTHING

# %% [markdown]
# ## Can words tell them apart?
#
# Before we ask a reader we ask a simpler judge, a linear regression of what the head does on the
# words of the prompt. Its features are the words and the beginnings of words anywhere in a prompt,
# and the words, beginnings and endings at its last two places, each weighted by how rare it is. It
# sees nothing else:

# %%
PLACES = ("last", "last but one")


def clues(text: str) -> list[str]:
    words = text.lower().split()[::-1] or ["nothing"]
    near = [
        f"“{part}” {place}"
        for word, place in zip(words, PLACES, strict=False)
        for part in (word, f"{word[:5]}-", f"-{word[-2:]}")
    ]
    return near + [f"“{part}” anywhere" for word in words for part in (word, f"{word[:5]}-")]


# %%
PENALTY = 0.3


def by_words():
    return make_pipeline(TfidfVectorizer(analyzer=clues), Ridge(alpha=PENALTY, tol=1e-9))


# %% tags=["hide-input"]
def left_out(texts: list[str], truth: np.ndarray) -> np.ndarray:
    """What `by_words` predicts of each text from all others: each text is read once only."""
    counts = CountVectorizer(analyzer=clues).fit_transform(texts).toarray().astype(float)
    said = np.empty(len(texts))
    for place in range(len(texts)):
        others = np.arange(len(texts)) != place
        holding = (counts[others] > 0).sum(axis=0)
        rarity = (np.log(len(texts) / (1 + holding)) + 1) * (
            holding > 0
        )  # unseen words say nothing
        weighed = counts * rarity
        weighed /= np.maximum(np.linalg.norm(weighed, axis=1, keepdims=True), 1e-300)
        centred = weighed - weighed[others].mean(axis=0)
        alike = centred @ centred[others].T
        known, middle = alike[others] + PENALTY * np.eye(others.sum()), truth[others].mean()
        said[place] = middle + alike[place] @ np.linalg.solve(known, truth[others] - middle)
    return said


# %% [markdown]
# The regression does not learn the labels *active* and *inactive*, but the number that decides
# between them, since a prompt close to the bound is one or the other almost by chance. On `train`
# each prompt is left out in turn and predicted from the others. The R² of these predictions is the
# share of the differences among prompts that is *told* by their words: one is perfect, and zero or
# less means that the mean of the other prompts would have done as well. On `test` the regression
# has learned from all of `train`, and the score is the probability that of two prompts, one of each
# kind, the active one gets the higher prediction: one half means that words tell nothing. A pair
# needs {glue:text}`fewest-to-learn` training prompts of each kind. The same is done with the
# prompts of each split shuffled, which shows what chance reaches.


# %%
FEWEST = {"train": 4, "test": 3}  # prompts of each kind that a pair needs


def told(rows: pd.DataFrame) -> float:
    """What share of what decides is told by the words of prompts that were left out (R²)."""
    if min(rows.active.sum(), (~rows.active).sum()) < FEWEST["train"]:
        return np.nan
    truth = rows[settings.measure].to_numpy(float)
    said = left_out(rows.text.tolist(), truth)
    others = (truth.sum() - truth) / (len(truth) - 1)
    return 1 - ((truth - said) ** 2).sum() / ((truth - others) ** 2).sum()


# %%
def said_by_words(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """What the words of `test` let one expect, from all of `train`."""
    fitted = by_words().fit(train.text.tolist(), train[settings.measure])
    return fitted.predict(test.text.tolist()).round(9) if len(test) else np.zeros(0)


# %% tags=["hide-input"]
def judged(train: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    score = told(train)
    known = np.isfinite(score)
    return score, auroc(said_by_words(train, test), test.active) if known else np.nan


def shuffle(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(text=random.permutation(rows.text.tolist()))


glue("fewest-to-learn", FEWEST["train"], display=False)
random = np.random.default_rng(settings.seed)
scores = []
for pair in kept.itertuples():
    both = [prompts_of(pair, split) for split in ("train", "test")]
    scores.append((*judged(*both), *judged(*map(shuffle, both))))
if hand and np.isfinite(told(rows := prompts.rows(*hand, "train"))):
    texts, truth = rows.text.tolist(), rows[settings.measure].to_numpy(float)
    slowly = cross_val_predict(by_words(), texts, truth, cv=LeaveOneOut())
    assert np.allclose(left_out(texts, truth), slowly)
names = ["words", "words_test", "shuffled", "shuffled_test"]
kept[names] = np.array(scores, dtype=float).reshape(len(kept), len(names))

# %% [markdown]
# ## The clearest pairs
#
# We call a pair the *clearer*, the more of what its head does can be told by the words of its prompts.
# A reader should be able to sort the clearest ones. For a high share, two things must be true at once: the contexts differ in something that can be read, and what the head
# does differs far more between the kinds than within them. All of it is measured on `train`. A pair
# whose token rarely follows where the head is active is no look-up of that token, so it comes after
# all others:


# %%
def clearest_first(table: pd.DataFrame) -> pd.DataFrame:
    """Order pairs by what words tell; silent tokens and what is not known come last."""
    speaks = (table.follows >= settings.follow_share) & table.words.notna()
    order = table.assign(speaks=speaks).sort_values(
        ["speaks", "words", "neuron", "head"], ascending=[False, False, True, True], kind="stable"
    )
    return order.drop(columns="speaks")


# %% tags=["hide-input"]
kept[["follows", "follows_inactive"]] = [
    (follow_share(rows[rows.active]), follow_share(rows[~rows.active]))
    for rows in (prompts_of(pair, "train") for pair in kept.itertuples())
] if len(kept) else np.zeros((0, 2))  # fmt: skip
never = int((kept.follows == 0).sum())
glue("never-follows", f"{never} of {len(kept)}", display=False)


def marked(table: pd.DataFrame) -> list[str]:
    """The tokens of pairs; marked where the token never follows an active prompt."""
    tokens = table.neuron.map(neurons.token).map(readable)
    return [f"{token} ✗" if none else token for token, none in zip(tokens, table.follows == 0, strict=True)]  # fmt: skip


# %% [markdown]
# Of three penalties for the regression (0.1, 0.3 and 1) we took the one under which words tell
# most, on average over all kept pairs. From now on the *clearest* pairs are the first
# {glue:text}`shown-pairs` in this order, at most {glue:text}`per-neuron` of one neuron. Nothing of
# the test split has a say in it. Of {glue:text}`never-follows` kept pairs the token never follows a
# training prompt on which the head is active. Such a pair is marked ✗ wherever pairs are listed.

# %%
MOST, PER_NEURON = 15, 2
ranked = clearest_first(kept)
clearest = ranked.groupby("neuron", sort=False).head(PER_NEURON).head(MOST).reset_index(drop=True)
best = list(clearest.itertuples())

# %% tags=["hide-input"]
glue("shown-pairs", MOST, display=False)
glue("per-neuron", PER_NEURON, display=False)
clearest.assign(token=marked(clearest))[
    ["token", "neuron", "head", "n_active", "n_prompts", "follows", "follows_inactive", "words", "words_test"]
].rename(
    columns={"n_active": "active", "n_prompts": "of", "follows": "token follows, active", "follows_inactive": "inactive",
             "words": "told by words, train", "words_test": "score of words, test"}
).head(12).round(2)  # fmt: skip

# %% [markdown]
# A pair that is chosen for a high score has been lucky as well. Pairs with shuffled prompts, chosen in the same
# way, show what luck alone reaches:

# %% tags=["hide-input"]
lucky = kept[["neuron", "head", "follows"]].assign(
    words=kept.shuffled, words_test=kept.shuffled_test
)
lucky = clearest_first(lucky).groupby("neuron", sort=False).head(PER_NEURON).head(len(clearest))
means = {
    name: table[["words", "words_test"]].mean()
    for name, table in {"own": clearest, "shuffled": lucky}.items()
}
Markdown(
    f"On average, words tell {means['own'].words:.2f} of what the heads of the clearest pairs do on `train`, which chose "
    f"them, and score {means['own'].words_test:.2f} on `test`. With shuffled prompts these numbers are "
    f"{means['shuffled'].words:.2f} and {means['shuffled'].words_test:.2f}."
) if best else NOTHING  # fmt: skip

# %% [markdown]
# In {numref}`fig-words`, a point to the upper right is a pair whose contexts can be told by their words, on
# texts that had no say in the choice.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Shuffled prompts (crosses) show what chance reaches; pairs above and to the right of them can be told by their words. Across: how much of what the head does is told by the words of training prompts left out. Up: how well words tell active from inactive held-out prompts. Filled dots are the clearest pairs.", "name": "fig-words"}, "image": {"alt": "Scatter of what words tell on train and their score on test, for pairs and for shuffled prompts"}}
is_clearest = pd.Series(keys_of(kept), dtype=object).isin(keys_of(clearest)).to_numpy(bool)
groups = {
    "shuffled prompts": kept[["shuffled", "shuffled_test"]],
    "other kept pairs": kept.loc[~is_clearest, ["words", "words_test"]],
    "clearest pairs": kept.loc[is_clearest, ["words", "words_test"]],
}
figure, axis = plt.subplots(figsize=(4.6, 4.2))
axis.axhline(0.5, color="black", linewidth=0.8)
axis.axvline(0, color="black", linewidth=0.8)
styles = [("x", "grey", "full"), ("o", "blue", "none"), ("o", "blue", "full")]
for (name, table), (marker, colour, fill) in zip(groups.items(), styles, strict=True):
    axis.plot(*table.T.to_numpy(), marker, color=COLOURS[colour], fillstyle=fill, label=name)
axis.set(xlabel="told by words, train", ylabel="score on test", xlim=(-1.03, 1.03), ylim=(0, 1.03))
axis.legend(loc="lower right")
plt.show()
pd.DataFrame(
    {
        name: {
            "pairs judged on test": int(table.iloc[:, 1].notna().sum()),
            "median on train": round(float(table.iloc[:, 0].median()), 2),
            "median on test": round(float(table.iloc[:, 1].median()), 2),
            "0.75 or more on test": int((table.iloc[:, 1] >= 0.75).sum()),
        }
        for name, table in groups.items()
    }
).T

# %% [markdown]
# The second pair that we follow, in its strongest training prompts:

# %% tags=["hide-input"]
NO_FURTHER = Markdown("*There is no kept pair of a further neuron.*")
Markdown(f"{second[1]} and {called(second[0])}:") if second else NO_FURTHER

# %% tags=["hide-input"]
side_by_side(second) if second else NO_FURTHER

# %% tags=["hide-input"]
on_one_line(second, "look-up-second") if second else NO_FURTHER

# %% [markdown]
# ## Where it looks, and what it brings
#
# Back to the pair by hand. We take one active and one inactive training prompt of it: of those with
# 5 to {glue:text}`longest-shown` tokens, the ones nearest to the median of their kind in what
# decides. The pair's own head is shown with the two others that are most often active for this
# neuron. {func}`~lookups.measure.attention.looks` reads the
# {term}`attention weights <attention weight>`, and how much the value at each position adds to the
# neuron's input. The views are drawn by CircuitsVis {cite}`circuitsvis`.


# %%
def typical(rows: pd.DataFrame) -> pd.Series:
    fits = rows[rows.token_ids.map(len).between(5, LONGEST - 1)]
    rows = fits if len(fits) else rows
    decides = rows[settings.measure]
    return rows.loc[(decides - decides.median()).abs().idxmin()]


def look_back(neuron: str, heads: list[str], rows: pd.DataFrame) -> list:
    names = [Head.parse(name) for name in heads]
    return looks(model, Neuron.parse(neuron), names, rows.token_ids.tolist())


# %% tags=["hide-input"]
def in_tokens(ids) -> list[str]:
    return [BOS, *(model.vocabulary[token] for token in ids)]


glue("longest-shown", LONGEST - 1, display=False)
examples, seen, names = {}, {}, []
if hand:
    rival = pairs[(pairs.neuron == hand[0]) & (pairs["head"] != hand[1])]
    rival = rival.sort_values(["share", "head"], ascending=[False, True])
    names = [hand[1], *rival["head"][:2]]
    rows = prompts.rows(*hand, "train")
    examples = {"active": typical(rows[rows.active]), "inactive": typical(rows[~rows.active])}
    seen = dict(zip(examples, look_back(hand[0], names, pd.DataFrame(examples).T), strict=True))
prompt_table(
    {kind: quotes(row.to_frame().T) for kind, row in examples.items()}
) if hand else NOTHING

# %% tags=["hide-input"]
attention_view(
    in_tokens(examples["active"].token_ids), seen["active"].pattern, names,
    name="fig-attention-active",
    look_for=f"{names[0]} is active on this prompt. Enlarge it and read its last row: which tokens "
    "get the attention of the last one?",
) if hand else NOTHING  # fmt: skip

# %% tags=["hide-input"]
attention_view(
    in_tokens(examples["inactive"].token_ids), seen["inactive"].pattern, names,
    name="fig-attention-inactive",
    look_for=f"{names[0]} is inactive on this prompt. Where does its last row look now?",
) if hand else NOTHING  # fmt: skip

# %% [markdown]
# A head may look hard at a token and take nothing from it. The {term}`weighted attention` of a position is
# the attention it gets times what the value there adds to the neuron's input, one term of the sum in
# {eq}`eq-attribution`. So the terms must add up to the {term}`head attribution` that {ref}`heads` computed in
# another way:

# %%
for kind, one in seen.items():
    summed, stored = float(one.attribution[0]), float(examples[kind].attribution)
    assert np.isclose(summed, stored, rtol=1e-3, atol=1e-4)
{kind: round(float(one.attribution[0]), 3) for kind, one in seen.items()}

# %% [markdown]
# An attribution covers the direct path only. What the head brings through earlier MLPs, which the
# effect of {ref}`heads` counts as well, is not in these pictures.
#
# For the active prompt, token by token: the attention of the last token through the pair's head, what that
# brings the neuron, and how strongly the neuron itself fires at each token.


# %% tags=["hide-input"]
def fires_at(neuron: str, ids) -> list[float]:
    """The neuron's activation at every token; the beginning of the sequence is given none."""
    prefixes = [ids[: n + 1] for n in range(len(ids))]
    return [0.0, *activations(model, [Neuron.parse(neuron)] * len(ids), prefixes)]


def token_by_token():
    ids = examples["active"].token_ids
    values = [seen["active"].pattern[0, -1], seen["active"].contribution[0]]
    values = [value.float().numpy(force=True) for value in values]
    return token_view(
        in_tokens(ids),
        np.stack([*values, fires_at(hand[0], ids)], axis=1),
        name="fig-attention-tokens",
        series=[f"attention of {names[0]}", f"brought by {names[0]}", f"activation of {hand[0]}"],
        look_for="Choose what is coloured. Is the token that gets most attention the one that brings "
        "most? Does the neuron fire before the last token?",
    )  # fmt: skip


token_by_token() if hand else NOTHING

# %% [markdown]
# ## Attention is not contribution
#
# We do the same for all the clearest pairs, on up to {glue:text}`positions-most` active and as many
# inactive training prompts of each, the strongest first. For each prompt we ask which position gets
# most of the attention, and which brings most:


# %% tags=["hide-input"]
def positions_of(key: tuple[str, str], most: int) -> list[pd.DataFrame]:
    """A row a position of a prompt; every sum is held against `heads`."""
    found = []
    rows = prompts.rows(*key, "train").groupby("active").head(most)
    for row, one in zip(rows.itertuples(), look_back(key[0], [key[1]], rows), strict=True):
        assert np.isclose(float(one.attribution[0]), row.attribution, rtol=1e-3, atol=1e-4)
        table = pd.DataFrame({"token": in_tokens(row.token_ids)})
        table["attention"] = one.pattern[0, -1].float().numpy(force=True)
        table["brought"] = one.contribution[0].float().numpy(force=True)
        found.append(table.assign(neuron=key[0], head=key[1], prompt=row.prompt, active=row.active))
    return found


POSITIONS_MOST = 5
glue("positions-most", POSITIONS_MOST, display=False)
columns = ["token", "attention", "brought", "neuron", "head", "prompt", "active"]
found = [table for key in keys_of(clearest) for table in positions_of(key, POSITIONS_MOST)]
positions = pd.concat(found) if found else pd.DataFrame(columns=columns)
positions = positions.reset_index(names="place").astype(
    {"attention": float, "brought": float, "active": bool}
)

# %%
one_prompt = positions.groupby(["neuron", "head", "prompt"], sort=False)
most_seen = positions.loc[one_prompt.attention.idxmax()].reset_index(drop=True)
most_brought = positions.loc[one_prompt.brought.idxmax()].reset_index(drop=True)
agree = most_seen.place == most_brought.place
at_bos = positions[positions.place == 0].reset_index(drop=True)

# %% tags=["hide-input"]
share = float(agree[most_seen.active].mean()) if best else np.nan
at_rest = at_bos.groupby("active").attention.mean().reindex([True, False])
strength = most_seen.groupby("active").attention.mean().reindex([True, False])
brought = most_brought.groupby("active").brought.mean().reindex([True, False])
glue("seen-is-brought", percent(share) if best else "not defined", display=False)
if at_rest[False] - at_rest[True] > 0.05:
    resting = "Where they are inactive, these heads rest: more of their attention goes to the beginning of the sequence"
elif at_rest[True] - at_rest[False] > 0.05:
    resting = "Where they are inactive, these heads give the beginning of the sequence less of their attention"
else:
    resting = "The beginning of the sequence gets about as much attention on inactive as on active prompts"
if brought[False] < 0.5 * brought[True] and strength[False] > strength[True] - 0.1:
    what = " They look about as hard at some token where they are inactive, but what they find there brings less than half as much."
elif strength[False] < strength[True] - 0.1:
    what = " Their attention is spread more widely where they are inactive."
else:
    what = " Neither how hard they look nor what the best position brings differs much between the two kinds."
misled = "In the other prompts the pattern alone would name the wrong token." if share < 1 else ""
Markdown(
    f"On {percent(share)} of the active prompts the position that gets most attention also brings most. {misled} {resting} "
    f"({at_rest[False]:.2f} against {at_rest[True]:.2f}).{what}"
) if best else NOTHING  # fmt: skip

# %% [markdown]
# {numref}`fig-brought` shows every position. If attention told what a head brings, the points of a kind
# would lie on one line through the origin. Points to the lower right are looked at and bring nothing.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How much attention a position gets (across) says little about what it brings the neuron (up, as a share of what the head brings on an average active prompt). Every position of the prompts of the clearest pairs; blue: active prompts, orange: inactive ones.", "name": "fig-brought"}, "image": {"alt": "Scatter of attention weight against weighted attention, for active and inactive prompts"}}
whole = positions[positions.active].groupby(["neuron", "head", "prompt"]).brought.sum()
whole = whole.groupby(["neuron", "head"]).mean().rename("unit").reset_index()
scaled = positions.merge(whole, on=["neuron", "head"], how="left")
scaled["share"] = scaled.brought / scaled.unit
figure, axis = plt.subplots()
brought_by_kind = []
for kind, colour in {"inactive": "orange", "active": "blue"}.items():
    some = scaled[scaled.active == (kind == "active")]
    axis.plot(some.attention, some["share"], ".", color=COLOURS[colour], alpha=0.5, label=kind)
    attended = some[some.attention > 0.3]
    idle = (attended["share"].abs() < 0.1).mean()
    brought_by_kind.append(
        (kind, len(some), some.attention.corr(some["share"]), len(attended), idle)
    )
axis.set(xlabel="attention from the last token", ylabel="brought, share of an active prompt's")
axis.legend(title="prompts")
plt.show()

# %% [markdown]
# ## Who specialises in what
#
# What do these heads fetch? For each of the clearest pairs: the tokens that brought most, over its active
# prompts; the tokens most looked at, over its inactive ones; and the clue of largest weight in the
# regression on words. A token that is fetched is not yet the context that matters, so go back to the prompts
# before you believe a row.


# %% tags=["hide-input"]
def commonest(rows: pd.DataFrame, pair) -> str:
    own = rows[(rows.neuron == pair.neuron) & (rows["head"] == pair.head)]
    counts = own.groupby("token").size().reset_index(name="n")
    counts = counts.sort_values(["n", "token"], ascending=[False, True]).head(3)
    return ", ".join(f"“{readable(row.token)}” {row.n}" for row in counts.itertuples())


def strongest_clue(pair) -> str:
    rows = prompts_of(pair, "train")
    fitted = by_words().fit(rows.text.tolist(), rows[settings.measure])
    votes = pd.Series(fitted[-1].coef_, fitted[0].get_feature_names_out())
    votes = votes.round(6).rename_axis("clue").reset_index(name="vote")
    return votes.sort_values(["vote", "clue"], ascending=[False, True]).clue.iloc[0]


pd.DataFrame(
    [
        {
            "token": token,
            "neuron": pair.neuron,
            "head": pair.head,
            "brought most, active": commonest(most_brought[most_brought.active], pair),
            "most looked at, inactive": commonest(most_seen[~most_seen.active], pair),
            "strongest clue": strongest_clue(pair),
        }
        for token, pair in zip(marked(clearest)[:12], best[:12], strict=True)
    ]
) if best else NOTHING

# %% [markdown]
# (head-kinds)=
# ### Heads of known kinds
#
# Some heads have been described without any neuron: *previous-token* heads look one token back, *duplicate-token*
# heads at earlier copies of the last token, *induction* heads at what followed such copies {cite}`elhage2021,olsson2022`. How
# much attention do the heads of kept pairs pay to such places? They are, for each query of a text (column 0 is the beginning of the
# sequence, which is no token of the text):

# %%
HEAD_TYPES = ("previous token", "duplicate token", "induction")


def places_of(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Where a head of each kind looks: row, kind, query, key."""
    at = torch.arange(ids.shape[1], device=ids.device)
    text = mask & (at > 0)
    asked = text[:, :, None] & text[:, None, :] & (at[:, None] > at[None, :])
    copy = (ids[:, :, None] == ids[:, None, :]) & asked
    previous = (at[:, None] == at[None, :] + 1) & asked
    return torch.stack([previous, copy, copy.roll(1, dims=2) & asked], 1)


# %% [markdown]
# A head's score is a mean over the positions that have such a place to look at; chance is what a head gets that looks at
# all places alike. We measure it on random tokens that come twice in succession, where
# nothing but the repetition can be read, and on passages of the run. A head is of a kind
# if it pays at least so much of its attention to the places of that kind, in either of the two:


# %% tags=["hide-input"]
def head_kinds(model: Model, sequences: Sequence) -> pd.DataFrame:
    """A row for every head of the model, a score for each kind, and `chance` as last row;
    not-a-number for a kind for which no sequence has a place to look at."""
    layers, kinds = range(model.n_layers), len(HEAD_TYPES)
    sums = torch.zeros(model.n_layers, model.n_heads, kinds, dtype=torch.float64)
    chance, count = torch.zeros(2, kinds, dtype=torch.float64)
    lengths = [len(ids) for ids in sequences]
    for some in batches_by_length(lengths, tokens=model.tokens() // 2):
        batch = model.batch([sequences[row] for row in some])
        places = places_of(batch.ids, batch.mask)
        count += places.any(-1).sum((0, 2)).cpu()
        reach = torch.arange(1, batch.ids.shape[1] + 1, device=batch.ids.device)
        chance += (places.sum(-1).double() / reach).sum((0, 2)).cpu()

        def add(pattern: torch.Tensor, at: int, places: torch.Tensor = places) -> None:
            exact = pattern if pattern.is_cuda else pattern.double()
            found = einsum(exact, places.to(exact), "row h q k, row kind q k -> h kind")
            sums[at] += found.double().cpu()

        model.read(batch, {Site.PATTERN.format(at): partial(add, at=at) for at in layers})
    scores = torch.cat([sums.flatten(0, 1), chance[None]]) / count
    heads = [str(Head(at, h)) for at in layers for h in range(model.n_heads)]
    return pd.DataFrame(
        scores.to(model.dtype).numpy(), index=[*heads, "chance"], columns=list(HEAD_TYPES)
    )


# %%
def repeated(model: Model, *, rows: int, length: int, seed: int) -> np.ndarray:
    """Rows of random ids, each twice in succession, without the model's special tokens."""
    random = np.random.default_rng(seed)
    special = [*model.tokenizer.all_special_ids, model.bos_id]
    plain = np.setdiff1d(np.arange(model.d_vocab), special)
    return np.tile(plain[random.integers(0, len(plain), (rows, length))], 2)


# %%
KNOWN = 0.4
length = min(48, (model.context - 1) // 2)
twice = repeated(model, rows=8, length=length, seed=settings.seed)
texts = run_documents(settings, model, "train")
passages = [texts[row].ids for row in range(min(24, len(texts)))]
kinds_of = {"random, twice": head_kinds(model, list(twice)), "passages": head_kinds(model, passages)}  # fmt: skip

# %% tags=["hide-input"]
kind_table = {
    f"{kind}, {where}": some[kind] for where, some in kinds_of.items() for kind in HEAD_TYPES
}
kind_table = pd.DataFrame(kind_table)
is_kind = {kind: kind_table[[f"{kind}, {where}" for where in kinds_of]].max(axis=1) >= KNOWN for kind in HEAD_TYPES}  # fmt: skip
known_heads = pd.DataFrame(is_kind).drop(index="chance")
heads_kept = kept["head"].drop_duplicates().tolist()
of_pairs = known_heads.loc[heads_kept]
some = int(of_pairs.any(axis=1).sum())
glue("known-kinds", f"{some} of {len(heads_kept)}", display=False)
listing = ", ".join(f"{kind} {int(of_pairs[kind].sum())} of {int(known_heads[kind].sum())}" for kind in HEAD_TYPES)  # fmt: skip
Markdown(
    f"{some} of the {len(heads_kept)} heads in kept pairs are of one of these kinds: they pay at least {percent(KNOWN)} of their attention "
    f"to its places, on average. By kind, with the number among all {len(known_heads)} heads of the model: {listing}."
) if heads_kept else NOTHING  # fmt: skip

# %% [markdown]
# ### One neuron, several heads
#
# Do the heads kept for one neuron act together, or do they take turns? For every two of them we correlate,
# over the neuron's training prompts, what decides whether each is active:


# %% tags=["hide-input"]
def overlaps(rows: pd.DataFrame) -> pd.DataFrame:
    names = sorted(rows["head"], key=Head.parse)
    neuron = rows.neuron.iloc[0]
    by_head = {name: prompts.rows(neuron, name, "train").set_index("prompt") for name in names}
    decides = pd.DataFrame({name: one[settings.measure] for name, one in by_head.items()})
    one, other = np.triu_indices(len(names), 1)
    heads = [f"{names[a]}, {names[b]}" for a, b in zip(one, other, strict=True)]
    r = decides.corr().to_numpy()[one, other]
    return pd.DataFrame({"neuron": neuron, "token": neurons.token[neuron], "heads": heads, "r": r})


together = [overlaps(rows) for _, rows in kept.groupby("neuron") if len(rows) > 1]
overlap = (
    pd.concat(together) if together else pd.DataFrame(columns=["neuron", "token", "heads", "r"])
)
overlap = overlap.astype({"r": float}).sort_values(["r", "neuron", "heads"]).reset_index(drop=True)
turns, both = int((overlap.r < -0.3).sum()), int((overlap.r > 0.3).sum())
glue("heads-take-turns", turns, display=False)
glue("heads-together", both, display=False)
if not len(overlap):
    reading = "No neuron has two kept heads, so no two heads can be compared."
else:
    reading = (
        f"Of {len(overlap)} pairs of heads kept for one neuron, {turns} take turns (r below -0.3) and {both} act "
        "together (r above 0.3). "
        + ("Taking turns is more common: each head has contexts of its own." if turns > both
           else "Acting together is more common: the heads read the same contexts." if both > turns
           else "Neither is more common.")
    )  # fmt: skip
Markdown(reading)

# %% [markdown]
# (blind-sort)=
# ## Does a reader see it?
#
# A reader who knows neither neuron nor head reads up to {glue:text}`learn-each` active and
# {glue:text}`learn-each` inactive training prompts of a pair, each with the neuron's token
# appended: those on which the head does most and those on which it does least, in this order. Then
# the reader sorts {glue:text}`to-sort` held-out prompts, drawn at random, half of each kind where
# there are so many. We call a look-up *clear* if at least {glue:text}`to-be-clear` of them are
# sorted right. Random pairs are mixed with the clearest ones, in random order: pairs of selected
# neurons whose head is active on as large a share of the prompts, but whose two kinds of prompt
# were too close together for the pair to be kept. The reader is not told which is which. Where
# several readers sort the deck, a prompt counts as what more than half of them say it is.


# %%
LEARN = 10  # training prompts of each kind at most


def is_sortable(rows: pd.DataFrame) -> bool:
    counts = Counter(zip(rows.split, rows.active, strict=True))
    enough = all(counts[split, kind] >= FEWEST[split] for split in FEWEST for kind in (True, False))
    return enough and counts["test", True] + counts["test", False] >= SORT


def sortable(key: tuple[str, str]) -> bool:
    return is_sortable(prompts.rows(*key))


# %%
able = [key for key in keys_of(ranked) if sortable(key)]
clear = pd.DataFrame(able, columns=["neuron", "head"]).groupby("neuron").head(PER_NEURON).head(MOST)
rest = sorted(key for key in keys_of(pairs[pairs.followed & ~pairs.kept]) if sortable(key))
order = np.random.default_rng(settings.seed).permutation(len(rest))
drawn = pd.DataFrame([rest[i] for i in order[: len(clear)]], columns=["neuron", "head"])
items = pd.concat([clear.assign(kind="clearest"), drawn.assign(kind="random")])

# %% [markdown]
# An item is drawn by a seed of its own, so that other items may come or go:


# %%
def draw_item(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    rows = rows.sort_values(["split", "prompt"]).iloc[random.permutation(len(rows))]
    train, test = rows[rows.split == "train"], rows[rows.split == "test"]
    train = train.sort_values(["decides", "prompt"])
    learn = pd.concat([train[train.active][::-1].head(LEARN), train[~train.active].head(LEARN)])
    halves = test.groupby("active").head(SORT // 2)
    sort = pd.concat([halves, test.drop(index=halves.index)]).head(SORT)
    sort = sort.iloc[random.permutation(len(sort))]
    both = pd.concat([learn.assign(role="learn"), sort.assign(role="sort")])
    return both.assign(place=both.groupby("role").cumcount() + 1)


# %% tags=["hide-input"]
def draw_deck(pairs: pd.DataFrame, prompts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Draw an item for every pair, name it by the digest of its content, and order items by that."""
    items = []
    for pair in pairs.itertuples():
        own = prompts[(prompts.neuron == pair.neuron) & (prompts["head"] == pair.head)]
        item = draw_item(own, lots_of(seed, pair.neuron, pair.head))
        rows = item[["role", "place", "text", "token", "active"]].sort_values(["role", "place"])
        content = json.dumps(rows.astype(str).to_numpy().tolist())
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        items.append(item.assign(kind=pair.kind, digest=digest))
    columns = ["digest", "kind", "neuron", "head", "role", "place", "prompt", "text", "token", "active"]  # fmt: skip
    empty = pd.DataFrame(columns=["item", *columns])
    empty = empty.astype({"item": int, "place": int, "active": bool})
    deck = pd.concat(items or [empty]).sort_values(["digest", "role", "place"], kind="stable")
    deck["item"] = deck.digest.rank(method="dense").astype(int) if items else empty["item"]
    return deck[["item", *columns]].reset_index(drop=True)


# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper lets a language model put the contexts of a pair into words, and then sort held-out prompts by these
# words {cite}`neo2024`. Here readers sort the prompts themselves, without such a sentence, and random pairs are mixed with the
# others. Pairs with fewer than {glue:text}`fewest-to-learn` training prompts or {glue:text}`fewest-to-sort` held-out
# prompts of a kind are left out; in the paper, those that have prompts of one kind only.
# ```
#
# `python tools/blind_sort.py` writes the deck for readers and keeps their verdicts with the project. A verdict
# is kept under the digest of its item, so it counts only where the run shows exactly the prompts that were
# read, with the same answers.

# %% tags=["hide-input"]
glue("learn-each", LEARN, display=False)
glue("to-sort", SORT, display=False)
glue("to-be-clear", CLEAR, display=False)
glue("fewest-to-sort", FEWEST["test"], display=False)
columns = ["neuron", "head", "split", "prompt", "text", "token", "active", "decides"]
material = [prompts.rows(*key).rename(columns={settings.measure: "decides"}) for key in keys_of(items)]  # fmt: skip
material = pd.concat(material) if material else pd.DataFrame(columns=columns)
deck = draw_deck(items, material[columns], seed=settings.seed)
readers = read_verdicts(settings.verdicts)
results = scored(deck, majority(readers))

# %% [markdown] tags=["default-run"]
# This is the second deck of this run. The first taught with six prompts of each kind, drawn at random, took only pairs
# that had so many, and ranked pairs by the score of a naive Bayes classifier and by how far their two kinds lie apart. Of
# its 15 clearest pairs readers found 5 clear, of its random ones none. Only 21 of 70 kept pairs could be in it, so that there was
# hardly a choice. The rule above uses `train` alone, but it was written after that result was known, and after we had sorted
# held-out prompts of some pairs ourselves. It did not help as much as we had hoped: readers sort more prompts of the
# clearest pairs rightly than before, but no more pairs come out clear. Many stop at eight of ten. What they miss lies more
# often close to the bound, where a little more or less of an effect would have made the other label.

# %% [markdown]
# Who were the readers, and do they agree? Two readers agree on a prompt if they sort it in the same
# way. Cohen's κ is their agreement beyond what chance gives two readers who call as many prompts
# active as they do. Letters count where neither wrote `?`, and κ is not known where both wrote one
# letter throughout:


# %%
def agreement(readers) -> pd.DataFrame:
    """How often every two readers gave the same letter, and Cohen's κ; `readers` by item digest."""
    rows = []
    for (one, a), (other, b) in combinations(enumerate(readers, 1), 2):
        shared = [zip(a[digest], b[digest], strict=True) for digest in sorted(set(a) & set(b))]
        both = [letters for said in shared for letters in said if "?" not in letters]
        same = float(np.mean([x == y for x, y in both])) if both else np.nan
        varied = len({letter for letters in both for letter in letters}) > 1
        kappa = cohen_kappa_score(*zip(*both, strict=True)) if varied else np.nan
        rows.append((one, other, len(both), same, float(kappa)))
    return pd.DataFrame(rows, columns=["reader", "other", "letters", "same", "kappa"])


# %% tags=["hide-input"]
mine = [{d: said for d, said in one.items() if d in set(deck.digest)} for one in readers]
mine = [one for one in mine if one]
shared = agreement(mine)
who = mapping_of(settings.verdicts).get("readers") or "not recorded"
glue("sort-readers", f"{len(mine)} {who}" if mine else "nobody", display=False)
glue("sort-agreement", f"{shared.same.mean():.2f}" if len(shared) else "not known", display=False)
if not mine:
    told = "*The deck of this run was not sorted by a reader.*"
else:
    told = f"The readers were {len(mine)} {who}, each reading alone"
    told += (
        f". Two of them sorted a prompt in the same way in {percent(shared.same.mean())} of cases on average (κ = {shared.kappa.mean():.2f})."
        if len(shared) else "."
    )  # fmt: skip
Markdown(told)

# %% [markdown]
# The regression on words judges the same held-out prompts as the readers. It has learned from
# all training prompts of the pair, and calls a prompt active if its prediction lies above the
# midpoint between the means of the two kinds. The random pairs are pairs that were *not* kept: the
# table compares the clearest of the kept pairs with pairs that the rule turned down, and says
# nothing of how clear the other kept pairs are. The intervals are Clopper and Pearson's, which hold
# their level for small numbers; a reader who guesses gets nine or ten of ten right once in a
# hundred items.


# %% tags=["hide-input"]
def right_by_words(row) -> int:
    train, test = (prompts_of(row, split) for split in ("train", "test"))
    item = deck[(deck.item == row.item) & (deck.role == "sort")]
    chosen = test[test.prompt.isin(item.prompt)]
    middle = train.groupby("active")[settings.measure].mean().mean()
    return int(((said_by_words(train, chosen) > middle) == chosen.active).sum())


def clear_among(kind: str, counts: pd.Series) -> tuple[int, int]:
    some = counts[(results.kind == kind) & counts.notna()]
    return int((some >= CLEAR).sum()), len(some)


def exact(successes: int, of: int) -> str:
    if not of:
        return "none sorted"
    low, high = binomtest(successes, of).proportion_ci(0.95, method="exact")
    return f"{successes} of {of} [{low:.2f}, {high:.2f}]"


results["words"] = [right_by_words(row) for row in results.itertuples()]
judges = {"readers": results.correct, "words": results.words}
pd.DataFrame(
    {
        f"{kind} pairs": {
            **{f"clear to the {judge}": exact(*clear_among(kind, counts)) for judge, counts in judges.items()},
            **{f"right of {SORT}, {judge}": f"{counts[results.kind == kind].astype(float).mean():.1f}" for judge, counts in judges.items()},
        }
        for kind in ("clearest", "random")
    }
).replace("nan", "–") if len(results) else Markdown("*No pair of this run has enough prompts to be sorted.*")  # fmt: skip

# %% tags=["hide-input"]
counts = [clear_among(kind, results.correct) for kind in ("clearest", "random")]
unread = int(results.correct.isna().sum())
glue("clear-lookups", counts[0][0] if counts[0][1] else "not known", display=False)
glue("clear-random", counts[1][0] if counts[1][1] else "not known", display=False)
if not len(results):
    reading = "No pair of this run has enough prompts to be sorted."
elif unread == len(results):
    reading = "The deck of this run was not sorted by a reader."
else:
    p = fisher_exact([[clear, of - clear] for clear, of in counts], alternative="greater").pvalue
    reading = (
        f"Of the clearest look-ups {counts[0][0]} of {counts[0][1]} are clear to the readers, of the random pairs, "
        f"which were not kept, {counts[1][0]} of {counts[1][1]} (one-sided Fisher's exact test, p = {p:.2g})."
    )
    if counts[0][0] * counts[1][1] <= counts[1][0] * counts[0][1]:
        reading += " What we measured as clear is not what readers see."
    elif p >= 0.05:
        reading += " The difference could be chance."
    reading += f" {unread} items were not sorted for this run." if unread else ""
Markdown(reading)

# %% [markdown]
# ## Check and save
#
# Every item teaches with `train` and asks about `test`, no item teaches with a prompt that it asks
# about, no pair is in the deck twice, and no random pair is a kept one:

# %% tags=["hide-input"]
held_out = deck.role == "sort"
assert deck[held_out].prompt.str.contains("/test/").all()
assert deck[~held_out].prompt.str.contains("/train/").all()
assert not deck.duplicated(["item", "role", "text"]).any() or settings.protocol == "paper"
assert deck.groupby(["neuron", "head"])["item"].nunique().le(1).all()
taught = deck[~held_out].groupby(["item", "active"]).size()
assert taught.between(FEWEST["train"], LEARN).all()
assert (deck[held_out].groupby("item").size() == SORT).all()
is_kept = pd.Series(keys_of(deck), deck.index, dtype=object).isin(keys_of(kept))
assert (is_kept == (deck.kind == "clearest")).all()

save(settings, "deck", deck, model=model, seconds=stopwatch.seconds)
save(settings, "head_kinds", known_heads.rename_axis("head").reset_index(), model=model)
Markdown(f"Saved `deck`, {len(deck)} prompts in {deck.item.nunique()} items, and `head_kinds` of {len(known_heads)} heads.")  # fmt: skip

# %% [markdown] tags=["default-run"]
# We expected heads that wait for a topic, and saw heads that wait for a construction. Two of the pairs that readers
# found clear are of the kind that grammar books list: *either* in front of *or*, and *considered* in front of *to be*. Attention behaves somewhat as the textbook says: where a head is inactive, more
# of its attention goes to the beginning of the sequence, though not most of it. Two things disappointed us. Many
# pairs differ in ways for which we have no words, and about a third of the pairs of heads that are kept for one neuron
# act together, so a token has fewer independent look-ups than it has pairs. Hardly any of these heads is of one of the
# three known kinds that we tested.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
readable_pairs = int((kept.words_test >= 0.75).sum())
glue("pairs-told-by-words", readable_pairs, display=False)
known = [
    f"Words alone tell active from inactive held-out prompts, with a score of at least 0.75, for "
    f"{readable_pairs} of {len(kept)} kept pairs; with shuffled prompts for {int((kept.shuffled_test >= 0.75).sum())}."
    if len(kept) else "There was no kept pair.",
    f"On {percent(share)} of the active prompts looked at, the most attended position is the one that "
    "brings most." if best else "There was no attention to look at.",
    reading,
]  # fmt: skip
Markdown("\n".join(f"- {line}" for line in known))

# %% [markdown]
# What is not known: whether these heads *cause* anything. A head may feed a neuron, and the token's
# probability may not move when it is silenced. Nor is it known how many look-ups need several heads at once,
# which no single pair can show. What all of this adds up to for the run as a whole is the question of
# {doc}`16_analysis`. Before that, {ref}`explanations` tries to put each pair's contexts into words.
#
# ## Exercises
#
# 1. How many heads drive more than one neuron?

# %% tags=["hide-cell"]
# A head may be kept with several neurons; over all heads these numbers add up to the pairs.
drives = kept.groupby("head").neuron.nunique()
assert drives.sum() == len(kept)
f"{int((drives > 1).sum())} of {len(drives)} heads"

# %% [markdown]
# 2. For how many kept pairs do words tell much less about held-out prompts than about the training prompts
#    they were chosen on?

# %% tags=["hide-cell"]
# A loss of a quarter or more says that the words were those of these few training prompts.
lost = (kept.words - kept.words_test) >= 0.25
assert lost.sum() <= kept.words_test.notna().sum()
f"{int(lost.sum())} of {int(kept.words_test.notna().sum())} pairs"

# %% [markdown]
# 3. To try on your own: Write the deck with `python tools/blind_sort.py export smollm2 deck`, before you look at the tables above more
#    closely, and sort five items. How many do you get right, and which clue did you use?

# %% [markdown]
# ## Appendix: known heads, every item
#
# ### Heads of known kinds in the kept pairs
#
# These are the heads in most kept pairs. A head that looks at all places alike gets the row *chance*:


# %% tags=["hide-input", "hide-output"]
def tokens_of(names) -> str:
    """The tokens of some neurons, four at most."""
    tokens = sorted({readable(neurons.token[name]).strip() for name in names})
    return ", ".join(tokens[:4]) + (" …" if len(tokens) > 4 else "")


in_pairs = {head: (len(names), tokens_of(names)) for head, names in kept.groupby("head").neuron}
in_pairs = pd.DataFrame(
    list(in_pairs.values()), list(in_pairs), columns=["kept pairs", "tokens"], dtype=object
)
listed = in_pairs.sort_values("kept pairs", ascending=False, kind="stable").head(12)
listed.loc["chance"] = "–"
listed.join(kind_table.round(2))

# %% [markdown]
# ### Attention and contribution by kind of prompt

# %% tags=["hide-input", "hide-output"]
by_kind = pd.DataFrame(
    {
        "prompts": most_seen.groupby("active").size(),
        "most attended brings most": agree.groupby(most_seen.active).mean(),
        "attention at BOS": at_bos.groupby("active").attention.mean(),
        "brought by BOS": at_bos.groupby("active").brought.mean(),
        "most attention": most_seen.groupby("active").attention.mean(),
        "most brought": most_brought.groupby("active").brought.mean(),
    }
).rename(index={True: "active", False: "inactive"}).round(2)  # fmt: skip
by_kind if best else NOTHING

# %% tags=["hide-input", "hide-output"]
columns = [
    "prompts",
    "positions",
    "correlation",
    "with attention above 0.3",
    "of these, bringing less than a tenth",
]
pd.DataFrame(brought_by_kind, columns=columns).set_index("prompts").round(2)  # fmt: skip

# %% [markdown]
# ### The blind sort, item by item and reader by reader

# %% tags=["hide-input", "hide-output"]
order = results.sort_values(["kind", "correct", "item"], ascending=[True, False, True])
order["readers"] = [f"{n} of {SORT}" if pd.notna(n) else "not sorted" for n in order.correct]
order["by words"] = [f"{n} of {SORT}" for n in order.words]
order["token"] = order.token.map(readable)
order[["item", "kind", "token", "neuron", "head", "active", "readers", "by words"]].set_index(
    "item"
)

# %% tags=["hide-input", "hide-output"]
alone = {}
for number, verdicts in enumerate(mine, 1):
    one = scored(deck, verdicts)
    alone[f"reader {number}"] = {
        kind: f"{int(rows.clear.sum())} of {int(rows.correct.notna().sum())} clear, "
        f"{rows.correct.astype(float).mean():.1f} of {SORT} right on average"
        for kind, rows in one.groupby("kind")
    }
pd.DataFrame(alone).T if alone else Markdown("*Nobody has sorted the deck of this run.*")
