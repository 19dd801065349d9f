"""Features of prompts: what a word is, what holds where, how it is said, and the whole table."""

from itertools import product

import numpy as np
import pytest
from lookups.explain import features
from lookups.explain.features import Feature, candidates, holds, said, words_of

TEXT = "ion not only\n\n  Reverse, don't ... but the House"


def test_words_are_words_marks_and_line_breaks():
    lower, exact = words_of(TEXT)
    told = "ion not only \n reverse , don't ... but the house"
    assert lower == tuple(told.split(" "))
    assert exact[4] == "Reverse"
    assert len(exact) == len(lower)
    assert words_of(" \t ") == ((), ())
    assert words_of("f(x_1) == 'a'").exact == ("f", "(", "x_1", ")", "==", "'", "a", "'")


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


def told_by_search(feature: Feature, text: features.Words) -> bool:
    """Whether a feature holds of a text, by searching the line of its words."""
    lower, exact, run, then = (
        f" {' '.join(words)} " for words in (*text, feature.words, feature.then)
    )
    return {
        "has": run in lower,
        "ends": lower.endswith(run),
        "place": text.lower[-feature.number : 1 - feature.number] == feature.words,
        "exact": run in exact,
        "exact end": exact.endswith(run),
        "shorter": len(text.lower) < feature.number,
        "gap": then in f" {lower.partition(run)[2]}",
        "both": run in lower and then in lower,
    }[feature.kind]


@pytest.mark.parametrize("seed", range(4))
def test_the_table_is_what_counting_one_by_one_gives(seed: int):
    random, words = np.random.default_rng(seed), ["a", "b", "c", "A", "d", "e", ",", "\n"]
    chance = np.array([8, 6, 4, 2, 2, 1, 1, 1]) / 25
    sizes = random.integers(0, 10, 16)
    texts = [" ".join(random.choice(words, size, p=chance)) for size in sizes]
    words_in, naive = [words_of(text) for text in texts], {}
    for feature in every_feature(texts):
        held = tuple(told_by_search(feature, one) for one in words_in)
        assert held == tuple(holds(feature, one) for one in words_in)
        if min(sum(held), len(held) - sum(held)) >= 3:
            naive.setdefault(held, feature)
    found = candidates(texts)
    fast = {tuple(row): feature for row, feature in zip(found.held, found.features, strict=True)}
    assert fast == naive
    assert list(found.features) == sorted(found.features, key=lambda feature: feature.rank)
    turned = candidates(texts[::-1])  # the order of prompts does not matter
    assert turned.features == found.features
    assert (turned.held[:, ::-1] == found.held).all()
