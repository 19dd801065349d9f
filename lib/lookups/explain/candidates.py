"""Which features some prompts have to offer, and which prompt has which (chapter 7).

Everything is counted at once in arrays, whose axes are features and prompts; for one feature and
one text `explain.features.holds` says the same, slowly. No label is read here: which features are
offered does not depend on which prompts are active.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from lookups.explain.features import Feature, Words, words_of

LONGEST = 3
"""Words of the longest run; a side of a gap has at most one fewer."""
PLACES = (2, 3, 4)
"""Places from the end at which a word is a feature of its own; the last one is `ends`."""
LENGTHS = (3, 5, 8, 13, 21, 34)
"""Numbers of words that a prompt can be shorter than."""
FEWEST = 3
"""Prompts that must have a feature, and that must lack it: of two, chance would find many."""
MOST_SIDES = 200
"""Runs of words that can be sides of a pair: those which divide the prompts most evenly."""

Run = tuple[str, ...]
"""Words side by side."""


class Candidates(NamedTuple):
    """Features in their own order, and the prompts that have them."""

    features: tuple[Feature, ...]
    held: Bool[np.ndarray, "feature prompt"]


def candidates(texts: Sequence[str], *, fewest: int = FEWEST) -> Candidates:
    """Return the features that `fewest` texts or more have, and as many have not.

    Of features that the same texts have only the first is kept, which is the one that says least.
    """
    prompts = [words_of(text) for text in texts]
    where: dict[Feature, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        for feature in set(seen(prompt)):
            where[feature].append(number)
    found = Candidates(tuple(where), _held(where.values(), len(texts)))
    found = _joined(_dividing(found, fewest), _paired(prompts, fewest))
    order = sorted(range(len(found.features)), key=lambda i: found.features[i].rank)
    return _distinct(_chosen(found, order))


def seen(prompt: Words) -> Iterable[Feature]:
    """Yield all features of one prompt that have one run of words; some more than once."""
    lower, exact = prompt
    for size, run in _runs(lower, LONGEST):
        yield Feature("has", run)
        if size == len(run):
            yield Feature("ends", run)
    yield from (Feature("place", (lower[-n],), number=n) for n in PLACES if n <= len(lower))
    yield from (Feature("exact", (word,)) for word in exact if word != word.lower())
    yield from (Feature("exact end", (word,)) for word in exact[-1:] if word != word.lower())
    yield from (Feature("shorter", number=n) for n in LENGTHS if len(lower) < n)


def _runs(words: Run, longest: int) -> Iterable[tuple[int, Run]]:
    """Yield all runs of words with how many words there are from each run's first to the end."""
    for start in range(len(words)):
        for size in range(1, min(longest, len(words) - start) + 1):
            yield len(words) - start, words[start : start + size]


def _paired(prompts: Sequence[Words], fewest: int) -> Candidates:
    """Return the gaps, and the pairs of words in any order."""
    sides, first_end, last_start = _sides(prompts, fewest)
    single = np.array([len(run) == 1 for run in sides], bool)
    found: list[Feature] = []
    rows: list[np.ndarray] = []
    for row, run in enumerate(sides):
        in_order = first_end[row] <= last_start
        together = (last_start[row] >= 0) & (last_start >= 0)
        later = single & single[row] & (np.arange(len(sides)) > row)
        kinds = (("gap", in_order, True), ("both", together, later))
        for kind, held, allowed in kinds:
            columns = np.flatnonzero(_divides(held, fewest) & allowed)
            found += [Feature(kind, run, sides[column]) for column in columns]
            rows += list(held[columns])
    return Candidates(tuple(found), np.array(rows, bool).reshape(len(found), len(prompts)))


def _sides(prompts: Sequence[Words], fewest: int) -> tuple[list[Run], np.ndarray, np.ndarray]:
    """Return the runs that can be sides of a pair, and by run and prompt where each stands.

    The two arrays hold where its first occurrence ends, beyond any prompt if there is none, and
    where its last one starts, then -1.
    """
    ends: dict[Run, dict[int, int]] = defaultdict(dict)
    starts: dict[Run, dict[int, int]] = defaultdict(dict)
    for number, (lower, _) in enumerate(prompts):
        for rest, run in _runs(lower, LONGEST - 1):
            start = len(lower) - rest
            ends[run].setdefault(number, start + len(run))
            starts[run][number] = start
    often = [run for run in starts if len(starts[run]) >= fewest]
    often.sort(key=lambda run: (abs(2 * len(starts[run]) - len(prompts)), run))
    sides = sorted(often[:MOST_SIDES])
    beyond = max((len(lower) for lower, _ in prompts), default=0) + 1
    first_end = np.full((len(sides), len(prompts)), beyond)
    last_start = np.full((len(sides), len(prompts)), -1)
    for row, run in enumerate(sides):
        first_end[row, list(ends[run])] = list(ends[run].values())
        last_start[row, list(starts[run])] = list(starts[run].values())
    return sides, first_end, last_start


def _held(where: Iterable[list[int]], prompts: int) -> np.ndarray:
    """Return, from the prompts that have each feature, which prompt has which."""
    lists = list(where)
    held = np.zeros((len(lists), prompts), bool)
    if lists:
        rows = np.repeat(np.arange(len(lists)), [len(some) for some in lists])
        held[rows, np.concatenate(lists)] = True
    return held


def _divides(held: np.ndarray, fewest: int) -> np.ndarray:
    """Whether enough prompts have each feature and enough have not."""
    count = held.sum(axis=1)
    return (count >= fewest) & (held.shape[1] - count >= fewest)


def _dividing(found: Candidates, fewest: int) -> Candidates:
    return _chosen(found, np.flatnonzero(_divides(found.held, fewest)).tolist())


def _joined(some: Candidates, others: Candidates) -> Candidates:
    return Candidates(some.features + others.features, np.vstack([some.held, others.held]))


def _distinct(found: Candidates) -> Candidates:
    """Keep the first of features that the same prompts have."""
    packed = np.packbits(found.held, axis=1)
    rows = packed.view(f"V{packed.shape[1]}").ravel() if packed.size else packed[:, 0:0].ravel()
    _, first = np.unique(rows, return_index=True)
    return _chosen(found, sorted(first.tolist()))


def _chosen(found: Candidates, rows: Sequence[int]) -> Candidates:
    return Candidates(tuple(found.features[row] for row in rows), found.held[list(rows)])
