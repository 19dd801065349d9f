"""A blind sort: can a reader learn from a few prompts when a head is active? (chapter 6)

A deck has an item for each of some (neuron, head) pairs: prompts of the train split with their
labels, to learn from, and held-out prompts of the test split, to be sorted. An item is named by the
digest of its content, so that other items may come or go.
`tools/blind_sort.py` writes what readers said into a YAML file: who they were, and an entry a
reader, with a letter for every prompt of each item, by digest.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from lookups.errors import in_words

SORT = 10  # held-out prompts to be sorted: half of each kind where there are so many
CLEAR = 9  # so many right of `SORT` make a look-up clear; guessing gets there in 1.1 % of items
LETTERS = {"A": True, "B": False}  # active and inactive; `?` stands for not read


def majority(readers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return, for every item, the letters that more than half of its readers gave, or `?`."""
    found = {}
    for digest in sorted(set().union(*readers)):
        said = zip(*(one[digest] for one in readers if digest in one), strict=True)
        most = ((*Counter(letters).most_common(1)[0], len(letters)) for letters in said)
        found[digest] = "".join(letter if 2 * times > of else "?" for letter, times, of in most)
    return found


def scored(deck: pd.DataFrame, verdicts: Mapping[str, str]) -> pd.DataFrame:
    """Return one row an item: how many held-out prompts were sorted right, and if that is clear. An
    item without a verdict has `correct` missing and is not clear; `?` is never right."""
    names, rows = ["item", "kind", "neuron", "head", "token"], []
    for key, item in deck[deck.role == "sort"].sort_values("place").groupby([*names, "digest"]):
        said = [LETTERS.get(letter) for letter in verdicts.get(key[-1], "")]
        right = sum(a == b for a, b in zip(said, item.active, strict=True)) if said else None
        rows.append((*key[:-1], int(item.active.sum()), right, (right or 0) >= CLEAR))
    table = pd.DataFrame(rows, columns=[*names, "active", "correct", "clear"])
    return table.astype({"correct": "Int64", "clear": bool})


def read_verdicts(path: Path | None) -> list[dict[str, str]]:
    """Return each reader's recorded verdicts by item digest; none if there is no record."""
    return mapping_of(path).get("verdicts") or []


def mapping_of(path: Path | None) -> dict:
    """Read a YAML file of keys and values; an empty file, or no file, has none."""
    with in_words(str(path), "write lines such as '1: ABBABAABBA'"):
        return dict(yaml.safe_load(path.read_text("utf-8")) or {}) if path else {}
