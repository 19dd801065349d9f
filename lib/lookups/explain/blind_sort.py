"""A blind sort: can a reader learn from a few prompts when a head is active? (chapter 6)

A deck has an item for each of some (neuron, head) pairs: prompts of the train split with their
labels, to learn from, and held-out prompts of the test split, to be sorted. An item is drawn by a
seed of its own and named by the digest of its content, so that other items may come or go.
`tools/blind_sort.py` writes what readers said into a YAML file: who they were, and an entry a
reader, with a letter for every prompt of each item, by digest.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import cohen_kappa_score

from lookups.errors import in_words
from lookups.statistics.bootstrap import lots_of

LEARN = 10  # at most so many prompts of each kind to learn from
SORT = 10  # held-out prompts to be sorted: half of each kind where there are so many
FEWEST = {"train": 4, "test": 3}  # prompts of each split that must be there of each kind
CLEAR = 9  # so many right of `SORT` make a look-up clear; guessing gets there in 1.1 % of items
LETTERS = {"A": True, "B": False}  # active and inactive; `?` stands for not read
COLUMNS = ["item", "digest", "kind", "neuron", "head", "role", "place", "prompt", "text", "token",
           "active"]  # fmt: skip


def is_sortable(prompts: pd.DataFrame) -> bool:
    """Whether one pair has enough prompts of both kinds; columns `split` and `active`."""
    counts = Counter(zip(prompts.split, prompts.active, strict=True))
    enough = all(counts[split, kind] >= FEWEST[split] for split in FEWEST for kind in (True, False))
    return enough and counts["test", True] + counts["test", False] >= SORT


def draw_deck(pairs: pd.DataFrame, prompts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Draw an item for every pair (`neuron`, `head`, `kind`) and put the items in a blind order.

    `prompts` has a row for each prompt of each pair: neuron, head, split, prompt, text, token,
    active and `decides`, the number that active goes by. An item teaches with the active prompts
    that have most of it, then with the others that have least; what is to be sorted is drawn at
    random. Every pair must be sortable.
    """
    items = []
    for pair in pairs.itertuples():
        own = prompts[(prompts.neuron == pair.neuron) & (prompts["head"] == pair.head)]
        item = _draw_item(own, lots_of(seed, pair.neuron, pair.head))
        rows = item[["role", "place", "text", "token", "active"]].sort_values(["role", "place"])
        content = json.dumps(rows.astype(str).to_numpy().tolist())
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        items.append(item.assign(kind=pair.kind, digest=digest))
    empty = pd.DataFrame(columns=COLUMNS).astype({"item": int, "place": int, "active": bool})
    deck = pd.concat(items or [empty]).sort_values(["digest", "role", "place"], kind="stable")
    deck["item"] = deck.digest.rank(method="dense").astype(int) if items else empty["item"]
    return deck[COLUMNS].reset_index(drop=True)


def _draw_item(prompts: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    rows = prompts.sort_values(["split", "prompt"]).iloc[random.permutation(len(prompts))]
    train, test = rows[rows.split == "train"], rows[rows.split == "test"]
    train = train.sort_values(["decides", "prompt"])
    learn = pd.concat([train[train.active][::-1].head(LEARN), train[~train.active].head(LEARN)])
    halves = test.groupby("active").head(SORT // 2)
    sort = pd.concat([halves, test.drop(index=halves.index)]).head(SORT)
    sort = sort.iloc[random.permutation(len(sort))]
    both = pd.concat([learn.assign(role="learn"), sort.assign(role="sort")])
    return both.assign(place=both.groupby("role").cumcount() + 1)


def majority(readers: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return, for every item, the letters that more than half of its readers gave, or `?`."""
    found = {}
    for digest in sorted(set().union(*readers)):
        said = zip(*(one[digest] for one in readers if digest in one), strict=True)
        most = ((*Counter(letters).most_common(1)[0], len(letters)) for letters in said)
        found[digest] = "".join(letter if 2 * times > of else "?" for letter, times, of in most)
    return found


def agreement(readers: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return, for every two readers, how often they gave the same letter, and Cohen's kappa.
    Letters count where neither wrote `?`. Kappa is nan where both wrote one letter throughout."""
    rows = []
    for (one, a), (other, b) in combinations(enumerate(readers, 1), 2):
        shared = [zip(a[digest], b[digest], strict=True) for digest in sorted(set(a) & set(b))]
        both = [letters for said in shared for letters in said if "?" not in letters]
        same = float(np.mean([x == y for x, y in both])) if both else np.nan
        varied = len({letter for letters in both for letter in letters}) > 1
        kappa = cohen_kappa_score(*zip(*both, strict=True)) if varied else np.nan
        rows.append((one, other, len(both), same, float(kappa)))
    return pd.DataFrame(rows, columns=["reader", "other", "letters", "same", "kappa"])


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


def who_read(path: Path | None) -> str:
    """Return what kind of readers they were, such as `language models`."""
    return str(mapping_of(path).get("readers") or "not recorded")


def mapping_of(path: Path | None) -> dict:
    """Read a YAML file of keys and values; an empty file, or no file, has none."""
    with in_words(str(path), "write lines such as '1: ABBABAABBA'"):
        return dict(yaml.safe_load(path.read_text("utf-8")) or {}) if path else {}
