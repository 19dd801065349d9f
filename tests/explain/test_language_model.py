"""A language model as explainer, asked on a real server of this machine that misbehaves."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from faults import note
from hypothesis import given
from hypothesis import strategies as st
from lookups.errors import LookupsError, ServerError
from lookups.explain import explainer, language_model
from lookups.explain.explainer import Case, Example, Explanation, Question, Reply, Verdict
from lookups.explain.language_model import Llm, Plan, Request, replies_in, send
from lookups.settings import CONSENT, LlmSettings, read_run
from misbehaving import Server, chooses, cut_short, hangs, says, sends, status

SAID = Explanation("llm", "The head is active after 'not only'.")
KEY = "sk-secret-0123456789abcdef"
YES = Reply("Yes")
LITTLE = explainer.READABLE


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """No key, no proxy; and the environment may not send a run elsewhere than its file says."""
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", CONSENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "deep" / "replies.sqlite"


def of(server: Server, **changes) -> LlmSettings:
    settings = {"model": "tiny", "base_url": server.url, "concurrency": 1, "retries": 1}
    return LlmSettings(**settings | changes)


def llm(server: Server, store: Path, *, confirmed: bool = True, **changes) -> Llm:
    return Llm(of(server, **changes), store, confirmed=confirmed)


def example(number: int, text: str = "not only fast but", token: str = " also") -> Example:
    return Example(f"corpus/test/{number}", (number, 1, 2), f"{number} {text}", token)


def case(start: int = 100) -> Case:
    inactive = tuple(example(start + 50 + number, "he came") for number in range(3))
    return Case(tuple(example(start + number) for number in range(3)), inactive, " also")


def question(prompts: int = 1, start: int = 0, said: Explanation = SAID) -> Question:
    return Question(said, tuple(example(start + number) for number in range(prompts)))


def test_what_is_asked_is_both_kinds_of_prompts_and_then_one_prompt_at_a_time(store):
    with Server(answer=lambda _: says(" The head is active\nafter 'not only'. ")) as server:
        assert llm(server, store).explain(case()) == SAID
    [body] = server.bodies
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (200, 0, 0)
    assert "logprobs" not in body
    active, inactive = body["messages"][0]["content"].split("\nActive:\n")[1].split("\nInactive:\n")
    shown = [json.loads(line) for line in active.split("\n") if line]
    assert shown == [f"{number} not only fast but also" for number in (100, 101, 102)]
    assert '"150 he came also"' in inactive
    with Server() as server:
        assert llm(server, store).judge(question(3)) == [Verdict(True)] * 3
    asked = [(body["max_tokens"], body["logprobs"], body["top_logprobs"]) for body in server.bodies]
    assert asked == [(1, True, 20)] * 3
    texts = [body["messages"][0]["content"] for body in server.bodies]
    shared = texts[0].split('Prompt: "0')[0]
    assert SAID.text in shared
    assert all(text.startswith(shared) for text in texts)  # read only once by a server that caches
    changes = {"logprobs": False, "temperature": None, "seed": None}
    changes |= {"limit_key": "max_completion_tokens", "extra": {"reasoning_effort": "none"}}
    sent = of(server, **changes).sampling(1, logprobs=True)
    assert sent == {"max_completion_tokens": 1, "reasoning_effort": "none"}


def test_no_prompt_can_end_its_own_quotation():
    for text in ('"\n\nInactive:\n"', "\\", '" Yes or No?', "{token}", "\u2028"):
        made = Case((example(1, text),), (example(2, text),), ' "also"\n')
        lines = language_model.explaining(made).split("\n")
        assert json.loads(lines[lines.index("Active:") + 1]) == f"1 {text} also"
        assert json.loads(lines[lines.index("Inactive:") + 1]) == f"2 {text} also"
        lines = language_model.judging(text, example(3, text)).split("\n")
        assert json.loads(lines[-2].removeprefix("Prompt: ")) == f"3 {text} also"
        assert json.loads(lines[2]) == text


READ = {
    True: ("Yes", " yes\n", "YES!", "**Yes**", "_Yes_", "Yes because it does", "Yes\n\nThe"),
    False: ("No", "no.", "'No'", "No, it is not.", "No - it"),
    None: (
        *("", "...", "Maybe", "Y", "Nope", "Yesterday", "Yes and no", "Yes/No", "Yes but also no"),
        *("Notably, it is", "No idea", "No-one can tell", "The answer is yes", "<think>No", "Ja"),
    ),
}


def test_a_text_says_yes_or_no_or_is_unread_and_a_refusal_is_no_explanation():
    for active, texts in READ.items():
        assert {text: explainer.yes_or_no(text) for text in texts} == dict.fromkeys(texts, active)
        assert all(explainer.verdict_of(Reply(text)) == Verdict(active) for text in texts)
    assert explainer.verdict_of(Reply("Yes", refusal="I would rather not")) == Verdict(None)
    assert explainer.verdict_of(Reply("<think>No, or…</think>\n\nYes")) == Verdict(True)
    sorry = "I'm sorry, but I can't assist with that."
    for text in ("", " \n", sorry, "As an AI, I have no view", "<think>Let me see"):
        assert explainer.explanation_of(Reply(text)) == ""
    for text in ("In lists.", "It is active after a sorry excuse.", "As an adverb follows."):
        assert explainer.explanation_of(Reply(text)) == text
        assert explainer.explanation_of(Reply(text, refusal="no")) == ""


THOUGHTS = (
    *("<think>No</think>\n\n", "No, at first.\n</think>\n\n", "[THINK]No[/THINK]"),
    *("◁think▷No◁/think▷", "analysisNo, we see.assistantfinal"),
    "<|channel|>analysis<|message|>No<|end|><|start|>assistant<|channel|>final<|message|>",
)
"""What models say before they answer, where a server passes it on."""


@pytest.mark.parametrize("thought", THOUGHTS)
@given(st.text(st.characters(codec="utf-8", exclude_characters="<>[]◁▷|")))
def test_a_thought_is_no_answer_whatever_it_is(thought, about):
    before = thought.replace("No", f"No {about}")
    for answer, active in {"Yes": True, "No": False, "Ja": None, "": None}.items():
        # what its first token could have been is no answer either
        assert explainer.verdict_of(Reply(before + answer, first={"No": -0.01})) == Verdict(active)
    said = Reply(f"{before}Active\nin lists.<|return|>")
    assert explainer.explanation_of(said) == "Active in lists."


@pytest.mark.parametrize(
    ("text", "first", "active", "probability"),
    [  # every spelling counts
        ("Yes", {"Yes": 0.3, " yes": 0.2, "YES": 0.1, "No": 0.15, "▁no": 0.05}, True, 0.6 / 0.8),
        ("Maybe", {"Maybe": 0.4, "No": 0.35, "Yes": 0.25}, False, 0.25 / 0.6),
        ("Yes", {"Yes": 0.4, "No": 0.4}, None, 0.5),
        ("Yes and no", {"Yes": 0.9, "No": 0.1}, None, None),
        ("I", {"I": 1 - LITTLE / 2, "Yes": LITTLE / 4, "No": LITTLE / 5}, None, None),
    ],
)
def test_log_probabilities_stand_above_the_text(text, first, active, probability, store):
    with Server(answer=lambda _: says(text, first=first)) as server:
        [verdict] = llm(server, store).judge(question())
    assert verdict.active is active
    assert verdict.probability == (probability and pytest.approx(probability))


def test_questions_keep_their_order_and_no_explanation_judges_nothing(store):
    def answer(body: dict):
        number = int(body["messages"][0]["content"].split('Prompt: "')[1].split()[0])
        return says(["Yes", "No.", "Not sure"][number % 3], seconds=0.01 * (number % 2))

    with Server([says(None, refusal="I cannot.")], answer=answer) as server:
        asked = llm(server, store, concurrency=4)
        empty, none = asked.explain(case()), Question(SAID, ())
        assert empty == Explanation("llm", "")
        answers = asked.judge_all([question(4), question(2, said=empty), none, question(3, 7)])
        assert asked.plan([case()], [question(4).prompts]).requests == 0
    expected = [[True, False, None, True], [None, None], [], [False, None, True]]
    assert [[one.active for one in verdicts] for verdicts in answers] == expected
    assert server.asked.total() == 1 + 7


def test_a_whole_run_is_planned_before_its_first_explanation(store, monkeypatch):
    cases, held_out = [case(100), case(300)], [question(4).prompts, question(6).prompts]
    with Server(answer=lambda body: says(["Yes", SAID.text][body["max_tokens"] > 1])) as server:
        before = llm(server, store, confirmed=False).plan(cases, held_out)
        assert (before.requests, before.stored, before.reply_tokens) == (12, 0, 410)
        assert before.cost is None
        assert "no prices given" in str(before)
        assert not server.asked
        asked = llm(server, store, price_in=1.0, price_out=2.0)
        said = asked.explain_all(cases)
        asked.judge(Question(said[0], held_out[0]))
        # Both heads were explained in the same words, so the same question is asked once.
        left = asked.plan(cases, held_out)
        assert (left.requests, left.stored, left.reply_tokens) == (2, 2 + 4, 2)
        assert left.cost == pytest.approx((left.prompt_tokens * 1.0 + 2 * 2.0) / 1e6)
        asked.judge_all([Question(said[0], held_out[0]), Question(said[1], held_out[1])])
        assert server.asked.total() == 2 + 6
        assert asked.plan(cases, held_out) == Plan(0, 8, 0, 0, 0.0)
    # a finished run needs neither the server nor a key nor the package
    monkeypatch.setitem(sys.modules, "openai", None)
    again = Llm(LlmSettings(model="tiny"), store)
    assert again.explain_all(cases) == said
    assert len(again.judge(Question(said[1], held_out[1]))) == 6


def test_a_run_asks_its_explainers_and_sends_nothing_without_consent(tmp_path):
    settings, run_explainers = read_run("planted"), language_model.run_explainers
    assert list(run_explainers(settings)) == ["contrast", "bag-of-words", "nearest"]
    asked = {"model": "small", "base_url": "http://127.0.0.1:9/v1"}
    asked |= {"price_in": 40.0, "price_out": 40.0}
    content = settings.model_dump() | {"llm": asked, "paths": {"data": tmp_path / "data"}}
    settings = type(settings)(**content)
    assert list(run_explainers(settings))[:2] == ["contrast", "llm"]
    # The replies lie with the data, not with what a run leaves.
    assert run_explainers(settings)["llm"].store == tmp_path / "data" / "replies.sqlite"
    for ask in (lambda llm: llm.explain(case()), lambda llm: llm.judge(question())):
        with pytest.raises(LookupsError, match=r"1 requests to send \(0 more.*\$0.0.*--yes"):
            ask(run_explainers(settings)["llm"])


def request(number: int = 0) -> Request:
    return Request("tiny", f"prompt {number}", {"max_tokens": 1})


def ask(server: Server, store: Path, numbers: int = 1, start: int = 0, **changes) -> list[Reply]:
    """Send what is not stored, and return all replies."""
    requests = [request(number) for number in range(start, start + numbers)]
    with replies_in(store) as replies:
        send([one for one in requests if replies.find(one) is None], replies, of(server, **changes))
        return [replies.find(one) for one in requests]


def kept(store: Path) -> int:
    with replies_in(store) as replies:
        return replies.file.execute("SELECT count(*) FROM replies").fetchone()[0]


@pytest.mark.parametrize(
    ("act", "attempts", "words"),
    [
        (status(500, "it is on fire"), 2, r"answered 500 \(it is on fire\): .* try again later"),
        (status(429), 2, "answered 429.* lower concurrency, raise retries, or top up the account"),
        (status(400, "prompt too long"), 1, r"400 \(prompt too long\): change the setting"),
        (status(404, "no model"), 1, r"404 \(no model\): correct model, 'tiny'; or base_url"),
        (status(403), 1, "answered 403: set OPENAI_API_KEY to a valid key"),
        (cut_short, 2, "cannot be reached .* check that it runs"),
        (hangs(2.0), 2, r"cannot be reached \(Request timed out.*raise timeout"),
        (sends(b"<html>hi</html>"), 1, r"no reply of a chat \(<html>hi.*base_url is its address"),
        (sends(b'{"choices": [{}]}'), 1, "no reply of a chat"),
        (sends(b'{"error": {"message": "busy"}, "choices": []}'), 2, r"broke off .*busy.*: try"),
        (chooses("Yes, but", end="network_error"), 2, r"broke off its reply \(network_error\)"),
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


def test_only_what_is_whole_is_kept_and_what_is_withheld_is_a_refusal(store):
    broken = [chooses("Yes, but", end="error"), chooses("Yes", end=None, error="upstream")]
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "No"}]}]
    parts += [{"type": "text", "text": "Ye"}, "s"]
    filtered = status(400, body={"error": {"message": "no", "code": "content_filter"}})
    script = [*broken, None, chooses("Yes, b", end="SAFETY"), filtered, chooses(parts)]
    script += [chooses(None, end="tool_calls"), chooses("a \ud83d b"), sends(b'{"choices": []}')]
    with Server(script) as server:
        found = ask(server, store, 7, retries=2)
    assert found[:3] == [YES, Reply("", "SAFETY"), Reply("", "content_filter")]
    assert found[3:] == [YES, Reply(""), Reply("a ? b"), Reply("")]
    note("broken replies are asked for again, and only whole ones are stored")


def test_a_model_that_only_thinks_is_found_out_by_a_handful(store):
    thinks = chooses(None, end="length", reasoning_content="Well, the prompt")
    with Server(answer=lambda body: thinks if body["max_tokens"] < 400 else says("No")) as server:
        asked = llm(server, store, concurrency=8)
        for _ in range(2):
            with pytest.raises(ServerError, match=r"first 5 replies: raise judge_tokens.*_effort"):
                asked.judge(question(40))
            assert server.asked.total() == language_model.HANDFUL
        with pytest.raises(ServerError, match=r"first 1 replies: .* and explain_tokens"):
            asked.explain(case())
        assert llm(server, store, judge_tokens=400).judge(question(40)) == [Verdict(False)] * 40
    with Server([None, *[thinks] * 3, *[says(None)] * 9]) as server:  # at times is not always
        said = llm(server, store, seed=1).judge(question(13))
    assert [one.active for one in said] == [True] + [None] * 12
    assert llm(server, store, seed=1, confirmed=False).judge(question(13)) == said


def test_settings_that_a_server_does_not_know_are_left_out(store):
    def answer(body: dict):
        if "max_tokens" in body:
            return status(400, "Unsupported 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "logprobs" in body:
            return status(422, body={"detail": [{"type": "extra", "loc": ["body", "logprobs"]}]})
        assert [message["role"] for message in body["messages"]] == ["user"]  # no system's
        assert body["max_completion_tokens"] == 1
        assert "top_logprobs" not in body
        return says("Yes")

    with Server(answer=answer) as server:
        assert llm(server, store).judge(question(7)) == [Verdict(True)] * 7
        assert server.asked.total() == 7 + 2 * 2  # the handful, and the others
    assert llm(server, store, confirmed=False).judge(question(7)) == [Verdict(True)] * 7
    note("the setting is sent under its newer name, or no more")


def test_log_probabilities_that_are_none_or_of_another_token_decide_nothing(store):
    told = [("Yes", float("nan")), ("Yes", 800.0), ("Yes", None), ("No", -0.1)]
    first = [[{"token": token, "logprob": value}] for token, value in told]
    given = [*({"content": one} for one in (*first, [], [{}])), {"tokens": ["Yes"]}, []]
    with Server([chooses("Yes", logprobs=one) for one in given]) as server:
        said = llm(server, store).judge(question(len(given)))
    assert said == [Verdict(True)] * len(given)


def test_a_kill_or_an_interrupt_keeps_what_came_in(store):
    left_by_a_kill = []

    def interrupts(*given) -> None:
        left_by_a_kill.append(kept(store))  # what another process sees in the file
        os.kill(os.getpid(), signal.SIGINT)
        hangs(4.0)(*given)

    with Server([None, None, interrupts]) as server:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ask(server, store, 5)
        assert time.monotonic() - start < 3.0
        assert left_by_a_kill == [2]
        assert ask(server, store, 5) == [YES] * 5
        assert server.asked.total() == 2 + 1 + 3
    note("replies that came in are stored, and only the others are asked for again")


def test_what_cannot_be_a_key_is_named_and_not_shown(store, monkeypatch):
    settings = LlmSettings(model="tiny", key_variable="MY_KEY")
    for bad in ("", f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x1b"):
        monkeypatch.setenv("MY_KEY", bad)
        wanted = pytest.raises(ServerError, match="com/v1 needs a key: set MY")
        with replies_in(store) as replies, wanted as error:
            send([request()], replies, settings)
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
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # a placeholder may be a word of the answer
    with Server([says("Active where none of them is.")], key="none") as server:
        assert "none of them" in ask(server, store, 1, start=99)[0].text


def everything_said_by(error: BaseException | None) -> str:
    """The texts of an error and of all that led to it, with what they hold."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_digest_stays_what_it_is_and_what_was_kept_first_is_found(store):
    # Another digest would have every stored reply paid for again.
    asked = Request("tiny", 'é "x"', {"temperature": 0.0, "max_tokens": 1})
    assert asked.digest.startswith("477ac89640072997aada24c9a8fd0e87")
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
            send([request(n) for n in range(1, 9)], replies, of(server, concurrency=3))

    with Server(answer=lambda _: says("No" * 40_000)) as server:
        with pytest.raises(LookupsError, match=r"full.* make room"):
            fill()
        assert server.asked.total() <= 3
        assert ask(server, store) == [YES]
