"""How well verdicts tell active prompts from inactive ones, and could it be luck? (chapter 8)

The head explanation score is E = (TPR + TNR) / 2, the mean of two shares: active prompts that were
called active, inactive ones that were called inactive (paper, step 6). Calling everything active,
or tossing a coin, scores one half. A share of no prompts is undefined, and so is E then: it is
not-a-number, never 0 or one half. Answers that could not be read are counted by kind; E leaves them
out, and the strict score counts them as wrong.

Tests are exact and one-sided: they ask whether *active* is said more often of active prompts. With
few prompts, or with nearly all of one kind, no verdicts whatever can be significant, so beside each
p stands the smallest that the pair could have had. Scores from few prompts differ even if all pairs
are explained equally well: the variance *between* pairs is what is left when that of the prompts'
sampling is taken off. Nothing here knows what a prompt, an explanation or a model is.
"""

from collections.abc import Collection
from math import comb, hypot, isnan, nan
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binom, false_discovery_control, hypergeom, rankdata, skew, skewtest
from statsmodels.stats.proportion import proportion_confint

from lookups.statistics.bootstrap import UNKNOWN, Estimate, bootstrap_mean, complete


class Counts(NamedTuple):
    """The prompts of one pair: *positive* was called active, *true* rightly, *unread* neither."""

    tp: int
    fp: int
    tn: int
    fn: int
    unread_active: int = 0
    unread_inactive: int = 0


def count(verdicts: Collection, active: Collection) -> Counts:
    """Count one pair's prompts: a verdict (None: unread) and an activity for each, in one order.

    Raises:
        ValueError: the lengths differ, or an activity is missing.
    """
    if len(verdicts) != len(active):
        raise ValueError(f"{len(verdicts)} verdicts need as many activities, not {len(active)}")
    said = pd.array(list(verdicts), dtype="boolean")
    true = pd.array(list(active), dtype="boolean")
    if true.isna().any():
        raise ValueError("the activity of a prompt is missing: only verdicts can be unread")
    true = true.to_numpy(dtype=bool)
    unread, yes = np.asarray(said.isna()), said.to_numpy(dtype=bool, na_value=False)
    no = ~unread & ~yes
    kinds = (yes & true, yes & ~true, no & ~true, no & true, unread & true, unread & ~true)
    return Counts(*(int(kind.sum()) for kind in kinds))


def unread_as_wrong(counts: Counts) -> Counts:
    """Return counts in which every unread answer is a wrong one."""
    fp, fn = counts.fp + counts.unread_inactive, counts.fn + counts.unread_active
    return Counts(counts.tp, fp, counts.tn, fn)


def score(counts: Counts) -> float:
    """Return E over the answers that were read; not-a-number when one kind has none."""
    shares = _shares(counts)
    if any(of == 0 for _, of in shares):
        return nan
    return sum(right / of for right, of in shares) / 2


def score_strict(counts: Counts) -> float:
    """Return E with unread answers counted as wrong; not-a-number when one kind has no prompt."""
    return score(unread_as_wrong(counts))


def newcombe(counts: Counts, *, level: float = 0.95) -> tuple[float, float]:
    """Return an interval for E, from the Wilson intervals of its two shares.

    The distances from each share to its limits add up as independent errors do: as squares
    (Newcombe 1998, method 10; halved, for a mean of two shares in place of a difference). It takes
    the prompts for independent. Exact coverage at 50 + 50 prompts is .937 to .961 for shares of .5
    to .95; at 10 + 10 it can fall to .91. Where E is undefined, so are both limits.
    """
    middle = score(counts)
    if isnan(middle):
        return nan, nan
    below, above = [], []
    for right, of in _shares(counts):
        low, high = proportion_confint(right, of, alpha=1 - level, method="wilson")
        below.append(right / of - low)
        above.append(high - right / of)
    # the limits lie in [0, 1] by themselves, but for rounding
    return max(0.0, middle - hypot(*below) / 2), min(1.0, middle + hypot(*above) / 2)


def sampling_variance(counts: Counts) -> float:
    """Return how much E would vary if other prompts had been drawn: an unbiased estimate.

    Each share adds a quarter of p (1 - p) / (n - 1). Not-a-number when one kind has fewer than two
    read answers.
    """
    shares = _shares(counts)
    if any(of < 2 for _, of in shares):
        return nan
    return sum(right / of * (1 - right / of) / (of - 1) for right, of in shares) / 4


