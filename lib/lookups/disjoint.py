"""No text of the test split stands in the train split: checked by digests of the texts (chapter 0).

Two texts are the same where they differ in white space alone. Of every train text only a digest of
16 bytes is held; test texts are read one after another, and those that the train split holds are
left out and counted. Near-copies are not looked for, nor are texts that begin alike and go on
apart. `planted` keeps its splits apart by how they are made.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from lookups.runs import CorpusSpec
from lookups.texts import Text, corpus_texts


def text_digest(text: str) -> bytes:
    """Return the 16 bytes that stand for a text, whatever its white space."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


class Digests(NamedTuple):
    """The digests of many texts, sorted; 16 bytes a text."""

    high: UInt64[np.ndarray, " text"]
    low: UInt64[np.ndarray, " text"]

    def hold(self, text: str) -> bool:
        """Say whether the text is one of them."""
        high, low = np.frombuffer(text_digest(text), np.uint64)
        start, stop = (int(np.searchsorted(self.high, high, side)) for side in ("left", "right"))
        return bool((self.low[start:stop] == low).any())


def digests_of(texts: Iterable[str]) -> Digests:
    """Return the digests of texts, which are read one after another."""
    held = bytearray()
    for text in texts:
        held += text_digest(text)
    pairs = np.frombuffer(held, np.uint64).reshape(-1, 2)
    order = np.argsort(pairs[:, 0])
    return Digests(pairs[order, 0], pairs[order, 1])


def train_digests(corpus: CorpusSpec) -> Digests:
    """Return the digests of the train texts that a run on this corpus reads.

    Raises:
        CorpusError: the corpus is not there, or a file or row of it cannot be read.
    """
    return digests_of(text.text for text in islice(corpus_texts(corpus, "train"), corpus.documents))


def numbered_apart(
    texts: Iterable[Text], train: Digests | None
) -> Iterator[tuple[int, Text | None]]:
    """Number the texts from 0, with None in place of those that the train split holds.

    A number belongs to a text whatever is left out, so that it does not depend on how many train
    texts a run reads.
    """
    for number, text in enumerate(texts):
        shared = train is not None and train.hold(text.text)
        yield number, (None if shared else text)


class Overlap(NamedTuple):
    """How many texts of the test split stand in the train split."""

    train: int
    """Train texts that the run reads."""
    test: int
    """Test texts that were compared: as many as the run needs, and those that were left out."""
    shared: int
    """Those of them that are left out."""


def overlap(corpus: CorpusSpec) -> Overlap:
    """Compare the test texts that a run reads with its train texts; `lookups download` tells it.

    Raises:
        CorpusError: a corpus is not there, or a file or row of it cannot be read.
    """
    train = train_digests(corpus)
    test = shared = 0
    for _, text in numbered_apart(corpus_texts(corpus, "test"), train):
        test += 1
        shared += text is None
        if test - shared >= corpus.documents:
            break
    return Overlap(len(train.high), test, shared)
