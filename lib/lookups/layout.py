"""Paragraphs of a documentation string: what its layout says is text, and what is not (chapter 0).

Read line by line: doctests, fences, tables, directives, headings, reference lists and the names of
parameters are dropped; the lines of a paragraph, list item or field description are joined. Inline
markup stays (`lookups.prose` takes it off); no language is judged here.
"""

import re
from inspect import cleandoc
from typing import NamedTuple

# Sections whose lines are lists of names or of literature, in numpy's and in Google's style.
LISTING_SECTIONS = frozenset(
    {"references", "reference", "see also", "bibliography", "citation", "methods", "authors"}
)
PROSE_DIRECTIVES = frozenset(
    {"attention", "caution", "hint", "important", "note", "tip", "warning", "danger", "todo"}
)
VERSION_DIRECTIVES = frozenset({"versionadded", "versionchanged", "deprecated", "admonition"})

_RULE = re.compile(r"[=\-~`^\"*#+_.:/ |]{3,}$")
_TABLE = re.compile(r"\S(?<![.!?:]) {3,}\S|\S {5,}\S")
_DIRECTIVE = re.compile(r"\.\. ([\w:-]+?):: ?(.*)$")
_FIELD = re.compile(r":(\w[^:`]*):(?: +(.*))?$")
_BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.):]|#\.|\(?[a-z][.)]) +(?=\S)")
_TERM = re.compile(
    r"[*`\"']*[A-Za-z_][\w.\-*/\[\]]*[`*\"']*"  # a name, perhaps marked up
    r"(?: ?[\(\[{](?:[^()]|\((?:[^()]|\([^()]*\))*\))*[\)\]}])?"  # its type in brackets
    r"(?::| --?)(?: +(.*))?$"
)
_NUMPY_TERM = re.compile(r"[*`\"']*[A-Za-z_][\w.,*` \[\]/\"'=-]{0,60} : ")
TAG = re.compile(r"(?:TODO|FIXME|XXX|HACK|NOTE|NB|BUG)\b *(?:[(\[][^)\]]*[)\]])? *[:,-]* *")
"""What programmers write before a remark; `lookups.prose` takes it off joined lines, too."""


class _Kind(NamedTuple):
    """What a line is: `code` "line", "block" or "until blank" is dropped; else `text` is kept."""

    text: str
    starts: bool = False
    code: str = ""


_DROPPED_LINE = _Kind("", code="line")


def _kind(content: str) -> _Kind:
    first = content[0]
    if first.isalpha():
        if content.startswith("In ["):
            return _Kind("", code="until blank")
        if _is_table(content):
            return _DROPPED_LINE
        if tag := TAG.match(content):
            return _Kind(content[tag.end() :], starts=True)
        term = _TERM.match(content) if ":" in content or " -" in content else None
        return _Kind((term[1] or "").strip(), starts=True) if term else _Kind(content)
    if content.startswith((">>>", "...", "Out[", "%")):
        return _Kind("", code="until blank")
    if content.startswith((".. ", "..\t")) or content == "..":
        return _directive(content)
    if first in "|+$@!&{}<" and not content.startswith("+ "):
        return _DROPPED_LINE
    if _is_table(content):
        return _DROPPED_LINE
    if first == ":" and (field := _FIELD.match(content)):
        wanted = field[2] and not field[1].startswith(("type", "rtype", "vartype"))
        return _Kind(field[2].strip(), starts=True) if wanted else _Kind("", code="block")
    if bullet := _BULLET.match(content):
        item = content[bullet.end() :]
        term = _TERM.match(item.replace(" : ", ": ", 1))
        return _Kind((term[1] or "").strip() if term else item, starts=True)
    if first in "*`\"'_" and (term := _TERM.match(content)):
        return _Kind((term[1] or "").strip(), starts=True)
    if first == "#":
        return _DROPPED_LINE
    return _Kind(content)


def _is_table(content: str) -> bool:
    return "   " in content and bool(_TABLE.search(content))


