"""How far results depend on how many tokens are read at once: in the last bits, and no further."""

import numpy as np
import pytest
import torch
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.activation import activations, shortest_suffixes
from lookups.measure.attribution import attribute
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.measure.scan import scan
from lookups.model.loaded import Model
from lookups.names import Head, Neuron
from tiny import ARCHITECTURES, VOCAB, documents, model

LAYER = 2
rng = np.random.default_rng(0)
PROMPTS = [rng.integers(1, VOCAB, size=n) for n in rng.integers(2, 20, size=40)]
NEURONS = [Neuron(LAYER, int(index), 1) for index in rng.integers(0, 64, len(PROMPTS))]


def measured(one: Model, fixed: torch.Tensor) -> dict[str, np.ndarray]:
    """What every step finds, on the same rows."""
    rows = range(len(PROMPTS))
    heads, tokens = [Head(0, row % one.n_heads) for row in rows], [1 + row for row in rows]
    fires = activations(one, NEURONS, PROMPTS)
    cut = shortest_suffixes(
        lambda some, ids: activations(one, [NEURONS[row] for row in some], ids), PROMPTS,
        np.maximum(fires, 1e-3).tolist(), lambda act, whole: act >= 0.8 * whole, longest=20,
    )  # fmt: skip
    taken = attribute(one, NEURONS, PROMPTS)["post" if one.gated else "in"]
    means = mean_over_tokens(one, PROMPTS, range(LAYER + 1), of="heads")
    kinds = ("zero", "mean", "direct_recomputed")
    found = ablate(one, PROMPTS, NEURONS, tokens, heads, kinds, means=means)
    maxima = scan(one, documents(), [0, LAYER], strongest=7)
    return {
        "activations": fires, "heads": taken.by_head, "parts": taken.by_part,
        "patched": path_patch(one, NEURONS, PROMPTS, fixed).act_without,
        "logp": np.stack([found.before.logp, *(found.after[kind].logp for kind in kinds)]),
        "lengths": np.array([one.length if one else 0 for one in cut]),
        "documents": maxima.strongest.document, "positions": maxima.strongest.position,
        "spread": maxima.spread.document, "frequency": maxima.frequency,
        "maxima": maxima.strongest.activation,
    }  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_four_and_sixteen_times_the_tokens_give_the_same_but_for_rounding(name, monkeypatch):
    one, found = model(name), []
    fixed = mean_at_last(one, PROMPTS)
    for tokens in (64, 256, 1024):
        monkeypatch.setattr(Model, "tokens", lambda self, tokens=tokens: tokens)
        found.append({what: np.asarray(got) for what, got in measured(one, fixed).items()})
    assert all((one["lengths"] == found[0]["lengths"]).all() for one in found)
    for what in ("documents", "positions", "spread", "frequency"):  # but for equal activations
        assert all((one[what] == found[0][what]).mean() > 0.99 for one in found), what
    for what in ("activations", "heads", "parts", "patched", "logp"):
        largest = np.abs(found[0][what]).max()
        assert all(np.abs(one[what] - found[0][what]).max() < 1e-5 * largest for one in found), what
    for one in found:  # rounded to 15 bits before they are compared, so apart by one step at most
        np.testing.assert_allclose(one["maxima"], found[0]["maxima"], rtol=2**-13, atol=1e-6)
