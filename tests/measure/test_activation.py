"""Every row's own neuron at its prompt's last token, as if each were read alone; and the first
length that is long enough, measured on exactly what is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline import defined_in
from lookups.measure.activation import activations
from lookups.names import Neuron
from tiny import LAYERS, VARIANTS, anatomy, model, random_ids


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_equals_one_prompt_at_a_time(name, bos):
    one, rng, distinct = model(name), np.random.default_rng(7), random_ids(6, seed=11)
    if bos:
        distinct[0] = np.array([], int)  # nothing but the beginning-of-sequence token
    sequences = [distinct[row] for row in rng.integers(0, 6, 12)]
    facts = (rng.integers(LAYERS, size=12), rng.integers(one.d_mlp, size=12),
             rng.choice(one.signs, 12))  # fmt: skip
    neurons = [Neuron(*map(int, row)) for row in zip(*facts, strict=True)]
    found = activations(one, neurons, sequences, bos=bos)
    for value, neuron, ids in zip(found, neurons, sequences, strict=True):
        post = anatomy(name, ids, bos=bos).post[neuron.layer]
        assert value == pytest.approx(neuron.sign * float(post[-1, neuron.index]), abs=1e-5)
    assert activations(one, [], []).shape == (0,)


# --- The shortest suffix ---


def long_enough(activation: float, whole: float) -> bool:
    return activation >= 0.8 * whole


CURVE = st.lists(st.floats(-5, 10, width=32), min_size=1, max_size=12).map(
    lambda curve: [*curve[:-1], abs(curve[-1]) + 0.1]
)


@given(st.lists(CURVE, max_size=8), st.integers(1, 14))
def test_the_first_length_that_passes_whatever_the_curve(curves, longest):
    def fire(rows, kept):
        assert all(ids[-1] == len(curves[row]) for row, ids in zip(rows, kept, strict=True))
        return np.array([curves[row][len(ids) - 1] for row, ids in zip(rows, kept, strict=True)])

    told = []
    prompts = [list(range(1, len(curve) + 1)) for curve in curves]
    whole = [curve[-1] for curve in curves]
    find = defined_in("04_suffixes").shortest_suffixes
    found = find(fire, prompts, whole, long_enough, longest=longest, progress=told.append)
    for curve, one in zip(curves, found, strict=True):
        suffixes = enumerate(curve[:longest], start=1)
        passing = (one for one in suffixes if long_enough(one[1], curve[-1]))
        assert one == next(passing, None)
    assert sum(told) == sum(one is not None for one in found)
