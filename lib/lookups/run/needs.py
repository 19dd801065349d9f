"""What a run reads that may have to come from the hub: its model and its corpora.

A corpus is a dataset, `org/name`, or one of its files, `org/name/file.jsonl`. Nothing is asked or
fetched here (`lookups.run.download` does). Used before chapter 1.
"""

from pathlib import Path
from typing import NamedTuple

from lookups import paths
from lookups.corpus.texts import kind_of
from lookups.errors import RunError
from lookups.model.packaged import PACKAGED
from lookups.run.plans import Kind
from lookups.run.run_lock import Lock, Locked, read_record
from lookups.settings import Run, is_made


class Need(NamedTuple):
    """A model or dataset that a run reads."""

    kind: Kind
    name: str
    folder: Path
    locked: Locked | None
    files: frozenset[str] = frozenset()
    """Only these files of a dataset, where the run names them one by one."""


def needs_of(settings: Run, lock: Lock) -> list[Need]:
    """Return the model and the corpora of a run; a dataset with two files in it stands once.

    Raises:
        RunError: a dataset is named both whole and by one of its files.
    """
    model, data = settings.model, settings.folder("data")
    locked = lock.model if lock.model and lock.model.name == model.name else None
    needs = [Need("model", model.name, settings.folder("models") / model.name, locked)]
    if settings.prompts is not None:
        return needs
    files: dict[str, frozenset[str]] = {}
    for corpus in (settings.corpus.name, settings.corpus.held_out):
        if corpus is not None:
            name, file = _dataset_and_file(corpus)
            if name in files and not (files[name] and file):
                raise RunError(
                    f"corpus: {name} is named whole and by a file, and a folder is read whole; "
                    "name its files one by one"
                )
            files[name] = files.get(name, frozenset()) | file
    for name, chosen in files.items():
        needs.append(Need("corpus", name, data / name, lock.corpora.get(name), chosen))
    return needs


def _dataset_and_file(corpus: str) -> tuple[str, frozenset[str]]:
    parts = corpus.split("/", 2)
    if len(parts) == 3 and kind_of(corpus) and not Path(corpus).is_absolute():
        return "/".join(parts[:2]), frozenset({parts[2]})
    return corpus, frozenset()


def why_not_fetched(need: Need) -> str | None:
    """Say why something need not be fetched; None if it comes from the hub.

    Raises:
        DownloadError: a folder's record of what was downloaded into it cannot be read.
    """
    kind, name = need.kind, need.name
    if name in PACKAGED and PACKAGED[name].kind == kind:
        return f"the {kind} {name} comes in the package {PACKAGED[name].distribution}"
    if kind == "corpus" and is_made(name):
        return f"the corpus {name} is made here"
    if kind == "model" and (paths.EMBEDDED / name).is_dir():
        return f"the model {name} ships with the project"
    local = Path(name).is_dir() or name.endswith(".gguf") if kind == "model" else kind_of(name)
    if local or name.startswith((".", "/", "~")):
        return f"the {kind} {name} is on this machine"
    if need.folder.exists() and read_record(need.folder) is None:
        return f"the {kind} {name} is a folder of your own, {need.folder}"
    return None
