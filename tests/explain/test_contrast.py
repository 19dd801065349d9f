"""Contrast: planted clues are found and said, and nothing is claimed where nothing differs."""

import json
from math import inf, log, sqrt

import numpy as np
import pytest
from lookups.explain import contrast
from lookups.explain.contrast import SIZES, Checklist, Contrast, settled, strongest
from lookups.explain.explainer import Case, Example, Explanation, Question
from lookups.explain.features import Feature, candidates, holds, words_of
from lookups.statistics.scores import Counts, newcombe
from pydantic import TypeAdapter

VOCABULARY = [f"word{rank}" for rank in range(300)]
ZIPF = 1 / np.arange(1, 301)
ZIPF /= ZIPF.sum()

PLANTS = {
    "phrase": {"active": ["AB"], "inactive": ["BxA", "AxB", "A", "B", ""]},
    "both words": {"active": ["AxB", "BxA"], "inactive": ["A", "B", ""]},
    "any word": {"active": ["A", "B", "C"], "inactive": [""]},
    "gap": {"active": ["ABxC"], "inactive": ["AxC", "BxC", "CxAB", "AB", "C", ""]},
}
"""What is put into prompts: capitals are the planted words, at x there is another word or more."""
CLUE = {"A": "alpha", "B": "beta", "C": "gamma"}
NAMED = {"phrase": "“alpha beta”", "both words": "“alpha”", "any word": "“alpha”"}
NAMED["gap"] = "“alpha beta … gamma”"


def random_words(random: np.random.Generator) -> list[str]:
    size = random.integers(6, 15)
    return [VOCABULARY[rank] for rank in random.choice(300, size, p=ZIPF)]


def planted_prompt(form: str, random: np.random.Generator) -> str:
    words = random_words(random)
    parts = form.split("x") if form else []
    places = random.choice(len(words) + 1, len(parts), replace=False).tolist()
    for place, part in zip(sorted(places, reverse=True), parts[::-1], strict=True):
        words[place:place] = [CLUE[letter] for letter in part]
    return " ".join(words)


def planted(kind: str, number: int, seed: int, *, share: float) -> tuple[Case, tuple]:
    """Return a case of `number` prompts and 100 held-out prompts, of which 50 are active."""
    random = np.random.default_rng(seed)

    def drawn(label: str, count: int) -> list[str]:
        forms = PLANTS[kind][label]
        return [planted_prompt(forms[n % len(forms)], random) for n in range(count)]

    active = round(number * share)
    case = case_of(drawn("active", active), drawn("inactive", number - active))
    return case, examples([*drawn("active", 50), *drawn("inactive", 50)], "test")


def examples(texts: list[str], split: str = "train", start: int = 0) -> tuple[Example, ...]:
    return tuple(
        Example(f"made-up/{split}/{number}", (number,), text, " too")
        for number, text in enumerate(texts, start)
    )


def case_of(active: list[str], inactive: list[str]) -> Case:
    return Case(examples(active), examples(inactive, start=len(active)), " too")


def right(explanation: Explanation, held_out: tuple[Example, ...]) -> tuple[int, int]:
    """Return how many of 50 active prompts, which come first, and of 50 others are right."""
    called = [one.active for one in Contrast().judge(Question(explanation, held_out))]
    return sum(called[:50]), 50 - sum(called[50:])


@pytest.mark.parametrize(("number", "share"), [(40, 0.5), (60, 0.25)])
@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_clue_is_found_and_named(kind: str, number: int, share: float):
    for seed in range(5 if share < 0.5 else 15):
        case, held_out = planted(kind, number, seed, share=share)
        explanation = Contrast().explain(case)
        assert sum(right(explanation, held_out)) / 100 >= 0.95, (seed, explanation.text)
        assert NAMED[kind] in explanation.text, (seed, explanation.text)


