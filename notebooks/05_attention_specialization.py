# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (attention)=
# # What does such a head look at?
#
# A {term}`pair` was kept because its head feeds the neuron on some prompts and not on others. If
# that is a {term}`context look-up`, something in the text must tell the two kinds of prompt apart,
# the head must look there, and a person who reads a few prompts should see it. We ask all three:
# of words that vote, of the attention, and of a reader who sorts prompts blindly.
#
# | needs | leaves |
# | --- | --- |
# | `02_neurons`, `03_suffixes`, `04_heads`, `04_pairs` from {ref}`heads` and before | `05_deck`: the prompts of the blind sort |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue
from scipy.stats import binomtest, fisher_exact
from sklearn.metrics import roc_auc_score

from lookups.artifacts import Stopwatch, load, save
from lookups.attention import Look, look
from lookups.deck import CLEAR, LEARN, SORT, draw_deck, is_sortable, majority, scored
from lookups.figures import COLOURS, house_style
from lookups.firing import activations
from lookups.model import load_model
from lookups.names import Head, Neuron
from lookups.pair_prompts import DECISIVE, PairPrompts, apart, widest
from lookups.runs import check_run, read_run
from lookups.sorting import read_verdicts
from lookups.views import (
    BOS,
    LONGEST,
    PromptText,
    attention_view,
    prompt_table,
    readable,
    token_view,
)
from lookups.wording import (
    ANYWHERE,
    Clue,
    clues,
    tallies_left_out,
    tally,
    votes,
)

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
neurons = load(settings, "02_neurons").drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "03_suffixes")
attributions = load(settings, "04_heads")
pairs = load(settings, "04_pairs")

# %% [markdown]
# Of the kept pairs we look at those of the selected neurons. A gated neuron is read through the
# product of its two inputs. Held-out prompts that read the same as a training prompt are left out,
# since they would test memory:

# %%
pairs = pairs[pairs.neuron.map(neurons.selected)]
kept = pairs[pairs.kept].reset_index(drop=True)
attributions = attributions[
    attributions.neuron.map(neurons.selected) & attributions.input.isin(DECISIVE)
]
prompts = PairPrompts(suffixes, attributions, tokens=neurons.token, decode=model.decode)
glue("kept-pairs", len(kept), display=False)
pd.Series(
    {
        "selected neurons": int(neurons.selected.sum()),
        "their pairs with candidate heads": len(pairs),
        "kept pairs": len(kept),
        "neurons with a kept pair": kept.neuron.nunique(),
        "heads in a kept pair": kept["head"].nunique(),
        "held-out prompts left out": int(prompts.left_out[neurons.selected].sum()),
    },
    name="number",
).to_frame()

# %% [markdown]
# ## One pair by hand
#
# We take the pair that {ref}`heads` ended with, whose head brings most on active prompts over what it
# brings on the others, and set its strongest prompts of the two kinds side by side. The neuron's token
# is appended and marked; below stands the file. What sets the left apart from the right?


# %% tags=["hide-input"]
def prompts_of(pair, split: str) -> pd.DataFrame:
    return prompts.rows(pair.neuron, pair.head, split)


def side_by_side(pair, most: int = 5):
    rows = prompts_of(pair, "train")
    columns = {f"{pair.head} active for {pair.neuron}": rows[rows.active]}
    columns[f"{pair.head} inactive"] = rows[~rows.active]
    shown = {title: some.head(most) for title, some in columns.items()}
    return prompt_table(
        {
            t: [PromptText(r.text, r.token, r.source) for r in some.itertuples()]
            for t, some in shown.items()
        }
    )


NOTHING = Markdown(
    "*This run kept no pair of a selected neuron, so there is nothing to show here.*"
)

# %%
by_hand = next(widest(kept).itertuples(), None)
side_by_side(by_hand) if by_hand else NOTHING

# %% [markdown]
# ## Do words tell?
#
# Before we ask a reader we ask a simpler judge. Every *clue* in a prompt votes: a token anywhere in
# it, or a token at one of its last four places. The weight of a vote is the logarithm of the clue's
# share among active prompts over its share among inactive ones, a tenth added to both
# ({func}`~lookups.wording.votes`). For the pair above, the strongest votes of both kinds:


# %%
def in_words(clue: Clue) -> str:
    places = {ANYWHERE: "anywhere", 0: "as the last token"}
    where = places.get(clue.back, f"{clue.back} before the last")
    return f"“{readable(model.vocabulary[clue.token_id])}” {where}"


def ballot(pair) -> pd.DataFrame:
    rows = prompts_of(pair, "train")
    seen = rows.token_ids.map(clues)
    table = pd.DataFrame(votes(seen.tolist(), rows.active).items(), columns=["clue", "vote"])
    for kind, some in {"active": seen[rows.active], "inactive": seen[~rows.active]}.items():
        table[f"share of {kind}"] = [np.mean([clue in one for one in some]) for clue in table.clue]
    return table.sort_values(["vote", "clue"], ascending=[False, True])


