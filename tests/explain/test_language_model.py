"""The `llm` explainer against a real server on this machine that misbehaves on purpose."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest
from lookups.errors import (
    LookupsError,
    MeasurementError,
    NotConfirmed,
    ServerError,
    StorageError,
)
from lookups.explain.answers import READABLE
from lookups.explain.explainer import Case, Example, Explanation, Question, Verdict
from lookups.explain.instructions import explaining, judging
from lookups.explain.language_model import Llm, Plan, plan
from lookups.explain.replies import Replies, Request
from lookups.explain.sending import backoff
from lookups.explain.server import waits
from lookups.llm_settings import LlmSettings
from misbehaving import Server, cut_short, hangs, says, sends, status

KEY = "sk-secret-0123456789abcdef"
QUICK = {"first_wait": 0.01, "longest_wait": 0.5, "timeout": 5.0, "concurrency": 1, "retries": 3}
SAID = Explanation("llm", "The head is active after 'not only'.")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No key, and a proxy that swallows everything that is not on this machine."""
    for name in ("OPENAI_API_KEY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    # The environment may not send a run elsewhere than its file says.
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "replies.sqlite"


def settings(where: Server | str, **changes) -> LlmSettings:
    url = where if isinstance(where, str) else where.url
    return LlmSettings(**{"model": "tiny", "base_url": url} | QUICK | changes)


def llm(where: Server | str, store: Path, *, confirmed=True, progress=None, **changes) -> Llm:
    return Llm(settings(where, **changes), store, confirmed=confirmed, progress=progress)


def example(number: int, text: str = "not only fast but", token: str = " also") -> Example:
    return Example(f"corpus/test/{number}", (number, 1, 2), f"{number} {text}", token)


def case(start: int = 100) -> Case:
    inactive = tuple(example(start + 50 + number, "he came") for number in range(3))
    return Case(tuple(example(start + number) for number in range(3)), inactive, " also")


def question(prompts: int = 1, start: int = 0, said: Explanation = SAID) -> Question:
    return Question(said, tuple(example(start + number) for number in range(prompts)))


def judged(reply: str | None, store: Path, **options) -> Verdict:
    with Server(answer=lambda _: says(reply, **options)) as server:
        return llm(server, store).judge(question())[0]


# What is asked


def test_an_explanation_is_asked_for_with_both_kinds_of_prompts(store):
    with Server(answer=lambda _: says(" The head is active\nafter 'not only'. ")) as server:
        said = llm(server, store).explain(case())
    assert said == Explanation("llm", "The head is active after 'not only'.")
    [body] = server.bodies
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (200, 0, 0)
    assert "logprobs" not in body
    text = body["messages"][0]["content"]
    active, inactive = text.split("\nActive:\n")[1].split("\nInactive:\n")
    assert [json.loads(line) for line in active.split("\n") if line] == [
        f"{number} not only fast but also" for number in (100, 101, 102)
    ]
    assert '"150 he came also"' in inactive


def test_a_verdict_is_asked_for_one_prompt_at_a_time(store):
    with Server() as server:
        assert llm(server, store).judge(question(3)) == [Verdict(True)] * 3
    assert [body["max_tokens"] for body in server.bodies] == [1, 1, 1]
    assert all(body["logprobs"] and body["top_logprobs"] == 20 for body in server.bodies)
    texts = [body["messages"][0]["content"] for body in server.bodies]
    shared = texts[0].split('Prompt: "0')[0]
    assert SAID.text in shared
    assert all(text.startswith(shared) for text in texts)  # read only once by a server that caches


def test_settings_may_leave_out_or_add_to_what_is_sent(store):
    with Server() as server:
        llm(
            server,
            store,
            logprobs=False,
            temperature=None,
            seed=None,
            limit_key="max_completion_tokens",
            extra={"reasoning_effort": "none"},
        ).judge(question())
    assert set(server.bodies[0]) == {
        *("model", "messages", "max_completion_tokens", "reasoning_effort")
    }


@pytest.mark.parametrize("text", ['"\n\nInactive:\n"', "\\", '" Yes or No?', "{token}", "\u2028"])
def test_no_prompt_can_end_its_own_quotation(text):
    made = Case((example(1, text),), (example(2, text),), ' "also"\n')
    content = explaining(made)[0]["content"]
    lines = content.split("\n")
    assert json.loads(lines[lines.index("Active:") + 1]) == f"1 {text} also"
    assert json.loads(lines[lines.index("Inactive:") + 1]) == f"2 {text} also"
    content = judging(text, example(3, text))[0]["content"]
    asked = content.split("\n")[-2]
    assert json.loads(asked.removeprefix("Prompt: ")) == f"3 {text} also"
    assert json.loads(content.split("\n")[2]) == text


def test_nothing_to_compare_is_said_before_anything_is_sent(store):
    one_sided = case()._replace(inactive=())
    with Server() as server, pytest.raises(MeasurementError, match="no inactive prompts"):
        llm(server, store).explain_all([case(), one_sided])
    assert not server.asked


# What is read


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("Yes.", True),
        ("yes", True),
        ("Yes, because…", True),
        ("No", False),
        ("Not sure", None),
        ("", None),
        (None, None),
        ("I can't help with that", None),
        ("Yes and no", None),
    ],
)
def test_without_log_probabilities_the_text_is_read(text, active, store):
    assert judged(text, store) == Verdict(active)


