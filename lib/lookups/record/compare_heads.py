"""Do two runs find the same heads active, and keep the same pairs? (chapter 14)

The heads' part of `record.compare`, with its rows and reasons. Rules do not stand here: tables
come with heads judged already, and `edge` says how high a head must reach to be active on a prompt,
so that a head which misses it by rounding is told from one that is far off.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lookups.names import Head, Neuron
from lookups.record.compare import KEYS, Reason, compared

Edge = Callable[[np.ndarray], float]
"""From the candidates' attributions on one prompt to the height from which a head is active."""


def active_sets(heads: pd.DataFrame, column: str = "active") -> dict[tuple, frozenset[str]]:
    """Return the active heads of every prompt that has a row: (neuron, split, prompt) to names."""
    found = dict.fromkeys(heads[KEYS].itertuples(index=False, name=None), frozenset())
    some = heads[heads[column].astype(bool)]
    return found | some.groupby(KEYS, sort=False)["head"].agg(frozenset).to_dict()


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of the heads in either set that are in both; 1 where both are empty."""
    return len(one & other) / len(one | other) if one | other else 1.0


class Judged(NamedTuple):
    """Our heads on the prompts that are compared."""

    heads: pd.DataFrame
    """neuron, split, prompt, head, attribution, candidate, and a column a rule."""
    column: str
    """The column with the rule that is compared."""
    record_column: str
    """The column with the rule of the record."""
    edge: Edge
    """The edge of the record's rule."""


def compare_active(
    matches: pd.DataFrame, ours: Judged, theirs: pd.DataFrame, *, what: str, tolerance: float
) -> pd.DataFrame:
    """Compare the active heads of every prompt that both have; `jaccard` says how much they share.

    `matches` is from `record.compare_texts.match_texts`, `theirs` holds neuron, split, prompt,
    head, active; a prompt without a row there has no active head. A head is a tie when it misses
    the edge by at most `tolerance` of the prompt's largest attribution. Prompts that `ours` lacks
    are left out.
    """
    mine, by_their_rule = (active_sets(ours.heads, c) for c in (ours.column, ours.record_column))
    yours = active_sets(theirs)
    places = ours.heads.groupby(KEYS, sort=False).indices
    rows, shares = [], []
    for row in matches.dropna(subset=["text", "our_text"]).itertuples():
        key = (row.neuron, row.split, row.prompt)
        ours_key = (row.neuron, row.split, row.our_prompt)
        if ours_key not in mine:
            continue
        first, second = mine[ours_key], yours.get(key, frozenset())
        why = None
        if first != second:
            scores = ours.heads.iloc[places[ours_key]]
            same_rule = by_their_rule[ours_key] == second
            why = _why_active(row, first, second, same_rule, scores, ours.edge, tolerance)
        rows.append({"what": what, "neuron": row.neuron, "split": row.split, "prompt": row.prompt,
                     "ours": named(first), "theirs": named(second), "agrees": first == second,
                     "reason": why})  # fmt: skip
        shares.append(jaccard(first, second))
    return compared(rows).assign(jaccard=pd.Series(shares, dtype=float))


def _why_active(
    row: Any, first: frozenset, second: frozenset, same_by_their_rule: bool,
    scores: pd.DataFrame, edge: Edge, tolerance: float,
) -> Reason:  # fmt: skip
    if row.text != row.our_text:
        return "other text kept"
    if same_by_their_rule:
        return "other rule of the run"
    if any(Head.parse(name).layer == Neuron.parse(row.neuron).layer for name in first - second):
        return "own layer's heads counted"
    value = scores.set_index("head").attribution
    apart = value.reindex(sorted(first ^ second))
    height = edge(scores.attribution[scores.candidate].to_numpy(float))
    near = (apart - height).abs() <= tolerance * value.abs().max()
    return "tie or rounding" if near.all() else "not explained"


def named(heads: frozenset[str]) -> str:
    """Return names of heads in order, as one text."""
    return " ".join(sorted(heads, key=Head.parse))


