"""What would be fetched, how large it is and what of it is there: shown before a byte moves.

A plan has a part for each folder to be filled. Nothing is fetched or asked here
(`lookups.run.download` makes plans and carries them out). No chapter reads this.
"""

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

from lookups.errors import StorageError
from lookups.run.fetching import RemoteFile, fault

Kind = Literal["model", "corpus", "record"]

FREELY = 1_000_000_000
"""Bytes that are fetched without being asked for twice."""


class Part(NamedTuple):
    """One folder to be filled."""

    kind: Kind
    name: str
    asked: str
    """The revision as the run file gives it."""
    commit: str
    folder: Path
    files: tuple[RemoteFile, ...]
    here: frozenset[str]
    """Paths of the files that are on disk, whole and verified."""

    @property
    def staging(self) -> Path:
        """Where the folder is built."""
        return self.folder.with_name(f"{self.folder.name}.partial")

    @property
    def whole(self) -> bool:
        """Whether all files are on disk and in their place."""
        return self.folder.is_dir() and len(self.here) == len(self.files)

    def bytes_left(self, file: RemoteFile) -> int:
        """Bytes of a file still to come; what an earlier call left counts as there."""
        if file.path in self.here:
            return 0
        begun = self.staging / f"{file.path}.partial"
        return max(file.size - (begun.stat().st_size if begun.is_file() else 0), 0)


class Plan(NamedTuple):
    """What would be fetched for a run, or of the record."""

    run_file: Path | None
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    """A sentence for everything that need not be fetched."""

    @property
    def bytes_left(self) -> int:
        """Bytes still to come."""
        return sum(part.bytes_left(file) for part in self.parts for file in part.files)


def verified(folder: Path, files: tuple[RemoteFile, ...]) -> frozenset[str]:
    """Return the paths of the files that lie in a folder as their origin states them."""
    return frozenset(file.path for file in files if fault(folder / file.path, file) is None)


def table(plan: Plan) -> str:
    """Return a plan as text: a line a file with its size and state, the sum, and the free disk."""
    lines = list(plan.notes)
    for part in plan.parts:
        lines.append(f"{part.kind} {part.name} at {part.commit[:12]}, into {part.folder}")
        width = max(len(file.path) for file in part.files)
        for file in part.files:
            left = part.bytes_left(file)
            begun = f"{as_size(left)} to fetch" if left < file.size else "to fetch"
            state = "here" if file.path in part.here else begun
            lines.append(f"  {file.path:{width}}  {as_size(file.size):>9}  {state}")
    for place, need in _needs(plan).items():
        free = shutil.disk_usage(place).free
        lines.append(f"to fetch: {as_size(need)}; free on that disk: {as_size(free)}")
    return "\n".join(lines)


def check_space(plan: Plan) -> None:
    """Refuse before the first byte what a disk cannot take.

    Raises:
        StorageError: naming what is needed and what is free.
    """
    for place, need in _needs(plan).items():
        if need > (free := shutil.disk_usage(place).free):
            raise StorageError(
                f"{as_size(need)} are to be fetched into {place}, and {as_size(free)} are free "
                "there; make room, or choose another folder with LOOKUPS_MODELS and LOOKUPS_DATA"
            )


def as_size(size: int) -> str:
    """Return bytes as people write them."""
    for unit, worth in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= worth:
            return f"{size / worth:.1f} {unit}"
    return f"{size} B"


def _needs(plan: Plan) -> dict[Path, int]:
    """Return the bytes that each disk has to take, by a folder on it."""
    disks: dict[int, tuple[Path, int]] = {}
    for part in plan.parts:
        place = next(folder for folder in part.folder.parents if folder.is_dir())
        left = sum(part.bytes_left(file) for file in part.files)
        known, need = disks.get(place.stat().st_dev, (place, 0))
        disks[place.stat().st_dev] = known, need + left
    return dict(disks.values())
