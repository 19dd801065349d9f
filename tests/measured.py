"""What every step measures on the same rows: what neither a device, nor how many tokens are read
at once, nor workers may change."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tiny
import torch
from inline import defined_in
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.activation import activations
from lookups.measure.attention import looks
from lookups.measure.attribution import attribute
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.measure.routes import logp_without, routes
from lookups.measure.scan import scan
from lookups.model.loaded import Model
from lookups.names import Head, Neuron
from torch import Tensor


def measured(one: Model, n: int = 40) -> dict[str, list[Tensor]]:
    """What is found on `n` rows, on the CPU, by the names of the steps."""
    prompts = tiny.random_ids(n, seed=7, shortest=2, longest=60)
    tokens = [1 + row % 100 for row in range(n)]
    heads = [Head(row % 2, row % 4) for row in range(n)]
    fed = [Neuron(2, 5 * row % 64, one.signs[row % len(one.signs)]) for row in range(n)]
    several = [Neuron(row % 3, row % 64) for row in range(n)]

    def fire(rows, ids):
        return activations(one, [several[row] for row in rows], ids)

    whole = np.maximum(fire(range(n), prompts), 1e-3)
    congruence = defined_in("02_next_token_neurons").congruence
    shortest = defined_in("04_suffixes").shortest_suffixes
    head_kinds = defined_in("06_attention_specialization").head_kinds
    rule = {"longest": 9, "progress": lambda n: None}
    cut = shortest(fire, prompts, whole, lambda now, full: now >= 0.8 * full, **rule)
    maxima = scan(one, tiny.documents(90), [0, 2], strongest=7, per_band=2)
    fires = maxima.strongest.activation[0] > 0.02  # where all is about 0, all is rounding
    means = [mean_over_tokens(one, prompts, range(3), of=of) for of in ("heads", "neurons")]
    mean, donors = mean_at_last(one, prompts), np.roll(np.arange(n), 1)
    of_heads = ["zero", "mean", "resample", "direct_frozen", "direct_recomputed", "through_neuron"]
    of_neurons, silent = ["zero", "mean", "on"], [[head] for head in heads]
    found = {
        "congruence": congruence(one.w_out(1), one.w_u, signs=one.signs),
        "maxima": maxima.strongest.activation,
        "places": [axis.where(fires, 0) for some in maxima[1:3] for axis in some[1:]],
        "frequency": [(90 * maxima.frequency).round().long(), maxima.successors],
        "lengths": np.array([suffix[0] if suffix else 0 for suffix in cut]),
        "activations": whole,
        "attribution": attribute(one, fed, prompts),
        "looks": looks(one, fed[3], heads[:4], prompts[:5]),
        "kinds of heads": head_kinds(one, prompts).to_numpy(copy=True),
        "patched": [path_patch(one, fed, prompts, mean, through_mlps=t) for t in (True, False)],
        "exchanged": path_patch(one, fed, prompts, prompts[::-1], heads=heads[3:0:-1]),
        "heads ablated": ablate(one, prompts, fed, tokens, heads, of_heads,
                                means=means[0], donors=donors),
        "neurons ablated": ablate(one, prompts, several, tokens, fed, of_neurons,
                                  means=means[1], on=[2.0] * n),
        "routes": routes(one, prompts, heads, fed, tokens, [fed[:3]] * n),
        "silenced": logp_without(one, prompts, tokens, silent, [[neuron] for neuron in fed]),
        "no rows": ablate(one, [], [], [], [], ["zero"]),
    }  # fmt: skip
    return {step: list(tensors(each)) for step, each in found.items()}


def tensors(found: Any) -> Iterator[Tensor]:
    """The tensors and arrays in a result, in their order, on the CPU."""
    if isinstance(found, Tensor | np.ndarray):
        yield torch.as_tensor(found).cpu()
    elif isinstance(found, dict | list | tuple):
        for one in found.values() if isinstance(found, dict) else found:
            yield from tensors(one)


def identical(one: Any, other: Any) -> bool:
    """Whether two results are the same to the last bit."""
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.equal(*pair) for pair in pairs)