def compare_attributions(
    matches: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, *, tolerance: float
) -> pd.DataFrame:
    """Compare what every head adds, prompt by prompt, where the record says it; else no row.

    The paper does not divide by the LayerNorm scale of the prompt and we do, so a prompt's values
    are compared up to one factor: the median of their ratios, which a few odd heads do not move.
    `ours` and `theirs` in the answer are numbers; they agree within `tolerance` of the prompt's
    largest.
    """
    if "attribution" not in theirs.columns or theirs.attribution.isna().all():
        return compared([])
    same = matches[matches.text == matches.our_text]
    both = same.merge(theirs[[*KEYS, "head", "attribution"]].dropna(), on=KEYS)
    mine = ours[[*KEYS, "head", "attribution"]].rename(columns={"prompt": "our_prompt"})
    both = both.merge(mine, on=["neuron", "split", "our_prompt", "head"], suffixes=("", "_ours"))
    ratio = both.attribution / both.attribution_ours.replace(0.0, np.nan)
    factor = ratio.groupby([both[key] for key in KEYS]).transform("median").fillna(1.0)
    scaled = both.attribution_ours.astype(float) * factor
    largest = both.attribution.abs().groupby([both[key] for key in KEYS]).transform("max")
    ok = (scaled - both.attribution).abs() <= tolerance * largest
    return pd.DataFrame(
        {
            "what": "attribution", **{key: both[key] for key in (*KEYS, "head")},
            "ours": scaled, "theirs": both.attribution, "agrees": ok,
            "reason": np.where(ok, None, "not explained"),
        }
    )  # fmt: skip


def separation(heads: pd.DataFrame, theirs: pd.DataFrame) -> pd.Series:
    """Return, a prompt, how surely our attributions set the record's active heads above the others.

    Of all twos of a candidate head that the record calls active and one that it does not: the share
    in which the first has the higher attribution (0.5 is chance). Prompts with heads of one kind
    only are left out. `heads` holds neuron, split, prompt, head, attribution, candidate.
    """
    some = heads[heads.candidate]
    recorded = theirs[theirs.active.astype(bool)][[*KEYS, "head"]].drop_duplicates()
    some = some.merge(recorded.assign(recorded=1), on=[*KEYS, "head"], how="left")
    some["recorded"] = some.recorded.fillna(0).astype(int)
    some["rank"] = some.groupby(KEYS).attribution.rank()
    some["rank"] *= some.recorded
    by = some.groupby(KEYS).agg(ranks=("rank", "sum"), n=("recorded", "sum"), all=("head", "size"))
    by = by[(by.n > 0) & (by.n < by["all"])]
    return (by.ranks - by.n * (by.n + 1) / 2) / (by.n * (by["all"] - by.n))


def shares(heads: pd.DataFrame, prompts: pd.DataFrame, column: str = "active") -> pd.DataFrame:
    """Return, for neuron and head, on how many of the neuron's training prompts it is active.

    `prompts` (neuron, split, prompt, text) says which count; equal texts count once. Heads that
    are never active have no row.
    """
    train = prompts[prompts.split == "train"].drop_duplicates(["neuron", "text"])
    some = heads[heads[column].astype(bool)].merge(train[KEYS], on=KEYS)
    counts = some.groupby(["neuron", "head"]).size().rename("n_active").reset_index()
    counts["n_prompts"] = counts.neuron.map(train.neuron.value_counts())
    return counts.assign(share=counts.n_active / counts.n_prompts)


def compare_pairs(
    ours: pd.DataFrame, theirs: pd.DataFrame, *, what: str, kept: Callable[[pd.Series], pd.Series],
    by_their_rule: pd.DataFrame, other_prompts: set[str], other_heads: set[tuple[str, str]],
) -> pd.DataFrame:  # fmt: skip
    """Compare which pairs are kept on either side.

    The tables are from `shares`, of the neurons that both have: ours by the rule that is compared
    and by the record's, and theirs; `kept` says of shares which are kept. `other_prompts` names the
    neurons whose training prompts differ, `other_heads` pairs not active on the same prompts.
    """
    first, second, third = (
        {(r.neuron, r.head) for r in table[kept(table["share"])].itertuples()}
        for table in (ours, theirs, by_their_rule)
    )
    order = sorted(first | second, key=lambda pair: (Neuron.parse(pair[0]), Head.parse(pair[1])))
    said, rows = {True: "kept", False: "not kept"}, []
    for pair in order:
        mine, yours = pair in first, pair in second
        why: Reason | None = None
        if mine != yours:
            why = (
                "other rule of the run" if (pair in third) == yours
                else "other prompts of the neuron" if pair[0] in other_prompts
                else "other active heads" if pair in other_heads else "not explained"
            )  # fmt: skip
        rows.append({"what": what, "neuron": pair[0], "head": pair[1],
                     "ours": said[mine], "theirs": said[yours], "agrees": mine == yours,
                     "reason": why})  # fmt: skip
    return compared(rows)
