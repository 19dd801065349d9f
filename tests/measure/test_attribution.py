"""Parts sum to the whole, and equal plain Hugging Face's modules taken apart.

TransformerLens folds weights in float32 whatever the model's dtype, so what is compared with
Hugging Face agrees to about 1e-6 in float64 too; sums of our own parts agree to rounding.
"""

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.attribution import attribute, worth
from lookups.model.loaded import Model
from lookups.names import Head, Neuron
from tiny import LAYERS, VARIANTS, Anatomy, anatomy, model, parts_of, plain, random_ids

EXACT = {"float32": 1e-5, "float64": 1e-12}


def some_neurons(one: Model, layer: int, n: int) -> list[Neuron]:
    rng = np.random.default_rng(layer)
    indices, signs = rng.integers(one.d_mlp, size=n), rng.choice(one.signs, n)
    return [Neuron(layer, int(i), int(s)) for i, s in zip(indices, signs, strict=True)]


def by_hand(name: str, dtype: str, seen: Anatomy, neuron: Neuron, into: str) -> dict:
    """Return {part: share} of one input: every head's output is formed, every norm written out."""
    one, hf = model(name), plain(name, dtype)
    parts = parts_of(name, hf, neuron.layer)
    w_in = parts.w_in(into)[:, neuron.index]
    of = seen.norm_in[neuron.layer][-1]

    def share(written: torch.Tensor) -> torch.Tensor:
        return parts.normalised(written, of) @ w_in

    shares = {"embed": share(seen.embed)}
    if seen.pos_embed is not None:
        shares["pos_embed"] = share(seen.pos_embed)
    for layer in one.head_layers(neuron.layer):
        for head, written in enumerate(seen.head_out[layer]):
            shares[str(Head(layer, head))] = share(written)
        shares[f"L{layer}.attn_bias"] = share(seen.attn_bias[layer])
    for layer in range(neuron.layer):
        shares[f"L{layer}.mlp"] = share(seen.mlp_out[layer])
    shares["b_in"] = parts.norm_bias() @ w_in + parts.b_in(into)[neuron.index]
    return {part: neuron.sign * float(value.detach()) for part, value in shares.items()}


def product_by_hand(name: str, gate: dict, up: dict, sign: int) -> dict:
    """Split a(g) · u evenly, from the two inputs' signed shares."""
    g, u = (torch.tensor(sign * sum(shares.values())).double() for shares in (gate, up))
    opened = tiny.activation(name)(g)
    return {part: float(opened * up[part] + opened / g * u * gate[part]) / 2 for part in gate}


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("name", VARIANTS)
def test_parts_are_what_hugging_face_s_own_modules_give_and_sum_to_the_whole(name, dtype):
    one, sequences = model(name, dtype), [*random_ids(5, seed=32), np.array([], int)]
    for layer in range(LAYERS):
        neurons = some_neurons(one, layer, len(sequences))
        found = attribute(one, neurons, sequences)
        assert set(found) == ({"gate", "up", "post"} if one.gated else {"in"})
        for parts in found.values():
            assert parts.total.dtype == one.dtype
            assert parts.residual().max() < EXACT[dtype]
            assert parts._replace(total=parts.total + 1).residual().min() > 1e-3
        for row, (neuron, ids) in enumerate(zip(neurons, sequences, strict=True)):
            seen = anatomy(name, ids, dtype)
            expected = {
                into: by_hand(name, dtype, seen, neuron, into) for into in found if into != "post"
            }
            if one.gated:
                gate, up = expected["gate"], expected["up"]
                expected["post"] = product_by_hand(name, gate, up, neuron.sign)
            for into, parts in found.items():
                labels = [*map(str, parts.heads), *parts.parts]
                values = [*parts.by_head[row].tolist(), *parts.by_part[row].tolist()]
                shares = dict(zip(labels, values, strict=True))
                assert shares == pytest.approx(expected[into], abs=1e-5, rel=1e-4)
                measured = seen.post if into == "post" else [pre[into] for pre in seen.pre]
                whole = neuron.sign * float(measured[layer][-1, neuron.index])
                assert float(parts.total[row]) == pytest.approx(whole, abs=1e-5)


def test_one_layer_at_a_time():
    with pytest.raises(ValueError, match=r"one layer at a time, not of \[0, 2\]"):
        attribute(model("gpt2"), [Neuron(0, 1), Neuron(2, 1)], [[1], [2]])
    with pytest.raises(ValueError, match="one layer at a time"):
        attribute(model("gpt2"), [], [])


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama"])
def test_the_share_of_a_gate_that_passes_is_half_at_zero(name):
    one = model(name)
    gate = torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 3.0])
    share = worth(one, gate, torch.tensor(2.0))["gate"]
    assert share[2] == 0.5
    assert torch.allclose(share * gate, one.act(gate), atol=1e-7)
    assert (share[1] - 0.5).abs() < 1e-3
