"""Several heads and neurons silenced in one pass equal hooks of the bridge, row by row."""

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.together import logp_without
from lookups.names import Head, Neuron

HEADS = [(), (Head(0, 1), Head(1, 3)), (Head(2, 0),), ()]
NEURONS = [(), (Neuron(2, 5),), (), (Neuron(0, 3), Neuron(1, 7))]


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_it_equals_hooks(name):
    model = tiny.model(name, "float64")
    prompts, tokens = tiny.random_ids(4, seed=8, shortest=2), [3, 60, 9, 11]
    found = logp_without(model, prompts, tokens, HEADS, NEURONS)
    for row, ids in enumerate(prompts):

        def nothing(index, first):
            def hook(tensor, hook):
                tensor = tensor.clone()
                tensor[:, first:, index] = 0
                return tensor

            return hook

        hooks = [(f"blocks.{h.layer}.attn.hook_z", nothing(h.index, 0)) for h in HEADS[row]]
        hooks += [(f"blocks.{n.layer}.mlp.hook_post", nothing(n.index, 1)) for n in NEURONS[row]]
        with torch.no_grad():
            logits = model.bridge.run_with_hooks(model.batch([ids]).ids, fwd_hooks=hooks)
        expected = float(logits[0, -1].double().log_softmax(-1)[tokens[row]])
        assert abs(found[row] - expected) < (1e-6 if model.gated else 1e-9)


def test_columns_must_agree():
    with pytest.raises(ValueError, match="one of each"):
        logp_without(tiny.model("gpt2"), [[1]], [], [], [])
    assert np.isfinite(logp_without(tiny.model("gpt2"), [[1]], [2], [()], [()])).all()
