"""Averages are those of a plain loop over every token but the BOS."""

import pytest
import torch
from lookups.measure.ablation import mean_over_tokens
from lookups.names import Head
from tiny import HEADS, VARIANTS, model, random_ids

TEXTS = [*random_ids(9, seed=71), []]


@pytest.mark.parametrize("name", VARIANTS)
def test_means_are_those_of_a_plain_loop(name):
    one = model(name)
    found = mean_over_tokens(one, TEXTS, [2, 0], tokens_per_batch=60)
    assert found.layers == [2, 0]
    assert found.tokens == sum(len(ids) for ids in TEXTS)
    assert found.z.shape == (2, HEADS, one.d_head)
    assert found.post.shape == (2, one.d_mlp)
    for at, layer in enumerate(found.layers):
        heads = [Head(layer, index) for index in range(HEADS)]
        assert torch.equal(found.of("z", heads), found.z[at])
        z, post = [], []
        for ids in TEXTS:
            with torch.no_grad():
                _, cache = one.bridge.run_with_cache(torch.tensor([[0, *ids]]))
            z.append(cache[f"blocks.{layer}.attn.hook_z"][0, 1:])
            post.append(cache[f"blocks.{layer}.mlp.hook_post"][0, 1:])
        assert (found.z[at] - torch.cat(z).mean(0)).abs().max() < 1e-6
        assert (found.post[at] - torch.cat(post).mean(0)).abs().max() < 1e-6


def test_only_what_is_asked_for_is_averaged():
    one = model("llama")
    both = mean_over_tokens(one, TEXTS, [2, 0])
    for of, other in (("z", "post"), ("post", "z")):
        found = mean_over_tokens(one, TEXTS, [2, 0], of=[of])
        assert torch.equal(getattr(found, of), getattr(both, of))
        assert len(getattr(found, other)) == 0


def test_a_layer_that_was_not_measured():
    found = mean_over_tokens(model("gpt2"), TEXTS, [1])
    with pytest.raises(ValueError, match=r"no means of layer 0 were measured, only of \[1\]"):
        found.of("z", [Head(0, 1)])
    with pytest.raises(ValueError, match="no token to average over; give texts that have some"):
        mean_over_tokens(model("gpt2"), [[]], [1])
