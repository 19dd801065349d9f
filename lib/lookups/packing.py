"""Token ids of texts, packed flat; and the passages that the prose corpus is cut into (chapter 0).

A passage is a run of consecutive paragraphs of one file, joined by newlines and filled up to a
limit of tokens at paragraph boundaries. The passages of a split are shuffled once, with a fixed
seed, and kept beside the corpus, since they take seconds to make.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int32

from lookups import corpus as prose_corpus
from lookups.errors import CorpusError
from lookups.texts import Text

SHUFFLE_SEED = 0
"""Of the order of the prose corpus's passages."""

Tokenizer = Any
"""A Hugging Face tokenizer, as `lookups.model.Model` carries it."""


class Packed(NamedTuple):
    """Documents as flat arrays: document i is `ids[stops[i - 1] : stops[i]]`."""

    ids: Int32[np.ndarray, " token"]
    stops: np.ndarray
    sources: list[str]
    lines: list[int]
    n_cut: int = 0


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of texts, whole, without any special token."""
    if getattr(tokenizer, "is_fast", False):
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def tokenized(
    texts: Iterable[Text], tokenizer: Tokenizer, *, at_once: int = 1000
) -> Iterator[tuple[list[int], str, int]]:
    """Yield ids, source and line of every text; texts are held `at_once` at a time.

    Raises:
        CorpusError: a text holds a special token, or a word that the tokenizer does not know.
    """
    texts = iter(texts)
    special = set(tokenizer.all_special_ids)
    while some := list(islice(texts, at_once)):
        for ids, text in zip(encoded(tokenizer, [one.text for one in some]), some, strict=True):
            if not special.isdisjoint(ids):
                raise CorpusError(
                    f"{text.source}: a special token stands in the text, or a word that the "
                    "model's tokenizer does not know; take it out"
                )
            yield ids, text.source, text.line


def pack(documents: Iterable[tuple[Sequence[int], str, int]], limit: int) -> Packed:
    """Return documents as flat arrays, each cut to `limit` ids; empty ones are left out."""
    ids: list[np.ndarray] = []
    sources, lines, n_cut = [], [], 0
    for document, source, line in documents:
        if not len(document):
            continue
        n_cut += len(document) > limit
        ids.append(np.asarray(document[:limit], dtype=np.int32))
        sources.append(source)
        lines.append(line)
    stops = np.cumsum([len(document) for document in ids], dtype=np.int64)
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    return Packed(flat, stops, sources, lines, n_cut)


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
    learned = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else repr(tokenizer)
    recipe = f"{learned}{limit}{SHUFFLE_SEED}{prose_corpus.RULES}"
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
