"""The prose corpus: English harvested from the documentation of pinned packages (chapter 0).

`lookups.sources` says where texts are found, `lookups.layout` and `lookups.prose` what is English;
here near-copies are dropped, files (never paragraphs) go to the train or the test split, and the
result is cached. A row is a paragraph: number, package, file, line (where its string or comment
begins), text. The rows of a file stand together in file order, and files in an order that only
their names decide: the same package versions give the same corpus on every machine, which
`EXPECTED_DIGEST` states.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
from filelock import FileLock

from lookups import copies, layout, paths, prose, sources
from lookups.errors import CorpusError

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")

EXPECTED_DIGEST = "bf320e9ec57f71d86f0aec9df68ef7173bf50c79ec820961ba0805829479cb47"
"""Of the corpus that the committed notebooks were made from; a model card names its own."""

RULES = 4
"""Raised by hand when a rule here, in `layout`, `prose` or `sources` changes: caches start anew."""

COLUMNS = ("number", "package", "file", "line", "text")


class Harvest(NamedTuple):
    """What one file gave: kept paragraphs with their lines and words, and what was dropped."""

    lines: list[int]
    texts: list[str]
    words: list[np.ndarray]
    dropped: Counter


_WORD_CODES: dict[str, int] = {}
_CLEANED: dict[str, tuple[list[str], list[np.ndarray], Counter]] = {}


def _paragraphs(text: str) -> tuple[list[str], list[np.ndarray], Counter]:
    """Clean one passage; a text that occurs often (copied documentation) is cleaned once."""
    if text in _CLEANED:
        return _CLEANED[text]
    texts, codes, dropped = [], [], Counter()
    for block in layout.blocks(text):
        if block.count(" ") + 1 < prose.SHORTEST_SENTENCE:
            dropped["short"] += 1
            continue
        paragraph = prose.plain(block)
        letters = prose.words(paragraph)
        if reason := prose.fault(paragraph, letters):
            dropped[reason] += 1
            continue
        for word in letters:
            if word not in _WORD_CODES:
                _WORD_CODES[word] = crc32(word.encode())
        texts.append(paragraph)
        codes.append(np.array([_WORD_CODES[word] for word in letters], dtype=np.uint64))
    _CLEANED[text] = texts, codes, dropped
    return texts, codes, dropped


def harvest_file(path: Path, *, constants: bool = True) -> Harvest:
    """Read one source file and return its prose; an unreadable file gives none and is counted."""
    lines, texts, words, dropped = [], [], [], Counter()
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return Harvest(lines, texts, words, Counter({"unreadable file": 1}))
    for passage in sources.written_in(source, constants=constants):
        if len(passage.text) < sources.SHORTEST_TEXT:
            continue
        found, codes, faults = _paragraphs(passage.text)
        lines += [passage.line] * len(found)
        texts += found
        words += codes
        dropped += faults
    return Harvest(lines, texts, words, dropped)


def _harvest(job: tuple[sources.SourceFile, int]) -> tuple[int, Harvest]:
    file, index = job
    return index, harvest_file(file.path, constants=not file.is_test)


def _harvest_all(files: Sequence[sources.SourceFile], workers: int) -> list[Harvest]:
    """Harvest files, large ones first so that no worker is left with one; results in file order."""
    jobs = [(file, index) for index, file in enumerate(files)]
    jobs.sort(key=lambda job: -job[0].path.stat().st_size if job[0].path.exists() else 0)
    if workers == 1:
        results = dict(map(_harvest, jobs))
    else:
        with get_context().Pool(workers) as pool:
            results = dict(pool.imap_unordered(_harvest, jobs, chunksize=8))
    return [results[index] for index in range(len(files))]


def split_of(name: str) -> Split:
    """Return the split of a file (or of anything with a name): one in five is held out."""
    return "test" if int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 5 == 0 else "train"


def _order(name: str) -> str:
    return hashlib.sha256(f"order/{name}".encode()).hexdigest()


class Prose(NamedTuple):
    """The corpus: a table of paragraphs a split, its digest, and the report of what was dropped."""

    train: pd.DataFrame
    test: pd.DataFrame
    digest: str
    report: dict[str, Any]


def digest_of(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return sha256 over split, package, file and text of every paragraph, in order."""
    content = hashlib.sha256()
    for split, table in tables.items():
        for row in zip(table.package, table.file, table.text, strict=True):
            content.update(json.dumps((split, *row)).encode() + b"\n")
    return content.hexdigest()


