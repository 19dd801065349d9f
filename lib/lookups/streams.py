"""The prose corpus as the trainer reads it: flat streams of ids, a BOS before every file.

The tokenizer is learnt from the train split on the way. Everything follows from the corpus, so the
folder is named after its digest and is made once.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from lookups.corpus import load_prose
from lookups.paths import folder
from lookups.vocabulary import BOS_ID, train_tokenizer


class Streams(NamedTuple):
    """Where the streams lie, and of which corpus they are."""

    folder: Path
    digest: str


def files_of(table: pd.DataFrame) -> list[str]:
    """Return the text of every file, its paragraphs joined by newlines, in the table's order."""
    return ["\n".join(rows.text) for _, rows in table.groupby("file", sort=False)]


def stream_of(texts: list[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return the ids of all texts in a row, each after a BOS."""
    found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return np.concatenate([np.array([BOS_ID, *text.ids], dtype=np.uint16) for text in found])


def prose_streams(vocabulary: int, *, data: Path | None = None) -> Streams:
    """Return the folder with `train.npy`, `test.npy` and `tokenizer.json`, making what is missing.

    `tokenizer.json` is written last: a folder that has it is whole.
    """
    corpus = load_prose(data=data)
    out = folder("data", data) / "streams" / f"{corpus.digest[:16]}-{vocabulary}"
    if not (out / "tokenizer.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        train = files_of(corpus.train)
        tokenizer = train_tokenizer(train, vocabulary)
        np.save(out / "train.npy", stream_of(train, tokenizer))
        np.save(out / "test.npy", stream_of(files_of(corpus.test), tokenizer))
        tokenizer.save(str(out / "tokenizer.json"))
    return Streams(out, corpus.digest)
