"""The explainer `llm`: a language model says when a head is active, and judges by what it said.

Any server that speaks OpenAI's chat completions (paper, step 6, in words of our own). What would be
sent, and its cost, is told first. A reply is one transaction of SQLite, so a kill leaves whole
replies and the next run asks only for the rest. A key is read from the environment when something
is sent, and is part of no request, file or error.
"""

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from lookups.errors import LookupsError, ServerError
from lookups.explain import explainer
from lookups.explain.contrast import Contrast
from lookups.explain.controls import BagOfWords, Nearest
from lookups.explain.explainer import Case, Example, Explainer, Explanation, Question, Reply
from lookups.settings import CONSENT, OPENAI, LlmSettings, Run

# What is the same for many prompts comes first, so that a server need read it only once. Prompts
# stand there as JSON strings, so that none can end its own quotation. A change here asks all anew.
_TEMPLATES = Path(__file__).with_name("prompts")
EXPLAIN, JUDGE = (
    _TEMPLATES.joinpath(name).read_text("utf-8").rstrip("\n")
    for name in ("explain.txt", "judge.txt")
)

BYTES_A_TOKEN = 3.5  # English has about four; what is cut from web texts has fewer
HANDFUL = 5  # if so many replies are thoughts alone, more of them would be paid for to no end
UNKNOWN = {"max_tokens": "max_completion_tokens", "logprobs": "", "top_logprobs": ""}
"""Settings that not every server takes, and what it then gets: a newer name, or nothing."""


class Request(NamedTuple):
    """What a reply depends on, and all of it."""

    model: str
    text: str  # one message of the user: not every model takes one of the system
    settings: dict[str, Any]  # the rest of the body: temperature, seed, the longest reply, …

    def __str__(self) -> str:
        messages = [{"role": "user", "content": self.text}]
        content = {"model": self.model, "messages": messages, "settings": self.settings}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """Sixty-four digits that stand for exactly this request, whatever the order of keys."""
        return hashlib.sha256(str(self).encode()).hexdigest()


class Replies(NamedTuple):
    """The file of replies while it is open."""

    file: sqlite3.Connection

    def find(self, request: Request) -> Reply | None:
        """Return the reply to a request; None if it has not been answered."""
        query = "SELECT reply FROM replies WHERE digest = ?"
        row = self.file.execute(query, [request.digest]).fetchone()
        return row and Reply(**json.loads(row[0]))

    def keep(self, request: Request, reply: Reply) -> None:
        """Write a reply to disk before returning; the first reply to a request is the one kept."""
        row = request.digest, str(request), json.dumps(reply._asdict())
        self.file.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", row)


@contextmanager
def replies_in(path: Path) -> Iterator[Replies]:
    """Open the file of replies, which is made if need be; `LookupsError` if it cannot be used."""
    columns = "digest TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Every statement is a transaction. Threads write one at a time, while the first one waits.
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as file:
            file.execute(f"CREATE TABLE IF NOT EXISTS replies ({columns})")
            yield Replies(file)
    except (OSError, sqlite3.Error) as error:
        raise LookupsError(
            f"{path} cannot hold replies ({error}): make room, choose a folder that can be "
            "written, or move the file away if it is something else; replies in it are kept"
        ) from None


class Plan(NamedTuple):
    """What a call would send, each different request once; nothing has been sent."""

    requests: int
    stored: int  # already answered, which cost nothing
    prompt_tokens: int  # estimated from the number of bytes; no discount for cached prefixes
    reply_tokens: int  # at most
    cost: float | None  # in dollars; None if the settings give no prices

    def __str__(self) -> str:
        return (
            f"{self.requests:,} requests to send ({self.stored:,} more are stored), about "
            f"{self.prompt_tokens:,} prompt tokens and at most {self.reply_tokens:,} reply tokens, "
            + ("no prices given" if self.cost is None else f"about ${self.cost:.2f}")
        )


