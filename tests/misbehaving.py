"""A real server of chat completions on this machine that misbehaves as it is told to.

`script` holds one act for every request, in the order in which requests come in; after its end, or
where an act is None, `answer` decides what the model says. What is asked is counted by its body.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from math import log
from typing import Any

from loopback import QuietHandler, Served

Act = Callable[["Handler", dict], None]
"""Handles one request, of which it gets the body."""


class Server(Served):
    """A language model's server."""

    def __init__(self, script: Iterable[Act | None] = (), *, answer=None, key=None) -> None:
        super().__init__(Handler)
        self.url += "/v1"
        self.script, self.key = iter(script), key
        self.answer = answer or (lambda _: says("Yes"))
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.lock = threading.Lock()

    def begin(self, authorization: str | None, body: dict) -> Act:
        """Note a request and say how it is to be handled."""
        with self.lock:
            self.asked[json.dumps(body, sort_keys=True)] += 1
            self.bodies.append(body)
            if self.key is not None and authorization != f"Bearer {self.key}":
                return status(401, f"wrong key: {authorization}")
            return next(self.script, None) or self.answer(body)


class Handler(QuietHandler):
    disable_nagle_algorithm = True  # or every reply is 40 ms late

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server: Server = self.server.owner
        try:
            server.begin(self.headers["authorization"], body)(self, body)
        except OSError:  # the client has hung up
            self.close_connection = True

    def send(self, code: int, content: Any, **headers: str) -> None:
        """Answer; headers as keywords, with _ for -."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        length = {"content_type": "application/json", "content_length": str(len(data))}
        for name, value in (length | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def says(text: str | None, *, first=None, refusal=None, seconds: float = 0.0) -> Act:
    """Answer; `first` gives the probabilities of the candidates for the first token."""

    def act(handler: Handler, body: dict) -> None:
        time.sleep(seconds)
        choice: dict[str, Any] = {"message": {"content": text, "refusal": refusal}}
        if first is not None and body.get("logprobs"):
            top = [{"token": token, "logprob": log(p)} for token, p in first.items()]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        handler.send(200, {"choices": [choice]})

    return act


def status(code: int, message: str = "no", *, body: Any = None, **headers: str) -> Act:
    """Fail with an HTTP status; by default the next attempt need not wait."""
    headers = {"retry_after_ms": "5"} | headers
    body = body or {"error": {"message": message}}
    return lambda handler, _: handler.send(code, body, **headers)


def chooses(content: Any, *, end: str | None = "stop", logprobs: Any = None, **more: Any) -> Act:
    """Succeed with one choice that ended so; a message's other fields or an `error` with it."""
    error = {"error": more.pop("error")} if "error" in more else {}
    choice = {"message": {"content": content} | more, "finish_reason": end, "logprobs": logprobs}
    return sends(json.dumps({"choices": [choice | error]}).encode())


def sends(body: bytes) -> Act:
    """Succeed with exactly these bytes."""
    return lambda handler, _: handler.send(200, body)


def cut_short(handler: Handler, _: dict) -> None:
    """Promise a long body, send its beginning, and hang up."""
    handler.send(200, b'{"choices": [{"index": 0, "mess', content_length="5000")
    handler.close_connection = True


def hangs(seconds: float) -> Act:
    """Say nothing for longer than the client waits."""
    return lambda *_: time.sleep(seconds)
