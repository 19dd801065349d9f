"""The store of replies: one digest a request, whole replies whatever happens to the process."""

import sqlite3
import subprocess
import sys
import textwrap

import pytest
from lookups.errors import StorageError
from lookups.explain.replies import Replies, Reply, Request

SETTINGS = {"temperature": 0.0, "max_tokens": 1, "seed": 0}


def request(number: int = 0, **changes) -> Request:
    content = {"role": "user", "content": f"prompt {number}"}
    return Request("tiny", [content], SETTINGS)._replace(**changes)


def test_the_digest_is_that_of_model_messages_and_settings():
    others = [
        request(model="small"),
        request(messages=[{"role": "user", "content": "another"}]),
        request(messages=[{"role": "system", "content": "prompt 0"}]),
        request(messages=request().messages * 2),
        request(settings=SETTINGS | {"seed": 1}),
        request(settings={}),
    ]
    assert len({one.digest for one in [request(), *others]}) == 1 + len(others)
    assert request().digest == request().digest


def test_the_digest_does_not_depend_on_the_order_of_keys():
    turned = request(
        messages=[{"content": "prompt 0", "role": "user"}],
        settings=dict(reversed(SETTINGS.items())),
    )
    assert turned.digest == request().digest


def test_the_order_of_messages_is_part_of_the_digest():
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert request(messages=two).digest != request(messages=two[::-1]).digest


def test_what_was_kept_is_found_again(tmp_path):
    path = tmp_path / "deep" / "replies.sqlite"
    reply = Reply("Yes ⏎\u2028\0", "stop", "", {" Yes": -0.25, "No": -1.5}, 12, 1)
    with Replies(path) as replies:
        assert request() not in replies
        replies.keep(request(), reply)
        assert replies.find(request()) == reply
    with Replies(path) as replies:
        assert replies.find(request()) == reply
        assert replies.find(request(1)) is None
        assert len(replies) == 1


def test_the_first_reply_is_the_one_that_stays(tmp_path):
    with Replies(tmp_path / "replies.sqlite") as replies:
        replies.keep(request(), Reply("Yes"))
        replies.keep(request(), Reply("No"))
        assert replies.find(request()) == Reply("Yes")
        assert len(replies) == 1


def test_a_closed_store_is_one_file(tmp_path):
    with Replies(tmp_path / "replies.sqlite") as replies:
        replies.keep(request(), Reply("Yes"))
    assert [path.name for path in tmp_path.iterdir()] == ["replies.sqlite"]


def test_two_may_have_it_open_at_once(tmp_path):
    path = tmp_path / "replies.sqlite"
    with Replies(path) as one, Replies(path) as other:
        one.keep(request(1), Reply("Yes"))
        other.keep(request(2), Reply("No"))
        assert (len(one), len(other)) == (2, 2)


def test_a_killed_process_leaves_whole_replies(tmp_path):
    path = tmp_path / "replies.sqlite"
    code = f"""
        import os
        from pathlib import Path
        from lookups.explain.replies import Replies, Reply, Request
        replies = Replies(Path({str(path)!r}))
        for number in range(5):
            message = {{"role": "user", "content": f"prompt {{number}}"}}
            request = Request("tiny", [message], {SETTINGS!r})
            if number == 4:  # killed between a write and its end
                replies._file.execute("BEGIN")
            replies.keep(request, Reply("Yes" * 5000))
        os._exit(9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
    assert done.returncode == 9
    with Replies(path) as replies:
        assert len(replies) == 4
        assert [replies.find(request(number)) for number in range(4)] == [Reply("Yes" * 5000)] * 4
        assert request(4) not in replies
        replies.keep(request(4), Reply("No"))
        assert len(replies) == 5


def test_another_file_is_not_touched(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes and no store of replies\n" * 50)
    with pytest.raises(StorageError, match=r"is no store of replies .* move it away"):
        Replies(path)
    assert path.read_text().startswith("these are notes")


def test_a_store_of_another_version_is_not_read(tmp_path):
    path = tmp_path / "replies.sqlite"
    Replies(path).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="another version of this code; move it away"):
        Replies(path)


def test_a_folder_in_the_way_is_named(tmp_path):
    with pytest.raises(StorageError, match="choose a folder that can be written"):
        Replies(tmp_path)


def test_a_full_disk_keeps_what_was_there(tmp_path):
    with Replies(tmp_path / "replies.sqlite") as replies:
        replies.keep(request(0), Reply("Yes"))
        replies._file.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StorageError, match=r"full.* free some space .* are kept"):
            replies.keep(request(1), Reply("No" * 40_000))
        assert replies.find(request(0)) == Reply("Yes")


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="choose a folder"):
        Replies(tmp_path / "taken" / "replies.sqlite")