def _directive(content: str) -> _Kind:
    if found := _DIRECTIVE.match(content):
        if found[1] in PROSE_DIRECTIVES:
            return _Kind(found[2].strip(), starts=True)
        if found[1] in VERSION_DIRECTIVES:
            return _DROPPED_LINE
    return _Kind("", code="block")


def _joined(lines: list[str]) -> str:
    text = " ".join(lines)
    return re.sub(r"([a-z])- ([a-z])", r"\1-\2", text) if "- " in text else text


class _Paragraph:
    """Lines being collected; `hanging` ones (list items, fields) may be indented from line two."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = self.body = -1
        self.hanging = False

    def accepts(self, indent: int) -> bool:
        if len(self.lines) == 1 and self.hanging:
            return indent >= self.indent
        return indent == self.body

    def add(self, indent: int, text: str) -> None:
        self.body = indent
        if text:
            self.lines.append(text)

    def start(self, indent: int, text: str, hanging: bool) -> None:
        self.lines = [text] if text else []
        self.indent = self.body = indent
        self.hanging = hanging

    def is_term(self) -> bool:
        """A short unfinished line above deeper lines names what they describe."""
        if len(self.lines) != 1 or self.hanging:
            return False
        line = self.lines[0]
        return bool(_NUMPY_TERM.match(line)) or (len(line.split()) <= 6 and line[-1] not in ".!?")


class _Layout:
    """The state between two lines of one documentation string."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.paragraph = _Paragraph()
        self.skip_below = -1
        """Lines indented deeper belong to something dropped; -1: nothing was."""
        self.until_blank = self.fenced = self.listing = False

    def read(self, line: str) -> None:
        content = line.strip()
        if content.startswith(("```", "~~~")):
            self.flush()
            self.fenced = not self.fenced and content.count("```") != 2
        elif self.fenced:
            return
        elif not content:
            self.flush()
            self.until_blank = False
        else:
            self.read_content(content, len(line) - len(line.lstrip()))

    def read_content(self, content: str, indent: int) -> None:
        if self.skip_below >= 0 and indent > self.skip_below:
            return
        self.skip_below = -1
        if _RULE.match(content):
            self.end_heading()
        elif not self.until_blank and not self.ends_term(indent):
            self.read_kind(content, indent)

    def end_heading(self) -> None:
        """Drop the line above a rule: it names a section."""
        lines = self.paragraph.lines
        if len(lines) == 1:
            self.listing = lines[0].lower().rstrip(":") in LISTING_SECTIONS
        del lines[-1:]
        self.flush()

    def ends_term(self, indent: int) -> bool:
        """Drop a name above a deeper line; the line goes too where the name is a list's."""
        term = self.paragraph
        if not (term.lines and indent > term.body and term.is_term()):
            return False
        if term.lines[0].lower().rstrip(":") in LISTING_SECTIONS:
            self.skip_below = term.indent
        term.start(-1, "", False)
        return self.skip_below >= 0

    def read_kind(self, content: str, indent: int) -> None:
        kind = _kind(content)
        if kind.code:
            self.flush()
            self.until_blank = kind.code == "until blank"
            self.skip_below = indent if kind.code == "block" else -1
            return
        if self.listing:
            self.paragraph.start(indent, content, False)  # perhaps the heading that ends the list
            return
        literal = kind.text.endswith("::")
        kept = kind.text.removesuffix(" ::").removesuffix(":") if literal else kind.text
        if kind.starts or not self.paragraph.lines or not self.paragraph.accepts(indent):
            self.flush()
            self.paragraph.start(indent, kept, kind.starts)
        else:
            self.paragraph.add(indent, kept)
        if literal:
            self.skip_below = self.paragraph.indent
            self.flush()

    def flush(self) -> None:
        if self.paragraph.lines and not self.listing:
            self.found.append(_joined(self.paragraph.lines))
        self.paragraph.start(-1, "", False)


def blocks(text: str) -> list[str]:
    """Return the paragraphs of a documentation string, laid-out matter left out, markup kept."""
    layout = _Layout()
    for line in cleandoc(text).expandtabs(4).splitlines():
        layout.read(line)
    layout.flush()
    return layout.found
