"""The errors a reader can meet; a kind of its own only where something tells it apart."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LookupsError(Exception):
    """The parent of all errors raised on purpose; its text says what is wrong, and what to do."""


class RunError(LookupsError):
    """A run file is missing, or a key or value in it is wrong or more than the model has."""


class SourceError(LookupsError):
    """A model, a corpus or a record is missing, out of reach, incomplete or of another kind."""


class MissingStage(LookupsError):
    """A stage that a chapter needs has not been made; the text names the chapter that makes it."""


class StaleStage(LookupsError):
    """A stage was made from parents or settings that have changed; the text names the chapter."""


class ChapterError(LookupsError):
    """A chapter stopped before its end; the text says in which cell, why, and where to look."""


class ServerError(LookupsError):
    """A language model's server is unreachable, lacks a key or model, or keeps failing."""


@contextmanager
def in_words(
    what: str, advice: str, *, into: Path | None = None, done: str = "read"
) -> Iterator[None]:
    """Turn what others raise for a missing or damaged file, errors of any kind, into words; where
    it is fetched `into` a folder, those of the disk into words about that."""
    try:
        yield
    except LookupsError:
        raise
    except Exception as error:
        of_disk = isinstance(error, OSError) and (error.errno == errno.ENOSPC or error.filename)
        if into and of_disk:
            raise not_written(into, error) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        done = "fetched" if into else done
        raise SourceError(f"{what} cannot be {done} ({reason}); {advice}") from error


def not_written(path: Path, error: OSError) -> LookupsError:
    """Return the sentence for a file or folder that cannot be written."""
    why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return LookupsError(
        f"{path} cannot be written ({why}); make room there, or choose another folder with "
        "LOOKUPS_MODELS, LOOKUPS_DATA or LOOKUPS_ARTIFACTS; what was there before is untouched"
    )
