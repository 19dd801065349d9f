"""One attempt at one request: the reply, or what went wrong and whether to try again.

The only module that holds a key. It is read from the environment when something is sent, and taken
out of every text that comes back, so that neither a store nor an error can show it. Concurrency and
retries are `lookups.explain.sending`.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from lookups.errors import ServerError
from lookups.explain.replies import Reply, Request
from lookups.llm_settings import LlmSettings


class Trouble(NamedTuple):
    """An attempt that brought no reply."""

    what: str
    """What went wrong and what to do about it, for the reader."""
    again: bool
    """Whether another attempt may fare better."""
    wait: float | None = None
    """Seconds the server asked us to wait."""
    otherwise: Reply | None = None
    """What to keep if every attempt ends like this; None if that is an error."""


def key_for(settings: LlmSettings) -> str | None:
    """Read the key from the environment; None for a local server if there is none.

    Raises:
        ServerError: a server elsewhere needs a key and there is none, or it cannot be a key.
    """
    name = settings.key_variable
    key = os.environ.get(name, "").strip()
    if not key and not settings.local:
        raise ServerError(
            f"{settings.address} needs a key: set the environment variable {name} and run again"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ServerError(f"{name} holds no key (blanks or odd characters in it): set it again")
    return key or None


class Server:
    """A connection to be used in an `async with`; `ask` makes one attempt.

    Raises:
        ServerError: the package openai is not installed.
    """

    def __init__(self, settings: LlmSettings, key: str | None) -> None:
        try:
            import openai
        except ImportError:
            raise ServerError(
                "asking a language model needs the package openai: pip install openai"
            ) from None
        self._openai, self._settings, self._key = openai, settings, key
        # The address is always given, or the environment could send a run elsewhere than its file
        # says. No proxy stands between us and this machine, whatever the environment says.
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=settings.address,
            timeout=settings.timeout,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not settings.loopback),
        )

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, request: Request) -> Reply | Trouble:
        """Send a request once."""
        try:
            # The client's own timeout starts anew with every byte that comes in.
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._client.chat.completions.with_raw_response.create(
                    model=request.model, messages=request.messages, extra_body=request.settings
                )
        except (TimeoutError, self._openai.APITimeoutError):
            what = f"gave no reply within {self._settings.timeout:g} seconds"
            return self._again(f"{what}: raise timeout or lower concurrency")
        except self._openai.APIStatusError as error:
            return self._refused(error.response, request)
        except self._openai.APIConnectionError as error:
            reason = self._without_key(str(error.__cause__ or error))[:160]
            return self._again(
                f"cannot be reached ({reason}): check that the server runs and that base_url is its"
                " address"
            )
        return self._read(self._without_key(answer.text))

    def _refused(self, response: Any, request: Request) -> Trouble:
        """Tell what an HTTP status other than success means."""
        status, where, name = response.status_code, self._settings.address, self._settings.model
        words = self._words(response.text)
        variable = self._settings.key_variable
        if status in (401, 403):
            problem = "rejected the key in" if self._key else "needs a key: there is none in"
            what = f"{where} {problem} {variable} ({status}): set it to a valid key and run again"
        elif status == 404:
            what = (
                f"{where} knows no model {name!r} (404): correct model; or base_url, which mostly "
                "ends in /v1"
            )
        elif "insufficient_quota" in response.text:
            what = f"the account of the key in {variable} has no credit left: top it up"
        elif status in (408, 409, 425, 429) or status >= 500:
            problem = "limits the rate of requests" if status == 429 else f"failed with {status}"
            remedy = f"lower concurrency or raise retries{words}"
            return self._again(f"{problem}: {remedy}", waits(response.headers, time.time()))
        else:
            what = (
                f"{where} does not take the request ({status}){words}: change the setting that it "
                "names (logprobs, limit_key, seed and temperature can be turned off or changed), "
                "or give fewer prompts if they are too long"
            )
        return Trouble(what, again=False)

    def _read(self, body: str) -> Reply | Trouble:
        """Read the body of a success."""
        try:
            content = json.loads(body)
            choices = content["choices"]
            if not choices and "error" not in content:
                # Some servers answer so when a filter blocks the prompt: it is no answer, and
                # asking for ever would keep a run from its end.
                nothing = Reply("", finish="no choice")
                return self._again("sent no choice: run again")._replace(otherwise=nothing)
            return _reply(choices[0], content.get("usage"))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return self._again(
                "sent a reply that cannot be read, cut short or not of a chat: check that base_url "
                f"is a server of chat completions{self._words(body)}"
            )

    def _again(self, what: str, wait: float | None = None) -> Trouble:
        return Trouble(f"{self._settings.address} {what}", again=True, wait=wait)

    def _words(self, body: str) -> str:
        """Return the server's own words, shortened, to stand behind ours; empty if it has none."""
        try:
            content = json.loads(body)
            error = content.get("error", content)
            text = error.get("message", "") if isinstance(error, dict) else str(error)
        except (ValueError, AttributeError):
            text = body
        text = " ".join(self._without_key(str(text)).split())[:200]  # never half a key
        return f" (it says: {text})" if text else ""

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def waits(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds a server asks us to wait: given as such, as milliseconds, or as a date."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        asked = headers.get("retry-after", "")
        if asked.replace(".", "", 1).isdigit():
            return float(asked)
        return max(0.0, parsedate_to_datetime(asked).timestamp() - now)
    except ValueError:
        return None


def _reply(choice: dict, usage: Any) -> Reply:
    message = choice["message"]
    text = message.get("content")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text if isinstance(text, str) else "",
        finish=str(choice.get("finish_reason") or ""),
        refusal=str(message.get("refusal") or ""),
        first=_first_token(choice.get("logprobs")),
        prompt_tokens=_count(counts.get("prompt_tokens")),
        reply_tokens=_count(counts.get("completion_tokens")),
    )


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Return the candidates for the first token; the chosen one need not be among the likeliest.

    None where the server gives none, or gives them in another form: then the text is read.
    """
    try:
        chosen = logprobs["content"][0]
        candidates = [*(chosen.get("top_logprobs") or []), chosen]
        return {str(one["token"]): float(one["logprob"]) for one in candidates}
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        return None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
