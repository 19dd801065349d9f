"""Articles of the English Wikipedia of 2016 as plain paragraphs, out of a package (chapter 1).

The package gensim carries part of a MediaWiki export among its test data. `mwparserfromhell` parses
it, which takes seconds. What an article shows beside its running text goes: references, tables,
lists, quotations set apart, formulas, pictures, headings, templates. A template that stood in a
sentence leaves a hole in it. Where the hole is in brackets, the brackets go with it; where it is a
note, nothing is missing; a paragraph with any other hole is dropped, since its sentence no longer
says what its author wrote. Articles, never paragraphs, go to the train or the test split.
"""

import bz2
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import mwparserfromhell
import pandas as pd
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from lookups.errors import SourceError
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
        SourceError: the package that holds the export is not installed, or its file is damaged.
    """
    return clean(packaged_file("wikipedia", data))


def clean(export: Path) -> Wikipedia:
    """Return the articles of a compressed MediaWiki export as plain paragraphs.

    Raises:
        SourceError: the file is not a whole export.
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
            kept = list(_article(page, namespaces, dropped))
            pages["articles" if kept else "articles without a paragraph kept"] += 1
            found += kept
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
        raise SourceError(
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
    rows = [
        (*ids[name], f"https://en.wikipedia.org/?oldid={ids[name][2]}")
        for name in sorted(wanted & set(ids))
    ]
    return pd.DataFrame(rows, columns=["article", "page", "revision", "address"])


def cleaning_report(texts: Wikipedia) -> pd.DataFrame:
    """Return how many pages and paragraphs were kept, and how many dropped for which reason."""
    kept = {"kept": len(texts.paragraphs)} | texts.dropped
    rows = [("pages", what, n) for what, n in texts.pages.items()]
    rows += [("paragraphs", what, n) for what, n in kept.items()]
    return pd.DataFrame(rows, columns=["of", "what", "number"])


SHORTEST = 200
"""Characters that a paragraph has at least."""

HOLE, NOTE, ITEM = "\ue000", "\ue001", "\ue002"
"""Where something stood that is not shown, where a note stood, and where a list item begins."""

SHOWS: dict[str, int] = {
    "lang": 2, "transl": 2, "nihongo": 1, "nowrap": 1, "vanchor": 1, "smaller": 1, "sc": 1,
}  # fmt: skip
"""Templates that show one of their arguments in the running text, and which."""

CHARACTERS = {"'s": "’s", "nbsp": " ", "thinsp": " ", "spaced ndash": " – ", "mdashb": "—"}
"""Templates that are another way of writing a few characters."""

NOTES = re.compile(
    r"cit(e|ation)\b.*|.*\b(needed|inline)|sfn.*|harv.*|ref|refn|efn|rp?|cn|fact|anchor|clarify.*|"
    r"dubious|full|quantify|specify|vague|verify .*|failed verification|dead link|update after|"
    r"by whom|whom?|when|which|what|why"
)
"""Templates that set a note behind a word or mark and take nothing from the sentence."""

INLINE_TAGS = frozenset(
    {"b", "i", "u", "small", "big", "span", "div", "center", "code", "nowiki", "sub"}
)
BLOCK_TAGS = frozenset(
    {"table", "gallery", "references", "imagemap", "timeline", "blockquote", "poem", "pre"}
    | {"source", "syntaxhighlight", "br", "hr"}
)
LIST_TAGS = frozenset({"li", "dd", "dt", "ol", "ul", "dl"})

APPENDICES = re.compile(
    r"cited literature|literature cited|works( cited)?|bibliography|citations|discography|"
    r"external links|filmography|footnotes|further reading|notes( and references)?|"
    r"references|see also|sources"
)
"""Sections of lists, with all that stands below them."""

_ENDS = re.compile(r"[.!?][\"”’')\]]*$")
_POSSESSIVE = re.compile(r"(?<=\w)'''s\b")
_ITALICS = re.compile(r"'{2,}")
_ORDINAL = re.compile(r"st|nd|rd|th")
_MARKUP = re.compile(r"[\[{]{2}|[\]}]{2}|\||</?[a-z]+[ />]")


def paragraphs(
    wikitext: str, namespaces: frozenset[str], dropped: Counter[str]
) -> Iterator[tuple[str, int, str]]:
    """Yield section, its number, and text of the paragraphs that are kept; the lead's name is "".

    `namespaces` are the prefixes of links that are not to articles (`File`, `Category`). What is
    dropped is counted by reason.
    """
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)  # it lets them run past a line
    below: int | None = None  # the level of an appendix that we are in
    for number, section in enumerate(code.get_sections(flat=True, include_lead=True)):
        heading = next(section.ifilter_headings(recursive=False), None)
        name = "" if heading is None else _title(heading, namespaces)
        if heading is not None and (below is None or heading.level <= below):
            below = heading.level if APPENDICES.fullmatch(name.lower()) else None
        for block in _blocks(_shown(section, namespaces), dropped):
            text, fault = _mended(block)
            if below is not None:
                fault = "in an appendix"
            if fault:
                dropped[fault] += 1
            else:
                yield name, number, text


