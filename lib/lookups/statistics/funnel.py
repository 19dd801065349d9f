"""What became of each pair: kept, or left out for exactly one reason (chapter 15).

The conditions are the caller's, in the order in which they are asked; the first that holds is the
reason. No row is counted twice, so what is left after each reason adds up.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

KEPT = "kept"


def fate(left_out: Mapping[str, pd.Series], kept: pd.Series) -> pd.Series:
    """Return for every row the first reason that holds, or "kept" where none does.

    Raises:
        ValueError: the reasons are not those that decided `kept`: a row is left out for none of
            them, or kept although one holds.
    """
    conditions = [condition.to_numpy(bool) for condition in left_out.values()]
    choices = list(left_out)
    found = np.select(conditions, choices, KEPT) if choices else np.full(len(kept), KEPT)
    found = pd.Series(found, kept.index, dtype=object)
    wrong = (found == KEPT) != kept.astype(bool)
    if wrong.any():
        raise ValueError(
            f"{int(wrong.sum())} rows are kept or left out for none of these reasons: "
            f"{', '.join(choices)}; ask the conditions that decide what is kept"
        )
    return found


def funnel(fates: pd.Series, reasons: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return a row a reason, in order: how many rows it leaves out, and how many are then left."""
    dropped = fates.value_counts().reindex(list(reasons), fill_value=0)
    left = len(fates) - dropped.cumsum()
    assert (left.iloc[-1] if len(left) else len(fates)) == (fates == KEPT).sum()
    return pd.DataFrame({"left out": dropped, "left": left})
