"""Path patching equals the same intervention made with hooks in a whole forward pass."""

from itertools import product

import pytest
import tiny
import torch
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.names import Head, Neuron

TEXTS = [ids.tolist() for ids in tiny.random_ids(6, seed=1, shortest=3, longest=11)]


def by_hooks(model, neuron, ids, head, instead, *, through_mlps=True):
    """One head's output replaced at the last token, all other heads held; the whole model runs."""
    usual = tiny.whole_pass(model, ids)[1]

    def held(z, hook):
        z = usual[hook.name].clone()
        if hook.name == f"blocks.{head.layer}.attn.hook_z":
            z[:, -1, head.index] = instead
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", held) for layer in range(model.n_layers)]
    if not through_mlps:
        hooks += [(f"blocks.{at}.hook_mlp_out", held) for at in range(neuron.layer)]
    seen, block = tiny.whole_pass(model, ids, hooks)[1], f"blocks.{neuron.layer}.mlp"
    ends = (seen[f"{block}.hook_{end}"][0, -1, neuron.index] for end in ("pre", "post"))
    return tuple(neuron.sign * float(value) for value in ends)


@pytest.mark.parametrize("name", tiny.VARIANTS)
@pytest.mark.parametrize("through_mlps", [True, False])
def test_every_head_equals_the_whole_pass_with_hooks(name, through_mlps):
    model = tiny.model(name, dtype="float64")
    mean = mean_at_last(model, TEXTS)
    z = [tiny.whole_pass(model, ids)[1]["blocks.1.attn.hook_z"][0, -1] for ids in TEXTS]
    assert torch.allclose(mean[1], torch.stack(z).mean(0), atol=tiny.close(model))
    neurons = [Neuron(2, 3, model.signs[-1]), *[Neuron(2, 5)] * (len(TEXTS) - 1)]
    others, options = TEXTS[1:] + TEXTS[:1], {"through_mlps": through_mlps}
    for instead, rows in ((mean, (0, 3)), (others, (4,))):
        found = path_patch(model, neurons, TEXTS, instead, **options)
        lent = {row: tiny.whole_pass(model, others[row])[1] for row in rows}
        for row, (column, head) in product(rows, enumerate(found.heads)):
            z = lent[row][tiny.hook_of(head)][0, -1] if instead is others else mean[head.layer]
            expected = by_hooks(model, neurons[row], TEXTS[row], head, z[head.index], **options)
            got = found.pre_without[row, column].item(), found.act_without[row, column].item()
            assert got == pytest.approx(expected, abs=tiny.close(model))
        for some in ([Head(1, 3), Head(0, 1), Head(1, 0)], []):
            part = path_patch(model, neurons, TEXTS, instead, heads=some, **options)
            assert part.heads == some
            assert torch.allclose(part.act, found.act)
            columns = [found.heads.index(head) for head in some]
            assert torch.allclose(part.act_without, found.act_without[:, columns])


def test_bad_rows_are_refused_in_words():
    model = tiny.model("gpt2")
    nothing = torch.zeros(model.n_layers, model.n_heads, model.d_head)
    with pytest.raises(ValueError, match="one layer at a time"):
        path_patch(model, [Neuron(1, 0), Neuron(2, 0)], [[1], [2]], nothing)
    with pytest.raises(ValueError, match="every row has one of each"):
        path_patch(model, [Neuron(1, 0)], [[1]], [[1], [2]])
    with pytest.raises(ValueError, match="no prompt to average over"):
        mean_at_last(model, [])
