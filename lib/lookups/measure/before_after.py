"""Measurements of `lookups.measure.intervention` as the long tables that chapters 9 to 11 save.

A row of the table is a row that was measured and one kind of change; it keeps the caller's columns
and gets `kind`, and `p`, `logp`, `pre` and `act` before and after. Gated neurons have `up` as well.
"""

from collections.abc import Mapping

import pandas as pd

from lookups.measure.intervention import Edited

CHANGES: Mapping[str, str] = {
    "fall": "p",
    "log_fall": "logp",
    "pre_fall": "pre",
    "act_fall": "act",
}
"""What falls, by the name of the column that says how far: before less after."""


GROUPS = ("selected", "random")
"""The run's own neurons, and those that are matched to them."""


def of_group(table: pd.DataFrame, neurons: pd.DataFrame, group: str) -> pd.DataFrame:
    """Return the rows of a table that belong to a group of neurons; a neuron may be in two.

    `neurons` is `follow_rates`, one row a neuron, by name.
    """
    facts = neurons.reindex(table.neuron)
    mine = facts.selected.eq(True) if group == "selected" else facts.group.eq(group)
    return table[mine.to_numpy(bool)]


def followed_first(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs that make a good example, the best first.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `active`, `follows` (its token does)
    and `gap` (how much more the neuron owes to the head on active prompts). A pair is the better,
    the larger the gap times the share of its active prompts that the token follows; pairs with
    three such prompts or more come first, those with none are left out.
    """
    active = rows[rows.active.astype(bool)].groupby(["neuron", "head"], sort=True)
    facts = active.agg(followed=("follows", "sum"), share=("follows", "mean"), gap=("gap", "first"))
    facts["order"] = -(facts["share"] * facts.gap).astype(float)
    facts["few"] = facts.followed < 3
    facts = facts[facts.followed > 0].sort_values(["few", "order"], kind="stable")
    return facts.index.tolist()


def before_after(rows: pd.DataFrame, edited: Edited) -> pd.DataFrame:
    """Return `rows` once for every kind of change, with what was measured before and after it.

    Raises:
        ValueError: other rows were measured.
    """
    if len(edited.before.p) != len(rows):
        raise ValueError(f"{len(edited.before.p)} rows were measured, not these {len(rows)}")
    before = {f"{name}_before": column for name, column in _known(edited.before).items()}
    tables = []
    for kind, after in edited.after.items():
        found = {f"{name}_after": column for name, column in _known(after).items()}
        tables.append(rows.assign(kind=kind, **before, **found))
    return pd.concat(tables, ignore_index=True) if tables else rows.iloc[:0].copy()


def with_falls(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with how far everything fell: `fall` of p, `log_fall`, `pre_fall`, `act_fall`.

    A fall is what was there before less what is there after, as in step 7 of the method; what rose
    has a negative one. Columns that the table lacks have no fall.
    """
    falls = {
        name: table[f"{what}_before"].astype(float) - table[f"{what}_after"].astype(float)
        for name, what in CHANGES.items()
        if f"{what}_before" in table.columns
    }
    return table.assign(**falls)


def _known(measured) -> dict:
    return {name: column for name, column in measured._asdict().items() if column is not None}
