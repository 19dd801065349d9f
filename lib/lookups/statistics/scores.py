"""How well verdicts tell active prompts from inactive ones: the score of one pair.

The head explanation score is E = (TPR + TNR) / 2, the mean of two shares: active prompts that were
called active, inactive ones that were called inactive (paper, step 6). Calling everything active,
or tossing a coin, scores one half. A share of no prompts is undefined, and so is E then: it is
not-a-number, a value that says so, never 0 or one half. Answers that could not be read are counted
by kind; E leaves them out, and the strict score counts them as wrong.

Whether a score could be luck is asked in `significance`; what many scores say together, in
`statistics.scores_together`. Nothing here knows what a prompt, an explanation or a model is.
"""

from collections.abc import Collection
from math import hypot, isnan, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from statsmodels.stats.proportion import proportion_confint


class Counts(NamedTuple):
    """The prompts of one pair, by what was said and what is so."""

    tp: int
    """Active, called active."""
    fp: int
    """Inactive, called active."""
    tn: int
    """Inactive, called inactive."""
    fn: int
    """Active, called inactive."""
    unread_active: int = 0
    """Active, and no answer could be read."""
    unread_inactive: int = 0
    """Inactive, and no answer could be read."""


def count(verdicts: Collection, active: Collection) -> Counts:
    """Count one pair's prompts: a verdict (None: unread) and an activity for each, in one order.

    Arrays, columns and lists will do; a column's missing value is None.

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


def newcombe(counts: Counts, *, level: float = 0.95, strict: bool = False) -> tuple[float, float]:
    """Return an interval for E, from the Wilson intervals of its two shares.

    The distances from each share to its limits add up as independent errors do: as squares
    (Newcombe 1998, method 10; halved, for a mean of two shares in place of a difference). It takes
    the prompts for independent. Exact coverage at 50 + 50 prompts is .937 to .961 for shares of .5
    to .95; at 10 + 10 it can fall to .91. Where E is undefined, so are both limits. `strict` counts
    unread answers as wrong.
    """
    counts = unread_as_wrong(counts) if strict else counts
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

    Raises:
        ValueError: the lengths differ.
    """
    if len(probabilities) != len(active):
        raise ValueError(
            f"{len(probabilities)} probabilities need as many activities, not {len(active)}"
        )
    given, true = np.array(list(probabilities), float), np.array(list(active), bool)
    known = ~np.isnan(given)
    ranks, kinds = rankdata(given[known]), true[known]
    n_active, n_inactive = int(kinds.sum()), int((~kinds).sum())
    if not n_active * n_inactive:
        return nan
    exceeded = ranks[kinds].sum() - n_active * (n_active + 1) / 2
    return float(exceeded / (n_active * n_inactive))


def _shares(counts: Counts) -> tuple[tuple[int, int], tuple[int, int]]:
    """Right answers and read answers, on active and on inactive prompts."""
    return (counts.tp, counts.tp + counts.fn), (counts.tn, counts.tn + counts.fp)
