"""Long tables of measurements: every row once a kind, nothing mixed up, nothing changed."""

import numpy as np
import pandas as pd
import pytest
from lookups.measure import intervention
from lookups.measure.intervention import Edited, Measured, before_after, followed_first, of_group


def measured(start: float, *, gated: bool = False) -> Measured:
    columns = [np.array([start, start + 1]) + step for step in (0.0, 0.1, 0.2, 0.3, 0.4)]
    return Measured(*columns)._replace(**({} if gated else {"up": None}))


ROWS = pd.DataFrame({"neuron": ["a", "b"], "prompt": ["x", "y"]}, index=[7, 3])


def test_every_row_stands_once_for_every_kind_with_its_own_numbers():
    edited = Edited(measured(5), {"zero": measured(1), "mean": measured(2)})
    table = intervention.with_falls(before_after(ROWS, edited))
    assert table.kind.tolist() == ["zero", "zero", "mean", "mean"]
    assert table.neuron.tolist() == ["a", "b"] * 2
    assert table.p_before.tolist() == [5, 6] * 2
    assert table.p_after.tolist() == [1, 2, 2, 3]
    assert table.fall.tolist() == [4, 4, 3, 3]
    assert table.act_fall.tolist() == pytest.approx([4, 4, 3, 3])
    assert not [name for name in table.columns if name.startswith("up")]
    assert list(ROWS.columns) == ["neuron", "prompt"]
    edited = Edited(measured(5, gated=True), {"zero": measured(1, gated=True)})
    assert before_after(ROWS, edited).up_after.tolist() == pytest.approx([1.3, 2.3])


def test_a_neuron_may_be_in_two_groups_and_an_empty_table_is_in_none():
    facts = {"selected": [True, False, True], "group": ["other", "middle", "random"]}
    neurons = pd.DataFrame(facts, index=["a", "b", "c"])
    table = pd.DataFrame({"neuron": ["c", "b", "a", "c"], "row": range(4)})
    assert of_group(table, neurons, "selected")["row"].tolist() == [0, 2, 3]
    assert of_group(table, neurons, "random")["row"].tolist() == [0, 3]
    assert of_group(table, neurons, "middle")["row"].tolist() == [1]
    assert of_group(table[:0], neurons, "selected").empty


def test_an_example_is_a_pair_whose_token_follows_where_its_head_is_active():
    yes, no, other = (True, True), (True, False), (False, True)
    of = {("never", 0.9): [no, no, no, other], ("few", 0.8): [yes, yes, other],
          ("half", 0.5): [yes, yes, yes, no, no, no], ("all", 0.3): [yes, yes, yes]}  # fmt: skip
    facts = [(*pair, "h", *kind) for pair, kinds in of.items() for kind in kinds]
    rows = pd.DataFrame(facts, columns=["neuron", "gap", "head", "active", "follows"])
    assert [neuron for neuron, _ in followed_first(rows)] == ["all", "half", "few"]
    assert followed_first(rows[:0]) == []
    assert followed_first(rows[rows.neuron == "never"]) == []
