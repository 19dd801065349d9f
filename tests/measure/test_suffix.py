"""The first length that is long enough, measured on exactly what is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookups.errors import LookupsError
from lookups.measure.suffix import Suffix, shortest_suffixes

KEEP = 0.8


def long_enough(activation: float, whole: float) -> bool:
    return activation >= KEEP * whole


def reading(curves):
    """Return a way to measure prompts whose activation at every length stands in a list."""

    def fire(rows, kept):
        return np.array(
            [curves[row][len(ids) - 1] for row, ids in zip(rows, kept, strict=True)], dtype=float
        )

    return fire


def search(curves, *, longest=100, **options):
    prompts = [list(range(1, len(curve) + 1)) for curve in curves]
    whole = [curve[-1] for curve in curves]
    return shortest_suffixes(
        reading(curves), prompts, whole, long_enough, longest=longest, **options
    )


CURVE = st.lists(st.floats(-5, 10, width=32), min_size=1, max_size=12).map(
    lambda curve: [*curve[:-1], abs(curve[-1]) + 0.1]
)


@given(st.lists(CURVE, max_size=8), st.integers(1, 14))
def test_the_first_length_that_passes_whatever_the_curve(curves, longest):
    for curve, found in zip(curves, search(curves, longest=longest), strict=True):
        passing = [
            Suffix(length, activation)
            for length, activation in enumerate(curve[:longest], start=1)
            if long_enough(activation, curve[-1])
        ]
        assert found == (passing[0] if passing else None)


def test_what_is_read_is_the_end_of_the_prompt():
    read = []

    def fire(rows, kept):
        read.extend(zip(rows, map(list, kept), strict=True))
        return np.array([len(ids) for ids in kept], dtype=float)

    shortest_suffixes(fire, [[7, 8, 9], [5]], [3.0, 1.0], long_enough, longest=9)
    assert read == [(0, [9]), (1, [5]), (0, [8, 9]), (0, [7, 8, 9])]


def test_progress_counts_what_is_settled():
    told = []
    search([[1.0], [0.0, 1.0], [0.9, 1.0]], progress=told.append)
    assert told == [2, 1]


@pytest.mark.parametrize("silent", [0.0, -1.0, float("nan")])
def test_a_neuron_that_never_fires_is_named(silent):
    with pytest.raises(LookupsError, match="prompt 1 never fires its neuron; leave it out"):
        shortest_suffixes(reading([]), [[1], [2]], [1.0, silent], long_enough, longest=3)