def _title(heading: nodes.Heading, namespaces: frozenset[str]) -> str:
    shown = _shown(heading.title, namespaces)
    return " ".join(re.sub(f"[{HOLE}{NOTE}{ITEM}]", "", shown).split())


def _shown(code: Wikicode, namespaces: frozenset[str]) -> str:
    return "".join(_node(node, namespaces) for node in code.nodes)


def _node(node: nodes.Node, namespaces: frozenset[str]) -> str:
    """Return what a node shows in the running text, with a mark where something is missing."""
    match node:
        case nodes.Text():
            return _ITALICS.sub("", _POSSESSIVE.sub("’s", str(node)))
        case nodes.HTMLEntity():
            return node.normalize()
        case nodes.Template():
            return _template(node, namespaces)
        case nodes.Tag():
            return _tag(node, namespaces)
        case nodes.ExternalLink():
            return NOTE if node.title is None else _shown(node.title, namespaces)
        case nodes.Wikilink():
            prefix, colon, _ = str(node.title).partition(":")
            if colon and prefix.strip().lower() in namespaces:
                return ""
            return _shown(node.title if node.text is None else node.text, namespaces)
        case nodes.Comment():
            return NOTE
        case nodes.Heading():
            return "\n"
    return HOLE


def _template(node: nodes.Template, namespaces: frozenset[str]) -> str:
    name = " ".join(str(node.name).lower().split())
    if name in CHARACTERS:
        return CHARACTERS[name]
    if NOTES.fullmatch(name):
        return NOTE
    if name in SHOWS and node.has(str(SHOWS[name])):
        return _shown(node.get(str(SHOWS[name])).value, namespaces)
    return HOLE


def _tag(node: nodes.Tag, namespaces: frozenset[str]) -> str:
    name = str(node.tag).strip().lower()
    inside = "" if node.contents is None else _shown(node.contents, namespaces)
    if name in LIST_TAGS:
        return ITEM + inside
    if name in BLOCK_TAGS:
        return "\n\n"
    if name == "ref":
        return NOTE
    if name in INLINE_TAGS or (name == "sup" and _ORDINAL.fullmatch(inside)):  # H2O, 19th
        return inside
    return HOLE  # a formula, an exponent


def _blocks(text: str, dropped: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs of a section: lines up to an empty one or an item of a list."""
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        bare = line.strip(f" \t{NOTE}")
        if bare.strip(HOLE) and not bare.startswith(ITEM):
            lines.append(line.strip())
            continue
        dropped["an item of a list"] += bare.startswith(ITEM)
        if lines:
            yield " ".join(lines)
            lines = []


def _mended(block: str) -> tuple[str, str | None]:
    """Return a paragraph without its marks, and the reason why it is not kept, if there is one."""
    text = re.sub(rf"(?<=[.,;:!?”\"]){HOLE}+", NOTE, block)  # behind a mark there are only notes
    text = re.sub(rf"^{HOLE}+(?=[A-Z])", "", text)  # a box before the first word
    text = re.sub(rf"\s*{NOTE}+\s*(?=[.,;:!?)]|$)", "", text)
    text = re.sub(rf"\s*{NOTE}+(?=\s)", "", text).replace(NOTE, "")
    before = None
    while before != text:  # brackets may stand in brackets
        before = text
        text = re.sub(rf"\s*\([^()]*{HOLE}[^()]*\)|\s*\(\s*[,;]?\s*\)", "", text)
    text = " ".join(text.split())
    return text, next((reason for reason, fault in _FAULTS.items() if fault(text)), None)


_FAULTS: dict[str, Callable[[str], object]] = {
    "a template or formula stood in a sentence": lambda text: HOLE in text,
    f"at most {SHORTEST} characters": lambda text: len(text) <= SHORTEST,
    "ends no sentence": lambda text: not _ENDS.search(text),
    "begins in the middle of a sentence": lambda text: text[0].islower(),
    "markup that could not be parsed": _MARKUP.search,
}