def no_difference(seed: int, number: int = 60) -> tuple[Case, tuple[Example, ...]]:
    """Return a case whose two kinds differ in nothing, and 100 held-out prompts of the same."""
    random = np.random.default_rng(seed)
    texts = [" ".join(random_words(random)) for _ in range(number + 100)]
    active = number // 4 + seed % (number // 2 + 1)
    return case_of(texts[:active], texts[active:number]), examples(texts[number:], "test")


def test_where_nothing_differs_nothing_is_claimed():
    within, told = 0, 0
    for seed in range(100):
        case, held_out = no_difference(seed)
        explanation = Contrast().explain(case)
        active, inactive = right(explanation, held_out)
        low, high = newcombe(Counts(active, 50 - inactive, inactive, 50 - active))
        within += low <= 0.5 <= high
        told += not explanation.text.startswith("No words tell the active prompts from the others")
    assert within >= 93
    assert told <= 10


def holds_in(feature: Feature, text: str) -> bool:
    return holds(feature, words_of(text))


def test_the_rule_is_what_the_sentence_says():
    gap = Feature("gap", ("in", "order"), ("to",))
    clues = Feature("ends", ("so",)), gap, Feature("has", (",",), present=False)
    texts = ["do so", "in order not to", "so, go", "in order to do so", "so, in order to", ","]
    true = np.sum([[holds_in(one, text) == one.present for text in texts] for one in clues], axis=0)
    parts = "ends in “so”", "contains “in order … to”", "does not contain “,”"
    assert true.tolist() == [2, 2, 0, 3, 1, 0]
    said = {
        1: f"when the prompt {parts[0]}, {parts[1]} or {parts[2]}, and only then",
        2: "when at least 2 of these 3 are true of the prompt, and only then: it "
        + "; it ".join(parts),
        3: f"when the prompt {parts[0]}, {parts[1]} and {parts[2]}, and only then",
    }
    for need, where in said.items():
        rule = Checklist(clues, need, (0.1, 0.2, 0.6, 0.9), 0.8, True)
        assert rule.sentence() == f"The head is active {where}."
        verdicts = [rule.judge(text) for text in texts]
        assert [one.active for one in verdicts] == (true >= need).tolist()
        assert [one.probability for one in verdicts] == [rule.chances[count] for count in true]
        given = rule._asdict() | {"conditions": [clue.given() for clue in clues]}
        assert TypeAdapter(Checklist).validate_python(given) == rule
        guess = rule._replace(told_apart=False).sentence()
        assert guess.endswith(f"certainty. The best guess is that the head is active {where}.")


def test_what_is_said_is_told_as_a_reader_would_and_too_few_prompts_tell_nothing():
    active = [f"{word} so" for word in ("Reverse", "Shared", "Eager", "Flag", "Cache", "the store")]
    inactive = ["Make sure", "current mode\nAnd", "disk.\nNow", "When True,", "so, if", "as sure"]
    explanation = Contrast().explain(case_of(active, inactive))
    assert explanation.text == "The head is active when the prompt ends in “so”, and only then."
    rule = json.loads(explanation.rule)
    assert rule["conditions"] == [{"kind": "ends", "present": True, "words": ["so"]}]
    assert rule["balanced_accuracy"] == 1
    few = Contrast().explain(case_of(["a b", "c d"], ["e f"]))
    assert few.text.endswith("The best guess is that the head is active everywhere.")
    verdict = Contrast().judge(Question(few, examples(["a b"], "test")))[0]
    assert verdict == (True, pytest.approx((2 + 2 * 3 / 5) / 5))
    assert json.loads(few.rule)["balanced_accuracy"] is None


def naive_log_odds(active: int, inactive: int, of_active: int, of_inactive: int) -> tuple:
    """Return the log-odds ratio and its variance by Monroe and others, number by number."""
    prior, strength = active + inactive, of_active + of_inactive
    if prior in (0, strength):
        return 0.0, inf
    variance, odds = 0.0, []
    for count, size in ((active, of_active), (inactive, of_inactive)):
        odds.append((count + prior) / (size + strength - count - prior))
        variance += 1 / (count + prior) + 1 / (size + strength - count - prior)
    return log(odds[0]) - log(odds[1]), variance


