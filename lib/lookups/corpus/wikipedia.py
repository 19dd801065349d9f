"""Articles of the English Wikipedia of 2016, out of a package (chapter 1).

The package gensim carries part of a MediaWiki export among its test data. `corpus.wikitext` makes
plain paragraphs of it, which takes seconds; here they get the article, its page and revision, and
the section that they stand in. Articles, never paragraphs, go to the train or the test split.
"""

import bz2
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import pandas as pd

from lookups.corpus.wikitext import paragraphs
from lookups.errors import CorpusError
from lookups.model.packaged import packaged_file

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


def article_of(source: str) -> str:
    """Return what a bootstrap resamples and a split keeps together: an article, or a whole file."""
    return source.split(BETWEEN, 1)[0]


def halves(sizes: dict[str, int]) -> dict[str, Half]:
    """Assign articles to halves of about the same size, in an order that only their names decide.

    Each goes to the half that is the smaller so far.
    """
    chosen: dict[str, Half] = {}
    ahead = 0  # of train
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        chosen[name] = "train" if ahead <= 0 else "test"
        ahead += sizes[name] if chosen[name] == "train" else -sizes[name]
    return chosen


def split_of(texts: Wikipedia, half: Half) -> list[Paragraph]:
    """Return the paragraphs of the articles of one half, in order; sizes are characters."""
    sizes: Counter[str] = Counter()
    for one in texts.paragraphs:
        sizes[one.article] += len(one.text)
    chosen = halves(sizes)
    return [one for one in texts.paragraphs if chosen[one.article] == half]


@lru_cache
def load_wikipedia(data: Path | None = None) -> Wikipedia:
    """Return the cleaned texts; `data` is where the export may lie if its package is not installed.

    Raises:
        CorpusError: the package that holds the export is not installed, or its file is damaged.
    """
    return clean(packaged_file("wikipedia", data))


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
    return Wikipedia(found, dict(pages), dict(sorted(dropped.items())))


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
    title, text = page.findtext("{*}title", ""), page.findtext("{*}revision/{*}text", "")
    ids = int(page.findtext("{*}id", "0")), int(page.findtext("{*}revision/{*}id", "0"))
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
