"""Hugging Face's own modules with processed weights read what the bridge reads."""

import numpy as np
import pytest
import torch
from tiny import LAYERS, VARIANTS, model, random_ids


def through_bridge(one, batch, names):
    seen = {}
    with torch.no_grad():
        one.bridge.run_with_hooks(
            batch.ids,
            attention_mask=batch.mask.long(),
            fwd_hooks=[(name, lambda t, hook: seen.update({hook.name: t.clone()}))
                       for name in names],
        )  # fmt: skip
    return seen


def names_of(one) -> list[str]:
    own = ["attn.hook_z", "ln2.hook_in", "ln2.hook_scale", "mlp.hook_pre", "mlp.hook_post",
           "hook_mlp_out"]  # fmt: skip
    own += ["mlp.hook_pre_linear"] if one.gated else []
    names = [f"blocks.{layer}.{what}" for layer in range(LAYERS) for what in own]
    return [*names, "hook_embed", *(["hook_pos_embed"] if one.adds_positions else [])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_tensor_is_the_bridge_s_at_every_token(name, dtype):
    one = model(name, dtype)
    batch = one.batch(random_ids(8, seed=3))
    names = names_of(one)
    ours = {}
    assert one.modules.read(batch.ids, {n: lambda t, n=n: ours.update({n: t.clone()})
                                        for n in names})  # fmt: skip
    theirs = through_bridge(one, batch, names)
    off = 1e-4 if dtype == "float32" else 1e-6  # the bridge takes every softmax in float32
    for n in names:
        expected = theirs[n if n in theirs else n.replace("ln2.hook_in", "hook_resid_mid")]
        if n == "hook_pos_embed":
            assert torch.equal(ours[n][0], expected[0])
            continue
        assert ours[n].shape == expected.shape, n
        assert torch.allclose(ours[n][batch.mask], expected[batch.mask], atol=off, rtol=off), n


def test_a_name_that_is_not_to_be_had_runs_nothing():
    one = model("llama")
    batch = one.batch([[1, 2, 3]])
    asked = ["blocks.0.mlp.hook_post", "blocks.0.attn.hook_pattern"]
    took = []
    assert not one.modules.read(batch.ids, dict.fromkeys(asked, took.append))
    assert not took
    one.read(batch, dict.fromkeys(asked, took.append))
    assert len(took) == 2


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_shared_with_the_bridge(name):
    one = model(name)
    shared = {p.data_ptr() for p in one.bridge.original_model.parameters()}
    own = list(one.modules.base.parameters())
    assert all(p.data_ptr() in shared for p in own)
    assert not any(p.requires_grad for p in own)


def test_padding_changes_nothing():
    one = model("neox")
    ids = np.arange(1, 9)
    seen = []
    hook = {"blocks.2.mlp.hook_post": lambda t: seen.append(t[0, :9].clone())}
    one.read(one.batch([ids]), hook)
    one.read(one.batch([ids, np.ones(30, int)]), hook)
    assert torch.allclose(*seen, atol=1e-5)
