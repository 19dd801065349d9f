"""Where do two tables of the same analysis agree, and if not, why not? (chapter 14)

Tables in, tables out: `ours` are stages of a run, `theirs` tables of `record.read`. A row of an
answer is one thing that was compared; where it does not agree it carries a reason that was computed
from the tables, the first that holds. Texts, not ids, say which prompt is which, since two runs
number their documents differently.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lookups.names import Head, Neuron

REASONS = (
    "rejected by hand on one side", "beyond the other's number", "tie or rounding", "other corpus",
    "the record keeps less than its share", "other rule of the run",
    "follows from a difference above", "not explained",
)  # fmt: skip
"""Every reason that can be given, in no order."""

COLUMNS = ("what", "neuron", "split", "prompt", "head", "ours", "theirs", "agrees", "reason")
"""What was compared, of which neuron (prompt, head), what either says, and why they differ."""

KEYS = ["neuron", "split", "prompt"]


def compared(
    what: str, at: pd.DataFrame, ours: Any, theirs: Any, why: Mapping[str, Any], agrees: Any = None
) -> pd.DataFrame:
    """Return a row for each of `at` (any of neuron, split, prompt, head) with all columns.

    Rows agree where both say the same, unless `agrees` says which do; every other row gets the
    first reason of `why` whose condition holds there.
    """
    table = at.reindex(columns=list(COLUMNS)).assign(what=what, ours=ours, theirs=theirs)
    table["agrees"] = np.asarray(table.ours == table.theirs if agrees is None else agrees, bool)
    holds = [np.broadcast_to(np.asarray(one, bool), len(table)) for one in why.values()]
    found = np.select(holds, list(why), "not explained") if holds else "not explained"
    table["reason"] = pd.Series(found, table.index, dtype=object).where(~table.agrees, None)
    return table.reset_index(drop=True)


NOTHING = compared("", pd.DataFrame(), [], [], {})
"""What was compared where there is nothing to compare."""


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each thing compared: how many, how many agree, and their share."""
    by = table.groupby("what", sort=False).agrees
    found = pd.DataFrame({"compared": by.size(), "agree": by.sum().astype(int)})
    return found.assign(share=found.agree / found.compared).rename_axis(None)


def reasons(table: pd.DataFrame) -> pd.DataFrame:
    """Return how often each reason was given for each thing compared, most frequent first."""
    counts = table[~table.agrees].groupby(["what", "reason"]).size().rename("rows").reset_index()
    return counts.sort_values(["what", "rows", "reason"], ascending=[True, False, True])


