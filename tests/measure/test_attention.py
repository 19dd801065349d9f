"""What a head brings from every key sums to its attribution; patterns are Hugging Face's; scores of
known kinds of heads equal a loop over positions, and chance is looking at all alike."""

import numpy as np
import pytest
import tiny
import torch
from inline import defined_in
from lookups.measure.attention import look, looks
from lookups.measure.attribution import attribute
from lookups.names import Head, Neuron
from tiny import ARCHITECTURES, HEADS, LAYERS, VARIANTS, anatomy, model, parts_of, plain, random_ids

CHAPTER = defined_in("06_attention_specialization")
head_kinds, repeated = CHAPTER.head_kinds, CHAPTER.repeated
IDS = random_ids(1, seed=41, shortest=9, longest=9)[0]
PROMPTS = [IDS, *random_ids(4, seed=42, shortest=2, longest=11)]


@pytest.mark.parametrize("name", VARIANTS)
def test_contributions_sum_to_the_attribution(name):
    one = model(name)
    for sign in one.signs:
        neuron = Neuron(2, 17, sign)
        for into, parts in attribute(one, [neuron] * len(PROMPTS), PROMPTS).items():
            together = looks(one, neuron, parts.heads, PROMPTS, into=into)
            for looked, by_head in zip(together, parts.by_head, strict=True):
                assert looked.heads == parts.heads
                assert (looked.attribution - by_head).abs().max() < 1e-5
            if into in ("in", "post"):  # the default
                usual = look(one, neuron, parts.heads, IDS)
                assert torch.allclose(usual.contribution, together[0].contribution, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_patterns_and_what_each_key_brings_by_hand(name):
    """Pattern × value × W_O × normalised W_in, from Hugging Face's modules and nothing of ours."""
    one, hf, head = model(name), plain(name), Head(1, 2)
    neuron, into = Neuron(2, 17), "up" if one.gated else "in"
    source, parts, seen = parts_of(name, hf, 1), parts_of(name, hf, 2), []
    attn = {"gpt2": "transformer.h.1.attn.c_attn", "neox": "gpt_neox.layers.1.attention."
            "query_key_value", "phi3": "model.layers.1.self_attn.qkv_proj"}  # fmt: skip
    attn = attn.get(name[:4], "model.layers.1.self_attn.v_proj")
    hook = hf.get_submodule(attn).register_forward_hook(
        lambda module, args, output: seen.append(output[0])
    )
    with torch.no_grad():
        patterns = hf(torch.tensor([[0, *IDS]]), output_attentions=True).attentions
    hook.remove()
    v, size, shared = seen[0], one.d_head, one.key_head(head)  # of two, heads 2 and 3 share 1
    assert shared == 2 * tiny.OWN[name].get("num_key_value_heads", 4) // 4
    start = {"gpt2": 64 + 16, "neox": 2 * 24 + 16, "phi3": 32 + 16 + 8}.get(name[:4], shared * size)
    rows = slice(2 * size, 3 * size)
    written = (v[:, start : start + size] - source.b_v[rows]) @ source.w_o[rows]
    with torch.no_grad():
        of = anatomy(name, IDS).norm_in[2][-1]
        shares = parts.normalised(written, of) @ parts.w_in(into)[:, 17]
    heads = [head, Head(1, 3), Head(0, 3), Head(0, 0)]
    looked = looks(one, neuron, heads, PROMPTS, into=into)[0]
    for each, pattern in zip(heads, looked.pattern, strict=True):
        assert (pattern - patterns[each.layer][0, each.index]).abs().max() < 1e-5
    assert (looked.contribution[0] - patterns[1][0, 2, -1] * shares).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "head"), [("gpt2", Head(2, 1)), ("neox", Head(1, 1))])
def test_a_head_that_comes_too_late_is_refused(name, head):
    with pytest.raises(ValueError, match=f"layer 1 is fed by {head}: choose heads before it"):
        look(model(name), Neuron(1, 3), [head], IDS)


# --- Known kinds of heads ---


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_equal_a_loop_over_positions(name):
    one = model(name, "float64")
    texts = [np.array([5, 7, 5, 9, 7, 5]), np.array([3, 3, 8]), np.array([4])]
    found = head_kinds(one, texts)
    sums = np.zeros((LAYERS, HEADS, 3))
    alike, counts = np.zeros(3), np.zeros(3)
    for ids in texts:
        seen = tiny.whole_pass(one, ids)[1]
        for query in range(len(ids)):
            places = [
                [key for key in range(query) if key == query - 1],
                [key for key in range(query) if ids[key] == ids[query]],
                [key + 1 for key in range(query - 1) if ids[key] == ids[query]],
            ]
            for kind, keys in enumerate(places):
                counts[kind] += bool(keys)
                alike[kind] += len(keys) / (query + 2)  # the beginning of the sequence counts
                for layer in range(LAYERS):
                    pattern = seen[f"blocks.{layer}.attn.hook_pattern"][0]
                    for key in keys:
                        sums[layer, :, kind] += pattern[:, query + 1, key + 1].numpy()
    for layer in range(LAYERS):
        for head in range(HEADS):
            expected = sums[layer, head] / counts
            assert np.allclose(found.loc[str(Head(layer, head))], expected, atol=1e-6)
    assert np.allclose(found.loc["chance"], alike / counts)


def test_repeated_ids_are_repeated_and_plain():
    ids = repeated(one := model("gpt2"), rows=3, length=10, seed=0)
    assert (ids[:, :10] == ids[:, 10:]).all()
    assert not np.isin(ids, one.tokenizer.all_special_ids).any()
    assert head_kinds(one, list(ids)).notna().all().all()
    assert head_kinds(one, [[1, 2]])[["duplicate token", "induction"]].isna().all().all()
