"""Explainers to beat against scikit-learn and brute force, and who borrows whose explanation."""

import json
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import example as such
from hypothesis import given, settings
from hypothesis import strategies as st
from inline import defined_in
from lookups.errors import LookupsError
from lookups.explain import controls
from lookups.explain.contrast import Contrast
from lookups.explain.controls import BagOfWords, Nearest, shuffled_within
from lookups.explain.explainer import Case, Example, Explainer, Explanation, Question
from sklearn.linear_model import LogisticRegression

EVERY = pytest.mark.parametrize(
    "explainer", [BagOfWords(), Nearest(), Contrast()], ids=lambda one: one.name
)
PAIRS = st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("123456")), max_size=14)
SEEDS = st.integers(0, 1000)


def example(number: int, ids: list[int], split: str = "train") -> Example:
    return Example(f"made-up/{split}/{number}", tuple(ids), " ".join(map(str, ids)), " too")


def random_ids(seed: int, number: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 40, random.integers(1, 9)).tolist() for _ in range(number)]


def random_case(seed: int = 0, active: int = 14, inactive: int = 30) -> Case:
    made = [example(i, ids) for i, ids in enumerate(random_ids(seed, active + inactive))]
    return Case(tuple(made[:active]), tuple(made[active:]), " too")


HELD_OUT = tuple(example(i, ids, "test") for i, ids in enumerate(random_ids(99, 40)))


def test_a_bag_of_words_is_scikit_learns_regression():
    rows, labels = random_case().in_order()
    tokens = sorted({token for one in rows for token in one.ids})

    def counted(prompts) -> np.ndarray:
        return np.array([[Counter(one.ids)[token] for token in tokens] for one in prompts])

    model = LogisticRegression(class_weight="balanced").fit(counted(rows), labels)
    expected = model.predict_proba(counted(HELD_OUT))[:, 1]
    verdicts = BagOfWords().judge(Question(BagOfWords().explain(random_case()), HELD_OUT))
    assert [one.probability for one in verdicts] == pytest.approx(expected, abs=1e-3)
    assert [one.active for one in verdicts] == (expected > 0.5).tolist()


def test_the_nearest_prompt_is_that_of_brute_force():
    case, expected = random_case(5), []
    for prompt in HELD_OUT:
        ranked = []
        for one, kind in zip(*case.in_order(), strict=True):
            shorter = min(len(prompt.ids), len(one.ids))
            end = max(n for n in range(shorter + 1) if n == 0 or prompt.ids[-n:] == one.ids[-n:])
            a, b = set(prompt.ids), set(one.ids)
            ranked.append((-end, -len(a & b) / len(a | b), one.prompt, kind))
        expected.append(min(ranked)[3])
    verdicts = Nearest().judge(Question(Nearest().explain(case), HELD_OUT))
    assert [one.active for one in verdicts] == expected
    assert set(expected) == {True, False}
    assert controls.likeness([], []) == (0, 0.0)


@EVERY
def test_the_order_of_prompts_does_not_matter_and_judging_reads_the_rule_alone(explainer):
    case = random_case()
    explained = explainer.explain(case)
    turned = Case(case.active[::-1], case.inactive[7:] + case.inactive[:7], case.token)
    assert explainer.explain(turned) == explained
    rebuilt = Explanation(explained.explainer, "", json.dumps(json.loads(explained.rule)))
    stranger = type(explainer)().judge(Question(rebuilt, HELD_OUT))
    assert stranger == explainer.judge(Question(explained, HELD_OUT))
    unread = "ids" if isinstance(explainer, Contrast) else "text"
    blank = {"prompt": "", "token": "", unread: ""}
    nameless = tuple(one._replace(**blank) for one in HELD_OUT)
    assert stranger == explainer.judge(Question(rebuilt, nameless))


