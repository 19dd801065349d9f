"""Real servers on this machine; one is a hub in small that answers as the hub's client expects.

`publish` puts a repository's files at a new commit, `refuse` answers by an error, and `replace`
serves other content for a file than was stated. What was asked is kept in `asked`.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit


class Answer(NamedTuple):
    content: bytes
    code: int
    headers: dict[str, str]


NOT_FOUND = Answer(b"", 404, {"X-Error-Code": "RepoNotFound"})


class Served:
    """Serves while its `with` is open, on a port that the system chooses."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer nothing from now on."""
        self._http.shutdown()
        self._http.server_close()


class QuietHandler(BaseHTTPRequestHandler):
    """Says nothing on stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Hub(Served):
    """Repositories of models and datasets."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.answers: dict[str, Answer] = {}
        self.refused: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def publish(
        self, name: str, files: dict[str, bytes], *, kind: str = "models", revision: str = "main"
    ) -> str:
        """Put a repository's files at a new commit, and return the commit."""
        hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        commit = hashlib.sha1(f"{name}{sorted(hashes.items(), key=str)}".encode()).hexdigest()
        api, place = f"/api/{kind}/{name}", f"/{'' if kind == 'models' else kind + '/'}{name}"
        stated = []
        for path, data in files.items():
            digest = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            about = {"type": "file", "path": path, "rfilename": path, "size": len(data)}
            about |= {"oid": digest, "blobId": digest}
            if path.endswith((".safetensors", ".parquet", ".bin")):  # stated by their sha256
                digest = hashes[path]
                lfs = {"oid": digest, "sha256": digest, "size": len(data), "pointerSize": 1}
                about |= {"lfs": lfs}
            stated.append(about)
            headers = {"X-Repo-Commit": commit, "ETag": digest}
            self.answers[f"{place}/resolve/{commit}/{path}"] = Answer(data, 200, headers)
        about = json.dumps({"id": name, "sha": commit, "siblings": stated}).encode()
        for known in (revision, commit):
            self.answers[f"{api}/revision/{known}"] = Answer(about, 200, {})
        self.answers[f"{api}/tree/{commit}"] = Answer(json.dumps(stated).encode(), 200, {})
        return commit

    def refuse(self, place: str, code: int, error: str) -> None:
        """Answer every address with this in it by an error, as the hub calls it."""
        self.refused[place] = Answer(b"", code, {"X-Error-Code": error})

    def replace(self, ending: str, content: bytes) -> None:
        """Serve other content for the file whose address ends so, and say nothing of it."""
        (address,) = [address for address in self.answers if address.endswith(ending)]
        self.answers[address] = self.answers[address]._replace(content=content)

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        gets = [address for method, address, _ in self.asked if method == "GET"]
        return [address for address in gets if "/resolve/" in address]


class Handler(QuietHandler):
    def do_GET(self) -> None:
        hub: Hub = self.server.owner
        address = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.asked.append((self.command, address, headers))
        refused = (answer for place, answer in hub.refused.items() if place in address)
        answer = next(refused, hub.answers.get(address, NOT_FOUND))
        self.send_response(answer.code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.content)

    do_HEAD = do_GET
