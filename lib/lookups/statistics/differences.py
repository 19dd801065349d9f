"""Does silencing a head matter more where it is active, and by which way? (chapters 9 and 10)

Step 7 of the method compares the pairs' mean changes on active and on inactive prompts with the
Kolmogorov-Smirnov test, which takes them for independent. So beside it stand Cliff's delta, with an
interval that resamples neurons, and a test that permutes labels. The share of a head's effect that
is direct is the slope of direct on total effects over prompts: Σ direct · total / Σ total².
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from lookups.statistics import bootstrap
from lookups.statistics.bootstrap import UNKNOWN, Estimate, bootstrap_mean, complete, draw, limits

Column = Collection  # a value a row
PAIR = ["neuron", "head"]

_ROUNDING = 1e-9
"""Share of the size of the changes below which two differences are equal: sums round."""

_NOTHING = 1e-12
"""A spread below this share of the values' size is rounding, and a slope over it means nothing."""


class KolmogorovSmirnov(NamedTuple):
    """The largest gap between the cumulative shares of two lists, and whether it is chance."""

    statistic: float
    p: float
    pairs: int
    left_out: int  # pairs that lack one kind of prompt

    def __str__(self) -> str:
        return f"KS {self.statistic:.3f}, p = {self.p:.1e}, {self.pairs} pairs"


class Values(NamedTuple):
    """Numbers of a group of neurons, each with the neuron that it belongs to."""

    values: Column
    neurons: Column


class Permutation(NamedTuple):
    """The mean over pairs of (mean change when active - mean change when inactive), and its p."""

    difference: float
    p_greater: float  # one-sided: do active prompts change more?
    p_two_sided: float
    pairs: pd.DataFrame  # the same of every pair with prompts of both kinds


class Slopes(NamedTuple):
    """Slope of direct on total effects: through the origin, and, for an offset, with intercept."""

    direct_share: Estimate
    least_squares: Estimate
    prompts: int
    neurons: int


class MeanShare(NamedTuple):
    """The mean part over the mean whole; a number only where the whole's interval lies above 0."""

    share: Estimate
    part: Estimate
    whole: Estimate


def pair_means(rows: pd.DataFrame, change: str) -> pd.DataFrame:
    """Return a row a pair: the mean of a column over its active and over its inactive prompts.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `active` and the column, of which
    not-a-number is left out. Beside the means stand the numbers of prompts.
    """
    found = []
    for pair, own in rows.dropna(subset=[change]).groupby(PAIR, sort=True):
        kinds = [own[change][own.active == kind].to_numpy(float) for kind in (True, False)]
        means = [float(kind.mean()) if len(kind) else nan for kind in kinds]
        found.append((*pair, *map(len, kinds), *means, means[0] - means[1]))
    numbers = ["n_active", "n_inactive", "active", "inactive", "difference"]
    table = pd.DataFrame(found, columns=[*PAIR, *numbers])
    return table.astype(dict.fromkeys(numbers[:2], int) | dict.fromkeys(numbers[2:], float))


def ks(active_means: Column, inactive_means: Column) -> KolmogorovSmirnov:
    """Compare one mean a pair over active prompts with one over inactive prompts (step 7).
    Two-sided, exact where the lists are short; the lists are taken for independent samples."""
    active, inactive = complete(active=active_means, inactive=inactive_means)
    left_out = len(active_means) - len(active)
    if len(active) == 0:
        return KolmogorovSmirnov(nan, nan, 0, left_out)
    found = ks_2samp(active, inactive)
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue), len(active), left_out)


def cliffs_delta_of_means(
    active_means: Column, inactive_means: Column, neurons: Column, *, seed: int
) -> Estimate:
    """Return Cliff's delta between the two lists of means, with an interval over neurons.

    Of all couples of an active and an inactive mean, whatever their pairs: the share in which the
    active is larger, less that in which it is smaller.
    """
    lists = complete(active=active_means, inactive=inactive_means, neurons=neurons)
    active, inactive, names = lists
    if len(names) == 0:
        return UNKNOWN
    outer = np.sign(np.subtract.outer(active, inactive))
    distinct, cluster = np.unique(names, return_inverse=True)
    # won[i, j]: over all couples of an active mean of neuron i and an inactive one of neuron j
    won = np.zeros((len(distinct), len(distinct)))
    np.add.at(won, (cluster[:, None], cluster[None, :]), outer)
    times = bootstrap.times_drawn(len(distinct), seed=seed).astype(float)
    drawn = np.sum((times @ won) * times, axis=1) / (times @ np.bincount(cluster)) ** 2
    return Estimate(float(outer.sum() / len(names) ** 2), *limits(drawn, len(distinct)))


