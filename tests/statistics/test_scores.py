"""Scores against exact enumeration and textbook loops."""

from itertools import product
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from inline import defined_in
from lookups.statistics.scores import (
    Counts,
    auroc,
    between_pairs,
    coin_scores,
    count,
    fisher,
    newcombe,
    paper_summary,
    q_values,
    sampling_variance,
    score,
    smallest_p,
    smallest_p_as_called,
)
from scipy.stats import binom, fisher_exact, hypergeom
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from statsmodels.stats.multitest import multipletests

CHAPTER = defined_in("08_scores")
mean_over, score_strict = CHAPTER.mean_over, CHAPTER.score_strict
NO_ACTIVE, NO_INACTIVE = Counts(0, 3, 4, 0, 2, 0), Counts(3, 0, 0, 4, 0, 2)


def outcomes(n_active: int, n_inactive: int) -> list[Counts]:
    """Everything that can come out."""
    right = product(range(n_active + 1), range(n_inactive + 1))
    return [Counts(a, n_inactive - b, b, n_active - a) for a, b in right]


def test_the_score_is_balanced_accuracy_of_what_was_read():
    random = np.random.default_rng(0)
    for _ in range(50):
        said = [[True, False, None][i] for i in random.integers(0, 3, 30)]
        active = (random.random(30) < 0.4).tolist()
        read = [(s, a) for s, a in zip(said, active, strict=True) if s is not None]
        expected = balanced_accuracy_score([a for _, a in read], [s for s, _ in read])
        assert score(count(said, active)) == pytest.approx(expected)
        wrong = [not a if s is None else s for s, a in zip(said, active, strict=True)]
        expected = balanced_accuracy_score(active, wrong)
        assert score_strict(count(said, active)) == pytest.approx(expected)


def test_no_read_answer_of_one_kind_is_undefined_not_one_half():
    assert score(Counts(9, 1, 0, 0)) == 0.5
    assert score_strict(NO_ACTIVE) == pytest.approx((0 + 4 / 7) / 2)
    for counts in (NO_ACTIVE, NO_INACTIVE, Counts(0, 0, 0, 0)):
        assert isnan(score(counts))
        assert np.isnan(newcombe(counts)).all()
        assert isnan(sampling_variance(counts))
        assert np.isnan(fisher(counts)).all()


def test_the_interval_agrees_with_a_published_one():
    # Newcombe 1998, table II, 56/70 against 48/80: difference .2, method 10 gives .0524 to .3339.
    # A mean of p and 1 - q is one half and half of their difference, and so are its limits.
    low, high = newcombe(Counts(56, 48, 32, 14))
    assert 2 * low - 1 == pytest.approx(0.0524, abs=5e-5)
    assert 2 * high - 1 == pytest.approx(0.3339, abs=5e-5)


def test_fishers_p_and_mid_p_are_scipys_and_verdicts_all_alike_are_no_evidence():
    for counts in outcomes(7, 5):
        table = [[counts.tp, counts.fp], [counts.fn, counts.tn]]
        p = fisher_exact(table, alternative="greater").pvalue
        same = hypergeom.pmf(counts.tp, 12, 7, counts.tp + counts.fp)
        assert fisher(counts) == pytest.approx((p, p - same / 2), rel=1e-9)
    assert fisher(Counts(5, 5, 0, 0)) == fisher(Counts(0, 0, 5, 5)) == (1, 0.5)
    assert fisher(Counts(4, 1, 5, 2, 7, 9)) == fisher(Counts(4, 1, 5, 2))


@pytest.mark.parametrize(("n_active", "n_inactive"), [(1, 1), (3, 2), (2, 8), (5, 5)])
def test_no_verdicts_have_a_smaller_p_than_the_smallest(n_active, n_inactive):
    every = outcomes(n_active, n_inactive)
    assert smallest_p(n_active, n_inactive) == pytest.approx(min(fisher(c).p for c in every))
    for called in range(n_active + n_inactive + 1):
        same = [fisher(counts).p for counts in every if counts.tp + counts.fp == called]
        found = smallest_p_as_called(n_active, n_inactive, called)
        assert found == pytest.approx(min(same))
    assert smallest_p(0, 9) == smallest_p(9, 0) == smallest_p_as_called(9, 0, 4) == 1


def test_q_values_are_those_of_statsmodels_over_what_was_tested():
    random = np.random.default_rng(3)
    for tests, method in product((1, 2, 40), ("bh", "by")):
        p = np.round(random.random(tests) ** 3, 2).tolist()
        expected = multipletests(p, method=f"fdr_{method}")[1]
        found = q_values([nan, *p, nan], method=method)
        assert found == pytest.approx([nan, *expected, nan], nan_ok=True)
    assert np.isnan(q_values([nan, nan])).all()
    assert len(q_values([])) == 0


@pytest.mark.parametrize(("n_active", "n_inactive"), [(1, 1), (2, 5), (6, 4)])
def test_a_coins_scores_are_those_of_all_its_throws(n_active, n_inactive):
    active = [True] * n_active + [False] * n_inactive
    thrown = [score(count(said, active)) for said in product([True, False], repeat=len(active))]
    values, times = np.unique(np.round(thrown, 12), return_counts=True)
    found = coin_scores(n_active, n_inactive)
    assert found.score == pytest.approx(values)
    assert found.probability == pytest.approx(times / len(thrown))
    assert found.sd == pytest.approx(np.std(thrown))


