"""Texts that a run reads, as token ids, and long ones as passages of whole sentences (chapter 1).

A corpus is a file, a folder of files, or a dataset of the Hugging Face hub that `lookups download`
fetched; how-to-run says which files. Half of the texts are held out as the test split, chosen by a
hash of the text, so that copies of a text stay on one side; of the file's name where a folder holds
several `.txt` files, which are works rather than collections; Wikipedia's by article. Or a run
names another corpus (`held_out:`).

A text that is longer than a run's `length` becomes passages: as many whole sentences as fit, so
that nothing is lost but a last remainder of less than a third of the length. A sentence ends at a
full stop, question or exclamation mark, before white space and a capital or figure, but not behind
an abbreviation, and always at an empty line. A passage's ids are those of the text.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import TextIOWrapper
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pyarrow import input_stream, parquet

from lookups import paths
from lookups.corpus import wikipedia
from lookups.corpus.grammar import GRAMMAR, labelled_documents
from lookups.errors import SourceError, in_words
from lookups.settings import CorpusSpec

Split = Literal["train", "test"]

Tokenizer = Any  # a fast Hugging Face tokenizer

PLACES = 10  # passages of a long text that count as one source, so that it may give more prompts
OPEN = 64  # files that are read in turn, so that the first texts come from many of them
LOT = 256  # texts that are turned into ids together

_FILE = re.compile(r"(.+)(\.txt|\.jsonl|\.parquet(?!\.))(\.gz|\.zst)?")
_BREAK = re.compile(
    r"(?<=[.!?])[\"”’')\]]*(?P<space>\s+)(?=[\"“‘'(\[]*[A-Z0-9])|(?<!\s)(?P<line>\s*\n\s*\n\s*)"
)
_ABBREVIATED = re.compile(
    r"\b([A-Z]|Mrs?|Ms|Drs?|Prof|Gen|Col|Capt|Lt|Gov|Sen|Rep|Rev|Hon|St|Mt|Jr|Sr|Nos?|Vol|Figs?|Ch|"
    r"vs?|cf|ca?|e\.g|i\.e|al|pp?|approx)\.$"
)


class Text(NamedTuple):
    """One text as written."""

    text: str | None
    """None where a row has no text in the run's field."""
    source: str
    """Article and section; the file, where it is one of several texts files; else the file and the
    text's number in it, from 1."""
    shared: bool = False
    """Whether this is of the test split, and the train split holds it too."""

    def source_of(self, number: int, passages: int) -> str:
        """Return the source of one of its passages; a section is narrow enough however long."""
        if passages <= PLACES or wikipedia.BETWEEN in self.source:
            return self.source
        return f"{self.source}{wikipedia.BETWEEN}{number // PLACES + 1}"


def half_of(name: str) -> Split:
    """Return the split of a name or text."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def part_of(corpus: CorpusSpec, split: Split) -> tuple[str, Split | None]:
    """Return the name of the corpus that a split comes from, and which half of it; None for all."""
    if corpus.held_out is None:
        return corpus.name, split
    return (corpus.held_out if split == "test" else corpus.name), None


def corpus_texts(corpus: CorpusSpec, split: Split) -> Iterator[Text]:
    """Yield the texts of one split of a run's corpus; a SourceError if they cannot be read."""
    name, half = part_of(corpus, split)
    if name == "wikipedia":
        found = wikipedia.split_of(wikipedia.load_wikipedia(corpus.folder), split)
        for (source, _), section in groupby(found, lambda one: (one.source, one.place)):
            yield Text("\n\n".join(one.text for one in section), source)
        return
    if name == "planted":
        for number, one in enumerate(labelled_documents(split, corpus.documents)):
            yield Text(GRAMMAR.text(one.ids), f"planted/{split}/{number}")
        return
    files = files_of(corpus, name)
    works = sum(kind_of(file) == ".txt" for file in files) > 1
    streams = (_texts_of(*one, corpus.field, half, works) for one in files.items())
    while some := list(islice(streams, OPEN)):
        while some:
            found = [(stream, next(stream, None)) for stream in some]
            yield from (text for _, text in found if text)
            some = [stream for stream, text in found if text]


def _texts_of(file: str, path: Path, field: str, half: Split | None, works: bool) -> Iterator[Text]:
    """Yield the texts of one file that are in one half of a corpus."""
    whole = works and kind_of(file) == ".txt"
    if whole and half not in (None, half_of(file)):
        return
    for number, text in enumerate(_readable(path, field), start=1):
        part = "train" if text is None else half_of(text)  # or it would be counted twice
        if whole or half in (None, part):
            yield Text(text, file if whole else f"{file}#{number}")


def kind_of(name: str | Path) -> str | None:
    """Return the ending that says how a file is read, compression aside; None for other files."""
    match = _FILE.fullmatch(str(name))
    return match and match[2]


def is_hub_file(name: str) -> bool:
    """Say whether a corpus is named as a file of a dataset of the hub: org/dataset/file."""
    place = Path(name)
    return kind_of(name) is not None and len(place.parts) > 2 and not place.is_absolute()


def local_path(corpus: CorpusSpec, name: str) -> Path | None:
    """Return where a corpus lies, or should lie; None where it is to be fetched from the hub."""
    path = paths.folder("data", corpus.folder) / Path(name).expanduser()
    there = Path(name).expanduser().is_absolute() or path.exists()
    return path if there or (kind_of(path) and not is_hub_file(name)) else None


def key_name(name: str) -> str:
    """Return the word for a corpus in the keys of its documents."""
    match = _FILE.fullmatch(name)
    parts = (match[1] if match else name.rstrip("/")).split("/")
    return "-".join(parts[1:]) if is_hub_file(name) else parts[-1]


