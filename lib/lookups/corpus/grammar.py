"""A small language in which known contexts call for known words (the planted world).

A document opens with a title and goes on in sentences of filler words. Most sentences end in a
*slot*: a marker, then one of eight targets. The target is settled by the word just before the
marker, if that is one that belongs to a target (*filler*); otherwise by a topic word earlier in the
sentence (*topic*); otherwise by the document's title (*title*). The three markers each permute the
targets, so no context points straight at a word: something has to combine the two. Documents hold
ids without the BOS (id 0); positions count them from 0.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, chain, count
from typing import Any, Literal, NamedTuple, get_args

BOS_TEXT = "<|bos|>"
BOS_ID = 0
STOP = "."
SEEDS = (0, 1, 2)  # of the models that ship: `planted-0` and so on

Kind = Literal["topic", "filler", "title"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Slot(NamedTuple):
    """A place where the language settles the next word.

    `position` is that of the marker, whose id is `marker`; the id `target` follows it. `cue` is the
    position of the word that settles the target, or of the first of several.
    """

    position: int
    target: int
    kind: Kind
    cue: int
    marker: int


class Document(NamedTuple):
    """A document's ids, without the BOS, and its slots in order."""

    ids: tuple[int, ...]
    slots: tuple[Slot, ...]


class MinimalPair(NamedTuple):
    """Two texts that end in the same marker; they differ in a cue, and so in what is called for."""

    cued: tuple[int, ...]
    other: tuple[int, ...]
    slot: Slot
    other_target: int


def _spaced(words: str) -> tuple[str, ...]:
    return tuple(f" {word}" for word in words.split())


