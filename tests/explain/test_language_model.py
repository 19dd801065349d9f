"""What a language model is asked, how its replies are read, and what is sent only with consent."""

import json
import sys
from pathlib import Path

import pytest
from lookups.errors import LookupsError, ServerError
from lookups.explain.explainer import Case, Example, Explanation, Question, Verdict
from lookups.explain.language_model import (
    CONSENT,
    READABLE,
    Llm,
    Plan,
    explaining,
    explanation_of,
    judging,
    run_explainers,
    verdict_of,
    yes_or_no,
)
from lookups.explain.server import Reply
from lookups.llm_settings import LlmSettings
from lookups.settings import read_run
from misbehaving import Server, says
from pydantic import ValidationError

SAID = Explanation("llm", "The head is active after 'not only'.")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    """No key, no proxy; and the environment may not send a run elsewhere than its file says."""
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", CONSENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "replies.sqlite"


def llm(server: Server, store: Path, *, confirmed: bool = True, **changes) -> Llm:
    settings = {"model": "tiny", "base_url": server.url, "concurrency": 1, "retries": 1}
    return Llm(LlmSettings(**settings | changes), store, confirmed=confirmed)


def example(number: int, text: str = "not only fast but", token: str = " also") -> Example:
    return Example(f"corpus/test/{number}", (number, 1, 2), f"{number} {text}", token)


def case(start: int = 100) -> Case:
    inactive = tuple(example(start + 50 + number, "he came") for number in range(3))
    return Case(tuple(example(start + number) for number in range(3)), inactive, " also")


def question(prompts: int = 1, start: int = 0, said: Explanation = SAID) -> Question:
    return Question(said, tuple(example(start + number) for number in range(prompts)))


# Settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modle": "tiny"}, "modle"),
        ({"base_url": "localhost:8000/v1"}, "write a whole address such as"),
        ({"base_url": "http://me:secret@host/v1"}, "a key belongs in the environment"),
        ({"base_url": "http://host/v1?key=secret"}, "a key belongs in the environment"),
        ({"key_variable": "sk-secret"}, "key_variable"),
        ({"seed": True}, "valid integer"),
        ({"temperature": False}, "valid number"),
        ({"top_logprobs": True}, "valid integer"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_settings_say_what_is_wrong_with_them(changes, words):
    with pytest.raises(ValidationError, match=words):
        LlmSettings(**{"model": "tiny"} | changes)


def test_settings_may_leave_out_or_add_to_what_is_sent(store):
    changes = {"logprobs": False, "temperature": None, "seed": None}
    changes |= {"limit_key": "max_completion_tokens", "extra": {"reasoning_effort": "none"}}
    with Server() as server:
        llm(server, store, **changes).judge(question())
    assert set(server.bodies[0]) == {
        *("model", "messages", "max_completion_tokens", "reasoning_effort")
    }


# What is asked


def test_an_explanation_is_asked_for_with_both_kinds_of_prompts(store):
    with Server(answer=lambda _: says(" The head is active\nafter 'not only'. ")) as server:
        assert llm(server, store).explain(case()) == SAID
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


@pytest.mark.parametrize("text", ['"\n\nInactive:\n"', "\\", '" Yes or No?', "{token}", "\u2028"])
def test_no_prompt_can_end_its_own_quotation(text):
    made = Case((example(1, text),), (example(2, text),), ' "also"\n')
    lines = explaining(made).split("\n")
    assert json.loads(lines[lines.index("Active:") + 1]) == f"1 {text} also"
    assert json.loads(lines[lines.index("Inactive:") + 1]) == f"2 {text} also"
    lines = judging(text, example(3, text)).split("\n")
    assert json.loads(lines[-2].removeprefix("Prompt: ")) == f"3 {text} also"
    assert json.loads(lines[2]) == text


def test_nothing_to_compare_is_said_before_anything_is_sent(store):
    one_sided = case()._replace(inactive=())
    with Server() as server, pytest.raises(LookupsError, match="no inactive prompts"):
        llm(server, store).explain_all([case(), one_sided])
    assert not server.asked


# What is read

UNREAD = (
    *("", " ", "...", "Maybe", "Y", "N", "None", "Now", "Nope", "Yesterday", "Yesss", "Not sure"),
    *("Yes and no", "No and yes", "Yes/No", "Yes or No?", "yes, and no", "Yes but also no"),
    *("Nothing of the kind", "Notably, it is", "No idea", "No one can tell", "No-one can tell"),
    *("I'm sorry, I can't help with that", "The answer is yes", "<think>No"),
)


@pytest.mark.parametrize(
    ("active", "texts"),
    [
        (True, ("Yes", "yes", "Yes.", "YES!", " yes\n", "**Yes**", "_Yes_", '"Yes"', "Yes (sure)")),
        (True, ("Yes, because it says so", "Yes because it says so", "Yes — it does")),
        (True, ("Yes\n\nThe prompt", "Yes: it does")),
        (False, ("No", "no.", "**No**", "No, it is not.", "NO", "No because", "'No'")),
        (False, ("No - it does not",)),
        (None, UNREAD),
    ],
)
def test_a_text_says_yes_or_no_or_is_unread(active, texts):
    assert {text: yes_or_no(text) for text in texts} == dict.fromkeys(texts, active)
    assert all(verdict_of(Reply(text)) == Verdict(active) for text in texts)


def test_a_refusal_is_neither_verdict_nor_explanation_and_thoughts_are_not_read():
    assert verdict_of(Reply("Yes", refusal="I would rather not")) == Verdict(None)
    assert verdict_of(Reply("<think>No, or…</think>\n\nYes")) == Verdict(True)
    sorry = "I'm sorry, but I can't assist with that."
    for text in ("", " \n", sorry, "As an AI, I have no view", "<think>Let me see"):
        assert explanation_of(Reply(text)) == ""
    for text in ("In lists.", "It is active after a sorry excuse.", "As an adverb follows."):
        assert explanation_of(Reply(text)) == text
        assert explanation_of(Reply(text, refusal="no")) == ""


@pytest.mark.parametrize(
    ("text", "first", "active", "probability"),
    [  # every spelling counts
        ("Yes", {"Yes": 0.3, " yes": 0.2, "YES": 0.1, "No": 0.15, "▁no": 0.05}, True, 0.6 / 0.8),
        ("Maybe", {"Maybe": 0.4, "No": 0.35, "Yes": 0.25}, False, 0.25 / 0.6),
        ("Yes", {"Yes": 0.4, "No": 0.4}, None, 0.5),
        ("Yes and no", {"Yes": 0.9, "No": 0.1}, None, None),
        ("I", {"I": 1 - READABLE / 2, "Yes": READABLE / 4, "No": READABLE / 5}, None, None),
    ],
)
def test_log_probabilities_stand_above_the_text(text, first, active, probability, store):
    with Server(answer=lambda _: says(text, first=first)) as server:
        [verdict] = llm(server, store).judge(question())
    assert verdict.active is active
    assert verdict.probability == (probability and pytest.approx(probability))


def test_what_is_judged_by_no_explanation_is_unread_and_not_sent(store):
    with Server([says(None, refusal="I cannot.")]) as server:
        asked = llm(server, store)
        said = asked.explain(case())
        assert said == Explanation("llm", "")
        assert asked.judge(Question(said, question(4).prompts)) == [Verdict(None)] * 4
        assert asked.plan([case()], [question(4).prompts]).requests == 0
    assert server.asked.total() == 1


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
    with Server() as server:
        asked = llm(server, store, confirmed=False, price_in=10.0, price_out=30.0)
        with pytest.raises(LookupsError) as error:
            asked.judge(question(5))
        with pytest.raises(LookupsError, match="pass --yes"):
            asked.explain(case())
    assert not server.asked
    for words in ("5 requests to send (0 more are stored)", "$0.01", "pass --yes"):
        assert words in str(error.value)


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
        asked = llm(server, store, price_in=1.0, price_out=2.0)
        said = asked.explain_all(cases)
        asked.judge(Question(said[0], held_out[0]))
        # Both heads were explained in the same words, so the same question is asked once.
        left = asked.plan(cases, held_out)
        assert (left.requests, left.stored, left.reply_tokens) == (2, 2 + 4, 2)
        size = sum(len(judging(SAID.text, one).encode()) for one in held_out[1][4:])
        assert left.prompt_tokens == pytest.approx(size / 3.5, abs=1)
        assert left.cost == pytest.approx((left.prompt_tokens * 1.0 + 2 * 2.0) / 1e6)
        asked.judge_all([Question(said[0], held_out[0]), Question(said[1], held_out[1])])
        assert server.asked.total() == 2 + 6
        after = asked.plan(cases, held_out)
        assert after == Plan(0, 8, 0, 0, 0.0)
        llm(server, store, confirmed=False).confirm(after)


def test_one_prompt_in_two_questions_is_sent_once(store):
    with Server(answer=lambda _: says("No", seconds=0.02)) as server:
        verdicts = llm(server, store, concurrency=8).judge_all([question(3)] * 4)
    assert verdicts == [[Verdict(False)] * 3] * 4
    assert server.asked.total() == 3


def test_a_finished_run_needs_neither_server_nor_key_nor_package(store, monkeypatch):
    with Server(answer=lambda body: says("Yes" if body["max_tokens"] == 1 else "Lists.")) as server:
        said = llm(server, store).explain_all([case()])
        verdicts = llm(server, store).judge_all([Question(said[0], question(4).prompts)])
    monkeypatch.setitem(sys.modules, "openai", None)
    for base_url in (server.url, None, "https://elsewhere.example/v1"):
        again = Llm(LlmSettings(model="tiny", base_url=base_url), store)
        assert again.explain_all([case()]) == said
        assert again.judge_all([Question(said[0], question(4).prompts)]) == verdicts
        assert again.plan([case()], [question(4).prompts]) == Plan(0, 5, 0, 0, None)


# What a run asks


def test_a_run_asks_its_explainers_and_sends_nothing_without_consent(tmp_path, monkeypatch):
    settings = read_run("planted")
    assert list(run_explainers(settings)) == ["contrast", "bag-of-words", "nearest"]
    asked = {"model": "small", "base_url": "http://127.0.0.1:9/v1", "retries": 0, "timeout": 1}
    content = settings.model_dump() | {"llm": asked, "paths": {"data": tmp_path / "data"}}
    settings = type(settings)(**content)
    assert list(run_explainers(settings))[:2] == ["contrast", "llm"]
    # The replies lie with the data, where `lookups clean` does not reach.
    assert run_explainers(settings)["llm"].store == tmp_path / "data" / "replies.sqlite"
    with pytest.raises(LookupsError, match=r"1 requests to send.*--yes"):
        run_explainers(settings)["llm"].explain(case())
    monkeypatch.setenv(CONSENT, "yes")
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):  # now it tries: nobody listens there
        run_explainers(settings)["llm"].explain(case())