def group_difference(first: Values, second: Values, *, seed: int) -> Estimate:
    """Return the mean of the first group less that of the second, neurons drawn within each.
    Without two neurons in each there is no interval."""
    random, found = np.random.default_rng(seed), []
    for group in (first, second):
        values, names = complete(values=group.values, neurons=group.neurons)
        if not len(values):
            return UNKNOWN
        sums, totals = draw(names, values, np.ones_like(values), seed=random)
        found.append((values.mean(), totals[:, 0] / totals[:, 1], len(sums)))
    means, drawn, neurons = zip(*found, strict=True)
    return Estimate(float(means[0] - means[1]), *limits(drawn[0] - drawn[1], min(neurons)))


def permuted_within_pairs(
    rows: pd.DataFrame, change: str, *, seed: int, draws: int = 2000
) -> Permutation:
    """Test whether a column differs between the active and the inactive prompts of pairs.

    One relabeling permutes the prompts of a *neuron*, for all its heads alike, so that heads that
    exclude each other, or are active together, do so in every one. Of d relabelings, p is (1 +
    those at least as far out) / (1 + d), and never 0 (Phipson and Smyth 2010).

    `rows` has a row a prompt of a pair, none twice (`ValueError`), with `neuron`, `head`, `prompt`,
    `active` and the column. Neither the order of rows nor other neurons change a pair's p.
    """
    rows = rows.dropna(subset=[change])
    if rows.duplicated([*PAIR, "prompt"]).any():
        raise ValueError("a pair has a prompt twice; give one kind of ablation and one split")
    found, relabeled, slack = [], np.zeros(draws), 0.0
    for neuron, own in rows.groupby("neuron", sort=True):
        prompts = np.unique(own.prompt.astype(str))
        # a random number a prompt and relabeling: their order permutes all heads' labels alike
        keys = bootstrap.lots_of(seed, "permutation", str(neuron)).random((draws, len(prompts)))
        for head, some in own.sort_values("prompt").groupby("head", sort=True):
            active, changes = some.active.to_numpy(bool), some[change].to_numpy(float)
            if active.all() or not active.any():
                continue
            place = np.searchsorted(prompts, some.prompt.to_numpy(str))
            of_active = active[keys[:, place].argsort(axis=1)] @ changes
            n, k = len(active), int(active.sum())
            drawn = of_active / k - (changes.sum() - of_active) / (n - k)
            seen = float(changes[active].mean() - changes[~active].mean())
            equal = _ROUNDING * float(np.abs(changes).max())
            found.append((neuron, head, seen, *_p_values(drawn, seen, equal)))
            relabeled += drawn
            slack += equal
    columns = [*PAIR, "difference", "p_greater", "p_two_sided"]
    pairs = pd.DataFrame(found, columns=columns).astype(dict.fromkeys(columns[2:], float))
    if not found:
        return Permutation(nan, nan, nan, pairs)
    seen = float(pairs.difference.sum())
    return Permutation(seen / len(found), *_p_values(relabeled, seen, slack), pairs)


def _p_values(drawn: np.ndarray, seen: float, equal: float) -> tuple[float, float]:
    """One- and two-sided p; what is equal but for rounding counts as equal."""
    greater = int((drawn >= seen - equal).sum())
    farther = int((np.abs(drawn) >= abs(seen) - equal).sum())
    return (1 + greater) / (1 + len(drawn)), (1 + farther) / (1 + len(drawn))


def direct_share(direct: Column, total: Column, neurons: Column, *, seed: int) -> Slopes:
    """Return the slope of direct on total effects, with intervals that resample neurons.

    A slope is not-a-number where totals do not vary (least squares) or are all 0 (both). Prompts
    that lack an effect are left out.
    """
    y, x, names = complete(direct=direct, total=total, neurons=neurons)
    if len(x) == 0:
        return Slopes(UNKNOWN, UNKNOWN, 0, 0)
    sums, drawn = draw(names, np.ones_like(x), x, y, x * x, x * y, seed=seed)
    # the first row is of all prompts, the others of what was drawn
    n, x_, y_, xx, xy = np.vstack([sums.sum(axis=0), drawn]).T
    spread, together = xx - x_ * x_ / n, xy - x_ * y_ / n
    origin, straight = np.full((2, len(n)), nan)
    np.divide(xy, xx, out=origin, where=xx > 0)
    np.divide(together, spread, out=straight, where=spread > _NOTHING * xx)
    both = [Estimate(float(one[0]), *limits(one[1:], len(sums))) for one in (origin, straight)]
    return Slopes(*both, len(x), len(sums))


def share_of_mean(part: Column, whole: Column, neurons: Column, *, seed: int) -> MeanShare:
    """Return mean part / mean whole over pairs that have both, with intervals over neurons."""
    *both, names = complete(parts=part, wholes=whole, neurons=neurons)
    found = [bootstrap_mean(values, names, seed=seed) for values in both]
    if not found[1].low > 0:
        return MeanShare(UNKNOWN, *found)
    sums, drawn = draw(names, *both, seed=seed)
    ratio = np.divide(*drawn.T, out=np.full(len(drawn), nan), where=drawn[:, 1] > 0)
    share = Estimate(found[0].mean / found[1].mean, *limits(ratio, len(sums)))
    return MeanShare(share, *found)
