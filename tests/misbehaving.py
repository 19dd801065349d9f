"""A real server of chat completions on this machine that misbehaves as it is told to.

`script` holds one act for every request, in the order in which requests come in; after its end, or
where an act is None, `answer` decides what the model says. Everything that is asked and answered is
counted, by the digest of the request's body.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from typing import Any

Act = Callable[["Handler", dict], bool]
"""Handles one request; True if it was answered."""


class Server:
    """Serves while its `with` is open, on a port that the system chooses."""

    def __init__(
        self,
        script: Iterable[Act | None] = (),
        *,
        answer: Callable[[dict], Act] | None = None,
        models: tuple[str, ...] = ("tiny",),
        key: str | None = None,
        dies_after: int | None = None,
    ) -> None:
        self.script, self.models, self.key, self.dies_after = iter(script), models, key, dies_after
        self.answer = answer or (lambda _: says("Yes"))
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.came: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.dead = False
        self._at_once = 0
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.script = self
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Stop at once: nothing that comes in from now on is answered."""
        self.dead = True
        self._http.shutdown()
        self._http.server_close()

    def begin(self, headers: dict[str, str], body: dict) -> Act | None:
        """Note a request and say how it is to be handled; None: it is not."""
        with self.lock:
            if self.dead or (
                self.dies_after is not None and self.answered.total() >= self.dies_after
            ):
                if not self.dead:
                    self.dead = True
                    threading.Thread(target=self.kill, daemon=True).start()
                return None
            self.asked[digest(body)] += 1
            self.bodies.append(body)
            self.came.append(time.monotonic())
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
                return status(401, f"wrong key: {headers.get('authorization')}")
            if body["model"] not in self.models:
                return status(404, f"The model `{body['model']}` does not exist")
            return next(self.script, None) or self.answer(body)

    def end(self, body: dict, answered: bool) -> None:
        with self.lock:
            self._at_once -= 1
            self.answered[digest(body)] += answered


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every reply is 40 ms late

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server: Server = self.server.script
        act = server.begin({name.lower(): value for name, value in self.headers.items()}, body)
        if act is None:
            self.close_connection = True
            return
        answered = False
        try:
            answered = act(self, body)
        except OSError:  # the client has hung up
            self.close_connection = True
        finally:
            server.end(body, answered)

    def send(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is said on stderr."""


def says(
    text: str | None,
    *,
    first: dict[str, float] | None = None,
    refusal: str | None = None,
    seconds: float = 0.0,
) -> Act:
    """Answer; `first` gives the probabilities of the candidates for the first token."""

    def act(handler: Handler, body: dict) -> bool:
        time.sleep(seconds)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": refusal},
            "finish_reason": "stop",
            "logprobs": None,
        }
        if first is not None and body.get("logprobs"):
            top = [{"token": token, "logprob": log(p)} for token, p in first.items()]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
        handler.send(
            200, {"id": "1", "object": "chat.completion", "choices": [choice]} | {"usage": usage}
        )
        return True

    return act


def status(code: int, message: str = "no", *, code_word: str = "", **headers: str) -> Act:
    """Fail with an HTTP status; headers as keywords, with _ for -."""

    def act(handler: Handler, _: dict) -> bool:
        error = {"message": message, "type": "error", "code": code_word}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.send(code, {"error": error}, named)
        return False

    return act


def sends(body: bytes) -> Act:
    """Succeed with exactly these bytes."""

    def act(handler: Handler, _: dict) -> bool:
        handler.send(200, body)
        return False

    return act


def cut_short(handler: Handler, _: dict) -> bool:
    """Promise a long body, send its beginning, and hang up."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"index": 0, "mess')
    handler.wfile.flush()
    handler.close_connection = True
    return False


def hangs(seconds: float, *, dripping: bool = False) -> Act:
    """Say nothing, or a blank now and then, for longer than the client waits."""

    def act(handler: Handler, _: dict) -> bool:
        handler.close_connection = True
        if dripping:
            handler.send_response(200)
            handler.send_header("content-length", "5000")
            handler.end_headers()
        for _step in range(20):
            time.sleep(seconds / 20)
            if dripping:
                handler.wfile.write(b" ")
                handler.wfile.flush()
        return False

    return act


def digest(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
