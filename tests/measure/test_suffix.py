"""The first length that is long enough, measured on exactly what is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookups.errors import LookupsError
from lookups.measure.activation import activations
from lookups.measure.suffix import Suffix, shortest_suffixes
from lookups.names import Neuron
from tiny import ARCHITECTURES, anatomy, model, random_ids

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


def test_a_short_suffix_may_pass_where_a_longer_one_fails_and_too_long_a_prompt_is_given_up():
    assert search([[1.0, 9.0, 4.0, 10.0]]) == [Suffix(2, 9.0)]
    assert search([[0.0, 0.0, 5.0]]) == [Suffix(3, 5.0)]
    assert search([[0.0] * 5 + [1.0], [1.0]], longest=5) == [None, Suffix(1, 1.0)]
    assert search([]) == []


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
    with pytest.raises(LookupsError) as caught:
        shortest_suffixes(reading([]), [[1], [2]], [1.0, silent], long_enough, longest=3)
    message = str(caught.value)
    assert message.startswith("prompt 1: the neuron is silent on the whole prompt (activation ")
    assert message.endswith("leave out prompts that never fire it")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_on_a_model_equal_to_one_prompt_and_one_length_at_a_time(name):
    one, prompts = model(name), random_ids(10, seed=21, shortest=3, longest=12)
    sign = one.signs[-1]
    neurons = [strongest(name, ids, sign) for ids in prompts]

    def alone(row: int, length: int) -> float:
        post = anatomy(name, prompts[row][-length:]).post[neurons[row].layer]
        return sign * float(post[-1, neurons[row].index])

    whole = [alone(row, len(ids)) for row, ids in enumerate(prompts)]

    def fire(rows, kept):
        return activations(one, [neurons[row] for row in rows], kept)

    found = shortest_suffixes(fire, prompts, whole, long_enough, longest=100)
    for row, suffix in enumerate(found):
        lengths = range(1, len(prompts[row]) + 1)
        first = next(n for n in lengths if long_enough(alone(row, n), whole[row]))
        assert suffix.length == first
        assert suffix.activation == pytest.approx(alone(row, first), abs=1e-5)
    assert len({suffix.length for suffix in found}) > 1


def strongest(name: str, ids: np.ndarray, sign: int) -> Neuron:
    last = sign * anatomy(name, ids).post[2][-1]
    return Neuron(2, int(last.argmax()), sign)


def test_the_paper_s_reading_without_bos_is_a_reading_too():
    one, ids = model("gpt2"), random_ids(1, seed=5, shortest=9)[0]
    neuron = strongest("gpt2", ids, 1)

    def fire(rows, kept):
        return activations(one, [neuron] * len(rows), kept, bos=False)

    whole = fire([0], [ids])
    (found,) = shortest_suffixes(fire, [ids], whole, long_enough, longest=20)
    post = anatomy("gpt2", ids[-found.length :], bos=False).post[2]
    assert found.activation == pytest.approx(float(post[-1, neuron.index]), abs=1e-5)