def relative(ours: Any, theirs: Any) -> Any:
    """Return how far apart numbers are, as a share of the larger; 0 where both are 0."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    largest = np.maximum(np.abs(ours), np.abs(theirs))
    return np.abs(ours - theirs) / np.where(largest == 0, 1, largest)


def digits(ours: Any, theirs: Any, most: int = 7) -> Any:
    """Return to how many significant digits numbers agree (float32 holds some 7)."""
    apart = np.maximum(relative(ours, theirs), 10.0**-most)
    return np.clip(np.floor(-np.log10(apart)), 0, most).astype(int)


def compare_lists(ours: pd.DataFrame, theirs: pd.DataFrame, *, tolerance: float) -> pd.DataFrame:
    """Compare which neurons stand on the two lists, and in which order those on both do.

    `ours` holds every neuron (neuron, layer, congruence, `listed`, `rejected`), `theirs` (neuron,
    layer, congruence, rejected) the record's in its order. `tolerance` is the share by which equal
    congruences may differ.
    """
    mine = ours[ours.listed].sort_values(["layer", "congruence"], ascending=[True, False])
    yours = theirs[~theirs.rejected].drop_duplicates("neuron")
    value = ours.drop_duplicates("neuron").set_index("neuron").congruence.astype(float)
    rows = pd.concat([mine, yours]).drop_duplicates("neuron")[["neuron", "layer"]]
    on_mine, on_yours = rows.neuron.isin(mine.neuron), rows.neuron.isin(yours.neuron)
    here, there = (
        one.groupby("layer").congruence.agg(["size", "min"]).reindex(rows.layer)
        for one in (mine.astype({"congruence": float}), yours)
    )
    own, last = rows.neuron.map(value), np.where(on_yours, here["min"], there["min"])
    other_size = here["size"].to_numpy() != there["size"].to_numpy()
    why = {
        "rejected by hand on one side": rows.neuron.isin(
            {*ours.neuron[ours.rejected], *theirs.neuron[theirs.rejected]}
        ),
        "tie or rounding": relative(own, last) <= tolerance,
        "beyond the other's number": np.isnan(last) | own.isna() | ((own < last) & other_size),
    }
    said = (one.map({True: "listed", False: "not listed"}) for one in (on_mine, on_yours))
    listed = compared("neuron on the list", rows, *said, why)
    both = mine[mine.neuron.isin(yours.neuron)]
    first = both.groupby("layer").cumcount() + 1
    second = pd.Series(range(len(yours)), yours.neuron).reindex(both.neuron).set_axis(both.index)
    second = second.groupby(both.layer).rank().astype(int)
    places = both.congruence.set_axis(pd.MultiIndex.from_arrays([both.layer, first]))
    there = places.reindex(zip(both.layer, second, strict=True))
    why = {"tie or rounding": relative(both.congruence, there) <= tolerance}
    order = compared("order in its layer", both[["neuron"]], first, second, why)
    return pd.concat([listed, order], ignore_index=True)


def match_texts(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Find, for each neuron and split, which of our texts is which of the record's.

    Equal texts first. Of the rest, two belong together when one is the end of the other and they
    share two words or more; the record's longest chooses first. Both tables hold neuron, split,
    prompt and text; a text that stands twice counts once. In the answer `prompt` and `text` are the
    record's, beside `our_prompt` and `our_text`; missing where one has none.
    """
    at = ["neuron", "split"]
    mine, yours = ({key: dict(zip(some.text, some.prompt, strict=True))
                    for key, some in one.drop_duplicates([*at, "text"]).groupby(at, sort=False)}
                   for one in (ours, theirs))  # fmt: skip
    rows = []
    for key in dict.fromkeys([*yours, *mine]):
        left, own = yours.get(key, {}), mine.get(key, {})
        pairs = [(text, text) for text in left if text in own]
        others = [text for text in own if text not in left]
        for text in sorted((text for text in left if text not in own), key=len, reverse=True):
            best = max(others, key=lambda one, text=text: _shared(one, text), default=None)
            if best is not None and _shared(best, text):
                others.remove(best)
                pairs.append((text, best))
        matched = {text for text, _ in pairs}
        pairs += [(text, None) for text in left if text not in matched]
        pairs += [(None, text) for text in others]
        rows += [(*key, left.get(text), text, own.get(our), our) for text, our in pairs]
    return pd.DataFrame(rows, columns=[*KEYS, "text", "our_prompt", "our_text"])


def _shared(one: str, other: str) -> int:
    """How many characters two texts share when one ends the other; 0 below two words."""
    short, long = sorted((one, other), key=len)
    return len(short) if long.endswith(short) and len(short.split()) >= 2 else 0


def compare_prompts(
    matches: pd.DataFrame, *, in_our_corpus: Callable[[str, str], bool],
    below_share: Callable[[tuple[str, str, str]], bool], same_protocol: bool,
) -> pd.DataFrame:  # fmt: skip
    """Compare which prompts were taken, and how much of those in both was kept.

    `in_our_corpus` says of a split and a text whether the text stands in a document that our run
    read there (where it does not, one of our prompts stands in its place); `below_share` of a
    record's (neuron, split, prompt) whether it keeps less of the activation than its own rule asks.
    """
    mine, yours = matches.our_text.notna(), matches.text.notna()
    by = [matches.neuron, matches.split]
    known = [in_our_corpus(row.split, row.text) if missing else True
             for row, missing in zip(matches.itertuples(), yours & ~mine, strict=True)]  # fmt: skip
    foreign = ~np.array(known, bool)
    extra, lacking = mine & ~yours, pd.Series(foreign, mine.index).groupby(by).transform("sum")
    in_place = extra.groupby(by).cumsum() <= lacking
    more = yours.groupby(by).transform("sum") - mine.groupby(by).transform("sum")
    at = matches[KEYS].assign(prompt=matches.prompt.fillna(matches.our_prompt))
    other_rule = {"other rule of the run": not same_protocol}
    taken = compared("prompt", at, matches.our_text, matches.text, {
        "other corpus": foreign | (extra & in_place),
        "beyond the other's number": more * (yours.astype(int) - mine.astype(int)) > 0,
        **other_rule,
    }, agrees=mine & yours)  # fmt: skip
    both = matches[mine & yours]
    weak = [below_share(key) for key in both[KEYS].itertuples(index=False, name=None)]
    why = {"the record keeps less than its share": weak, **other_rule}
    kept = compared("text kept", both[KEYS], both.our_text, both.text, why)
    return pd.concat([taken, kept], ignore_index=True)


