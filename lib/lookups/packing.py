"""Token ids of texts, packed into columns (chapter 0).

Texts are read, turned into ids, cut and handed on a lot at a time: a corpus of any size passes
through, and only what `lookups.token_files` keeps of it stays. What looks like a special token
within a text (`<|endoftext|>`) is read as the characters it is written with.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lookups.errors import CorpusError
from lookups.texts import Text
from lookups.token_files import Packed, Row, Tally, in_memory

Tokenizer = Any
"""A Hugging Face tokenizer, as `lookups.model.Model` carries it."""


LOT = 2**20
"""Characters of texts that are turned into ids together, unless one text has more."""


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of texts, whole, without any special token."""
    if getattr(tokenizer, "is_fast", False):
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        usual = backend.encode_special_tokens
        backend.encode_special_tokens = True  # as the characters they are written with
        try:
            found = backend.encode_batch_fast(texts, add_special_tokens=False)
        finally:
            backend.encode_special_tokens = usual
        return [one.ids for one in found]
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return tokenizer(texts, **options)["input_ids"]


def learned_by(tokenizer: Tokenizer) -> str:
    """Return all that ids depend on, as text."""
    fast = getattr(tokenizer, "is_fast", False)
    return tokenizer.backend_tokenizer.to_str() if fast else repr(tokenizer)


def tokenized(
    texts: Iterable[Text], tokenizer: Tokenizer, *, at_once: int = 1000
) -> Iterator[tuple[list[int], str, int]]:
    """Yield ids, source and line of every text; at most `at_once` texts are held at a time.

    Raises:
        CorpusError: a text has a word that the tokenizer does not know, or gives a special token.
    """
    texts = iter(texts)
    special = set(tokenizer.all_special_ids)
    while some := _lot_of(texts, at_once):
        for ids, text in zip(encoded(tokenizer, [one.text for one in some]), some, strict=True):
            if not special.isdisjoint(ids):
                raise CorpusError(
                    f"{text.source}: a special token stands in the text, or a word that the "
                    "model's tokenizer does not know; take it out"
                )
            yield ids, text.source, text.line


def _lot_of(texts: Iterator[Text], at_once: int) -> list[Text]:
    some: list[Text] = []
    characters = 0
    for text in texts:
        some.append(text)
        characters += len(text.text)
        if len(some) == at_once or characters >= LOT:
            break
    return some


def pack(documents: Iterable[tuple[Sequence[int], str, int]], limit: int) -> Packed:
    """Return documents as columns in memory, each cut to `limit` ids; empty ones are left out."""
    tally = Tally()
    return in_memory(list(rows_of(enumerate(documents), limit, tally, gaps=False)), tally)


def rows_of(
    documents: Iterable[tuple[int, tuple[Sequence[int], str, int]]],
    limit: int,
    tally: Tally,
    *,
    gaps: bool,
) -> Iterator[Row]:
    """Cut documents to the limit; a document without ids leaves a gap among the numbers or none."""
    full = (numbered for numbered in documents if len(numbered[1][0]))
    for place, (number, (ids, source, line)) in enumerate(full):
        tally.n_cut += len(ids) > limit
        yield Row(np.asarray(ids[:limit], np.int32), source, line, number if gaps else place)
