"""Documents: what a model is shown, as token ids with a key and a source (chapters 1 and 3).

Ids never hold the beginning-of-sequence token. A document is a text, or a passage of a long one
(`lookups.corpus.texts`). Its key is "<corpus>/<split>/<number>": numbers count from 0 in the order
of reading, however many are asked for. Passages are listed in an order that a hash of their keys
decides, so that the first of them are a sample of all.

Tokens are made once and lie in Arrow files in the data folder's `tokens`, which may be deleted.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import pyarrow
from jaxtyping import Int32

from lookups import paths
from lookups.corpus import texts
from lookups.corpus.texts import Split, Text, Tokenizer
from lookups.errors import LookupsError, SourceError, in_words
from lookups.model.loaded import Model
from lookups.model.packaged import PACKAGED
from lookups.settings import CorpusSpec, Run, is_made

FORM = 6  # raised by hand when documents come out otherwise for the same files

SCHEMA = pyarrow.schema(
    {"ids": pyarrow.list_(pyarrow.int32()), "source": pyarrow.string(), "shared": pyarrow.bool_()}
    | dict.fromkeys(("text", "number", "lost"), pyarrow.int64())
)
"""Of documents as a table; `text` is the number of the text that one comes from, of whose tokens
`lost` are in no document, and `number` that of its key, or -1 for a row in which was no text."""


class Document(NamedTuple):
    """One document, by value."""

    key: str
    ids: Int32[np.ndarray, " pos"]
    source: str
    """Article, revision and section; a file, or a stretch of one; whatever is one elsewhere."""


class Documents(Sequence[Document]):
    """The documents of one split of one corpus.

    `n_texts` gave `n_passages` documents, of which a run reads at most as many as it says; `n_cut`
    of the texts were longer than a document, and `n_lost` tokens at their ends are in none. Beside
    them `n_shared` texts stand in the train split too, and `n_missing` rows have no text.
    """

    def __init__(
        self,
        corpus: str,
        split: Split,
        table: pyarrow.Table,
        *,
        at_most: int | None = None,
        sampled: bool = False,
    ) -> None:
        self.corpus, self.split = corpus, split
        self._name, self._table = f"{corpus}/{split}", table
        facts = table.select(["number", "text", "lost", "shared"]).to_pandas()
        read = facts[(facts.number >= 0) & ~facts.shared]
        by_text = read.groupby("text").lost.agg(["size", "first"])
        self.n_texts, self.n_passages = len(by_text), len(read)
        self.n_shared = facts[facts.shared].text.nunique()
        self.n_missing = int((facts.number < 0).sum())
        self.n_cut = int((by_text > [1, 0]).any(axis=1).sum())
        self.n_lost = int(by_text["first"].sum())
        keys = f"{self._name}/" + read.number.astype(str)
        if sampled:
            drawn = keys.map(lambda key: hashlib.sha256(key.encode()).digest())
            keys = keys.loc[drawn.sort_values(kind="stable").index]
        self._rows = keys.index[:at_most].to_numpy()
        self._keys = keys[:at_most].tolist()
        self._index = {key: index for index, key in enumerate(self._keys)}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: SupportsIndex) -> Document:  # type: ignore[override]
        ids, source = (self._table[name][int(self._rows[index])] for name in ("ids", "source"))
        return Document(self._keys[index], ids.values.to_numpy(), source.as_py())

    def by_key(self, key: str) -> Document:
        """Return the document of that key; a SourceError if none of that key is read."""
        if key not in self._index:
            raise SourceError(
                f"{key!r} is none of the {len(self)} documents that are read of {self._name}: the "
                "corpus or its settings have changed; run the chapter that named it again"
            )
        return self[self._index[key]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a document."""
        return pyarrow.compute.list_value_length(self._table["ids"]).to_numpy()[self._rows]

    @property
    def digest(self) -> str:
        """Sha256 over the keys and ids of all documents, in order."""
        content = hashlib.sha256(f"{self._name}/{len(self)}".encode())
        for one in self:
            content.update(one.key.encode() + one.ids.astype("<i4").tobytes())
        return content.hexdigest()


def run_documents(settings: Run, model: Model, split: Split) -> Documents | None:
    """Return the documents that a run reads in one split; None where it has none. A run with
    `prompts:` of the reader's own reads those as its train split and nothing else."""
    reading = {"tokenizer": model.tokenizer, "context": model.context}
    if settings.prompts is None:
        return load_documents(settings.corpus, split, **reading)
    return load_prompts(settings.prompts, **reading) if split == "train" else None


