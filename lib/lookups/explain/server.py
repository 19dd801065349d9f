"""Requests to a server of chat completions, their replies, and the file that keeps these.

A reply is one transaction of SQLite: a kill at any moment leaves whole replies and no others, and
the next run asks only for the rest. Only this module holds a key: it is read from the environment
when something is sent and taken out of all that comes back, so that neither file nor error shows
it. Neither key nor address is part of a request.
"""

import asyncio
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import LookupsError, ServerError
from lookups.settings import OPENAI, LlmSettings

SECRET = 12
"""Characters from which on a key is one; servers of one's own take words such as EMPTY for it."""

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)

HEDGE = re.compile(r"\W*(yes|no)\s*(,?\s*(and|or|but|also)\b|/|&)\s*(also\s+)?(yes|no)\b", re.I)

# A bare word may follow only if it begins a reason: "No idea" and "No one can say" are no verdicts.
_ANSWER = re.compile(
    r"[\W_]*(?P<word>yes|no)(?![^\W_]|['’-]\w)"
    r"(?=\s*$|\s*_|\s*[^\w\s]|\s*\n|\s+(because|since|as|for|it|its|this|that|the|there|these|they|i)\b)",
    re.I,
)


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


class Reply(NamedTuple):
    """What came back."""

    text: str  # empty where nothing was said
    refusal: str = ""  # why the model would not answer, where the server keeps that apart
    first: dict[str, float] | None = None  # log-probabilities of the first token's candidates

    @property
    def said(self) -> str:
        """The text without what a reasoning model thought aloud before it."""
        return _THOUGHT.sub("", self.text).strip()


def yes_or_no(text: str) -> bool | None:
    """Return True for a text that begins with a clear yes, False for a no, None for all else."""
    match = None if HEDGE.match(text) else _ANSWER.match(text)
    return None if match is None else match["word"].lower() == "yes"


class Replies(NamedTuple):
    """The file of replies while it is open."""

    file: sqlite3.Connection

    def find(self, request: Request) -> Reply | None:
        """Return the reply to a request; None if it has not been answered."""
        query = "SELECT reply FROM replies WHERE digest = ?"
        row = self.file.execute(query, [request.digest]).fetchone()
        return None if row is None else Reply(*map(json.loads(row[0]).get, Reply._fields))

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
        # Every statement is a transaction. One thread writes while the one that opened it waits.
        file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with closing(file):
            file.execute(f"CREATE TABLE IF NOT EXISTS replies ({columns})")
            yield Replies(file)
    except (OSError, sqlite3.Error) as error:
        raise LookupsError(
            f"{path} cannot hold replies ({error}): make room, choose a folder that can be "
            "written, or move the file away if it is something else; replies in it are kept"
        ) from None


def send(requests: Sequence[Request], replies: Replies, settings: LlmSettings) -> None:
    """Send requests, and keep every reply as it comes in.

    When one has failed for good no other is begun, those under way are brought to their end, and a
    `ServerError` says what to do. An interrupt stops at once.
    """
    from anyio.from_thread import start_blocking_portal

    url, name = settings.base_url, settings.key_variable
    key = os.environ.get(name, "").strip()
    if " " in key or not (key.isascii() and key.isprintable()) or not (key or url != OPENAI):
        raise ServerError(f"{url} needs a key: set {name} to a valid one, run again")
    with start_blocking_portal() as portal:  # a thread: a notebook has a loop running already
        portal.call(_send_all, requests, replies, settings, key or "there-is-no-key")


async def _send_all(
    requests: Sequence[Request], replies: Replies, settings: LlmSettings, key: str
) -> None:
    import openai

    url = settings.base_url  # given, or the environment could send a run elsewhere
    limits = {"timeout": settings.timeout, "max_retries": settings.retries}
    client = openai.AsyncOpenAI(api_key=key, base_url=url, **limits)
    gate, kept, failures = asyncio.Semaphore(settings.concurrency), [], []

    async def settle(request: Request) -> None:
        async with gate:
            if failures:
                return
            try:
                answer = await client.chat.completions.with_raw_response.create(
                    model=request.model,
                    messages=[{"role": "user", "content": request.text}],
                    extra_body=request.settings,
                )
                replies.keep(request, _reply(_without(key, answer.text)))
                kept.append(request)
            except (openai.APIError, ServerError, sqlite3.Error) as error:
                failures.append(error)

    async with client:
        await asyncio.gather(*map(settle, requests))
    if failures and isinstance(failures[0], sqlite3.Error):
        raise failures[0]
    if failures:
        raise ServerError(
            f"{url} {_problem(failures[0], settings, key)}; {len(kept)} of "
            f"{len(requests)} replies came in and are stored, run again for the rest"
        )


def _without(key: str, text: str) -> str:
    """Take a key out of a text; one too short to be a secret may be a word of the answer."""
    return text.replace(key, "[key]") if len(key) >= SECRET else text


def _reply(body: str) -> Reply:
    """Read the body of a success; without any choice, as after some filters, it says nothing."""
    unreadable = ValueError, TypeError, KeyError, AttributeError, IndexError
    try:
        content = json.loads(body)
        if content["choices"] == [] and "error" not in content:
            return Reply("")
        choice, first = content["choices"][0], None
        text, refusal = (choice["message"].get(key) or "" for key in ("content", "refusal"))
        with suppress(*unreadable):  # not every server gives these in OpenAI's form
            chosen = choice["logprobs"]["content"][0]  # it need not be among the likeliest
            candidates = [*(chosen.get("top_logprobs") or []), chosen]
            first = {str(one["token"]): float(one["logprob"]) for one in candidates}
        return Reply(str(text), str(refusal), first)
    except unreadable:
        raise ServerError(
            f"sent what is no reply of a chat ({' '.join(body.split())[:200]}): check that base_url"
            " is a server of chat completions"
        ) from None


def _problem(error: Any, settings: LlmSettings, key: str) -> str:
    """Say what a server did and what to do about it."""
    if isinstance(error, ServerError):
        return str(error)
    said = error.body.get("message") if isinstance(error.body, dict) else error.body or error
    # Cut last: else half a key could stand at the end.
    said = " ".join(str(said).replace(key, "[key]").split())[:200]
    status = getattr(error, "status_code", None)
    if status is None:
        remedy = "check that it runs and that base_url is its address, or raise timeout"
        return f"cannot be reached ({said}): {remedy}"
    if status in (401, 403):  # its words may quote a part of the key
        return f"answered {status}: set {settings.key_variable} to a valid key"
    remedies = {
        404: f"correct model, {settings.model!r}; or base_url, which mostly ends in /v1",
        429: "lower concurrency, raise retries, or top up the account if it has no credit left",
    }
    other = "change the setting that it names, or give fewer prompts if they are too long"
    remedy = remedies.get(status, "try again later" if status >= 500 else other)
    return f"answered {status} ({said}): {remedy}"
