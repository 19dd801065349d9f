"""What verdicts score that cannot know: permuted, or by another pair's explanation.

Three controls, each a little harder to tell from the real thing. Permuted verdicts keep how often
*active* is said and nothing else. An explanation of another neuron's head keeps the style of an
explanation. One of another head of the same neuron keeps the neuron's token and contexts too. Here
it is only drawn who borrows from whom, by the seed and the names of pairs, whatever their order.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from math import nan, sqrt
from operator import itemgetter

import numpy as np
from jaxtyping import Bool
from scipy.optimize import linear_sum_assignment

from lookups.statistics.bootstrap import lots_of

Pair = tuple[str, str]  # a neuron's name and a head's


def permuted_verdicts(verdicts: Collection, *, seed: int, of: Sequence[str] = ()) -> list:
    """Return verdicts in another order, which is one of their own for the pair that `of` names."""
    given = list(verdicts)
    return [given[i] for i in lots_of(seed, "verdicts", *of).permutation(len(given))]


def phi(first: Collection, second: Collection) -> float:
    """Return how far two heads are active on the same prompts: the correlation of two yes/no lists.

    Not-a-number when a head is active on all prompts or on none.
    """
    both = [a and b for a, b in zip(first, second, strict=True)]
    n, n_a, n_b, n_both = len(both), int(sum(first)), int(sum(second)), int(sum(both))
    # in whole numbers up to the root, so that a value on a threshold stays on it
    scale = n_a * (n - n_a) * n_b * (n - n_b)
    return (n * n_both - n_a * n_b) / sqrt(scale) if scale else nan


def shuffled_within(
    activity: Mapping[Pair, Collection], *, seed: int, alike: float = 0.5
) -> dict[Pair, Pair]:
    """Draw for each pair another head of the same neuron whose explanation it borrows.

    `activity` says for each pair on which of its neuron's training prompts, in one order, the head
    is active. Heads with a phi above `alike`, or without one, do not borrow from each other: one's
    explanation is nearly the other's. A pair without any other is left out. Where a rule lets few
    heads be active at a time, a borrowed explanation may score below one half.
    """
    lender: dict[Pair, Pair] = {}
    for neuron, group in groupby(sorted(activity), key=itemgetter(0)):
        pairs = list(group)
        allowed = [
            [a != b and phi(activity[a], activity[b]) <= alike for b in pairs] for a in pairs
        ]
        lender |= _drawn(pairs, np.array(allowed), lots_of(seed, "within", neuron))
    return lender


def shuffled_among(pairs: Iterable[Pair], *, seed: int) -> dict[Pair, Pair]:
    """Draw for each pair one of another neuron whose explanation it borrows.

    Every explanation is lent exactly once unless one neuron has more than half of the pairs; then
    those of the others are lent again. All are left out where there is only one neuron.
    """
    pairs = sorted(set(pairs))
    allowed = np.array([[one[0] != other[0] for other in pairs] for one in pairs], bool, ndmin=2)
    return _drawn(pairs, allowed, lots_of(seed, "among"))


def _drawn(
    pairs: Sequence[Pair], allowed: Bool[np.ndarray, "borrower lender"], random: np.random.Generator
) -> dict[Pair, Pair]:
    """Draw a lender for everyone who is allowed one, with as few lending twice as can be.

    The cheapest assignment at random costs is a random one, and it breaks a rule only where it
    must: that costs more than all random costs together.
    """
    borrowers = [i for i in range(len(pairs)) if allowed[i].any()]
    if not borrowers:
        return {}
    allowed = allowed[borrowers]
    costs = random.random(allowed.shape) + np.where(allowed, 0, len(allowed))
    found = {}
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if not allowed[row, column]:
            column = random.choice(np.flatnonzero(allowed[row]))
        found[pairs[borrowers[row]]] = pairs[column]
    return found
