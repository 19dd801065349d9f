"""How much a run's chapters have a model read, counted from the run's settings or its tables.

What a chapter reads is counted in tokens, BOS included, each weighted with the share of the layers
that it passes through (a pass that stops after layer 2 of 12 is a quarter of one). Where a chapter
before has left its table, its rows are counted; else `GUESS` stands for what only a run can tell.
Nothing is read here, and nothing but the model is counted: neither drawing nor statistics.
Used by `lookups.costs`; the chapters themselves are the reference (tests/test_costs.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lookups.artifacts import load
from lookups.documents import Documents
from lookups.errors import MissingStage, StaleStage
from lookups.names import Head, Neuron
from lookups.runs import Run

DRAWS = 10
"""Times that chapter 1 asks for every neuron's congruence: two rules, two nulls of four draws."""

KINDS, ALONE = 3, 3
"""Changed passes a row of chapter 9: at every position (zero, mean, another head), at the last."""


class Guess(NamedTuple):
    """What is not known before the chapters have run, for a neuron that is examined."""

    suffix: int = 17
    """Tokens that are left of a prompt, and …"""
    search: int = 600
    """… tokens read to find that: means over the authors' released GPT-2 small prompts, those
    counted in that are not cut below 100."""
    sound: float = 1.0
    """Sound neurons, in neurons of the paper's list."""
    pairs: float = 1.0
    """Kept pairs."""


GUESS = Guess()


class Sizes(NamedTuple):
    """What of a model's configuration decides how long it takes."""

    layers: int
    heads: int
    d_model: int
    d_mlp: int
    vocabulary: int
    context: int
    parameters: int
    signs: int
    """2 where neurons are read with both signs."""

    @property
    def in_blocks(self) -> int:
        """Parameters that a token is multiplied with on its way, embeddings left out."""
        return max(1, self.parameters - self.vocabulary * self.d_model)


class Work(NamedTuple):
    """What one chapter lets the model do."""

    documents: int = 0
    """Texts that are read: documents, or prompts cut from them."""
    tokens: int = 0
    """Their tokens, BOS included, as often as they are read."""
    passes: float = 0.0
    """The same, each token weighted with the share of the layers that it passes."""
    kept: int = 0
    """Documents of which every neuron's maximum is kept."""
    pairs: int = 0
    """Pairs that are worked on beside the model."""
    known: bool = True
    """Whether all of it was counted, and nothing guessed."""


class Facts(NamedTuple):
    """What is known of a run before its chapters are executed."""

    settings: Run
    sizes: Sizes
    texts: dict[str, Documents]
    tables: dict[str, pd.DataFrame]
    """Stages that are there and fresh, by name."""

    @property
    def layers(self) -> list[int]:
        """The layers whose neurons are scanned."""
        return sorted({*self.settings.layers, *self.settings.middle_layers})

    @property
    def listed(self) -> int:
        """Neurons that are examined whatever texts say: the list and its two controls."""
        settings = self.settings
        late = len(settings.layers)
        middle = settings.neurons_per_layer * len(settings.middle_layers)
        return late * (settings.neurons_per_layer + settings.random_per_layer) + middle

    @property
    def train_share(self) -> float:
        """The share of all prompts that are of the train split."""
        table = self.tables.get("03_suffixes")
        return 1 / len(self.texts) if table is None else float((table.split == "train").mean())

    def depth(self, layer: float | int | np.ndarray) -> Any:
        """Return the share of the layers that a pass goes through which stops after `layer`."""
        return (layer + 1) / self.sizes.layers

    def guessed_prompts(self) -> int:
        """Return how many prompts chapter 2 may leave, both splits together."""
        settings = self.settings
        spread = settings.spread_per_neuron if settings.protocol == "sound" else (("", 0),)
        a_split = dict.fromkeys(self.texts, settings.prompts_per_neuron)
        a_split |= {s: a_split[s] + size for s, size in spread if s in a_split}
        sound = GUESS.sound * settings.neurons_per_layer * len(settings.layers)
        prompts = sum(min(n, len(self.texts[split])) for split, n in a_split.items())
        return round((self.listed + sound) * prompts)


def tables_of(settings: Run) -> dict[str, pd.DataFrame]:
    """Return the stages that tell what later chapters read, those that are there and fresh."""
    found = {}
    for stage in ("02_neurons", "02_prompts", "03_suffixes", "04_pairs"):
        try:
            found[stage] = load(settings, stage)
        except (MissingStage, StaleStage):
            continue
    return found