if by_hand:
    table = ballot(by_hand)
    table = pd.concat([table.head(4), table.tail(4)])
    strongest = table.assign(clue=table.clue.map(in_words)).set_index("clue").round(2)
strongest if by_hand else NOTHING

# %% [markdown]
# The more votes for active a prompt gets, the more likely should it be active. The score is the
# chance that of two prompts, one of each kind, the active one gets more: one half says nothing. On
# `train` each prompt is judged by the votes of the others; on `test`, by those of all training
# prompts. It takes {glue:text}`learn` training prompts of each kind at least. The same is done with
# the labels of each split shuffled; what they reach is chance.


# %%
def score(tallies, active: pd.Series) -> float:
    return roc_auc_score(active, np.round(tallies, 9)) if active.nunique() == 2 else np.nan


def judged(train: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    """How well words tell active from inactive prompts, on train (left out) and on test."""
    if min(train.active.sum(), (~train.active).sum()) < LEARN:
        return np.nan, np.nan
    seen, held_out = (rows.token_ids.map(clues).tolist() for rows in (train, test))
    given = votes(seen, train.active)
    on_train = score(tallies_left_out(seen, train.active), train.active)
    return on_train, score([tally(one, given) for one in held_out], test.active)


glue("learn", LEARN, display=False)

# %%
random = np.random.default_rng(settings.seed)
scores = []
for pair in kept.itertuples():
    both = [prompts_of(pair, split) for split in ("train", "test")]
    shuffled = [rows.assign(active=random.permutation(rows.active.tolist())) for rows in both]
    scores.append((*judged(*both), *judged(*shuffled)))
names = ["words", "words_test", "shuffled", "shuffled_test"]
kept[names] = np.array(scores, dtype=float).reshape(len(kept), len(names))

# %% [markdown]
# ## The clearest pairs
#
# Two things must hold for a look-up to be clear. Its contexts must differ in something that can be read:
# that is the score of the words on `train`. And its two kinds of prompts must be two kinds indeed: the
# numbers that decide whether a head is active must lie far *apart*, in standard deviations within a kind
# ({func}`~lookups.pair_prompts.apart`). A pair is as good as the worse of its two ranks. From now on
# *clearest* means: the {glue:text}`shown-pairs` best, at most {glue:text}`per-neuron` of one neuron,
# equals in the order of their names. Nothing of the test split has a say in it.


# %%
def ranked_by_both(table: pd.DataFrame) -> pd.DataFrame:
    """Order pairs by the worse of their ranks in `words` and `apart`; what is not known comes last."""
    worse = table[["words", "apart"]].rank(ascending=False, na_option="bottom").max(axis=1)
    known = table[["words", "apart"]].notna().all(axis=1)
    order = table.assign(worse=worse.where(known, np.inf))
    return order.sort_values(["worse", "neuron", "head"], kind="stable").drop(columns="worse")


# %%
MOST, PER_NEURON = 15, 2
kept["apart"] = [
    apart(prompts_of(pair, "train"), settings.measure, fewest=LEARN) for pair in kept.itertuples()
]
kept["apart"] = kept.apart.astype(float)
glue("shown-pairs", MOST, display=False)
glue("per-neuron", PER_NEURON, display=False)
ranked = ranked_by_both(kept)
clearest = ranked.groupby("neuron", sort=False).head(PER_NEURON).head(MOST).reset_index(drop=True)
best = list(clearest.itertuples())
clearest.assign(token=clearest.neuron.map(neurons.token).map(readable))[
    ["neuron", "token", "head", "n_prompts", "share", "apart", "words", "words_test"]
].round(2)

# %% [markdown]
# Who is chosen for a high score has been lucky, too. The same choice among pairs whose labels were
# shuffled shows what luck alone reaches:

# %%
random = np.random.default_rng(settings.seed)
mixed = [prompts_of(pair, "train") for pair in kept.itertuples()]
mixed = [rows.assign(active=random.permutation(rows.active.tolist())) for rows in mixed]
lucky = kept[["neuron", "head"]].assign(words=kept.shuffled, words_test=kept.shuffled_test)
lucky["apart"] = np.array([apart(r, settings.measure, fewest=LEARN) for r in mixed], dtype=float)
lucky = ranked_by_both(lucky).groupby("neuron", sort=False).head(PER_NEURON).head(len(clearest))
chosen = {"clearest pairs": clearest, "shuffled labels, chosen alike": lucky}
pd.DataFrame(
    {
        name: table[["words", "words_test"]].astype(float).mean().round(2)
        for name, table in chosen.items()
    }
).T.rename(columns={"words": "mean on train, which chose", "words_test": "mean on test"})

# %% [markdown]
# In {numref}`fig-words`, points to the upper right are pairs whose contexts can be told by their words on
# text that had no say in the choice.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How well votes of words tell a pair's active from its inactive prompts: on training prompts left out (across) and on held-out prompts (up). Crosses have shuffled labels. Read how far the dots lie above and to the right of the crosses, and whether the filled ones lie furthest.", "name": "fig-words"}, "image": {"alt": "Scatter of word scores on train and test, for pairs and for shuffled labels"}}
is_clearest = kept.set_index(["neuron", "head"]).index.isin(clearest.set_index(["neuron", "head"]).index)  # fmt: skip
groups = {
    "shuffled labels": kept[["shuffled", "shuffled_test"]],
    "other kept pairs": kept.loc[~is_clearest, ["words", "words_test"]],
    "clearest pairs": kept.loc[is_clearest, ["words", "words_test"]],
}
figure, axis = plt.subplots(figsize=(4.6, 4.2))
axis.axhline(0.5, color="black", linewidth=0.8)
axis.axvline(0.5, color="black", linewidth=0.8)
looks = [("x", "grey", "full"), ("o", "blue", "none"), ("o", "blue", "full")]
for (name, table), (marker, colour, fill) in zip(groups.items(), looks, strict=True):
    axis.plot(*table.T.to_numpy(), marker, color=COLOURS[colour], fillstyle=fill, label=name)
axis.set(xlabel="score on train, left out", ylabel="score on test", xlim=(0, 1.03), ylim=(0, 1.03))
axis.legend(loc="lower left")
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
# The three clearest of different neurons, or as many as there are, in their strongest training
# prompts:

# %%
different = list(clearest.drop_duplicates("neuron").itertuples())
NO_FURTHER = Markdown("*There is no kept pair of a further neuron.*") if different else NOTHING
side_by_side(different[0]) if different else NOTHING

# %%
side_by_side(different[1]) if len(different) > 1 else NO_FURTHER

# %%
side_by_side(different[2]) if len(different) > 2 else NO_FURTHER

# %% [markdown]
# ## Where it looks, and what it brings
#
# We take the clearest pair whose prompts leave something to look at (five tokens or more in the
# median of both kinds; if there is none, the clearest), and one active and one inactive training
# prompt of it: those that are nearest to the median of their kind in what decides, among prompts of 5
# to {glue:text}`longest-shown` tokens. Beside the pair's own head stand the three others that are
# most often active for this neuron. {func}`~lookups.attention.look` reads the
# {term}`attention weights <attention weight>`, and what the value at each position brings the
# neuron; the views are drawn by CircuitsVis {cite}`circuitsvis`.


# %%
glue("longest-shown", LONGEST - 1, display=False)


def typical(rows: pd.DataFrame) -> pd.Series:
    fits = rows[rows.token_ids.map(len).between(5, LONGEST - 1)]
    rows = fits if len(fits) else rows
    decides = rows[settings.measure]
    return rows.loc[(decides - decides.median()).abs().idxmin()]


def is_roomy(pair) -> bool:
    rows = prompts_of(pair, "train")
    return bool((rows.token_ids.map(len).groupby(rows.active).median() >= 5).all())


def look_back(pair, names: list[str], ids) -> Look:
    return look(model, Neuron.parse(pair.neuron), [Head.parse(name) for name in names], ids)


def in_tokens(ids) -> list[str]:
    return [BOS, *(model.vocabulary[token] for token in ids)]


look_at = next(filter(is_roomy, best), best[0] if best else None)
examples, seen = {}, {}
if best:
    rival = pairs[(pairs.neuron == look_at.neuron) & (pairs["head"] != look_at.head)]
    rival = rival.sort_values(["share", "head"], ascending=[False, True])
    names = [look_at.head, *rival["head"][:3]]
    rows = prompts_of(look_at, "train")
    examples = {"active": typical(rows[rows.active]), "inactive": typical(rows[~rows.active])}
    seen = {kind: look_back(look_at, names, row.token_ids) for kind, row in examples.items()}
Markdown(f"The pair is {look_at.neuron} and {look_at.head}.") if best else NOTHING

# %%
attention_view(
    in_tokens(examples["active"].token_ids), seen["active"].pattern, names,
    name="fig-attention-active",
    look_for=f"{names[0]} is active on this prompt. Enlarge it and read its last row: which tokens "
    "get the attention of the last one?",
) if best else NOTHING  # fmt: skip

# %%
attention_view(
    in_tokens(examples["inactive"].token_ids), seen["inactive"].pattern, names,
    name="fig-attention-inactive",
    look_for=f"{names[0]} is inactive on this prompt. Where does its last row look now?",
) if best else NOTHING  # fmt: skip

# %% [markdown]
# A head may look hard at a token and take nothing from it. The {term}`weighted attention` of a
# position is the attention it gets times what the value there adds to the neuron's input, one term
# of the sum in {eq}`eq-attribution`. So it must sum to the {term}`head attribution` of chapter 4,
# which was computed by another way:


# %% tags=["hide-input"]
sums = pd.DataFrame(
    {
        kind: {
            "attention, summed": float(one.pattern[0, -1].sum()),
            "weighted attention, summed": float(one.attribution[0]),
            "attribution in `04_heads`": float(examples[kind].attribution),
        }
        for kind, one in seen.items()
    }
)
if best:
    summed, stored = sums.iloc[1].to_numpy(), sums.iloc[2].to_numpy()
    assert model.dtype.itemsize < 4 or np.allclose(summed, stored, rtol=1e-3, atol=1e-4)
sums.round(3) if best else NOTHING

# %% [markdown]
# For the active prompt, token by token: the attention of the last token through the pair's head,
# what that brings the neuron, and how strongly the neuron itself fires at each token.


# %% tags=["hide-input"]
def fires_at(pair, ids) -> list[float]:
    """The neuron's activation at every token; the beginning of the sequence is given none."""
    prefixes = [ids[: n + 1] for n in range(len(ids))]
    return [0.0, *activations(model, [Neuron.parse(pair.neuron)] * len(ids), prefixes)]


ids = examples["active"].token_ids if best else []
series = (
    [f"attention of {names[0]}", f"brought by {names[0]}", f"activation of {look_at.neuron}"]
    if best
    else []
)
token_view(
    in_tokens(ids),
    np.stack([seen["active"].pattern[0, -1].numpy(force=True),
              seen["active"].contribution[0].numpy(force=True),
              fires_at(look_at, ids)], axis=1),
    name="fig-attention-tokens",
    series=series,
    look_for="Choose what is coloured. Is the token that gets most attention the one that brings "
    "most? Does the neuron fire before the last token?",
) if best else NOTHING  # fmt: skip

# %% [markdown]
# ## Attention is not contribution
#
# The same for all the clearest pairs: up to ten active and ten inactive training prompts of each,
# the strongest first. A row of this table is one position of one prompt; every sum is held against
# `04_heads`:


# %%
def positions_of(pair, most: int = 10) -> list[pd.DataFrame]:
    found = []
    for row in prompts_of(pair, "train").groupby("active").head(most).itertuples():
        one = look_back(pair, [pair.head], row.token_ids)
        assert model.dtype.itemsize < 4 or np.isclose(
            float(one.attribution[0]), row.attribution, rtol=1e-3, atol=1e-4
        )
        table = pd.DataFrame({"token": in_tokens(row.token_ids)})
        table["attention"] = one.pattern[0, -1].numpy(force=True)
        table["brought"] = one.contribution[0].numpy(force=True)
        found.append(
            table.assign(neuron=pair.neuron, head=pair.head, prompt=row.prompt, active=row.active)
        )
    return found


columns = ["token", "attention", "brought", "neuron", "head", "prompt", "active"]
found = [table for pair in best for table in positions_of(pair)]
positions = pd.concat(found) if found else pd.DataFrame(columns=columns)
positions = positions.reset_index(names="place").astype(
    {"attention": float, "brought": float, "active": bool}
)

# %% [markdown]
# For each prompt: which position gets most of the attention, and which brings most? `place` 0 is
# the {term}`BOS` token.

# %%
one_prompt = positions.groupby(["neuron", "head", "prompt"], sort=False)
most_seen = positions.loc[one_prompt.attention.idxmax()].reset_index(drop=True)
most_brought = positions.loc[one_prompt.brought.idxmax()].reset_index(drop=True)
agree = most_seen.place == most_brought.place
at_bos = positions[positions.place == 0].reset_index(drop=True)
by_kind = pd.DataFrame(
    {
        "prompts": most_seen.groupby("active").size(),
        "most seen brings most": agree.groupby(most_seen.active).mean(),
        "attention at BOS": at_bos.groupby("active").attention.mean(),
        "brought by BOS": at_bos.groupby("active").brought.mean(),
        "most attention": most_seen.groupby("active").attention.mean(),
        "attention where most is brought": most_brought.groupby("active").attention.mean(),
        "most brought": most_brought.groupby("active").brought.mean(),
    }
).rename(index={True: "active", False: "inactive"}).round(2)  # fmt: skip
by_kind

# %%
share = float(agree[most_seen.active].mean())
rest = float(at_bos[~at_bos.active].attention.mean() - at_bos[at_bos.active].attention.mean())
glue("seen-is-brought", f"{share:.0%}" if best else "not defined", display=False)
glue("rests-at-bos", f"{rest:+.2f}" if best else "not defined", display=False)
misled = (
    "In the others, who reads the pattern alone names the wrong one."
    if share < 1
    else "So here the pattern alone would have named the right one."
)
if rest > 0.05:
    resting = "Where they are inactive, these heads give more of their attention to BOS: they rest."
elif rest < -0.05:
    resting = "Where they are inactive, these heads give less of their attention to BOS."
else:
    resting = (
        "They give BOS about as much attention where they are inactive as where they are active."
    )
Markdown(
    f"In {share:.0%} of the active prompts the position that gets most attention is also the one "
    f"that brings most. {misled} {resting} (Attention at BOS, inactive less active: {rest:+.2f}.)"
) if best else NOTHING

# %% [markdown]
# What changes between active and inactive prompts, then: how hard the head looks, or what it finds?

# %%
strength = most_seen.groupby("active").attention.mean().reindex([True, False])
found = most_seen.groupby("active").brought.mean().reindex([True, False])
ratio = found[False] / found[True] if best else np.nan
reading = (
    f"On active prompts the most seen position gets {strength[True]:.2f} of the attention and brings "
    f"{found[True]:.2f}; on inactive ones it gets {strength[False]:.2f} and brings {found[False]:.2f}. "
)
if strength[False] < strength[True] - 0.1:
    reading += "Where these heads are inactive, their attention is less sure of its place."
elif ratio < 0.5:
    reading += "They look as hard where they are inactive, and bring less than half as much: what "
    reading += "they find tells the two kinds of prompt apart, not how hard they look."
else:
    reading += (
        "Neither how hard they look nor what the most seen position brings tells the two apart."
    )
Markdown(reading) if best else NOTHING

# %% [markdown]
# In {numref}`fig-brought` attention would be contribution if all points of a kind lay on one line
# through the origin. Points to the lower right are looked at and bring nothing.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Every position of the prompts of the clearest pairs: the attention it gets from the last token (across), and what it brings the neuron (up), as a share of what the pair's head brings on an average active prompt. Blue: active prompts; orange: inactive ones.", "name": "fig-brought"}, "image": {"alt": "Scatter of attention weight against weighted attention, for active and inactive prompts"}}
whole = positions[positions.active].groupby(["neuron", "head", "prompt"]).brought.sum()
whole = whole.groupby(["neuron", "head"]).mean().rename("unit").reset_index()
scaled = positions.merge(whole, on=["neuron", "head"], how="left")
scaled["share"] = scaled.brought / scaled.unit
figure, axis = plt.subplots()
shown = []
for kind, colour in {"inactive": "orange", "active": "blue"}.items():
    some = scaled[scaled.active == (kind == "active")]
    axis.plot(some.attention, some["share"], ".", color=COLOURS[colour], alpha=0.5, label=kind)
    seen_well = some[some.attention > 0.3]
    idle = (seen_well["share"].abs() < 0.1).mean()
    shown.append((kind, len(some), some.attention.corr(some["share"]), len(seen_well), idle))
axis.set(xlabel="attention from the last token", ylabel="brought, share of an active prompt's")
axis.legend(title="prompts")
plt.show()
columns = [
    "prompts",
    "positions",
    "correlation",
    "with attention above 0.3",
    "of these, bringing less than a tenth",
]
pd.DataFrame(shown, columns=columns).set_index("prompts").round(2)

# %% [markdown]
# ## Who specialises in what
#
# What do these heads fetch? For each of the clearest pairs: the tokens that brought most, over its
# active prompts; the tokens most looked at, over its inactive ones; and the clue whose vote for
# active is strongest. A reader of this table should still go back to the prompts: a token that is
# fetched is not yet the context that matters.


# %% tags=["hide-input"]
def commonest(rows: pd.DataFrame, pair) -> str:
    own = rows[(rows.neuron == pair.neuron) & (rows["head"] == pair.head)]
    counts = own.groupby("token").size().reset_index(name="n")
    counts = counts.sort_values(["n", "token"], ascending=[False, True]).head(3)
    return ", ".join(f"“{readable(row.token)}” {row.n}" for row in counts.itertuples())


pd.DataFrame(
    [
        {
            "neuron": pair.neuron,
            "for": readable(neurons.token[pair.neuron]),
            "head": pair.head,
            "brought most, active": commonest(most_brought[most_brought.active], pair),
            "most looked at, inactive": commonest(most_seen[~most_seen.active], pair),
            "strongest vote": in_words(ballot(pair).clue.iloc[0]),
        }
        for pair in best
    ]
) if best else NOTHING

# %% [markdown]
# ### One token, several neurons
#
# If a token's neurons divide its contexts among them, different heads feed them; if they are
# doubles, the same heads do. For the tokens with most selected neurons, the heads most often active:

# %%
profiles = pairs.pivot(index="neuron", columns="head", values="share").fillna(0.0).astype(float)


def often_active(neuron: str) -> str:
    row = profiles.loc[neuron].sort_values(ascending=False, kind="stable")
    return ", ".join(f"{name} {share:.2f}" for name, share in row.head(3).items() if share > 0)


about = pd.DataFrame({"token": neurons.token.reindex(profiles.index), "neuron": profiles.index})
about["neurons"] = about.groupby("token").neuron.transform("size")
about["parsed"] = about.neuron.map(Neuron.parse)
order = about[about.neurons > 1].sort_values(["neurons", "token", "parsed"], ascending=[False, True, True])  # fmt: skip
order = order.head(20).assign(often=[often_active(name) for name in order.neuron[:20]])
order[["token", "neuron", "often"]].rename(columns={"often": "heads most often active"}).reset_index(drop=True)  # fmt: skip

# %% [markdown]
# A neuron's *profile* is the share of its training prompts on which each candidate head is active.
# We correlate the profiles of every two selected neurons of one layer. In {numref}`fig-alike` the
# pairs of neurons that share a token stand beside those that do not, which is what chance and the
# layer's habits give:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Correlation between the profiles of two neurons of one layer, that is, of the shares of prompts on which each head is active. Each dot is two neurons, the bar the median. Dots of the left column that stand above those of the right are doubles; low ones divide the token's contexts among heads.", "name": "fig-alike"}, "image": {"alt": "Correlations of head profiles, for neurons of the same and of different tokens"}}
with np.errstate(invalid="ignore"):
    table = np.corrcoef(profiles) if len(profiles) > 1 else np.empty((0, 0))
one, other = np.triu_indices(len(table), 1)
layer, token = (neurons[name].reindex(profiles.index).to_numpy() for name in ("layer", "token_id"))
alike = pd.DataFrame({"correlation": table[one, other], "same": token[one] == token[other]})
alike = alike[(layer[one] == layer[other]).astype(bool)].dropna()
figure, axis = plt.subplots(figsize=(4.6, 3.6))
shown = []
for place, (name, same) in enumerate({"same token": True, "different tokens": False}.items()):
    some = np.sort(alike.correlation[alike.same == same])
    axis.plot(place + np.linspace(-0.3, 0.3, len(some)), some, ".", alpha=0.5,
              color=COLOURS["blue" if same else "grey"])  # fmt: skip
    if len(some):
        axis.hlines(np.median(some), place - 0.35, place + 0.35, color="black")
    shown.append((name, len(some), alike.correlation[alike.same == same].median(), some.std() if len(some) else np.nan))  # fmt: skip
axis.set_xticks([0, 1], ["same token", "different tokens"])
axis.set(ylabel="correlation of two profiles", ylim=(-1.05, 1.05), xlim=(-0.5, 1.5))
plt.show()
doubles = pd.DataFrame(shown, columns=["two neurons", "number", "median", "sd"]).set_index("two neurons")  # fmt: skip
doubles.round(2)

# %%
same, other = doubles["median"]
if doubles.number.min() == 0:
    reading = "cannot be compared: this run has no two selected neurons of one token in a layer, or no others."  # fmt: skip
else:
    reading = f"correlate at {same:.2f} (median), those of different tokens at {other:.2f}. " + (
        "A token's neurons share their heads more than neurons in general do."
        if same - other > 0.1
        else "A token's neurons are fed by different heads more than neurons in general are."
        if same - other < -0.1
        else "Sharing a token makes neurons no more and no less alike in the heads that feed them."
    )
Markdown(f"The profiles of two neurons of one token {reading}")

# %% [markdown]
# ### One neuron, several heads
#
# Do the heads kept for one neuron act together, or do they take turns? Two measures over the training
# prompts: the correlation $r$ of their attributions, and φ, the correlation of being active or not.
# The active rule lets few heads pass on a prompt, which by itself pushes φ below 0. So $r$ decides.


# %% tags=["hide-input"]
def overlaps(neuron: str, names: list[str]) -> pd.DataFrame:
    rows = attributions[(attributions.neuron == neuron) & attributions["head"].isin(names)]
    rows = rows[rows.split == "train"].astype({"active": float})
    both = rows.pivot(index="prompt", columns="head", values=["attribution", "active"])
    r, phi = (both[name][names].corr().to_numpy() for name in ("attribution", "active"))
    one, other = np.triu_indices(len(names), 1)
    heads = [f"{names[a]}, {names[b]}" for a, b in zip(one, other, strict=True)]
    return pd.DataFrame(
        {"neuron": neuron, "heads": heads, "r": r[one, other], "φ": phi[one, other]}
    )


columns = ["neuron", "heads", "r", "φ"]
together = [
    overlaps(neuron, sorted(rows["head"], key=Head.parse))
    for neuron, rows in kept.groupby("neuron")
    if len(rows) > 1
]
overlap = pd.concat(together) if together else pd.DataFrame(columns=columns)
overlap = overlap.astype({"r": float, "φ": float}).sort_values(["r", "neuron", "heads"])
overlap.insert(1, "for", overlap.neuron.map(neurons.token))
pd.concat([overlap.head(5), overlap[5:].tail(5)]).reset_index(drop=True).round(2)

# %%
turns, both = int((overlap.r < -0.3).sum()), int((overlap.r > 0.3).sum())
glue("heads-take-turns", turns, display=False)
glue("heads-together", both, display=False)
if turns > both:
    reading = "Taking turns is the commoner case, as if each head stood for contexts of its own."
elif both > turns:
    reading = "Acting together is the commoner case, as if the heads read the same contexts."
else:
    reading = "Neither case is the commoner one."
Markdown(
    f"Of {len(overlap)} pairs of heads kept for the same neuron, {turns} take turns (r below -0.3) "
    f"and {both} act together (r above 0.3). {reading}"
    if len(overlap)
    else "No neuron has two kept heads, so no two heads can be compared."
)

# %% [markdown]
# (blind-sort)=
# ## Does a reader see it?
#
# The bar for calling a look-up *clear*: somebody who knows neither neuron nor head reads
# {glue:text}`learn-each` active and {glue:text}`learn-each` inactive training prompts, each with the
# token appended, and sorts {glue:text}`to-sort` held-out prompts, half of each kind where there are
# so many. With {glue:text}`to-be-clear` right the look-up is clear. Among the clearest pairs,
# shuffled, stand as many pairs drawn at random from those of the selected neurons' pairs that have
# enough prompts of both kinds and are not among the clearest. The reader is not told which is which.
# Where several readers sort the deck, what more than half of them say of a prompt counts.

# %%
glue("learn-each", LEARN, display=False)
glue("to-sort", SORT, display=False)
glue("to-be-clear", CLEAR, display=False)


def sortable(pair) -> bool:
    return is_sortable(pd.concat([prompts_of(pair, split) for split in ("train", "test")]))


able = ranked[[sortable(pair) for pair in ranked.itertuples()]] if len(ranked) else ranked
clear = able.groupby("neuron", sort=False).head(PER_NEURON).head(MOST)
rest = pairs[pairs.n_active.between(LEARN, pairs.n_prompts - LEARN)]
rest = rest[
    ~rest.set_index(["neuron", "head"]).index.isin(clear.set_index(["neuron", "head"]).index)
]
lots = np.random.default_rng(settings.seed).permutation(len(rest))
drawn = []
for pair in rest.sort_values(["neuron", "head"]).iloc[lots].itertuples():
    if len(drawn) < len(clear) and sortable(pair):
        drawn.append((pair.neuron, pair.head, "random"))
items = [(pair.neuron, pair.head, "clearest") for pair in clear.itertuples()] + drawn
items = pd.DataFrame(items, columns=["neuron", "head", "kind"])
items.groupby("kind").size().rename("pairs").to_frame()

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper lets a language model put the contexts of a pair into words and then sort held-out
# prompts by them {cite}`neo2024`. Here a reader sorts, no sentence stands in between, and random
# pairs stand among the others. Pairs with fewer than three held-out prompts of a kind are
# left out, as they are there when one kind is missing.
# ```
#
# `python -m lookups.sorting export` writes the deck for a reader, `record` keeps the verdicts
# with the project. A verdict is kept under the digest of its item, so it counts only where the run
# shows exactly the prompts that were read, with the same answers.

# %%
material = [prompts_of(pair, split) for pair in items.itertuples() for split in ("train", "test")]
columns = ["neuron", "head", "split", "prompt", "text", "token", "active"]
material = pd.concat(material) if material else pd.DataFrame(columns=columns)
deck = draw_deck(items, material[columns], seed=settings.seed)
readers = read_verdicts(settings.verdicts)
results = scored(deck, majority(readers))

# %% [markdown]
# Beside the reader stand the words again, judging the same held-out prompts by the votes of all
# training prompts of the pair, which are many more than the reader saw. `active` counts the active
# ones among the held-out prompts:


# %% tags=["hide-input"]
def right_by_words(row) -> int:
    train, test = (prompts_of(row, split) for split in ("train", "test"))
    given = votes(train.token_ids.map(clues).tolist(), train.active)
    item = deck[(deck.item == row.item) & (deck.role == "sort")]
    chosen = test[test.prompt.isin(item.prompt)]
    called = [tally(clues(ids), given) > 0 for ids in chosen.token_ids]
    return int((np.array(called) == chosen.active).sum())


results["words"] = [right_by_words(row) for row in results.itertuples()]
order = results.sort_values(["kind", "correct", "item"], ascending=[True, False, True])
read = order.correct.notna()
order["reader"] = [f"{n} of {SORT}" if pd.notna(n) else "not sorted" for n in order.correct]
order["clear"] = order.clear.map({True: "yes", False: "no"}).where(read, "")
order["by words"] = [f"{n} of {SORT}" for n in order.words]
order["token"] = order.token.map(readable)
order[["item", "kind", "neuron", "head", "token", "active", "reader", "clear", "by words"]].set_index("item")  # fmt: skip


# %% tags=["hide-input"]
def clear_among(kind: str, counts: pd.Series) -> tuple[int, int]:
    some = counts[(results.kind == kind) & counts.notna()]
    return int((some >= CLEAR).sum()), len(some)


def exact(successes: int, of: int) -> str:
    if not of:
        return "none sorted"
    low, high = binomtest(successes, of).proportion_ci(0.95, method="exact")
    return f"{successes} of {of} (95 % interval {low:.2f} to {high:.2f})"


tallied = pd.DataFrame(
    {
        judge: {kind: exact(*clear_among(kind, results[column])) for kind in ("clearest", "random")}
        for judge, column in {
            "clear to the reader": "correct",
            "clear to the words": "words",
        }.items()
    }
)
tallied

# %% [markdown]
# Each reader alone:

# %%
alone = {}
for number, verdicts in enumerate(readers, 1):
    one = scored(deck, verdicts)
    alone[f"reader {number}"] = {
        kind: f"{int(rows.clear.sum())} of {int(rows.correct.notna().sum())} clear, "
        f"{rows.correct.mean():.1f} of {SORT} right on average"
        for kind, rows in one.groupby("kind")
    }
pd.DataFrame(alone).T if alone else Markdown("*The deck was not sorted by a reader for this run.*")

# %% [markdown]
# The intervals are Clopper and Pearson's, which hold their level for small numbers. Guessing is
# right on nine or ten of ten prompts once in a hundred items.

# %%
counts = [clear_among(kind, results.correct) for kind in ("clearest", "random")]
unread = int(results.correct.isna().sum())
glue("clear-lookups", counts[0][0] if counts[0][1] else "not known", display=False)
glue("clear-random", counts[1][0] if counts[1][1] else "not known", display=False)
if not len(results):
    reading = "No pair of this run has enough prompts to be sorted."
elif unread == len(results):
    reading = "The deck was not sorted by a reader for this run."
else:
    p = fisher_exact([[clear, of - clear] for clear, of in counts], alternative="greater").pvalue
    more = counts[0][0] * counts[1][1] > counts[1][0] * counts[0][1]
    reading = (
        f"To a reader {counts[0][0]} of {counts[0][1]} look-ups among the clearest are clear, and "
        f"{counts[1][0]} of {counts[1][1]} random ones (one-sided Fisher's exact test, p = {p:.2g}). "
    )
    if not more:
        reading += "That is not more: what sets pairs apart is not what readers see."
    else:
        reading += "That is more." if p < 0.05 else "That is more, but chance could do as much."
    reading += f" {unread} items were not sorted for this run." if unread else ""
Markdown(reading)

# %% [markdown]
# ## Check and save
#
# Every item teaches with `train` and asks about `test`, none teaches with a prompt it asks about,
# and no pair is in the deck twice:

# %%
held_out = deck.role == "sort"
assert deck[held_out].prompt.str.contains("/test/").all()
assert deck[~held_out].prompt.str.contains("/train/").all()
assert not deck.duplicated(["item", "role", "text"]).any() or settings.protocol == "paper"
assert deck.groupby(["neuron", "head"])["item"].nunique().le(1).all()
assert (deck.groupby("item").size() == 2 * LEARN + SORT).all()

save(settings, "05_deck", deck, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `05_deck`: {len(deck)} prompts in {deck.item.nunique()} items.")

# %% [markdown]
# ## What we know

# %%
readable_pairs = int((kept.words_test >= 0.75).sum())
glue("pairs-told-by-words", readable_pairs, display=False)
known = [
    f"Words alone tell active from inactive held-out prompts, with a score of at least 0.75, for "
    f"{readable_pairs} of {len(kept)} kept pairs"
    + (f"; with shuffled labels for {int((kept.shuffled_test >= 0.75).sum())}." if len(kept) else "."),
    f"In {share:.0%} of the active prompts looked at, the most attended position is the one that "
    "brings most." if best else "There was no attention to look at.",
    reading,
]  # fmt: skip
Markdown("\n".join(f"- {line}" for line in known))

# %% [markdown]
# What is not known: whether these heads *cause* anything. A head may bring a neuron its news, and
# the token's probability may not move when it is silenced. Nor is it known how many look-ups need
# several heads at once, which no pair can show. What all of this adds up to for the run as a whole
# is the question of {doc}`06_analysis`.
#
# ```{admonition} Try it
# :class: tip
# Write the deck with `python -m lookups.sorting export`, before you look at the tables above more
# closely, and sort five items. How many do you get right, and which clue did you use?
# ```
