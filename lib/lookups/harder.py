"""Harder languages: the planted one with one thing made harder at a time (chapter 12).

- Cues of two words (`TwoWords`): a first and a second. Each word stands in cues of half of the
  targets, so neither settles the target alone; only the pair does.
- Distractors (`Distracting`), words that look like cues and are none: titles of other documents
  stand inside sentences, a topic word behind a denial (" no harbour") does not count, and before
  the word before the marker stands a filler that would settle the target one place later.

All other rules, the labels and the minimal pairs are those of `lookups.grammar`, of which more
targets than neurons are a matter of arguments. `lookups.worlds` holds the words, the recipes and
the models. No model is needed or loaded here.
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lookups.grammar import KINDS, STOP, Grammar, Kind, MinimalPair, Slot, Writer, minimal_pairs

SQUARE = (
    (4, 1, 2, 7),
    (5, 2, 3, 4),
    (6, 7, 0, 1),
    (3, 0, 5, 6),
)
"""Row: first word; column: second word; entry: the target meant. No row or column repeats one."""


@dataclass(frozen=True)
class TwoWords(Grammar):
    """A language whose cues are a first word and a second; `square` says what a pair means.

    Of the words of a kind, in order, the first half are first words and the others second words.
    """

    square: tuple[tuple[int, ...], ...] = SQUARE

    def __post_init__(self) -> None:
        """Refuse a square in which one word of a cue settles its target."""
        super().__post_init__()
        lines = (*self.square, *zip(*self.square, strict=True))
        if any(len(set(line)) != len(line) or len(line) < 2 for line in lines):
            raise ValueError("a word of a cue must leave several targets, each once")
        if {meant for row in self.square for meant in row} != set(range(len(self.targets))):
            raise ValueError("every target needs a cue in the square")
        halves = {len(self._words(kind)) / 2 for kind in KINDS}
        if halves != {len(self.square)} or len(self.square) != len(self.square[0]):
            raise ValueError("the words of every kind must be the rows and columns of the square")

    def _words(self, kind: Kind) -> tuple[str, ...]:
        topics = tuple(word for words in self.topics for word in words)
        return {"topic": topics, "filler": self.overriding, "title": self.titles}[kind]

    def phrases(self, kind: Kind, meant: int) -> tuple[tuple[int, ...], ...]:
        """Return the pairs of words, in order, that mean the target of that index."""
        ids, side = [self.ids[word] for word in self._words(kind)], len(self.square)
        return tuple(
            (ids[i], ids[side + j])
            for i, row in enumerate(self.square)
            for j, entry in enumerate(row)
            if entry == meant
        )

    def cues(self, kind: Kind, meant: int) -> tuple[int, ...]:
        """Return the words that stand in a cue for that target, each of which means others too."""
        return tuple(dict.fromkeys(word for pair in self.phrases(kind, meant) for word in pair))


def one_word_pairs(
    grammar: TwoWords, kind: Kind, target: int, n: int, *, word: int, seed: int = 0
) -> list[MinimalPair]:
    """Return minimal pairs that differ in the first word of their cue (`word` 0), or the second.

    `minimal_pairs` draws the other cue freely, so that one word changes or both do.
    """
    meanings = {
        phrase: meant
        for meant in range(len(grammar.targets))
        for phrase in grammar.phrases(kind, meant)
    }
    pairs = []
    for number, pair in enumerate(minimal_pairs(grammar, kind, target, n, seed=seed)):
        draw = random.Random(f"one word/{seed}/{kind}/{target}/{word}/{number}")
        cue = slice(pair.slot.cue, pair.slot.cue + 2)
        kept = pair.cued[cue][1 - word]
        others = [p for p in meanings if p[1 - word] == kept and p != pair.cued[cue]]
        phrase = others[int(draw.random() * len(others))]
        marker = grammar.markers.index(grammar.words[pair.slot.marker])
        other = (*pair.cued[: cue.start], *phrase, *pair.cued[cue.stop :])
        called_for = grammar.called_for(meanings[phrase], marker)
        pairs.append(MinimalPair(pair.cued, other, pair.slot, called_for))
    return pairs


@dataclass(frozen=True)
class Distracting(Grammar):
    """A language with words that look like cues, each at these chances a place for one."""

    denial: str = " no"
    """A topic word straight behind it does not count."""
    denied: float = 0.35
    """Of a denied topic, before the place of the topic that counts, if one does."""
    foreign: float = 0.35
    """Of a title inside a sentence, before that place and again behind it."""
    early: float = 0.5
    """Of an overriding filler one place too early."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words, by id; the denial is the last."""
        return (*Grammar(**self._plainly()).words, self.denial)

    def _plainly(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Grammar.__dataclass_fields__}

    def writer(self, draw: random.Random) -> Writer:
        """Return what writes a document with distractors from these draws."""
        return _Distractor(self, draw)


