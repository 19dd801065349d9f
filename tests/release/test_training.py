"""Training: a killed run loses nothing, to the last bit, and following is measured as defined."""

import dataclasses

import numpy as np
import pytest
import torch

from tools.train.following import measure_following
from tools.train.recipe import Recipe, new_model
from tools.train.trainer import train

TINY = Recipe(
    n_layer=1, n_head=2, d_model=16, d_mlp=32, context=8, vocabulary=20, batch=4, steps=40,
    warmup=5,
)  # fmt: skip


def counting(step):
    """Sequences that can be learnt: each id calls for the next."""
    first = torch.arange(step * 4, step * 4 + 4)[:, None] * 7 + torch.arange(8)
    return torch.nn.functional.pad(first % 19 + 1, (1, 0))


def killed_at(step, batches):
    """Batches of which one ends the process, between two checkpoints."""

    def batch(number):
        if number == step:
            raise KeyboardInterrupt
        return batches(number)

    return batch


def test_a_killed_run_ends_like_an_unbroken_one(tmp_path):
    settings = {"data": "p", "measure_every": 10, "save_every": 7, "say": str}
    unmeasured = lambda model: {}  # noqa: E731
    whole = train(TINY, counting, unmeasured, tmp_path / "whole", **settings)
    for step in (3, 18, 33):
        with pytest.raises(KeyboardInterrupt):
            train(TINY, killed_at(step, counting), unmeasured, tmp_path / "broken", **settings)
    (tmp_path / "broken/checkpoint.safetensors.partial").write_bytes(b"half a file")
    resumed = train(TINY, counting, unmeasured, tmp_path / "broken", **settings)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.curve == resumed.curve


def naive_following(model, documents, eligible, strongest):
    """The definition, neuron by neuron and document by document, with nothing batched."""
    layers, neurons = model.config.n_layer, model.config.n_inner
    token, share = np.zeros((layers, neurons), int), np.zeros((layers, neurons))
    unembedding = model.lm_head.weight.double() * model.transformer.ln_f.weight.double()
    unembedding -= unembedding.mean(1, keepdim=True)
    acts, tables = {}, []
    for layer, block in enumerate(model.transformer.h):
        block.mlp.act.register_forward_hook(lambda m, i, o, at=layer: acts.update({at: o[0]}))
    for document in documents:
        model(document[None])
        tables.append((document, dict(acts)))
    for layer in range(layers):
        written = model.transformer.h[layer].mlp.c_proj.weight.double()
        for neuron in range(neurons):
            row = written[neuron] - written[neuron].mean()
            token[layer, neuron] = (unembedding @ row).where(eligible, -np.inf).argmax()
            best = []
            for document, acts in tables:
                own = [p for p in range(len(document) - 1) if document[p] != 0]
                value, at = max((float(acts[layer][p, neuron]), p) for p in own)
                best.append((value, int(document[at + 1])))
            hits = [following == token[layer, neuron] for _, following in sorted(best)[-strongest:]]
            share[layer, neuron] = sum(hits) / len(hits)
    return token, share


def test_the_fast_measure_of_following_is_the_plain_one():
    model = new_model(dataclasses.replace(TINY, n_layer=2, context=16, seed=3)).eval()
    documents = torch.randint(0, 20, (15, 12), generator=torch.Generator().manual_seed(0))
    documents[:, 0] = 0
    eligible = torch.arange(20) % 3 != 0
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        token, share = naive_following(model, documents, eligible, 6)
    for batch in (1, 4, 15):
        fast = measure_following(model, documents, eligible, strongest=6, batch=batch)
        assert (fast.token.numpy() == token).all()
        assert fast.share.numpy() == pytest.approx(share)
