"""Texts of one's own, or from the Hugging Face hub, one after another (the `corpus:` of a run).

A corpus is a file, a folder of files (`lookups.text_files` reads them), or a dataset of the hub,
which is read from the data folder where it was downloaded to and as a stream otherwise. Nothing is
held whole: texts are yielded as they are read. No tokens here (`lookups.documents` makes them).

Half of the documents are held out as the test split, chosen by a hash of the text, so that copies
of a text stay on one side; of the file's name where a folder holds several `.txt` files, which are
works rather than collections. A run may name another corpus as its test split (`held_out:`); then
all documents of the one are train, and all of the other test.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lookups import paths
from lookups.errors import CorpusError
from lookups.runs import CorpusSpec
from lookups.text_files import COMPRESSED, ENDINGS, bare, documents_in, kind_of

Half = Literal["train", "test"]


class Text(NamedTuple):
    """One document as written."""

    text: str
    source: str
    """The file, where it is one of several texts files; else the file and the document's number."""
    line: int
    """Where it begins, or its row; counted from 1."""


def half_of(name: str) -> Half:
    """Return the split of a name or text."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def corpus_texts(corpus: CorpusSpec, split: Half) -> Iterator[Text]:
    """Yield the texts of one split of a run's corpus; 'planted' has no texts here.

    Raises:
        CorpusError: the corpus is not there, or a file or row of it cannot be read.
    """
    name, half = part_of(corpus, split)
    path = local_path(corpus, name)
    if path is not None:
        return local_texts(path, half, field=corpus.field)
    return hub_texts(name, half, field=corpus.field)


def part_of(corpus: CorpusSpec, split: Half) -> tuple[str, Half | None]:
    """Return the name of the corpus that a split comes from, and which half of it; None for all."""
    if corpus.held_out is None:
        return corpus.name, split
    return (corpus.held_out if split == "test" else corpus.name), None


def local_path(corpus: CorpusSpec, name: str) -> Path | None:
    """Return where a corpus lies, or should lie; None where only the hub can have it."""
    path = Path(name).expanduser()
    if path.is_absolute():
        return path
    path = paths.folder("data", corpus.folder) / path
    of_hub = Path(name).parts[2:]  # a file of a dataset: org/dataset/file
    return path if path.exists() or (kind_of(path.name) and not of_hub) else None


def key_name(name: str) -> str:
    """Return the word for a corpus in the keys of its documents."""
    parts = bare(name.rstrip("/")).split("/")
    of_hub = len(parts) > 2 and kind_of(name) and not Path(name).is_absolute()
    return "-".join(parts[1:]) if of_hub else parts[-1]


def files_of(path: Path) -> list[Path]:
    """Return the files of a corpus in the order of their names; hidden ones are left out.

    Raises:
        CorpusError: there is nothing at `path`, or nothing that can be read.
    """
    if not path.exists():
        raise CorpusError(
            f"corpus: there is no file or folder {path}; correct its name in the run file"
        )
    endings = ", ".join(ENDINGS)
    if not path.is_dir():
        if kind_of(path.name) is None:
            raise CorpusError(
                f"corpus: {path.name} is not one of {endings} (the first two also with "
                f"{' or '.join(COMPRESSED)} behind); convert it to one of them"
            )
        return [path]
    inside = (file for file in path.rglob("*") if kind_of(file.name) is not None)
    files = sorted(
        file
        for file in inside
        if file.is_file() and not any(part[0] == "." for part in file.relative_to(path).parts)
    )
    if not files:
        raise CorpusError(f"corpus: the folder {path} holds no {endings} file; put texts there")
    return files


def local_texts(path: Path, split: Half | None, *, field: str = "text") -> Iterator[Text]:
    """Yield the texts of one split of a file or folder, or all (None), files in order.

    Raises:
        CorpusError: there is nothing at `path`, or a file or row of it cannot be read.
    """
    files = files_of(path)
    by_file = sum(kind_of(file.name) == ".txt" for file in files) > 1
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        whole_file = by_file and kind_of(file.name) == ".txt"
        if whole_file and split not in (None, half_of(name)):
            continue
        for number, (line, text) in enumerate(documents_in(file, field), start=1):
            if whole_file or split in (None, half_of(text)):
                yield Text(text, name if whole_file else f"{name}#{number}", line)


def hub_texts(dataset: str, split: Half | None, *, field: str = "text") -> Iterator[Text]:
    """Yield the texts of our half of a Hugging Face dataset, or all (None), read as a stream.

    `dataset` is an id, or an id and one of its files (`org/name/file.jsonl`). Only the dataset's
    own `train` split is read, or all of its splits where it has none of that name.

    Raises:
        CorpusError: the hub cannot be reached, or has no such dataset with such a field.
    """
    short = key_name(dataset)
    for number, row in enumerate(_hub_rows(dataset), start=1):
        text = row.get(field)
        if not isinstance(text, str):
            raise CorpusError(
                f"corpus: the dataset {dataset!r} has no text field {field!r}, only "
                f"{', '.join(row)}; name the field that holds the texts as `corpus: field:`"
            )
        if text and not text.isspace() and split in (None, half_of(text)):
            yield Text(text, f"{short}#{number}", number)


def hub_commit(dataset: str) -> str | None:
    """Return the commit at which a dataset of the hub stands now; None if that is not known."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info("/".join(dataset.split("/")[:2]), timeout=30).sha
    except Exception:  # the clients share no parent; whoever reads the dataset gets the reason
        return None


def _hub_rows(dataset: str) -> Iterator[dict[str, Any]]:
    import datasets
    from huggingface_hub import HfApi

    parts = dataset.split("/")
    name, file = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        HfApi().dataset_info(name, timeout=30)  # fails at once where `datasets` would try again
        chosen = {"data_files": {"train": file}} if file else {}
        splits = datasets.load_dataset(name, streaming=True, **chosen)
        for split in ["train"] if "train" in splits else sorted(splits):
            yield from splits[split]
    except Exception as error:  # the hub's clients share no parent for "cannot be reached"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CorpusError(
            f"corpus: {dataset!r} is no local file, and as a Hugging Face dataset it could not be "
            f"read ({reason}); check the name and the network, fetch it beforehand with `lookups "
            "download`, or name a local file"
        ) from None
