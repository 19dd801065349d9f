"""Does silencing a head matter more where it is active? The paper's test, and sizes (chapter 9).

Step 7 of the method takes, for each pair, the mean change over its active prompts and the mean over
its inactive prompts, and compares the two lists with the Kolmogorov-Smirnov test. That test does
not know that every pair has a value in both lists, nor that pairs share a neuron. So beside it
stand the mean difference within pairs and Cliff's delta, with intervals that resample neurons, and
a test of the same question that permutes labels within pairs.

A change is whatever the caller says, for instance the token's probability before less that after.
A pair is a neuron and a head, by name; no model is touched here, and no prompt is chosen.
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from lookups.statistics.bootstrap import (
    UNKNOWN,
    Estimate,
    bootstrap_mean,
    complete,
    limits,
    lots_of,
    times_drawn,
)

PAIR = ["neuron", "head"]

_ROUNDING = 1e-9
"""Share of the size of the changes below which two differences are equal: sums round."""


class KolmogorovSmirnov(NamedTuple):
    """The paper's test of whether two lists of means come from one distribution.

    `statistic` is the largest gap between the two cumulative shares; `left_out` counts pairs with
    prompts of one kind only.
    """

    statistic: float
    p: float
    pairs: int
    left_out: int

    def __str__(self) -> str:
        return f"KS {self.statistic:.3f}, p = {self.p:.1e}, {self.pairs} pairs"


def pair_means(rows: pd.DataFrame, change: str) -> pd.DataFrame:
    """Return a row a pair: the mean of a column over its active and over its inactive prompts.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `active` and the column. A kind
    without a prompt has no mean. Beside `active`, `inactive` and `difference` stand the numbers of
    prompts. Pairs come in the order of their names; not-a-number is left out.
    """
    found = []
    for pair, own in rows.dropna(subset=[change]).groupby(PAIR, sort=True):
        kinds = [own[change][own.active == kind].to_numpy(float) for kind in (True, False)]
        means = [float(kind.mean()) if len(kind) else nan for kind in kinds]
        found.append((*pair, *map(len, kinds), *means, means[0] - means[1]))
    numbers = ["n_active", "n_inactive", "active", "inactive", "difference"]
    table = pd.DataFrame(found, columns=[*PAIR, *numbers])
    return table.astype(dict.fromkeys(numbers[:2], int) | dict.fromkeys(numbers[2:], float))


def ks(active_means: Collection, inactive_means: Collection) -> KolmogorovSmirnov:
    """Compare one mean a pair over active prompts with one over inactive prompts (step 7).

    Two-sided, exact where the lists are short. It takes the lists for independent samples, which
    they are not. Pairs that lack one of the two (not-a-number) are left out and counted; without
    any pair both results are not-a-number.
    """
    active, inactive = complete(active=active_means, inactive=inactive_means)
    left_out = len(active_means) - len(active)
    if len(active) == 0:
        return KolmogorovSmirnov(nan, nan, 0, left_out)
    found = ks_2samp(active, inactive)
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue), len(active), left_out)


def mean_difference(
    active_means: Collection, inactive_means: Collection, neurons: Collection, *, seed: int
) -> Estimate:
    """Return the mean over pairs of active less inactive, with an interval that resamples neurons.

    Pairs that lack one of the two are left out.
    """
    active, inactive, names = complete(
        active=active_means, inactive=inactive_means, neurons=neurons
    )
    return bootstrap_mean(active - inactive, names, seed=seed)


def cliffs_delta_of_means(
    active_means: Collection, inactive_means: Collection, neurons: Collection, *,
    seed: int, draws: int = 2000,
) -> Estimate:  # fmt: skip
    """Return Cliff's delta between the two lists of means, with an interval over neurons.

    Of all twos of an active and an inactive mean: the share in which the active is larger, less
    that in which it is smaller. Like the paper's test, it compares every pair's active mean with
    every pair's inactive one. A neuron drawn twice gives its pairs twice to both lists. Pairs that
    lack one of the two are left out; of fewer than two neurons there is no interval.
    """
    active, inactive, names = complete(
        active=active_means, inactive=inactive_means, neurons=neurons
    )
    if len(names) == 0:
        return UNKNOWN
    outer = np.sign(np.subtract.outer(active, inactive))
    delta = float(outer.sum() / len(names) ** 2)
    distinct, cluster = np.unique(names, return_inverse=True)
    if len(distinct) < 2:
        return Estimate(delta, nan, nan)
    # won[i, j]: over all twos of an active mean of neuron i and an inactive one of neuron j
    won = np.zeros((len(distinct), len(distinct)))
    np.add.at(won, (cluster[:, None], cluster[None, :]), outer)
    times = times_drawn(len(distinct), seed=seed, draws=draws).astype(float)
    sizes = times @ np.bincount(cluster)
    return Estimate(delta, *limits(np.sum((times @ won) * times, axis=1) / sizes**2))


class Values(NamedTuple):
    """Numbers of a group of neurons, each with the neuron that it belongs to."""

    values: Collection
    neurons: Collection


def group_difference(first: Values, second: Values, *, seed: int, draws: int = 2000) -> Estimate:
    """Return the mean of the first group less that of the second, neurons drawn within each.

    What is not a number is left out. Without a value in both groups there is no difference, without
    two neurons in each no interval.
    """
    random = np.random.default_rng(seed)
    means, drawn, fewest = [], [], 2
    for group in (first, second):
        values, names = complete(values=group.values, neurons=group.neurons)
        distinct, cluster = np.unique(names, return_inverse=True)
        if not len(distinct):
            return UNKNOWN
        sums = np.stack([np.bincount(cluster, values), np.bincount(cluster)], axis=1)
        share = np.full(len(distinct), 1 / len(distinct))
        totals = random.multinomial(len(distinct), share, size=draws) @ sums
        means.append(values.mean())
        drawn.append(totals[:, 0] / totals[:, 1])
        fewest = min(fewest, len(distinct))
    difference = float(means[0] - means[1])
    return Estimate(difference, *(limits(drawn[0] - drawn[1]) if fewest == 2 else (nan, nan)))


class Permutation(NamedTuple):
    """The mean difference over all pairs, its p values, and those of every pair."""

    difference: float
    """Mean over pairs of (mean change when active - mean change when inactive)."""
    p_greater: float
    """One-sided: active prompts change more."""
    p_two_sided: float
    pairs: pd.DataFrame
    """neuron, head, difference, p_greater, p_two_sided of pairs with prompts of both kinds."""
    left_out: int
    """Pairs with prompts of one kind only."""


def permuted_within_pairs(
    rows: pd.DataFrame, change: str, *, seed: int, draws: int = 2000
) -> Permutation:
    """Test whether a column differs between the active and the inactive prompts of pairs.

    If a head's being active had nothing to do with what silencing it does, every way to call as
    many of the pair's prompts active would be as likely. One relabeling permutes the prompts of a
    *neuron*, for all its heads alike, so that heads that exclude each other, or are active
    together, do so in every one. Of d relabelings, p is (1 + those at least as far out) / (1 + d),
    and never 0 (Phipson and Smyth 2010).

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `prompt`, `active` and the column;
    not-a-number is left out. How a neuron's prompts are relabeled depends on the seed and its name:
    neither the order of rows nor other neurons change a pair's p.

    Raises:
        ValueError: a pair has a prompt twice.
    """
    rows = rows.dropna(subset=[change])
    if rows.duplicated([*PAIR, "prompt"]).any():
        raise ValueError("a pair has a prompt twice; give one kind of ablation and one split")
    found, relabeled, slack, left_out = [], np.zeros(draws), 0.0, 0
    for neuron, own in rows.groupby("neuron", sort=True):
        prompts = np.unique(own.prompt.astype(str))
        # a random number a prompt and relabeling: their order permutes all heads' labels alike
        keys = lots_of(seed, "permutation", str(neuron)).random((draws, len(prompts)))
        for head, some in own.groupby("head", sort=True):
            active, changes = some.active.to_numpy(bool), some[change].to_numpy(float)
            if active.all() or not active.any():
                left_out += 1
                continue
            place = np.searchsorted(prompts, some.prompt.to_numpy(str))
            by_prompt = np.argsort(place)
            active, changes, place = active[by_prompt], changes[by_prompt], place[by_prompt]
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
        return Permutation(nan, nan, nan, pairs, left_out)
    seen = float(pairs.difference.sum())
    return Permutation(seen / len(found), *_p_values(relabeled, seen, slack), pairs, left_out)


def _p_values(drawn: np.ndarray, seen: float, equal: float) -> tuple[float, float]:
    """One- and two-sided p; what is equal but for rounding counts as equal."""
    greater = int((drawn >= seen - equal).sum())
    farther = int((np.abs(drawn) >= abs(seen) - equal).sum())
    return (1 + greater) / (1 + len(drawn)), (1 + farther) / (1 + len(drawn))
