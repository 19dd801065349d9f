"""The running example: one pair that every chapter looks at by hand, and a second one beside it.

A run file may name their neurons (`examples`). Up to chapter 7 the prompt is a training prompt,
from chapter 8 on a held-out one.
"""

import pandas as pd

from lookups.settings import Run


def running_neurons(settings: Run, rates: pd.DataFrame) -> list[str]:
    """Return the names of the example's neuron and of a second one, for another token.

    They are selected neurons: first those that the run file names, then those that their token
    follows most often on `train`; examined ones where none is selected. `rates` is `follow_rates`.
    """
    train = rates[rates.split == "train"]
    mine = train[train.selected.eq(True)]
    mine = mine if len(mine) else train[train.examined.eq(True)]
    places = mine.neuron.map({name: at for at, name in enumerate(settings.examples)})
    mine = mine.assign(named=places.astype(float))  # of the others not a number, which comes last
    mine = mine.sort_values(["named", "follow_rate"], ascending=[True, False], kind="stable")
    return mine.drop_duplicates("token").neuron.head(2).tolist()


def running_pair(pairs: pd.DataFrame, neuron: str) -> tuple[str, str] | None:
    """Return a neuron's pair with the largest `gap`, a kept one if it has any; `pairs` is `pairs`.
    None where the neuron has no pair at all."""
    mine = pairs[pairs.neuron == neuron]
    order = ["kept", "gap", "n_active"]
    mine = mine.astype({"kept": bool}).sort_values(order, ascending=False, kind="stable")
    return next(mine[["neuron", "head"]].itertuples(index=False, name=None), None)


def running_pairs(settings: Run, rates: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the example's pair and the second one: kept pairs, of selected neurons if any. Where a
    neuron has none, the next is taken that has one, by the `gap` of its pair."""
    kept = pairs[pairs.kept.astype(bool)]
    kept = kept[kept.selected] if kept.selected.any() else kept
    wide = kept.sort_values("gap", ascending=False, kind="stable").neuron
    names = dict.fromkeys([*running_neurons(settings, rates), *wide])
    found = [running_pair(kept, name) for name in names]
    return [pair for pair in found if pair is not None][:2]


def running_prompt(rows: pd.DataFrame) -> pd.Series | None:
    """Return a typical one of some prompts whose head is active and that their token follows.

    Of those, the one of median activation, the lower of two. Where there is none, of the active
    ones, else of all; None without a prompt. `rows` has `activation`, `prompt`, `token` and
    `next_token`, and `active` where a head is in question.
    """
    active = rows.get("active", pd.Series(True, rows.index)).astype(bool)
    follows = active & (rows.next_token == rows.token)
    mine = next((rows[kind] for kind in (follows, active) if kind.any()), rows)
    mine = mine.sort_values(["activation", "prompt"], kind="stable")
    return mine.iloc[(len(mine) - 1) // 2] if len(mine) else None