def auroc(probabilities: Collection, active: Collection) -> float:
    """Return how often an active prompt has the higher probability than an inactive one.

    Ties count one half. Prompts without a probability (None) are left out; not-a-number when those
    with one are all of one kind, or none. It is the rank sum of Mann and Whitney: a tenth of the
    time of scikit-learn's, which matters for thousands of pairs of twenty prompts.
    """
    known, active = complete(probabilities=probabilities, activities=active)
    ranks, kinds = rankdata(known), active.astype(bool)
    n_active, n_inactive = int(kinds.sum()), int((~kinds).sum())
    if not n_active * n_inactive:
        return nan
    exceeded = ranks[kinds].sum() - n_active * (n_active + 1) / 2
    return float(exceeded / (n_active * n_inactive))


def _shares(counts: Counts) -> tuple[tuple[int, int], tuple[int, int]]:
    """Right answers and read answers, on active and on inactive prompts."""
    return (counts.tp, counts.tp + counts.fn), (counts.tn, counts.tn + counts.fp)


class Significance(NamedTuple):
    """The chance of verdicts at least as right; in mid-p those just as right count half."""

    p: float
    mid_p: float


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
    """Return the p of faultless verdicts: no verdicts on these prompts can have a smaller one."""
    return 1 / comb(n_active + n_inactive, n_active)


def smallest_p_as_called(n_active: int, n_inactive: int, called_active: int) -> float:
    """Return the p of the best verdicts that call that many prompts active.

    An explainer that calls nearly everything active cannot reach a small p, whatever it knows.

    Raises:
        ValueError: more are called active than there are.
    """
    prompts = n_active + n_inactive
    if not 0 <= called_active <= prompts:
        raise ValueError(f"of {prompts} prompts, {called_active} cannot be called active")
    return float(hypergeom(prompts, n_active, called_active).pmf(min(n_active, called_active)))


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


class Variances(NamedTuple):
    """Where the variance of scores comes from; of pairs with a score and a sampling variance."""

    observed: float
    """With n - 1."""
    sampling: float
    """Mean of the pairs' own sampling variances."""
    between: float
    """Observed less sampling. Below 0 when scores differ less than their prompts alone explain."""
    pairs: int


class Summary(NamedTuple):
    """The paper's description of the scores of many pairs."""

    pairs: int
    """With a score."""
    mean: float
    sd: float
    """With n, as the paper has it."""
    skew: float
    p_skew: float
    """Of D'Agostino's test that the skew is above 0, as it is where a few heads stand out."""


def between_pairs(scores: Collection, variances: Collection) -> Variances:
    """Split the variance of scores; `variances` are `sampling_variance`'s.

    A difference of two estimates: it may be negative and is reported as it is. It takes the errors
    of different pairs for independent; pairs of one neuron share their prompts. Pairs without a
    score or a variance (not-a-number) are left out; with fewer than two, all three are undefined.
    """
    scores, variances = complete(scores=scores, variances=variances)
    pairs = len(scores)
    if pairs < 2:
        return Variances(nan, nan, nan, pairs)
    observed, sampling = float(scores.var(ddof=1)), float(variances.mean())
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
    """
    if len(units) != len(verdicts):
        raise ValueError(f"{len(verdicts)} verdicts need as many units, not {len(units)}")
    known = verdicts.verdict.notna().to_numpy(bool)
    rows = verdicts[known].assign(unit=pd.array(list(units), dtype=object)[known])
    rows["right"] = (rows.verdict.astype(bool) == rows.active.astype(bool)).astype(float)
    of_pair = rows.groupby(["neuron", "head"])
    rows = rows[of_pair.active.transform("nunique") == 2]
    if not len(rows):
        return UNKNOWN
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
    (known,) = complete(scores=scores)
    pairs = len(known)
    if pairs == 0:
        return Summary(0, nan, nan, nan, nan)
    mean, sd = float(known.mean()), float(known.std())
    if pairs < 3 or np.ptp(known) == 0:
        return Summary(pairs, mean, sd, nan, nan)
    p_skew = float(skewtest(known, alternative="greater").pvalue) if pairs >= 8 else nan
    return Summary(pairs, mean, sd, float(skew(known)), p_skew)
