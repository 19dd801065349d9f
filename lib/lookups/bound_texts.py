"""Texts that a run's lock binds it to: refused where they are others, or where more lie with them.

`lookups download` writes the lock; what is compared here is what lies in the folder at each load
(`lookups.packed_texts`), a corpus's files by content. Without a lock nothing is compared.
"""

from pathlib import Path

from lookups import paths
from lookups.artifacts import first_changed
from lookups.errors import CorpusError
from lookups.run_lock import Locked, lock_path, read_lock, read_record
from lookups.runs import CorpusSpec
from lookups.texts import files_of


def check_bound(corpus: CorpusSpec, name: str) -> None:
    """Compare one corpus of a run, `org/name` or `org/name/file.jsonl`, with the run's lock.

    Raises:
        CorpusError: a file of it is missing, is another, or was put there by somebody else.
    """
    dataset = "/".join(name.split("/")[:2])
    if corpus.run_file is None or dataset not in (lock := read_lock(corpus.run_file)).corpora:
        return
    locked = lock.corpora[dataset]
    folder = paths.folder("data", corpus.folder) / dataset
    if problem := _missing_or_other(folder, locked) or (
        name == dataset and _not_downloaded(folder, locked)
    ):
        raise CorpusError(
            f"corpus: {problem}; {lock_path(corpus.run_file)} binds the run to {dataset} at commit "
            f"{locked.commit[:12]}, and without that lock it reads whatever is there"
        )


def _missing_or_other(folder: Path, locked: Locked) -> str | None:
    changed = first_changed(folder, locked)
    if changed is None:
        return None
    if not changed.is_file():
        return f"there is no {changed}: give `lookups download` with the run again"
    return f"{changed} is not what was downloaded: give `lookups download` again"


def _not_downloaded(folder: Path, locked: Locked) -> str | None:
    """Name a file that no download of this commit has put there: a folder is read whole."""
    record = read_record(folder)
    same = record is not None and record.commit == locked.commit
    known = locked.files.keys() | (record.files.keys() if same else set())
    for file in files_of(folder):
        if file.relative_to(folder).as_posix() not in known:
            return f"{file} was not downloaded: move it away"
    return None
