"""Documents as columns of numbers: in memory while they are few, in files when they are many.

Columns are read one document at a time, so that a corpus of millions costs no more memory than one
of thousands. A corpus that outgrows `IN_MEMORY` is written into a folder of its own, which gets its
name when everything is on disk: under that name it is always whole, and later chapters read it
from there. Which documents a column holds is `lookups.packing`'s affair.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from lookups.errors import StorageError

IN_MEMORY = 2**22
"""Bytes, about, beyond which documents are written to files."""

AT_ONCE = 2**16
"""Entries of a column that are written, or read one after another, together."""

BLOCK = 512
"""Entries of a column that are read when one of them is asked for."""

OLD = 24 * 3600
"""Seconds after which an unfinished folder is taken for one that a killed process left."""

ENTRIES = {"ids": "<i4", "stops": "<i8", "lines": "<i8", "numbers": "<i8", "ends": "<i8"}
"""Columns of numbers: `ends` says where each document's source ends in `sources`."""


class Row(NamedTuple):
    """One document to be written."""

    ids: Int32[np.ndarray, " pos"]
    source: str
    line: int
    number: int


class Packed(NamedTuple):
    """Documents as flat columns: document i is `ids[stops[i - 1] : stops[i]]`."""

    ids: Any
    stops: Any
    sources: Any
    lines: Any
    n_cut: int = 0
    n_shared: int = 0
    """Test texts that were left out because the train split holds them."""
    numbers: Any = None
    """The number in each document's key; None where they count from 0 without a gap."""


class Column:
    """A column of numbers in a file: an entry or a slice of it is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._type = np.dtype(ENTRIES[path.name])
        self._size = os.fstat(self._file.fileno()).st_size // self._type.itemsize
        self._block: tuple[int, list[int]] = (0, [])

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            start, stop, _ = place.indices(self._size)
            return self._read(start, max(0, stop - start))
        start, block = self._block
        if not start <= place < start + len(block):
            start = place - place % BLOCK
            block = self._read(start, BLOCK).tolist()
            self._block = (start, block)  # neighbours are asked for next, as a rule
        return block[place - start]

    def _read(self, start: int, entries: int) -> np.ndarray:
        size = self._type.itemsize
        content = os.pread(self._file.fileno(), entries * size, start * size)
        return np.frombuffer(content, self._type)


class Names:
    """A column of short texts in a file."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "sources").open("rb", buffering=0)
        self._ends = Column(folder / "ends")

    def __getitem__(self, place: int) -> str:
        start = self._ends[place - 1] if place else 0
        return os.pread(self._file.fileno(), self._ends[place] - start, start).decode()


def pieces(column: Any) -> Iterator[np.ndarray]:
    """Yield a column, of either kind, in arrays of a bounded size."""
    for start in range(0, len(column), AT_ONCE):
        yield column[start : start + AT_ONCE]


@dataclass
class Tally:
    """What packing counts on the way."""

    n_cut: int = 0
    n_shared: int = 0


def keep(rows: Iterable[Row], tally: Tally, folder: Path) -> Packed:
    """Return rows as columns, in memory or, beyond `IN_MEMORY`, in `folder`; rows count in `tally`.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    rows = iter(rows)
    first: list[Row] = []
    held = 0
    for row in rows:
        first.append(row)
        held += row.ids.nbytes + 200  # what a row costs beside its ids
        if held > IN_MEMORY:
            break
    else:
        return in_memory(first, tally)
    try:
        return _written(first, rows, tally, folder)
    except OSError as error:
        raise StorageError(
            f"the corpus's tokens cannot be written to {folder.parent} "
            f"({error.strerror or error}); free some space or set LOOKUPS_DATA to another folder"
        ) from error


def in_memory(rows: list[Row], tally: Tally) -> Packed:
    """Return rows as columns in memory."""
    ids = np.concatenate([row.ids for row in rows]) if rows else np.zeros(0, np.int32)
    ids.flags.writeable = False
    gapless = not rows or rows[-1].number == len(rows) - 1
    return Packed(
        ids,
        np.cumsum([len(row.ids) for row in rows], dtype=np.int64),
        [row.source for row in rows],
        [row.line for row in rows],
        tally.n_cut,
        tally.n_shared,
        None if gapless else [row.number for row in rows],
    )


def whole(folder: Path) -> Packed | None:
    """Return the columns in a folder; None where it is not there or a file is not as it was."""
    try:
        about = json.loads((folder / "about.json").read_text("utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in (*ENTRIES, "sources")}
        if sizes != about["bytes"]:
            return None
        columns = {name: Column(folder / name) for name in ENTRIES if name != "ends"}
        numbers = columns["numbers"]
        if numbers[len(numbers) - 1] == len(numbers) - 1:
            columns["numbers"] = None
        return Packed(**columns, sources=Names(folder), **about["counts"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _written(first: list[Row], rest: Iterator[Row], tally: Tally, folder: Path) -> Packed:
    """Write beside the folder, then rename: a folder of that name is always a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".*-*"):
        if left.stat().st_mtime < time.time() - OLD:
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _write_columns(first, rest, scratch)
        counts = {"n_cut": tally.n_cut, "n_shared": tally.n_shared}
        sizes = {file.name: file.stat().st_size for file in scratch.iterdir()}
        (scratch / "about.json").write_text(json.dumps({"counts": counts, "bytes": sizes}) + "\n")
        for file in scratch.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if whole(folder) is None:  # else another process was here first
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    packed = whole(folder)
    if packed is None:
        raise OSError("what was written cannot be read again")
    return packed


def _write_columns(first: list[Row], rest: Iterator[Row], folder: Path) -> None:
    files = {name: (folder / name).open("wb") for name in (*ENTRIES, "sources")}
    stop = end = 0
    some = first
    try:
        while some:
            sources = [row.source.encode() for row in some]
            stops = stop + np.cumsum([len(row.ids) for row in some])
            ends = end + np.cumsum([len(source) for source in sources])
            stop, end = int(stops[-1]), int(ends[-1])
            columns = {
                "ids": np.concatenate([row.ids for row in some]),
                "stops": stops,
                "lines": [row.line for row in some],
                "numbers": [row.number for row in some],
                "ends": ends,
            }
            for name, column in columns.items():
                files[name].write(np.asarray(column).astype(ENTRIES[name]).tobytes())
            files["sources"].write(b"".join(sources))
            some = _next(rest)
    finally:
        for file in files.values():
            file.close()


def _next(rows: Iterator[Row]) -> list[Row]:
    """Take rows until they hold a quarter of what may be held."""
    some: list[Row] = []
    held = 0
    for row in rows:
        some.append(row)
        held += row.ids.nbytes + 200
        if held > IN_MEMORY // 4:
            break
    return some
