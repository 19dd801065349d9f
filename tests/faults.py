"""What bad input and faults come to: every refusal that a test meets, for the page of the book.

While tests run, the sentence of each `LookupsError` that `pytest.raises` met, and of each command
that failed, is noted with the name of the test, which says what was tried. `pytest --faults` adds
what the page lacks (without the page, all); without it, a test whose sentence it lacks fails.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import _pytest.raises
from lookups.errors import LookupsError
from lookups.paths import PROJECT

PAGE = PROJECT / "book" / "faults.md"
ROOMS = {
    "model": "Models", "corpus": "Texts", "explain": "Servers of language models, and explanations",
    "measure": "Measurements", "record": "The record that the paper's authors released",
    "run": "Runs, commands and files on disk", "show": "Views", "statistics": "Statistics",
    "chapters": "Chapters", "release": "The book",
}  # fmt: skip
INTRODUCTION = """(faults)=
# What goes wrong, and what is then said

Bad input should end early, in a sentence that says what to do, and never in a wrong number. This
page lists what our tests try and what comes out. The tests write it themselves (`pytest --faults`):
the first column is the name of a test and what it was given, the second the sentence that it met.
`…` stands for the folders and numbers of a machine.
"""

TITLES = ("| what is tried | what is said |", "| --- | --- |")

_met: list[str] = []
"""The sentences of the test that runs."""


@contextmanager
def noting() -> Iterator[list[str]]:
    """Note what is refused meanwhile."""
    leave = _pytest.raises.RaisesExc.__exit__

    def noted(self, kind, error, trace):  # as pytest's own, which then says whether it was meant
        if isinstance(error, LookupsError):
            note(str(error))
        return leave(self, kind, error, trace)

    _met.clear()
    _pytest.raises.RaisesExc.__exit__ = noted
    try:
        yield _met
    finally:
        _pytest.raises.RaisesExc.__exit__ = leave


def note(sentence: str) -> None:
    """Note a sentence, without what differs from machine to machine and from time to time."""
    for pattern, then in (
        (r"(?<![\w:/…])(/[\w.~+@-]+)+(?=/)", "…"), (r"\b[0-9a-f]{12,64}\b", "…"),
        (r"(…/[\w-]+?)-[a-z0-9_]{8}\b", r"\1"),  # of `tiny.scratch`
        (r"…/test_\w+", "…"), (r"127\.0\.0\.1:\d+", "…"), (r"\x1b\[[0-9;]*m", ""), (r"\s+", " "),
    ):  # fmt: skip
        sentence = re.sub(pattern, then, sentence)
    _met.append(sentence.strip())


def tried(item) -> tuple[str, str]:
    """The heading a test stands under, and what it tries: its name, and what it is given first."""
    words = item.originalname.removeprefix("test_").replace("_", " ")
    given = [str(one) for one in getattr(item, "callspec", _Nothing).params.values()]
    short = [one for one in given[:1] if 0 < len(one) < 120 and not re.match(r"<|.*\bat 0x", one)]
    heading = ROOMS.get(item.path.parent.name, "The house")
    return heading, f"{words}: {' '.join(short[0].split())}" if short else words


class _Nothing:
    params: ClassVar[dict] = {}


def row_of(what: str, sentence: str) -> str:
    return f"| {_cell(what)} | {_cell(sentence)} |"


def page_of(rows: Iterable[tuple[str, str]]) -> str:
    """Write the page from headings and the rows below them."""
    parts, found = [INTRODUCTION], sorted(set(rows))
    for heading in dict.fromkeys([*ROOMS.values(), *(one for one, _ in found)]):
        if mine := "\n".join(row for one, row in found if one == heading):
            parts.append("\n".join([f"## {heading}", "", *TITLES, mine, ""]))
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Text that stays text in a cell of a table of Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|$~#])", r"\\\1", text)


def on_page() -> list[tuple[str, str]]:
    """The headings and rows of the committed page."""
    heading, found = "", []
    for line in PAGE.read_text("utf-8").splitlines() if PAGE.is_file() else ():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif heading and line.startswith("| ") and line not in TITLES:
            found.append((heading, line))
    return found
