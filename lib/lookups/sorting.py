"""Handing out the deck of chapter 5's blind sort, and keeping what its readers said.

    python -m lookups.sorting export RUN FOLDER      deck.md for the reader
    python -m lookups.sorting record RUN VERDICTS …  keep the readers' verdicts, a file a reader

The key is the stage `05_deck`; nothing in deck.md gives it away. What is in a deck, and how
verdicts are counted, is `lookups.deck`.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

from lookups.artifacts import load
from lookups.deck import SORT
from lookups.errors import LookupsError
from lookups.runs import RECORDS, read_run
from lookups.views import readable


def as_markdown(deck: pd.DataFrame) -> str:
    """Return the deck as its reader gets it: no neuron, no head, no answer."""
    lines = [_INSTRUCTIONS]
    for number, item in deck.groupby("item"):
        lines.append(f"\n## Item {number}")
        learn = item[item.role == "learn"]
        for title, kind in (("A: active", True), ("B: not active", False)):
            lines += [f"\n{title}\n", *map(_line, learn[learn.active == kind].itertuples())]
        lines += ["\nTo be sorted\n", *map(_line, item[item.role == "sort"].itertuples())]
    return "\n".join(lines) + "\n"


def read_verdicts(path: Path | None) -> list[dict[str, str]]:
    """Return each reader's recorded verdicts by item digest; none if there is no record.

    Raises:
        LookupsError: the record cannot be read.
    """
    return [] if path is None else [dict(one) for one in _mapping(path).get("readers") or []]


def verdicts_of(deck: pd.DataFrame, answers: Mapping) -> dict[str, str]:
    """Turn a reader's answers, by item number, into verdicts by digest.

    Raises:
        LookupsError: an item is missing, or its answer is not one letter a prompt.
    """
    digests = deck.drop_duplicates("item").set_index("item").digest
    given = {str(number): str(answer).strip() for number, answer in answers.items()}
    for number in digests.index:
        if not re.fullmatch(f"[AB?]{{{SORT}}}", given.get(str(number), "")):
            raise LookupsError(
                f"item {number} needs {SORT} letters, A, B or ?, not {given.get(str(number), '')!r}"
                f"; write '?' {SORT} times if nobody read it"
            )
    return {digest: given[str(number)] for number, digest in digests.items()}


def main(arguments: list[str]) -> str:
    """Export a run's deck, or record what its reader said; return a line that says what was done.

    Raises:
        LookupsError: the command or a file is wrong, or chapter 5 has left no deck.
    """
    match arguments:
        case ["export", run, folder]:
            path = Path(folder) / "deck.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_markdown(load(read_run(run), "05_deck")), "utf-8")
            return f"{path}: give this to a reader who has seen neither the book nor the tables"
        case ["record", run, *files] if files:
            settings = read_run(run)
            deck = load(settings, "05_deck")
            readers = [verdicts_of(deck, _mapping(Path(file))) for file in files]
            path = settings.verdicts or RECORDS / f"{settings.id}.sort.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_RECORD_HEAD + yaml.safe_dump({"readers": readers}), "utf-8")
            return f"{path}: now run chapter 5 again (lookups run {run})"
    raise LookupsError("write: python -m lookups.sorting export RUN FOLDER | record RUN VERDICTS …")


_RECORD_HEAD = """\
# Readers' verdicts in the blind sort of chapter 5, one list entry a reader: for each item, by its
# digest, what was said of its held-out prompts in order. A: active, B: not active, ?: not read.
"""

_INSTRUCTIONS = f"""\
# A blind sort

Each item has two groups of prompts, A and B, and {SORT} more. The word in «marks» is the same
throughout an item: it was put at the end of every prompt, whatever came next in the text. Something
was active on the prompts of A, before that word, and not on those of B. Read them, think of what
sets A apart, and say for each of the {SORT}, in order, whether it belongs to A or B. There may be
more of the one than of the other, and there may be nothing to be found. Prompts are cut on the
left, and may begin in the middle of a word; ⏎ stands for a line break.

Write a file with one line an item, its number and {SORT} letters, such as `1: ABBABAABBA`."""


def _mapping(path: Path) -> dict:
    """Read a YAML file of keys and values; an empty file has none."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        content = "nothing readable"
    if not isinstance(content, dict | None):
        raise LookupsError(f"{path} holds no verdicts; write lines such as '1: ABBABAABBA'")
    return content or {}


def _line(row) -> str:
    return f"{row.place}. {readable(row.text)}«{readable(row.token)}»"


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1:]) + "\n")
    except LookupsError as error:
        sys.exit(str(error))
