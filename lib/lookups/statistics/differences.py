"""Does silencing a head matter more where it is active, and by which way? (chapters 9 and 10)

Step 7 of the method compares the pairs' mean changes on active and on inactive prompts with the
Kolmogorov-Smirnov test, which takes them for independent. So intervals here resample neurons.
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from lookups.statistics.bootstrap import UNKNOWN, Estimate, bootstrap_mean, complete, draw, limits

Column = Collection  # a value a row
PAIR = ["neuron", "head"]


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
