"""How well verdicts tell active prompts from inactive ones, and could it be luck? (chapter 8)

The head explanation score is E = (TPR + TNR) / 2, the mean of two shares: active prompts that were
called active, inactive ones that were called inactive (paper, step 6). A coin scores one half.
Answers that could not be read are left out. What is undefined, as a share of no prompts and then E,
is not-a-number, and what is not-a-number is left out of lists.

Tests are exact and one-sided: they ask whether *active* is said more often of active prompts.
"""

from collections.abc import Collection
from math import comb, isnan, nan
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binom, false_discovery_control, hypergeom, rankdata, skew, skewtest
from statsmodels.stats.proportion import confint_proportions_2indep

from lookups.statistics.bootstrap import complete


class Counts(NamedTuple):
    """The prompts of one pair: *positive* was called active, *true* rightly, *unread* neither."""

    tp: int
    fp: int
    tn: int
    fn: int
    unread_active: int = 0
    unread_inactive: int = 0

    @property
    def read(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Right answers and read answers, on active and on inactive prompts."""
        return (self.tp, self.tp + self.fn), (self.tn, self.tn + self.fp)


class Significance(NamedTuple):
    """The chance of verdicts at least as right."""

    p: float
    mid_p: float  # those just as right count half: p is too large on average, tables being few


class CoinScores(NamedTuple):
    """The scores that verdicts by a fair coin can have, in ascending order."""

    score: Float[np.ndarray, " score"]
    probability: Float[np.ndarray, " score"]

    @property
    def sd(self) -> float:
        """Standard deviation of the score; its mean is one half."""
        return float(np.sqrt(self.probability @ (self.score - 0.5) ** 2))


class Variances(NamedTuple):
    """Where the variance of scores (with n - 1) comes from."""

    observed: float
    sampling: float  # the mean of the pairs' own sampling variances
    between: float  # the rest: below 0 when scores differ less than their prompts alone explain
    pairs: int


class Summary(NamedTuple):
    """The paper's description of the scores of many pairs."""

    pairs: int
    mean: float
    sd: float  # with n, as the paper has it
    skew: float
    p_skew: float  # D'Agostino's, that the skew is above 0, as where a few heads stand out


def count(verdicts: Collection, active: Collection) -> Counts:
    """Count one pair's prompts: a verdict (None: unread) and an activity for each, in one order."""
    said, true = (pd.array(list(column), dtype="boolean") for column in (verdicts, active))
    if len(said) != len(true) or true.isna().any():
        raise ValueError("verdicts need as many activities, and only verdicts can be unread")
    read = said & true, said & ~true, ~said & ~true, ~said & true  # a missing one stays missing
    kinds = *read, said.isna() & true, said.isna() & ~true
    return Counts(*(int(kind.sum()) for kind in kinds))


def score(counts: Counts) -> float:
    """Return E over the answers that were read."""
    shares = [right / of if of else nan for right, of in counts.read]
    return sum(shares) / 2


def newcombe(counts: Counts) -> tuple[float, float]:
    """Return a 95 % interval for E, from the Wilson intervals of its two shares.

    E is one half and half the difference of TPR and FPR, whose interval is Newcombe's (1998, method
    10), for independent prompts.
    """
    if isnan(score(counts)):
        return nan, nan
    of_both = *counts.read[0], counts.fp, counts.fp + counts.tn
    low, high = confint_proportions_2indep(*of_both, method="newcomb", alpha=1 - 0.95)
    return max(0.0, (1 + float(low)) / 2), (1 + float(high)) / 2  # rounding could go below 0


def sampling_variance(counts: Counts) -> float:
    """Return how much E would vary with other prompts, unbiased, from two answers of each kind."""
    if any(of < 2 for _, of in counts.read):
        return nan
    return sum(right / of * (1 - right / of) / (of - 1) for right, of in counts.read) / 4


def auroc(probabilities: Collection, active: Collection) -> float:
    """Return how often an active prompt has the higher probability than an inactive one. Ties count
    one half. (Ten times as fast as scikit-learn's on twenty prompts.)"""
    known, active = complete(probabilities=probabilities, activities=active)
    ranks, n_active = rankdata(known)[active == 1], int(active.sum())
    couples = n_active * (len(active) - n_active)
    return float((ranks.sum() - n_active * (n_active + 1) / 2) / couples) if couples else nan


def fisher(counts: Counts) -> Significance:
    """Test by Fisher's exact test whether *active* is said more often of active prompts."""
    (_, n_active), (_, n_inactive) = counts.read
    if not (n_active and n_inactive):
        return Significance(nan, nan)
    called = (n_active + n_inactive, n_active, counts.tp + counts.fp)
    p = float(hypergeom.sf(counts.tp - 1, *called))
    return Significance(p, p - float(hypergeom.pmf(counts.tp, *called)) / 2)


def smallest_p(n_active: int, n_inactive: int) -> float:
    """Return the p of faultless verdicts: no verdicts on these prompts can have a smaller one."""
    return 1 / comb(n_active + n_inactive, n_active)


def smallest_p_as_called(n_active: int, n_inactive: int, called_active: int) -> float:
    """Return the p of the best verdicts that call that many prompts active."""
    best = min(n_active, called_active)
    return float(hypergeom.pmf(best, n_active + n_inactive, n_active, called_active))


def q_values(p: Collection, *, method: Literal["bh", "by"] = "bh") -> Float[np.ndarray, " pair"]:
    """Return for each p the smallest false discovery rate at which it is still a discovery: by
    Benjamini and Hochberg (`bh`, tests independent or positively dependent), or the stricter
    Benjamini and Yekutieli (`by`, any tests)."""
    found = np.array(list(p), float)
    known = ~np.isnan(found)
    if known.any():
        found[known] = false_discovery_control(found[known], method=method)
    return found


def coin_scores(n_active: int, n_inactive: int) -> CoinScores:
    """Return the exact distribution of E when every verdict is a coin's; both kinds are needed."""
    # whole numbers, so that equal scores are found equal: E times twice the product of both sizes
    right = np.arange(n_active + 1) * n_inactive, np.arange(n_inactive + 1) * n_active
    chances = [binom.pmf(np.arange(n + 1), n, 0.5) for n in (n_active, n_inactive)]
    distinct, place = np.unique(np.add.outer(*right).ravel(), return_inverse=True)
    probability = np.bincount(place, weights=np.multiply.outer(*chances).ravel())
    return CoinScores(distinct / (2 * n_active * n_inactive), probability)


def between_pairs(scores: Collection, variances: Collection) -> Variances:
    """Split the variance of scores by their sampling variances, taken for independent."""
    scores, variances = complete(scores=scores, variances=variances)
    if len(scores) < 2:
        return Variances(nan, nan, nan, len(scores))
    observed, sampling = float(scores.var(ddof=1)), float(variances.mean())
    return Variances(observed, sampling, observed - sampling, len(scores))


def paper_summary(scores: Collection) -> Summary:
    """Return mean, sd, skew and the skew's test as the paper computes them (step 6). Undefined: the
    skew of fewer than three scores or of equal ones; its p for fewer than eight."""
    (known,) = complete(scores=scores)
    if not len(known):
        return Summary(0, nan, nan, nan, nan)
    varied = known if np.ptp(known) > 0 else known[:0]
    skewed = float(skew(varied)) if len(varied) >= 3 else nan
    p = float(skewtest(varied, alternative="greater").pvalue) if len(varied) >= 8 else nan
    return Summary(len(known), float(known.mean()), float(known.std()), skewed, p)