@pytest.mark.parametrize(("tpr", "tnr"), [(0.5, 0.5), (0.3, 0.8), (0.95, 0.6)])
def test_the_sampling_variance_is_right_on_average(tpr, tnr):
    every = outcomes(7, 4)
    chance = [binom.pmf(one.tp, 7, tpr) * binom.pmf(one.tn, 4, tnr) for one in every]
    scores = np.array([score(one) for one in every])
    true = np.dot(chance, (scores - np.dot(chance, scores)) ** 2)
    assert np.dot(chance, [sampling_variance(one) for one in every]) == pytest.approx(true)
    assert isnan(sampling_variance(Counts(1, 2, 3, 0)))


def test_less_variance_than_sampling_explains_is_reported_as_it_is():
    found = between_pairs([0.6, 0.6, 0.6, nan, 0.9], [0.01, 0.02, 0.03, 0.5, nan])
    assert found == pytest.approx((0, 0.02, -0.02, 3))
    assert between_pairs([0.5, 0.7], [0.01, 0.03]) == pytest.approx((0.02, 0.02, 0, 2))
    one = between_pairs([0.6, nan], [0.01, 0.02])
    assert one == pytest.approx((nan, nan, nan, 1), nan_ok=True)


def test_auroc_is_scikit_learns_over_what_is_known():
    probabilities = [0.9, None, 0.4, 0.4, 0.2, 0.7, None, 0.1]
    active = [True, True, True, False, False, True, False, False]
    known = [(a, p) for p, a in zip(probabilities, active, strict=True) if p is not None]
    expected = roc_auc_score(*zip(*known, strict=True))
    assert auroc(probabilities, active) == pytest.approx(expected)
    of_one_kind = [([], []), ([None, None], [True, False]), ([0.2, 0.3, None], [True, True, False])]
    assert all(isnan(auroc(*one)) for one in of_one_kind)


def test_the_summary_is_that_of_the_papers_formulas_and_too_few_scores_have_no_skew():
    scores = [0.9, 0.55, 0.5, 0.5, 0.45, 0.6, 0.5, nan, 0.4, 0.95]
    known = np.array([s for s in scores if not isnan(s)])
    mean, sd = known.mean(), known.std()
    found = paper_summary(scores)
    assert found[:4] == pytest.approx((9, mean, sd, ((known - mean) ** 3).mean() / sd**3))
    assert 0 < found.p_skew < 0.1
    assert paper_summary([1 - s for s in scores]).p_skew == pytest.approx(1 - found.p_skew)
    few = ([nan], [0.5] * 9, [0.5, 0.7], [0.1, 0.2, 0.3, 0.5, 0.8, 0.9, 0.95])
    known = [5 - np.isnan(paper_summary(some)).sum() for some in few]
    assert known == [1, 3, 3, 4]  # the last lacks the p of its skew alone


def shared_prompts(pairs: int = 24, each: int = 20, articles: int = 40) -> pd.DataFrame:
    """Verdicts on prompts out of articles; some articles are harder than others for all pairs."""
    random = np.random.default_rng(5)
    ease = random.normal(0, 0.25, articles)
    rows = []
    for pair, prompt in product(range(pairs), range(each)):
        article, active = int(random.integers(articles)), bool(prompt % 5 < 1 + pair % 4)
        right = random.random() < np.clip(0.7 + ease[article], 0, 1)
        rows.append((f"L1.N{pair // 2}", f"L0.H{pair}", active, active == right, article))
    return pd.DataFrame(rows, columns=["neuron", "head", "active", "verdict", "article"])


def mean_score(rows: pd.DataFrame) -> float:
    return np.nanmean([score(count(o.verdict, o.active)) for _, o in rows.groupby("head")])


def test_the_interval_over_articles_is_that_of_drawing_articles_and_scoring_anew():
    rows = shared_prompts()
    random, of_article = np.random.default_rng(0), dict(list(rows.groupby("article")))
    names = sorted(of_article)
    drawn = [
        mean_score(pd.concat([of_article[a] for a in random.choice(names, len(names))]))
        for _ in range(200)
    ]
    found = mean_over(rows, rows.article, seed=0)
    assert found.mean == pytest.approx(mean_score(rows))
    width = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
    assert found.high - found.low == pytest.approx(width, rel=0.2)
    alone = mean_over(rows, range(len(rows)), seed=0)
    assert alone.high - alone.low < found.high - found.low


def test_unread_verdicts_and_pairs_of_one_kind_have_no_say_in_the_mean():
    rows = shared_prompts().astype({"verdict": "boolean"})
    lost = rows.copy()
    lost.loc[(lost["head"] == "L0.H3") & lost.active, "verdict"] = pd.NA
    expected = mean_score(rows[rows["head"] != "L0.H3"])
    assert mean_over(lost, lost.article, seed=0).mean == pytest.approx(expected)
    assert isnan(mean_over(rows[rows.active], rows.article[rows.active], seed=0).mean)
