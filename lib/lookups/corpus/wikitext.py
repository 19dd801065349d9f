"""Wikitext as plain paragraphs of prose (chapter 1), parsed by `mwparserfromhell`.

What an article shows beside its running text goes: references, tables, lists, quotations set apart,
formulas, pictures, headings, templates. A template that stood in a sentence leaves a hole in it.
Where the hole is in brackets, the brackets go with it; where it is a note, nothing is missing; a
paragraph with any other hole is dropped, since its sentence no longer says what its author wrote.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

import mwparserfromhell
from mwparserfromhell.nodes import (
    Comment,
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.wikicode import Wikicode

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

INLINE_TAGS = frozenset({"b", "i", "u", "small", "big", "span", "div", "center", "code", "nowiki"})
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


def _title(heading: Heading, namespaces: frozenset[str]) -> str:
    shown = _shown(heading.title, namespaces)
    return " ".join(re.sub(f"[{HOLE}{NOTE}{ITEM}]", "", shown).split())


def _shown(code: Wikicode, namespaces: frozenset[str]) -> str:
    return "".join(_node(node, namespaces) for node in code.nodes)


def _node(node: Node, namespaces: frozenset[str]) -> str:
    """Return what a node shows in the running text, with a mark where something is missing."""
    match node:
        case Text():
            return _ITALICS.sub("", _POSSESSIVE.sub("’s", str(node)))
        case HTMLEntity():
            return node.normalize()
        case Template():
            return _template(node, namespaces)
        case Tag():
            return _tag(node, namespaces)
        case ExternalLink():
            return NOTE if node.title is None else _shown(node.title, namespaces)
        case Wikilink():
            prefix, colon, _ = str(node.title).partition(":")
            if colon and prefix.strip().lower() in namespaces:
                return ""
            return _shown(node.title if node.text is None else node.text, namespaces)
        case Comment():
            return NOTE
        case Heading():
            return "\n"
    return HOLE


def _template(node: Template, namespaces: frozenset[str]) -> str:
    name = " ".join(str(node.name).lower().split())
    if name in CHARACTERS:
        return CHARACTERS[name]
    if NOTES.fullmatch(name):
        return NOTE
    if name in SHOWS and node.has(str(SHOWS[name])):
        return _shown(node.get(str(SHOWS[name])).value, namespaces)
    return HOLE


def _tag(node: Tag, namespaces: frozenset[str]) -> str:
    name = str(node.tag).strip().lower()
    inside = "" if node.contents is None else _shown(node.contents, namespaces)
    if name in LIST_TAGS:
        return ITEM + inside
    if name in BLOCK_TAGS:
        return "\n\n"
    if name == "ref":
        return NOTE
    if name in INLINE_TAGS or name == "sub":  # H2O
        return inside
    if name == "sup" and _ORDINAL.fullmatch(inside):  # 19th
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