def test_log_probabilities_are_summed_over_spellings(store):
    first = {"Yes": 0.3, " yes": 0.2, "YES": 0.1, "No": 0.15, "▁no": 0.05, "Maybe": 0.2}
    verdict = judged("Yes", store, first=first)
    assert verdict.active is True
    assert verdict.probability == pytest.approx(0.6 / 0.8)


def test_log_probabilities_stand_above_the_text(store):
    verdict = judged("Maybe", store, first={"Maybe": 0.4, "No": 0.35, "Yes": 0.25})
    assert verdict.active is False
    assert verdict.probability == pytest.approx(0.25 / 0.6)


@pytest.mark.parametrize("first", [{"I": 0.95, "Yes": 0.04, "No": 0.01}, {"I": 1.0}])
def test_a_ratio_of_accidents_is_no_verdict(first, store):
    assert sum(first.get(word, 0) for word in ("Yes", "No")) < READABLE
    assert judged("I", store, first=first) == Verdict(None)


def test_a_text_that_takes_its_first_word_back_is_unread(store):
    assert judged("Yes and no", store, first={"Yes": 0.9, "No": 0.1}) == Verdict(None)


@pytest.mark.parametrize("logprobs", [{"content": []}, {"tokens": ["Yes"]}, [], {"content": [{}]}])
def test_log_probabilities_in_another_form_are_as_if_not_given(logprobs, store):
    choice = {"message": {"content": "No"}, "logprobs": logprobs}
    with Server([sends(json.dumps({"choices": [choice]}).encode())]) as server:
        assert llm(server, store).judge(question()) == [Verdict(False)]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", None),
        (None, None),
        (" \n", None),
        (None, "I can't help with that."),
        ("I'm sorry, but I can't assist with that.", None),
        ("As an AI, I have no view", None),
    ],
)
def test_no_explanation_is_no_success(text, refusal, store):
    with Server([says(text, refusal=refusal)]) as server:
        asked = llm(server, store)
        said = asked.explain(case())
        assert said.text == ""
        assert json.loads(said.rule)["unexplained"]["reply"] == (text or "")
        assert asked.judge(Question(said, question(4).prompts)) == [Verdict(None)] * 4
        assert asked.plan([case()], [question(4).prompts]).requests == 0
    assert server.asked.total() == 1  # a prompt judged by nothing is not sent


def test_questions_keep_their_order_and_unread_answers_are_counted(store):
    def answer(body: dict):
        number = int(body["messages"][0]["content"].split('Prompt: "')[1].split()[0])
        return says(["Yes", "No.", "Not sure"][number % 3], seconds=0.01 * (number % 2))

    empty, none = Explanation("llm", ""), Question(SAID, ())
    with Server(answer=answer) as server:
        answers = llm(server, store, concurrency=4).judge_all(
            [question(4), question(2, said=empty), none, question(3, start=7)]
        )
    assert [[one.active for one in verdicts] for verdicts in answers] == [
        *([True, False, None, True], [None, None], [], [False, None, True])
    ]