def load_documents(
    corpus: CorpusSpec, split: Split, *, tokenizer: Tokenizer, context: int
) -> Documents:
    """Load one split of the corpus that a run names; `context` counts the BOS, as models do.
    SourceError if the corpus is missing, unreadable, or has no text in this split; LookupsError if
    the disk is full, or the data folder cannot be written."""
    named, _ = texts.part_of(corpus, split)
    if named == "planted":  # a document is a text
        corpus = corpus.model_copy(update={"cut": "first"})
    table = _tokens(corpus, split, tokenizer, min(corpus.length, context - 1))
    chosen = {"at_most": corpus.documents, "sampled": corpus.cut == "passages"}
    found = Documents(texts.key_name(named), split, table, **chosen)
    if not len(found):
        raise SourceError(
            f"corpus {named!r} has no text for its {split} split ({found.n_shared} stand in the "
            f"train split, {found.n_missing} rows have none in the field {corpus.field!r}); add "
            "texts to it, or name another corpus or `field:` in the run file"
        )
    return found


def load_prompts(path: Path, *, tokenizer: Tokenizer, context: int) -> Documents:
    """Load a file of one's own prompts, one a line; a SourceError if there is none, or no text."""
    with in_words(f"prompts: {path.name}", "save it as text in UTF-8"):
        lines = list(enumerate(texts.lines_of(path), start=1))
    found = [Text(line.strip(), f"{path.name}#{number}") for number, line in lines if line.strip()]
    if not found:
        raise SourceError(f"prompts: {path.name} holds no prompt; write one on each line")
    rows = list(_rows(texts.pieces(found, tokenizer, context - 1, "first")))
    return Documents("own", "train", pyarrow.Table.from_pylist(rows, SCHEMA))


def _tokens(corpus: CorpusSpec, split: Split, tokenizer: Tokenizer, limit: int) -> pyarrow.Table:
    """Return the table of a split from its file, which is made first where it is missing."""
    import datasets

    datasets.disable_progress_bars()
    folder = paths.folder("data", corpus.folder) / "tokens"
    try:
        return datasets.Dataset.from_generator(
            lambda: _rows(texts.pieces(_wanted(corpus, split), tokenizer, limit, corpus.cut)),
            features=datasets.Features.from_arrow_schema(SCHEMA),
            cache_dir=str(folder),
            fingerprint=_fingerprint(corpus, split, tokenizer, limit),
        ).data.table
    except (datasets.exceptions.DatasetGenerationError, pyarrow.ArrowInvalid, OSError) as error:
        if isinstance(error.__cause__, LookupsError):
            raise error.__cause__ from None
        raise LookupsError(
            f"the corpus's tokens cannot be kept in {folder} ({error.__cause__ or error}); free "
            "some space, delete that folder if it is damaged, or set LOOKUPS_DATA to another"
        ) from error
    except ValueError:  # of `datasets`, where there is no row at all
        return SCHEMA.empty_table()


def _wanted(corpus: CorpusSpec, split: Split) -> Iterator[Text]:
    """Yield texts until there are as many as a run's documents; of Wikipedia all. Rows without a
    text do not count, nor do test texts that the train split holds too."""
    train = _wanted(corpus, "train") if split == "test" else ()
    known = {_digest(one.text) for one in train if one.text is not None}
    left = corpus.documents
    for text in texts.corpus_texts(corpus, split):
        copy = text.text is not None and _digest(text.text) in known
        yield text._replace(shared=copy)
        left -= not (copy or text.text is None or corpus.name == "wikipedia")
        if not left:
            return


def _digest(text: str) -> bytes:
    """Return what texts are compared by, whatever their white space."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def _rows(found: Iterable[tuple[Text, list[Sequence[int]], int]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table."""
    number = 0
    for place, (text, documents, lost) in enumerate(found):
        about = {"text": place, "shared": text.shared, "lost": lost}
        for passage, ids in enumerate(documents):
            source = text.source_of(passage, len(documents))
            yield about | {"ids": ids, "source": source, "number": number}
            number += 1
        if text.text is None:
            yield about | {"ids": [], "source": text.source, "number": -1}


def _fingerprint(corpus: CorpusSpec, split: Split, tokenizer: Tokenizer, limit: int) -> str:
    """Return a word that changes with all that documents depend on."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # else what it is depends on who came before
    backend.no_padding()
    made = [PACKAGED["wikipedia"].sha256, version("mwparserfromhell")]
    names = [name for name in (corpus.name, corpus.held_out) if name and not is_made(name)]
    files = [file for name in names for file in texts.files_of(corpus, name).values()]
    states = [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files]
    settings = corpus.model_dump(mode="json", exclude={"folder", "length"})
    recipe = [FORM, split, limit, settings, made, states, backend.to_str()]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
