"""Token ids of texts, packed into columns; and the passages that the prose corpus is cut into
(chapter 0).

Texts are read, turned into ids, cut and handed on a lot at a time: a corpus of any size passes
through, and only what `lookups.token_files` keeps of it stays. What looks like a special token
within a text (`<|endoftext|>`) is read as the characters it is written with.

A passage is a run of consecutive paragraphs of one file, joined by newlines and filled up to a
limit of tokens at paragraph boundaries. The passages of a split are shuffled once, with a fixed
seed, and kept beside the corpus, since they take seconds to make.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lookups import corpus as prose_corpus
from lookups.errors import CorpusError
from lookups.texts import Text
from lookups.token_files import Packed, Row, Tally, in_memory

SHUFFLE_SEED = 0
"""Of the order of the prose corpus's passages."""

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


def passages(
    paragraphs: Iterable[tuple[Sequence[int], int]], newline: Sequence[int], limit: int
) -> Iterator[tuple[list[int], int]]:
    """Yield passages (ids, first line) of consecutive paragraphs of one file, at most `limit` ids.

    Paragraphs of a passage are joined by `newline`; only one that is longer than `limit` is cut,
    and its pieces follow each other, so that nothing is lost.
    """
    passage: list[int] = []
    begins = 0
    for ids, line in paragraphs:
        if passage and len(passage) + len(newline) + len(ids) > limit:
            yield passage, begins
            passage = []
        if passage:
            passage += [*newline, *ids]
            continue
        begins = line
        passage = list(ids)
        while len(passage) > limit:
            yield passage[:limit], begins
            passage = passage[limit:]
    if passage:
        yield passage, begins


def prose_passages(
    split: prose_corpus.Split, tokenizer: Tokenizer, limit: int, data: Path | None
) -> Packed:
    """Return all passages of a split, shuffled, from their cache where that is whole."""
    recipe = f"{learned_by(tokenizer)}{limit}{SHUFFLE_SEED}{prose_corpus.RULES}"
    folder = prose_corpus.cache_folder(data=data)
    name = f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}-{split}.npz"
    cache = folder.with_name(f"{folder.name}-tokens") / name
    if (cached := _read(cache)) is None:
        cached = _make_passages(split, tokenizer, limit, data)
        _write(cached, cache)
    return cached


def _make_passages(
    split: prose_corpus.Split, tokenizer: Tokenizer, limit: int, data: Path | None
) -> Packed:
    table = getattr(prose_corpus.load_prose(data=data), split)
    texts = table.text.tolist()
    ids_of = encoded(tokenizer, texts)
    (newline,) = encoded(tokenizer, ["\n"])
    found = [
        (ids, file, line)
        for file, rows in table.groupby("file", sort=False)
        for ids, line in passages(
            ((ids_of[row], line) for row, line in zip(rows.index, rows.line, strict=True)),
            newline,
            limit,
        )
    ]
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(found))
    return pack((found[row] for row in order), limit)


def _read(cache: Path) -> Packed | None:
    try:
        with np.load(cache, allow_pickle=False) as kept:
            sources, lines = kept["sources"].tolist(), kept["lines"].tolist()
            return Packed(kept["ids"], kept["stops"], sources, lines)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _write(packed: Packed, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    scratch = cache.with_name(f".{cache.stem}.{os.getpid()}.npz")
    try:
        np.savez(
            scratch,
            ids=packed.ids,
            stops=packed.stops,
            sources=np.array(packed.sources),
            lines=np.array(packed.lines),
        )
        os.replace(scratch, cache)
    finally:
        scratch.unlink(missing_ok=True)