def files_of(corpus: CorpusSpec, name: str) -> dict[str, Path]:
    """Return the files of a corpus by their names in it, in order; hidden ones are left out.
    SourceError if there is nothing of that name, or nothing that can be read."""
    path = local_path(corpus, name)
    if path is None or not path.exists():
        raise SourceError(
            f"corpus: {path or name} is not on this machine; correct its name in the run file, or "
            "fetch the hub's dataset with `lookups download`"
        )
    root, inside = (path, sorted(path.rglob("*"))) if path.is_dir() else (path.parent, [path])
    named = {file.relative_to(root).as_posix(): file for file in inside if file.is_file()}
    files = {name: file for name, file in named.items() if kind_of(name) and "/." not in f"/{name}"}
    if not files:
        raise SourceError(
            f"corpus: {path} is not, or has not, a file of texts, which end in .txt, .jsonl, "
            ".parquet (the first two also with .gz or .zst behind); convert it to one of them"
        )
    return files


def _readable(file: Path, field: str) -> Iterator[str | None]:
    """Yield the texts of a file, white space alone left out; None for a row without a text."""
    read = {".txt": _paragraphs, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    with in_words(f"corpus: {file.name}", "fetch it again, or save it as UTF-8"):
        for text in read[kind_of(file)](file, field):
            if not isinstance(text, str):
                yield None
            elif text.strip():  # half a character, as JSON can spell it, becomes `?`
                yield text.encode("utf-8", "replace").decode()


def lines_of(file: Path) -> Iterator[str]:
    """Yield the lines of a text; a byte-order mark at its beginning is no part of it."""
    opened = {".gz": gzip.open, ".zst": lambda path, _: input_stream(path, compression="zstd")}
    with TextIOWrapper(opened.get(file.suffix, open)(file, "rb"), encoding="utf-8-sig") as lines:
        yield from map(str.rstrip, lines)


def _paragraphs(file: Path, _: str) -> Iterator[str]:
    return ("\n".join(lines) for filled, lines in groupby(lines_of(file), bool) if filled)


def _json_rows(file: Path, field: str) -> Iterator[Any]:
    for line in filter(None, lines_of(file)):
        row = None
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
        yield _inside(row, field)


def _parquet_rows(file: Path, field: str) -> Iterator[Any]:
    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(LOT, columns=[field]):  # no column where none is so called
            yield from (_inside(row, field) for row in batch.to_pylist())


def _inside(row: Any, field: str) -> Any:
    """Return a row's field: the one of that name, or else `a.b` as `b` inside `a`."""
    outer, _, inner = field.partition(".")
    if isinstance(row, dict) and field not in row and inner:
        return _inside(row.get(outer), inner)
    return row.get(field) if isinstance(row, dict) else None


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where sentences begin and end, in characters; between them is white space."""
    begins = len(text) - len(text.lstrip())
    found = []
    for gap in _BREAK.finditer(text, begins):
        ends = gap.start("line" if gap["space"] is None else "space")
        if gap["line"] is None and _ABBREVIATED.search(text, max(begins, ends - 8), ends):
            continue
        found.append((begins, ends))
        begins = gap.end()
    return [*found, (begins, len(text.rstrip()))]


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Any]:
    """Return texts as the tokenizer encodes them, whole, with no special token put in."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    usual = backend.encode_special_tokens
    backend.encode_special_tokens = True  # as the characters they are written with
    try:
        return backend.encode_batch(texts, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = usual


def pieces(
    texts: Iterable[Text], tokenizer: Tokenizer, limit: int, cut: Literal["passages", "first"]
) -> Iterator[tuple[Text, list[Sequence[int]], int]]:
    """Yield every text with the ids of its documents, of at most `limit` tokens each, and the
    number of tokens behind them that no document holds. SourceError if a text has a word that the
    tokenizer does not know, or gives a special token."""
    special, texts = set(tokenizer.all_special_ids), iter(texts)
    while lot := list(islice(texts, LOT)):
        found = encoded(tokenizer, [one.text or "" for one in lot])
        for text, encoding in zip(lot, found, strict=True):
            ids = encoding.ids  # a new list each time that it is asked for
            if not special.isdisjoint(ids):
                raise SourceError(
                    f"{text.source}: a special token stands in the text, or a word that the "
                    "model's tokenizer does not know; take it out"
                )
            if cut == "passages" and len(ids) > limit:
                spans, lost = _passages(text.text or "", encoding, limit)
            else:
                spans = [slice(limit)] if ids else []
                lost = max(0, len(ids) - limit)
            yield text, [ids[span] for span in spans], lost


def _passages(text: str, encoding: Any, limit: int) -> tuple[list[slice], int]:
    """Return which tokens each passage has, and how many are left over at the end."""
    begin, end = np.array(sentences(text)).T
    starts, stops = np.array(encoding.offsets).T
    begins = np.searchsorted(stops, begin, side="right").tolist()  # first tokens of sentences
    ends = np.searchsorted(starts, end, side="left")
    found, sentence, start = [], 0, begins[0]
    while sentence < len(ends):
        beyond = int(np.searchsorted(ends, start + limit, side="right"))
        if beyond > sentence:
            found.append(slice(start, int(ends[beyond - 1])))
            sentence, start = beyond, begins[min(beyond, len(begins) - 1)]
        else:  # a sentence is longer than that
            found.append(slice(start, start + limit))
            start += limit
    left = found[-1].stop - found[-1].start
    return (found[:-1], left) if len(found) > 1 and 3 * left < limit else (found, 0)
