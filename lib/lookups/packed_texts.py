"""Corpora of texts as columns of token ids, made once for all chapters of a run (chapter 0).

Texts pass through one after another: those of the test split that the train split holds are left
out (`lookups.disjoint`), ids are made a lot at a time (`lookups.packing`), and what is too much to
hold goes into files in the data folder's `tokens` (`lookups.token_files`). The folder's name says
what went in, so that a changed text, tokenizer or setting makes new ones. They may be deleted at
any time. `planted` has a way of its own.
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from lookups import paths
from lookups.bound_texts import check_bound
from lookups.disjoint import numbered_apart, train_digests
from lookups.packing import Tokenizer, learned_by, rows_of, tokenized
from lookups.runs import CorpusSpec
from lookups.texts import (
    Half,
    Text,
    corpus_texts,
    files_of,
    hub_commit,
    key_name,
    local_path,
    part_of,
)
from lookups.token_files import Packed, Tally, keep, whole

FORM = 1
"""Raised by hand when documents come out otherwise for the same texts: they are then made anew."""


def packed_texts(corpus: CorpusSpec, split: Half, tokenizer: Tokenizer, limit: int) -> Packed:
    """Return the texts of a split as columns, or those that another chapter has made of them.

    Raises:
        CorpusError: the corpus is not there, is not the one that the run's lock names, or a text
            of it cannot be read.
        StorageError: the disk is full, or the data folder cannot be written.
    """
    for name in sorted({name for name, _ in _parts_read(corpus, split)}):
        check_bound(corpus, name)
    folder = tokens_folder(corpus, split, tokenizer, limit)
    kept = whole(folder)
    if kept is None:
        train = train_digests(corpus) if split == "test" else None
        texts = numbered_apart(corpus_texts(corpus, split), train)
        wanted = {"documents": corpus.documents, "limit": limit, "folder": folder}
        kept = pack_texts(texts, tokenizer, **wanted)
    return kept


def pack_texts(
    texts: Iterable[tuple[int, Text | None]],
    tokenizer: Tokenizer,
    *,
    documents: int,
    limit: int,
    folder: Path,
) -> Packed:
    """Return the first `documents` texts as columns, in `folder` where they are too many to hold.

    `texts` come with their numbers; None stands for one that is left out, and is counted.

    Raises:
        CorpusError: a text has a word that the tokenizer does not know, or gives a special token.
        StorageError: the disk is full, or the folder cannot be written.
    """
    tally = Tally()
    numbers: deque[int] = deque()

    def kept() -> Iterator[Text]:
        for number, text in texts:
            tally.n_shared += text is None
            if text is not None:
                numbers.append(number)
                yield text

    found = tokenized(islice(kept(), documents), tokenizer)
    numbered = ((numbers.popleft(), document) for document in found)
    return keep(rows_of(numbered, limit, tally, gaps=True), tally, folder)


def tokens_folder(corpus: CorpusSpec, split: Half, tokenizer: Tokenizer, limit: int) -> Path:
    """Return where columns lie: its name changes with all that they depend on."""
    if getattr(tokenizer, "is_fast", False):
        tokenizer.backend_tokenizer.no_truncation()  # else what they are depends on who came before
        tokenizer.backend_tokenizer.no_padding()
    corpora = _parts_read(corpus, split)
    states = [(half, _state_of(corpus, name)) for name, half in corpora]
    settings = [FORM, limit, corpus.documents, corpus.field, *states]
    recipe = json.dumps(settings) + learned_by(tokenizer)
    name = key_name(corpora[0][0])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    return paths.folder("data", corpus.folder) / "tokens" / f"{name}-{split}-{digest}"


def _parts_read(corpus: CorpusSpec, split: Half) -> list[tuple[str, Half | None]]:
    """Return what columns are made of: for the test split also what is left out of it."""
    read = ("train",) if split == "train" else ("test", "train")
    return [part_of(corpus, half) for half in read]


def _state_of(corpus: CorpusSpec, name: str) -> list[Any]:
    """Return what changes when a corpus changes: names, sizes and times of files, or a commit."""
    path = local_path(corpus, name)
    if path is None:
        return [name, hub_commit(name) or os.urandom(8).hex()]  # unknown: never taken for the same
    stats = [(str(file), file.stat()) for file in files_of(path)]
    return [(place, stat.st_size, stat.st_mtime_ns) for place, stat in stats]
