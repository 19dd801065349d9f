"""How much of a head's effect on a neuron goes straight into it? Slopes over prompts (chapter 10).

On each prompt a head has a *total* effect on the neuron's input, by all ways, and a *direct* one,
by its own output alone. The direct share is the slope of direct on total effects, **through the
origin**: Σ direct · total / Σ total², the mean of direct / total weighted by total². The ordinary
least-squares slope stands beside it: it departs where direct effects have an offset. A share above
1 means that other ways work against the head, one below 0 that they outdo it. The share of a *mean*
fall (`share_of_mean`) is the same question asked of all prompts together.
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr, spearmanr

from lookups.statistics.bootstrap import UNKNOWN, Estimate, bootstrap_mean, complete, draw, limits

_NOTHING = 1e-12
"""A spread below this share of the values' size is rounding, and a slope over it means nothing."""


class Slopes(NamedTuple):
    """Slope of direct on total effects: through the origin, and with an intercept."""

    direct_share: Estimate
    least_squares: Estimate
    prompts: int
    neurons: int


class MeanShare(NamedTuple):
    """The mean part over the mean whole; a number only where the whole's interval lies above 0."""

    share: Estimate
    part: Estimate
    whole: Estimate


class Agreement(NamedTuple):
    """How closely two columns agree that should be equal; the deviation is absolute."""

    prompts: int
    pearson: float
    spearman: float
    largest_deviation: float


def direct_share(
    direct: Collection, total: Collection, neurons: Collection, *, seed: int, draws: int = 2000
) -> Slopes:
    """Return the slope of direct on total effects, with intervals that resample neurons.

    A slope is not-a-number where totals do not vary (least squares) or are all 0 (both); an
    interval also with fewer than two neurons. Prompts that lack an effect are left out.
    """
    y, x, names = complete(direct=direct, total=total, neurons=neurons)
    if len(x) == 0:
        return Slopes(UNKNOWN, UNKNOWN, 0, 0)
    terms = np.ones_like(x), x, y, x * x, x * y
    sums, drawn = draw(names, *terms, seed=seed, draws=draws)
    both = zip(_slopes(sums.sum(axis=0, keepdims=True)), _slopes(drawn), strict=True)
    found = [
        Estimate(float(slope), *(limits(others, len(sums)) if np.isfinite(slope) else (nan, nan)))
        for (slope,), others in both
    ]
    return Slopes(*found, len(x), len(sums))


def share_of_mean(
    part: Collection, whole: Collection, neurons: Collection, *, seed: int, draws: int = 2000
) -> MeanShare:
    """Return mean part / mean whole over pairs that have both, with intervals over neurons."""
    *both, names = complete(parts=part, wholes=whole, neurons=neurons)
    found = [bootstrap_mean(values, names, seed=seed, draws=draws) for values in both]
    if not found[1].low > 0:
        return MeanShare(UNKNOWN, *found)
    sums, drawn = draw(names, *both, seed=seed, draws=draws)
    ratio = np.divide(*drawn.T, out=np.full(draws, nan), where=drawn[:, 1] > 0)
    share = Estimate(found[0].mean / found[1].mean, *limits(ratio, len(sums)))
    return MeanShare(share, *found)


def _slopes(
    sums: Float[np.ndarray, "draw term"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Return both slopes from n, Σx, Σy, Σx², Σxy."""
    n, x, y, xx, xy = sums.T
    spread, together = xx - x * x / n, xy - x * y / n
    blank = np.full(len(sums), nan)
    origin = np.divide(xy, xx, out=blank.copy(), where=xx > 0)
    return origin, np.divide(together, spread, out=blank, where=spread > _NOTHING * xx)


def agreement(attributed: Collection, measured: Collection) -> Agreement:
    """Return how closely attributions and measured effects agree, over the prompts with both.

    Correlations are not-a-number with fewer than two prompts, or where one column does not vary.
    """
    both = np.array(complete(attributed=attributed, measured=measured))
    prompts = both.shape[1]
    if prompts == 0:
        return Agreement(0, nan, nan, nan)
    largest = float(np.abs(both[0] - both[1]).max())
    if prompts < 2 or (np.ptp(both, axis=1) == 0).any():
        return Agreement(prompts, nan, nan, largest)
    pearson, spearman = pearsonr(*both), spearmanr(*both)
    return Agreement(prompts, float(pearson.statistic), float(spearman.statistic), largest)
