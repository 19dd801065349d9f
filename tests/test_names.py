"""Names are values: what is written is what is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookups.names import Head, Neuron

NUMBER = st.integers(0, 10**6)


@given(NUMBER, NUMBER, st.sampled_from([1, -1]))
def test_a_neuron_reads_back(layer, index, sign):
    neuron = Neuron(layer, index, sign)
    assert Neuron.parse(str(neuron)) == neuron


@given(NUMBER, NUMBER)
def test_a_head_reads_back(layer, index):
    assert Head.parse(str(Head(layer, index))) == Head(layer, index)


def test_as_they_stand_in_tables():
    assert str(Neuron(9, 5)) == "L9.N5"
    assert str(Neuron(9, 5, -1)) == "L9.N5-"
    assert str(Head(7, 4)) == "L7.H4"
    assert Neuron.parse(" L9.N5 ") == Neuron(9, 5, 1)


@pytest.mark.parametrize(
    ("kind", "example", "names"),
    [
        (Neuron, "names no neuron; write layer and index as in 'L9.N5'",
         ["", "L9", "N5", "L9.N", "L9.N5+", "L9N5", "L-1.N5", "(9, 5)"]),
        (Head, "names no head; write layer and index as in 'L7.H4'",
         ["", "L7.N4", "L7.H", "L7.H4-", "88"]),
    ],
)  # fmt: skip
def test_another_form_is_no_name(kind, example, names):
    for name in names:
        with pytest.raises(ValueError, match=example):
            kind.parse(name)
