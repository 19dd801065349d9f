"""Does silencing a head matter more where it is active? The paper's test, and sizes (chapter 9).

Step 7 of the method takes, for each pair, the mean change over its active prompts and the mean over
its inactive prompts, and compares the two lists with the Kolmogorov-Smirnov test: one value a pair
in each. That test does not know that every pair has a value in both lists, nor that pairs share a
neuron. So beside it stand here the mean difference within pairs and Cliff's delta, with intervals
that resample neurons; the test of the same question stands in `lookups.statistics.permutation`.

A change is whatever the caller says, for instance the token's probability before less that after.
A pair is a neuron and a head, by name; no model is touched here, and no prompt is chosen.
"""

from collections.abc import Collection
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import ks_2samp

from lookups.statistics.bootstrap import Estimate, bootstrap_mean

PAIR = ["neuron", "head"]


class KolmogorovSmirnov(NamedTuple):
    """The paper's test of whether two lists of means come from one distribution."""

    statistic: float
    """The largest gap between the two cumulative shares."""
    p: float
    pairs: int
    """Pairs with both means: each gives one value to either list."""
    left_out: int
    """Pairs with prompts of one kind only."""

    def __str__(self) -> str:
        return f"KS {self.statistic:.3f}, p = {self.p:.1e}, {self.pairs} pairs"


def pair_means(rows: pd.DataFrame, change: str) -> pd.DataFrame:
    """Return a row a pair: the mean of a column over its active and over its inactive prompts.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `active` and the column. A kind
    without a prompt has no mean. Besides `active`, `inactive` and `difference` stand the numbers of
    prompts and `delta`, Cliff's delta of the pair's prompts. Pairs come in the order of their
    names; changes that are not-a-number are left out.
    """
    found = []
    for pair, own in rows.dropna(subset=[change]).groupby(PAIR, sort=True):
        kinds = [own[change][own.active == kind].to_numpy(float) for kind in (True, False)]
        means = [float(kind.mean()) if len(kind) else nan for kind in kinds]
        found.append((*pair, *map(len, kinds), *means, means[0] - means[1], cliffs_delta(*kinds)))
    numbers = ["n_active", "n_inactive", "active", "inactive", "difference", "delta"]
    table = pd.DataFrame(found, columns=[*PAIR, *numbers])
    return table.astype(dict.fromkeys(numbers[:2], int) | dict.fromkeys(numbers[2:], float))


def ks(active_means: Collection, inactive_means: Collection) -> KolmogorovSmirnov:
    """Compare one mean a pair over active prompts with one over inactive prompts (step 7).

    Two-sided, exact where the lists are short. It takes the lists for independent samples, which
    they are not. Pairs that lack one of the two (not-a-number) are left out and counted; without
    any pair both results are not-a-number.

    Raises:
        ValueError: the lists differ in length.
    """
    both, left_out = _both(active_means, inactive_means)
    if both.shape[1] == 0:
        return KolmogorovSmirnov(nan, nan, 0, left_out)
    found = ks_2samp(*both)
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue), both.shape[1], left_out)


def mean_difference(
    active_means: Collection,
    inactive_means: Collection,
    neurons: Collection,
    *,
    seed: int,
    draws: int = 2000,
) -> Estimate:
    """Return the mean over pairs of active less inactive, with an interval that resamples neurons.

    Pairs that lack one of the two are left out.

    Raises:
        ValueError: the lists differ in length.
    """
    active, inactive = (np.array(list(one), float) for one in (active_means, inactive_means))
    if len(active) != len(inactive):
        raise ValueError(f"{len(active)} active means need as many inactive, not {len(inactive)}")
    return bootstrap_mean(active - inactive, neurons, seed=seed, draws=draws)


def cliffs_delta(active: Collection, inactive: Collection) -> float:
    """Return how much more often an active value exceeds an inactive one than falls below it.

    Of all pairs of one active and one inactive value: the share in which the active is larger, less
    that in which it is smaller. 1 if all active values are the larger, 0 if neither kind is, -1 if
    all are the smaller; not-a-number without values of both kinds.
    """
    a, b = np.array(list(active), float), np.sort(np.array(list(inactive), float))
    if len(a) == 0 or len(b) == 0:
        return nan
    above, below = np.searchsorted(b, a, "left"), len(b) - np.searchsorted(b, a, "right")
    return float(int(above.sum()) - int(below.sum())) / (len(a) * len(b))


