"""The pass written out reads what the bridge reads, at every step."""

import pytest
import torch
from lookups.errors import SourceError
from tiny import LAYERS, VARIANTS, model, random_ids


def through_bridge(one, batch, names):
    seen = {}
    with torch.no_grad():
        hooks = [(n, lambda t, hook, n=n: seen.update({n: t.clone()})) for n in names]
        one.bridge.run_with_hooks(batch.ids, attention_mask=batch.mask.long(), fwd_hooks=hooks)
    return seen


def names_of(one) -> list[str]:
    own = ["hook_resid_pre", "attn.hook_v", "attn.hook_z", "ln2.hook_in", "ln2.hook_scale",
           "mlp.hook_in", "mlp.hook_pre", "mlp.hook_post", "hook_mlp_out"]  # fmt: skip
    own += ["mlp.hook_pre_linear"] if one.gated else []
    names = [f"blocks.{layer}.{what}" for layer in range(LAYERS) for what in own]
    return [*names, "hook_embed", *(["hook_pos_embed"] if one.adds_positions else [])]


# Llama's softmax is in float32 in the bridge, whatever the dtype
OFF = {"float32": 1e-4, "float64": 1e-6}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_tensor_is_the_bridge_s_at_every_token(name, dtype):
    one = model(name, dtype)
    batch = one.batch(random_ids(8, seed=3))
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in range(LAYERS)]
    names, ours = [*names_of(one), *patterns], {}
    takes = {n: lambda t, n=n: ours.update({n: t.clone()}) for n in names}
    one.forward.read(batch.ids, takes)
    seen = through_bridge(one, batch, names)
    for n in names:
        expected = seen[n]
        if n == "hook_pos_embed":
            assert torch.equal(ours[n][0], expected[0])
            continue
        assert ours[n].shape == expected.shape, n
        mask = batch.mask
        if n in patterns:
            mask = (mask[:, None, :, None] & mask[:, None, None, :]).expand(expected.shape)
        found, expected = ours[n][mask], expected[mask]
        assert torch.allclose(found, expected, atol=OFF[dtype], rtol=OFF[dtype]), n


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("longest", [1, 2, 15, 40])
def test_the_last_token_alone_reads_the_same(name, longest, bos):
    one = model(name, "float64")
    sequences = random_ids(8, seed=4, longest=longest)
    batch, names = one.batch(sequences, bos=bos), names_of(one)
    seen = through_bridge(one, batch, names)
    rows = torch.arange(len(sequences))
    for final in range(LAYERS):
        wanted = [n for n in names if not n.startswith("blocks") or int(n.split(".")[1]) <= final]
        for n, found in one.read_last(sequences, wanted, bos=bos).items():
            expected = seen[n]
            expected = expected[rows if len(expected) > 1 else 0, batch.last]
            assert torch.allclose(found, expected, atol=OFF["float64"]), n


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_what_there_is_not_is_refused(name):
    one = model(name)
    missing = "blocks.0.mlp.hook_pre_linear" if name == "gpt2" else "hook_pos_embed"
    for hook in (missing, "blocks.3.hook_mlp_out", "blocks.0.attn.hook_q"):
        with pytest.raises(SourceError, match=f"has no {hook} to be read"):
            one.read_last([[1, 2]], [hook])


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_the_bridge_s_own(name):
    one = model(name)
    theirs = {p.untyped_storage().data_ptr() for p in one.bridge.original_model.parameters()}
    for layer in one.forward.layers:
        parts = [layer.queries, layer.keys, layer.values, layer.mixes, *layer.reads, layer.writes]
        assert all(part.weight.untyped_storage().data_ptr() in theirs for part in parts)
