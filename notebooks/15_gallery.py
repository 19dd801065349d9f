# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (gallery)=
# # What does every look-up look like?
#
# The chapters before this one count and average, and follow two pairs by hand. A reader who wants to judge the look-ups
# for themselves needs to see them, all of them and not a choice of the good ones. This chapter gathers what the run measured about each
# kept {term}`pair` and runs the model on a few prompts of each, once as it is and once without the head.
#
# ```{raw} html
# <p><a class="gallery-link" href="../gallery/index.html"><b>Open the gallery: every look-up has a card with an address of its own.</b></a></p>
# ```
#
# | needs | leaves |
# | --- | --- |
# | `pairs`, `suffixes`, `heads` from {ref}`heads` and before, `deck` from {ref}`attention`, `explanations` and `scores` from {ref}`explanations` and {ref}`scores`, `head_ablations` from {ref}`head-ablation` | the gallery's cards, in this notebook itself |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import json
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from lookups.corpus.documents import run_documents
from lookups.explain.blind_sort import SORT, majority, read_verdicts, scored
from lookups.explain.explainer import PairPrompts
from lookups.measure.intervention import with_falls
from lookups.measure.look_up_table import directions, hold, mean_residuals
from lookups.explain.running_example import running_pairs
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.run.store import load
from lookups.settings import check_run, read_run
from lookups.show.look_ups import LookUpPrompt, look_up_view, measured_pairs
from lookups.show.views import LONGEST, readable
from lookups.statistics.differences import pair_means

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
rates, suffixes = load(settings, "follow_rates"), load(settings, "suffixes")
heads, pairs = load(settings, "heads"), load(settings, "pairs")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
kept = pairs[pairs.kept].sort_values(["neuron", "head"]).reset_index(drop=True)
PAIR = ["neuron", "head"]
prompts = PairPrompts(
    suffixes, heads, tokens=neurons.token, decode=model.decode, vocabulary=model.vocabulary
)

# %% [markdown]
# ## Which prompts are on a card?
#
# A card shows the strongest prompts of either kind, whatever followed in the text. They are held-out prompts where a pair
# has any of that kind, and training prompts where it has none:

# %%
EACH = 2  # prompts of a kind on a card


def strongest(neuron: str, head: str) -> pd.DataFrame:
    rows = prompts.rows(neuron, head)
    kinds = [rows[rows.active.astype(bool) == kind] for kind in (True, False)]
    held_out = [kind[kind.split == "test"] for kind in kinds]
    both = zip(held_out, kinds, strict=True)
    return pd.concat([(test if len(test) else kind).head(EACH) for test, kind in both])


# %% tags=["hide-input"]
def short(values: list, digits: int = 2) -> list:
    """Numbers, or rows of them, as a card keeps them: of the beginning and the last tokens."""
    kept = values if len(values) <= LONGEST else [values[0], *values[1 - LONGEST :]]
    return [short(one, digits) if isinstance(one, list) else number(one, digits) for one in kept]


def number(value: float, digits: int = 2) -> float | None:
    return None if value is None or pd.isna(value) else round(float(value), digits) + 0.0


def packed(prompt: LookUpPrompt) -> dict[str, Any]:
    """A prompt as a card keeps it; where a head looks must sum to one before anything is cut."""
    data = prompt.data()
    rows = np.array(data["pattern"], float)
    assert np.allclose(rows.sum(1), 1, atol=1e-2)
    assert np.allclose(np.triu(rows, 1), 0)
    assert np.allclose(rows[-1], data["attention"], atol=1e-2)
    tokens = data["tokens"]
    data["tokens"] = tokens if len(tokens) <= LONGEST else [tokens[0], *tokens[1 - LONGEST :]]
    data |= {name: short(data[name]) for name in ("attention", "brought", "activation", "pattern")}
    return data


chosen = {pair: strongest(*pair) for pair in kept[PAIR].itertuples(index=False, name=None)}
together = {name: [pair for pair in chosen if pair[0] == name] for name in kept.neuron.unique()}
measured: dict[tuple[str, str], list[LookUpPrompt]] = {pair: [] for pair in chosen}
for name, some in together.items():
    rows = pd.concat([chosen[pair] for pair in some])
    for head, one in zip(rows["head"], measured_pairs(model, name, rows), strict=True):
        measured[name, head].append(one)

