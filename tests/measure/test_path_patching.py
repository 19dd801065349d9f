"""Path patching equals the same intervention made with hooks in a whole forward pass."""

import pytest
import tiny
import torch
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.names import Head, Neuron

TEXTS = [ids.tolist() for ids in tiny.random_ids(6, seed=1, shortest=3, longest=11)]


def cached(model, ids):
    return model.bridge.run_with_cache(model.batch([ids]).ids)[1]


def by_hooks(model, neuron, ids, head, instead, *, through_mlps=True):
    """One head's output replaced at the last token, all other heads held; the whole model runs."""
    usual = cached(model, ids)
    found, block = [], f"blocks.{neuron.layer}.mlp"

    def held(z, hook):
        z = usual[hook.name].clone()
        if hook.name == f"blocks.{head.layer}.attn.hook_z":
            z[:, -1, head.index] = instead
        return z

    def keep(tensor, hook):
        found.append(neuron.sign * float(tensor[0, -1, neuron.index]))

    hooks = [(f"blocks.{layer}.attn.hook_z", held) for layer in range(model.n_layers)]
    if not through_mlps:
        hooks += [(f"blocks.{at}.hook_mlp_out", held) for at in range(neuron.layer)]
    hooks += [(f"{block}.hook_pre", keep), (f"{block}.hook_post", keep)]
    with torch.no_grad():
        model.bridge.run_with_hooks(model.batch([ids]).ids, fwd_hooks=hooks)
    return tuple(found)


def close(model) -> float:
    """How far float64 may be off: Llama's softmax is in float32 in the bridge."""
    return 1e-6 if model.gated else 1e-9


@pytest.mark.parametrize("name", tiny.VARIANTS)
@pytest.mark.parametrize("through_mlps", [True, False])
def test_every_head_equals_the_whole_pass_with_hooks(name, through_mlps):
    model = tiny.model(name, dtype="float64")
    mean = mean_at_last(model, TEXTS)
    z = [cached(model, ids)["blocks.1.attn.hook_z"][0, -1] for ids in TEXTS]
    assert torch.allclose(mean[1], torch.stack(z).mean(0), atol=close(model))
    neurons = [Neuron(2, 3, model.signs[-1]), *[Neuron(2, 5)] * (len(TEXTS) - 1)]
    found = path_patch(model, neurons, TEXTS, mean, through_mlps=through_mlps)
    for row in (0, 3):
        for column, head in enumerate(found.heads):
            expected = by_hooks(
                model, neurons[row], TEXTS[row], head, mean[head.layer, head.index],
                through_mlps=through_mlps,
            )  # fmt: skip
            got = found.pre_without[row, column].item(), found.act_without[row, column].item()
            assert got == pytest.approx(expected, abs=close(model))


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_another_prompt_s_output_can_stand_in(name):
    model = tiny.model(name, dtype="float64")
    others = TEXTS[1:] + TEXTS[:1]
    found = path_patch(model, [Neuron(1, 7)] * len(TEXTS), TEXTS, others)
    head = Head(0, 2)
    z = cached(model, others[4])["blocks.0.attn.hook_z"][0, -1, 2]
    expected = by_hooks(model, Neuron(1, 7), TEXTS[4], head, z)
    column = found.heads.index(head)
    got = found.pre_without[4, column].item(), found.act_without[4, column].item()
    assert got == pytest.approx(expected, abs=close(model))


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@pytest.mark.parametrize("through_mlps", [True, False])
def test_some_heads_are_patched_as_among_all(name, through_mlps):
    model = tiny.model(name, dtype="float64")
    mean, neurons = mean_at_last(model, TEXTS), [Neuron(2, 4)] * len(TEXTS)
    whole = path_patch(model, neurons, TEXTS, mean, through_mlps=through_mlps)
    for some in ([Head(1, 3), Head(0, 1), Head(1, 0)], []):
        part = path_patch(model, neurons, TEXTS, mean, through_mlps=through_mlps, heads=some)
        column = [whole.heads.index(head) for head in some]
        assert part.heads == some
        for ours, theirs in (
            (part.act, whole.act),
            (part.act_without, whole.act_without[:, column]),
        ):
            assert torch.allclose(ours, theirs)


def test_bad_rows_are_refused_in_words():
    model = tiny.model("gpt2")
    nothing = torch.zeros(model.n_layers, model.n_heads, model.d_head)
    with pytest.raises(ValueError, match="one layer at a time"):
        path_patch(model, [Neuron(1, 0), Neuron(2, 0)], [[1], [2]], nothing)
    with pytest.raises(ValueError, match="every row has one of each"):
        path_patch(model, [Neuron(1, 0)], [[1]], [[1], [2]])
    with pytest.raises(ValueError, match="no prompt to average over"):
        mean_at_last(model, [])
