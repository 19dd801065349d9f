"""Where do two tables of the same analysis agree, and if not, why not? (chapter 14)

Tables in, tables out: `ours` are stages of a run, `theirs` tables of `record.read`. A row of
an answer is one thing that was compared; where it does not agree it carries a reason that was
computed from the tables, the first of a fixed list that holds. No model and no file is read here.
Here are neurons and tokens; prompts are in `lookups.record.compare_texts`, heads and pairs in
`lookups.record.compare_heads`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

Reason = Literal[
    "rejected by the authors",
    "rejected in our run",
    "layer only in one of the two",
    "other number of neurons a layer",
    "other congruence",
    "same token, other spelling",
    "tie or rounding",
    "prompt not in our corpus",
    "beyond our number of prompts",
    "beyond the record's number of prompts",
    "in the place of another prompt",
    "other protocol of the run",
    "the record keeps less than its share",
    "other text kept",
    "other rule of the run",
    "own layer's heads counted",
    "other prompts of the neuron",
    "other active heads",
    "not explained",
]
"""Every reason that can be given, in no order."""

REASONS: tuple[str, ...] = get_args(Reason)

COLUMNS = ("what", "neuron", "split", "prompt", "head", "ours", "theirs", "agrees", "reason")
"""What was compared, of which neuron (prompt, head), what either says, and why they differ."""

KEYS = ["neuron", "split", "prompt"]


def compared(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with all columns of a comparison."""
    table = pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS))
    return table.astype({"agrees": bool})


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each thing compared: how many, how many agree, and their share."""
    by = table.groupby("what", sort=False).agrees
    found = pd.DataFrame({"compared": by.size(), "agree": by.sum().astype(int)})
    found["share"] = found.agree / found.compared
    return found.rename_axis(None)


def reasons(table: pd.DataFrame) -> pd.DataFrame:
    """Return how often each reason was given for each thing compared, most frequent first."""
    apart = table[~table.agrees]
    counts = apart.groupby(["what", "reason"], sort=False).size().rename("rows").reset_index()
    return counts.sort_values(["what", "rows", "reason"], ascending=[True, False, True])


def relative(ours: float, theirs: float) -> float:
    """Return how far apart two numbers are, as a share of the larger."""
    largest = max(abs(ours), abs(theirs))
    return abs(ours - theirs) / largest if largest else 0.0


def digits(ours: float, theirs: float, most: int = 7) -> int:
    """Return to how many significant digits two numbers agree (float32 holds some 7)."""
    apart = relative(ours, theirs)
    return most if apart == 0 else int(np.clip(np.floor(-np.log10(apart)), 0, most))


def compare_lists(ours: pd.DataFrame, theirs: pd.DataFrame, *, tolerance: float) -> pd.DataFrame:
    """Compare which neurons stand on the two lists, and in which order those on both do.

    `ours` holds every neuron (neuron, layer, congruence; `listed`, `rejected` say which were taken
    and which were left out by hand), `theirs` (neuron, layer, congruence, rejected) the record's in
    its order. `tolerance` is the share by which equal congruences may differ.
    """
    ours, theirs = (table.astype({"congruence": float}) for table in (ours, theirs))
    mine = ours[ours.listed].sort_values(["layer", "congruence"], ascending=[True, False])
    yours = theirs[~theirs.rejected].drop_duplicates("neuron")
    names = list(dict.fromkeys([*mine.neuron, *yours.neuron]))
    both = set(mine.neuron) & set(yours.neuron)
    facts = ours.drop_duplicates("neuron").set_index("neuron")
    why = _why_listed(facts, mine, theirs, tolerance)
    rows = []
    for name in names:
        ok = name in both
        said = {"ours": "listed" if name in set(mine.neuron) else "not listed"}
        said["theirs"] = "listed" if name in set(yours.neuron) else "not listed"
        rows.append({"what": "neuron on the list", "neuron": name, **said, "agrees": ok,
                     "reason": None if ok else why(name)})  # fmt: skip
    return compared([*rows, *_orders(mine, yours, both, tolerance)])


def _why_listed(
    facts: pd.DataFrame, mine: pd.DataFrame, theirs: pd.DataFrame, tolerance: float
) -> Callable[[str], Reason]:
    """A function that says why a neuron stands on one list only."""
    yours = theirs[~theirs.rejected]
    here, there = (
        table.groupby("layer").congruence.agg(["size", "min"]) for table in (mine, yours)
    )
    rejected = set(theirs.neuron[theirs.rejected])
    recorded = yours.drop_duplicates("neuron").set_index("neuron").congruence

    def why(name: str) -> Reason:
        layer = int(facts.layer[name]) if name in facts.index else -1
        if name in rejected:
            return "rejected by the authors"
        if layer not in here.index or layer not in there.index:
            return "layer only in one of the two"
        if facts.rejected[name]:
            return "rejected in our run"
        value = float(facts.congruence[name])
        if name in recorded.index and relative(value, recorded[name]) > tolerance:
            return "other congruence"
        other = (here if name in recorded.index else there).loc[layer]
        if relative(value, other["min"]) <= tolerance:
            return "tie or rounding"
        if value < other["min"] and here["size"][layer] != there["size"][layer]:
            return "other number of neurons a layer"
        return "not explained"

    return why


def _orders(mine: pd.DataFrame, yours: pd.DataFrame, both: set, tolerance: float) -> list[dict]:
    """Compare places among the neurons that stand on both lists, layer by layer."""
    rows = []
    for layer, group in mine[mine.neuron.isin(both)].groupby("layer"):
        first = group.neuron.tolist()
        second = [name for name in yours.neuron[yours.layer == layer] if name in both]
        value = group.set_index("neuron").congruence
        for place, name in enumerate(first):
            theirs = second.index(name)
            ok = theirs == place
            near = relative(value[name], value[first[theirs]]) <= tolerance
            rows.append({"what": "order in its layer", "neuron": name, "ours": place + 1,
                         "theirs": theirs + 1, "agrees": ok,
                         "reason": None if ok else "tie or rounding" if near
                         else "not explained"})  # fmt: skip
    return rows


def compare_tokens(ours: pd.DataFrame, theirs: pd.DataFrame, *, tolerance: float) -> pd.DataFrame:
    """Compare token and congruence of the neurons on both lists, by name.

    `ours` may hold `of_their_token`: the congruence that our weights give the record's token (NaN
    where it is no single token here). Congruence agrees when it differs by at most `tolerance` of
    its size; up to ten times that is called rounding.
    """
    ours, theirs = (table.astype({"congruence": float}) for table in (ours, theirs))
    both = theirs.merge(ours, on="neuron", suffixes=("_theirs", ""))
    rows = []
    for row in both.itertuples():
        apart = relative(row.congruence, row.congruence_theirs)
        ok = row.token == row.token_theirs
        rows.append({"what": "token", "neuron": row.neuron, "ours": row.token,
                     "theirs": row.token_theirs, "agrees": ok,
                     "reason": None if ok else _why_token(row, tolerance)})  # fmt: skip
        ok, near = apart <= tolerance, apart <= 10 * tolerance
        rows.append({"what": "congruence", "neuron": row.neuron, "ours": row.congruence,
                     "theirs": row.congruence_theirs, "agrees": ok,
                     "reason": None if ok else "tie or rounding" if near
                     else "not explained"})  # fmt: skip
    return compared(rows)


def _why_token(row: Any, tolerance: float) -> Reason:
    if row.token.strip().casefold() == row.token_theirs.strip().casefold():
        return "same token, other spelling"
    value = getattr(row, "of_their_token", np.nan)
    if np.isfinite(value) and relative(value, row.congruence) <= tolerance:
        return "tie or rounding"
    return "not explained"
