"""Could a pair's score be luck? Exact tests, many pairs at once, and what a coin would score.

Every test here is exact and one-sided: it asks whether *active* is said more often of active
prompts. Answers that could not be read are left out; counts from `scores.unread_as_wrong`
make the strict test. With few prompts, or with nearly all of one kind, no verdicts whatever can
be significant, so beside each p stands the smallest that the pair could have had.
"""

from collections.abc import Collection
from math import comb, nan
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binom, false_discovery_control, hypergeom

from lookups.statistics.scores import Counts


class Significance(NamedTuple):
    """Two p values of one test."""

    p: float
    """Probability of verdicts at least as right, by chance."""
    mid_p: float
    """The same, with verdicts exactly as right counted half."""


class CoinScores(NamedTuple):
    """The scores that verdicts by a fair coin can have, in ascending order."""

    score: Float[np.ndarray, " score"]
    probability: Float[np.ndarray, " score"]

    @property
    def sd(self) -> float:
        """Standard deviation of the score; its mean is one half."""
        return float(np.sqrt(self.probability @ (self.score - 0.5) ** 2))


def fisher(counts: Counts) -> Significance:
    """Test by Fisher's exact test whether *active* is said more often of active prompts.

    Mid-p is less cautious: Fisher's p is too large on average, since few tables are possible. Both
    are not-a-number when one kind has no read answer; verdicts that are all alike have p = 1.
    """
    n_active, n_inactive = counts.tp + counts.fn, counts.tn + counts.fp
    if not (n_active and n_inactive):
        return Significance(nan, nan)
    called = (n_active + n_inactive, n_active, counts.tp + counts.fp)
    p = float(hypergeom.sf(counts.tp - 1, *called))
    return Significance(p, p - float(hypergeom.pmf(counts.tp, *called)) / 2)


def smallest_p(n_active: int, n_inactive: int) -> float:
    """Return the p of faultless verdicts: no verdicts on these prompts can have a smaller one.

    Raises:
        ValueError: a number of prompts is negative.
    """
    if min(n_active, n_inactive) < 0:
        raise ValueError(f"there cannot be {n_active} active and {n_inactive} inactive prompts")
    return 1 / comb(n_active + n_inactive, n_active)


def smallest_p_as_called(n_active: int, n_inactive: int, called_active: int) -> float:
    """Return the p of the best verdicts that call that many prompts active.

    An explainer that calls nearly everything active cannot reach a small p, whatever it knows.

    Raises:
        ValueError: a number is negative, or more are called active than there are.
    """
    if min(n_active, n_inactive) < 0 or not 0 <= called_active <= n_active + n_inactive:
        raise ValueError(
            f"of {n_active} active and {n_inactive} inactive prompts, {called_active} cannot be "
            "called active"
        )
    best = min(n_active, called_active)
    return float(hypergeom(n_active + n_inactive, n_active, called_active).pmf(best))


def q_values(p: Collection, *, method: Literal["bh", "by"] = "bh") -> Float[np.ndarray, " pair"]:
    """Return for each p the smallest false discovery rate at which it is still a discovery.

    `bh` is Benjamini and Hochberg's procedure, which holds for tests that are independent or depend
    on each other positively; `by` is Benjamini and Yekutieli's, stricter, which holds for any.
    A p that is not-a-number is no test: it is left out of the number of tests and stays as it is.

    Raises:
        ValueError: a p is not between 0 and 1.
    """
    given = np.array(list(p), float)
    known = ~np.isnan(given)
    found = np.full(len(given), nan)
    if known.any():
        found[known] = false_discovery_control(given[known], method=method)
    return found


def coin_scores(n_active: int, n_inactive: int) -> CoinScores:
    """Return the exact distribution of E when every verdict is a coin's.

    Its standard deviation is a quarter of the root of 1 / n_active + 1 / n_inactive: how far a
    pair's score strays from one half when nothing is known.

    Raises:
        ValueError: one kind has no prompt, so that E is undefined.
    """
    if min(n_active, n_inactive) < 1:
        raise ValueError(
            f"a score needs prompts of both kinds, not {n_active} active and {n_inactive} inactive"
        )
    right_active, right_inactive = np.arange(n_active + 1), np.arange(n_inactive + 1)
    # whole numbers, so that equal scores are found equal: E times twice the product of both sizes
    scaled = np.add.outer(right_active * n_inactive, right_inactive * n_active)
    weight = np.multiply.outer(
        binom.pmf(right_active, n_active, 0.5), binom.pmf(right_inactive, n_inactive, 0.5)
    )
    distinct, place = np.unique(scaled.ravel(), return_inverse=True)
    return CoinScores(
        distinct / (2 * n_active * n_inactive), np.bincount(place, weights=weight.ravel())
    )
