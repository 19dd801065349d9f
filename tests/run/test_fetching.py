"""One file from a server that fails in every way: whole, or one sentence and what came is kept."""

import errno
import hashlib
import random
import time
from pathlib import Path

import pytest
from lookups.errors import DownloadError, StorageError
from lookups.run.fetching import Connection, Patience, RemoteFile, fault, fetch
from loopback import (
    Files,
    blob,
    cut_after,
    redirects,
    sends,
    short,
    stalls,
    status,
    whole,
    without_ranges,
)

CONTENT = random.Random(0).randbytes(400_000)
QUICK = Patience(timeout=0.3, retries=2, wait=0.01)


@pytest.fixture
def server():
    with Files() as server:
        server.files["/weights"] = CONTENT
        yield server


def stated(server: Files, content: bytes = CONTENT) -> RemoteFile:
    digest = hashlib.sha256(content).hexdigest()
    return RemoteFile(
        "weights", f"{server.url}/weights", "the model x/y", len(content), digest, None
    )


def fetched(server: Files, folder: Path, patience: Patience = QUICK, **options) -> list[str]:
    """Fetch the file into a folder and return what was said meanwhile."""
    said: list[str] = []
    with Connection(patience, say=said.append, **options) as connection:
        fetch(stated(server), folder / "weights", connection)
    assert (folder / "weights").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["weights"]
    return said


def refused(server: Files, folder: Path, patience: Patience = QUICK, **options) -> str:
    """Fetch in vain; return the sentence. The file's name is not given to anything."""
    with Connection(patience, **options) as connection, pytest.raises(DownloadError) as error:
        fetch(stated(server), folder / "weights", connection)
    assert not (folder / "weights").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def asked_from(server: Files) -> list[str]:
    return [headers.get("range", "") for headers in server.requests_for("/weights")]


def test_a_file_comes_whole_and_a_second_call_asks_nothing(server, tmp_path):
    assert fetched(server, tmp_path) == []
    assert fetched(server, tmp_path) == []
    assert asked_from(server) == [""]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (cut_after(150_000), "the connection was lost"),
        (stalls(150_000, 0.6), "no answer in time"),
        (short(150_000), "it sent less than the whole file"),
    ],
    ids=["drops", "stalls", "a short body"],
)
def test_what_is_interrupted_goes_on_from_there(server, tmp_path, act, why):
    server.will("/weights", act)
    assert fetched(server, tmp_path) == [f"weights of the model x/y: {why}; asking again"]
    first, second = asked_from(server)
    assert (first, second) == ("", "bytes=150000-")


def test_drops_again_and_again_are_borne_as_long_as_bytes_come(server, tmp_path):
    server.will("/weights", *[cut_after(50_000)] * 7)
    assert len(fetched(server, tmp_path)) == 7
    assert asked_from(server)[-1] == "bytes=350000-"


def test_a_server_that_knows_no_ranges_is_read_from_the_beginning(server, tmp_path):
    server.will("/weights", cut_after(150_000), without_ranges)
    fetched(server, tmp_path)


def test_a_server_that_knows_no_ranges_and_drops_is_given_up(server, tmp_path):
    server.will("/weights", *[cut_after(150_000, ranges=False)] * 9)
    sentence = refused(server, tmp_path)
    assert sentence == (
        "weights of the model x/y could not be fetched in 3 attempts (the connection was lost); "
        "150,000 of 400,000 bytes are kept; check the network and give the same command again"
    )
    assert len(asked_from(server)) == 4  # the first brought bytes


def test_another_call_goes_on_where_the_last_gave_up(server, tmp_path):
    server.will("/weights", cut_after(150_000), *[status(503)] * 3)
    assert "(HTTP 503); 150,000 of 400,000 bytes are kept" in refused(server, tmp_path)
    fetched(server, tmp_path)
    assert asked_from(server)[-1] == "bytes=150000-"


def test_a_server_error_passes(server, tmp_path):
    server.will("/weights", status(500), status(429, retry_after="0"))
    assert fetched(server, tmp_path) == [
        "weights of the model x/y: HTTP 500; asking again",
        "weights of the model x/y: HTTP 429; asking again",
    ]


def test_a_server_is_waited_for_as_long_as_it_asks(server, tmp_path):
    server.will("/weights", status(503, retry_after="1"))
    began = time.monotonic()
    fetched(server, tmp_path)
    assert time.monotonic() - began > 1


