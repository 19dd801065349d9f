"""Requests to a real server on this machine that misbehaves on purpose, and the file of replies."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from lookups.errors import LookupsError, ServerError
from lookups.explain.server import Reply, Request, replies_in, send
from lookups.llm_settings import LlmSettings
from misbehaving import Server, cut_short, hangs, says, sends, status

KEY = "sk-secret-0123456789abcdef"
YES = Reply("Yes")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """No key, no proxy; and the environment may not send a run elsewhere than its file says."""
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "deep" / "replies.sqlite"


def request(number: int = 0, **changes) -> Request:
    return Request("tiny", f"prompt {number}", {"max_tokens": 1})._replace(**changes)


def ask(server: Server, store: Path, numbers: int = 1, start: int = 0, **changes) -> list[Reply]:
    """Send what is not stored, and return all replies."""
    settings = {"model": "tiny", "base_url": server.url, "concurrency": 1, "retries": 1}
    model = changes.get("model", "tiny")
    requests = [request(number, model=model) for number in range(start, start + numbers)]
    with replies_in(store) as replies:
        missing = [one for one in requests if replies.find(one) is None]
        send(missing, replies, LlmSettings(**settings | changes))
        return [replies.find(one) for one in requests]


def kept(store: Path) -> int:
    with replies_in(store) as replies:
        return replies.file.execute("SELECT count(*) FROM replies").fetchone()[0]


# What goes wrong


@pytest.mark.parametrize(
    ("act", "attempts", "words"),
    [
        (status(500, "it is on fire"), 2, r"answered 500 \(it is on fire\): try again later"),
        (status(429), 2, "answered 429.* lower concurrency, raise retries, or top up the account"),
        (status(429, "slowly", retry_after="3600", retry_after_ms=""), 1, r"429 \(slowly\)"),
        (status(400, "prompt too long"), 1, r"400 \(prompt too long\): change the setting"),
        (status(403), 1, "answered 403: set OPENAI_API_KEY to a valid key"),
        (cut_short, 2, "cannot be reached .* check that it runs"),
        (hangs(2.0), 2, r"cannot be reached \(Request timed out.*raise timeout"),
        (sends(b"<html>hi</html>"), 1, r"no reply of a chat \(<html>hi.*base_url is a server"),
        (sends(b'{"error": {"message": "busy"}, "choices": []}'), 1, "no reply of a chat.*busy"),
        *((sends(body), 1, "no reply of a chat") for body in (b"{}", b'{"choices": [{}]}', b"[]")),
    ],
)
def test_what_keeps_failing_ends_the_run_and_loses_nothing(act, attempts, words, store):
    with Server([None, None, *[act] * attempts]) as server:
        with pytest.raises(ServerError, match=words) as error:
            ask(server, store, 5, timeout=1.0)
        assert str(error.value).startswith(server.url)
        assert "2 of 5 replies came in and are stored, run again for the rest" in str(error.value)
        assert server.asked.total() == 2 + attempts
        assert ask(server, store, 5) == [YES] * 5
        assert server.asked.total() == 2 + attempts + 3


def test_failures_then_success_with_the_pause_that_was_asked_for(store):
    script = [status(503), cut_short, None, status(429, retry_after_ms="300")]
    with Server(script) as server:
        assert ask(server, store, 2, retries=2) == [YES] * 2
    assert server.came[4] - server.came[3] >= 0.3
    assert sorted(server.asked.values()) == [2, 3]


def test_a_wrong_model_and_a_server_that_is_not_there_are_named(store):
    with Server() as server:
        with pytest.raises(ServerError, match=r"404 \(The model .*: correct model, 'tinny'"):
            ask(server, store, 3, model="tinny")
        assert server.asked.total() == 1
    with pytest.raises(ServerError, match=r"cannot be reached .+: check that it runs") as error:
        ask(server, store)
    assert server.url in str(error.value)


def test_requests_under_way_are_bounded_and_brought_to_their_end_when_one_fails(store):
    with Server(answer=lambda _: says("Yes", seconds=0.05)) as server:
        ask(server, store, 15, concurrency=3)
    assert 1 < server.most_at_once <= 3
    with Server([says("Yes", seconds=0.3), status(400)]) as server:
        with pytest.raises(ServerError, match="1 of 9 replies"):
            ask(server, store, 9, start=50, concurrency=2)
        assert server.asked.total() == 2


@pytest.mark.parametrize("logprobs", [{"content": []}, {"tokens": ["Yes"]}, [], {"content": [{}]}])
def test_what_is_not_given_as_openai_gives_it_is_unknown(logprobs, store):
    choice = {"message": {"content": "No"}, "logprobs": logprobs}
    acts = [sends(json.dumps({"choices": some}).encode()) for some in ([choice], [])]
    with Server(acts) as server:
        assert ask(server, store, 2) == [Reply("No"), Reply("")]


def test_a_process_killed_half_way_goes_on_where_it_stood(store):
    with Server(answer=lambda _: says("Yes", seconds=0.01)) as server:
        code = f"""
            import os
            from pathlib import Path
            from lookups.explain.server import Replies, Request, replies_in, send
            from lookups.llm_settings import LlmSettings
            keep, left = Replies.keep, [6]
            def keep_six(replies, *row):
                keep(replies, *row)
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
            Replies.keep = keep_six
            requests = [Request("tiny", f"prompt {{n}}", {{"max_tokens": 1}}) for n in range(12)]
            settings = LlmSettings(model="tiny", base_url={server.url!r}, concurrency=2)
            with replies_in(Path({str(store)!r})) as replies:
                send(requests, replies, settings)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
        assert done.returncode == 9
        assert kept(store) == 6
        assert ask(server, store, 12) == [YES] * 12
    # What was under way when it was killed is asked again; what was answered to it is not.
    assert len(server.asked) == 12
    assert server.asked.total() <= 12 + 2