# What it costs


def test_nothing_is_sent_unless_confirmed(store):
    prices = {"price_in": 10.0, "price_out": 30.0}
    with Server() as server:
        asked = llm(server, store, confirmed=False, **prices)
        with pytest.raises(NotConfirmed) as error:
            asked.judge(question(5))
        with pytest.raises(NotConfirmed):
            asked.explain(case())
    assert not server.asked
    assert "5 requests to send (0 more are stored)" in str(error.value)
    assert "$0.01" in str(error.value)
    assert "pass --yes" in str(error.value)


def test_the_plan_counts_what_is_not_stored_once(store):
    with Server() as server:
        llm(server, store).judge(question(3))
        asked = llm(server, store, confirmed=False, price_in=1.0, price_out=2.0)
        messages = [judging(SAID.text, one) for one in question(5).prompts]
        requests = [
            Request("tiny", one, asked.settings.sampling(1, logprobs=True)) for one in messages
        ]
        with Replies(store) as replies:
            told = plan([*requests, *requests], replies, asked.settings)
    size = sum(len(one[0]["content"]) for one in messages[3:])
    assert (told.requests, told.stored, told.reply_tokens) == (2, 3, 2)
    assert told.prompt_tokens == pytest.approx(size / 3.5, abs=1)
    assert told.cost == pytest.approx((told.prompt_tokens * 1.0 + 2 * 2.0) / 1e6)


def test_a_whole_run_is_planned_before_its_first_explanation(store):
    cases, held_out = [case(100), case(300)], [question(4).prompts, question(6).prompts]
    with Server(
        answer=lambda body: says("Yes" if body["max_tokens"] == 1 else SAID.text)
    ) as server:
        before = llm(server, store, confirmed=False).plan(cases, held_out)
        assert (before.requests, before.stored, before.reply_tokens) == (12, 0, 410)
        assert before.cost is None
        assert "no prices given" in str(before)
        assert not server.asked
        asked = llm(server, store)
        said = asked.explain_all(cases)
        asked.judge_all([Question(said[0], held_out[0]), Question(said[1], held_out[1])])
        # Both heads were explained in the same words, so the same question is asked once.
        assert server.asked.total() == 2 + 6
        after = asked.plan(cases, held_out)
        assert (after.requests, after.stored, after.prompt_tokens) == (0, 8, 0)
        llm(server, store, confirmed=False).confirm(after)


def test_progress_is_told_of_every_reply_that_came_in(store):
    told: list[int] = []
    with Server() as server:
        llm(server, store, progress=told.append, concurrency=3).judge(question(7))
        llm(server, store, progress=told.append).judge(question(8))
    assert told == [1] * 8


# What goes wrong


@pytest.mark.parametrize("act", [status(429, retry_after="0.3"), status(503, retry_after_ms="300")])
def test_retry_after_is_respected(act, store):
    with Server([act]) as server:
        assert llm(server, store).judge(question(2)) == [Verdict(True)] * 2
    assert server.came[1] - server.came[0] >= 0.3
    assert server.answered.total() == 2


def test_one_that_is_told_to_wait_holds_back_the_others(store):
    with Server([status(429, retry_after="0.5"), says("Yes", seconds=0.2)]) as server:
        llm(server, store, concurrency=2).judge(question(5))
    assert server.came[2] - server.came[0] >= 0.5
    assert server.answered.total() == 5


def test_a_longer_pause_than_one_would_wait_ends_the_run(store):
    with (
        Server([status(429, retry_after="3600")]) as server,
        pytest.raises(ServerError, match=r"a wait of 3600 seconds: run again after that"),
    ):
        llm(server, store).judge(question())
    assert server.asked.total() == 1


