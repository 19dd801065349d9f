"""Articles of the English Wikipedia of 2016, out of a package (chapter 1).

The package gensim carries part of a MediaWiki export among its test data. `corpus.wikitext` makes
plain paragraphs of it; here they get the article, its page and revision, and the section that they
stand in. Articles, never paragraphs, go to the train or the test split. The cleaned texts are kept
in the data folder, since making them takes seconds; `EXPECTED_DIGEST` says what they are.
"""

import bz2
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import pandas as pd

from lookups import paths
from lookups.corpus.wikitext import paragraphs
from lookups.errors import CorpusError, StorageError
from lookups.model.packaged import packaged_file

EXPECTED_DIGEST = "bbe6763d1cfd1cd869a8017adcb76ddbb3b150a0a46303845da4b8ca5f7b758d"
"""Of the cleaned texts that the committed notebooks were made from."""

RULES = 1
"""Raised by hand when a rule here or in `corpus.wikitext` changes: the texts are made anew."""

LEAD = "lead"
"""The section of what stands before an article's first heading."""

BETWEEN = " § "
"""Stands in a document's source between the article and the section."""

Half = Literal["train", "test"]


class Paragraph(NamedTuple):
    """One paragraph of an article, as plain text."""

    article: str
    page: int
    revision: int
    section: str
    place: int
    """The section's number in the article, from 0: two sections may have one name."""
    number: int
    """The paragraph's number among those that were kept of its article, counted from 1."""
    text: str

    @property
    def source(self) -> str:
        """What a quoted prompt carries: article, revision and section."""
        return f"{self.article} (revision {self.revision}){BETWEEN}{self.section}"


class Wikipedia(NamedTuple):
    """The cleaned texts, and what was left out of them."""

    paragraphs: list[Paragraph]
    pages: dict[str, int]
    """Pages of the export: articles, and how many were left out for which reason."""
    dropped: dict[str, int]
    """Paragraphs that were left out, by reason."""
    digest: str
    """Of all paragraphs with their places."""

    @property
    def as_expected(self) -> bool:
        """Whether these are the texts that the committed notebooks were made from."""
        return self.digest == EXPECTED_DIGEST


def article_of(source: str) -> str:
    """Return what a bootstrap resamples and a split keeps together: an article, or a whole file."""
    return source.split(BETWEEN, 1)[0]


def halves(sizes: dict[str, int]) -> dict[str, Half]:
    """Assign articles to halves of about the same size, in an order that only their names decide.

    Each goes to the half that is the smaller so far.
    """
    totals: dict[Half, int] = {"train": 0, "test": 0}
    chosen: dict[str, Half] = {}
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        chosen[name] = "train" if totals["train"] <= totals["test"] else "test"
        totals[chosen[name]] += sizes[name]
    return chosen


def split_of(texts: Wikipedia, half: Half) -> list[Paragraph]:
    """Return the paragraphs of the articles of one half, in order; sizes are characters."""
    sizes: Counter[str] = Counter()
    for one in texts.paragraphs:
        sizes[one.article] += len(one.text)
    chosen = halves(sizes)
    return [one for one in texts.paragraphs if chosen[one.article] == half]


def load_wikipedia(data: Path | None = None) -> Wikipedia:
    """Return the cleaned texts from the data folder, cleaning them first where they are missing.

    Raises:
        CorpusError: the package that holds the export is not installed, or its file is damaged.
        StorageError: the disk is full, or the data folder cannot be written.
    """
    kept = cache_file(data)
    if (texts := _read(kept)) is None:
        texts = clean(packaged_file("wikipedia", data))
        _write(texts, kept)
    return texts


