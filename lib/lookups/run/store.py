"""What a run leaves on disk: a table and a manifest a stage, whole or not there at all.

`save` writes into a folder beside the final one and renames it when everything is on disk, so that
a kill or a full disk leaves the former state. `load` hands out a table only if it is the one its
manifest describes, was made with the run's settings, and from the parents that lie there now.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from lookups.corpus.texts import local_path
from lookups.errors import MissingStage, StaleStage, StorageError
from lookups.model.files import place_of
from lookups.model.packaged import PACKAGED, digest_of
from lookups.paths import PROJECT
from lookups.run.fetching import sha256_of
from lookups.run.stages import Stage, settings_of, stage_named
from lookups.settings import Run, is_made

SCHEMA = 1
PACKAGES = ("torch", "transformers", "transformer-lens", "tokenizers", "numpy", "pandas", "pyarrow")
BOS_RULE = "exactly one beginning-of-sequence token, then the document's ids"


def stage_folder(settings: Run, stage: str) -> Path:
    """Return where a stage of a run lies, or would lie."""
    return settings.folder("artifacts") / settings.id / stage


def save(
    settings: Run,
    stage: str,
    table: pd.DataFrame,
    *,
    model: Any = None,
    documents: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> pd.DataFrame:
    """Write a stage's table and manifest, all or nothing, and return the table.

    `documents` maps a split to the digest of its documents; `model` is a `Model`.

    Raises:
        ValueError: the table lacks a column that the stage declares.
        MissingStage, StaleStage: a parent is not there, or not up to date.
        StorageError: the disk is full, or the folder cannot be written.
    """
    declared = stage_named(stage)
    missing = [column for column in declared.columns if column not in table.columns]
    if missing:
        raise ValueError(f"{stage} must hold the columns {missing}; the chapter left them out")
    parents = {parent: manifest(settings, parent)["digest"] for parent in declared.parents}
    about = {
        "stage": stage,
        "chapter": declared.chapter,
        "row": declared.row,
        "schema": SCHEMA,
        "run": settings.id,
        "parameters": parameters(settings, settings_of(declared)),
        "seed": settings.seed,
        "model": _about_model(model),
        "documents": dict(documents or {}),
        "bos": BOS_RULE,
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "commit": _commit(),
        "parents": parents,
        "rows": len(table),
        "seconds": None if seconds is None else round(seconds, 1),
    }
    final = stage_folder(settings, stage)
    try:
        _write(final, table, about)
    except OSError as error:
        raise StorageError(
            f"{stage} cannot be written to {final.parent} ({error.strerror or error}); free some "
            "space or set LOOKUPS_ARTIFACTS to another folder; what was there before is untouched"
        ) from error
    return table


def load(settings: Run, stage: str) -> pd.DataFrame:
    """Return the table of a stage that an earlier chapter saved.

    Raises:
        MissingStage: it was never made, or not to the end.
        StaleStage: it, a parent or a setting has changed since.
    """
    manifest(settings, stage)
    return pd.read_parquet(stage_folder(settings, stage) / "table.parquet")


def manifest(settings: Run, stage: str) -> dict[str, Any]:
    """Return a stage's manifest after checking all it stands on, the earliest stage first.

    Raises:
        MissingStage: it or a parent was never made, or not to the end.
        StaleStage: it, a parent or a setting has changed since.
    """
    return _checked(settings, stage_named(stage), {})


def _checked(settings: Run, declared: Stage, known: dict[str, dict]) -> dict[str, Any]:
    """Check a stage after its parents; `known` holds those checked already."""
    if declared.name in known:
        return known[declared.name]
    parents = {
        parent: _checked(settings, stage_named(parent), known)["digest"]
        for parent in declared.parents
    }
    remedy = f"run the chapter {declared.chapter} (or: lookups run {settings.id})"
    about, found = _on_disk(stage_folder(settings, declared.name))
    if about is None:
        raise MissingStage(f"run {settings.id!r} has no stage {declared.name}; {remedy}")
    if about.get("schema") != SCHEMA:
        raise StaleStage(f"{declared.name} was written by another version of this code; {remedy}")
    if about.get("digest") != found:
        raise StaleStage(f"{declared.name} is not the table its manifest describes; {remedy}")
    now, then = parameters(settings, settings_of(declared)), about.get("parameters", {})
    if changed := sorted(key for key in now if now[key] != then.get(key)):
        what = ", ".join(changed)
        raise StaleStage(f"{declared.name} was made with other settings ({what}); {remedy}")
    for parent, digest in parents.items():
        if digest != about.get("parents", {}).get(parent):
            raise StaleStage(f"{declared.name} was made from another {parent}; {remedy}")
    known[declared.name] = about
    return about


def _on_disk(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Return a manifest as it stands and the digest of the table beside it; None if not whole."""
    _recover(folder)
    try:
        about = json.loads((folder / "manifest.json").read_text("utf-8"))
        found = sha256_of(folder / "table.parquet")
    except (OSError, ValueError):
        return None, ""
    return (about, found) if isinstance(about, dict) else (None, "")


