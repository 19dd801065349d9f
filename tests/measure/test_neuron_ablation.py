"""Neurons held at a value equal whole forward passes, one prompt at a time; `on` raises its token.

The planted model's neurons write targets of a known language, so what switching on should do is
known too.
"""

import numpy as np
import pytest
import torch
from lookups.corpus.grammar import GRAMMAR, minimal_pairs
from lookups.measure.activation import activations
from lookups.measure.means import measure_means
from lookups.measure.neuron_ablation import ablate_neurons, nearest_in_size
from lookups.model import resume as resuming
from lookups.model.loaded import Model, load_model
from lookups.names import Neuron
from tiny import LAYERS, VARIANTS, VOCAB, model, random_ids

TEXTS = random_ids(12, seed=82, shortest=2)
KINDS = ("zero", "mean", "on")


def naive_pass(one: Model, ids, neuron: Neuron, token: int, positions, value) -> tuple:
    """One prompt, no padding, every layer, all logits; the log-probability and the activation."""
    seen = []

    def hold(post, hook):
        post = post.clone()
        post[0, positions, neuron.index] = value
        seen.append(neuron.sign * float(post[0, -1, neuron.index]))
        return post

    hooks = [(f"blocks.{neuron.layer}.mlp.hook_post", hold)]
    with torch.no_grad():
        logits = one.bridge.run_with_hooks(torch.tensor([[0, *ids]]), fwd_hooks=hooks)
    return float(logits[0, -1].double().log_softmax(-1)[token]), seen[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_equals_one_whole_pass_at_a_time(name):
    one, n = model(name), 18
    rng = np.random.default_rng(81)
    prompts = random_ids(n, seed=81, longest=25)
    neurons = [
        Neuron(at % LAYERS, int(rng.integers(one.d_mlp)), int(rng.choice(one.signs)))
        for at in range(n)
    ]
    tokens = rng.integers(1, VOCAB, size=n).tolist()
    on = rng.uniform(5, 20, size=n)
    means = measure_means(one, TEXTS, range(LAYERS))
    found = ablate_neurons(
        one, prompts, neurons, tokens, KINDS, means=means, on=on, tokens_per_batch=150
    )
    fired = activations(one, neurons, prompts)
    assert np.abs(found.before.act - fired).max() < 1e-5
    for at, (ids, neuron, token) in enumerate(zip(prompts, neurons, tokens, strict=True)):
        held = {
            "zero": (slice(1, None), 0),
            "mean": (slice(1, None), means.post[neuron.layer, neuron.index]),
            "on": (-1, neuron.sign * on[at]),
        }
        for kind in KINDS:
            logp, act = naive_pass(one, ids, neuron, token, *held[kind])
            assert found.after[kind].logp[at] == pytest.approx(logp, abs=1e-5)
            assert found.after[kind].p[at] == pytest.approx(np.exp(logp), abs=1e-5)
            assert found.after[kind].act[at] == pytest.approx(act, abs=1e-5)
    for kind in KINDS:
        assert np.abs(found.after[kind].pre - found.before.pre).max() < 1e-5
        assert np.abs(found.after[kind].logp - found.before.logp).max() > 1e-3


def test_tokens_share_a_pass(monkeypatch):
    one, runs = model("gpt2"), []
    original = resuming.resume

    def counted(one, place, *rest):
        runs.append(len(place.prompts))
        return original(one, place, *rest)

    monkeypatch.setattr("lookups.measure.intervention.resume", counted)
    ablate_neurons(one, [[5, 6]] * 40, [Neuron(0, 3)] * 40, range(40), ["on"], on=[2.0] * 40)
    assert runs == [1]
    ablate_neurons(one, [[5, 6]] * 2, [Neuron(0, 3)] * 2, [1, 1], ["on"], on=[2.0, 3.0])
    assert runs == [1, 2]


def test_a_control_is_within_the_factor_and_so_are_the_medians():
    """Sizes spread over many powers of ten, as activations are; some neurons have no partner."""
    random = np.random.default_rng(0)
    for factor in (1.1, 2.0):
        own, other, without = [], [], 0
        for _ in range(200):
            sizes = np.exp(random.normal(scale=2, size=60))
            sizes[random.integers(60, size=5)] = 0
            mine = int(sizes.argsort()[random.integers(50, 60)])
            barred = random.integers(60, size=3).tolist()
            found = nearest_in_size(sizes, mine, factor=factor, barred=barred)
            allowed = np.setdiff1d(np.flatnonzero(sizes > 0), [mine, *barred])
            ratios = np.maximum(sizes[allowed] / sizes[mine], sizes[mine] / sizes[allowed])
            if found is None:
                without += 1
                assert ratios.min() > factor
                continue
            assert found in allowed
            assert max(sizes[found] / sizes[mine], sizes[mine] / sizes[found]) == ratios.min()
            own.append(sizes[mine])
            other.append(sizes[found])
        assert 0 < without < 200
        assert 1 / factor <= np.median(other) / np.median(own) <= factor


def test_a_neuron_that_writes_nothing_has_no_control():
    assert nearest_in_size(np.array([0.0, 1.0, 0.0]), 0, factor=2.0) is None
    assert nearest_in_size(np.array([1.0]), 0, factor=2.0) is None
    assert nearest_in_size(np.array([1.0, 1.0]), 0, factor=2.0, barred=[1]) is None


def test_what_is_missing_is_said():
    row = [[5]], [Neuron(1, 3)], [7]
    with pytest.raises(ValueError, match="use measure_means"):
        ablate_neurons(model("gpt2"), *row, ["mean"])
    with pytest.raises(ValueError, match="an activation for every row; give `on`"):
        ablate_neurons(model("gpt2"), *row, ["on"])
    with pytest.raises(ValueError, match="an activation for every row; give `on`"):
        ablate_neurons(model("gpt2"), *row, ["on"], on=[1.0, 2.0])


def switched_on(prompts, neuron, value):
    """The mean change in log-probability of every target, when a neuron is set to a value."""
    targets = [GRAMMAR.ids[target] for target in GRAMMAR.targets]
    rows = [list(ids) for ids in prompts for _ in targets]
    found = ablate_neurons(
        load_model("planted-0"),
        rows,
        [neuron] * len(rows),
        targets * len(prompts),
        ["on"],
        on=[value] * len(rows),
    )
    change = found.after["on"].logp - found.before.logp
    return dict(zip(targets, change.reshape(len(prompts), -1).mean(0), strict=True))


@pytest.mark.parametrize("target", GRAMMAR.targets)
def test_a_planted_neuron_speaks_for_its_token(target):
    """The neuron that writes a target most strongly where it is called for, switched on where
    another is called for: its own target gains, and more than the others on average. (Not always
    more than each: switching a neuron on also changes the norm's scale, and so all logits.)"""
    one, layer, token = load_model("planted-0"), 1, GRAMMAR.ids[target]
    pairs = minimal_pairs(GRAMMAR, "topic", token, 30)
    called = [pair.cued for pair in pairs]
    post = one.activations_at_last(called, [layer])[layer].mean(0)
    neuron = Neuron(layer, int((post * (one.w_out(layer) @ one.w_u[:, token])).argmax()))
    gained = switched_on([pair.other for pair in pairs], neuron, float(post[neuron.index]))
    own = gained.pop(token)
    assert own > 0
    assert own > np.mean(list(gained.values()))
