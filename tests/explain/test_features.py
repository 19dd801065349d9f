"""Features of prompts: what a word is, what holds where, how it is said, and the whole table."""

from itertools import product

import numpy as np
import pytest
from lookups.explain import features
from lookups.explain.features import Feature, candidates, holds, said, words_of

TEXT = "ion not only\n\n  Reverse, don't ... but the House"


def has(*words: str) -> Feature:
    return Feature("has", words)


def test_words_are_words_marks_and_line_breaks():
    lower, exact = words_of(TEXT)
    told = "ion not only \n reverse , don't ... but the house"
    assert lower == tuple(told.split(" "))
    assert exact[4] == "Reverse"
    assert len(exact) == len(lower)
    assert words_of(" \t ") == ((), ())
    assert words_of("f(x_1) == 'a'").exact == ("f", "(", "x_1", ")", "==", "'", "a", "'")


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (has("reverse"), True),
        (has("not", "only"), True),
        (has("only", "not"), False),
        (Feature("ends", ("the", "house")), True),
        (Feature("ends", ("the",)), False),
        (Feature("place", ("the",), number=2), True),
        (Feature("place", ("ion",), number=99), False),
        (Feature("exact", ("House",)), True),
        (Feature("exact", ("house",)), False),
        (Feature("exact end", ("House",)), True),
        (Feature("shorter", number=12), True),
        (Feature("shorter", number=11), False),
        (Feature("gap", ("not", "only"), ("but",)), True),
        (Feature("gap", ("but",), ("not",)), False),
        (Feature("gap", ("not",), ("only",)), True),
        (Feature("gap", ("not",), ("not",)), False),
        (Feature("gap", ("not", "only"), ("only",)), False),
        (Feature("both", ("but",), ("not",)), True),
        (Feature("both", ("but",), ("nor",)), False),
    ],
)
def test_what_holds_of_a_text(feature: Feature, expected: bool):
    assert holds(feature, words_of(TEXT)) == expected


def test_nothing_is_seen_in_an_empty_text_but_its_length_nor_offered_by_unlike_ones():
    assert candidates(["a", "b", "c"]).held.shape == (0, 3)
    for kind in features.KINDS:
        feature = Feature(kind, ("a",), ("b",), number=2)
        assert holds(feature, words_of("")) == (kind == "shorter")


CONTAINS, ENDS = ("contains", "does not contain"), ("ends in", "does not end in")


@pytest.mark.parametrize(
    ("feature", "verbs", "what"),
    [
        (has("in", "order"), CONTAINS, "“in order”"),
        (Feature("ends", ("so",)), ENDS, "“so”"),
        (has("\n"), CONTAINS, "a line break"),
        (has("\n", "if"), CONTAINS, "“⏎ if”"),
        (Feature("place", ("to",), number=3), ("has", "does not have"),
         "“to” as its last word but two"),
        (Feature("shorter", number=5), ("has fewer than", "has at least"), "5 words"),
        (Feature("gap", ("not", "only"), ("but",)), CONTAINS, "“not only … but”"),
        (Feature("both", ("a",), ("b",)), CONTAINS, "both “a” and “b”"),
        (Feature("exact", ("NOT",)), CONTAINS, "“NOT” in exactly these letters"),
        (Feature("exact end", ("NOT",)), ENDS, "“NOT” in exactly these letters"),
    ],
)  # fmt: skip
def test_a_feature_is_said_in_plain_words(feature: Feature, verbs: tuple[str, str], what: str):
    both = said(feature), said(feature._replace(present=False))
    assert both == tuple(f"{verb} {what}" for verb in verbs)


def test_different_features_are_said_differently():
    found = every_feature(["A b c", "\n B"])
    for present in (True, False):
        told = {said(feature._replace(present=present)) for feature in found}
        assert len(told) == len(found) > 500


def every_feature(texts: list[str]) -> list[Feature]:
    """Return, from the words of some texts, all features that there could be."""
    lower = sorted({word for text in texts for word in words_of(text).lower})
    exact = {word for text in texts for word in words_of(text).exact} - set(lower)
    runs = [run for size in (1, 2, 3) for run in product(lower, repeat=size)]
    sides = [run for run in runs if len(run) < 3]
    found = [Feature(kind, run) for kind in ("has", "ends") for run in runs]
    found += [Feature("place", (word,), number=n) for word in lower for n in features.PLACES]
    found += [Feature(kind, (word,)) for kind in ("exact", "exact end") for word in exact]
    found += [Feature("shorter", number=n) for n in features.LENGTHS]
    found += [Feature("gap", run, then) for run, then in product(sides, sides)]
    found += [Feature("both", (a,), (b,)) for a, b in product(lower, lower) if a < b]
    return sorted(found, key=lambda feature: feature.rank)


@pytest.mark.parametrize("seed", range(4))
def test_the_table_is_what_counting_one_by_one_gives(seed: int):
    random, words = np.random.default_rng(seed), ["a", "b", "c", "A", "d", "e", ",", "\n"]
    chance = np.array([8, 6, 4, 2, 2, 1, 1, 1]) / 25
    sizes = random.integers(0, 10, 16)
    texts = [" ".join(random.choice(words, size, p=chance)) for size in sizes]
    naive: dict[tuple[bool, ...], Feature] = {}
    for feature in every_feature(texts):
        held = tuple(holds(feature, words_of(text)) for text in texts)
        if min(sum(held), len(held) - sum(held)) >= 3:
            naive.setdefault(held, feature)
    found = candidates(texts)
    fast = {tuple(row): feature for row, feature in zip(found.held, found.features, strict=True)}
    assert fast == naive
    assert list(found.features) == sorted(found.features, key=lambda feature: feature.rank)
    turned = candidates(texts[::-1])  # the order of prompts does not matter
    assert turned.features == found.features
    assert (turned.held[:, ::-1] == found.held).all()
