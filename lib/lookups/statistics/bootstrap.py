"""Means with intervals from drawing whole neurons, and generators that belong to names.

Neurons, not rows, are the independent units: prompts and pairs of one neuron share it. Columns of
unequal length are refused with a `ValueError` wherever two are given.
"""

import hashlib
from collections.abc import Collection
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

DRAWS = 2000  # resamples behind an interval
TAIL = (1 - 0.95) / 2  # the share of what was drawn that lies beyond either limit


class Estimate(NamedTuple):
    """A mean with its 95 % interval; what is not known is not-a-number."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


UNKNOWN = Estimate(nan, nan, nan)


def lots_of(seed: int, *names: str) -> np.random.Generator:
    """Return a source of random numbers that belongs to a seed and some names, in order."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *digest])


def bootstrap_mean(values: Collection, clusters: Collection, *, seed: int) -> Estimate:
    """Return the mean of `values` with a percentile interval from resampling whole clusters.
    Not-a-number values are left out. With fewer than two clusters there is no interval."""
    frame = pd.DataFrame({"value": np.asarray(values, float), "cluster": list(clusters)}).dropna()
    totals = frame.groupby("cluster", sort=True).value.agg(["sum", "count"]).to_numpy()
    if len(totals) == 0:
        return UNKNOWN
    random = np.random.default_rng(seed)
    drawn = totals[random.integers(0, len(totals), (DRAWS, len(totals)))].sum(axis=1)
    return Estimate(float(frame.value.mean()), *limits(drawn[:, 0] / drawn[:, 1], len(totals)))


def times_drawn(n: int, *, seed: int | np.random.Generator) -> Int[np.ndarray, "draw cluster"]:
    """Return how often each of n clusters comes when n are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)


def draw(
    clusters: np.ndarray, *columns: np.ndarray, seed: int | np.random.Generator
) -> tuple[Float[np.ndarray, "cluster column"], Float[np.ndarray, "draw column"]]:
    """Return the sums of columns over each cluster (in the order of names), and over each draw."""
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.stack([np.bincount(place, column) for column in columns], axis=1)
    return sums, times_drawn(len(sums), seed=seed) @ sums


def limits(drawn: Float[np.ndarray, " draw"], clusters: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of what was drawn; undefined draws are left out.
    Not-a-number with fewer than two clusters."""
    known = drawn[np.isfinite(drawn)]
    if clusters < 2 or len(known) == 0:
        return nan, nan
    low, high = np.quantile(known, [TAIL, 1 - TAIL])
    return float(low), float(high)


def complete(**columns: Collection) -> list[np.ndarray]:
    """Return columns without rows in which a number is missing; `neurons` come last, as text."""
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns differ in length: {sizes}")
    names = columns.pop("neurons", None)
    numbers = np.array([list(values) for values in columns.values()], float)
    known = ~np.isnan(numbers).any(axis=0)
    of_neurons = [] if names is None else [np.array(list(names), dtype=object)[known].astype(str)]
    return [*numbers[:, known], *of_neurons]


def points(found: Estimate) -> str:
    """Return a difference of probabilities as text, in percentage points."""
    return written(found, times=100, digits=2)


def written(found: Estimate, *, times: int = 1, digits: int = 3) -> str:
    """Return an estimate as text, without a minus zero; a dash stands for what is not known."""
    mean, low, high = (f"{round(times * number, digits) + 0.0:.{digits}f}" for number in found)
    return f"{mean} [{low}, {high}]" if isfinite(found.mean) else "–"


def percent(share: float | np.floating | Estimate, *, digits: int = 0, unknown: str = "–") -> str:
    """Return a share as text, "44 %", or an estimate of one, "44 % [40, 49]". A share that is not a
    number is unknown, and so is an estimate without an interval."""
    numbers = share if isinstance(share, Estimate) else (share,)
    if not all(map(isfinite, numbers)):
        return unknown
    mean, *limits = (f"{round(100 * number, digits) + 0.0:.{digits}f}" for number in numbers)
    return f"{mean} % [{', '.join(limits)}]" if limits else f"{mean} %"
