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

    Shares are kept from zero by one part in the number of prompts.

    Raises:
        ValueError: there is no prompt of one of the two kinds.
    """
    kinds = [sum(map(bool, active)), len(active) - sum(map(bool, active))]
    if not all(kinds):
        raise ValueError("votes need both active and inactive prompts")
    counts = Counter(), Counter()
    for seen, is_active in zip(prompts, active, strict=True):
        counts[0 if is_active else 1].update(seen)
    floor = 1 / len(prompts)
    return {
        clue: log((counts[0][clue] / kinds[0] + floor) / (counts[1][clue] / kinds[1] + floor))
        for clue in sorted(counts[0] | counts[1])
    }


def tally(prompt: Collection[Clue], given: Votes) -> float:
    """Return the sum of the votes of a prompt's clues; above 0 it is called active."""
    return sum(given.get(clue, 0.0) for clue in sorted(prompt))


def tallies_left_out(prompts: Sequence[Collection[Clue]], active: Collection) -> np.ndarray:
    """Return each prompt's tally by the votes of all others.

    Raises:
        ValueError: there are fewer than two prompts of one of the two kinds.
    """
    found = []
    for left_out, prompt in enumerate(prompts):
        others = [i for i in range(len(prompts)) if i != left_out]
        given = votes([prompts[i] for i in others], [active[i] for i in others])
        found.append(tally(prompt, given))
    return np.array(found)


def balanced_accuracy(tallies: Collection, active: Collection) -> float:
    """Return the mean share of active and of inactive prompts told right; a tally of 0 is half.

    Not-a-number where one of the two kinds is missing.
    """
    called = (np.sign(np.round(tallies, 9)) + 1) / 2
    truth = np.asarray(active, dtype=bool)
    if truth.all() or not truth.any():
        return float("nan")
    return float((called[truth].mean() + 1 - called[~truth].mean()) / 2)
