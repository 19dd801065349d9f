"""Replies of a language model, each kept under the digest of its request as soon as it is there.

One SQLite file. A reply is one transaction, so that a kill at any moment leaves whole replies and
no others, and the next run asks only for the rest. Neither the server's address nor a key is part
of a request. Nothing is sent here.
"""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import StorageError

Messages = list[dict[str, str]]

SCHEMA = 1


class Request(NamedTuple):
    """What a reply depends on, and all of it."""

    model: str
    messages: Messages
    settings: dict[str, Any]
    """Temperature, seed, the longest reply and the like: the rest of the request's body."""

    @property
    def digest(self) -> str:
        """Sixty-four digits that stand for exactly this request, whatever the order of keys."""
        return hashlib.sha256(_as_json(self._asdict()).encode()).hexdigest()


class Reply(NamedTuple):
    """What came back."""

    text: str
    """Empty where nothing was said."""
    finish: str = ""
    """Why it ended, in the server's word: stop, length, content_filter."""
    refusal: str = ""
    """Why the model would not answer, where the server keeps that apart from the text."""
    first: dict[str, float] | None = None
    """Candidates for the first token and their log-probabilities; None where not given."""
    prompt_tokens: int | None = None
    """As the server counted them."""
    reply_tokens: int | None = None


class Replies:
    """The store: opened at once, closed by `close` or at the end of a `with`.

    Raises:
        StorageError: the file cannot be opened or written, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: every statement is a transaction. A loop in another thread writes while
            # the thread that opened the store waits, so the two never meet.
            self._file = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{path} cannot be opened ({error}); choose a folder that can be written"
            ) from None
        try:
            self._prepare()
        except BaseException:
            self._file.close()
            raise

    def find(self, request: Request) -> Reply | None:
        """Return the reply to a request; None if it has not been answered."""
        query = "SELECT reply FROM replies WHERE digest = ?"
        row = self._run(query, request.digest).fetchone()
        return None if row is None else Reply(**json.loads(row[0]))

    def keep(self, request: Request, reply: Reply) -> None:
        """Write a reply to disk before returning; the first reply to a request is the one kept."""
        self._run(
            "INSERT OR IGNORE INTO replies VALUES (?, ?, ?)",
            request.digest,
            _as_json(request._asdict()),
            _as_json(reply._asdict()),
        )

    def __contains__(self, request: Request) -> bool:
        return self.find(request) is not None

    def __len__(self) -> int:
        return self._run("SELECT count(*) FROM replies").fetchone()[0]

    def close(self) -> None:
        """Put everything into the one file and let go of it."""
        self._file.close()

    def __enter__(self) -> "Replies":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")  # a reply was paid for: it outlives a power cut
        written = self._run("PRAGMA user_version").fetchone()[0]
        if written not in (0, SCHEMA):
            raise StorageError(
                f"{self.path} was written by another version of this code; move it away to ask anew"
            )
        self._run(
            "CREATE TABLE IF NOT EXISTS replies "
            "(digest TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)"
        )
        self._run(f"PRAGMA user_version = {SCHEMA}")

    def _run(self, statement: str, *values: str) -> sqlite3.Cursor:
        try:
            return self._file.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"{self.path} cannot be read or written ({error}); free some space or close what "
                "else holds it, then run again: the replies in it are kept"
            ) from None
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is no store of replies ({error}); move it away and run again"
            ) from None


def _as_json(value: Any) -> str:
    """The same text for the same content, whatever the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
