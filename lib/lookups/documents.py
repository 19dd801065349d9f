"""Documents: what a model is shown, as token ids with a key and a source (chapters 0 and 2).

Ids never hold the beginning-of-sequence token: it is put in front in one place, when a model reads
them. A document's key is "<corpus>/<split>/<number>"; numbers count from 0 in an order that does
not depend on how many documents are asked for, and one that is left out leaves a gap. Documents
longer than the limit (the run's `length`, or the model's context less one) are cut to it and
counted. A test text that the train split holds is left out and counted (`lookups.disjoint`).

However many there are, they are not in memory: those of a large corpus of texts lie in files in the
data folder's `tokens`, made once for all chapters and read one at a time (`lookups.token_files`).
"""

import hashlib
import operator
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int32

from lookups.errors import CorpusError
from lookups.packed_texts import packed_texts
from lookups.packing import Tokenizer, pack, tokenized
from lookups.runs import CorpusSpec, Run
from lookups.texts import Half as Split
from lookups.texts import Text, key_name, part_of
from lookups.token_files import Packed, pieces

if TYPE_CHECKING:
    from lookups.model import Model


class Document(NamedTuple):
    """One document, by value."""

    key: str
    ids: Int32[np.ndarray, " pos"]
    source: str
    """What it was cut from: a file, or whatever stands for one."""
    line: int


class Documents(Sequence[Document]):
    """An unchanging sequence of documents of one split of one corpus."""

    def __init__(
        self, corpus: str, split: Split, packed: Packed, decode: Callable[[Sequence[int]], str]
    ) -> None:
        self.corpus = corpus
        self.split = split
        self.n_cut = packed.n_cut
        """How many documents were cut to the limit."""
        self.n_shared = packed.n_shared
        """How many texts were left out of the test split because the train split holds them."""
        self._packed = packed
        self._decode = decode
        if isinstance(packed.ids, np.ndarray):
            packed.ids.flags.writeable = False  # what is read from files cannot be written anyway

    def __len__(self) -> int:
        return len(self._packed.stops)

    def __getitem__(self, index: SupportsIndex) -> Document:  # type: ignore[override]
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.corpus}/{self.split} has {len(self)} documents")
        index %= len(self)
        start = int(self._packed.stops[index - 1]) if index else 0
        numbers = self._packed.numbers
        return Document(
            f"{self.corpus}/{self.split}/{index if numbers is None else numbers[index]}",
            self._packed.ids[start : int(self._packed.stops[index])],
            self._packed.sources[index],
            int(self._packed.lines[index]),
        )

    def by_key(self, key: str) -> Document:
        """Return the document of that key.

        Raises:
            CorpusError: the key belongs to another corpus or split, or there is no such number.
        """
        corpus, _, number = key.rpartition("/")
        if corpus != f"{self.corpus}/{self.split}" or not number.isdigit():
            raise CorpusError(
                f"{key!r} is not a key of {self.corpus}/{self.split}; load the documents it names"
            )
        place = self._place_of(int(number))
        if place >= len(self):
            raise CorpusError(
                f"{key!r} is beyond the {len(self)} documents loaded; raise `corpus: documents:`"
            )
        found = self[place]
        if found.key != f"{corpus}/{int(number)}":
            raise CorpusError(
                f"{key!r} is left out, since the train split holds it; run the chapter that named "
                "it again"
            )
        return found

    def _place_of(self, number: int) -> int:
        numbers = self._packed.numbers
        return number if numbers is None else bisect_left(numbers, number)

    def text(self, index: SupportsIndex) -> str:
        """Return a document as its tokens read."""
        return self._decode(self[index].ids.tolist())

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a document."""
        return np.concatenate(list(self._lengths()))

    def _lengths(self) -> Iterator[np.ndarray]:
        before = 0
        for stops in pieces(self._packed.stops):
            yield np.diff(stops, prepend=before)
            before = int(stops[-1])

    @property
    def length(self) -> int:
        """Tokens of the longest document."""
        return max(int(some.max()) for some in self._lengths())

    @property
    def digest(self) -> str:
        """Sha256 over the keys and ids of all documents, in order."""
        content = hashlib.sha256(f"{self.corpus}/{self.split}/{len(self)}".encode())
        columns = {"stops": "<i8", "ids": "<i4"} | (
            {} if self._packed.numbers is None else {"numbers": "<i8"}
        )
        for name, kind in columns.items():
            for some in pieces(getattr(self._packed, name)):
                content.update(np.asarray(some).astype(kind).tobytes())
        return content.hexdigest()


def run_documents(settings: Run, model: "Model", split: Split) -> Documents | None:
    """Return the documents that a run reads in one split; None where it has none.

    A run with `prompts:` of the reader's own reads those as its train split and nothing else.
    """
    reading = {"tokenizer": model.tokenizer, "context": model.context}
    if settings.prompts is None:
        return load_documents(settings.corpus, split, **reading)
    return load_prompts(settings.prompts, **reading) if split == "train" else None


def load_documents(
    corpus: CorpusSpec, split: Split, *, tokenizer: Tokenizer, context: int
) -> Documents:
    """Load one split of the corpus that a run names; `context` counts the BOS, as models do.

    Raises:
        CorpusError: the corpus is missing, unreadable, or has no text in this split.
    """
    limit = min(corpus.length, context - 1)
    named, _ = part_of(corpus, split)
    if named == "planted":
        from lookups.planted import planted_documents

        found = planted_documents(split, corpus.documents)
        sources = (f"planted/{split}/{number}" for number in range(len(found)))
        packed = pack(((ids, source, 0) for ids, source in zip(found, sources, strict=True)), limit)
    else:
        packed = packed_texts(corpus, split, tokenizer, limit)
    if not len(packed.stops):
        raise CorpusError(
            f"corpus {named!r} has no text for its {split} split{_all_shared(packed)}; add "
            f"documents to it, or name another corpus in the run file"
        )
    return Documents(key_name(named), split, packed, tokenizer.decode)


def load_prompts(
    path: Path, *, tokenizer: Tokenizer, context: int, split: Split = "train"
) -> Documents:
    """Load a text file of one's own prompts, one a line; empty lines are left out.

    Raises:
        CorpusError: there is no such file, or no prompt in it.
    """
    if not path.is_file():
        raise CorpusError(f"prompts: there is no file {path}; correct `prompts:` in the run file")
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    texts = [
        Text(line.strip(), f"{path.name}#{number}", number)
        for number, line in lines
        if line.strip()
    ]
    packed = pack(tokenized(texts, tokenizer), context - 1)
    if not len(packed.stops):
        raise CorpusError(f"prompts: {path.name} holds no prompt; write one on each line")
    return Documents("own", split, packed, tokenizer.decode)


def _all_shared(packed: Packed) -> str:
    """Say why nothing is left, where that is why."""
    return f" (all {packed.n_shared} stand in the train split)" if packed.n_shared else ""
