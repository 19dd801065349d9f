"""Articles of the English Wikipedia of 2016 as plain paragraphs, out of a package (chapter 1).

The package gensim carries part of a MediaWiki export among its test data. What an article shows
beside its running text goes: references, tables, lists, quotations set apart, formulas, pictures,
headings, templates. A template that stood in a sentence leaves a hole in it. Where the hole is in
brackets, the brackets go with it; where it is a note, nothing is missing; a paragraph with any
other hole is dropped, since its sentence no longer says what its author wrote.
"""

import bz2
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from lookups.errors import in_words
from lookups.model.packaged import packaged_file

BETWEEN = " § "  # in a document's source, between the article and the section


class Paragraph(NamedTuple):
    """One paragraph of an article, as plain text."""

    article: str
    page: int
    revision: int
    section: str
    place: int
    """The section's number in the article, from 0: two sections may have one name."""
    text: str

    @property
    def source(self) -> str:
        """What a quoted prompt carries: article, revision and section."""
        return f"{self.article} (revision {self.revision}){BETWEEN}{self.section}"


class Wikipedia(NamedTuple):
    """The cleaned texts; how many pages of the export and paragraphs went, for which reason."""

    paragraphs: list[Paragraph]
    pages: dict[str, int]
    dropped: dict[str, int]


def article_of(source: str) -> str:
    """Return what a bootstrap resamples and a split keeps together: an article, or a whole file."""
    return source.split(BETWEEN, 1)[0]


def split_of(texts: Wikipedia, half: Literal["train", "test"]) -> list[Paragraph]:
    """Return the paragraphs of the articles of one half, in order. Articles, in an order that only
    their names decide, go to the half with fewer characters so far."""
    sizes: Counter[str] = Counter()
    for one in texts.paragraphs:
        sizes[one.article] += len(one.text)
    chosen, ahead = {}, 0  # of train
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        chosen[name] = "train" if ahead <= 0 else "test"
        ahead += sizes[name] if chosen[name] == "train" else -sizes[name]
    return [one for one in texts.paragraphs if chosen[one.article] == half]


@lru_cache
def load_wikipedia(data: Path | None = None) -> Wikipedia:
    """Return the cleaned texts; `data` is where the export may lie if its package is not installed.
    SourceError if it is nowhere, or damaged."""
    return clean(packaged_file("wikipedia", data))


def clean(export: Path) -> Wikipedia:
    """Return the articles of a compressed MediaWiki export, which must be whole, as paragraphs."""
    advice = "it is no whole MediaWiki export; fetch it again"
    with in_words(f"corpus: {export.name}", advice), bz2.open(export) as file:
        tree = ElementTree.parse(file)
    names = (one.text for one in tree.iterfind(".//{*}namespace") if one.text)
    namespaces = frozenset({"image", *map(str.lower, names)})  # `image` is the former `File`
    found: list[Paragraph] = []
    pages: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for page in tree.iterfind("{*}page"):
        redirects = page.find("{*}redirect") is not None
        if redirects or page.findtext("{*}ns") != "0":
            pages["redirects" if redirects else "pages about the project"] += 1
            continue
        title, text = page.findtext("{*}title", ""), page.findtext("{*}revision/{*}text", "")
        ids = int(page.findtext("{*}id", "0")), int(page.findtext("{*}revision/{*}id", "0"))
        mine = [
            Paragraph(title, *ids, name or "lead", place, kept)
            for name, place, kept in paragraphs(text, namespaces, dropped)
        ]
        pages["articles" if mine else "articles without a paragraph kept"] += 1
        found += mine
    return Wikipedia(found, dict(pages), dict(sorted(dropped.items())))


SHORTEST = 200  # characters: a paragraph that is kept has more

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

INLINE_TAGS = re.compile(r"b|i|u|small|big|span|div|center|code|nowiki|sub")
BLOCK_TAGS = re.compile(
    r"table|gallery|references|imagemap|timeline|blockquote|poem|pre|source|syntaxhighlight|br|hr"
)
LIST_TAGS = re.compile(r"li|dd|dt|ol|ul|dl")

APPENDICES = re.compile(
    r"cited literature|literature cited|works( cited)?|bibliography|citations|discography|"
    r"external links|filmography|footnotes|further reading|notes( and references)?|"
    r"references|see also|sources"
)
"""Sections of lists, with all that stands below them."""


