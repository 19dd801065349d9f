"""Documents: what a model is shown, as token ids with a key and a source (chapters 0 and 2).

Ids never hold the beginning-of-sequence token: it is put in front in one place, when a model reads
them. A document's key is "<corpus>/<split>/<number>"; numbers count from 0 in an order that does
not depend on how many documents are asked for. Documents longer than the limit (the run's `length`,
or the model's context less one) are cut to it and counted.
"""

import hashlib
import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int32

from lookups import paths
from lookups.corpus import Split
from lookups.errors import CorpusError
from lookups.packing import Packed, Tokenizer, pack, prose_passages, tokenized
from lookups.runs import CorpusSpec, Run
from lookups.texts import ENDINGS, Text, hub_texts, local_texts

if TYPE_CHECKING:
    from lookups.model import Model


class Document(NamedTuple):
    """One document, by value."""

    key: str
    ids: Int32[np.ndarray, " pos"]
    source: str
    """Package and file for the prose corpus; whatever stands for a file elsewhere."""
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
        self._packed = packed
        self._decode = decode
        packed.ids.flags.writeable = False

    def __len__(self) -> int:
        return len(self._packed.stops)

    def __getitem__(self, index: SupportsIndex) -> Document:  # type: ignore[override]
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.corpus}/{self.split} has {len(self)} documents")
        index %= len(self)
        start = int(self._packed.stops[index - 1]) if index else 0
        return Document(
            f"{self.corpus}/{self.split}/{index}",
            self._packed.ids[start : int(self._packed.stops[index])],
            self._packed.sources[index],
            int(self._packed.lines[index]),
        )

    def by_key(self, key: str) -> Document:
        """Return the document of that key.

        Raises:
            CorpusError: the key belongs to another corpus or split, or its number is too high.
        """
        corpus, _, number = key.rpartition("/")
        if corpus != f"{self.corpus}/{self.split}" or not number.isdigit():
            raise CorpusError(
                f"{key!r} is not a key of {self.corpus}/{self.split}; load the documents it names"
            )
        if int(number) >= len(self):
            raise CorpusError(
                f"{key!r} is beyond the {len(self)} documents loaded; raise `corpus: documents:`"
            )
        return self[int(number)]

    def text(self, index: SupportsIndex) -> str:
        """Return a document as its tokens read."""
        return self._decode(self[index].ids.tolist())

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a document."""
        return np.diff(self._packed.stops, prepend=0)

    @property
    def length(self) -> int:
        """Tokens of the longest document."""
        return int(self.lengths.max())

    @property
    def digest(self) -> str:
        """Sha256 over the keys and ids of all documents, in order."""
        content = hashlib.sha256(f"{self.corpus}/{self.split}/{len(self)}".encode())
        content.update(self._packed.stops.astype("<i8").tobytes())
        content.update(self._packed.ids.astype("<i4").tobytes())
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
    name = Path(corpus.name).stem if Path(corpus.name).suffix in ENDINGS else corpus.name
    name = name.rstrip("/").rsplit("/", 1)[-1]
    if corpus.name == "prose":
        packed = _first(prose_passages(split, tokenizer, limit, corpus.folder), corpus.documents)
    elif corpus.name == "planted":
        from lookups.planted import planted_documents

        found = planted_documents(split, corpus.documents)
        sources = (f"planted/{split}/{number}" for number in range(len(found)))
        packed = pack(((ids, source, 0) for ids, source in zip(found, sources, strict=True)), limit)
    else:
        texts = islice(_texts(corpus, split), corpus.documents)
        packed = pack(tokenized(texts, tokenizer), limit)
    if not len(packed.stops):
        raise CorpusError(
            f"corpus {corpus.name!r} has no text for its {split} split; add documents to it, or "
            f"name another corpus in the run file"
        )
    return Documents(name, split, packed, tokenizer.decode)


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


def _texts(corpus: CorpusSpec, split: Split) -> Iterator[Text]:
    path = Path(corpus.name).expanduser()
    if not path.is_absolute():
        path = paths.folder("data", corpus.folder) / path
    looks_local = path.suffix in ENDINGS or Path(corpus.name).is_absolute()
    if path.exists() or looks_local:
        return local_texts(path, split)
    return hub_texts(corpus.name, split)


def _first(packed: Packed, n: int) -> Packed:
    stops = packed.stops[:n]
    ids = packed.ids[: int(stops[-1]) if len(stops) else 0]
    return Packed(ids, stops, packed.sources[:n], packed.lines[:n], packed.n_cut)