def corpus_and_model(facts: Facts) -> Work:
    """Chapter 0: the surprise at every token of a few documents, and texts continued."""
    last = list(facts.texts.values())[-1]
    lengths = last.lengths[:160]
    tokens = int(lengths.sum()) + len(lengths) + 32 * 41 + 24 * 20
    unembedded = 1 + facts.sizes.d_model * facts.sizes.vocabulary / facts.sizes.in_blocks
    return Work(len(lengths) + 32, tokens, tokens * unembedded)


def next_token_neurons(facts: Facts) -> Work:
    """Chapter 1: every neuron times the unembedding, counted as the tokens that cost as much."""
    sizes = facts.sizes
    neurons = sizes.layers * sizes.d_mlp * sizes.signs
    products = DRAWS * neurons * sizes.d_model * sizes.vocabulary
    rotations = (
        24 * sizes.layers * sizes.d_mlp * sizes.d_model**2
    )  # three QR of 4 draws, in float64
    return Work(1, 9, (products + rotations) / sizes.in_blocks)


def prompts(facts: Facts) -> Work:
    """Chapter 2: all documents once, then some prompts alone."""
    fewest = 1 if facts.settings.prompts is not None else 2
    lengths = np.concatenate([one.lengths for one in facts.texts.values()])
    lengths = lengths[lengths >= fewest]
    left = facts.tables.get("02_prompts")
    rows = facts.guessed_prompts() if left is None else len(left)
    all_again = facts.settings.model.dtype in ("bfloat16", "float16")
    again = rows if all_again else min(rows, 1000)
    mean = lengths.mean() / 2 + 1 if left is None else left.position.mean() + 2
    tokens = int(lengths.sum()) + len(lengths) + round(again * mean)
    depth = facts.depth(facts.layers[-1])
    return Work(len(lengths), tokens, tokens * depth, kept=len(lengths), known=left is not None)


