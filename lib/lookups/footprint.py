"""How much memory do a run's chapters need, and does it fit? (`lookups run RUN --dry-run`)

Estimates, from a run's settings and its model's sizes, of what is held at once: the weights while
they are loaded and processed, one batch on its way through a layer, the maxima that chapter 2 keeps
of every neuron, chapter 4's long table, and the documents. Nothing is measured here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from lookups.pace import Room
from lookups.runs import Run
from lookups.scan import BANDS, SETTLE
from lookups.work import COUNTS, Facts

LIBRARIES = 0.6e9
"""Bytes that Python and the libraries take before a model is loaded."""

LOADING = 4.5
"""Bytes at the peak of loading, in bytes of the weights (measured with a model of GPT-2's size)."""

BATCH = 8192
"""Padded tokens of a batch: the default of everything that reads."""

A_ROW = 250
"""Bytes of a row of chapter 4's table of heads while it is made."""

Part = Literal["weights", "batch", "maxima", "table", "texts"]

REMEDIES: dict[Part, str] = {
    "weights": "write `dtype: bfloat16`, or take a smaller model or a larger machine",
    "batch": "write a smaller `corpus: length:`, or `dtype: bfloat16`",
    "maxima": "name fewer `layers:`, or a smaller `spread_per_neuron:`",
    "table": "name fewer `layers:`, or smaller `neurons_per_layer:` and `spread_per_neuron:`",
    "texts": "ask for fewer `corpus: documents:`",
}
"""What to change in the run file, by what takes most."""


class Memory(NamedTuple):
    """Bytes at the peak of one chapter, by what takes them."""

    of: dict[Part, float]

    @property
    def on_device(self) -> float:
        """What lies beside the weights on a GPU."""
        return self.of["weights"] + self.of["batch"] + self.of["maxima"]

    @property
    def total(self) -> float:
        return LIBRARIES + sum(self.of.values())

    def largest(self, *parts: Part) -> Part:
        """Return what takes most, of some parts or of all."""
        return max(parts or self.of, key=lambda part: self.of[part])


def memory_of(chapter: str, facts: Facts) -> Memory:
    """Estimate what a chapter holds at its peak: see the comments for what is counted."""
    settings, sizes, number = facts.settings, facts.sizes, chapter.split("_")[0]
    item = {"float64": 8, "float32": 4}.get(settings.model.dtype, 2)
    longest = 1 + max(one.length for one in facts.texts.values())
    width = longest if number in ("02", "09", "11") else min(longest, settings.longest + 1)
    tokens = max(BATCH, width)
    # scores, softmax and what hooks copy of them; queries, keys, values and the stream; the MLP
    batch = tokens * item * (4 * sizes.heads * width + 8 * sizes.d_model + 3 * sizes.d_mlp)
    if number == "00":  # logits of 2048 tokens at every position, and their logarithms
        batch = max(batch, 2048 * sizes.vocabulary * (item + 8))
    if number == "01":  # two products with a block of the vocabulary
        batch = 2 * sizes.d_mlp * sizes.signs * 4096 * item
    maxima, table = 0.0, 0.0
    if number == "02":  # kept, found and their order, of an activation and two places each
        strongest, per_band = kept_by_scan(settings)
        slots = len(facts.texts) * (strongest + (BANDS + 1) * per_band) + 3 * SETTLE
        maxima = 20 * slots * len(facts.layers) * sizes.d_mlp * sizes.signs
    if number in ("04", "05", "06", "07", "08", "09", "10"):
        candidates = sizes.heads * (np.mean(settings.layers) + 1)
        inputs = 3 if sizes.signs == 2 else 1
        table = A_ROW * COUNTS["04_heads"](facts).documents * candidates * inputs
    texts = 12 * sum(int(one.lengths.sum()) for one in facts.texts.values())
    weights = LOADING * item * sizes.parameters
    parts = {"weights": weights, "batch": batch, "maxima": maxima, "table": table, "texts": texts}
    return Memory({part: float(size) for part, size in parts.items()})


def misfits(needs: Sequence[tuple[str, Memory]], room: Room) -> list[str]:
    """Return a sentence, with what to change, for each kind of memory that does not suffice.

    `needs` are chapters with what they hold; the one that needs most is named.
    """
    problems = []
    if room.device is not None:
        chapter, most = max(needs, key=lambda one: one[1].on_device)
        if most.on_device > room.device:
            part = most.largest("weights", "batch", "maxima")
            problems.append(_sentence(chapter, most.on_device, room.device, "GPU memory", part))
    chapter, most = max(needs, key=lambda one: one[1].total)
    if most.total > room.ram:
        problems.append(_sentence(chapter, most.total, room.ram, "memory", most.largest()))
    return problems


def _sentence(chapter: str, needed: float, free: int, where: str, part: Part) -> str:
    return (
        f"does not fit: chapter {chapter} needs about {needed / 1e9:.1f} GB of {where}, and "
        f"{free / 1e9:.1f} GB are free; most of it is for its {part}: {REMEDIES[part]}"
    )


def kept_by_scan(settings: Run) -> tuple[int, int]:
    """Return how chapter 2 sizes its buffers: the strongest, and those of a band."""
    most = max(size for _, size in settings.spread_per_neuron)
    return settings.prompts_per_neuron, 2 + 2 * most // BANDS
