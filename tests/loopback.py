"""A real server of files on this machine, a hub and a GitHub in small, that fails as it is told to.

`files` maps an address to its content; `script` maps an address to acts, one a request in the order
in which they come in; after its end the file is served as it should be, ranges included. What was
asked is kept in `asked`. `Hub` and `Record` say what the real ones say about models and commits.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Act = Callable[["Handler", bytes], None]
"""Handles one request for a file with that content."""


class Files:
    """Serves while its `with` is open, on a port that the system chooses."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.script: dict[str, list[Act]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.served = self
        self._http.handle_error = lambda *_: None  # a client that hangs up is no news
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "Files":
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer nothing from now on."""
        self._http.shutdown()
        self._http.server_close()

    def requests_for(self, ending: str) -> list[dict[str, str]]:
        """The headers of every request for an address that ends so."""
        return [headers for address, headers in self.asked if address.endswith(ending)]

    def will(self, ending: str, *acts: Act) -> None:
        """Script what is done when the address that ends so is asked for."""
        (address,) = [address for address in self.files if address.endswith(ending)]
        self.script[address] = list(acts)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        served: Files = self.server.served
        address = unquote(self.path)
        with served.lock:
            served.asked.append((address, {k.lower(): v for k, v in self.headers.items()}))
            content = served.files.get(address)
            acts = served.script.get(address)
            act = acts.pop(0) if acts else whole
        try:
            (status(404) if content is None else act)(self, content or b"")
        except OSError:  # the client has hung up
            self.close_connection = True

    def begin(self, code: int, length: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(length))
        self.end_headers()

    def first(self) -> int:
        """The byte from which on the client asks."""
        return int(self.headers.get("range", "bytes=0-")[6:].rstrip("-"))

    def log_message(self, *_: object) -> None:
        """Nothing is said on stderr."""


def whole(handler: Handler, content: bytes) -> None:
    """Serve what is asked for, as a server should."""
    first = handler.first()
    if "range" not in handler.headers:
        handler.begin(200, len(content))
    elif first >= len(content):
        return handler.begin(416, 0)
    else:
        span = f"bytes {first}-{len(content) - 1}/{len(content)}"
        handler.begin(206, len(content) - first, content_range=span)
    handler.wfile.write(content[first:])


def without_ranges(handler: Handler, content: bytes) -> None:
    """Serve all of it, whatever part is asked for."""
    handler.begin(200, len(content))
    handler.wfile.write(content)


def status(code: int, **headers: str) -> Act:
    """Fail with an HTTP status; headers as keywords, with _ for -."""

    def act(handler: Handler, _: bytes) -> None:
        handler.begin(code, 0, **headers)

    return act


def cut_after(count: int, *, ranges: bool = True) -> Act:
    """State the right length, send so many bytes, and hang up."""

    def act(handler: Handler, content: bytes) -> None:
        first = handler.first() if ranges else 0
        if first:
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            handler.begin(206, len(content) - first, content_range=span)
        else:
            handler.begin(200, len(content))
        handler.wfile.write(content[first : first + count])
        handler.wfile.flush()
        handler.close_connection = True

    return act


def short(count: int) -> Act:
    """Send so many bytes as if they were all, with a length that agrees."""

    def act(handler: Handler, content: bytes) -> None:
        handler.begin(200, count)
        handler.wfile.write(content[:count])

    return act


def stalls(count: int, seconds: float) -> Act:
    """Send so many bytes and then nothing for longer than the client waits."""

    def act(handler: Handler, content: bytes) -> None:
        handler.begin(200, len(content))
        handler.wfile.write(content[:count])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True

    return act


def sends(other: bytes) -> Act:
    """Send other content, or another part, than was asked for."""

    def act(handler: Handler, content: bytes) -> None:
        handler.begin(200, len(other))
        handler.wfile.write(other)

    return act


def redirects(url: str) -> Act:
    """Send the client elsewhere, as the hub does for large files."""

    def act(handler: Handler, _: bytes) -> None:
        handler.begin(302, 0, location=url)

    return act


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(Files):
    """Says about models and datasets what the hub says, and serves their files at a commit."""

    def publish(
        self, name: str, files: dict[str, bytes], *, kind: str = "models", revision: str = "main"
    ) -> str:
        """Put a repository's files at a new commit, and return the commit."""
        content = json.dumps([[path, blob(data)] for path, data in sorted(files.items())])
        commit = hashlib.sha1(f"{name}{content}".encode()).hexdigest()
        siblings = [_sibling(path, data) for path, data in files.items()]
        about = json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode()
        for known in (revision, commit):
            at = f"/api/{kind}/{name}/revision/{known.replace('/', '%2F')}?blobs=true"
            self.files[unquote(at)] = about
        place = name if kind == "models" else f"{kind}/{name}"
        for path, data in files.items():
            self.files[f"/{place}/resolve/{commit}/{path}"] = data
        return commit


def _sibling(path: str, data: bytes) -> dict:
    """One file as the hub lists it: with sha256 if it is large, by git's digest if it is not."""
    about = {"rfilename": path, "size": len(data), "blobId": blob(data)}
    if path.endswith((".safetensors", ".parquet", ".bin")):
        pointer = b"version https://git-lfs.github.com/spec/v1"
        digest = hashlib.sha256(data).hexdigest()
        about["blobId"] = blob(pointer)
        about["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": len(pointer)}
    return about


class Record(Files):
    """Says about one commit of a repository what GitHub's API says, and serves its raw files."""

    def publish(self, repository: str, commit: str, files: dict[str, bytes]) -> None:
        """Put files at a commit."""
        api = f"/repos/{repository}"
        self._answer(f"{api}/commits/{commit}", {"sha": commit})
        for path, data in files.items():
            self.files[f"/{repository}/{commit}/{path}"] = data
        trees = {commit: ""} | {
            hashlib.sha1(folder.encode()).hexdigest(): folder for folder in _folders(files)
        }
        for sha, folder in trees.items():
            inside = {p.removeprefix(folder): d for p, d in files.items() if p.startswith(folder)}
            below = [_entry(path, data) for path, data in inside.items()]
            folders = [
                {"path": f.removeprefix(folder).rstrip("/"), "type": "tree", "sha": s}
                for s, f in trees.items()
                if f.startswith(folder) and f != folder
            ]
            here = [entry for entry in below + folders if "/" not in entry["path"]]
            self._answer(f"{api}/git/trees/{sha}", {"tree": here, "truncated": False})
            self._answer(
                f"{api}/git/trees/{sha}?recursive=1", {"tree": below + folders, "truncated": False}
            )

    def _answer(self, address: str, content: dict) -> None:
        self.files[address] = json.dumps(content).encode()


def _entry(path: str, data: bytes) -> dict:
    return {"path": path, "type": "blob", "sha": blob(data), "size": len(data)}


def _folders(paths: Iterable[str]) -> set[str]:
    return {
        "/".join(parts[:n]) + "/"
        for parts in (path.split("/") for path in paths)
        for n in range(1, len(parts))
    }