def parameters(settings: Run, keys: Iterable[str]) -> dict[str, Any]:
    """Return some settings as JSON; places are left out, what lies there counts."""
    content = settings.model_dump(mode="json", include=set(keys))
    for section in ("model", "corpus"):
        content.get(section, {}).pop("folder", None)
    if "model" in content and settings.model.name in PACKAGED:
        content["model"]["files"] = PACKAGED[settings.model.name].sha256
    elif "model" in content and (place := place_of(settings.model)) is not None:
        content["model"]["files"] = contents_digest(place, "*.safetensors", "*.json")
    if "corpus" in content and (files := _corpus_files(settings)):
        content["corpus"]["files"] = files
    for key in ("prompts", "verdicts"):
        if content.get(key) is not None:
            content[key] = contents_digest(getattr(settings, key))
    if content.get("published") is not None:
        content["published"] = contents_digest(settings.published, "*.json", "*.jsonl")
    return content


def _corpus_files(settings: Run) -> dict[str, str]:
    """Digests of the texts that lie on this machine, of both halves of a corpus."""
    corpus = settings.corpus
    names = [name for name in (corpus.name, corpus.held_out) if name and not is_made(name)]
    paths = {name: local_path(corpus, name) for name in names}
    there = {name: path for name, path in paths.items() if path is not None and path.exists()}
    return {Path(name).name: contents_digest(path) for name, path in sorted(there.items())}


def contents_digest(path: Path, *patterns: str) -> str:
    """Return the digest of a file, or of the files and their names in a folder, hidden ones not."""
    if path.is_file():
        return digest_of(path)
    inside = {p for pattern in patterns or ("[!.]*",) for p in path.rglob(pattern) if p.is_file()}
    lines = [f"{p.relative_to(path).as_posix()} {contents_digest(p)}" for p in sorted(inside)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Stopwatch:
    """Seconds since it was made: for manifests, never for what a notebook shows."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start


def _write(final: Path, table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Put table and manifest on disk beside their place, then move them there together."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _recover(final)
    partial = final.with_name(f"{final.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        path = partial / "table.parquet"
        table.reset_index(drop=True).to_parquet(path, index=False, compression="zstd")
        about = about | {"digest": sha256_of(path)}
        (partial / "manifest.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        for file in partial.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        _replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(partial: Path, final: Path) -> None:
    """Put a finished folder in the place of the former one."""
    former = final.with_name(f"{final.name}.former-{os.getpid()}")
    if final.exists():
        final.rename(former)
    partial.rename(final)
    shutil.rmtree(former, ignore_errors=True)


def _recover(final: Path) -> None:
    """Undo what a killed process left: bring a former state back, remove unfinished ones."""
    for left in sorted(final.parent.glob(f"{final.name}.*-*")):
        owner = left.name.rsplit("-", 1)[1]
        if not owner.isdigit() or (int(owner) != os.getpid() and _alive(int(owner))):
            continue
        if ".former-" in left.name and not final.exists():
            left.rename(final)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _about_model(model: Any) -> dict[str, Any] | None:
    if model is None:
        return None
    from lookups.model.loaded import PROCESSING

    return {
        "name": model.name,
        "revision": model.revision,
        "processing": PROCESSING,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


def _commit() -> str | None:
    """The checkout's commit, or None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
