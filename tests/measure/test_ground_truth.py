"""The truth of the planted worlds: path patching finds the wires, surgery cuts them for certain."""

import numpy as np
import pandas as pd
import pytest
import torch
from lookups.corpus.grammar import GRAMMAR, labelled_documents, minimal_pairs
from lookups.measure.attribution import attribute
from lookups.measure.ground_truth import carried, contexts, cut_off, targets_of
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
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


def test_contexts_are_the_slots_that_prompts_end_at():
    documents = {"test": labelled_documents("test", 3)}
    slot = documents["test"][2].slots[0]
    facts = {"split": "test", "prompt": "planted/test/2"}
    prompts = pd.DataFrame(facts | {"position": [slot.position, slot.position - 1]}, index=[7, 9])
    found = contexts(prompts, documents)
    assert found.loc[7].tolist() == [slot.kind, slot.target, slot.cue]
    assert found.loc[9].tolist() == ["none", -1, -1]


@pytest.mark.parametrize("head", [Head(0, 5), Head(1, 2)])
def test_after_surgery_a_head_can_tell_a_neuron_nothing(model, head):
    neuron = Neuron(1, 19)
    texts = [list(pair.cued) for pair in minimal_pairs(GRAMMAR, "filler", COINS, 8)]
    mean = mean_at_last(model, texts)
    before = model.logits(model.batch(texts[:2])).clone()
    with cut_off(model, head, neuron):
        patched = path_patch(model, [neuron] * len(texts), texts, mean)
        column = patched.heads.index(head)
        # in the neuron's own layer the head still moves the norm's scale, by thousandths
        assert torch.allclose(patched.pre_without[:, column], patched.pre, atol=0.01)
        scores = attribute(model, [neuron] * len(texts), texts)["in"]
        assert scores.by_head[:, column].abs().max() < 1e-5
        rest = [c for c in range(16) if c != column]
        assert scores.by_head[:, rest].abs().max() > 0.01  # others still speak
    assert torch.equal(model.logits(model.batch(texts[:2])), before)


def test_what_the_beginning_left_behind_is_computed_again(model):
    text = [7, 8, 9]
    before = model.activations_at_last([text], [1])[1]
    with cut_off(model, Head(0, 5), Neuron(1, 0)):
        short = model.activations_at_last([text], [1])[1]
        seen, batch = {}, model.batch([text])
        model.read(batch, {"blocks.1.mlp.hook_post": lambda x: seen.update(x=x[:, -1])})
        assert torch.allclose(short, seen["x"], atol=1e-5)
        assert not torch.allclose(short, before, atol=1e-5)
    with pytest.raises(RuntimeError), cut_off(model, Head(0, 5), Neuron(1, 0)):
        raise RuntimeError("an error inside does not leave the model operated")
    assert torch.equal(model.activations_at_last([text], [1])[1], before)
