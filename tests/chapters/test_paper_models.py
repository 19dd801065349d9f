"""The shipped runs fit their models; `benchmarks/paper_models.py` executes their chapters."""

from pathlib import Path

import narrow_models
import numpy as np
import pytest
from lookups.measure.attribution import attribute
from lookups.model.loaded import load_model
from lookups.names import Neuron
from lookups.settings import check_run, read_run

pytestmark = pytest.mark.slow
FEW = {
    "documents": 12, "length": 6, "neurons_per_layer": 1, "random_per_layer": 1,
    "prompts_per_neuron": 10, "spread_per_neuron": {"train": 1, "test": 1}, "minimum_in_texts": 1,
}  # fmt: skip

NARROWER = {"gpt2-medium": 4, "gpt2-large": 2, "gpt2-xl": 2}
"""Width of a head where eight are too many for a test; rotary positions need them."""


@pytest.mark.parametrize("run", narrow_models.SHAPES)
def test_a_shipped_run_fits_its_model_and_every_layer_is_taken_apart(run: str, tmp_path: Path):
    path = narrow_models.run_file(tmp_path, run, **FEW, d_head=NARROWER.get(run, 8))
    settings, shape = read_run(path), narrow_models.SHAPES[run]
    model = load_model(settings.model)
    check_run(settings, model)
    assert (model.n_layers, model.n_heads, model.d_mlp) == (shape.layers, shape.heads, shape.d_mlp)
    random = np.random.default_rng(0)
    ids = [random.integers(1, narrow_models.WORDS, n).tolist() for n in (3, 5, 8)]
    for layer in {*settings.layers, *settings.middle_layers}:
        neurons = [Neuron(layer, int(n)) for n in random.integers(0, shape.d_mlp, 3)]
        found = attribute(model, neurons, ids)["post" if shape.gated else "in"]
        assert len(found.heads) == shape.heads * (layer + (shape.kind != "neox"))
        assert float(found.residual().max()) < 1e-5