def harvest(packages: Mapping[str, str] = sources.PACKAGES, *, workers: int = 2) -> Prose:
    """Read the packages and return their prose; about a minute on two cores, nothing is cached."""
    versions = sources.installed_versions(packages)
    files = sources.source_files(packages)
    harvests = _harvest_all(files, workers)
    shares = copies.new_shares([codes for found in harvests for codes in found.words])
    rows: dict[str, list[tuple]] = {split: [] for split in SPLITS}
    report = {name: _blank(versions[name], pin) for name, pin in packages.items()}
    start = 0
    for file, found in zip(files, harvests, strict=True):
        fresh = shares[start : start + len(found.texts)]
        start += len(found.texts)
        _count(report[file.package], found, fresh)
        rows[split_of(file.name)] += [
            (file.package, file.name, line, text)
            for line, text, share in zip(found.lines, found.texts, fresh, strict=True)
            if share > 0.5
        ]
    tables = {split: _table(rows[split]) for split in SPLITS}
    digest = digest_of(tables)
    whole = {"digest": digest, "rules": RULES, "packages": report}
    if not all(len(table) for table in tables.values()):
        raise CorpusError(
            f"no English prose was found in {', '.join(packages) or 'an empty list of packages'}: "
            f"name packages with documentation strings in lookups.sources.PACKAGES"
        )
    return Prose(tables["train"], tables["test"], digest, whole)


def _blank(version: str, pinned: str) -> dict[str, Any]:
    counts = dict.fromkeys(("files", "paragraphs", "kept", "characters"), 0)
    return {"version": version, "pinned": pinned, **counts, "dropped": {}}


def _count(entry: dict[str, Any], found: Harvest, fresh: np.ndarray) -> None:
    dropped = Counter(entry["dropped"]) + found.dropped
    dropped["copy"] += int((fresh == 0).sum())
    dropped["near-copy"] += int(((fresh > 0) & (fresh <= 0.5)).sum())
    entry["dropped"] = {reason: n for reason, n in sorted(dropped.items()) if n}
    entry["files"] += 1
    entry["paragraphs"] += len(found.texts) + found.dropped.total()
    entry["kept"] += int((fresh > 0.5).sum())
    entry["characters"] += sum(
        len(text) for text, share in zip(found.texts, fresh, strict=True) if share > 0.5
    )


def _table(rows: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS[1:]))
    order = {name: _order(name) for name in table.file.unique()}
    table = table.sort_values("file", key=lambda files: files.map(order), kind="stable")
    table = table.reset_index(drop=True)
    table.insert(0, "number", np.arange(len(table)))
    return table


def cache_folder(
    packages: Mapping[str, str] = sources.PACKAGES, *, data: Path | None = None
) -> Path:
    """Return where the corpus of the installed versions is cached, under the data folder."""
    recipe = json.dumps([RULES, sources.installed_versions(packages)])
    name = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    return paths.folder("data", data) / "prose" / name


def load_prose(
    packages: Mapping[str, str] = sources.PACKAGES, *, data: Path | None = None, workers: int = 2
) -> Prose:
    """Return the corpus from its cache, harvesting it first where that is missing or damaged.

    Of several processes that miss it at once, one harvests and the others wait for it.
    """
    folder = cache_folder(packages, data=data)
    cached = _read(folder)
    if cached is not None:
        return cached
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        cached = _read(folder)
        if cached is None:
            cached = harvest(packages, workers=workers)
            _write(cached, folder)
    return cached


def _read(folder: Path) -> Prose | None:
    """Return what is cached, or None where a file is missing or is not what the digest says."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        tables = {split: pd.read_parquet(folder / f"{split}.parquet") for split in SPLITS}
    except (OSError, ValueError):
        return None
    if digest_of(tables) != report.get("digest"):
        return None
    return Prose(tables["train"], tables["test"], report["digest"], report)


def _write(corpus: Prose, folder: Path) -> None:
    """Write beside the folder, then rename: a folder of that name is always a whole one."""
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        corpus.train.to_parquet(scratch / "train.parquet", index=False)
        corpus.test.to_parquet(scratch / "test.parquet", index=False)
        text = json.dumps(corpus.report, indent=1, sort_keys=False)
        (scratch / "report.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def corpus_report(*, data: Path | None = None) -> pd.DataFrame:
    """Return a row a package: version, pinned, files, paragraphs, kept, characters, and dropped
    paragraphs in a column a reason (`dropped: short` …)."""
    report = load_prose(data=data).report
    rows = []
    for package, entry in report["packages"].items():
        dropped = {f"dropped: {reason}": n for reason, n in entry["dropped"].items()}
        counts = {key: value for key, value in entry.items() if key != "dropped"}
        rows.append({"package": package, **counts, **dropped})
    table = pd.DataFrame(rows)
    reasons = sorted(column for column in table if column.startswith("dropped: "))
    table[reasons] = table[reasons].fillna(0).astype(int)
    return table[[*(c for c in table if c not in reasons), *reasons]]


def other_versions(packages: Mapping[str, str] = sources.PACKAGES) -> dict[str, str]:
    """Return the installed version of every package that is not the pinned one: {} is as it was."""
    versions = sources.installed_versions(packages)
    return {name: version for name, version in versions.items() if version != packages[name]}


def digest_as_expected(*, data: Path | None = None) -> bool:
    """Whether this machine's corpus is the one that the committed notebooks were made from."""
    return not other_versions() and load_prose(data=data).digest == EXPECTED_DIGEST
