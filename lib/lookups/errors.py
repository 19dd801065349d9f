"""The errors a reader can meet; a kind of its own only where something tells it apart."""

from collections.abc import Iterator
from contextlib import contextmanager


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
def in_words(what: str, advice: str) -> Iterator[None]:
    """Turn what others raise for a missing or damaged file, errors of any kind, into words."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise SourceError(f"{what} cannot be read ({reason}); {advice}") from error
