"""What the scores of many pairs say together: the paper's summary, and what is not sampling noise.

A score from few prompts strays from its pair's true score, so scores differ even if all pairs are
explained equally well. The variance between pairs is what is left of the variance of the scores
when that of the prompts' sampling is taken off. An interval for the mean that resamples neurons
stands in `lookups.statistics.bootstrap`; here is the one that resamples what prompts share.
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import skew, skewtest

from lookups.statistics.bootstrap import Estimate, bootstrap_mean

FEWEST_TO_TEST = 8
"""Scores that the test of skewness needs (scipy's own limit)."""


class Variances(NamedTuple):
    """Where the variance of scores comes from."""

    observed: float
    """Variance of the scores, with n - 1."""
    sampling: float
    """Mean of the pairs' own sampling variances."""
    between: float
    """Observed less sampling. Below 0 when scores differ less than their prompts alone explain."""
    pairs: int
    """Pairs with both a score and a sampling variance: only these count."""


class Summary(NamedTuple):
    """The paper's description of the scores of many pairs."""

    pairs: int
    """Pairs with a score."""
    mean: float
    sd: float
    """With n, as the paper has it."""
    skew: float
    p_skew: float
    """Of D'Agostino's test that the skew is above 0, as it is where a few heads stand out."""


def between_pairs(scores: Collection, variances: Collection) -> Variances:
    """Split the variance of scores; `variances` are `statistics.scores.sampling_variance`'s.

    A difference of two estimates: it may be negative and is reported as it is. It takes the errors
    of different pairs for independent; pairs of one neuron share their prompts. Pairs without a
    score or a variance (not-a-number) are left out; with fewer than two, all three are undefined.

    Raises:
        ValueError: `scores` and `variances` differ in length.
    """
    if len(scores) != len(variances):
        raise ValueError(f"{len(scores)} scores need as many variances, not {len(variances)}")
    both = np.array([list(scores), list(variances)], float)
    both = both[:, ~np.isnan(both).any(axis=0)]
    pairs = both.shape[1]
    if pairs < 2:
        return Variances(nan, nan, nan, pairs)
    observed, sampling = float(both[0].var(ddof=1)), float(both[1].mean())
    return Variances(observed, sampling, observed - sampling, pairs)


def mean_over(
    verdicts: pd.DataFrame, units: Collection, *, seed: int, draws: int = 2000
) -> Estimate:
    """Return the mean score over pairs, with an interval from resampling what prompts share.

    `verdicts` has a row a prompt of a pair: neuron, head, active and verdict (missing: unread, and
    left out); `units` says of each row where its prompt comes from, such as an article. The pairs
    are taken as they are. The interval is that of the score linearised in the prompts: each one's
    deviation from the rate of its pair and kind, in the weight that it has in the mean. Pairs with
    read verdicts of one kind only have no score and are left out.

    Raises:
        ValueError: there are more or fewer units than rows.
    """
    if len(units) != len(verdicts):
        raise ValueError(f"{len(verdicts)} verdicts need as many units, not {len(units)}")
    known = verdicts.verdict.notna().to_numpy(bool)
    rows = verdicts[known].assign(unit=pd.array(list(units), dtype=object)[known])
    rows["right"] = (rows.verdict.astype(bool) == rows.active.astype(bool)).astype(float)
    of_pair = rows.groupby(["neuron", "head"])
    rows = rows[of_pair.active.transform("nunique") == 2]
    if not len(rows):
        return Estimate(nan, nan, nan)
    of_kind = rows.groupby(["neuron", "head", "active"]).right
    rates, kinds = of_kind.transform("mean"), of_kind.ngroups
    mean = float(of_kind.mean().mean())
    weight = len(rows) / (kinds * of_kind.transform("size"))
    values = mean + weight * (rows.right - rates)
    return bootstrap_mean(values, rows.unit, seed=seed, draws=draws)


def paper_summary(scores: Collection) -> Summary:
    """Return mean, sd, skew and the skew's test as the paper computes them (step 6).

    Scores that are not-a-number are left out. Undefined: mean and sd of none; the skew of fewer
    than three scores, or of scores all alike; its p for fewer than eight.
    """
    known = np.array(list(scores), float)
    known = known[~np.isnan(known)]
    pairs = len(known)
    if pairs == 0:
        return Summary(0, nan, nan, nan, nan)
    mean, sd = float(known.mean()), float(known.std())
    if pairs < 3 or np.ptp(known) == 0:
        return Summary(pairs, mean, sd, nan, nan)
    p_skew = nan
    if pairs >= FEWEST_TO_TEST:
        p_skew = float(skewtest(known, alternative="greater").pvalue)
    return Summary(pairs, mean, sd, float(skew(known)), p_skew)