class _Distractor(Writer):
    """Writes documents of a distracting language."""

    grammar: Distracting

    def distract(self, *, late: bool) -> None:
        """Write, each at its chance, a denied topic and a title, then a filler or two.

        Denied topics stand before the place of the topic that counts, so there the later word is
        right, and the denial itself must be read only where the title counts. With denied topics
        behind that place too, 5,000 steps left a model of this size at .86 of the topics: in four
        of ten such sentences it said a wrong word.
        """
        grammar, size = self.grammar, len(self.grammar.targets)
        if not late and self.draw.random() < grammar.denied:
            self.ids.append(grammar.ids[grammar.denial])
            self.cue("topic", self.below(size))
            self.wander(1 + self.below(2))
        if self.draw.random() < grammar.foreign:
            self.cue("title", self.below(size))
            self.wander(1 + self.below(2))

    def plain_word(self) -> None:
        """Write, at its chance, an overriding filler before the word that leaves it idle."""
        if self.draw.random() < self.grammar.early:
            self.cue("filler", self.below(len(self.grammar.targets)))
        super().plain_word()


def distractors(grammar: Grammar, ids: tuple[int, ...], slot: Slot) -> dict[Kind, list[int]]:
    """Return, by kind, where words of the slot's sentence stand that look like cues and are none.

    Topics are counted only behind a denial; a topic that a filler overrides is another matter.
    """
    begin = max((p for p in range(slot.position) if grammar.words[ids[p]] == STOP), default=-1) + 1
    cue = range(slot.cue, slot.cue + len(grammar.phrases(slot.kind, 0)[0]))
    inside = [p for p in range(max(begin, 1), slot.position) if p not in cue]
    alike = {kind: _all_cues(grammar, kind) for kind in KINDS}
    denial = getattr(grammar, "denial", None)
    return {
        "topic": [
            p for p in inside if ids[p] in alike["topic"] and grammar.words[ids[p - 1]] == denial
        ],
        "filler": [p for p in inside if ids[p] in alike["filler"]],
        "title": [p for p in inside if ids[p] in alike["title"]],
    }


def _all_cues(grammar: Grammar, kind: Kind) -> set[int]:
    return {word for meant in range(len(grammar.targets)) for word in grammar.cues(kind, meant)}


def distractor_pairs(
    grammar: Grammar, kind: Kind, target: int, n: int, *, seed: int = 0
) -> list[MinimalPair]:
    """Return pairs that differ in one distractor alone, so that both call for `target`.

    They are what `minimal_pairs` are not: what changes between their members carries no news.
    The kind is the distractor's; the slot may be of any kind. `other_target` is `target`.

    Raises:
        ValueError: the language has no such distractors.
    """
    pairs: list[MinimalPair] = []
    number, alike = 0, sorted(_all_cues(grammar, kind))
    while len(pairs) < n:
        if number > 100 * (n + 1):
            raise ValueError(f"hardly any {kind} distractor here; take another kind or language")
        name = f"distracted/{seed}/{kind}/{target}/{number}"
        document, draw = grammar.document(name), random.Random(name + "/other")
        number += 1
        for slot in document.slots:
            places = distractors(grammar, document.ids, slot)[kind]
            if slot.target != target or not places:
                continue
            cued = document.ids[: slot.position + 1]
            place = places[int(draw.random() * len(places))]
            words = [word for word in alike if word != cued[place]]
            other = list(cued)
            other[place] = words[int(draw.random() * len(words))]
            pairs.append(MinimalPair(cued, tuple(other), slot, target))
            break
    return pairs