def suffixes(facts: Facts) -> Work:
    """Chapter 3: every length of every prompt up to the one that is enough."""
    cut, left = facts.tables.get("03_suffixes"), facts.tables.get("02_prompts")
    longest = facts.settings.longest
    all_lengths = longest * (longest + 3) // 2
    if cut is not None:
        length = (cut.stop - cut.start).to_numpy()
        dropped = len(left) - int(cut.copies.sum()) if left is not None else 0
        rows = int(cut.copies.sum()) + dropped
        searched = (length * (length + 3) // 2 * cut.copies).sum() + dropped * all_lengths
    else:
        rows = facts.guessed_prompts() if left is None else len(left)
        searched = rows * min(GUESS.search, all_lengths)
    sample = 60 * min(all_lengths, GUESS.search * 3)  # of which every length is measured
    tokens = int(searched) + sample
    return Work(rows, tokens, tokens * facts.depth(facts.layers[-1]), known=cut is not None)


def heads(facts: Facts) -> Work:
    """Chapter 4: every cut prompt once, and the MLPs at its end again for every head."""
    lengths, depth, known = _cut(facts)
    tokens = int((lengths + 1).sum())
    passes = float(((lengths + 1) * depth).sum()) * (1 + facts.train_share)  # a mean, over train
    sizes, table = facts.sizes, facts.tables.get("03_suffixes")
    layer = round(float(np.mean(facts.settings.layers)))
    # of a prompt that several neurons of a layer have, each MLP runs twice: changed, and as it is
    apart = len(lengths) if table is None else len(set(map(bytes, table.token_ids.map(np.asarray))))
    of_mlp = sizes.d_mlp * sizes.d_model * (1 + sizes.signs) / sizes.in_blocks
    passes += apart * sizes.heads * layer * (layer + 1) * of_mlp
    return Work(len(lengths), tokens, passes, known=known)


def attention(facts: Facts) -> Work:
    """Chapter 5: twenty prompts of each of the clearest pairs, one by one."""
    pairs, known = _pairs(facts)
    lengths, _, _ = _cut(facts)
    texts = 20 * min(pairs, 15)
    tokens = round(texts * (lengths.mean() + 1)) if len(lengths) else 0
    return Work(texts, tokens, float(tokens), pairs=pairs, known=known)


def words(facts: Facts) -> Work:
    """Chapters 7 and 8: words are counted, and the model reads nothing."""
    pairs, known = _pairs(facts)
    return Work(pairs=pairs, known=known)


def head_ablation(facts: Facts) -> Work:
    """Chapter 9: the held-out prompts of the kept pairs, as they are and changed in six ways."""
    rows, lengths, starts, known = _pair_rows(facts)
    whole, again = lengths + 1, 1 - starts / facts.sizes.layers
    texts, tokens = _averaged(facts)
    base = whole / max(1.0, rows / max(1, len(_cut(facts)[0])))  # a prompt is shared by its pairs
    passes = tokens * float(1 - starts.mean() / facts.sizes.layers if len(starts) else 0.0)
    passes += float(base.sum() + (KINDS * whole * again).sum() + (ALONE * again).sum())
    tokens += int(base.sum() + (KINDS * whole).sum()) + ALONE * rows
    pairs, _ = _pairs(facts)
    return Work(texts + rows, tokens, passes, pairs=pairs, known=known)


def direct_path(facts: Facts) -> Work:
    """Chapter 10: a handful of passes; the rest was measured in chapter 9."""
    pairs, known = _pairs(facts)
    texts = 6 if pairs else 0
    tokens = texts * (GUESS.suffix + 1)
    return Work(texts, tokens, float(tokens), pairs=pairs, known=known)


def neuron_ablation(facts: Facts) -> Work:
    """Chapter 11: texts of three kinds, two hundred a neuron, as they are and changed."""
    table = facts.tables.get("02_neurons")
    if table is None:
        neurons = facts.listed + round(GUESS.sound * facts.settings.neurons_per_layer)
    else:
        one = table.drop_duplicates("neuron")
        neurons = int((one.selected | (one.group == "random")).sum())
    limit = min(facts.settings.longest, int(list(facts.texts.values())[-1].lengths.mean() / 2) + 1)
    texts, tokens = _averaged(facts)
    layer = float(np.mean(facts.settings.layers))
    depth, again = facts.depth(layer), 1 - layer / facts.sizes.layers
    asked = neurons * (40 * (GUESS.suffix + 1) + 160 * (limit + 1))
    measured = neurons * (40 * (GUESS.suffix + 1) + 60 * (limit + 1))
    passes = (tokens + asked) * depth + measured * (1 + 4 * again)
    tokens += asked + 5 * measured
    return Work(texts + 200 * neurons, tokens, passes, known=False)


COUNTS: dict[str, Callable[[Facts], Work]] = {
    "00_corpus_and_model": corpus_and_model,
    "01_next_token_neurons": next_token_neurons,
    "02_prompts": prompts,
    "03_suffixes": suffixes,
    "04_heads": heads,
    "05_attention_specialization": attention,
    "07_explanations": words,
    "08_scores": words,
    "09_head_ablation": head_ablation,
    "10_direct_path": direct_path,
    "11_neuron_ablation": neuron_ablation,
}
"""What is counted of each chapter; one that is not here asks nothing of the run's model."""


def _cut(facts: Facts) -> tuple[np.ndarray, Any, bool]:
    """Tokens of every cut prompt, the share of the layers that its neuron needs, and if known."""
    table = facts.tables.get("03_suffixes")
    if table is not None:
        layers = table.neuron.map(lambda name: Neuron.parse(name).layer).to_numpy()
        return (table.stop - table.start).to_numpy(), facts.depth(layers), True
    left = facts.tables.get("02_prompts")
    rows = facts.guessed_prompts() if left is None else len(left)
    length = min(GUESS.suffix, facts.settings.longest)
    return np.full(rows, length), facts.depth(facts.layers[-1]), False


def _pairs(facts: Facts) -> tuple[int, bool]:
    table = facts.tables.get("04_pairs")
    if table is not None:
        return int(table.kept.sum()), True
    return round(GUESS.pairs * facts.listed), False


def _pair_rows(facts: Facts) -> tuple[int, np.ndarray, np.ndarray, bool]:
    """Held-out prompts of kept pairs: how many, their lengths, the layers of their heads."""
    pairs, cut = facts.tables.get("04_pairs"), facts.tables.get("03_suffixes")
    if pairs is None or cut is None:
        n, _ = _pairs(facts)
        split = list(facts.texts)[-1]
        spread = getattr(facts.settings.spread_per_neuron, split)
        rows = n * min(facts.settings.prompts_per_neuron + spread, len(facts.texts[split]))
        length = min(GUESS.suffix, facts.settings.longest)
        return rows, np.full(rows, length), np.full(rows, facts.sizes.layers // 2), False
    some = cut[(cut.split == list(facts.texts)[-1]) & ~cut.also_in_train.astype(bool)]
    some = some if len(some) else cut
    rows = pairs[pairs.kept][["neuron", "head"]].merge(some, on="neuron")
    starts = np.array([Head.parse(name).layer for name in rows["head"]], dtype=int)
    return len(rows), (rows.stop - rows.start).to_numpy(dtype=int), starts, True


def _averaged(facts: Facts) -> tuple[int, int]:
    """The training documents over which outputs are averaged, and their tokens."""
    lengths = facts.texts["train"].lengths[:1000]
    return len(lengths), int(lengths.sum()) + len(lengths)
