"""One file from a server that may fail: resumed, verified, and whole or not there at all.

Bytes go into `<name>.partial`, which a later call continues; the file gets its own name only when
its size and checksum are those that its origin states. What to fetch is for `run.hub` to say.
Used by `lookups download`; no chapter fetches anything.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from lookups.errors import DownloadError, StorageError

LONGEST_WAIT = 60.0
"""Seconds between two attempts, whatever a server asks for."""


class RemoteFile(NamedTuple):
    """A file as its origin states it."""

    path: str
    """Inside the folder it belongs to, with / between the parts."""
    url: str
    origin: str
    """For sentences: 'the model openai-community/gpt2'."""
    size: int
    """Bytes."""
    sha256: str | None
    blob: str | None
    """Git's own digest of a file (sha1 over a header and the content), where no sha256 is stated.
    """


class Patience(NamedTuple):
    """How long a server is waited for, and how often it is asked again."""

    timeout: float = 30.0
    """Seconds without a byte."""
    retries: int = 4
    """Failures in a row, none of which brought new bytes, after the first."""
    wait: float = 1.0
    """Seconds before the second attempt; doubled after each failure."""


class Trouble(NamedTuple):
    """Why an attempt failed that may succeed when it is repeated."""

    why: str
    wait: float = 0.0
    """Seconds that the server asked for."""


class Connection:
    """An HTTP client that asks again; the token goes to the origin alone, never with a redirect.

    `denied` is the rest of the sentence when the server refuses access: what to do about it.
    """

    def __init__(
        self,
        patience: Patience | None = None,
        *,
        token: str | None = None,
        denied: str = "it may not be read from here",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.patience = patience or Patience()
        self.say = say
        self._denied = denied
        headers = {"accept-encoding": "identity", "user-agent": "lookups"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            follow_redirects=True, timeout=self.patience.timeout, headers=headers
        )

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def json(self, url: str, origin: str) -> Any:
        """Return the JSON that an address answers with.

        Raises:
            DownloadError: access is refused, there is nothing there, or it keeps failing.
        """
        for attempt in range(self.patience.retries + 1):
            try:
                reply = self._client.get(url)
                trouble = self._judge(reply, origin)
                if trouble is None:
                    return reply.json()
            except httpx.RequestError as error:
                trouble = Trouble(_words(error))
            except ValueError:
                trouble = Trouble("its answer is no JSON")
            if attempt < self.patience.retries:
                self._pause(trouble, attempt, origin)
        raise self._given_up(origin, trouble)

    def complete(self, file: RemoteFile, partial: Path) -> None:
        """Fetch what `partial` lacks of the file; its content is not judged here.

        Raises:
            DownloadError: access is refused, there is nothing there, or it keeps failing.
            StorageError: the disk is full, or the folder cannot be written.
        """
        most = failures = 0
        while (held := _size(partial)) != file.size or not partial.exists():
            try:
                trouble = self._attempt(file, partial, held if held < file.size else 0)
            except OSError as error:
                raise _storage(partial, error) from error
            if trouble is None:
                continue
            held = _size(partial)
            failures, most = (0 if held > most else failures + 1), max(most, held)
            what = f"{file.path} of {file.origin}"
            if failures > self.patience.retries:
                raise self._given_up(what, trouble, f"; {held:,} of {file.size:,} bytes are kept")
            self._pause(trouble, failures, what)

    def _attempt(self, file: RemoteFile, partial: Path, start: int) -> Trouble | None:
        """Ask once, from byte `start` on; a server that ignores this sends all, and we do too."""
        asked = {"range": f"bytes={start}-"} if start else {}
        try:
            with self._client.stream("GET", file.url, headers=asked) as reply:
                if reply.status_code == 416:
                    partial.unlink(missing_ok=True)
                    return Trouble("it has no such part of the file")
                if trouble := self._judge(reply, f"{file.path} of {file.origin}"):
                    return trouble
                continued = reply.headers.get("content-range", "").startswith(f"bytes {start}-")
                if reply.status_code == 206 and not continued:
                    return Trouble("it sent another part of the file than was asked for")
                start = start if reply.status_code == 206 else 0
                with partial.open("r+b" if start else "wb") as out:
                    out.seek(start)
                    for chunk in reply.iter_raw():
                        out.write(chunk[: file.size - out.tell()])  # the checksum judges
                        if out.tell() == file.size:
                            break
        except httpx.RequestError as error:
            return Trouble(_words(error))
        return None if _size(partial) == file.size else Trouble("it sent less than the whole file")

    def _judge(self, reply: httpx.Response, what: str) -> Trouble | None:
        """Return trouble that may pass; None if the reply can be read."""
        code, host = reply.status_code, reply.url.host
        if reply.is_success:
            return None
        if code in (408, 429) or code >= 500:
            asked = reply.headers.get("retry-after", "")
            return Trouble(f"HTTP {code}", float(asked) if asked.isdigit() else 0.0)
        if code in (401, 403):
            raise DownloadError(f"{host} does not give {what} (HTTP {code}): {self._denied}")
        if code == 404:
            raise DownloadError(f"{host} has not {what} (HTTP 404); check its name and revision")
        raise DownloadError(f"{host} does not give {what} (HTTP {code}); check its name")

    def _pause(self, trouble: Trouble, failures: int, what: str) -> None:
        self.say(f"{what}: {trouble.why}; asking again")
        time.sleep(min(max(self.patience.wait * 2**failures, trouble.wait), LONGEST_WAIT))

    def _given_up(self, what: str, trouble: Trouble, kept: str = "") -> DownloadError:
        return DownloadError(
            f"{what} could not be fetched in {self.patience.retries + 1} attempts ({trouble.why})"
            f"{kept}; check the network and give the same command again"
        )


def fetch(file: RemoteFile, target: Path, connection: Connection) -> None:
    """Put a file at `target`, verified; what an earlier call left of it is continued.

    Raises:
        DownloadError: it cannot be had, or what comes is not what the origin states.
        StorageError: the disk is full, or the folder cannot be written.
    """
    if target.is_file() and fault(target, file) is None:
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _storage(partial, error) from error
    for _ in range(2):  # what was continued may have been the beginning of another version
        connection.complete(file, partial)
        wrong = fault(partial, file)
        if wrong is None:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(partial, target)
            return
        partial.unlink()
        connection.say(f"{file.path} of {file.origin}: {wrong}; fetching it anew")
    raise DownloadError(
        f"{file.path} of {file.origin} came twice with {wrong}; nothing of it was kept: "
        "try later, or from another network"
    )


def fault(path: Path, file: RemoteFile) -> str | None:
    """Return in what way a file on disk is not the one stated; None if it is."""
    if _size(path) != file.size:
        return f"{_size(path):,} bytes where {file.size:,} are stated"
    found = sha256_of(path) if file.sha256 else blob_of(path)
    stated = file.sha256 or file.blob
    return None if found == stated else f"the checksum {found[:12]} where {stated[:12]} is stated"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def blob_of(path: Path) -> str:
    """Return git's digest of a file: sha1 over "blob <size>", a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _words(error: httpx.RequestError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return "it cannot be reached"
    return "the connection was lost"


def _storage(path: Path, error: OSError) -> StorageError:
    why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return StorageError(
        f"{path.name} cannot be written to {path.parent} ({why}); make room there, or choose "
        "another folder with LOOKUPS_MODELS and LOOKUPS_DATA; what has come is kept"
    )