def test_pauses_are_read_in_every_form():
    assert waits({"retry-after": "2"}, 0.0) == 2.0
    assert waits({"retry-after": "0.5"}, 0.0) == 0.5
    assert waits({"retry-after-ms": "250", "retry-after": "9"}, 0.0) == 0.25
    date = {"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}
    assert waits(date, 20.0) == 40.0
    assert waits(date, 90.0) == 0.0
    assert waits({}, 0.0) is None
    assert waits({"retry-after": "soon"}, 0.0) is None


def test_waits_double_up_to_a_cap():
    asked = Request("tiny", [], {})
    quick = settings("http://127.0.0.1:1/v1", first_wait=1.0, longest_wait=20.0)
    growing = [backoff(asked, attempt, quick) for attempt in range(200)]
    assert 0.5 <= growing[0] <= 1.0
    assert all(later == pytest.approx(2 * sooner) for sooner, later in pairwise(growing[:5]))
    assert growing[5] == growing[199] <= 20.0


def test_failures_then_success(store):
    script = [status(500), status(502), cut_short, None, sends(b"<html>"), sends(b'{"error": "x"}')]
    with Server(script) as server:
        assert llm(server, store).judge(question(2)) == [Verdict(True)] * 2
    assert sorted(server.asked.values()) == [3, 4]
    assert set(server.answered.values()) == {1}
    early, late = server.came[1] - server.came[0], server.came[2] - server.came[1]
    assert early >= 0.005
    assert late >= 0.01


@pytest.mark.parametrize("dripping", [False, True])
def test_a_hang_is_cut_off_and_tried_again(store, dripping):
    with Server([hangs(4.0, dripping=dripping)]) as server:
        start = time.monotonic()
        assert llm(server, store, timeout=0.5).judge(question()) == [Verdict(True)]
        assert time.monotonic() - start < 3.0
    assert server.asked.total() == 2


def test_a_reply_without_a_choice_is_tried_again_and_then_unread(store):
    empty = sends(b'{"choices": []}')
    with Server([empty, None, *[empty] * 4]) as server:
        asked = llm(server, store)
        assert asked.judge(question(3)) == [Verdict(True), Verdict(None), Verdict(True)]
        assert asked.plan([], []).requests == 0
        assert asked.judge(question(3)) == [Verdict(True), Verdict(None), Verdict(True)]
    assert sorted(server.asked.values()) == [1, 2, 4]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (status(500, "the disk is on fire"), "failed with 500.*the disk is on fire"),
        (status(429), "limits the rate of requests: lower concurrency"),
        (cut_short, "cannot be reached"),
        (sends(b"<html>hello</html>"), "check that base_url is a server of chat.*hello"),
        (sends(b"{}"), "check that base_url"),
        (sends(b'{"choices": [{}]}'), "check that base_url"),
        (sends(b"[]"), "check that base_url"),
    ],
)
def test_what_keeps_failing_ends_the_run_and_loses_nothing(act, words, store):
    with Server([None, None, *[act] * 4]) as server:
        with pytest.raises(ServerError, match=words) as error:
            llm(server, store).judge(question(5))
        assert "2 of 5 replies came in and are stored, run again for the rest" in str(error.value)
        assert server.asked.total() == 2 + 4
        assert llm(server, store).judge(question(5)) == [Verdict(True)] * 5
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            status(400, "prompt too long"),
            r"does not take the request \(400.*prompt too long.*limit_key",
        ),
        (status(429, code_word="insufficient_quota"), "no credit left: top it up"),
        (status(403), r"needs a key: there is none in OPENAI_API_KEY \(403\)"),
    ],
)
def test_what_cannot_get_better_is_not_tried_again(act, words, store):
    with Server([act]) as server, pytest.raises(ServerError, match=words):
        llm(server, store).judge(question(3))
    assert server.asked.total() == 1


def test_a_wrong_model_is_named(store):
    with (
        Server() as server,
        pytest.raises(ServerError, match=r"knows no model 'tinny' \(404\): correct model") as error,
    ):
        llm(server, store, model="tinny").judge(question(3))
    assert server.url in str(error.value)
    assert server.asked.total() == 1


def test_a_server_that_is_not_there_is_named(store):
    with Server() as server:
        pass
    with pytest.raises(ServerError, match=r"cannot be reached \(.+\): check that the ser") as error:
        llm(server, store).judge(question())
    assert server.url in str(error.value)
    assert "base_url" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ServerError, match="pip install openai"):
        llm("http://127.0.0.1:9/v1", store).judge(question())


