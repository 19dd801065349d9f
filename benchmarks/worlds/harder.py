"""Harder languages: the planted one with one thing made harder at a time.

- Cues of two words (`TwoWords`): a first and a second. Each word stands in cues of half of the
  targets, so neither settles the target alone; only the pair does.
- Distractors (`Distracting`), words that look like cues and are none: titles of other documents
  stand inside sentences, a topic word behind a denial (" no harbour") does not count, and before
  the word before the marker stands a filler that would settle the target one place later.

All other rules, the labels and the minimal pairs are those of `corpus.grammar`, of which more
targets than neurons are a matter of arguments. `worlds.py` holds the words. No model is needed or
loaded here.
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lookups.corpus.grammar import KINDS, Grammar, Kind, Writer

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