def active_sets(heads: pd.DataFrame, column: str = "active") -> dict[tuple, frozenset[str]]:
    """Return the active heads of every prompt that has a row: (neuron, split, prompt) to names."""
    found = dict.fromkeys(heads[KEYS].itertuples(index=False, name=None), frozenset())
    some = heads[heads[column].astype(bool)]
    return found | some.groupby(KEYS, sort=False)["head"].agg(frozenset).to_dict()


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of the heads in either set that are in both; 1 where both are empty."""
    return len(one & other) / len(one | other) if one | other else 1.0


def compare_active(
    matches: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, *, what: str, column: str,
    record_column: str, edge: Callable[[np.ndarray], float], tolerance: float,
) -> pd.DataFrame:  # fmt: skip
    """Compare the active heads of every prompt that both have; `jaccard` says how much they share.

    `ours` holds neuron, split, prompt, head, attribution, candidate, and a column a rule: `column`
    the one that is compared, `record_column` the record's. `theirs` holds neuron, split, prompt,
    head, active. `edge` gives the attribution from which the record's rule calls a candidate
    active; a head that misses it by at most `tolerance` of the prompt's largest is a tie.
    """
    mine, by_their_rule = (active_sets(ours, one) for one in (column, record_column))
    yours, places = active_sets(theirs), ours.groupby(KEYS, sort=False).indices
    rows = []
    for row in matches.dropna(subset=["text", "our_text"]).itertuples():
        key, our_key = ((row.neuron, row.split, one) for one in (row.prompt, row.our_prompt))
        if our_key in mine:
            first, second = mine[our_key], yours.get(key, frozenset())
            layers = {Head.parse(name).layer for name in first - second}
            rule = by_their_rule[our_key] == second or Neuron.parse(row.neuron).layer in layers
            scores = ours.iloc[places[our_key]]
            height = edge(scores.attribution[scores.candidate].to_numpy(float))
            value = scores.set_index("head").attribution
            off = (value.reindex(sorted(first ^ second)) - height).abs()
            tie = (off <= tolerance * value.abs().max()).all()
            said = (" ".join(sorted(heads, key=Head.parse)) for heads in (first, second))
            rows.append((*key, *said, jaccard(first, second), row.text != row.our_text, rule, tie))
    columns = [*KEYS, "ours", "theirs", "jaccard", "cut", "rule", "tie"]
    table = pd.DataFrame(rows, columns=columns)
    why = {"follows from a difference above": table.cut, "other rule of the run": table.rule}
    why["tie or rounding"] = table.tie
    found = compared(what, table[KEYS], table.ours, table.theirs, why)
    return found.assign(jaccard=table.jaccard.astype(float))


def separation(heads: pd.DataFrame, theirs: pd.DataFrame) -> pd.Series:
    """Return, a prompt, how surely our attributions set the record's active heads above the others.

    Of all pairs of a candidate head that the record calls active and one that it does not: the
    share in which the first has the higher attribution (0.5 is chance). Prompts with heads of one
    kind only are left out.
    """
    recorded = theirs[theirs.active.astype(bool)][[*KEYS, "head"]].drop_duplicates()
    some = heads[heads.candidate].merge(recorded, on=[*KEYS, "head"], how="left", indicator="side")
    some = some.assign(active=some.side == "both", rank=some.groupby(KEYS).attribution.rank())
    some["rank"] *= some.active
    by = some.groupby(KEYS).agg(ranks=("rank", "sum"), n=("active", "sum"), all=("head", "size"))
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
