"""Texts that a run reads, one after another: of one's own, from the hub, or Wikipedia's.

A corpus is a file, a folder of files, or a dataset of the Hugging Face hub, which is read from the
data folder where it was downloaded to and as a stream otherwise. A `.txt` file holds texts that are
separated by empty lines; `.jsonl` and `.parquet` hold one a row, in a field that the run names. The
first two may be compressed (`.gz`). A row without a text in that field is passed over and counted.
Nothing is held whole, and there are no tokens here (`lookups.corpus.documents` makes them).

Half of the texts are held out as the test split, chosen by a hash of the text, so that copies of a
text stay on one side; of the file's name where a folder holds several `.txt` files, which are works
rather than collections; Wikipedia's by article. A run may name another corpus as its test split
(`held_out:`); then all of the one is train, and all of the other test.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
from pyarrow import parquet

from lookups import paths
from lookups.corpus import wikipedia
from lookups.errors import SourceError
from lookups.settings import CorpusSpec

Split = Literal["train", "test"]

ENDINGS = (".txt", ".jsonl", ".parquet")

PLACES = 10
"""Passages of a long text that count as one source, so that it may give more than two prompts."""


class Text(NamedTuple):
    """One text as written."""

    text: str | None
    """None where a row has no text in the run's field."""
    source: str
    """The file, where it is one of several texts files; else the file and the text's number."""
    line: int
    """Where it begins: its line or row, or an article's paragraph; counted from 1."""
    of_article: bool = False
    """Whether `line` counts paragraphs, and `source` is narrow enough however long the text is."""

    def place(self, start: int, number: int, passages: int) -> tuple[str, int]:
        """Return source and line of one of its passages, which begins at a character."""
        if self.of_article:
            return self.source, self.line + (self.text or "").count("\n\n", 0, start)
        part = f"{wikipedia.BETWEEN}{number // PLACES + 1}" if passages > PLACES else ""
        return self.source + part, self.line


