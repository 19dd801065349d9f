"""Every row's own neuron at its prompt's last token, as if each were read alone."""

import numpy as np
import pytest
from lookups.measure.activation import activations
from lookups.model.forward import Forward
from lookups.names import Neuron
from tiny import LAYERS, VARIANTS, anatomy, model, random_ids


def some_rows(name: str, n: int = 12):
    one, rng = model(name), np.random.default_rng(7)
    sequences = random_ids(n // 2, seed=11)
    rows = rng.integers(0, len(sequences), n)
    neurons = [
        Neuron(int(rng.integers(LAYERS)), int(rng.integers(one.d_mlp)), int(rng.choice(one.signs)))
        for _ in range(n)
    ]
    return neurons, [sequences[row] for row in rows]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_equals_one_prompt_at_a_time(name, bos):
    neurons, sequences = some_rows(name)
    found = activations(model(name), neurons, sequences, bos=bos)
    for value, neuron, ids in zip(found, neurons, sequences, strict=True):
        post = anatomy(name, ids, bos=bos).post[neuron.layer]
        assert value == pytest.approx(neuron.sign * float(post[-1, neuron.index]), abs=1e-5)


def test_rows_that_share_ids_share_the_pass(monkeypatch):
    one, read = model("gpt2"), []
    whole = Forward.read_last

    def counted(self, ids, *args, **options):
        read.append(len(ids))
        return whole(self, ids, *args, **options)

    monkeypatch.setattr(Forward, "read_last", counted)
    neurons = [Neuron(0, 1), Neuron(2, 5), Neuron(0, 1), Neuron(1, 7)]
    sequences = [[4, 5], np.array([4, 5]), [4, 5], [6]]
    found = activations(one, neurons, sequences)
    assert sum(read) == 2
    assert found[0] == found[2] != found[1]


def test_the_bos_alone_can_be_read_and_no_rows_give_no_activations():
    (value,) = activations(model("gpt2"), [Neuron(1, 3)], [[]])
    alone = anatomy("gpt2", np.array([], int)).post[1][-1, 3]
    assert value == pytest.approx(float(alone), abs=1e-5)
    assert activations(model("gpt2"), [], []).shape == (0,)