# %% [markdown]
# ## What each number on a card is
#
# *Effect* is how much more of its activation the neuron owes to the head on active training prompts than on the others
# ({ref}`heads`). *Sentence* is the score E of the first explainer's sentence on held-out prompts ({ref}`scores`).
# *Without the head* is how many points of probability the neuron's token gains or loses when the head is silenced, on average over held-out
# prompts ({ref}`head-ablation`), and a share of that loss goes through the neuron ({ref}`direct-path`). The tokens that the head would bring most are the
# first of the list of mean residuals ({ref}`look-up-table`), here from fewer texts.


# %% tags=["hide-input"]
def first(table: pd.DataFrame) -> dict:
    """The rows of the run's first explainer by pair."""
    table = table[table.explainer == table.explainer.iloc[0]] if len(table) else table
    return {(row.neuron, row.head): row for row in table.itertuples()}


scores = load(settings, "scores")
scored_pairs = first(scores[scores.control == "none"])
sentences = first(load(settings, "explanations"))
silenced = with_falls(load(settings, "head_ablations"))
fell, through = (
    pair_means(silenced[silenced.kind == kind], "fall").set_index(PAIR)
    for kind in ("zero", "through_neuron")
)
deck = scored(load(settings, "deck"), majority(read_verdicts(settings.verdicts)))
deck = {(row.neuron, row.head): row for row in deck[deck.correct.notna()].itertuples()}

# %% tags=["hide-input"]
READ_AT_MOST, SEEN, HELD_AT, LISTED = 6_000, 3, 4, 8  # tokens of texts; times seen; prompts; tokens
documents = run_documents(settings, model, "train")
texts = [
    documents[n].ids
    for n in range(max(1, int((np.cumsum(documents.lengths) <= READ_AT_MOST).sum())))
]
layers = sorted({Head.parse(one).layer for one in kept["head"]})
residuals = mean_residuals(model, texts, layers, fewest=SEEN) if layers else None
held = {}
for name in kept.neuron.unique():
    mine = suffixes[(suffixes.neuron == name) & (suffixes.split == "train")]
    mine = mine.sort_values(["activation", "prompt"], ascending=[False, True]).head(HELD_AT)
    held[name] = hold(model, Neuron.parse(name), mine.token_ids.tolist())


def listed(neuron: str, head: str) -> list[str]:
    """The tokens that would bring the neuron most if the head looked at them."""
    if not len(residuals.tokens):
        return []
    one = Head.parse(head)
    towards = directions(model, Neuron.parse(neuron), one, held[neuron])[
        "post" if model.gated else "in"
    ]
    brought = (residuals.by_token[one.layer] @ towards).double().numpy(force=True).round(4)
    return [
        model.vocabulary[int(residuals.tokens[at])]
        for at in np.argsort(-brought, kind="stable")[:LISTED]
    ]


# %% tags=["hide-input"]
LEAST = 1.0  # points that a token must lose on average before a share of it is given


def group_of(name: str) -> str:
    return "selected" if neurons.selected.eq(True)[name] else neurons.group[name]


def card(neuron: str, head: str) -> dict[str, Any]:
    """All that the gallery says of a pair."""
    pair = neuron, head
    row, words, read = scored_pairs.get(pair), sentences.get(pair), deck.get(pair)
    known = pair in fell.index
    loss = (
        {kind: number(100 * fell[kind][pair], 1) for kind in ("active", "inactive")}
        if known
        else None
    )
    whole = loss["active"] if known else None
    return {
        "token": neurons.token[neuron], "neuron": neuron, "head": head, "group": group_of(neuron),
        "layer": int(neurons.layer[neuron]), "head_layer": Head.parse(head).layer,
        "gap": number(kept.set_index(PAIR).gap[pair]),
        "sentence": words.explanation if words else "", "explainer": words.explainer if words else "",
        "score": number(row.score) if row else None, "low": number(row.low) if row else None, "high": number(row.high) if row else None,
        "fall": loss, "through": number(through.active[pair] / fell.active[pair]) if whole is not None and whole >= LEAST else None,
        "sort": {"right": int(read.correct), "of": SORT, "clear": bool(read.clear)} if read else None,
        "table": listed(neuron, head),
        "prompts": json.dumps([packed(one) for one in measured[pair]], ensure_ascii=False, separators=(",", ":")),
    }  # fmt: skip


