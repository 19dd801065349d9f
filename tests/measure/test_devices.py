"""Every measuring step gives on a GPU what it gives on the CPU, for every architecture.

Weights are float32 on both, and kernels add in another order: numbers agree within 1e-4 of the
largest of their kind. Choices (a token, a document, a length), which are whole numbers, agree but
for one in twenty, since the numbers that they rest on may lie next to each other.
"""

import functools

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.activation import activations, shortest_suffixes
from lookups.measure.attention import head_kinds, looks
from lookups.measure.attribution import attribute
from lookups.measure.congruence import congruence
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.measure.routes import logp_without, routes
from lookups.measure.scan import scan
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
from lookups.settings import ModelSpec

OTHER = "cuda"
PROMPTS = tiny.random_ids(12, seed=91, shortest=2, longest=18)
TOKENS, HEADS = list(range(20, 32)), [Head(at % 2, at % 4) for at in range(12)]


@functools.cache
def elsewhere(name: str) -> Model:
    return load_model(ModelSpec(name=str(tiny.folder(name)), device=OTHER))


def neurons_of(one: Model) -> list[Neuron]:
    """In the last layer, which all HEADS feed; with both signs where there are two."""
    return [Neuron(2, 5 * at, one.signs[at % len(one.signs)]) for at in range(12)]


def scanned(one: Model):
    found = scan(one, tiny.documents(), [0, 2], strongest=5, per_band=2)
    fires = found.strongest.activation[0] > 0.02  # where all is about 0, all is rounding
    yield congruence(one.w_out(1), one.w_u, signs=one.signs)
    yield [found.strongest.activation[:, fires], found.strongest.document[:, fires]]
    yield [found.spread.document[:, fires], (40 * found.frequency[fires.cpu()]).round().long()]


def cut(one: Model):
    neurons = neurons_of(one)
    whole = activations(one, neurons, PROMPTS)
    rows = np.flatnonzero(whole > 0)
    found = shortest_suffixes(
        lambda some, ids: activations(one, [neurons[rows[row]] for row in some], ids),
        [PROMPTS[row] for row in rows], whole[rows], lambda now, full: now >= 0.8 * full, longest=9,
    )  # fmt: skip
    yield [whole, [0 if one is None else one.length for one in found]]


def attributed(one: Model):
    yield from (parts[2:] for parts in attribute(one, neurons_of(one), PROMPTS).values())
    yield from (look[1:] for look in looks(one, neurons_of(one)[3], HEADS[:4], PROMPTS[:5]))
    yield [head_kinds(one, PROMPTS).to_numpy(copy=True)]


def patched(one: Model):
    mean, neurons = mean_at_last(one, PROMPTS), neurons_of(one)
    yield path_patch(one, neurons, PROMPTS, PROMPTS[::-1])[1:]
    yield from (path_patch(one, neurons, PROMPTS, mean, through_mlps=t)[1:] for t in (True, False))


def ablated(one: Model):
    neurons, of_heads = neurons_of(one), ["mean", "resample", "direct_frozen", "direct_recomputed"]
    for of, units, kinds in (("heads", HEADS, of_heads), ("neurons", neurons, ["mean", "on"])):
        means = mean_over_tokens(one, PROMPTS, range(3), of=of)
        options = {"means": means, "donors": np.roll(np.arange(12), 1), "on": [2.0] * 12}
        kinds = ["zero", *kinds, "through_neuron"]
        found = ablate(one, PROMPTS, neurons, TOKENS, units, kinds, **options)
        yield from ([one for one in part if one is not None] for part in found.after.values())


def routed(one: Model):
    neurons = neurons_of(one)
    yield routes(one, PROMPTS, HEADS, neurons, TOKENS, [neurons[:3]] * 12)
    units = [[head] for head in HEADS], [[neuron] for neuron in neurons]
    yield [logp_without(one, PROMPTS, TOKENS, *units)]


@pytest.mark.skipif(
    OTHER == "cuda" and not torch.cuda.is_available(), reason="NOT RUN: no CUDA device"
)
@pytest.mark.parametrize("step", [scanned, cut, attributed, patched, ablated, routed])
@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_step_gives_there_what_it_gives_on_the_cpu(name, step, monkeypatch):
    monkeypatch.delenv("LOOKUPS_DEVICE", raising=False)  # it would put both on one device
    assert elsewhere(name).device.type == OTHER
    for both in zip(step(tiny.model(name)), step(elsewhere(name)), strict=True):
        for ours, theirs in zip(*both, strict=True):
            ours, theirs = (torch.as_tensor(one).cpu() for one in (ours, theirs))
            assert ours.shape == theirs.shape
            if ours.is_floating_point():
                close = 1e-4 * float(ours[ours.isfinite()].abs().max())
                assert torch.allclose(ours.double(), theirs.double(), rtol=0, atol=close)
            else:
                assert (ours == theirs).double().mean() > 0.95
