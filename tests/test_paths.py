"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from lookups.errors import LookupsError
from lookups.paths import digest_of, replacing, write_whole

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_is_written_and_replaced_with_the_folders_it_needs(tmp_path: Path):
    path = tmp_path / "a" / "b" / "notes.txt"
    write_whole(path, b"")
    assert digest_of(path) == EMPTY
    write_whole(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert digest_of(path) != EMPTY
    assert os.listdir(path.parent) == ["notes.txt"]


def test_what_breaks_off_leaves_the_former_file(tmp_path: Path):
    path = tmp_path / "notes.txt"
    write_whole(path, "before")
    with pytest.raises(KeyboardInterrupt):
        _break_off(path, KeyboardInterrupt())
    with pytest.raises(LookupsError) as error:
        _break_off(path, OSError(errno.ENOSPC, "No space left on device"))
    assert str(error.value).startswith(f"{path} cannot be written (the disk is full); make room")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["notes.txt"]
    with pytest.raises(LookupsError, match=r"cannot be written \(.*\); make room there, or choose"):
        write_whole(path / "below.txt", "")  # a file where a folder should be


def _break_off(path: Path, error: BaseException) -> None:
    with replacing(path) as aside:
        aside.write_text("half")
        raise error
