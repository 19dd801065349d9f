"""Names are values: what is written is what is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookups.names import Head, Neuron

NUMBER = st.integers(0, 10**6)
NEURONS = st.builds(Neuron, NUMBER, NUMBER, st.sampled_from([1, -1]))


@given(NEURONS | st.builds(Head, NUMBER, NUMBER))
def test_a_name_reads_back(name):
    assert type(name).parse(f" {name} ") == name


def test_as_they_stand_in_tables():
    names = [Neuron(9, 5), Neuron(9, 5, -1), Head(7, 4)]
    assert [str(name) for name in names] == ["L9.N5", "L9.N5-", "L7.H4"]


@pytest.mark.parametrize(
    ("kind", "words", "names"),
    [
        (Neuron, "no neuron; .* as in 'L9.N5'", "L9 N5 L9.N L9.N5+ L9N5 L-1.N5 (9,5) L7.H4"),
        (Head, "no head; .* as in 'L7.H4'", "L7.N4 L7.H L7.H4- 88"),
    ],
)
def test_another_form_is_no_name(kind, words, names):
    for name in ["", *names.split()]:
        with pytest.raises(ValueError, match=words):
            kind.parse(name)
