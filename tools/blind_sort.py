"""Hand out the deck of chapter 6's blind sort, and keep what its readers said.

    python tools/blind_sort.py export RUN FOLDER                deck.md for the readers
    python tools/blind_sort.py record RUN READERS VERDICTS …    keep their verdicts, a file a reader

READERS says who they were, such as "language models". Each reader gets deck.md and nothing else,
and reads it alone. The key is the stage `deck`; nothing in deck.md gives it away.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml
from lookups.errors import LookupsError
from lookups.explain.blind_sort import SORT, mapping_of
from lookups.run.store import load
from lookups.settings import RECORDS, read_run
from lookups.show.views import readable

USAGE = (
    "write: python tools/blind_sort.py export RUN FOLDER | record RUN READERS VERDICTS … "
    '(READERS: who they were, such as "language models")'
)

RECORD_HEAD = """\
# The blind sort of chapter 6: who its readers were, and what they said, one list entry a reader.
# For each item, by its digest, a letter for each of its held-out prompts in order. A: active,
# B: not active, ?: not read.
"""

INSTRUCTIONS = f"""\
# A blind sort

Each item has two groups of prompts, A and B, and {SORT} more. The word in «marks» is the same
throughout an item: it was put at the end of every prompt, whatever came next in the text. Something
was active on the prompts of A, before that word, and not on those of B. Read them, think of what
sets A apart, and say for each of the {SORT}, in order, whether it belongs to A or B. Both groups
begin with the prompts that are surest to be of their kind. There may be more of the one than of the
other, and there may be nothing to be found. Prompts are cut on the left, and may begin in the
middle of a word; ⏎ stands for a line break.

Write a file with one line an item, its number and {SORT} letters, such as `1: ABBABAABBA`."""


def as_markdown(deck: pd.DataFrame) -> str:
    """Return the deck as its readers get it: no neuron, no head, no answer."""
    lines = [INSTRUCTIONS]
    for number, item in deck.groupby("item"):
        lines.append(f"\n## Item {number}")
        learn = item[item.role == "learn"]
        for title, kind in (("A: active", True), ("B: not active", False)):
            lines += [f"\n{title}\n", *map(_line, learn[learn.active == kind].itertuples())]
        lines += ["\nTo be sorted\n", *map(_line, item[item.role == "sort"].itertuples())]
    return "\n".join(lines) + "\n"


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
    """Export a run's deck, or record what its readers said; return a line that says what was done.

    Raises:
        LookupsError: the command or a file is wrong, or chapter 6 has left no deck.
    """
    match arguments:
        case ["export", run, folder]:
            path = Path(folder) / "deck.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_markdown(load(read_run(run), "deck")), "utf-8")
            return f"{path}: give this to readers who have seen neither the book nor the tables"
        case ["record", run, readers, *files] if files:
            settings = read_run(run)
            deck = load(settings, "deck")
            verdicts = [verdicts_of(deck, mapping_of(Path(file))) for file in files]
            path = settings.verdicts or RECORDS / f"{settings.id}.sort.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"readers": readers, "verdicts": verdicts}
            path.write_text(RECORD_HEAD + yaml.safe_dump(content, sort_keys=False), "utf-8")
            return f"{path}: now run chapter 6 again (lookups run {run})"
    raise LookupsError(USAGE)


def _line(row) -> str:
    return f"{row.place}. {readable(row.text)}«{readable(row.token)}»"


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1:]) + "\n")
    except LookupsError as error:
        sys.exit(str(error))