def half_of(name: str) -> Split:
    """Return the split of a name or text."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def corpus_texts(corpus: CorpusSpec, split: Split) -> Iterator[Text]:
    """Yield the texts of one split of a run's corpus; 'planted' has none.

    Raises:
        SourceError: the corpus is not there, or a file of it cannot be read.
    """
    name, half = part_of(corpus, split)
    if name == "wikipedia":
        return wikipedia_texts(split, corpus.folder)
    path = local_path(corpus, name)
    if path is not None:
        return local_texts(path, half, field=corpus.field)
    return hub_texts(name, half, field=corpus.field)


def wikipedia_texts(split: Split, data: Path | None = None) -> Iterator[Text]:
    """Yield the sections of the articles of one split, paragraphs separated by an empty line."""
    found = wikipedia.split_of(wikipedia.load_wikipedia(data), split)
    for _, section in groupby(found, lambda one: (one.page, one.place)):
        first, *others = section
        text = "\n\n".join(one.text for one in (first, *others))
        yield Text(text, first.source, first.number, of_article=True)


def part_of(corpus: CorpusSpec, split: Split) -> tuple[str, Split | None]:
    """Return the name of the corpus that a split comes from, and which half of it; None for all."""
    if corpus.held_out is None:
        return corpus.name, split
    return (corpus.held_out if split == "test" else corpus.name), None


def kind_of(name: str) -> str | None:
    """Return the ending that says how a file is read, compression aside; None for other files."""
    inner = name.removesuffix(".gz")
    kind = next((ending for ending in ENDINGS if inner.endswith(ending)), None)
    return None if kind == ".parquet" and inner != name else kind


def local_path(corpus: CorpusSpec, name: str) -> Path | None:
    """Return where a corpus lies, or should lie; None where only the hub can have it."""
    path = paths.folder("data", corpus.folder) / Path(name).expanduser()
    of_hub = len(Path(name).parts) > 2  # a file of a dataset: org/dataset/file
    there = Path(name).expanduser().is_absolute() or path.exists()
    return path if there or (kind_of(path.name) and not of_hub) else None


def key_name(name: str) -> str:
    """Return the word for a corpus in the keys of its documents."""
    kind = kind_of(name)
    parts = (name.removesuffix(".gz").removesuffix(kind) if kind else name).rstrip("/").split("/")
    of_hub = len(parts) > 2 and kind and not Path(name).is_absolute()
    return "-".join(parts[1:]) if of_hub else parts[-1]


def files_of(path: Path) -> list[Path]:
    """Return the files of a corpus in the order of their names; hidden ones are left out.

    Raises:
        SourceError: there is nothing at `path`, or nothing that can be read.
    """
    endings = ", ".join(ENDINGS)
    if path.is_dir():
        found = (file for file in path.rglob("*") if kind_of(file.name) and file.is_file())
        files = [f for f in found if not any(p[0] == "." for p in f.relative_to(path).parts)]
        if files:
            return sorted(files)
        raise SourceError(f"corpus: the folder {path} holds no {endings} file; put texts there")
    if not path.exists():
        raise SourceError(
            f"corpus: there is no file or folder {path}; correct its name in the run file"
        )
    if kind_of(path.name) is None:
        raise SourceError(
            f"corpus: {path.name} is not one of {endings} (the first two also with .gz behind); "
            "convert it to one of them"
        )
    return [path]


def local_texts(path: Path, split: Split | None, *, field: str = "text") -> Iterator[Text]:
    """Yield the texts of one split of a file or folder, or all (None), files in order.

    Raises:
        SourceError: there is nothing at `path`, or a file of it cannot be read.
    """
    files = files_of(path)
    by_file = sum(kind_of(file.name) == ".txt" for file in files) > 1
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if not (by_file and kind_of(file.name) == ".txt"):
            yield from _numbered(_readable(file, field), name, split)
        elif split in (None, half_of(name)):
            yield from (Text(text, name, line) for line, text in _readable(file, field))


def hub_texts(dataset: str, split: Split | None, *, field: str = "text") -> Iterator[Text]:
    """Return the texts of our half of a Hugging Face dataset, or all (None), read as a stream.

    `dataset` is an id, or an id and one of its files (`org/name/file.jsonl`). Only the dataset's
    own `train` split is read, or all of its splits where it has none of that name.

    Raises:
        SourceError: the hub cannot be reached, or has no such dataset.
    """
    rows = enumerate(_hub_rows(dataset), start=1)
    found = ((number, _text(row, field)) for number, row in rows)
    return _numbered(found, key_name(dataset), split)


def _numbered(
    found: Iterable[tuple[int, str | None]], name: str, split: Split | None
) -> Iterator[Text]:
    """Yield the texts of one half that are more than white space, numbered among all."""
    for number, (line, text) in enumerate(found, start=1):
        if text is None or (text.strip() and split in (None, half_of(text))):
            yield Text(text, f"{name}#{number}", line)


def _readable(file: Path, field: str) -> Iterator[tuple[int, str | None]]:
    """Yield the texts of a file, white space alone left out, with the line or row of each."""
    read = {".txt": _paragraphs, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    try:
        for line, text in read[kind_of(file.name) or ""](file, field):
            if text is None or text.strip():
                yield line, text
    except UnicodeDecodeError as error:
        raise SourceError(
            f"corpus: {file.name} is not UTF-8 text ({error.reason}); save it again as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error, pyarrow.ArrowInvalid) as error:
        reason = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
        raise SourceError(
            f"corpus: {file.name} cannot be read ({reason}); fetch or save it again"
        ) from None


def _lines(file: Path) -> Any:
    """Open a text; a byte-order mark at its beginning is no part of it."""
    return (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig")


def _paragraphs(file: Path, field: str) -> Iterator[tuple[int, str]]:
    with _lines(file) as lines:
        numbered = enumerate((line.rstrip() for line in lines), start=1)
        for filled, block in groupby(numbered, lambda one: bool(one[1])):
            if filled:
                (begins, first), *others = block
                yield begins, "\n".join([first, *(line for _, line in others)])


def _json_rows(file: Path, field: str) -> Iterator[tuple[int, str | None]]:
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not line.isspace():
                yield number, _text(row, field)


def _parquet_rows(file: Path, field: str) -> Iterator[tuple[int, str | None]]:
    with parquet.ParquetFile(file) as table:
        columns = [field] if field in table.schema_arrow.names else []
        batches = table.iter_batches(batch_size=256, columns=columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from ((number, _text(row, field)) for number, row in enumerate(rows, start=1))


def _text(row: Any, field: str) -> str | None:
    """Return the text in a row's field; half a character, as JSON can spell it, as `?`."""
    value = row.get(field) if isinstance(row, dict) else None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def hub_commit(dataset: str) -> str | None:
    """Return the commit at which a dataset of the hub stands now; None if that is not known."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info("/".join(dataset.split("/")[:2]), timeout=30).sha
    except Exception:  # the clients share no parent; whoever reads the dataset gets the reason
        return None


def _hub_rows(dataset: str) -> Iterator[dict[str, Any]]:
    import datasets
    from huggingface_hub import HfApi

    parts = dataset.split("/")
    name, file = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        HfApi().dataset_info(name, timeout=30)  # fails at once where `datasets` would try again
        chosen = {"data_files": {"train": file}} if file else {}
        splits = datasets.load_dataset(name, streaming=True, **chosen)
        for split in ["train"] if "train" in splits else sorted(splits):
            yield from splits[split]
    except Exception as error:  # the hub's clients share no parent for "cannot be reached"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise SourceError(
            f"corpus: {dataset!r} is no local file, and as a Hugging Face dataset it could not be "
            f"read ({reason}); check the name and the network, fetch it beforehand with `lookups "
            "download`, or name a local file"
        ) from None
