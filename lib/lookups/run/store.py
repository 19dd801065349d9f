"""What a run leaves on disk: a table and a manifest a stage, never half of one.

`save` writes both aside and puts the table in its place, then the manifest with its digest. `load`
hands out a table only if it is the one its manifest describes, was made with the run's settings,
and from the parents that lie there now; it changes nothing on disk.
"""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd

from lookups.corpus.texts import local_path
from lookups.errors import MissingStage, StaleStage
from lookups.model.files import place_of
from lookups.model.loaded import PROCESSING
from lookups.model.packaged import PACKAGED
from lookups.paths import PROJECT, digest_of, replacing
from lookups.run.stages import settings_of, stage_named
from lookups.settings import Run, is_made

SCHEMA = 2
PACKAGES = (
    *("torch", "transformers", "transformer-lens", "tokenizers", "numpy", "pandas", "pyarrow"),
    *("scipy", "scikit-learn", "statsmodels", "matplotlib"),
)
OF_MODEL = ("name", "revision", "dtype", "device", "nats_apart")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"Python": python_version()} | {name: version(name) for name in PACKAGES}


def save(
    settings: Run,
    stage: str,
    table: pd.DataFrame,
    *,
    model: Any = None,
    documents: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> pd.DataFrame:
    """Write a stage's table and manifest and return the table.

    `documents` maps a split to the digest of its documents; `model` is a `Model`. MissingStage or
    StaleStage if a parent is not there or not up to date; LookupsError if the disk is full, or the
    folder cannot be written.
    """
    declared = stage_named(stage)
    about = {
        "stage": stage,
        "chapter": declared.chapter,
        "row": declared.row,
        "schema": SCHEMA,
        "run": settings.id,
        "parameters": parameters(settings, settings_of(declared)),
        "seed": settings.seed,
        "model": model and {name: str(getattr(model, name)) for name in OF_MODEL},
        "processing": PROCESSING,
        "documents": dict(documents or {}),
        "bos": "exactly one beginning-of-sequence token, then the document's ids",
        "versions": versions(),
        "commit": _commit(),
        "parents": {parent: manifest(settings, parent)["digest"] for parent in declared.parents},
        "rows": len(table),
        "seconds": None if seconds is None else round(seconds, 1),
    }
    folder = settings.place(stage)
    with replacing(folder / "manifest.json") as last, replacing(folder / "table.parquet") as first:
        table.reset_index(drop=True).to_parquet(first, index=False, compression="zstd")
        about["digest"] = digest_of(first)
        last.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return table


def load(settings: Run, stage: str) -> pd.DataFrame:
    """Return the table of a stage that an earlier chapter saved, checked as `manifest` does."""
    manifest(settings, stage)
    return pd.read_parquet(settings.place(stage) / "table.parquet")


def manifest(settings: Run, stage: str) -> dict[str, Any]:
    """Return a stage's manifest after checking all it stands on, the earliest stage first.
    MissingStage if it or a parent was never made, or not to the end; StaleStage if it, a parent or
    a setting has changed since."""
    declared, folder = stage_named(stage), settings.place(stage)
    parents = {parent: manifest(settings, parent)["digest"] for parent in declared.parents}
    remedy = f"run the chapter {declared.chapter} (or: lookups run {settings.given})"
    try:
        about = json.loads((folder / "manifest.json").read_text("utf-8"))
        found = digest_of(folder / "table.parquet")
    except (OSError, ValueError):
        raise MissingStage(f"run {settings.id!r} has no stage {stage}; {remedy}") from None
    if not isinstance(about, dict) or (about.get("schema"), about.get("stage")) != (SCHEMA, stage):
        raise StaleStage(f"{stage} was written by another version of this code; {remedy}")
    if about.get("digest") != found:
        raise StaleStage(f"{stage} is not the table its manifest describes; {remedy}")
    now, then = parameters(settings, settings_of(declared)), about.get("parameters", {})
    if changed := sorted(key for key in now if now[key] != then.get(key)):
        raise StaleStage(f"{stage} was made with other settings ({', '.join(changed)}); {remedy}")
    for parent, digest in parents.items():
        if digest != about.get("parents", {}).get(parent):
            raise StaleStage(f"{stage} was made from another {parent}; {remedy}")
    return about


def parameters(settings: Run, keys: Iterable[str]) -> dict[str, Any]:
    """Return some settings as JSON; of places, what lies there counts."""
    content = settings.model_dump(mode="json", include=set(keys))
    if "model" in content and settings.model.name in PACKAGED:
        content["model"]["files"] = PACKAGED[settings.model.name].sha256
    elif "model" in content and (place := place_of(settings.model)) is not None:
        content["model"]["files"] = contents_digest(place, "*.safetensors", "*.json")
    if "corpus" in content:
        corpus = settings.corpus
        names = [n for n in (corpus.name, corpus.held_out) if n and not is_made(n)]
        paths = [local_path(corpus, name) for name in names]
        if files := [contents_digest(path) for path in paths if path and path.exists()]:
            content["corpus"]["files"] = files
    for key in ("prompts", "verdicts", "published"):
        if content.get(key) is not None:
            patterns = ("*.json", "*.jsonl") if key == "published" else ()
            content[key] = contents_digest(getattr(settings, key), *patterns)
    return content


def contents_digest(path: Path, *patterns: str) -> str:
    """Return the digest of a file, or of the files and their names in a folder, hidden ones not."""
    if path.is_file():
        return digest_of(path)
    inside = {p for pattern in patterns or ("[!.]*",) for p in path.rglob(pattern) if p.is_file()}
    lines = [f"{p.relative_to(path).as_posix()} {digest_of(p)}" for p in sorted(inside)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Stopwatch:
    """Seconds since it was made: for manifests, never for what a notebook shows."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


def _commit() -> str | None:
    """The checkout's commit; None outside a checkout."""
    git = ["git", "-C", str(PROJECT), "rev-parse", "HEAD"]
    with suppress(OSError):  # there is no git
        return subprocess.run(git, capture_output=True, text=True).stdout.strip() or None
    return None
