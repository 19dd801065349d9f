"""Intervals for what the chapters report, where scipy and statsmodels have none of the right kind.

Neurons, not rows, are the independent units: prompts and pairs of one neuron share it.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd


class Estimate(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(
    values: Collection,
    clusters: Collection,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Return the mean of `values` with a percentile interval from resampling whole clusters.

    Arrays, columns and lists will do. Not-a-number values are left out. With fewer than two
    clusters the interval is not-a-number.

    Raises:
        ValueError: `values` and `clusters` differ in length.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values need as many clusters, not {len(clusters)}")
    frame = pd.DataFrame({"value": np.asarray(values, float), "cluster": list(clusters)}).dropna()
    totals = frame.groupby("cluster", sort=True).value.agg(["sum", "count"]).to_numpy()
    if len(totals) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    mean = float(frame.value.mean())
    if len(totals) == 1:
        return Estimate(mean, np.nan, np.nan)
    random = np.random.default_rng(seed)
    drawn = totals[random.integers(0, len(totals), (draws, len(totals)))].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail])
    return Estimate(mean, float(low), float(high))
