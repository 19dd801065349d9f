"""Intervals for what the chapters report, where scipy and statsmodels have none of the right kind.

Neurons, not rows, are the independent units: prompts and pairs of one neuron share it. Prompts out
of one article share that too, so an interval over articles may stand beside the one over neurons.
"""

from collections.abc import Collection, Mapping
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


class Estimates(NamedTuple):
    """One mean, with an interval for every kind of unit that may be resampled."""

    mean: float
    over: dict[str, Estimate]
    """The kinds of units, such as neurons and articles, with the mean's interval over each."""

    def __str__(self) -> str:
        intervals = (
            f"[{one.low:.3f}, {one.high:.3f}] over {name}" for name, one in self.over.items()
        )
        return f"{self.mean:.3f} {', '.join(intervals)}"


def bootstrap_over(
    values: Collection,
    units: Mapping[str, Collection],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimates:
    """Return the mean of `values` with an interval over each kind of unit, one kind at a time.

    `units` maps a kind ("neurons", "articles") to the unit of every value. An interval over one
    kind takes the units of the other as they are: the wider of the two is the one to believe.

    Raises:
        ValueError: there is no kind of unit, or `values` and the units differ in length.
    """
    if not units:
        raise ValueError("an interval needs at least one kind of unit to resample")
    drawn = {"seed": seed, "draws": draws, "level": level}
    over = {name: bootstrap_mean(values, of, **drawn) for name, of in units.items()}
    return Estimates(next(iter(over.values())).mean, over)
