"""What there is to fetch of the record that the paper's authors released: its JSON files on GitHub.

The record is one commit of one repository; a listing states the size of each file and git's own
checksum. Pickles are never listed. Nothing is written here (`lookups.run.fetching` fetches), and
nothing is read (`lookups.record.read` does). Used by `lookups download --published`.
"""

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

from lookups.errors import DownloadError
from lookups.run.fetching import Connection, Patience, RemoteFile
from lookups.run.hub import Listing, answered, remote_file

RECORD = "fbarez/Interpreting-Context-Look-ups"
RECORD_COMMIT = "b98f23e85f77da6ad207b55418fcba48a5da044f"
RECORD_FOLDER = "neuron_groups/experiment_data"


def github(
    *, patience: Patience | None = None, say: Callable[[str], None] | None = None
) -> Connection:
    """Return a connection to GitHub, which counts requests that come without an account."""
    denied = "it answers no more requests from this network for now; try again in an hour"
    return Connection(patience, denied=denied, say=say or (lambda line: None))


def published_listing(
    connection: Connection,
    model: str | None = None,
    *,
    api: str = "https://api.github.com",
    raw: str = "https://raw.githubusercontent.com",
) -> Listing:
    """List the JSON files of the authors' record, of one model or all.

    Raises:
        DownloadError: the record is not there, or holds nothing of that model.
    """
    origin = "the authors' record"
    repo = f"{api}/repos/{RECORD}"
    asked = connection.json(f"{repo}/commits/{RECORD_COMMIT}", origin)
    commit = answered(asked, "sha", str, origin)
    if commit != RECORD_COMMIT:
        raise DownloadError(
            f"{origin} is commit {RECORD_COMMIT[:7]}, but {commit[:7]} was offered; "
            "check any proxy in between"
        )
    tree = commit
    for part in RECORD_FOLDER.split("/"):
        asked = connection.json(f"{repo}/git/trees/{tree}", origin)
        entries = answered(asked, "tree", list, origin)
        tree = next((entry.get("sha") for entry in entries if entry.get("path") == part), None)
        if tree is None:
            raise DownloadError(f"{origin} has no folder {RECORD_FOLDER} at {commit[:12]}")
    listed = connection.json(f"{repo}/git/trees/{tree}?recursive=1", origin)
    found = answered(listed, "tree", list, origin)
    if listed.get("truncated"):
        raise DownloadError(f"{origin} was listed in part only; clone {RECORD} with git instead")
    files = [
        remote_file(
            entry["path"],
            f"{raw}/{RECORD}/{commit}/{quote(RECORD_FOLDER)}/{quote(entry['path'])}",
            origin,
            entry.get("size"),
            blob=entry.get("sha"),
        )
        for entry in found
        if entry.get("type") == "blob" and str(entry.get("path")).endswith((".json", ".jsonl"))
    ]
    return Listing(RECORD, commit, _of_model(files, model))


def _of_model(files: Iterable[RemoteFile], model: str | None) -> tuple[RemoteFile, ...]:
    """Keep the files of one model: names are `<date>_<time>_<model>[_…].json`."""

    def model_in(file: RemoteFile) -> str:
        name = re.sub(r"^[\d-]+_[\d-]+_", "", file.path.rsplit("/", 1)[-1])
        return re.split(r"_|\.jsonl?$", name)[0]

    files = tuple(files)
    if model is None:
        return files
    if model not in (known := sorted({model_in(file) for file in files})):
        raise DownloadError(
            f"the authors' record holds nothing of {model!r}; it has {', '.join(known)}"
        )
    return tuple(file for file in files if model_in(file) == model)
