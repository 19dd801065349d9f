"""Everything that a run needs from elsewhere, fetched beforehand, and bound to what it was.

`plan_run` and `plan_published` only ask what there is; `carry_out` fetches. A folder is filled in
`<folder>.partial` and gets its name when every file in it is verified, so a model that can be found
is whole. What came is written into the run's lock. `lookups.run.fetching` fetches one file,
`run.hub` and `run.github` list them, `run.plans` shows the plan. Used before chapter 1.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lookups import paths
from lookups.errors import DownloadError, StorageError
from lookups.run import github, hub
from lookups.run.fetching import Connection, Patience, RemoteFile, fetch, sha256_of
from lookups.run.needs import needs_of, why_not_fetched
from lookups.run.plans import Kind, Part, Plan, check_space, verified
from lookups.run.run_lock import (
    RECORD,
    Lock,
    Locked,
    LockedFile,
    lock_path,
    read_lock,
    read_record,
    write_lock,
    write_record,
)
from lookups.settings import content_of, path_of, read_run

Say = Callable[[str], None]


def plan_run(
    run: str | Path, *, patience: Patience | None = None, say: Say | None = None
) -> tuple[Plan, ...]:
    """Find what a run needs, and the run on permuted weights that it is held against.

    Raises:
        RunError: there is no such run, or its file or lock is wrong.
        DownloadError: the hub cannot be asked, refuses, or has changed since the run was locked.
    """
    settings = read_run(run)
    runs = [path_of(run)] + ([path_of(settings.permuted)] if settings.permuted else [])
    with ExitStack() as stack:
        ask = None if _offline() else stack.enter_context(hub.hub(patience=patience, say=say))
        return tuple(_plan_of(run_file, ask) for run_file in runs)


def plan_published(
    model: str | None = None,
    *,
    data: Path | None = None,
    patience: Patience | None = None,
    say: Say | None = None,
    **addresses: str,
) -> Plan:
    """Find the authors' record, for one model of theirs or all; `data` is the data folder.

    Raises:
        DownloadError: it cannot be listed, or holds nothing of that model.
    """
    with github.github(patience=patience, say=say) as ask:
        listing = github.published_listing(ask, model, **addresses)
    place = (data or paths.folder("data")) / "published"
    _check_folder("record", place, listing)
    return Plan(None, (_part("record", listing, github.RECORD_COMMIT, place),))


def carry_out(plan: Plan, *, patience: Patience | None = None, say: Say | None = None) -> None:
    """Fetch what is missing, verify all, and bind the run to it.

    Raises:
        DownloadError: a file cannot be had whole; what has come is kept for the next call.
        StorageError: the disk is too small or full, or a folder cannot be written.
    """
    check_space(plan)
    came = {}
    for part in plan.parts:
        connect = github.github if part.kind == "record" else hub.hub
        with connect(patience=patience, say=say) as connection:
            came[part.kind, part.name] = _fill(part, connection)
    if plan.run_file is not None and came:
        lock = read_lock(plan.run_file)
        model = [locked for (kind, _), locked in came.items() if kind == "model"]
        corpora = {name: locked for (kind, name), locked in came.items() if kind == "corpus"}
        lock = Lock(model=(model or [lock.model])[0], corpora=lock.corpora | corpora)
        write_lock(plan.run_file, lock)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


def _plan_of(run_file: Path, ask: Connection | None) -> Plan:
    settings, lock = read_run(run_file), read_lock(run_file)
    revision = (content_of(run_file).get("model") or {}).get("revision", "main")
    parts, notes = [], []
    for need in needs_of(settings, lock):
        kind, name, folder, locked, _ = need
        asked = revision if kind == "model" else "main"
        if own := why_not_fetched(need):
            notes.append(own)
        elif ask is None:
            parts.append(_whole_part(kind, name, folder, locked or read_record(folder)))
        else:
            bound = [lock_path(run_file)] * (locked is not None) + [folder] * folder.exists()
            listing = _bound(ask, kind, name, asked, locked or _named(folder, asked), bound)
            if need.files:
                listing = hub.named_files(listing, need.files)
            elif kind == "corpus":
                listing = hub.train_files(listing, 2 * settings.corpus.documents)
            _check_folder(kind, folder, listing)
            parts.append(_part(kind, listing, locked.asked if locked else asked, folder))
    return Plan(run_file, tuple(parts), tuple(notes))


def _named(folder: Path, asked: str) -> Locked | None:
    """Return what another run has put into a folder, if it is what this one asks for."""
    record = read_record(folder)
    return record if record is not None and record.names(asked) else None


def _bound(
    ask: Connection, kind: Kind, name: str, asked: str, known: Locked | None, by: list[Path]
) -> hub.Listing:
    """List a model or corpus at the commit it is bound to, after a look at what is there now.

    `by` are the files and folders that bind it. A new commit that leaves the files that are read
    as they are is no change.
    """
    listed = hub.model_listing if kind == "model" else hub.corpus_listing
    listing = listed(ask, name, asked)
    if known is None or listing.commit == known.commit:
        return listing
    now = {file.path: file for file in listing.files}
    changed = {path for path, then in known.files.items() if not _same(then, now.get(path))}
    if kind == "model":
        changed |= now.keys() - known.files.keys()
    if changed:
        raise DownloadError(
            f"{name} has changed since it was downloaded ({', '.join(sorted(changed))}; {asked} "
            f"was {known.commit[:12]} and is {listing.commit[:12]}): to accept that delete "
            f"{' and '.join(map(str, by))}"
            + (f"; or write `revision: {known.commit}`" if kind == "model" else "")
        )
    return listed(ask, name, known.commit)


def _same(then: LockedFile, now: RemoteFile | None) -> bool:
    if now is None or now.size != then.size:
        return False
    return now.sha256 == then.sha256 if now.sha256 else now.blob == then.blob


def _check_folder(kind: Kind, folder: Path, listing: hub.Listing) -> None:
    """Refuse to overwrite what another run may be bound to."""
    record = read_record(folder)
    held = "files of your own" if record is None else f"{record.name} at {record.commit[:12]}"
    if folder.exists() and (record is None or record.commit != listing.commit):
        room = "LOOKUPS_MODELS" if kind == "model" else "LOOKUPS_DATA"
        raise DownloadError(
            f"{folder} holds {held}, and {listing.name} at {listing.commit[:12]} is wanted; move "
            f"or delete that folder, or choose another with {room}"
        )


def _part(kind: Kind, listing: hub.Listing, asked: str, folder: Path) -> Part:
    part = Part(kind, listing.name, asked, listing.commit, folder, listing.files, frozenset())
    place = folder if folder.exists() else part.staging
    return part._replace(here=verified(place, listing.files))


def _whole_part(kind: Kind, name: str, folder: Path, known: Locked | None) -> Part:
    """Return a part that is whole already, without a network."""
    if known is not None:
        files = tuple(
            RemoteFile(path, "", f"the {kind} {name}", file.size, file.sha256, file.blob)
            for path, file in known.files.items()
        )
        here = verified(folder, files)
        part = Part(kind, name, known.asked, known.commit, folder, files, here)
        if part.whole:
            return part
    raise DownloadError(
        f"the {kind} {name} is not whole in {folder}, and HF_HUB_OFFLINE is set; unset it and "
        "give the same command again"
    )


def _fill(part: Part, connection: Connection) -> Locked:
    """Bring one folder to the state of its listing; it is out of sight while it is not whole."""
    record = read_record(part.folder) or read_record(part.staging)
    place = part.folder if part.whole and record is not None else part.staging
    if place == part.staging:
        try:
            if part.folder.exists():
                shutil.rmtree(part.staging, ignore_errors=True)
                part.folder.rename(part.staging)
            part.staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{part.folder} cannot be written ({error.strerror}); choose another folder with "
                "LOOKUPS_MODELS and LOOKUPS_DATA"
            ) from error
        for file in part.files:
            if file.path not in part.here:
                connection.say(f"fetching {file.path} of {file.origin}")
                fetch(file, part.staging / file.path, connection)
    files = {file.path: _locked_file(place / file.path, file) for file in part.files}
    came = Locked(name=part.name, asked=part.asked, commit=part.commit, files=files)
    if place == part.staging:
        _finish(part, came, record)
    return came


def _locked_file(path: Path, file: RemoteFile) -> LockedFile:
    return LockedFile(size=file.size, sha256=file.sha256 or sha256_of(path), blob=file.blob)


def _finish(part: Part, came: Locked, record: Locked | None) -> None:
    """Remove what does not belong to the commit, note what there is, and give the folder its name.

    Files of the same commit that another call wanted stay.
    """
    others = record.files if record is not None and record.commit == came.commit else {}
    kept = {path: file for path, file in others.items() if (part.staging / path).is_file()}
    kept |= came.files
    for path in sorted(part.staging.rglob("*")):
        inside = path.relative_to(part.staging).as_posix()
        if path.is_file() and inside not in kept and inside != RECORD:
            path.unlink()
    write_record(part.staging, came.model_copy(update={"files": kept}))
    os.replace(part.staging, part.folder)
