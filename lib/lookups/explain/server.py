"""Requests to a server of chat completions, their replies, and the file that keeps these.

A reply is one transaction of SQLite: a kill at any moment leaves whole replies and no others, and
the next run asks only for the rest. Only this module holds a key. It is read from the environment
when something is sent, and taken out of all that comes back, so that neither file nor error shows
it. Neither the key nor the address is part of a request.
"""

import asyncio
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import LookupsError, ServerError
from lookups.llm_settings import LlmSettings


class Request(NamedTuple):
    """What a reply depends on, and all of it."""

    model: str
    text: str
    """One message of the user: not every model takes one of the system."""
    settings: dict[str, Any]
    """Temperature, seed, the longest reply and the like: the rest of the request's body."""

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

    text: str
    """Empty where nothing was said."""
    refusal: str = ""
    """Why the model would not answer, where the server keeps that apart from the text."""
    first: dict[str, float] | None = None
    """Candidates for the first token and their log-probabilities; None where not given."""


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
    """Open the file of replies, which is made if need be.

    Raises:
        LookupsError: it cannot be opened, read or written, or is something else.
    """
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

    When one has failed for good no other is begun, and those under way are brought to their end. An
    interrupt stops at once.

    Raises:
        ServerError: the key, the model or the address is wrong, or the server keeps failing.
    """
    from anyio.from_thread import start_blocking_portal

    name = settings.key_variable
    key = os.environ.get(name, "").strip()
    odd = " " in key or not (key.isascii() and key.isprintable())
    if odd or (not key and settings.base_url is None):
        raise ServerError(f"{settings.address} needs a key: set {name} to a valid one, run again")
    with start_blocking_portal() as portal:  # a thread: a notebook has a loop running already
        portal.call(_send_all, requests, replies, settings, key or "there-is-no-key")


async def _send_all(
    requests: Sequence[Request], replies: Replies, settings: LlmSettings, key: str
) -> None:
    import openai

    client = openai.AsyncOpenAI(
        api_key=key,
        base_url=settings.address,  # or the environment could send a run elsewhere
        timeout=settings.timeout,
        max_retries=settings.retries,
    )
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
                replies.keep(request, _reply(answer.text.replace(key, "[key]")))
                kept.append(request)
            except (openai.APIError, ServerError, sqlite3.Error) as error:
                failures.append(error)

    async with client:
        await asyncio.gather(*map(settle, requests))
    if failures and isinstance(failures[0], sqlite3.Error):
        raise failures[0]
    if failures:
        raise ServerError(
            f"{settings.address} {_problem(failures[0], settings, key)}; {len(kept)} of "
            f"{len(requests)} replies came in and are stored, run again for the rest"
        )


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