def clean(export: Path) -> Wikipedia:
    """Return the articles of a compressed MediaWiki export as plain paragraphs.

    Raises:
        CorpusError: the file is not a whole export.
    """
    found: list[Paragraph] = []
    pages: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for page, namespaces in _pages(export):
        if page.find("{*}redirect") is not None:
            pages["redirects"] += 1
        elif page.findtext("{*}ns") != "0":
            pages["pages about the project"] += 1
        else:
            before = len(found)
            found += _article(page, namespaces, dropped)
            pages["articles" if len(found) > before else "articles without a paragraph kept"] += 1
    return Wikipedia(found, dict(pages), dict(sorted(dropped.items())), digest_of(found))


def digest_of(texts: Iterable[Paragraph]) -> str:
    """Return sha256 over all paragraphs with their places, in order."""
    content = hashlib.sha256()
    for one in texts:
        content.update(json.dumps(one).encode() + b"\n")
    return content.hexdigest()


def _pages(export: Path) -> Iterator[tuple[ElementTree.Element, frozenset[str]]]:
    """Yield every page of an export, with the prefixes of links that lead to no article."""
    namespaces = {"image"}  # the former name of `File`, which the export does not list
    try:
        with bz2.open(export) as file:
            for _, element in ElementTree.iterparse(file):
                name = element.tag.rpartition("}")[2]
                if name == "namespace" and element.text:
                    namespaces.add(element.text.lower())
                if name == "page":
                    yield element, frozenset(namespaces)
                    element.clear()
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise CorpusError(
            f"corpus: {export.name} is not a whole MediaWiki export ({error}); install the package "
            "that holds it again"
        ) from error


def _article(
    page: ElementTree.Element, namespaces: frozenset[str], dropped: Counter[str]
) -> Iterator[Paragraph]:
    title = page.findtext("{*}title", "")
    ids = int(page.findtext("{*}id", "0")), int(page.findtext("{*}revision/{*}id", "0"))
    text = page.findtext("{*}revision/{*}text", "")
    found = enumerate(paragraphs(text, namespaces, dropped), start=1)
    for number, (section, place, paragraph) in found:
        yield Paragraph(title, *ids, section or LEAD, place, number, paragraph)


def articles_used(sources: Iterable[str], texts: Wikipedia) -> pd.DataFrame:
    """Return a row an article that documents of these sources come from, with its address."""
    wanted = {article_of(source) for source in sources}
    ids = {article_of(one.source): one[:3] for one in texts.paragraphs}
    rows = [ids[name] for name in sorted(wanted) if name in ids]
    table = pd.DataFrame(rows, columns=["article", "page", "revision"])
    address = "https://en.wikipedia.org/?oldid="
    return table.assign(address=[f"{address}{revision}" for revision in table.revision])


def cleaning_report(texts: Wikipedia) -> pd.DataFrame:
    """Return how many pages and paragraphs were kept, and how many dropped for which reason."""
    kept = {"kept": len(texts.paragraphs)} | texts.dropped
    rows = [("pages", what, n) for what, n in texts.pages.items()]
    rows += [("paragraphs", what, n) for what, n in kept.items()]
    return pd.DataFrame(rows, columns=["of", "what", "number"])


def cache_file(data: Path | None = None) -> Path:
    """Return where the cleaned texts lie; other rules or another parser make another file."""
    name = f"{RULES}-{version('mwparserfromhell')}.json"
    return paths.folder("data", data) / "wikipedia" / name


def _read(kept: Path) -> Wikipedia | None:
    """Return what is cached; None where it is missing or not what its digest says."""
    try:
        content: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        content["paragraphs"] = [Paragraph(*row) for row in content["paragraphs"]]
        texts = Wikipedia(**content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return texts if digest_of(texts.paragraphs) == texts.digest else None


def _write(texts: Wikipedia, kept: Path) -> None:
    """Write beside the file, then rename: a file of that name is always a whole one."""
    scratch = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(texts._asdict()) + "\n", "utf-8")
        os.replace(scratch, kept)
    except OSError as error:
        raise StorageError(
            f"the cleaned texts cannot be written to {kept.parent} ({error.strerror or error}); "
            "free some space or set LOOKUPS_DATA to another folder"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
