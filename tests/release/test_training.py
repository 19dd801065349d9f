"""Training: a killed run loses nothing, to the last bit."""

import pytest
import torch

from tools.train.recipe import Recipe
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
