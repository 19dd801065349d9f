"""Effects and their tests against loops, scipy, all permutations there are, and planted answers."""

from itertools import combinations
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from inline import defined_in
from lookups.statistics import bootstrap
from lookups.statistics.bootstrap import times_drawn
from lookups.statistics.differences import Values, group_difference, ks, pair_means, share_of_mean
from scipy.stats import ks_2samp

CHAPTER = defined_in("09_head_ablation")
cliffs_delta, permuted_within_pairs = CHAPTER.cliffs_delta, CHAPTER.permuted_within_pairs


def rows_of(
    n_pairs: int, n_prompts: int, *, seed: int = 0, planted: float = 0.0, heads: int = 2
) -> pd.DataFrame:
    """Changes of pairs, `heads` of a neuron, larger by `planted` on active prompts."""
    random = np.random.default_rng(seed)
    tables = []
    for pair in range(n_pairs):
        active = random.permutation(np.arange(n_prompts) < n_prompts // 3)
        change = random.gamma(1.0, size=n_prompts) + planted * active
        names = {"neuron": f"L1.N{pair // heads}", "head": f"L0.H{pair % heads}"}
        prompts = [f"c/test/{i}" for i in range(n_prompts)]
        tables.append(pd.DataFrame({**names, "prompt": prompts, "active": active, "fall": change}))
    return pd.concat(tables, ignore_index=True)


def turned(rows: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    return rows.sample(frac=1, random_state=seed)


def test_means_of_pairs_are_those_of_pandas_and_a_pair_of_one_kind_lacks_the_other():
    rows = rows_of(5, 9)
    rows.loc[rows.neuron.eq("L1.N0") & rows["head"].eq("L0.H0"), "active"] = True
    found = pair_means(turned(rows), "fall")
    kinds = rows.groupby(["neuron", "head", "active"]).fall
    size, mean = kinds.size().unstack(fill_value=0), kinds.mean().unstack()
    expected = [size[True], size[False], mean[True], mean[False], mean[True] - mean[False]]
    assert np.allclose(found.iloc[:, 2:], np.stack(expected, axis=1), equal_nan=True)
    assert found.difference.isna().tolist() == [True] + [False] * 4
    empty = pair_means(rows[:0], "fall")
    assert empty.empty
    assert list(empty.columns) == list(found.columns)
    assert isnan(ks(empty.active, empty.inactive).p)


def test_ks_is_scipys_and_leaves_pairs_out_that_lack_a_kind():
    active, inactive = [0.1, 0.2, 0.5, 0.9], [0.0, 0.05, 0.15, 0.3]
    found = ks([*active, nan, 3.0], [*inactive, 2.0, nan])
    expected = ks_2samp(active, inactive)
    assert found == pytest.approx((expected.statistic, expected.pvalue, 4, 2))
    assert str(found).startswith("KS 0.500, p = ")
    assert ks([nan], [1.0])[2:] == (0, 1)


def test_a_difference_of_groups_is_that_of_their_means_and_so_is_its_interval_for_every_draw():
    first, second = Values([1, 2, nan, 6], [*"abbc"]), Values([0.5, 0.1, 0.3], [*"acc"])
    random, means = np.random.default_rng(0), []
    for sums, sizes in (([1, 2, 6], [1, 1, 1]), ([0.5, 0.4], [1, 2])):
        times = times_drawn(len(sums), seed=random)
        means.append((times @ sums) / (times @ sizes))
    limits = np.quantile(means[0] - means[1], [0.025, 0.975])
    assert group_difference(first, second, seed=0) == pytest.approx((3 - 0.3, *limits))
    one = Values([1.0], ["a"])
    assert group_difference(one, second, seed=0) == pytest.approx((0.7, nan, nan), nan_ok=True)
    assert isnan(group_difference(Values([], []), one, seed=0).mean)


def delta_by_loop(active, inactive) -> float:
    won = sum((a > b) - (a < b) for a in active for b in inactive)
    return won / (len(active) * len(inactive))


@pytest.mark.parametrize("digits", [0, 9], ids=["ties", "none"])
def test_delta_is_the_double_loop_and_so_is_its_interval_for_every_draw(digits, monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 300)
    means = turned(pair_means(rows_of(9, 12, planted=0.3), "fall")).round(digits)
    neurons = sorted(set(means.neuron))
    again = []
    for times in times_drawn(len(neurons), seed=4):
        own = pd.concat([means[means.neuron == name] for name in np.repeat(neurons, times)])
        again.append(delta_by_loop(own.active, own.inactive))
    found = cliffs_delta(means.active, means.inactive, means.neuron, seed=4)
    assert found.mean == pytest.approx(delta_by_loop(means.active, means.inactive))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])))
    alone = cliffs_delta([1.0, nan], [0.0, 1.0], ["a", "b"], seed=0)
    assert alone == pytest.approx((1, nan, nan), nan_ok=True)
    assert isnan(cliffs_delta([], [], [], seed=0).mean)


def check_p(found, ways: np.ndarray, seen: float) -> None:
    assert found.p_greater == pytest.approx((ways >= seen - 1e-12).mean(), abs=0.012)
    farther = np.abs(ways) >= abs(seen) - 1e-12
    assert found.p_two_sided == pytest.approx(farther.mean(), abs=0.012)