def cliffs_delta_of_means(
    active_means: Collection,
    inactive_means: Collection,
    neurons: Collection,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Return Cliff's delta between the two lists of means, with an interval over neurons.

    The size that belongs to the paper's test: like it, it compares every pair's active mean with
    every pair's inactive one. A neuron drawn twice gives its pairs twice to both lists. Pairs that
    lack one of the two are left out; of fewer than two neurons there is no interval.

    Raises:
        ValueError: the lists differ in length.
    """
    both, _ = _both(active_means, inactive_means)
    known = ~np.isnan(np.array([list(active_means), list(inactive_means)], float)).any(axis=0)
    if len(neurons) != len(known):
        raise ValueError(f"{len(known)} means need as many neurons, not {len(neurons)}")
    names = np.array(list(neurons), dtype=object)[known]
    if len(names) == 0:
        return Estimate(nan, nan, nan)
    delta = cliffs_delta(*both)
    distinct, cluster = np.unique(names.astype(str), return_inverse=True)
    if len(distinct) < 2:
        return Estimate(delta, nan, nan)
    # won[i, j]: over all pairs of an active mean of neuron i and an inactive one of neuron j
    won = np.zeros((len(distinct), len(distinct)))
    np.add.at(won, (cluster[:, None], cluster[None, :]), np.sign(np.subtract.outer(*both)))
    times = times_drawn(len(distinct), seed=seed, draws=draws).astype(float)
    sizes = times @ np.bincount(cluster)
    drawn = np.sum((times @ won) * times, axis=1) / sizes**2
    return Estimate(delta, *limits(drawn, level))


class Values(NamedTuple):
    """Numbers of a group of neurons, each with the neuron that it belongs to."""

    values: Collection
    neurons: Collection


def group_difference(
    first: Values, second: Values, *, seed: int, draws: int = 2000, level: float = 0.95
) -> Estimate:
    """Return the mean of the first group less that of the second, neurons drawn within each.

    What is not a number is left out. Without a value in both groups there is no difference, without
    two neurons in each no interval.

    Raises:
        ValueError: a group has not as many neurons as values.
    """
    random = np.random.default_rng(seed)
    means, drawn, fewest = [], [], 2
    for group in (first, second):
        if len(group.values) != len(group.neurons):
            raise ValueError(f"{len(group.values)} values need as many neurons")
        values = np.array(list(group.values), float)
        known = ~np.isnan(values)
        names = np.array(list(group.neurons), dtype=object)[known].astype(str)
        distinct, cluster = np.unique(names, return_inverse=True)
        if not len(distinct):
            return Estimate(nan, nan, nan)
        sums = np.stack([np.bincount(cluster, values[known]), np.bincount(cluster)], axis=1)
        share = np.full(len(distinct), 1 / len(distinct))
        totals = random.multinomial(len(distinct), share, size=draws) @ sums
        means.append(values[known].mean())
        drawn.append(totals[:, 0] / totals[:, 1])
        fewest = min(fewest, len(distinct))
    difference = float(means[0] - means[1])
    if fewest < 2:
        return Estimate(difference, nan, nan)
    return Estimate(difference, *limits(drawn[0] - drawn[1], level))


def points(found: Estimate) -> str:
    """Return a difference of probabilities as text, in percentage points."""
    return written(found, times=100, digits=2)


def written(found: Estimate, *, times: float | int = 1, digits: int = 3) -> str:
    """Return an estimate as text, without a minus zero: `times=100` for percentage points.

    A dash stands for what is not known.
    """
    if not isfinite(found.mean):
        return "–"
    mean, low, high = (f"{round(times * number, digits) + 0.0:.{digits}f}" for number in found)
    return f"{mean} [{low}, {high}]"


def times_drawn(clusters: int, *, seed: int, draws: int) -> Int[np.ndarray, "draw cluster"]:
    """Return how often each cluster comes when as many as there are get drawn with replacement."""
    random = np.random.default_rng(seed)
    return random.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)


def limits(drawn: Float[np.ndarray, " draw"], level: float) -> tuple[float, float]:
    """Return the percentile interval of what was drawn; undefined draws are left out."""
    known = drawn[np.isfinite(drawn)]
    if len(known) == 0:
        return nan, nan
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _both(
    active_means: Collection, inactive_means: Collection
) -> tuple[Float[np.ndarray, "kind pair"], int]:
    """Set the two lists below each other, without the pairs that lack one."""
    if len(active_means) != len(inactive_means):
        raise ValueError(
            f"{len(active_means)} active means need as many inactive, not {len(inactive_means)}"
        )
    both = np.array([list(active_means), list(inactive_means)], float)
    known = ~np.isnan(both).any(axis=0)
    return both[:, known], int((~known).sum())
