"""The truth of the planted worlds: path patching finds the wires, surgery cuts them for certain."""

import numpy as np
import pytest
from lookups.corpus.grammar import GRAMMAR, labelled_documents, minimal_pairs
from lookups.measure.ground_truth import carried, targets_of
from lookups.measure.path_patching import path_patch
from lookups.model.loaded import Model, load_model
from lookups.names import Neuron
from lookups.settings import ModelSpec

COINS = GRAMMAR.ids[" coins"]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(ModelSpec(name="planted-0", device="cpu"))


def test_what_is_carried_is_the_mean_change_over_minimal_pairs(model):
    neuron, n = Neuron(1, 19), 12
    table = carried(model, GRAMMAR, {neuron: COINS, Neuron(1, 3): COINS}, n=n)
    assert len(table) == 2 * 16 * 3
    pairs = minimal_pairs(GRAMMAR, "filler", COINS, n)
    changes = []
    for pair in pairs:  # one at a time, the naive way
        found = path_patch(model, [neuron], [pair.cued], [pair.other])
        changes.append((found.pre[:, None] - found.pre_without)[0].numpy())
    mine = table[(table.neuron == str(neuron)) & (table.kind == "filler")]
    assert np.allclose(mine.change, np.mean(changes, axis=0), atol=1e-5)


def test_a_neuron_is_for_the_target_that_its_strongest_slots_call_for_and_it_writes(model):
    documents = labelled_documents("test", 60)
    found = targets_of(model, GRAMMAR, documents, strongest=10, share=0.5)
    fires = []  # one document at a time, the naive way
    for one in documents:
        hook = {"blocks.1.mlp.hook_post": lambda x, one=one: fires.extend(
            (x[0, slot.position + 1].numpy(), slot.target) for slot in one.slots
        )}  # fmt: skip
        model.read(model.batch([one.ids]), hook)
    act, called = np.array([one for one, _ in fires]), np.array([target for _, target in fires])
    ids = [GRAMMAR.ids[word] for word in GRAMMAR.targets]
    for neuron in range(model.d_mlp):
        top = called[np.argsort(-act[:, neuron])[:10]]
        commonest = max(ids, key=lambda one: (top == one).sum())
        writes = ids[int((model.w_out(1)[neuron] @ model.w_u[:, ids]).argmax())]
        for_it = (top == commonest).mean() >= 0.5 and commonest == writes
        assert found[neuron] == (commonest if for_it else -1)
    assert 20 < (found >= 0).sum() < model.d_mlp
