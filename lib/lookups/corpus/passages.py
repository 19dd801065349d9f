"""Texts as token ids, and long ones as passages of whole sentences (chapter 1).

A text that is longer than a run's `length` becomes passages: whole sentences that follow each
other, as many as fit, so that nothing is lost but the white space between two passages and a last
remainder of less than a third of the length. A sentence ends at a full stop, question or
exclamation mark, with what closes behind it, before white space and a capital or figure; not behind
an initial or one of a few abbreviations; and always at an empty line. One that is longer than the
length is cut. A passage's ids are those of the text, so no token changes where it is cut. With
`cut: first`, the paper's way, only the beginning of a long text is read. What looks like a special
token within a text (`<|endoftext|>`) is read as the characters it is written with.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lookups.corpus.texts import Text
from lookups.errors import SourceError

Tokenizer = Any
"""A fast Hugging Face tokenizer, as `lookups.model.loaded.Model` carries it."""

LOT = 2**20
"""Characters of texts that are turned into ids together, unless one text has more."""

_BREAK = re.compile(
    r"(?<=[.!?])[\"”’')\]]*(?P<space>\s+)(?=[\"“‘'(\[]*[A-Z0-9])|(?P<line>\s*\n\s*\n\s*)"
)
_ABBREVIATED = re.compile(
    r"\b([A-Z]|Mrs?|Ms|Drs?|Prof|Gen|Col|Capt|Lt|Gov|Sen|Rep|Rev|Hon|St|Mt|Jr|Sr|Nos?|Vol|Figs?|Ch|"
    r"vs?|cf|ca?|e\.g|i\.e|al|pp?|approx)\.$"
)


class Piece(NamedTuple):
    """A document to be: a text, or a passage of it."""

    ids: Sequence[int]
    source: str
    line: int
    lost: int
    """Tokens behind it that no document holds."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where sentences begin and end, in characters; between them is white space."""
    begins = len(text) - len(text.lstrip())
    found = []
    for gap in _BREAK.finditer(text, begins):
        ends = gap.start("line" if gap["space"] is None else "space")
        if gap["line"] is None and _ABBREVIATED.search(text, max(begins, ends - 8), ends):
            continue
        found.append((begins, ends))
        begins = gap.end()
    return [*found, (begins, len(text.rstrip()))]


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Any]:
    """Return texts as the tokenizer encodes them, whole, with no special token put in."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    usual = backend.encode_special_tokens
    backend.encode_special_tokens = True  # as the characters they are written with
    try:
        return backend.encode_batch(texts, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = usual


def pieces(
    texts: Iterable[Text], tokenizer: Tokenizer, limit: int, cut: Literal["passages", "first"]
) -> Iterator[tuple[Text, list[Piece]]]:
    """Yield every text with its documents, of at most `limit` tokens.

    Raises:
        SourceError: a text has a word that the tokenizer does not know, or gives a special token.
    """
    special = set(tokenizer.all_special_ids)
    for lot in _lots(texts):
        found = encoded(tokenizer, [one.text or "" for one in lot])
        for text, encoding in zip(lot, found, strict=True):
            if not special.isdisjoint(encoding.ids):
                raise SourceError(
                    f"{text.source}: a special token stands in the text, or a word that the "
                    "model's tokenizer does not know; take it out"
                )
            whole = cut == "first" or len(encoding.ids) <= limit
            yield text, (_first if whole else _passages)(text, encoding, limit)


def _first(text: Text, encoding: Any, limit: int) -> list[Piece]:
    lost = max(0, len(encoding.ids) - limit)
    return [Piece(encoding.ids[:limit], text.source, text.line, lost)] if encoding.ids else []


def _passages(text: Text, encoding: Any, limit: int) -> list[Piece]:
    places = sentences(text.text or "")
    starts, stops = np.array(encoding.offsets).T
    begins = np.searchsorted(stops, [begin for begin, _ in places], side="right").tolist()
    ends = np.searchsorted(starts, [end for _, end in places], side="left").tolist()
    found = list(_spans(begins, ends, limit))
    *_, (_, start, stop) = found
    lost = stop - start if 3 * (stop - start) < limit else 0
    kept = found[:-1] if lost else found
    made = []
    for number, (sentence, start, stop) in enumerate(kept):
        source, line = text.place(places[sentence][0], number, len(kept))
        made.append(Piece(encoding.ids[start:stop], source, line, 0))
    return [*made[:-1], made[-1]._replace(lost=lost)]


def _spans(
    begins: Sequence[int], ends: Sequence[int], limit: int
) -> Iterator[tuple[int, int, int]]:
    """Yield sentence, first and last token (exclusive) of passages of at most `limit` tokens.

    `begins` and `ends` say for every sentence which tokens are its own.
    """
    sentence, start = 0, begins[0]
    while sentence < len(ends):
        beyond = int(np.searchsorted(ends, start + limit, side="right"))
        if beyond <= sentence:  # it is longer than that
            yield sentence, start, start + limit
            start += limit
            continue
        yield sentence, start, ends[beyond - 1]
        sentence = beyond
        start = begins[min(beyond, len(begins) - 1)]


def _lots(texts: Iterable[Text]) -> Iterator[list[Text]]:
    some: list[Text] = []
    characters = 0
    for text in texts:
        some.append(text)
        characters += len(text.text or "")
        if len(some) == 1000 or characters >= LOT:
            yield some
            some, characters = [], 0
    yield some