@dataclass(frozen=True)
class Grammar:
    """The words of the language and its rules; every word has a fixed id. The i-th title, pair of
    topics and overriding filler belong to the i-th target."""

    targets: tuple[str, ...] = _spaced("boats bread books horses stars coins roses drums")
    titles: tuple[str, ...] = _spaced("Coast Kitchen School Meadow Heaven Trade Spring Feast")
    topics: tuple[tuple[str, ...], ...] = tuple(map(_spaced, (
        "harbour sailor", "bakery miller", "library scholar", "stable rider",
        "observatory midnight", "market banker", "garden florist", "parade soldier",
    )))  # fmt: skip
    overriding: tuple[str, ...] = _spaced("salty warm dusty swift bright golden fragrant loud")
    plain: tuple[str, ...] = _spaced(
        "the old little grey quiet new tall broken and or near under behind over with without "
        "house road river window door table bridge wall hill tree people children neighbour "
        "morning evening winter"
    )
    markers: tuple[str, ...] = _spaced("sees wants fears")
    permutations: tuple[tuple[int, ...], ...] = (
        (0, 1, 2, 3, 4, 5, 6, 7),
        (3, 6, 0, 5, 1, 7, 4, 2),
        (5, 4, 7, 1, 6, 2, 0, 3),
    )
    length: int = 48
    nearest: int = 2  # fewest fillers between a topic and the word before the marker
    furthest: int = 12
    chain: float = 0.7  # weight of the Markov chain in the choice of fillers; the rest is uniform

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words, by id."""
        before = (BOS_TEXT, STOP, *self.markers, *self.targets, *chain(*self.topics))
        return (*before, *self.titles, *self.overriding, *self.plain)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every word."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def fillers(self) -> tuple[int, ...]:
        """The ids of all fillers, the overriding ones first."""
        return tuple(self.ids[word] for word in self.overriding + self.plain)

    @cached_property
    def successors(self) -> list[list[float]]:
        """For each filler, the cumulative chances of the next one: few successors are likely."""
        draw, size = random.Random("successors"), len(self.fillers)
        rows = [[draw.gammavariate(0.12, 1.0) for _ in range(size)] for _ in range(size)]
        mixed = ([self.chain * v / sum(row) + (1 - self.chain) / size for v in row] for row in rows)
        return [list(accumulate(row)) for row in mixed]

    def phrases(self, kind: Kind, meant: int) -> tuple[tuple[int, ...], ...]:
        """Return the cues of a kind that mean the target of that index; here of one word each."""
        single = {"filler": self.overriding, "title": self.titles}
        words = self.topics[meant] if kind == "topic" else (single[kind][meant],)
        return tuple((self.ids[word],) for word in words)

    def cues(self, kind: Kind, meant: int) -> tuple[int, ...]:
        """Return the words that stand in these cues."""
        return tuple(dict.fromkeys(chain.from_iterable(self.phrases(kind, meant))))

    def called_for(self, meant: int, marker: int) -> int:
        """Return the id of the target that a marker (by index) makes of the one meant."""
        return self.ids[self.targets[self.permutations[marker][meant]]]

    def text(self, ids: Sequence[int]) -> str:
        """Return the document as it reads."""
        return "".join(self.words[i] for i in ids)

    def document(self, name: str, length: int | None = None) -> Document:
        """Return the document of a name, always the same; a longer one begins with the shorter."""
        return self.writer(random.Random(name)).document(length or self.length)

    def writer(self, draw: random.Random) -> "Writer":
        """Return what writes a document from these draws."""
        return Writer(self, draw)


class Writer:
    """Writes one document, drawing only `random()`, which Python keeps stable across versions."""

    def __init__(self, grammar: Grammar, draw: random.Random) -> None:
        self.grammar, self.draw = grammar, draw
        self.filler = self.below(len(grammar.fillers))
        self.ids: list[int] = []
        self.slots: list[Slot] = []

    def below(self, size: int) -> int:
        """Return a number below `size`, from 0."""
        return int(self.draw.random() * size)

    def wander(self, steps: int) -> None:
        """Write fillers, each drawn by the one before it."""
        last = len(self.grammar.fillers) - 1
        for _ in range(steps):
            chances = self.grammar.successors[self.filler]
            self.filler = min(last, bisect(chances, self.draw.random()))
            self.ids.append(self.grammar.fillers[self.filler])

    def cue(self, kind: Kind, meant: int) -> int:
        """Write a cue and return where it stands."""
        phrase = _one(self.grammar.phrases(kind, meant), self.draw)
        self.ids += phrase
        return len(self.ids) - len(phrase)

    def distract(self, *, late: bool) -> None:
        """Write words that look like cues, before a topic or `late`, after it: here, none."""

    def plain_word(self) -> None:
        """Write the word before the marker that leaves the target to the topic or title."""
        first, plain = len(self.grammar.overriding), len(self.grammar.plain)
        self.ids.append(self.grammar.fillers[first + self.below(plain)])

    def sentence(self, title: int) -> None:
        """Write a sentence that ends in a slot: four in ten by topic, three each by the others."""
        grammar, size = self.grammar, len(self.grammar.targets)
        self.wander(1 + self.below(4))
        self.distract(late=False)
        chance, topic, cue = self.draw.random(), self.below(size), 0
        kind = "topic" if chance < 0.4 else "filler" if chance < 0.7 else "title"
        if kind == "topic" or (kind == "filler" and self.draw.random() < 0.6):
            cue = self.cue("topic", topic)
        self.wander(grammar.nearest + self.below(grammar.furthest - grammar.nearest + 1))
        self.distract(late=True)
        if kind == "filler":
            meant = self.below(size)
            cue = self.cue("filler", meant)
        else:
            meant = topic if kind == "topic" else title
            self.plain_word()
        number = self.below(len(grammar.markers))
        marker, target = grammar.ids[grammar.markers[number]], grammar.called_for(meant, number)
        self.slots.append(Slot(len(self.ids), target, kind, cue, marker))
        self.ids += [marker, target, grammar.ids[STOP]]

    def document(self, length: int) -> Document:
        """Write a title and sentences, and cut them to the length."""
        title = self.below(len(self.grammar.titles))
        self.cue("title", title)
        self.ids.append(self.grammar.ids[STOP])
        while len(self.ids) < length:
            self.sentence(title)
        within = tuple(slot for slot in self.slots if slot.position + 1 < length)
        return Document(tuple(self.ids[:length]), within)


GRAMMAR = Grammar()


def labelled_documents(
    split: str, n: int, *, seed: int = 0, grammar: Grammar = GRAMMAR, length: int | None = None
) -> list[Document]:
    """Return documents with their slots; `train` is what the model of that seed was trained on."""
    return [grammar.document(f"{split}/{seed}/{number}", length) for number in range(n)]


def minimal_pairs(grammar: Grammar, kind: Kind, target: int, n: int) -> list[MinimalPair]:
    """Return pairs of texts, of neither split, that end at a slot for `target`.

    The second has another target's cue of the same kind in the place of its cue. For titles only
    the first slot that hangs on the title is used, so all that stands before it is true of both.
    """
    pairs: list[MinimalPair] = []
    names = (f"pairs/0/{kind}/{number}" for number in count())
    while len(pairs) < n:
        document = _remembered(grammar, name := next(names))
        first = next((slot for slot in document.slots if slot.kind == kind), None)
        if first is not None and first.target == target:
            pairs.append(_altered(grammar, document, first, random.Random(name + "/other")))
    return pairs


# pairs for every target are drawn from the same documents, which take time to write
_remembered = lru_cache(maxsize=20_000)(Grammar.document)


def _altered(grammar: Grammar, document: Document, slot: Slot, draw: random.Random) -> MinimalPair:
    """Return a document up to a slot, and the same with another target's cue."""
    marker = grammar.markers.index(grammar.words[slot.marker])
    every = range(len(grammar.targets))
    meant = _one([m for m in every if grammar.called_for(m, marker) != slot.target], draw)
    phrase = _one(grammar.phrases(slot.kind, meant), draw)
    cued = document.ids[: slot.position + 1]
    other = list(cued)
    other[slot.cue : slot.cue + len(phrase)] = phrase
    return MinimalPair(cued, tuple(other), slot, grammar.called_for(meant, marker))


def _one(some: Sequence[Any], draw: random.Random) -> Any:
    return some[int(draw.random() * len(some))]
