"""Neither the device nor how many tokens are read at once changes what is measured.

Weights are float32 everywhere, and kernels add in another order: numbers agree within a small share
of the largest of their kind. Choices (a document, a length), which are whole numbers, agree but for
one in twenty, since the numbers that they rest on may lie next to each other. How many tokens are
read at once changes not even the last bit, where the processor's library can be told so (Intel's).
"""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from lookups.measure.activation import activations
from lookups.model.loaded import Model, load_model
from lookups.settings import ModelSpec
from measured import identical, measured
from tiny import ARCHITECTURES, folder, model, random_ids

OTHER, PACKAGED = "cuda", "SmolLM2-135M-Instruct"
ROUNDED = 2**-13
"""Apart by one step: maxima are rounded to 15 bits before they are compared."""


def check_close(found, expected, within: float) -> None:
    for step in expected:
        for ours, theirs in zip(found[step], expected[step], strict=True):
            assert ours.shape == theirs.shape, step
            if ours.numel() and ours.is_floating_point():
                share = max(within, ROUNDED) if step == "maxima" else within
                close = share * float(theirs[theirs.isfinite()].abs().max())
                assert torch.allclose(ours.double(), theirs.double(), rtol=0, atol=close), step
            elif ours.numel():
                assert (ours == theirs).double().mean() > 0.95, step


@pytest.mark.skipif(
    OTHER == "cuda" and not torch.cuda.is_available(), reason="NOT RUN: no CUDA device"
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_step_gives_there_what_it_gives_on_the_cpu(name, monkeypatch):
    monkeypatch.delenv("LOOKUPS_DEVICE", raising=False)  # it would put both on one device
    elsewhere = load_model(ModelSpec(name=str(folder(name)), device=OTHER))
    assert elsewhere.device.type == OTHER
    check_close(measured(elsewhere), measured(model(name)), within=1e-4)


@pytest.mark.parametrize("name", [*ARCHITECTURES, pytest.param(PACKAGED, marks=pytest.mark.slow)])
def test_four_and_sixteen_times_the_tokens_give_the_same_to_the_last_bit(name, monkeypatch):
    one, found = load_model(PACKAGED) if name == PACKAGED else model(name), []
    for tokens in (256, 4096) if name == PACKAGED else (64, 256, 1024):
        monkeypatch.setattr(Model, "tokens", lambda self, tokens=tokens: tokens)
        found.append(measured(one, n=6 if name == PACKAGED else 40))
    for step, more in product(found[0], found[1:]):
        if rows_alone_are_rows_of_many():
            assert identical(more[step], found[0][step]), step
        else:
            check_close({step: more[step]}, {step: found[0][step]}, within=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_prompt_is_read_alone_as_among_others(name):
    one, prompts = model(name), [[], [5], [5, 6], [7] * 23, *random_ids(20, seed=3, longest=40)]
    neurons, close = one.neurons([2])[: len(prompts)], 0 if rows_alone_are_rows_of_many() else 1e-5
    alone = [activations(one, [own], [ids])[0] for own, ids in zip(neurons, prompts, strict=True)]
    assert activations(one, neurons, prompts) == pytest.approx(alone, rel=0, abs=close)


def rows_alone_are_rows_of_many() -> bool:
    rows, weight = torch.randn(300, 600), torch.randn(200, 600)
    return torch.equal(F.linear(rows[:1], weight), F.linear(rows, weight)[:1])
