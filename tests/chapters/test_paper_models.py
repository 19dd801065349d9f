"""The shipped runs of the paper's models, in all their depth but narrow, through the chapters.

Random weights make hardly a sound neuron and few pairs, or none: the chapters must bear that. All
chapters of all runs are executed by `benchmarks/paper_models.py`, in minutes.
"""

from pathlib import Path

import narrow_models
import numpy as np
import pytest
from inline import execute
from lookups.measure.attribution import attribute
from lookups.model.loaded import load_model
from lookups.names import Neuron
from lookups.run.stages import chapters_to
from lookups.run.store import load
from lookups.settings import check_run, read_run

pytestmark = pytest.mark.slow
FEW = {
    "documents": 12, "length": 6, "neurons_per_layer": 1, "random_per_layer": 1,
    "prompts_per_neuron": 10, "spread_per_neuron": {"train": 1, "test": 1}, "minimum_in_texts": 1,
}  # fmt: skip

THROUGH_FOUR = ("gpt2-small", "pythia-160m", "smollm2-base")
NARROWER = {"gpt2-medium": 4, "gpt2-large": 2, "gpt2-xl": 2}
"""Width of a head where eight are too many for a test; rotary positions need them."""


@pytest.mark.parametrize("run", THROUGH_FOUR)
def test_chapters_one_to_four(run: str, tmp_path: Path, artifacts: Path) -> None:
    path = narrow_models.run_file(tmp_path, run, **FEW)
    for chapter in chapters_to("pairs"):
        execute(chapter, path)
    settings, shape = read_run(path), narrow_models.SHAPES[run]
    neurons = load(settings, "neurons")
    assert len(neurons) == shape.layers * shape.d_mlp * (2 if shape.gated else 1)
    assert not neurons[neurons.group != "other"].neuron[lambda n: n.isin(settings.rejected)].any()
    heads = load(settings, "heads")
    heads = heads[heads.split == "train"]  # of test there are the followed pairs alone
    assert set(heads.input) == ({"post"} if shape.gated else {"in"})
    at = heads.neuron.map(lambda name: Neuron.parse(name).layer)
    own = 0 if shape.kind == "neox" else 1
    rows = heads.groupby([at, "neuron", "split", "prompt", "input"]).size()
    assert (rows == shape.heads * (rows.index.get_level_values(0) + own)).all()
    if shape.gated:
        assert neurons.sign.isin([1, -1]).all()


@pytest.mark.parametrize("run", sorted(set(narrow_models.SHAPES) - set(THROUGH_FOUR)))
def test_the_larger_ones(run: str, tmp_path: Path) -> None:
    """The run fits its model, and a few prompts of every layer of it are taken apart to the end."""
    folder = narrow_models.narrow_model(run, NARROWER.get(run, 8))
    path = narrow_models.run_file(tmp_path, run, **FEW, model_folder=folder)
    settings, shape = read_run(path), narrow_models.SHAPES[run]
    model = load_model(settings.model)
    check_run(settings, model)
    assert (model.n_layers, model.n_heads, model.d_mlp) == (shape.layers, shape.heads, shape.d_mlp)
    random = np.random.default_rng(0)
    ids = [random.integers(1, narrow_models.WORDS, n).tolist() for n in (3, 5, 8)]
    for layer in {*settings.layers, *settings.middle_layers}:
        neurons = [Neuron(layer, int(n)) for n in random.integers(0, shape.d_mlp, 3)]
        found = attribute(model, neurons, ids)["in"]
        assert len(found.heads) == shape.heads * (layer + (shape.kind == "gpt2"))
        assert float(found.residual().max()) < 1e-5
