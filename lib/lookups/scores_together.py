"""What the scores of many pairs say together: the paper's summary, and what is not sampling noise.

A score from few prompts strays from its pair's true score, so scores differ even if all pairs are
explained equally well. The variance between pairs is what is left of the variance of the scores
when that of the prompts' sampling is taken off. An interval for the mean stands in
`lookups.intervals`, which resamples neurons.
"""

from collections.abc import Collection
from math import nan
from typing import NamedTuple

import numpy as np
from scipy.stats import skew, skewtest

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
    """Split the variance of scores; `variances` are `lookups.scoring.sampling_variance`'s.

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
