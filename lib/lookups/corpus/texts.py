"""Texts that a run reads, as token ids, and long ones as passages of whole sentences (chapter 1).

A corpus is a file, a folder of files, or a dataset of the Hugging Face hub in the data folder,
where `lookups download` puts it. A `.txt` file holds texts that are separated by empty lines;
`.jsonl` and `.parquet` hold one a row, in a field that the run names. The first two may be
compressed (`.gz`). Nothing is held whole.

Half of the texts are held out as the test split, chosen by a hash of the text, so that copies of a
text stay on one side; of the file's name where a folder holds several `.txt` files, which are works
rather than collections; Wikipedia's by article. A run may name another corpus as its test split
(`held_out:`); then all of the one is train, and all of the other test.

A text that is longer than a run's `length` becomes passages: whole sentences that follow each
other, as many as fit, so that nothing is lost but the white space between two passages and a last
remainder of less than a third of the length. A sentence ends at a full stop, question or
exclamation mark, with what closes behind it, before white space and a capital or figure; not behind
an initial or one of a few abbreviations; and always at an empty line. A longer one is cut. A
passage's ids are those of the text, so no token changes where it is cut. With `cut: first`, the
paper's way, only the beginning of a long text is read.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pyarrow import parquet

from lookups import paths
from lookups.corpus import wikipedia
from lookups.corpus.grammar import GRAMMAR, labelled_documents
from lookups.errors import SourceError, in_words
from lookups.settings import CorpusSpec

Split = Literal["train", "test"]

ENDINGS = (".txt", ".jsonl", ".parquet")

PLACES = 10
"""Passages of a long text that count as one source, so that it may give more than two prompts."""

Tokenizer = Any
"""A fast Hugging Face tokenizer, as `lookups.model.loaded.Model` carries it."""

LOT = 256
"""Texts that are turned into ids together."""

_BREAK = re.compile(
    r"(?<=[.!?])[\"”’')\]]*(?P<space>\s+)(?=[\"“‘'(\[]*[A-Z0-9])|(?P<line>\s*\n\s*\n\s*)"
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
    """The file, where it is one of several texts files; else the file and the text's number."""
    line: int
    """Where it begins: its line or row, or an article's paragraph; counted from 1."""
    of_article: bool = False
    """Whether `line` counts paragraphs, and `source` is narrow enough however long the text is."""
    shared: bool = False
    """Whether this is of the test split, and the train split holds it too."""

    def place(self, start: int, number: int, passages: int) -> tuple[str, int]:
        """Return source and line of one of its passages, which begins at a character."""
        if self.of_article:
            return self.source, self.line + (self.text or "").count("\n\n", 0, start)
        part = f"{wikipedia.BETWEEN}{number // PLACES + 1}" if passages > PLACES else ""
        return self.source + part, self.line


def half_of(name: str) -> Split:
    """Return the split of a name or text."""
    return "test" if hashlib.sha256(name.encode()).digest()[0] % 2 else "train"


def part_of(corpus: CorpusSpec, split: Split) -> tuple[str, Split | None]:
    """Return the name of the corpus that a split comes from, and which half of it; None for all."""
    if corpus.held_out is None:
        return corpus.name, split
    return (corpus.held_out if split == "test" else corpus.name), None


def corpus_texts(corpus: CorpusSpec, split: Split) -> Iterator[Text]:
    """Yield the texts of one split of a run's corpus.

    Raises:
        SourceError: the corpus is not there, or a file of it cannot be read.
    """
    name, half = part_of(corpus, split)
    if name == "wikipedia":
        found = wikipedia.split_of(wikipedia.load_wikipedia(corpus.folder), split)
        for _, section in groupby(found, lambda one: (one.page, one.place)):
            first, *others = section
            text = "\n\n".join(one.text for one in (first, *others))
            yield Text(text, first.source, first.number, of_article=True)
        return
    if name == "planted":
        for number, one in enumerate(labelled_documents(split, corpus.documents)):
            yield Text(GRAMMAR.text(one.ids), f"planted/{split}/{number}", 0)
        return
    files = files_of(corpus, name)
    by_file = sum(kind_of(file) == ".txt" for file in files.values()) > 1
    for file, path in files.items():
        whole = by_file and kind_of(path) == ".txt"
        if whole and half not in (None, half_of(file)):
            continue
        for number, (line, text) in enumerate(_readable(path, corpus.field), start=1):
            if whole or text is None or half in (None, half_of(text)):
                yield Text(text, file if whole else f"{file}#{number}", line)


def kind_of(name: str | Path) -> str | None:
    """Return the ending that says how a file is read, compression aside; None for other files."""
    whole = str(name)
    inner = whole.removesuffix(".gz")
    kind = next((ending for ending in ENDINGS if inner.endswith(ending)), None)
    return None if kind == ".parquet" and inner != whole else kind


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
    kind = kind_of(name)
    parts = (name.removesuffix(".gz").removesuffix(kind) if kind else name).rstrip("/").split("/")
    return "-".join(parts[1:]) if is_hub_file(name) else parts[-1]


