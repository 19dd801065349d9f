"""Baselines against scikit-learn and brute force, and what holds of every explainer of words."""

import json
from collections import Counter

import numpy as np
import pytest
from lookups.errors import LookupsError
from lookups.explain.contrast import Contrast
from lookups.explain.controls import BagOfWords, Nearest, likeness
from lookups.explain.explainer import Case, Example, Explainer, Explanation, Question
from sklearn.linear_model import LogisticRegression

EVERY = pytest.mark.parametrize(
    "explainer", [BagOfWords(), Nearest(), Contrast()], ids=lambda one: one.name
)


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
    case = random_case()
    rows = [*case.active, *case.inactive]
    labels = [True] * len(case.active) + [False] * len(case.inactive)
    tokens = sorted({token for one in rows for token in one.ids})

    def counted(prompts) -> np.ndarray:
        return np.array([[Counter(one.ids)[token] for token in tokens] for one in prompts])

    model = LogisticRegression(class_weight="balanced").fit(counted(rows), labels)
    expected = model.predict_proba(counted(HELD_OUT))[:, 1]
    verdicts = BagOfWords().judge(Question(BagOfWords().explain(case), HELD_OUT))
    assert [one.probability for one in verdicts] == pytest.approx(expected, abs=1e-3)
    assert [one.active for one in verdicts] == (expected > 0.5).tolist()


def test_a_token_that_settles_it_is_found_though_few_are_active():
    made = random_ids(3, 100)
    active = [example(i, [*ids, 77]) for i, ids in enumerate(made[:15])]
    inactive = [example(i, ids) for i, ids in enumerate(made[15:60], 15)]
    explained = BagOfWords().explain(Case(tuple(active), tuple(inactive), " too"))
    judged = [example(i, [77, *ids], "test") for i, ids in enumerate(made[60:80])]
    judged += [example(i, ids, "test") for i, ids in enumerate(made[80:], 20)]
    called = [one.active for one in BagOfWords().judge(Question(explained, tuple(judged)))]
    assert sum(called[:20]) >= 18
    assert sum(called[20:]) <= 2


def test_the_nearest_prompt_is_that_of_brute_force():
    case = random_case(5)
    labelled = [(one, True) for one in case.active] + [(one, False) for one in case.inactive]
    labelled.sort(key=lambda pair: pair[0].prompt)
    expected = []
    for prompt in HELD_OUT:
        ranked = []
        for one, kind in labelled:
            shorter = min(len(prompt.ids), len(one.ids))
            end = max(n for n in range(shorter + 1) if n == 0 or prompt.ids[-n:] == one.ids[-n:])
            a, b = set(prompt.ids), set(one.ids)
            ranked.append((-end, -len(a & b) / len(a | b), one.prompt, kind))
        expected.append(min(ranked)[3])
    verdicts = Nearest().judge(Question(Nearest().explain(case), HELD_OUT))
    assert [one.active for one in verdicts] == expected
    assert set(expected) == {True, False}


def test_likeness_counts_the_common_end_first():
    assert likeness([1, 2, 3], [9, 2, 3]) == (2, 0.5)
    assert likeness([1, 2], [1, 2]) == (2, 1.0)
    assert likeness([3, 1, 2], [1, 2]) == (2, 2 / 3)
    assert likeness([2, 1], [1, 2]) == (0, 1.0)
    assert likeness([], []) == (0, 0.0)
    assert likeness([4, 3], [1, 2, 3]) > likeness([2, 1, 4], [1, 2, 3])


@EVERY
def test_the_order_of_prompts_does_not_matter(explainer: Explainer):
    case = random_case()
    turned = Case(case.active[::-1], case.inactive[7:] + case.inactive[:7], case.token)
    assert explainer.explain(turned) == explainer.explain(case)


@EVERY
def test_judging_reads_the_rule_alone(explainer: Explainer):
    explained = explainer.explain(random_case())
    rebuilt = Explanation(explained.explainer, "", json.dumps(json.loads(explained.rule)))
    stranger = type(explainer)().judge(Question(rebuilt, HELD_OUT))
    assert stranger == explainer.judge(Question(explained, HELD_OUT))
    unread = "ids" if isinstance(explainer, Contrast) else "text"
    blank = {"prompt": "", "token": "", unread: ""}
    nameless = tuple(one._replace(**blank) for one in HELD_OUT)
    assert stranger == explainer.judge(Question(rebuilt, nameless))


@EVERY
def test_an_explanation_by_another_is_refused(explainer: Explainer):
    wanted = "judge it with the same explainer|is no checklist; explain the pair again"
    for rule in ("", "{}", "[1]", "3", "is active", '{"conditions": [{}], "chances": []}'):
        with pytest.raises(LookupsError, match=wanted):
            explainer.judge(Question(Explanation("llm", "When it rains.", rule), HELD_OUT))


@EVERY
def test_both_kinds_are_needed(explainer: Explainer):
    case = random_case()
    with pytest.raises(LookupsError, match="there is no active prompt to explain from"):
        explainer.explain(case._replace(active=()))
    with pytest.raises(LookupsError, match="there is no inactive prompt"):
        explainer.explain(case._replace(inactive=()))
