"""The shortest suffix of each prompt that keeps its neuron firing (chapter 4)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lookups.errors import LookupsError
from lookups.model.batches import Ids

Fire = Callable[[Sequence[int], Sequence[Ids]], np.ndarray]
"""Rows and the ids to read in each: the activation of each row's neuron at the last id."""


class Suffix(NamedTuple):
    """How much of a prompt was kept, and the activation measured on exactly that."""

    length: int
    activation: float


def shortest_suffixes(
    fire: Fire,
    prompts: Sequence[Ids],
    whole: Sequence[float] | np.ndarray,
    long_enough: Callable[[float, float], bool],
    *,
    longest: int,
    progress: Callable[[int], None] = lambda n: None,
) -> list[Suffix | None]:
    """Return, a prompt, the first length counted upwards that is long enough; None past `longest`.

    All prompts of one length are measured together. `progress` is told how many were settled.
    LookupsError if a neuron is silent on a whole prompt, so that no share of it is defined.
    """
    if silent := [row for row, activation in enumerate(whole) if not activation > 0]:
        raise LookupsError(f"prompt {silent[0]} never fires its neuron; leave it out")
    found: list[Suffix | None] = [None] * len(prompts)
    open_rows = list(range(len(prompts)))
    for length in range(1, longest + 1):
        open_rows = [row for row in open_rows if len(prompts[row]) >= length]
        if not open_rows:
            break
        measured = fire(open_rows, [prompts[row][-length:] for row in open_rows])
        for row, activation in zip(open_rows, map(float, measured), strict=True):
            if long_enough(activation, whole[row]):
                found[row] = Suffix(length, activation)
        progress(sum(found[row] is not None for row in open_rows))
        open_rows = [row for row in open_rows if found[row] is None]
    return found
