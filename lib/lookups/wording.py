"""Do a prompt's words alone tell whether a head is active? A stand-in for a reader (chapter 5).

A prompt becomes its set of clues: every token in it, and which token stands at each of the last few
places. A clue votes with the logarithm of how much more common it is among active than among
inactive prompts. That is naive Bayes on present clues, made so that a clue never seen before votes
nothing, however many prompts there are of each kind. No model is loaded here.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import log
from typing import NamedTuple

import numpy as np

from lookups.sequences import Ids

ANYWHERE = -1

FLOOR = 0.1
"""Added to both shares, so that a clue seen once or twice has little weight."""


class Clue(NamedTuple):
    """One thing that can be seen in a prompt."""

    token_id: int
    back: int
    """How many tokens before the last one it stands; `ANYWHERE` for any place."""


Votes = Mapping[Clue, float]
"""For each clue: positive speaks for active."""


def clues(ids: Ids, *, places: int = 4) -> frozenset[Clue]:
    """Return the clues of one prompt: tokens anywhere, and those at its last `places` places."""
    tokens = [int(token) for token in ids]
    near = {Clue(token, back) for back, token in enumerate(tokens[::-1][:places])}
    return frozenset(near | {Clue(token, ANYWHERE) for token in tokens})


def votes(prompts: Sequence[Collection[Clue]], active: Collection) -> Votes:
    """Return every clue's vote: log of its share among active over that among inactive prompts.

    `FLOOR` is added to both shares.

    Raises:
        ValueError: there is no prompt of one of the two kinds.
    """
    counts, sizes = _counted(prompts, active)
    return {clue: _vote(clue, counts, sizes) for clue in sorted(counts[True] | counts[False])}


def tally(prompt: Collection[Clue], given: Votes) -> float:
    """Return the sum of the votes of a prompt's clues; above 0 it is called active."""
    return sum(given.get(clue, 0.0) for clue in sorted(prompt))


def tallies_left_out(prompts: Sequence[Collection[Clue]], active: Collection) -> np.ndarray:
    """Return each prompt's tally by the votes of all others.

    Raises:
        ValueError: there are fewer than two prompts of one of the two kinds.
    """
    counts, sizes = _counted(prompts, active, at_least=2)
    found = []
    for prompt, own in zip(prompts, map(bool, active), strict=True):
        others = counts | {own: {clue: counts[own][clue] - 1 for clue in prompt}}
        remaining = sizes | {own: sizes[own] - 1}
        found.append(sum(_vote(clue, others, remaining) for clue in sorted(prompt)))
    return np.array(found)


def _counted(
    prompts: Sequence[Collection[Clue]], active: Collection, at_least: int = 1
) -> tuple[dict[bool, Counter[Clue]], dict[bool, int]]:
    """Count, among active (True) and inactive (False) prompts, each clue's prompts and all."""
    counts: dict[bool, Counter[Clue]] = {True: Counter(), False: Counter()}
    sizes = {True: 0, False: 0}
    for prompt, kind in zip(prompts, map(bool, active), strict=True):
        counts[kind].update(prompt)
        sizes[kind] += 1
    if min(sizes.values()) < at_least:
        raise ValueError(f"votes need {at_least} or more of both active and inactive prompts")
    return counts, sizes


def _vote(
    clue: Clue, counts: Mapping[bool, Mapping[Clue, int]], sizes: Mapping[bool, int]
) -> float:
    active, inactive = (counts[kind].get(clue, 0) / sizes[kind] for kind in (True, False))
    return log((active + FLOOR) / (inactive + FLOOR))