@EVERY
def test_both_kinds_are_needed_to_explain(explainer: Explainer):
    for kind in ("active", "inactive"):
        with pytest.raises(LookupsError, match=f"there is no {kind} prompt to explain from"):
            explainer.explain(random_case()._replace(**{kind: ()}))


@st.composite
def activities(draw) -> dict:
    """Pairs of a few neurons with the same ten prompts for each; some heads are much alike."""
    row = st.lists(st.booleans(), min_size=10, max_size=10)
    return {pair: np.array(draw(row)) for pair in sorted(draw(PAIRS))}


def others_of(pair, activity) -> set:
    """The heads that a pair may borrow from, by numpy's correlation."""
    others = [other for other in activity if other[0] == pair[0] and other != pair]
    with np.errstate(invalid="ignore"):
        phis = [np.corrcoef(activity[pair], activity[other])[0, 1] for other in others]
    return {other for other, phi in zip(others, phis, strict=True) if phi <= 0.5 + 1e-9}


def test_permuting_keeps_the_verdicts_and_the_callers_list():
    permuted = controls.permuted_verdicts
    verdicts = [True, False, None, True, False, False, True, None]
    before = list(verdicts)
    assert Counter(permuted(verdicts, seed=0)) == Counter(verdicts)
    assert verdicts == before
    # pairs with as many prompts are not permuted alike
    drawn = [permuted(range(40), seed=s, of=of) for s in (0, 1) for of in (("a",), ("b",))]
    assert len({tuple(order) for order in drawn}) == 4


# each active on 4 of 8, on 3 of them together: exactly as alike as is allowed
@such({("a", str(k)): np.isin(range(8), range(k, k + 4)) for k in (0, 1)}, 0, Random(0))
@given(activities(), SEEDS, st.randoms())
def test_a_borrowed_head_is_another_not_alike_whatever_the_order_and_other_neurons(
    activity, seed, random
):
    found = shuffled_within(activity, seed=seed)
    for pair, lender in found.items():
        assert lender in others_of(pair, activity)
    assert set(found) == {pair for pair in activity if others_of(pair, activity)}
    turned = list(activity)
    random.shuffle(turned)
    assert shuffled_within({pair: activity[pair] for pair in turned}, seed=seed) == found
    alone = {pair: rows for pair, rows in activity.items() if pair[0] == "a"}
    own = {pair: lender for pair, lender in found.items() if pair[0] == "a"}
    assert shuffled_within(alone, seed=seed) == own


@given(PAIRS, SEEDS)
@settings(max_examples=200)
def test_among_neurons_nobody_borrows_from_the_own_neuron(pairs, seed):
    shuffled_among = defined_in("08_scores").shuffled_among
    found = shuffled_among(sorted(pairs), seed=seed)
    assert shuffled_among(sorted(pairs, reverse=True), seed=seed) == found
    sizes = Counter(neuron for neuron, _ in pairs)
    if len(sizes) < 2:
        assert not found
        return
    assert set(found) == pairs
    assert set(found.values()) <= pairs
    assert all(pair[0] != lender[0] for pair, lender in found.items())
    largest = max(sizes.values())
    all_lend = 2 * largest <= len(pairs)
    assert {p for p in pairs if all_lend or sizes[p[0]] < largest} <= set(found.values())


def test_every_head_lends_once_seeds_differ_and_every_other_is_as_likely():
    rows = enumerate(np.eye(4, dtype=bool))
    activity = {(neuron, str(i)): row for i, row in rows for neuron in "nm"}
    drawn = [shuffled_within(activity, seed=s) for s in range(600)]
    assert all(set(lender.values()) == set(activity) for lender in drawn)
    of_n, of_m = ([one[neuron, "0"][1] for one in drawn] for neuron in "nm")
    assert of_n != of_m  # neurons with the same heads are not shuffled alike
    seen = Counter(pair for lender in drawn for pair in lender.items())
    assert len(seen) == 3 * len(activity)
    assert all(abs(count - 600 / 3) < 50 for count in seen.values())