def paragraphs(
    wikitext: str, namespaces: frozenset[str], dropped: Counter[str]
) -> Iterator[tuple[str, int, str]]:
    """Yield section, its number, and text of the paragraphs that are kept; the lead's name is "".
    `namespaces` are the prefixes of links that lead to no article; `dropped` counts by reason."""
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)  # it lets them run past a line
    below: int | None = None  # the level of an appendix that we are in
    for number, section in enumerate(code.get_sections(flat=True, include_lead=True)):
        heading = next(section.ifilter_headings(recursive=False), None)
        shown = "" if heading is None else _shown(heading.title, namespaces)
        name = " ".join(re.sub(f"[{HOLE}{NOTE}{ITEM}]", "", shown).split())
        if heading is not None and (below is None or heading.level <= below):
            below = heading.level if APPENDICES.fullmatch(name.lower()) else None
        for block in _blocks(_shown(section, namespaces), dropped):
            text = _mended(block)
            faults = (reason for reason, fault in _FAULTS.items() if fault(text))
            if reason := next(faults, None) if below is None else "in an appendix":
                dropped[reason] += 1
            else:
                yield name, number, text


def _shown(code: Wikicode, namespaces: frozenset[str]) -> str:
    return "".join(_node(node, namespaces) for node in code.nodes)


def _node(node: nodes.Node, namespaces: frozenset[str]) -> str:
    """Return what a node shows in the running text, with a mark where something is missing."""
    match node:
        case nodes.Text():
            return re.sub(r"'{2,}", "", re.sub(r"(?<=\w)'''s\b", "’s", str(node)))
        case nodes.HTMLEntity():
            return node.normalize()
        case nodes.Template():
            name = " ".join(str(node.name).lower().split())
            if name in CHARACTERS:
                return CHARACTERS[name]
            if NOTES.fullmatch(name):
                return NOTE
            if name in SHOWS and node.has(str(SHOWS[name])):
                return _shown(node.get(str(SHOWS[name])).value, namespaces)
        case nodes.Tag():
            name = str(node.tag).strip().lower()
            inside = "" if node.contents is None else _shown(node.contents, namespaces)
            if name == "ref":
                return NOTE
            if LIST_TAGS.fullmatch(name):
                return ITEM + inside
            if BLOCK_TAGS.fullmatch(name):
                return "\n\n"
            ordinal = name == "sup" and inside in ("st", "nd", "rd", "th")
            if INLINE_TAGS.fullmatch(name) or ordinal:  # H2O, 19th
                return inside
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
    return HOLE  # another template, a formula, an exponent


def _blocks(text: str, dropped: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs of a section: lines up to an empty one or an item of a list."""

    def of_paragraph(line: str) -> bool:
        bare = line.strip(f" \t{NOTE}")
        dropped["an item of a list"] += bare.startswith(ITEM)
        return bare.strip(HOLE) != "" and not bare.startswith(ITEM)

    found = groupby(text.split("\n"), of_paragraph)
    return (" ".join(map(str.strip, lines)) for filled, lines in found if filled)


def _mended(block: str) -> str:
    """Return a paragraph without its marks, but for holes that make it no sentence."""
    text = re.sub(rf"(?<=[.,;:!?”\"]){HOLE}+", NOTE, block)  # behind a mark there are only notes
    text = re.sub(rf"^{HOLE}+(?=[A-Z])", "", text)  # a box before the first word
    text = re.sub(rf"\s*{NOTE}+\s*(?=[.,;:!?)]|$)", "", text)
    text = re.sub(rf"\s*{NOTE}+(?=\s)", "", text).replace(NOTE, "")
    found = 1
    while found:  # brackets may stand in brackets
        text, found = re.subn(rf"\s*\([^()]*{HOLE}[^()]*\)|\s*\(\s*[,;]?\s*\)", "", text)
    return " ".join(text.split())


_FAULTS: dict[str, Callable[[str], object]] = {
    "a template or formula stood in a sentence": lambda text: HOLE in text,
    f"at most {SHORTEST} characters": lambda text: len(text) <= SHORTEST,
    "ends no sentence": lambda text: not re.search(r"[.!?][\"”’')\]]*$", text),
    "begins in the middle of a sentence": lambda text: text[0].islower(),
    "markup that could not be parsed": re.compile(r"[\[{]{2}|[\]}]{2}|\||</?[a-z]+[ />]").search,
}
