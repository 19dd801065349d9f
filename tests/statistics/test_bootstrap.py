"""The cluster bootstrap against every resample there is, and the cases without an interval."""

from itertools import product

import numpy as np
import pytest
from lookups.statistics import bootstrap
from lookups.statistics.bootstrap import UNKNOWN, Estimate, bootstrap_mean, percent, written
from lookups.statistics.scores import count

VALUES = [1.0, 2.0, 6.0, 0.0, 4.0, 4.0]
CLUSTERS = ["a", "a", "b", "c", "c", "c"]


def test_the_interval_is_that_of_all_resamples(monkeypatch):
    of = {name: [v for v, c in zip(VALUES, CLUSTERS, strict=True) if c == name] for name in "abc"}
    means = [np.mean([v for name in some for v in of[name]]) for some in product("abc", repeat=3)]
    monkeypatch.setattr(bootstrap, "DRAWS", 40_000)
    found = bootstrap_mean(VALUES, CLUSTERS, seed=0)
    low, high = np.quantile(np.repeat(means, 1000), [0.025, 0.975])
    assert found == pytest.approx((np.mean(VALUES), low, high))


def test_neither_order_nor_unknown_values_change_an_interval():
    order = [4, 2, 0, 5, 1, 3]
    turned = [VALUES[i] for i in order], [CLUSTERS[i] for i in order]
    found = bootstrap_mean(VALUES, CLUSTERS, seed=3)
    assert bootstrap_mean(*turned, seed=3) == found
    assert bootstrap_mean([*VALUES, np.nan], [*CLUSTERS, "d"], seed=3) == found


@pytest.mark.parametrize(("values", "mean"), [([1.0, 2.0], 1.5), ([], np.nan), ([np.nan], np.nan)])
def test_one_cluster_has_a_mean_and_no_interval_and_nothing_known_neither(values, mean):
    found = bootstrap_mean(values, ["a"] * len(values), seed=0)
    assert found == pytest.approx((mean, np.nan, np.nan), nan_ok=True)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: bootstrap_mean([1.0, 0.0, 1.0], ["a", "b"], seed=0),
        lambda: bootstrap.complete(parts=[1.0, 0.0], wholes=[1.0, 0.0, 1.0]),
        lambda: count([True, None], [True]),
        lambda: count([True, None], [True, None]),
    ],
)
def test_columns_of_unequal_length_are_refused(ask):
    with pytest.raises(ValueError, match=r"length|as many|only verdicts can be unread"):
        ask()


def test_a_written_number_has_no_negative_zero_and_what_is_unknown_is_a_dash():
    found = Estimate(0.1234, -0.00001, np.nan)
    assert written(found, times=100, digits=2) == bootstrap.points(found) == "12.34 [0.00, nan]"
    assert percent(-0.001) == "0 %"
    assert percent(Estimate(0.4, np.nan, np.nan), unknown="no share") == "no share"
    assert {written(UNKNOWN), percent(np.nan), percent(UNKNOWN)} == {"–"}
