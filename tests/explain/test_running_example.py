"""The running example: named neurons first, then those that their token follows most often."""

import pandas as pd
from lookups.explain import running_example
from lookups.explain.running_example import running_neurons, running_pairs, running_prompt
from lookups.settings import read_run

RATES = pd.DataFrame(
    [
        ("L1.N0", "train", " a", True, True, 0.5),
        ("L1.N1", "train", " b", True, True, 0.9),
        ("L1.N2", "train", " b", True, True, 0.7),
        ("L1.N3", "train", " c", False, True, 1.0),
        ("L1.N0", "test", " a", True, True, 1.0),
    ],
    columns=["neuron", "split", "token", "selected", "examined", "follow_rate"],
)


def named(*examples: str):
    return read_run("planted").model_copy(update={"examples": examples})


def test_named_neurons_come_first_then_the_most_followed_each_for_a_token_of_its_own():
    assert running_neurons(named(), RATES) == ["L1.N1", "L1.N0"]
    assert running_neurons(named("L1.N3", "L1.N2"), RATES) == ["L1.N2", "L1.N0"]
    assert running_neurons(named(), RATES.assign(selected=False)) == ["L1.N3", "L1.N1"]
    assert running_neurons(named(), RATES[:0]) == []


def test_pairs_are_kept_ones_with_the_largest_gap_and_a_neuron_without_is_passed_over():
    rows = [("L1.N2", "L0.H0", False, 0.9, 3), ("L1.N2", "L0.H1", True, 0.2, 3)]
    rows += [("L1.N2", "L0.H2", True, 0.4, 3), ("L1.N7", "L0.H1", True, 0.9, 3)]
    pairs = pd.DataFrame(rows, columns=["neuron", "head", "kept", "gap", "n_active"])
    pairs["selected"] = True
    assert running_pairs(named("L1.N2"), RATES, pairs) == [("L1.N2", "L0.H2"), ("L1.N7", "L0.H1")]
    assert running_pairs(named(), RATES, pairs) == [("L1.N7", "L0.H1"), ("L1.N2", "L0.H2")]
    none = pairs.assign(kept=False)
    assert running_pairs(named(), RATES, none) == []
    assert running_example.running_pair(none, "L1.N2") == ("L1.N2", "L0.H0")
    assert running_example.running_pair(pairs, "other") is None


def test_the_prompt_is_a_typical_one_of_those_that_are_active_and_followed():
    rows = pd.DataFrame({"activation": [9.0, 3.0, 5.0, 8.0, 4.0, 6.0], "next_token": [*"ttxttt"]})
    rows = rows.assign(token="t", prompt=[f"p{n}" for n in rows.index], active=rows.index > 0)
    assert running_prompt(rows).prompt == "p4"  # of 3, 4, 6 and 8
    assert running_prompt(rows[2:3]).prompt == "p2"
    assert running_prompt(rows.drop(columns="active")).prompt == "p5"  # of 3, 4, 6, 8 and 9
    assert running_prompt(rows[:0]) is None