def test_requests_under_way_are_bounded(store):
    with Server(answer=lambda _: says("Yes", seconds=0.05)) as server:
        llm(server, store, concurrency=3).judge(question(15))
        assert 1 < server.most_at_once <= 3
        server.most_at_once = 0
        llm(server, store, concurrency=1).judge(question(3, start=50))
    assert server.most_at_once == 1


def test_others_are_brought_to_their_end_when_one_fails(store):
    script = [says("Yes", seconds=0.3), status(400)]
    with Server(script) as server:
        with pytest.raises(ServerError, match="1 of 9 replies"):
            llm(server, store, concurrency=2).judge(question(9))
        assert server.asked.total() == 2
        llm(server, store).judge(question(9))
    assert set(server.answered.values()) == {1}


# What is kept


def test_a_server_killed_half_way_costs_nothing_twice(store):
    with (
        Server(dies_after=8) as first,
        pytest.raises(ServerError, match=r"cannot be reached.* [0-9]+ of 20 replies"),
    ):
        llm(first, store, concurrency=4, retries=1).judge(question(20))
    with Replies(store) as replies:
        kept = len(replies)
    assert kept == first.answered.total() >= 8
    with Server() as second:
        assert llm(second, store, concurrency=4).judge(question(20)) == [Verdict(True)] * 20
    assert len(second.asked) == second.asked.total() == 20 - kept
    assert not set(first.answered) & {one for one, n in second.asked.items() if first.answered[one]}


