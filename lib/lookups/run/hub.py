"""What there is to fetch on the Hugging Face hub: the files of a model or a corpus.

A listing names a commit and, for each file, its size and checksum as the hub states them. Of a
model only configuration, tokenizer and safetensors weights are listed, of a corpus only files that
`corpus.texts` reads: never a pickle, never code. Nothing is written here (`run.fetching`
fetches). Used by `lookups download`.
"""

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from lookups.corpus.texts import ENDINGS, kind_of
from lookups.errors import DownloadError
from lookups.run.fetching import Connection, Patience, RemoteFile

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
BYTES_A_DOCUMENT = 32_000
CONVERTED = "refs/convert/parquet"
"""Where the hub keeps its own parquet copy of a dataset that was stored in another form."""

_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_SAFE_PATH = re.compile(r"(?:[\w][\w.+=@ -]*/)*[\w][\w.+=@ -]*")


class Listing(NamedTuple):
    """The files of one commit that are wanted."""

    name: str
    """A model's or dataset's id, or a repository."""
    commit: str
    files: tuple[RemoteFile, ...]


def hub(
    *, patience: Patience | None = None, say: Callable[[str], None] | None = None
) -> Connection:
    """Return a connection to the hub; the token comes from the environment and stays in memory."""
    token = os.environ.get("HF_TOKEN")
    denied = (
        "the token in HF_TOKEN may not read it; accept its terms on the hub with that account"
        if token
        else "it is gated or private, or there is none of that name; accept its terms on the hub "
        "and put a token into the environment variable HF_TOKEN"
    )
    return Connection(patience, token=token, denied=denied, say=say or (lambda line: None))


def model_listing(connection: Connection, name: str, revision: str) -> Listing:
    """List the files that loading a model reads.

    Raises:
        DownloadError: there is no such model or revision, or it has no safetensors weights.
    """
    origin = f"the model {name}"
    commit, files = _contents(connection, f"models/{name}", name, revision, origin)
    found = {file.path for file in files}
    weights = [path for path in found if path == "model.safetensors"]
    weights = weights or [path for path in found if _SHARD.fullmatch(path)]
    if not weights or "config.json" not in found:
        raise DownloadError(
            f"{origin} has no {'config.json' if weights else 'model.safetensors'} at "
            f"{commit[:12]}; pickled weights are never read: name a revision with safetensors, "
            "or convert it and give its folder"
        )
    index = {"model.safetensors.index.json"} if "model.safetensors" not in weights else set()
    wanted = {*MODEL_FILES, *weights} | index
    return Listing(name, commit, tuple(file for file in files if file.path in wanted))


def corpus_listing(connection: Connection, name: str, revision: str = "main") -> Listing:
    """List the files of texts in a dataset; in the hub's parquet copy where it has no other.

    Raises:
        DownloadError: there is no such dataset or revision, or it holds no file that is read.
    """
    origin = f"the dataset {name}"
    for place in (revision, CONVERTED) if revision == "main" else (revision,):
        commit, files = _contents(connection, f"datasets/{name}", name, place, origin)
        readable = [file for file in files if kind_of(file.path)]
        if readable:
            return Listing(name, commit, tuple(sorted(readable)))
        origin = f"a copy of the dataset {name} as .parquet (it has no file of a kind that is read)"
    raise DownloadError(
        f"the dataset {name} holds no {', '.join(ENDINGS)} file at {commit[:12]}; save "
        'its texts as a .jsonl file with a "text" a line and name that file'
    )


def named_files(listing: Listing, wanted: Iterable[str]) -> Listing:
    """Keep the files of a dataset that a run names one by one.

    Raises:
        DownloadError: the dataset has no such file, or it is not of a kind that is read.
    """
    found = {file.path: file for file in listing.files}
    if missing := sorted(set(wanted) - found.keys()):
        raise DownloadError(
            f"the dataset {listing.name} has no readable file {missing[0]} at "
            f"{listing.commit[:12]}; it has {', '.join(sorted(found)[:5])}"
        )
    return listing._replace(files=tuple(found[path] for path in sorted(set(wanted))))


def train_files(listing: Listing, documents: int) -> Listing:
    """Keep the train files of a dataset (all, where none is called so), as many as are needed.

    Files are taken in order until they hold 32 kB a document: a text of the Pile takes some 6 kB.
    """
    train = [file for file in listing.files if "train" in file.path]
    kept: list[RemoteFile] = []
    for file in train or listing.files:
        if sum(held.size for held in kept) >= documents * BYTES_A_DOCUMENT:
            break
        kept.append(file)
    return listing._replace(files=tuple(kept))


def _contents(
    connection: Connection, place: str, name: str, revision: str, origin: str
) -> tuple[str, list[RemoteFile]]:
    """Return the commit of a revision and all its files; the hub states sizes and checksums."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    if not endpoint.startswith(("http://", "https://")):
        raise DownloadError(f"HF_ENDPOINT is {endpoint!r}; it must begin with https://")
    address = f"{endpoint}/api/{quote(place)}/revision/{quote(revision, safe='')}?blobs=true"
    about = connection.json(address, origin)
    commit = answered(about, "sha", str, origin)
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise DownloadError(f"{origin} has the revision {commit[:50]!r}, which is no commit")
    kind, _, _ = place.partition("/")
    base = f"{endpoint}/{'datasets/' if kind == 'datasets' else ''}{quote(name)}/resolve/{commit}"
    files = []
    for entry in answered(about, "siblings", list, origin):
        path, lfs = str(entry.get("rfilename")), entry.get("lfs") or {}
        url = f"{base}/{quote(path)}"
        blob = None if lfs else entry.get("blobId")
        size = lfs.get("size", entry.get("size"))
        if path in MODEL_FILES or path.endswith((".safetensors", ".index.json")) or kind_of(path):
            files.append(remote_file(path, url, origin, size, sha256=lfs.get("sha256"), blob=blob))
    return commit, files


def remote_file(
    path: str,
    url: str,
    origin: str,
    size: Any,
    *,
    sha256: str | None = None,
    blob: str | None = None,
) -> RemoteFile:
    """Return a file as it was listed.

    Raises:
        DownloadError: its name is not safe to write, or there is nothing to verify it by.
    """
    if not _SAFE_PATH.fullmatch(path):
        raise DownloadError(f"{origin} lists a file named {path!r}, which is not safe to write")
    if not isinstance(size, int) or not (sha256 or blob):
        raise DownloadError(
            f"{origin} states no size or checksum of {path}, so it could not be verified; "
            "download it another way and give its folder"
        )
    return RemoteFile(path, url, origin, size, sha256, blob)


def answered(answer: Any, key: str, kind: type, origin: str) -> Any:
    """Return what an answer says under a key: text, or a list of dictionaries.

    Raises:
        DownloadError: it says nothing of the kind.
    """
    value = answer.get(key) if isinstance(answer, dict) else None
    entries = value if isinstance(value, list) else []
    if not isinstance(value, kind) or not all(isinstance(entry, dict) for entry in entries):
        raise DownloadError(
            f"the answer about {origin} has no {key!r}; check HF_ENDPOINT and any proxy in between"
        )
    return value
