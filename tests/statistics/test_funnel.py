"""Every row has one fate, the steps add up, and reasons that did not decide are refused."""

import numpy as np
import pandas as pd
import pytest
from lookups.statistics.funnel import KEPT, fate, funnel


def pairs(n: int = 400) -> tuple[pd.DataFrame, dict[str, pd.Series], pd.Series]:
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "n": random.integers(5, 30, n),
            "share": random.integers(0, 21, n) / 20,
            "gap": random.normal(0.1, 0.1, n),
        }
    )
    table.loc[table["share"].isin([0, 1]), "gap"] = np.nan  # one kind of prompt: no difference
    reasons = {
        "few": table.n < 10,
        "rare": table["share"] < 0.25,
        "often": table["share"] > 0.75,
        "alike": ~(table.gap >= 0.1),
    }
    kept = table["share"].between(0.25, 0.75) & (table.n >= 10) & (table.gap >= 0.1)
    return table, reasons, kept


def test_steps_add_up_and_the_first_reason_counts():
    table, reasons, kept = pairs()
    fates = fate(reasons, kept)
    assert (fates == KEPT).sum() == kept.sum() > 0
    steps = funnel(fates, reasons)
    assert steps["left out"].sum() + kept.sum() == len(table)
    assert (steps["left"] == len(table) - steps["left out"].cumsum()).all()
    assert steps["left"].iloc[-1] == kept.sum()
    for row, reason in enumerate(fates):
        holds = [name for name, condition in reasons.items() if condition[row]]
        assert reason == (holds[0] if holds else KEPT)


def test_a_reason_that_is_missing_or_does_not_hold_is_refused():
    _, reasons, kept = pairs()
    with pytest.raises(ValueError, match="for none of these reasons: few, rare, often; ask"):
        fate({name: reasons[name] for name in ("few", "rare", "often")}, kept)
    with pytest.raises(ValueError, match="rows are kept or left out"):
        fate(reasons | {"odd": pd.Series(True, kept.index)}, kept)


def test_nothing_comes_of_nothing():
    _, reasons, kept = pairs()
    none = {name: condition[:0] for name, condition in reasons.items()}
    assert funnel(fate(none, kept[:0]), none)["left"].eq(0).all()