def files_of(corpus: CorpusSpec, name: str) -> dict[str, Path]:
    """Return the files of a corpus by their names in it, in order; hidden ones are left out.

    Raises:
        SourceError: there is nothing of that name, or nothing that can be read.
    """
    path = local_path(corpus, name)
    if path is None or not path.exists():
        raise SourceError(
            f"corpus: {path or name} is not on this machine; correct its name in the run file, or "
            "fetch the hub's dataset with `lookups download`"
        )
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    named = {file.relative_to(root).as_posix(): file for file in inside if kind_of(file)}
    files = {
        name: file for name, file in named.items() if file.is_file() and "/." not in f"/{name}"
    }
    if not files:
        raise SourceError(
            f"corpus: {path} is not, or has not, a file of texts, which end in "
            f"{', '.join(ENDINGS)} (the first two also with .gz behind); convert it to one of them"
        )
    return files


def _readable(file: Path, field: str) -> Iterator[tuple[int, str | None]]:
    """Yield the texts of a file, white space alone left out, with the line or row of each."""
    read = {".txt": _paragraphs, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    with in_words(f"corpus: {file.name}", "fetch it again, or save it as UTF-8"):
        for line, row in read[kind_of(file)](file, field):
            text = row.get(field) if isinstance(row, dict) else None
            if not isinstance(text, str):
                yield line, None
            elif text.strip():  # half a character, as JSON can spell it, becomes `?`
                yield line, text.encode("utf-8", "replace").decode()


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text by number; a byte-order mark at its beginning is no part of it."""
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig") as lines:
        yield from enumerate(map(str.rstrip, lines), start=1)


def _paragraphs(file: Path, field: str) -> Iterator[tuple[int, dict]]:
    for filled, block in groupby(_lines(file), lambda one: bool(one[1])):
        if filled:
            numbers, lines = zip(*block, strict=True)
            yield numbers[0], {field: "\n".join(lines)}


def _json_rows(file: Path, field: str) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(file):
        if line:
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _parquet_rows(file: Path, field: str) -> Iterator[tuple[int, dict]]:
    with parquet.ParquetFile(file) as table:
        columns = [field] if field in table.schema_arrow.names else []
        batches = table.iter_batches(batch_size=LOT, columns=columns)
        yield from enumerate((row for one in batches for row in one.to_pylist()), start=1)


class Piece(NamedTuple):
    """A document to be: a text, or a passage of it."""

    ids: Sequence[int]
    source: str
    line: int
    lost: int
    """Tokens behind it that no document holds."""


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
) -> Iterator[tuple[Text, list[Piece]]]:
    """Yield every text with its documents, of at most `limit` tokens.

    Raises:
        SourceError: a text has a word that the tokenizer does not know, or gives a special token.
    """
    special, texts = set(tokenizer.all_special_ids), iter(texts)
    while lot := list(islice(texts, LOT)):
        found = encoded(tokenizer, [one.text or "" for one in lot])
        for text, encoding in zip(lot, found, strict=True):
            if not special.isdisjoint(encoding.ids):
                raise SourceError(
                    f"{text.source}: a special token stands in the text, or a word that the "
                    "model's tokenizer does not know; take it out"
                )
            if cut == "passages" and len(encoding.ids) > limit:
                yield text, _passages(text, encoding, limit)
            else:
                ids, lost = encoding.ids[:limit], max(0, len(encoding.ids) - limit)
                yield text, [Piece(ids, text.source, text.line, lost)] if ids else []


def _passages(text: Text, encoding: Any, limit: int) -> list[Piece]:
    places = sentences(text.text or "")
    starts, stops = np.array(encoding.offsets).T
    begins = np.searchsorted(stops, [begin for begin, _ in places], side="right").tolist()
    ends = np.searchsorted(starts, [end for _, end in places], side="left").tolist()
    found, lost = list(_spans(begins, ends, limit)), 0
    *before, (_, start, stop) = found
    if before and 3 * (stop - start) < limit:
        found, lost = before, stop - start
    made = [
        Piece(encoding.ids[start:stop], *text.place(places[sentence][0], number, len(found)), 0)
        for number, (sentence, start, stop) in enumerate(found)
    ]
    return [*made[:-1], made[-1]._replace(lost=lost)]


def _spans(
    begins: Sequence[int], ends: Sequence[int], limit: int
) -> Iterator[tuple[int, int, int]]:
    """Yield sentence, first and last token (exclusive) of passages of at most `limit` tokens.

    `begins` and `ends` say for every sentence which tokens are its own.
    """
    sentence, start = 0, begins[0]
    while sentence < len(ends):
        beyond = int(np.searchsorted(ends, start + limit, side="right"))
        if beyond <= sentence:  # it is longer than that
            yield sentence, start, start + limit
            start += limit
            continue
        yield sentence, start, ends[beyond - 1]
        sentence = beyond
        start = begins[min(beyond, len(begins) - 1)]
