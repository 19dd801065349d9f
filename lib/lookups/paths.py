"""Where things lie on disk, and files that are written whole or not at all; used by all rooms.

A place never follows from the working directory. Content goes into a hidden file beside the final
one, which takes its name only when all is written: a kill or a full disk leaves what was there.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lookups.errors import not_written

PROJECT = Path(__file__).resolve().parents[2]  # the checkout: the package is installed editable
EMBEDDED = PROJECT / "lib" / "lookups" / "embedded"  # the models that ship with the package

Room = Literal["data", "models", "artifacts"]


def folder(room: Room, configured: Path | None = None) -> Path:
    """Return the folder of a room; `LOOKUPS_DATA`, `LOOKUPS_MODELS`, `LOOKUPS_ARTIFACTS` win."""
    place = os.environ.get(f"LOOKUPS_{room.upper()}") or configured or PROJECT / room
    return Path(place).expanduser().resolve()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end of the block takes the place of `path`.
    LookupsError if the disk is full, or the folder cannot be written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        if aside.exists():
            aside.unlink()


def write_whole(path: Path, content: str | bytes) -> bool:
    """Write text (as UTF-8) or bytes to a file, whole or not at all; False if it holds it."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    with replacing(path) as aside:
        aside.write_bytes(data)
    return True


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, read again only when its size or time has changed."""
    stat = path.stat()
    return _known_digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _known_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