class Llm(Explainer):
    """Asks a language model, or hands out what it answered before.

    A reply that is empty or a refusal is no explanation: its text is '', and every prompt that is
    judged by it is unread, without anything being sent.
    """

    name = "llm"

    def __init__(self, settings: LlmSettings, store: Path, *, confirmed: bool = False) -> None:
        self.settings, self.store, self._confirmed = settings, store, confirmed

    def plan(self, cases: Sequence[Case], held_out: Sequence[Sequence[Example]]) -> Plan:
        """Count all requests of a run before its first one: explanations, each as long as it may be
        where it is not there yet, and verdicts by them on its prompts in `held_out`."""
        with replies_in(self.store) as replies:
            requests = []
            for case, prompts in zip(cases, held_out, strict=True):
                asked = self._explaining(case)
                reply = replies.find(asked)
                longest = round(self.settings.explain_tokens * BYTES_A_TOKEN)
                unknown = asked.digest.ljust(longest, "-")
                text = explainer.explanation_of(reply) if reply else unknown
                requests += [asked, *(self._judging(text, one) for one in prompts if text)]
            return self._missing(requests, replies)[1]

    def confirm(self, what: Plan) -> None:
        """Raise `LookupsError`, with the plan, if requests would be sent without consent."""
        if what.requests and not self._confirmed:
            raise LookupsError(
                f"{what}, by {self.settings.model} at {self.settings.base_url}: nothing was sent; "
                "pass --yes to send them"
            )

    def explain_all(self, cases: Sequence[Case]) -> list[Explanation]:
        replies = self._replies_to([self._explaining(case) for case in cases])
        return [Explanation(self.name, explainer.explanation_of(reply)) for reply in replies]

    def judge_all(self, questions: Sequence[Question]) -> list[list[explainer.Verdict]]:
        """Answer many questions at once, one prompt a request."""
        asked = [(said.text.strip(), prompts) for said, prompts in questions]
        requests = [self._judging(text, one) for text, some in asked if text for one in some]
        verdicts = map(explainer.verdict_of, self._replies_to(requests))
        unread = explainer.Verdict(None)
        return [[next(verdicts) if text else unread for _ in some] for text, some in asked]

    def _explaining(self, case: Case) -> Request:
        body = self.settings.sampling(self.settings.explain_tokens)
        return Request(self.settings.model, explaining(case), body)

    def _judging(self, text: str, prompt: Example) -> Request:
        body = self.settings.sampling(self.settings.judge_tokens, logprobs=True)
        return Request(self.settings.model, judging(text, prompt), body)

    def _missing(self, requests: Sequence[Request], replies: Replies) -> tuple[list[Request], Plan]:
        """Each request that is not stored, once, and what sending them would mean."""
        different = {request.digest: request for request in requests}
        missing = [request for request in different.values() if replies.find(request) is None]
        tokens = round(sum(len(one.text.encode()) for one in missing) / BYTES_A_TOKEN)
        longest = sum(one.settings[self.settings.limit_key] for one in missing)
        prices = self.settings.price_in, self.settings.price_out
        cost = None if None in prices else (tokens * prices[0] + longest * prices[1]) / 1e6
        return missing, Plan(len(missing), len(different) - len(missing), tokens, longest, cost)

    def _replies_to(self, requests: Sequence[Request]) -> list[Reply]:
        """The reply to every request, in order, after sending those that are not stored."""
        with replies_in(self.store) as replies:
            missing, plan = self._missing(requests, replies)
            self.confirm(plan)
            handful = requests[:HANDFUL]
            first = [request for request in missing if request in handful]
            for some in (first, missing[len(first) :]):
                if some:
                    send(some, replies, self.settings)
                if {replies.find(request).refusal for request in handful} == {"length"}:
                    raise ServerError(
                        f"{self.settings.model} thought until it was cut off, in each of its first "
                        f"{len(handful)} replies: raise judge_tokens and explain_tokens, or let it "
                        "think less, mostly by `extra: {reasoning_effort: low}`"
                    )
            return [replies.find(request) for request in requests]


def explaining(case: Case) -> str:
    """Ask in which contexts a head is active; `LookupsError` if one kind has no prompts."""
    case.in_order()  # for the error
    active, inactive = ("\n".join(_quoted(p.text + p.token) for p in some) for some in case[:2])
    return EXPLAIN.format(token=_quoted(case.token), active=active, inactive=inactive)


