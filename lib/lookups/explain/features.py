"""What can be seen in a prompt: words, runs of words, what comes before what (chapter 7).

A feature is seen in a text, not in token ids, so that it can be told to a reader and asked of any
model's prompts. A *word* is a run of letters and digits (an apostrophe inside belongs to it), a run
of one and the same mark, or a line break; case is ignored except by the two `exact` kinds.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool

Kind = Literal["ends", "has", "place", "exact end", "exact", "shorter", "gap", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LONGEST = 3  # words of the longest run; a side of a gap has at most one fewer
PLACES = (2, 3, 4)  # from the end, where a word is a feature of its own; the last one is `ends`
LENGTHS = (3, 5, 8, 13, 21, 34)  # numbers of words that a prompt can be shorter than
FEWEST = 3  # prompts that must have a feature, and must lack it: of two, chance would find many
MOST_SIDES = 200  # runs that can be sides of a pair: those which divide the prompts most evenly
BREAK = "\n"  # the word that stands for one line break, or several

_WORD = re.compile(r"(?P<line>\s*\n\s*)|\w+(?:['’]\w+)*|(?P<mark>[^\w\s])(?P=mark)*")

Run = tuple[str, ...]  # words side by side


class Words(NamedTuple):
    """The words of one text, in order, in lower case and as they stand."""

    lower: Run
    exact: Run


class Feature(NamedTuple):
    """One thing that a prompt has or has not."""

    kind: Kind
    """`has` words side by side; `ends` in them; a word at a `place` counted from the end; the words
    of a `gap` in order with anything, or nothing, between; `both` in any order; `exact`: in this
    case of letters; `shorter`: fewer words than a number."""
    words: Run = ()
    then: Run = ()  # the later words of a gap, the other ones of both
    number: int = 0  # of a place: 2 is the last word but one; of `shorter`: the number of words
    present: bool = True  # whether a prompt of a checklist must have it, or must not

    @property
    def rank(self) -> tuple:
        """What says less comes first: in words, and one more for naming a place, case or order."""
        size = max(1, len(self.words) + len(self.then)) + (self.kind not in ("ends", "has"))
        return (size, KINDS.index(self.kind), self.words, self.then, self.number)

    def given(self) -> dict[str, Any]:
        """Return the fields without those that are empty, except whether it must be present."""
        return {k: value for k, value in self._asdict().items() if value or k == "present"}


class Candidates(NamedTuple):
    """Features in their own order, and the prompts that have them."""

    features: tuple[Feature, ...]
    held: Bool[np.ndarray, "feature prompt"]


def words_of(text: str) -> Words:
    """Return the words of a text."""
    found = tuple(BREAK if match["line"] else match[0] for match in _WORD.finditer(text))
    return Words(tuple(word.lower() for word in found), found)


def holds(feature: Feature, text: Words) -> bool:
    """Whether a text has the feature."""
    (lower, exact), words, number = text, feature.words, feature.number
    match feature.kind:
        case "ends":
            return lower[-len(words) :] == words
        case "place":
            return len(lower) >= number and lower[-number] == words[0]
        case "exact":
            return words[0] in exact
        case "exact end":
            return exact[-1:] == words
        case "shorter":
            return len(lower) < number
    end = _first_end(lower, words)  # has, gap and both
    rest = lower[end:] if feature.kind == "gap" else lower
    return end is not None and _first_end(rest, feature.then) is not None


def said(feature: Feature) -> str:
    """Return what is true of a prompt that has the feature as it must, to follow "the prompt"."""
    words, number, present = _quoted(feature.words), feature.number, feature.present
    has, ends = ("contains", "ends in") if present else ("does not contain", "does not end in")
    verb = ends if feature.kind in ("ends", "exact end") else has
    match feature.kind:
        case "place":
            back = ("one", "two", "three")[number - 2]
            return f"{'has' if present else 'does not have'} {words} as its last word but {back}"
        case "shorter":
            return f"has {'fewer than' if present else 'at least'} {number} words"
        case "exact" | "exact end":
            return f"{verb} {words} in exactly these letters"
        case "gap":
            return f"{verb} “{_spelled(feature.words)} … {_spelled(feature.then)}”"
        case "both":
            return f"{verb} both {words} and {_quoted(feature.then)}"
    return f"{verb} {words}"


def candidates(texts: Sequence[str]) -> Candidates:
    """Return the features that `FEWEST` texts or more have, and as many have not. Of features that
    the same texts have only the one that says least is kept."""
    prompts = [words_of(text) for text in texts]
    seen: dict[Feature, np.ndarray] = defaultdict(lambda: np.zeros(len(texts), bool))
    for number, prompt in enumerate(prompts):
        for feature in _seen(prompt):
            seen[feature][number] = True
    enough = range(FEWEST, len(texts) - FEWEST + 1)
    held = _paired(prompts) | {f: row for f, row in seen.items() if row.sum() in enough}
    first: dict[bytes, Feature] = {}
    for feature in sorted(held, key=lambda feature: feature.rank):
        first.setdefault(held[feature].tobytes(), feature)
    rows = [held[feature] for feature in first.values()]
    return Candidates(tuple(first.values()), np.array(rows, bool).reshape(len(rows), len(texts)))


def _seen(prompt: Words) -> Iterable[Feature]:
    """All features of one prompt that have one run of words; some more than once."""
    lower, exact = prompt
    for start, run in _runs(lower, LONGEST):
        yield Feature("has", run)
        if start + len(run) == len(lower):
            yield Feature("ends", run)
    yield from (Feature("place", (lower[-n],), number=n) for n in PLACES if n <= len(lower))
    yield from (Feature("exact", (word,)) for word in exact if word != word.lower())
    yield from (Feature("exact end", (word,)) for word in exact[-1:] if word != word.lower())
    yield from (Feature("shorter", number=n) for n in LENGTHS if len(lower) < n)


def _runs(words: Run, longest: int) -> Iterable[tuple[int, Run]]:
    """Where each run of words starts, and the run."""
    for start in range(len(words)):
        for stop in range(start + 1, min(start + longest, len(words)) + 1):
            yield start, words[start:stop]


def _paired(prompts: Sequence[Words]) -> dict[Feature, np.ndarray]:
    """The gaps, and the pairs of words in any order, with the prompts that have them."""
    starts: dict[Run, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (lower, _) in enumerate(prompts):
        for start, run in _runs(lower, LONGEST - 1):
            starts[run][number].append(start)
    often = [run for run in starts if len(starts[run]) >= FEWEST]
    often.sort(key=lambda run: (abs(2 * len(starts[run]) - len(prompts)), run))
    sides = sorted(often[:MOST_SIDES])
    # by run and prompt: where its first occurrence ends, and where its last one starts
    first_end = np.full((len(sides), len(prompts)), np.inf)
    last_start = np.full((len(sides), len(prompts)), -1)
    for row, run in enumerate(sides):
        for number, at in starts[run].items():
            first_end[row, number], last_start[row, number] = at[0] + len(run), at[-1]
    in_order = first_end[:, None] <= last_start
    together = (last_start[:, None] >= 0) & (last_start >= 0)
    single = np.array([len(run) == 1 for run in sides], bool)
    found, once = {}, np.triu(np.outer(single, single), 1)
    for kind, held, wanted in (("gap", in_order, True), ("both", together, once)):
        count = held.sum(axis=2)
        enough = (count >= FEWEST) & (len(prompts) - count >= FEWEST)
        for row, other in np.argwhere(enough & wanted):
            found[Feature(kind, sides[row], sides[other])] = held[row, other]
    return found


def _first_end(words: Run, some: Run) -> int | None:
    """Where the first occurrence of some words, side by side, ends; None without one."""
    stops = range(len(some), len(words) + 1)
    return next((stop for stop in stops if words[stop - len(some) : stop] == some), None)


def _quoted(words: Run) -> str:
    return "a line break" if words == (BREAK,) else f"“{_spelled(words)}”"


def _spelled(words: Run) -> str:
    return " ".join("⏎" if word == BREAK else word for word in words)
