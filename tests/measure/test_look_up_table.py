"""The table from weights, put to a prompt's own residuals, is what hooks on a whole pass show."""

import numpy as np
import pytest
import tiny
import torch
from inline import defined_in
from lookups.measure.look_up_table import Held, directions, hold, mean_residuals
from lookups.names import Head, Neuron

CHAPTER = defined_in("11_look_up_table")
TEXTS = tiny.random_ids(12, seed=4, shortest=4, longest=15)


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_the_table_times_the_pattern_is_what_the_head_adds(name):
    model, ids = tiny.model(name, "float64"), TEXTS[3]
    for neuron, head in ((Neuron(2, 5, model.signs[-1]), Head(1, 2)), (Neuron(1, 7), Head(0, 3))):
        seen, block = tiny.whole_pass(model, ids)[1], f"blocks.{neuron.layer}"
        before = tiny.normed(model, seen[f"blocks.{head.layer}.hook_resid_pre"][0])
        pattern = seen[f"blocks.{head.layer}.attn.hook_pattern"][0, head.index, -1]
        z = seen[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
        scale = seen[f"{block}.ln2.hook_scale"][0, -1]
        adds = {
            into: float(z @ model.w_o(head.layer)[head.index] @ weight[:, neuron.index] / scale)
            for into, (weight, _) in model.mlp_in(neuron.layer).items()
        }
        if model.gated:
            gate, up = (float(seen[f"{block}.mlp.hook_{end}"][0, -1, neuron.index])
                        for end in ("pre", "pre_linear"))  # fmt: skip
            opened = float(tiny.activation(name)(torch.tensor(gate).double()))
            adds["post"] = (adds["gate"] * opened / gate * up + adds["up"] * opened) / 2
        found = directions(model, neuron, head, hold(model, neuron, [ids]))
        assert set(found) == set(adds)
        for into, direction in found.items():
            got = float(pattern @ (before @ direction))
            assert got == pytest.approx(neuron.sign * adds[into], abs=tiny.close(model))


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_means_are_those_of_every_token_behind_its_own_norm(name):
    model, layer = tiny.model(name, "float64"), 1
    found = mean_residuals(model, TEXTS, [0, layer], fewest=2)
    seen = [tiny.whole_pass(model, ids)[1] for ids in TEXTS]
    rows = [tiny.normed(model, one[f"blocks.{layer}.hook_resid_pre"][0, 1:]) for one in seen]
    flat, tokens = torch.cat(rows), np.concatenate(TEXTS)
    often = [token for token in range(tiny.VOCAB) if (tokens == token).sum() >= 2]
    assert found.tokens.tolist() == often
    for row, token in enumerate(often):
        assert torch.allclose(found.by_token[layer][row], flat[tokens == token].mean(0))
    third = torch.stack([row[2] for row in rows if len(row) > 2]).mean(0)
    assert torch.allclose(found.by_position[layer][2], third)
    assert torch.allclose(found.overall[layer], flat.mean(0))


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_parts_of_scores_sum_to_the_pattern(name):
    model = tiny.model(name, "float64")
    residuals = mean_residuals(model, [ids[:6] for ids in TEXTS], [0, 1, 2], fewest=2)
    for head, ids in ((Head(1, 3), TEXTS[0]), (Head(2, 0), TEXTS[5]), (Head(0, 1), TEXTS[7])):
        parts = CHAPTER.split_scores(model, head, ids, residuals)
        assert parts.shape == (len(CHAPTER.PARTS), len(ids))
        seen = tiny.whole_pass(model, ids)[1][f"blocks.{head.layer}.attn.hook_pattern"]
        pattern = seen[0, head.index, -1, 1:].double()
        expected = pattern / pattern.sum()
        assert torch.allclose(parts.sum(0).softmax(0), expected.to(parts), atol=tiny.close(model))


def test_a_head_behind_the_neuron_is_refused():
    with pytest.raises(ValueError, match=r"layer 0 is fed by L2\.H0"):
        directions(tiny.model("gpt2"), Neuron(0, 1), Head(2, 0), Held(1.0))
