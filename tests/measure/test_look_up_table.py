"""The table from weights, put to a prompt's own residuals, is what hooks on a whole pass show."""

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.look_up_table import (
    PARTS,
    Held,
    directions,
    hold,
    mean_residuals,
    split_scores,
)
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.settings import ModelSpec

TEXTS = tiny.random_ids(12, seed=4, shortest=4, longest=15)


def normed(model, x):
    """What the norm makes of it, without a gain, written out."""
    x = x if model.gated else x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + model.forward._eps).sqrt()


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_the_table_times_the_pattern_is_what_the_head_adds(name):
    model, ids = tiny.model(name, "float64"), TEXTS[3]
    for neuron, head in ((Neuron(2, 5, model.signs[-1]), Head(1, 2)), (Neuron(1, 7), Head(0, 3))):
        seen, block = tiny.whole_pass(model, ids)[1], f"blocks.{neuron.layer}"
        before = normed(model, seen[f"blocks.{head.layer}.hook_resid_pre"][0])
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
            open_ = 1 / (1 + np.exp(-gate))
            adds["post"] = (adds["gate"] * open_ * up + adds["up"] * gate * open_) / 2
        found = directions(model, neuron, head, hold(model, neuron, [ids]))
        assert set(found) == set(adds)
        for into, direction in found.items():
            got = float(pattern @ (before @ direction))
            assert got == pytest.approx(neuron.sign * adds[into], abs=tiny.close(model))


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_means_are_those_of_every_token_behind_its_own_norm(name):
    model, layer = tiny.model(name, "float64"), 1
    found = mean_residuals(model, TEXTS, [0, layer], fewest=2)
    rows = [
        normed(model, tiny.whole_pass(model, ids)[1][f"blocks.{layer}.hook_resid_pre"][0, 1:])
        for ids in TEXTS
    ]
    flat, tokens = torch.cat(rows), np.concatenate(TEXTS)
    often = [token for token in range(tiny.VOCAB) if (tokens == token).sum() >= 2]
    assert found.tokens.tolist() == often
    for row, token in enumerate(often):
        assert torch.allclose(found.by_token[layer][row], flat[tokens == token].mean(0))
    third = torch.stack([row[2] for row in rows if len(row) > 2]).mean(0)
    assert torch.allclose(found.by_position[layer][2], third)
    assert torch.allclose(found.overall[layer], flat.mean(0))
    # whatever the weights are, the mean of what is brought is what the mean brings
    direction = directions(model, Neuron(2, 1), Head(layer, 0), Held(1.0))
    brought = flat[tokens == often[0]] @ next(iter(direction.values()))
    got = found.by_token[layer][0] @ next(iter(direction.values()))
    assert float(got) == pytest.approx(float(brought.mean()))


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_parts_of_scores_sum_to_the_pattern(name):
    model = tiny.model(name, "float64")
    residuals = mean_residuals(model, [ids[:6] for ids in TEXTS], [0, 1, 2], fewest=2)
    for head, ids in ((Head(1, 3), TEXTS[0]), (Head(2, 0), TEXTS[5]), (Head(0, 1), TEXTS[7])):
        parts = split_scores(model, head, ids, residuals)
        assert parts.shape == (len(PARTS), len(ids))
        seen = tiny.whole_pass(model, ids)[1][f"blocks.{head.layer}.attn.hook_pattern"]
        pattern = seen[0, head.index, -1, 1:].double()
        expected = pattern / pattern.sum()
        assert torch.allclose(parts.sum(0).softmax(0), expected.to(parts), atol=tiny.close(model))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_planted_cue_words_stand_at_the_top(name):
    """A head that copies two words' embeddings into the stream, and a neuron that reads them."""
    model = load_model(ModelSpec(name=str(tiny.folder(name)), device="cpu", dtype="float64"))
    head, neuron, cues = Head(0, 1), Neuron(1, 6), [17, 42]
    embedded = model.forward.normed(model.bridge.W_E)
    with torch.no_grad():
        shared = head.index * len(model.bridge.blocks[0].attn.W_V) // model.n_heads
        value = model.forward.layers[0].values.weight.unflatten(0, (-1, model.d_head))[shared]
        value.zero_()
        value[0] = embedded[cues].sum(0)
        target = model.w_o(0)[head.index, 0]
        for weight, _ in model.mlp_in(1).values():
            weight[:, neuron.index] = target
    held = Held(1.0, 1.0, 1.0)
    tops = {}
    for one in (head, Head(0, 3)):
        for into, direction in directions(model, neuron, one, held).items():
            tops[one, into] = set((embedded @ direction).topk(2).indices.tolist())
    assert all(top == set(cues) for (one, _), top in tops.items() if one == head)
    assert all(top != set(cues) for (one, _), top in tops.items() if one != head)


def test_a_head_behind_the_neuron_is_refused():
    with pytest.raises(ValueError, match=r"layer 0 is fed by L2\.H0"):
        directions(tiny.model("gpt2"), Neuron(0, 1), Head(2, 0), Held(1.0))