known = load(settings, "head_kinds").set_index("head")
known = known.loc[kept["head"].unique()]
kinds = {str(head): known.columns[row.to_numpy(bool)].tolist() for head, row in known.iterrows()}


class Gallery:
    """The cards of a run, for the book to lay out; a notebook shows how many there are."""

    def __init__(self, cards: list[dict[str, Any]]):
        split = "test" if (suffixes.split == "test").any() else "train"
        self.data = {"run": settings.id, "split": split, "kinds": kinds, "cards": cards}

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        words = f"{len(self.data['cards'])} cards, which the book shows in its gallery."
        return {"application/vnd.lookups.gallery+json": self.data, "text/plain": words}


# %% tags=["hide-input", "nbval-ignore-output"]
gallery = Gallery([card(*pair) for pair in chosen])
gallery

# %% [markdown]
# ## Check
#
# Every kept pair has a card with prompts of both kinds on it, every head looks somewhere with all of its
# attention and never at what comes later, and every pair that was silenced says what that cost:

# %% tags=["hide-input"]
cards = pd.DataFrame(gallery.data["cards"], columns=["neuron", "head", "token", "group", "fall"])
assert set(zip(cards.neuron, cards["head"], strict=True)) == set(chosen)
assert len(cards) == pairs.kept.sum()
assert set(fell.index) <= set(chosen)
for rows in chosen.values():
    assert set(rows.active) == {True, False}
    assert not rows.prompt.duplicated().any()
size = len(json.dumps(gallery.data, ensure_ascii=False))
assert size < 12_000 * max(len(cards), 1)
counts = [cards, *(cards[cards.group == group] for group in ("selected", "random"))]
pd.DataFrame(
    {
        name: {"cards": len(some), "neurons": some.neuron.nunique(), "heads": some["head"].nunique(), "tokens": some.token.nunique(),
               "prompts": sum(len(chosen[pair]) for pair in some[PAIR].itertuples(index=False, name=None))}
        for name, some in zip(("all", "selected neurons", "random neurons"), counts, strict=True)
    }
)  # fmt: skip

# %% [markdown]
# ## One card
#
# This is the drawing on the card of the {ref}`running example <running-example>`. Arcs lead from the last token to those that the head
# looks at; under each token stands how active the neuron is there:

# %% tags=["hide-input"]
example = next(iter(running_pairs(settings, rates, pairs)), None)
look_up_view(
    measured[example],
    f"{example[1]} and the “{readable(neurons.token[example[0]])}” neuron ({example[0]})",
    name="gallery-card",
    look_for="Compare where the head looks on an active and on an inactive prompt, and what the token loses without it.",
) if example else Markdown("This run has no card of a running example, since no pair of it was kept.")  # fmt: skip

# %% tags=["hide-input"]
address = f"#{example[0]}-{example[1]}" if example else ""
HTML(f'<p><a href="../gallery/index.html{address}">Its card in the gallery</a> has all numbers beside it.</p>'
     if example else '<p><a href="../gallery/index.html">The gallery</a> has the others.</p>')  # fmt: skip

# %% [markdown]
# ## What we know
#
# What is known is on the cards. What is not: whether a reader who leafs through them would call the same pairs look-ups
# that our thresholds do. The cards are ordered by effect, so the first of them are the best and not the usual ones. {ref}`analysis`
# says how many there are of each kind, and what they amount to together.
#
# ## Exercises
#
# 1. How many cards have a sentence that sorts held-out prompts with a score of at least .75?

# %% tags=["hide-cell"]
# A score needs held-out prompts of both kinds, so some cards have none.
scored = [card["score"] for card in gallery.data["cards"] if card["score"] is not None]
good = sum(score >= 0.75 for score in scored)
assert good <= len(scored) <= len(cards)
f"{good} of {len(scored)} cards with a score"

# %% [markdown]
# 2. Which head has the most cards, and for how many different tokens?

# %% tags=["hide-cell"]
# A head that serves many tokens says something general of the context; the gallery has a page for it.
of_head = (
    cards.groupby("head")
    .token.agg(["size", "nunique"])
    .sort_values(["size", "nunique"], ascending=False, kind="stable")
)
assert of_head["size"].sum() == len(cards)
of_head.head(1).rename(columns={"size": "cards", "nunique": "tokens"}) if len(cards) else "no card"
