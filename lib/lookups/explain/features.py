"""What can be seen in a prompt: words, runs of words, what comes before what (chapter 7).

A feature is seen in a text, not in token ids, so that it can be told to a reader and asked of any
model's prompts. A *word* is a run of letters and digits (an apostrophe inside belongs to it), a run
of one and the same mark, or a line break; case is ignored except by the two `exact` kinds. A cut
prompt may begin in the middle of a word: what is left of it is a word like any other. Which
features a set of prompts has to offer is `explain.candidates`' matter; no model is needed here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from lookups.errors import MeasurementError

Kind = Literal["ends", "has", "place", "exact end", "exact", "shorter", "gap", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)

BREAK = "\n"
"""The word that stands for one line break, or several."""

_WORD = re.compile(r"(?P<line>\s*\n\s*)|\w+(?:['’]\w+)*|(?P<mark>[^\w\s])(?P=mark)*")
_BACK = ("one", "two", "three")


class Words(NamedTuple):
    """The words of one text, in order."""

    lower: tuple[str, ...]
    exact: tuple[str, ...]


class Feature(NamedTuple):
    """One thing that a prompt has or has not."""

    kind: Kind
    """`has` words side by side; `ends` in them; a word at a `place` counted from the end; the words
    of a `gap` in order with anything, or nothing, between; `both` in any order; `exact`: in this
    case of letters; `shorter`: fewer words than a number."""
    words: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    """The later words of a gap, the other ones of both."""
    number: int = 0
    """Of a place: 2 is the last word but one. Of `shorter`: the number of words."""

    @property
    def size(self) -> int:
        """How much the feature says, in words, and one more for naming a place, case or order."""
        plain = self.kind in ("ends", "has")
        return max(1, len(self.words) + len(self.then)) + (not plain)

    @property
    def rank(self) -> tuple:
        """The feature's rank in the order of all: what says less comes first, ends before has."""
        return (self.size, KINDS.index(self.kind), self.words, self.then, self.number)

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold; always the same for the same feature."""
        parts = {"kind": self.kind, "words": list(self.words), "then": list(self.then)}
        if self.number:
            parts["number"] = self.number
        return {name: value for name, value in parts.items() if value}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> "Feature":
        """Read what `as_json` wrote.

        Raises:
            MeasurementError: it is of no known kind, or a part is missing or of another type.
        """
        kind, number = parts.get("kind"), parts.get("number", 0)
        words, then = (parts.get(name, []) for name in ("words", "then"))
        least = {"shorter": 1, "place": 2}.get(kind, 0)
        texts = [*words, *then] if isinstance(words, list) and isinstance(then, list) else [None]
        fits = bool(words) == (kind != "shorter") and bool(then) == (kind in ("gap", "both"))
        typed = all(isinstance(text, str) for text in texts) and type(number) is int
        if not (kind in KINDS and fits and typed and number >= least):
            raise MeasurementError(f"{dict(parts)} is no feature; explain the pair again")
        return cls(kind, tuple(words), tuple(then), number)


def words_of(text: str) -> Words:
    """Return the words of a text, in order, in lower case and as they stand."""
    found = tuple(BREAK if match["line"] else match[0] for match in _WORD.finditer(text))
    return Words(tuple(word.lower() for word in found), found)


def holds(feature: Feature, text: str | Words) -> bool:
    """Whether a text has the feature."""
    lower, exact = words_of(text) if isinstance(text, str) else text
    words, number = feature.words, feature.number
    match feature.kind:
        case "has":
            return first_end(lower, words) is not None
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
        case "gap":
            end = first_end(lower, words)
            return end is not None and first_end(lower[end:], feature.then) is not None
        case "both":
            return all(first_end(lower, some) is not None for some in (words, feature.then))
    raise MeasurementError(f"{feature.kind!r} is no kind of feature; the kinds are {KINDS}")


def first_end(words: Sequence[str], some: Sequence[str]) -> int | None:
    """Return where the first occurrence of some words, side by side, ends; None without one."""
    size = len(some)
    starts = (i for i in range(len(words) - size + 1) if tuple(words[i : i + size]) == tuple(some))
    return next((start + size for start in starts), None)


def said(feature: Feature, *, present: bool = True) -> str:
    """Return what is true of a prompt with the feature (or without), to follow "the prompt"."""
    has, ends = "contains", "ends in"
    if not present:
        has, ends = "does not contain", "does not end in"
    words, number = quoted(feature.words), feature.number
    match feature.kind:
        case "has":
            return f"{has} {words}"
        case "ends":
            return f"{ends} {words}"
        case "place":
            back = _BACK[number - 2] if number < len(_BACK) + 2 else str(number - 1)
            return f"{'has' if present else 'does not have'} {words} as its last word but {back}"
        case "exact":
            return f"{has} {words} in exactly these letters"
        case "exact end":
            return f"{ends} {words} in exactly these letters"
        case "shorter":
            return f"has {'fewer than' if present else 'at least'} {number} words"
        case "gap":
            return f"{has} “{spelled(feature.words)} … {spelled(feature.then)}”"
        case "both":
            both = f"{words} and {quoted(feature.then)}"
            return f"{has} both {both}"
    raise MeasurementError(f"{feature.kind!r} is no kind of feature; the kinds are {KINDS}")


def quoted(words: Sequence[str]) -> str:
    """Return words in quotation marks; a line break alone is called by its name."""
    return "a line break" if tuple(words) == (BREAK,) else f"“{spelled(words)}”"


def spelled(words: Sequence[str]) -> str:
    """Return words with a space between, line breaks made visible."""
    return " ".join("⏎" if word == BREAK else word for word in words)