def test_an_interrupt_keeps_what_came_in(store):
    def interrupts(*given) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        hangs(4.0)(*given)

    with Server([None, None, interrupts]) as server:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ask(server, store, 5)
        assert time.monotonic() - start < 3.0
    assert kept(store) == 2


def test_a_notebook_has_a_loop_running_already(store):
    async def cell() -> list[Reply]:
        return ask(server, store)

    with Server() as server:
        assert asyncio.run(cell()) == [YES]


# The key


@pytest.mark.parametrize("bad", ["", f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x1b"])
def test_what_cannot_be_a_key_is_named_and_not_shown(bad, store, monkeypatch):
    monkeypatch.setenv("MY_KEY", bad)
    with (
        replies_in(store) as replies,
        pytest.raises(ServerError, match=r"openai\.com/v1 needs a key: set MY_KEY") as error,
    ):
        send([request()], replies, LlmSettings(model="tiny", key_variable="MY_KEY"))
    assert KEY not in everything_said_by(error.value)


def test_the_key_is_in_no_file_log_or_error(store, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")  # sent without the blanks around it
    caplog.set_level(logging.DEBUG)
    padding = "x" * (200 - len(KEY) // 2)  # where a text is cut, half a key would be left
    echoes = [
        *(status(500, f"you sent Bearer {KEY}"), sends(f"<html>Bearer {KEY}".encode())),
        *(status(400, padding + KEY), sends((padding + KEY).encode()), cut_short),
        status(401, f"{KEY[:12]}*** is no key"),
    ]
    said = []
    with Server(key=KEY) as server:
        for start, act in enumerate(echoes):
            server.script = iter([says(f"Yes, {KEY}"), *[act] * 2])
            with pytest.raises(LookupsError) as error:
                ask(server, store, 2, start=10 * start)
            said.append(everything_said_by(error.value))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [content for content in files if KEY.encode() in content]
    assert KEY[:10] not in "\n".join([caplog.text, *said])
    assert all("[key]" in text for text in said[:2])
    assert kept(store) == len(echoes)


def everything_said_by(error: BaseException | None) -> str:
    """The texts of an error and of all that led to it, with what they hold."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


# What is kept


def test_the_digest_is_that_of_model_text_and_settings_and_stays():
    turned = [request(settings=settings) for settings in ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
    assert turned[0].digest == turned[1].digest
    others = [request(1), request(model="small"), request(settings={"max_tokens": 2}), turned[0]]
    assert len({one.digest for one in [request(), *others]}) == 5
    # Another digest would have every stored reply paid for again.
    asked = Request("tiny", 'é "x"', {"temperature": 0.0, "max_tokens": 1})
    assert asked.digest.startswith("477ac89640072997aada24c9a8fd0e87")


def test_what_was_kept_first_is_found_again(store):
    reply = Reply("Yes ⏎\u2028\0", "", {" Yes": -0.25, "No": -1.5})
    with replies_in(store) as replies, replies_in(store) as another:
        assert replies.find(request()) is None
        replies.keep(request(), reply)
        another.keep(request(), Reply("No"))
    assert [path.name for path in store.parent.iterdir()] == ["replies.sqlite"]
    with replies_in(store) as replies:
        assert replies.find(request()) == reply


def test_what_cannot_hold_replies_is_named_and_not_touched(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("these are notes and no store of replies\n" * 50)
    for path in (notes, tmp_path, notes / "replies.sqlite"):
        with pytest.raises(LookupsError, match=r"cannot hold .*move the file"), replies_in(path):
            pass
    assert notes.read_text().startswith("these are notes")


def test_a_full_disk_ends_the_run_and_keeps_what_was_there(store):
    def fill() -> None:
        with replies_in(store) as replies:
            replies.keep(request(), YES)
            replies.file.execute("PRAGMA max_page_count = 8")
            settings = LlmSettings(model="tiny", base_url=server.url, concurrency=3)
            send([request(number) for number in range(1, 9)], replies, settings)

    with Server(answer=lambda _: says("No" * 40_000)) as server:
        with pytest.raises(LookupsError, match=r"full.* make room"):
            fill()
        assert server.asked.total() <= 3
        assert ask(server, store) == [YES]