def test_a_process_killed_half_way_goes_on_where_it_stood(store):
    with Server(answer=lambda _: says("Yes", seconds=0.01)) as server:
        code = f"""
            import os
            from pathlib import Path
            from lookups.explain.explainer import Example, Explanation, Question
            from lookups.explain.language_model import Llm
            from lookups.llm_settings import LlmSettings
            left = [6]
            def progress(came):
                left[0] -= came
                if not left[0]:
                    os._exit(9)
            prompts = [
                Example(f"corpus/test/{{n}}", (n, 1, 2), f"{{n}} not only fast but", " also")
                for n in range(12)
            ]
            settings = LlmSettings(model="tiny", base_url={server.url!r}, concurrency=2)
            asked = Llm(settings, Path({str(store)!r}), confirmed=True, progress=progress)
            asked.judge(Question(Explanation("llm", {SAID.text!r}), tuple(prompts)))
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
        assert done.returncode == 9
        with Replies(store) as replies:
            assert len(replies) == 6
        assert llm(server, store).judge(question(12)) == [Verdict(True)] * 12
    # What was under way when it was killed is asked again; what was answered to it is not.
    assert len(server.asked) == 12
    assert server.asked.total() <= 12 + 2


def test_a_finished_run_needs_neither_server_nor_key_nor_package(store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server(
        key=KEY, answer=lambda body: says("Yes" if body["max_tokens"] == 1 else "Lists.")
    ) as server:
        asked = llm(server, store)
        said = asked.explain_all([case()])
        verdicts = asked.judge_all([Question(said[0], question(4).prompts)])
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setitem(sys.modules, "openai", None)
    for base_url in (server.url, None, "https://elsewhere.example/v1"):
        again = Llm(LlmSettings(model="tiny", base_url=base_url), store)
        assert again.explain_all([case()]) == said
        assert again.judge_all([Question(said[0], question(4).prompts)]) == verdicts
        assert again.plan([case()], [question(4).prompts]) == Plan(0, 5, 0, 0, None)


def test_another_model_or_setting_is_another_request(store):
    with Server(models=("tiny", "small")) as server:
        llm(server, store).judge(question())
        llm(server, store, model="small").judge(question())
        llm(server, store, temperature=1.0).judge(question())
        llm(server, store, logprobs=False).judge(question())
        llm(server, store, concurrency=2, timeout=9.0, price_in=1.0, price_out=1.0).judge(
            question()
        )
    assert server.asked.total() == 4


def test_one_prompt_in_two_questions_is_sent_once(store):
    with Server(answer=lambda _: says("No", seconds=0.02)) as server:
        verdicts = llm(server, store, concurrency=8).judge_all([question(3)] * 4)
    assert verdicts == [[Verdict(False)] * 3] * 4
    assert server.asked.total() == 3


def test_a_store_that_cannot_be_written_ends_the_run(store, monkeypatch):
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Replies, "keep", full)
    with Server() as server, pytest.raises(StorageError, match="the disk is full"):
        llm(server, store, concurrency=3).judge(question(9))
    assert server.asked.total() <= 3


def test_a_notebook_has_a_loop_running_already(store):
    async def cell() -> list[Verdict]:
        return llm(server, store).judge(question())

    with Server() as server:
        assert asyncio.run(cell()) == [Verdict(True)]


def test_an_interrupt_keeps_what_came_in(store):
    def interrupts(*request) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return hangs(4.0)(*request)

    with Server([None, None, interrupts]) as server:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            llm(server, store).judge(question(5))
        assert time.monotonic() - start < 3.0
    with Replies(store) as replies:
        assert len(replies) == 2


# The key


def test_a_missing_key_is_named_before_anything_is_sent(store):
    asked = Llm(LlmSettings(model="tiny"), store, confirmed=True)
    with pytest.raises(ServerError, match=r"needs a key: set the environment variable OPENAI_API_"):
        asked.judge(question())
    named = LlmSettings(
        model="tiny", base_url="https://elsewhere.example/v1", key_variable="MY_KEY"
    )
    with pytest.raises(ServerError, match=r"elsewhere\.example/v1 needs a key: .* variable MY_KEY"):
        Llm(named, store, confirmed=True).judge(question())


def test_a_key_is_sent_without_the_blanks_around_it(store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    with Server(key=KEY) as server:
        assert llm(server, store).judge(question()) == [Verdict(True)]


@pytest.mark.parametrize("bad", [f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x1b"])
def test_what_cannot_be_a_key_is_not_shown(bad, store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with Server() as server, pytest.raises(ServerError, match="OPENAI_API_KEY holds no k") as error:
        llm(server, store).judge(question())
    assert KEY not in everything_said_by(error.value)


def test_a_key_that_is_rejected_is_named_by_its_variable(store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    with (
        Server(key=KEY) as server,
        pytest.raises(ServerError, match=r"rejected the key in OPENAI_API_KEY \(401\)") as error,
    ):
        llm(server, store).judge(question(3))
    assert server.asked.total() == 1
    assert "sk-wrong-key" not in everything_said_by(error.value)


def test_the_key_is_in_no_file_log_or_error(store, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    padding = "x" * (200 - len(KEY) // 2)  # where a text is cut, half a key would be left
    echoes = [
        *(status(500, f"you sent Bearer {KEY}"), sends(f"<html>Bearer {KEY}".encode())),
        *(status(500, padding + KEY), sends((padding + KEY).encode())),
    ]
    files, said = [], []
    with Server(key=KEY) as server:
        for start, act in enumerate([*echoes, status(400, f"Bearer {KEY}"), cut_short]):
            server.script = iter([says(f"Yes, {KEY}"), *[act] * 4])
            asked = llm(server, store)
            with Replies(store):  # so that the log of the store stays there to be read
                with pytest.raises(LookupsError) as error:
                    asked.judge(question(2, start=10 * start))
                files += [(path.name, path.read_bytes()) for path in tmp_path.rglob("*")]
            said += [everything_said_by(error.value), repr(asked), repr(asked.settings)]
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    files += [(path.name, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    assert {name for name, _ in files} == {
        *("replies.sqlite", "replies.sqlite-wal", "replies.sqlite-shm")
    }
    assert not [name for name, content in files if KEY.encode() in content]
    assert KEY[:10] not in "\n".join([caplog.text, *said])
    with Replies(store) as replies:
        assert len(replies) == 6
    assert all("[key]" in text for text in said[::3][:2])


def everything_said_by(error: BaseException) -> str:
    """The texts of an error and of all that led to it, with what they hold."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_the_package_openai_is_not_loaded_before_something_is_sent():
    code = """
        import sys
        import lookups.explain.language_model
        assert not {"openai", "httpx", "httpx2", "torch"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
