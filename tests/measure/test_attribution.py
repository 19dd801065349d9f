"""Parts sum to the whole, equal plain Hugging Face's modules taken apart, and predict what is lost.

TransformerLens folds weights in float32 whatever the model's dtype, so what is compared with
Hugging Face agrees to about 1e-6 in float64 too; sums of our own parts agree to rounding.
"""

import numpy as np
import pytest
import torch
from lookups.measure.attribution import attribute, part_names
from lookups.model.loaded import Model
from lookups.names import Head, Neuron
from tiny import LAYERS, VARIANTS, Anatomy, anatomy, documents, model, parts_of, plain, random_ids

EXACT = {"float32": 1e-5, "float64": 1e-12}
DTYPES = tuple(EXACT)


def some_neurons(one: Model, layer: int, n: int) -> list[Neuron]:
    rng = np.random.default_rng(layer)
    indices, signs = rng.integers(one.d_mlp, size=n), rng.choice(one.signs, n)
    return [Neuron(layer, int(i), int(s)) for i, s in zip(indices, signs, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_parts_sum_to_the_whole(name, dtype):
    one, sequences = model(name, dtype), [*random_ids(8, seed=31), np.array([], int)]
    for layer, bos in ((0, True), (1, True), (2, True), (2, False)):
        rows = slice(None) if bos else slice(8)  # without a BOS nothing is left of the last one
        neurons = some_neurons(one, layer, len(sequences))[rows]
        found = attribute(one, neurons, sequences[rows], bos=bos)
        assert set(found) == ({"gate", "up", "post"} if one.gated else {"in"})
        for parts in found.values():
            assert parts.total.dtype == one.dtype
            assert parts.residual().max() < EXACT[dtype]


# --- Equal to Hugging Face's modules, taken apart by hand ---


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


def product_by_hand(gate: dict, up: dict, sign: int) -> dict:
    """Split SiLU(g) · u evenly, from the two inputs' signed shares."""
    g, u = (torch.tensor(sign * sum(shares.values())).double() for shares in (gate, up))
    silu, ratio = g * torch.sigmoid(g), torch.sigmoid(g)
    return {part: float(silu * up[part] + ratio * u * gate[part]) / 2 for part in gate}


def labelled(found, row: int) -> dict:
    heads = {str(h): v for h, v in zip(found.heads, found.by_head[row].tolist(), strict=True)}
    return heads | dict(zip(found.parts, found.by_part[row].tolist(), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_part_is_what_hugging_face_s_own_modules_give(name, dtype):
    one, sequences = model(name, dtype), random_ids(4, seed=32)
    for layer in range(LAYERS):
        neurons = some_neurons(one, layer, len(sequences))
        found = attribute(one, neurons, sequences, tokens_per_batch=30)
        for row, (neuron, ids) in enumerate(zip(neurons, sequences, strict=True)):
            seen = anatomy(name, ids, dtype)
            expected = {
                into: by_hand(name, dtype, seen, neuron, into) for into in found if into != "post"
            }
            if one.gated:
                expected["post"] = product_by_hand(expected["gate"], expected["up"], neuron.sign)
            for into, parts in found.items():
                assert labelled(parts, row) == pytest.approx(expected[into], abs=1e-5, rel=1e-4)
                measured = seen.post if into == "post" else [pre[into] for pre in seen.pre]
                whole = neuron.sign * float(measured[layer][-1, neuron.index])
                assert float(parts.total[row]) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_which_heads_feed_a_neuron_is_a_matter_of_architecture(name):
    one = model(name)
    for layer in range(LAYERS):
        (found, *_) = attribute(one, [Neuron(layer, 0)], [[1, 2]]).values()
        own = 0 if name == "neox" else 1
        assert found.heads == [Head(at, h) for at in range(layer + own) for h in range(4)]
        assert found.by_head.shape == (1, 4 * (layer + own))
        assert found.parts == part_names(one, layer)
        assert ("pos_embed" in found.parts) == name.startswith("gpt2")
        assert found.parts[-1] == "b_in"


# --- What is predicted is what an intervention measures ---


def without_head(name: str, dtype: str, ids, neuron: Neuron, head: Head, into: str) -> float:
    """Measure how much an input falls when one head's output is taken out of what the MLP's norm
    reads, the norm's scale held: a hook on plain Hugging Face's own modules."""
    hf = plain(name, dtype)
    parts, source = parts_of(name, hf, neuron.layer), parts_of(name, hf, head.layer)
    tokens, kept, inputs = torch.tensor([[0, *ids]]), {}, []
    columns = slice(8 * head.index, 8 * head.index + 8)

    def keep_head(module, args):
        z = args[0][..., columns] - source.b_v[columns]
        kept["written"] = z @ source.w_o[columns]

    def lessened(module, args, output):
        return output - parts.normalised(kept["written"], of=args[0]) if kept["take"] else output

    def measure(module, args, output):
        inputs.append(output[0, -1, neuron.index])

    hooks = [
        source.attn_out.register_forward_pre_hook(keep_head),
        parts.norm.register_forward_hook(lessened),
        parts.reads[into].register_forward_hook(measure),
    ]
    try:
        for take in (False, True):
            kept["take"] = take
            with torch.no_grad():
                hf(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return neuron.sign * float(inputs[0] - inputs[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_an_attribution_is_what_the_input_loses_without_the_head(name, dtype):
    one, ids = model(name, dtype), random_ids(1, seed=33, shortest=8)[0]
    (neuron,) = some_neurons(one, 2, 1)
    for into, parts in attribute(one, [neuron], [ids]).items():
        if into == "post":
            continue
        for head, predicted in zip(parts.heads, parts.by_head[0].tolist(), strict=True):
            measured = without_head(name, dtype, ids, neuron, head, into)
            assert predicted == pytest.approx(measured, abs=1e-5)


# --- Signs, rows and batches ---


def test_the_other_sign_turns_every_attribution():
    one, ids = model("llama"), [5, 9, 31]
    found = attribute(one, [Neuron(1, 7, 1), Neuron(1, 7, -1)], [ids, ids])
    for parts in found.values():
        assert torch.equal(parts.by_head[0], -parts.by_head[1])
        assert torch.equal(parts.by_part[0], -parts.by_part[1])
        assert parts.total[0] == -parts.total[1] != 0


def test_a_wrong_total_shows_in_the_residual():
    (found,) = attribute(model("gpt2"), [Neuron(1, 3)], [documents()[3].ids]).values()
    assert found.residual()[0] < 1e-5
    assert found._replace(total=found.total + 1).residual()[0] > 0.01


def test_no_output_of_a_head_is_held_at_full_width(monkeypatch):
    one, seen, original = model("neox"), [], torch.einsum

    def watched(equation, *operands):
        result = original(equation, *operands)
        seen.append(result.shape)
        return result

    monkeypatch.setattr(torch, "einsum", watched)
    attribute(one, some_neurons(one, 2, 40), random_ids(40, seed=35))
    assert seen
    assert all(one.d_model not in shape or len(shape) < 3 for shape in seen)


def test_one_layer_at_a_time():
    with pytest.raises(ValueError, match=r"one layer at a time, not of \[0, 2\]"):
        attribute(model("gpt2"), [Neuron(0, 1), Neuron(2, 1)], [[1], [2]])
    with pytest.raises(ValueError, match="one layer at a time"):
        attribute(model("gpt2"), [], [])
