"""The documents in one file of texts: plain, JSON lines or parquet (the `corpus:` of a run).

A `.txt` file holds documents separated by blank lines; `.jsonl` and `.parquet` hold one a row, in a
field that the run names (`text` unless it says otherwise). `.txt` and `.jsonl` may be compressed
(`.gz`, `.zst`). A file is never held whole, only a document of it. Documents of white space alone
are passed over. Which files a corpus has, and which split a document goes to, is `lookups.texts`'s
affair.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from lookups.errors import CorpusError

ENDINGS = (".txt", ".jsonl", ".parquet")

COMPRESSED = (".gz", ".zst")
"""May follow `.txt` and `.jsonl`."""

ROWS_AT_ONCE = 256
"""Rows of a parquet file that are held together."""


def kind_of(name: str) -> str | None:
    """Return the ending that says how a file is read, compression aside; None for other files."""
    inner = _unpacked(name)
    kind = next((ending for ending in ENDINGS if inner.endswith(ending)), None)
    return None if kind == ".parquet" and inner != name else kind


def bare(name: str) -> str:
    """Return a file's name without the endings that say how it is read; other names as they are."""
    kind = kind_of(name)
    return name if kind is None else _unpacked(name).removesuffix(kind)


def documents_in(file: Path, field: str = "text") -> Iterator[tuple[int, str]]:
    """Yield the documents of a file with the line, or row, at which each begins, counted from 1.

    Raises:
        CorpusError: the file cannot be read, is cut off, is not UTF-8, or has a row without text.
    """
    try:
        kind = kind_of(file.name)
        if kind == ".parquet":
            found = _rows_of_parquet(file, field)
        elif kind == ".jsonl":
            found = _rows_of_jsonl(file, field)
        else:
            found = _blocks_of_text(file)
        yield from (row for row in found if row[1] and not row[1].isspace())
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"corpus: {file.name} is not UTF-8 text ({error.reason}); save it again as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
        remedy = "fetch or compress it again" if _unpacked(file.name) != file.name else "see to it"
        raise CorpusError(f"corpus: {file.name} cannot be read ({reason}); {remedy}") from None


def _unpacked(name: str) -> str:
    ending = next((ending for ending in COMPRESSED if name.endswith(ending)), "")
    return name.removesuffix(ending)


def _lines(file: Path) -> io.TextIOWrapper:
    """Open a text; a byte-order mark at its beginning is no part of it."""
    if file.name.endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig")  # type: ignore[return-value]
    if file.name.endswith(".zst"):
        import pyarrow

        if not file.stat().st_size:
            raise EOFError("an empty file is no compressed one")
        return io.TextIOWrapper(pyarrow.CompressedInputStream(str(file), "zstd"), "utf-8-sig")
    return file.open(encoding="utf-8-sig")


def _blocks_of_text(file: Path) -> Iterator[tuple[int, str]]:
    block: list[str] = []
    begins = 1
    with _lines(file) as lines:
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


def _rows_of_jsonl(file: Path, field: str) -> Iterator[tuple[int, str]]:
    with _lines(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            text = row.get(field) if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise CorpusError(
                    f"corpus: line {number} of {file.name} is not a JSON object with a "
                    f'"{field}"{_but(row)}; mend or remove that line, or name the field that holds '
                    "the texts as `corpus: field:`"
                )
            yield number, _sound(text)


def _but(row: object) -> str:
    """Say what a row holds in place of a text."""
    if not isinstance(row, dict) or not row:
        return ""
    texts = [str(key) for key, value in row.items() if isinstance(value, str)]
    return f" that is a text, only {', '.join(texts)}" if texts else " that is a text"


def _sound(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), which no tokenizer reads: mark it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def _rows_of_parquet(file: Path, field: str) -> Iterator[tuple[int, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if field not in names:
                raise CorpusError(
                    f"corpus: {file.name} has no column {field!r}, only {', '.join(names)}; "
                    "name the column that holds the texts as `corpus: field:`"
                )
            number = 0
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=[field]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    if text is not None and not isinstance(text, str):
                        raise CorpusError(
                            f"corpus: row {number} of {file.name} holds no text in {field!r} but "
                            f"{type(text).__name__}; name the column that holds the texts as "
                            "`corpus: field:`"
                        )
                    yield number, text or ""
    except pyarrow.ArrowInvalid:
        raise CorpusError(
            f"corpus: {file.name} is not a whole parquet file; fetch or save it again"
        ) from None