def test_p_is_that_of_all_ways_to_assign_the_labels():
    rows = rows_of(2, 9, seed=3, heads=1)
    found = permuted_within_pairs(rows, "fall", seed=0, draws=20_000)
    all_ways, difference = np.zeros(1), 0.0
    for own, pair in zip((rows[:9], rows[9:]), found.pairs.itertuples(), strict=True):
        changes, active = own.fall.to_numpy(), own.active.to_numpy()
        k, n = int(active.sum()), len(active)
        ways = [changes[list(some)] for some in combinations(range(n), k)]
        ways = np.array([w.mean() - (changes.sum() - w.sum()) / (n - k) for w in ways])
        seen = changes[active].mean() - changes[~active].mean()
        check_p(pair, ways, seen)
        all_ways, difference = np.add.outer(all_ways, ways).ravel(), difference + seen
    check_p(found, all_ways, difference)
    assert found.difference == pytest.approx(difference / 2)


def test_the_heads_of_a_neuron_are_relabeled_alike():
    """With opposite labels and equal changes the two heads cancel in every relabeling."""
    one = rows_of(1, 12, seed=5)
    both = pd.concat([one, one.assign(head="L0.H9", active=~one.active)])
    found = permuted_within_pairs(both, "fall", seed=0, draws=200)
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert (found.p_greater, found.p_two_sided) == (1, 1)


def test_p_never_is_0_and_is_small_for_a_planted_difference():
    found = permuted_within_pairs(rows_of(10, 40, planted=5.0), "fall", seed=0, draws=500)
    assert found.p_greater == found.p_two_sided == 1 / 501
    assert (found.pairs.p_greater < 0.01).all()
    equal = permuted_within_pairs(rows_of(3, 10).assign(fall=0.1), "fall", seed=0, draws=100)
    assert (equal.p_greater, equal.p_two_sided) == (1, 1)


def test_neither_order_nor_other_neurons_change_a_p():
    rows = rows_of(8, 15)
    found = permuted_within_pairs(rows, "fall", seed=2, draws=300)
    again = permuted_within_pairs(turned(rows), "fall", seed=2, draws=300)
    assert again.pairs.equals(found.pairs)
    assert again[:3] == found[:3]
    alone = permuted_within_pairs(rows[rows.neuron == "L1.N2"], "fall", seed=2, draws=300)
    own = found.pairs[found.pairs.neuron == "L1.N2"].reset_index(drop=True)
    assert alone.pairs.equals(own)


def test_pairs_of_one_kind_are_left_out_and_prompts_may_differ_between_heads():
    rows = rows_of(4, 12)
    rows.loc[rows.neuron.eq("L1.N0") & rows["head"].eq("L0.H0"), "active"] = True
    rows.loc[20:22, "fall"] = nan
    found = permuted_within_pairs(rows, "fall", seed=0, draws=50)
    assert len(found.pairs) == 3
    assert np.allclose(found.pairs.difference, pair_means(rows, "fall").difference.dropna())
    assert np.isnan(permuted_within_pairs(rows[:0], "fall", seed=0, draws=9)[:3]).all()
    with pytest.raises(AssertionError):
        permuted_within_pairs(pd.concat([rows, rows]), "fall", seed=0, draws=9)


def shared(n_neurons: int, share: float, seed: int, noise: float = 0.1, offset: float = 0.0):
    """Direct and total effects whose share differs a little from neuron to neuron."""
    random = np.random.default_rng(seed)
    neurons = np.repeat([f"L1.N{i}" for i in range(n_neurons)], 12)
    own = np.repeat(share + 0.1 * random.normal(size=n_neurons), 12)
    total = random.normal(1.0, 1.0, len(neurons))
    return own * total + offset + noise * random.normal(size=len(neurons)), total, neurons


def test_a_share_is_the_ratio_of_means_or_a_slope_and_so_is_its_interval_for_every_draw(
    monkeypatch,
):
    monkeypatch.setattr(bootstrap, "DRAWS", 200)
    direct, total, neurons = shared(5, 0.6, seed=1, offset=0.4)
    names = sorted(set(neurons))

    def shares(rows) -> tuple[float, float]:
        x, y = total[rows], direct[rows]
        return np.linalg.lstsq(x[:, None], y)[0][0], y.mean() / x.mean()

    again = []
    for times in times_drawn(5, seed=2):
        drawn = [np.flatnonzero(neurons == name) for name in np.repeat(names, times)]
        again.append(shares(np.concatenate(drawn)))
    order = np.random.default_rng(0).permutation(60)
    y, x, names = direct[order], total[order], neurons[order]
    slope, share = (share_of_mean(*both, names, seed=2).share for both in ((x * y, x * x), (y, x)))
    limits = np.quantile(again, [0.025, 0.975], axis=0)
    assert np.allclose([slope, share], np.stack([shares(order), *limits], axis=1))


def test_a_whole_that_may_be_nothing_has_no_shares():
    part, whole, neurons = shared(20, 0.5, seed=0)
    found = share_of_mean(part, whole - whole.mean(), neurons, seed=0)
    assert np.isnan(found.share).all()
    assert found.part.mean == pytest.approx(part.mean())
    assert np.isnan(share_of_mean([1.0, nan], [2.0, 1.0], ["a", "b"], seed=0).share.mean)
    assert np.isnan(share_of_mean([], [], [], seed=0).whole.mean)