def judging(explanation: str, prompt: Example) -> str:
    """Ask whether a head that was explained so is active on one prompt."""
    shown = _quoted(prompt.text + prompt.token)
    return JUDGE.format(explanation=_quoted(explanation), prompt=shown)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def send(requests: Sequence[Request], replies: Replies, settings: LlmSettings) -> None:
    """Send requests, and keep every reply as it comes in.

    Settings that a server says it does not know are sent no more (`UNKNOWN`). When one request has
    failed for good no other is begun, those under way are brought to their end, and a `ServerError`
    says what to do. An interrupt stops at once.
    """
    import openai

    url, name = settings.base_url, settings.key_variable
    key = os.environ.get(name, "").strip()
    if " " in key or not (key.isascii() and key.isprintable()) or not (key or url != OPENAI):
        raise ServerError(f"{url} needs a key: set {name} to a valid one, run again")
    secret = key if len(key) >= 12 else "\0"  # servers of one's own take words such as EMPTY
    limits = {"timeout": settings.timeout, "max_retries": settings.retries}
    # the address is given, or the environment could send a run elsewhere
    client = openai.OpenAI(api_key=key or "there-is-no-key", base_url=url, **limits)
    lock, kept, failures, unknown = Lock(), [], [], {}

    def ask(request: Request, attempt: int = 0) -> Reply:
        body = {unknown.get(k, k): v for k, v in request.settings.items() if unknown.get(k, k)}
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=request.model,
                messages=[{"role": "user", "content": request.text}],
                extra_body=body,
            )
            return explainer.reply_of(answer.text.replace(secret, "[key]"))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if error.code == "content_filter":
                return Reply("", refusal=error.code)
            named = re.findall(r"\w+", str(error.body))
            new = {k: v for k, v in UNKNOWN.items() if k in body and (v or "logprobs") in named}
            if not new:
                raise
            unknown.update(new)
            return ask(request, attempt)
        except explainer.Unfinished:
            if failures or attempt == settings.retries:
                raise
            time.sleep(min(8, 0.5 * 2**attempt))
            return ask(request, attempt + 1)

    def settle(request: Request) -> None:
        if failures:
            return
        try:
            reply = ask(request)
            with lock:
                replies.keep(request, reply)
            kept.append(request)
        except Exception as error:  # whatever it is, no other request is begun
            failures.append(error)

    with client, ThreadPool(settings.concurrency) as pool:
        pool.map(settle, requests, chunksize=1)
    if failures and not isinstance(failures[0], openai.APIError | ServerError):
        raise failures[0]
    if failures:
        raise ServerError(
            f"{url} {_problem(failures[0], settings, secret)}; {len(kept)} of {len(requests)} "
            "replies came in and are stored, run again for the rest"
        )


def _problem(error: Any, settings: LlmSettings, secret: str) -> str:
    """Say what a server did and what to do about it."""
    body, status = (getattr(error, name, None) for name in ("body", "status_code"))
    said = (isinstance(body, dict) and body.get("message")) or body or error
    # The key goes first and the rest is cut last: else half a key could stand at the end.
    said = " ".join(str(said).replace(secret, "[key]").split())[:200]
    if isinstance(error, explainer.Unfinished):
        return f"broke off its reply ({said}): try again later, or ask another model"
    if isinstance(error, ServerError):
        return f"sent what is no reply of a chat ({said}): check that base_url is its address"
    if status in (401, 403):  # its words may quote a part of the key
        return f"answered {status}: set {settings.key_variable} to a valid key"
    remedies = {
        None: "check that it runs, and base_url; or raise timeout",
        404: f"correct model, {settings.model!r}; or base_url, which mostly ends in /v1",
        429: "lower concurrency, raise retries, or top up the account if it has no credit left",
    }
    remedy = remedies.get(status, "change the setting that it names, or try again later")
    return f"{f'answered {status}' if status else 'cannot be reached'} ({said}): {remedy}"


def run_explainers(settings: Run) -> dict[str, Explainer]:
    """Return a run's explainers by name, those that explain in words first. A language model is
    among them where the run names one; its replies are kept with the run's data."""
    found: list[Explainer] = [Contrast()]
    if settings.llm is not None:
        store = settings.folder("data") / "replies.sqlite"
        found.append(Llm(settings.llm, store, confirmed=os.environ.get(CONSENT) == "yes"))
    return {one.name: one for one in [*found, BagOfWords(), Nearest()]}
