"""Texts of one's own, or from the Hugging Face hub, one after another (the `corpus:` of a run).

A `.txt` file holds documents separated by blank lines; `.jsonl` and `.parquet` hold one a row, in
the field `text`; a folder holds any of these. Nothing is held whole: texts are yielded as they are
read. No tokens here (`lookups.documents` makes them).

Half of the documents are held out as the test split, chosen by a hash: of the file's name where a
folder holds several files, else of the text, so that copies of a text stay on one side.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import CorpusError

ENDINGS = (".txt", ".jsonl", ".parquet")


class Text(NamedTuple):
    """One document as written."""

    text: str
    source: str
    """The file, where it is one of several texts files; else the file and the document's number."""
    line: int
    """Where it begins, or its row; counted from 1."""


def half_of(name: str) -> str:
    """Return the split of a name or text."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def local_texts(path: Path, split: str) -> Iterator[Text]:
    """Yield the texts of one split of a file or folder, files in the order of their names.

    Raises:
        CorpusError: there is nothing at `path`, or a file or row of it cannot be read.
    """
    if not path.exists():
        raise CorpusError(
            f"corpus: there is no file or folder {path}; correct `corpus: name:` in the run file"
        )
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in ENDINGS)
        if not files:
            raise CorpusError(
                f"corpus: the folder {path} holds no {', '.join(ENDINGS)} file; put texts there"
            )
    elif path.suffix not in ENDINGS:
        raise CorpusError(
            f"corpus: {path.name} is not one of {', '.join(ENDINGS)}; convert it to one of them"
        )
    several = len(files) > 1
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if several and half_of(name) != split:
            continue
        for number, (line, text) in enumerate(_documents_in(file), start=1):
            if several or half_of(text) == split:
                whole_file = several and file.suffix == ".txt"
                yield Text(text, name if whole_file else f"{name}#{number}", line)


def _documents_in(file: Path) -> Iterator[tuple[int, str]]:
    try:
        if file.suffix == ".parquet":
            yield from _rows_of_parquet(file)
        elif file.suffix == ".jsonl":
            yield from _rows_of_jsonl(file)
        else:
            yield from _blocks_of_text(file)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"corpus: {file.name} is not UTF-8 text ({error.reason} at byte {error.start}); "
            f"save it again as UTF-8"
        ) from None


def _blocks_of_text(file: Path) -> Iterator[tuple[int, str]]:
    block: list[str] = []
    begins = 1
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                if not block:
                    begins = number
                block.append(line.rstrip())
            elif block:
                yield begins, "\n".join(block)
                block = []
    if block:
        yield begins, "\n".join(block)


def _rows_of_jsonl(file: Path) -> Iterator[tuple[int, str]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise CorpusError(
                    f'corpus: line {number} of {file.name} is not a JSON object with a "text"; '
                    f"mend or remove that line"
                )
            yield number, text


def _rows_of_parquet(file: Path) -> Iterator[tuple[int, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid:
        raise CorpusError(
            f"corpus: {file.name} is not a whole parquet file; save it again"
        ) from None
    if "text" not in table.schema_arrow.names:
        raise CorpusError(
            f"corpus: {file.name} has no column 'text', only "
            f"{', '.join(table.schema_arrow.names)}; rename the column that holds the texts"
        )
    number = 0
    for batch in table.iter_batches(batch_size=1000, columns=["text"]):
        for text in batch.column(0).to_pylist():
            number += 1
            if text:
                yield number, text


def hub_texts(dataset: str, split: str, *, field: str = "text") -> Iterator[Text]:
    """Yield the texts of one split of a Hugging Face dataset, read as a stream.

    Only the dataset's own `train` split is read; `split` is our half of it.

    Raises:
        CorpusError: the hub cannot be reached, or has no such dataset with such a field.
    """
    short = dataset.rsplit("/", 1)[-1]
    for number, row in enumerate(_hub_rows(dataset), start=1):
        text = row.get(field)
        if not isinstance(text, str):
            raise CorpusError(
                f"corpus: the dataset {dataset!r} has no text field {field!r}, only "
                f'{", ".join(row)}; save its texts as a .jsonl file with a "text" and name that'
            )
        if text and half_of(text) == split:
            yield Text(text, f"{short}#{number}", number)


def _hub_rows(dataset: str) -> Iterator[dict[str, Any]]:
    import datasets
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(dataset, timeout=30)  # fails at once where `datasets` would try again
        yield from datasets.load_dataset(dataset, split="train", streaming=True)
    except Exception as error:  # the hub's clients share no parent for "cannot be reached"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CorpusError(
            f"corpus: {dataset!r} is no local file, and as a Hugging Face dataset it could not be "
            f"read ({reason}); check the name and the network, or name a local file or 'prose'"
        ) from None