def test_log_odds_are_those_of_counting_by_hand():
    texts = [one.text for kind in no_difference(1, 30)[0][:2] for one in kind]
    labels = np.arange(30) % 3 == 0
    found = candidates(texts)
    beyond = contrast.z_beyond(np.arange(30) // 10, found.held, labels)
    for feature, z in zip(found.features, beyond, strict=True):
        total, weight = 0.0, 0.0
        for part in range(3):
            rows = range(10 * part, 10 * part + 10)
            has = [holds_in(feature, texts[row]) for row in rows]
            active = sum(h for h, row in zip(has, rows, strict=True) if labels[row])
            sizes = sum(labels[rows]), 10 - sum(labels[rows])
            delta, variance = naive_log_odds(active, sum(has) - active, *map(int, sizes))
            total, weight = total + delta / variance, weight + 1 / variance
        assert z == pytest.approx(total / sqrt(weight) if weight else 0, abs=1e-8)


def test_what_says_the_same_is_not_counted_twice():
    active = np.arange(24) < 12
    first = np.arange(24) < 8
    nearly = first & (np.arange(24) != 3)
    other = (np.arange(24) >= 9) & active
    held = np.array([nearly, first, ~first, other])
    assert strongest(held, active, most=2) == [(1, True), (3, True)]
    assert strongest(held[:3], active, most=3) == [(1, True)]
    assert strongest(held[:0], active, most=2) == []


def test_cross_validation_is_learning_again_without_each_fold():
    case = no_difference(2, 40)[0]
    texts = [one.text for kind in case[:2] for one in kind]
    active = np.array([True] * len(case.active) + [False] * len(case.inactive))
    found, learn = candidates(texts), contrast.folds(texts, active)
    assert ((~learn).sum(axis=0) == 1).all()
    assert len(contrast.folds(["a", "b"], np.array([True, False]))) == 0
    assert contrast.needed(np.array([2, 0]), np.array([True, False])) == 2  # 1 is half-way
    fast, _ = contrast.cross_validate(found.held, active, learn)
    for place, size in enumerate(SIZES):
        verdicts = {}
        for fold in learn:
            picks = strongest(found.held[:, fold], active[fold], most=size)
            chosen = [found.features[row]._replace(present=kind) for row, kind in picks]
            none = Checklist(tuple(chosen), 0, (0.5,) * (len(chosen) + 1), None, True)
            true = [sum(holds_in(one, text) == one.present for one in chosen) for text in texts]
            inside = np.array(true)[fold]
            half = (inside[active[fold]].mean() + inside[~active[fold]].mean()) / 2
            need = next(n for n in range(size + 2) if n > half + 1e-12)
            for i in np.flatnonzero(~fold):
                verdicts[i] = none._replace(need=need).judge(texts[i]).active
        called = np.array([verdicts[i] for i in range(len(texts))])
        balanced = (called[active].mean() + 1 - called[~active].mean()) / 2
        assert fast[place] == pytest.approx(balanced)


def test_the_simplest_within_one_standard_error_of_the_best():
    def found(*accuracy: float) -> tuple[int, bool]:
        return settled(np.array(accuracy), np.full(len(accuracy), 0.05))

    assert found(0.8, 0.86, 0.9, 0.9) == (1, True)
    assert found(0.86, 0.8, 0.9, 0.9) == (0, True)
    assert found(0.5, 0.69) == (1, True)
    assert found(0.5, 0.5) == found(0.5, 0.66) == (-1, False)


def test_chances_are_shares_drawn_towards_their_side():
    true = np.array([2, 2, 2, 1, 1, 0, 0])
    active = np.array([True, True, True, True, False, False, False])
    found = contrast.chances_of(true, active, need=2, most=3)
    above, below = 4 / 5, 2 / 6
    expected = [2 * below / 4, (1 + 2 * below) / 4, (3 + 2 * above) / 5, above]
    assert found == pytest.approx(expected, abs=1e-4)
