"""What a run was made with: the commit and files of its model and corpora, in a lock beside it.

`mine.yml` has its lock in `mine.lock.json`, and every downloaded folder says in `download.json`
what lies in it. `revision: main` thereby stays what it was at the first download. Nothing is
fetched here (`lookups.run.download` writes locks). Chapter 1 shows the revision.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lookups.errors import DownloadError, LookupsError, RunError, StorageError

RECORD = "download.json"


class Closed(BaseModel):
    """The parent of all parts of a lock: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LockedFile(Closed):
    """One file, as it was when it was fetched and verified."""

    size: int
    """Bytes."""
    sha256: str
    blob: str | None = None
    """Git's digest, where the origin states no other."""


class Locked(Closed):
    """One model, corpus or record at one commit."""

    name: str
    asked: str
    """The revision as the run file gives it: a branch, tag or commit."""
    commit: str
    files: dict[str, LockedFile]

    @property
    def digest(self) -> str:
        """Sha256 over the names and checksums of all files."""
        lines = [f"{path} {file.sha256}" for path, file in sorted(self.files.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def names(self, revision: str) -> bool:
        """Whether a run file that asks for `revision` means this commit."""
        return revision in (self.asked, self.commit) or (
            len(revision) >= 7 and self.commit.startswith(revision)
        )


class Lock(Closed):
    """What one run is bound to; empty until its first download."""

    model: Locked | None = None
    corpora: dict[str, Locked] = {}


def lock_path(run_file: Path) -> Path:
    """Return where the lock of a run file lies, or would lie."""
    return run_file.with_suffix(".lock.json")


def read_lock(run_file: Path) -> Lock:
    """Read the lock of a run; an empty one if there is none.

    Raises:
        RunError: it is not a lock as `lookups download` writes it.
    """
    return _read(lock_path(run_file), Lock, RunError) or Lock()


def write_lock(run_file: Path, lock: Lock) -> None:
    """Write the lock of a run, whole or not at all.

    Raises:
        StorageError: the folder of the run file cannot be written.
    """
    content = lock.model_dump(exclude_none=True)
    for about in [content.get("model"), *content["corpora"].values()]:
        if about is not None:
            about["digest"] = Locked(**about).digest
    _write(lock_path(run_file), content)


def locked_revision(run_file: Path, name: str, asked: str) -> str:
    """Return the commit that a run's model is locked to; `asked` itself where it has no lock.

    Raises:
        RunError: the run file asks for another revision than the lock holds.
    """
    model = read_lock(run_file).model
    if model is None or model.name != name:
        return asked
    if not model.names(asked):
        raise RunError(
            f"{run_file.name} asks for revision {asked} of {name}, but {lock_path(run_file).name} "
            f"holds {model.commit[:12]}; delete that lock, or ask for the locked revision"
        )
    return model.commit


def read_record(folder: Path) -> Locked | None:
    """Return what a folder says of its download; None for a folder of one's own.

    Raises:
        DownloadError: the record cannot be read.
    """
    return _read(folder / RECORD, Locked, DownloadError)


def write_record(folder: Path, about: Locked) -> None:
    """Write into a folder what lies in it.

    Raises:
        StorageError: the folder cannot be written.
    """
    _write(folder / RECORD, about.model_dump(exclude_none=True))


def _read(path: Path, kind: type[Closed], wrong: type[LookupsError]) -> Any:
    try:
        content = json.loads(path.read_text("utf-8"))
        for about in [content.get("model"), *content.get("corpora", {}).values()]:
            if about is not None and about.pop("digest") != Locked(**about).digest:
                raise ValueError("a digest in it is not that of its files")
        return kind(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, ValidationError, AttributeError, TypeError, KeyError) as error:
        raise wrong(
            f"{path} cannot be read ({str(error).splitlines()[0][:100]}); delete it and give the "
            "command `lookups download` with the run again"
        ) from None


def _write(path: Path, content: dict[str, Any]) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}); free some space, or copy the "
            "run file to a folder that can be written"
        ) from error