def test_another_content_is_fetched_anew_and_then_refused(server, tmp_path):
    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.will("/weights", sends(other))
    (said,) = fetched(server, tmp_path)
    assert said.startswith("weights of the model x/y: the checksum ")
    (tmp_path / "weights").unlink()
    server.will("/weights", sends(other), sends(other))
    found, right = (hashlib.sha256(data).hexdigest()[:12] for data in (other, CONTENT))
    assert refused(server, tmp_path) == (
        f"weights of the model x/y came twice with the checksum {found} where {right} is stated; "
        "nothing of it was kept: try later, or from another network"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_longer_content_is_not_written_beyond_the_stated_size(server, tmp_path):
    server.will("/weights", sends(CONTENT + b"more"))
    fetched(server, tmp_path)
    server.files["/weights"] = b"x" * 900_000
    (tmp_path / "weights").unlink()
    assert "came twice with the checksum" in refused(server, tmp_path)


def test_the_beginning_of_another_version_is_not_continued_for_ever(server, tmp_path):
    (tmp_path / "weights.partial").write_bytes(b"x" * 1000)
    fetched(server, tmp_path)
    assert asked_from(server) == ["bytes=1000-", ""]


@pytest.mark.parametrize("size", [399_999, 400_000, 400_001])
def test_a_file_that_only_looks_whole_is_replaced(server, tmp_path, size):
    (tmp_path / "weights").write_bytes(b"x" * size)
    fetched(server, tmp_path)


@pytest.mark.parametrize("size", [400_000, 400_001])
def test_left_overs_of_the_whole_size_or_more_are_replaced(server, tmp_path, size):
    (tmp_path / "weights.partial").write_bytes(b"x" * size)
    fetched(server, tmp_path)


def test_a_range_that_is_not_there_begins_anew(server, tmp_path):
    (tmp_path / "weights.partial").write_bytes(CONTENT[:1000])
    server.will("/weights", status(416))
    fetched(server, tmp_path)


def test_another_part_than_was_asked_for_is_not_taken(server, tmp_path):
    (tmp_path / "weights.partial").write_bytes(CONTENT[:1000])
    server.will("/weights", status(206, content_range="bytes 0-399999/400000"))
    (said,) = fetched(server, tmp_path)
    assert "it sent another part of the file than was asked for" in said


def test_what_is_not_there_or_not_given_is_told_at_once(server, tmp_path):
    server.will("/weights", status(404))
    assert refused(server, tmp_path) == (
        "127.0.0.1 has not weights of the model x/y (HTTP 404); check its name and revision"
    )
    for code in (401, 403):
        server.will("/weights", status(code))
        assert refused(server, tmp_path, denied="ask its owner") == (
            f"127.0.0.1 does not give weights of the model x/y (HTTP {code}): ask its owner"
        )
    server.will("/weights", status(400))
    assert "does not give weights of the model x/y (HTTP 400)" in refused(server, tmp_path)
    assert len(server.asked) == 4


def test_nobody_there_is_told_after_some_attempts(server, tmp_path):
    server.close()
    assert "in 3 attempts (it cannot be reached)" in refused(server, tmp_path)


def test_a_token_goes_to_its_origin_and_never_with_a_redirect(server, tmp_path):
    with Files() as other:
        other.files["/store"] = CONTENT
        server.will("/weights", redirects(f"{other.url}/store"))
        fetched(server, tmp_path, token="hf_secret")
        assert server.asked[0][1]["authorization"] == "Bearer hf_secret"
        assert "authorization" not in other.asked[0][1]


def test_git_digests_are_verified_as_git_makes_them(server, tmp_path):
    assert blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    file = stated(server)._replace(sha256=None, blob=blob(CONTENT))
    assert fault(path, file) is None
    assert fault(path, file._replace(blob="0" * 40)).startswith("the checksum ")
    assert fault(path, file._replace(size=1)) == "400,000 bytes where 1 are stated"
    assert fault(tmp_path / "none", file) == "0 bytes where 400,000 are stated"


def test_an_empty_file_comes(server, tmp_path):
    server.files["/weights"] = b""
    with Connection(QUICK) as connection:
        fetch(stated(server, b""), tmp_path / "weights", connection)
    assert (tmp_path / "weights").read_bytes() == b""


def test_a_full_disk_is_told_and_what_came_stays(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("NOT RUN: this system has no /dev/full")
    (tmp_path / "weights.partial").symlink_to("/dev/full")
    with Connection(QUICK) as connection, pytest.raises(StorageError) as error:
        fetch(stated(server), tmp_path / "weights", connection)
    assert str(error.value) == (
        f"weights.partial cannot be written to {tmp_path} (the disk is full); make room there, or "
        "choose another folder with LOOKUPS_MODELS and LOOKUPS_DATA; what has come is kept"
    )
    assert error.value.__cause__.errno == errno.ENOSPC
    assert not (tmp_path / "weights").exists()


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").write_text("")
    with Connection(QUICK) as connection, pytest.raises(StorageError, match="cannot be written to"):
        fetch(stated(server), tmp_path / "file" / "weights", connection)


def test_answers_about_what_there_is_are_tried_again_too(server):
    server.files["/api"] = b'{"a": 1}'
    server.will("/api", status(500), sends(b"<html>"), whole)
    with Connection(QUICK) as connection:
        assert connection.json(f"{server.url}/api", "the model x/y") == {"a": 1}
        server.will("/api", *[sends(b"<html>")] * 3)
        with pytest.raises(DownloadError, match=r"model x/y .* in 3 attempts \(its answer is no J"):
            connection.json(f"{server.url}/api", "the model x/y")
