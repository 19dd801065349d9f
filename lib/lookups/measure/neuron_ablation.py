"""What a token loses without a neuron, and gains when it is switched on (chapters 9 to 11).

`zero` and `mean` hold the neuron at 0 or at its average at every position but the BOS; `on` sets
it at the last token alone, whatever it did there before. Given several tokens, write a row for
each: rows that change the same neuron of a prompt in the same way share one forward pass. Which
neuron is a fair control for another, `nearest_in_size` says.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lookups.measure.intervention import Cases, Edit, Edited, measure_edits
from lookups.measure.means import Means
from lookups.measure.substitution import Substitution
from lookups.model.batches import Ids
from lookups.model.loaded import Model
from lookups.names import Neuron

NeuronKind = Literal["zero", "mean", "on"]


def ablate_neurons(
    model: Model,
    prompts: Sequence[Ids],
    neurons: Sequence[Neuron],
    token_ids: Sequence[int],
    kinds: Sequence[NeuronKind],
    *,
    means: Means | None = None,
    on: Sequence[float] | Float[np.ndarray, " row"] | None = None,
    tokens_per_batch: int | None = None,
) -> Edited:
    """Measure every row's token as it is and with the row's neuron held at a value.

    `means` is for `mean`; `on` has the activation, times the neuron's sign, that `on` sets. The
    activation measured afterwards is the value that was set. The pre-activation stays as it was:
    what a neuron writes reaches later layers only.

    Raises:
        ValueError: columns differ in length, or means or activations are missing.
    """
    edits: dict[str, Edit] = {}
    for kind in kinds:
        where = "last" if kind == "on" else "behind_bos"
        values = _values(model, neurons, kind, means, on)
        layers = np.array([neuron.layer for neuron in neurons], dtype=np.int64)
        indices = np.array([neuron.index for neuron in neurons], dtype=np.int64)
        keys = values.double().cpu().numpy()
        edits[kind] = Substitution("mlp.hook_post", layers, indices, values, where,
                                   model.n_layers, keys)  # fmt: skip
    cases = Cases(prompts, neurons, token_ids)
    return measure_edits(model, cases, edits, tokens_per_batch=tokens_per_batch)


def nearest_in_size(
    sizes: Float[np.ndarray, " neuron"],
    own: int,
    *,
    factor: float,
    barred: Collection[int] = (),
) -> int | None:
    """Return the neuron whose size is nearest to that of `own` in ratio, None if none is within.

    Since every chosen size lies within `factor` of its partner's, so do the medians of both.
    """
    if not sizes[own] > 0:
        return None
    away = np.full(len(sizes), np.inf)
    positive = sizes > 0
    away[positive] = np.abs(np.log(sizes[positive] / sizes[own]))
    away[[own, *barred]] = np.inf
    nearest = int(away.argmin())
    return nearest if away[nearest] <= np.log(factor) else None


def _values(
    model: Model,
    neurons: Sequence[Neuron],
    kind: NeuronKind,
    means: Means | None,
    on: Sequence[float] | np.ndarray | None,
) -> Float[Tensor, " row"]:
    """The activation, sign not turned, at which each row's neuron is held."""
    if kind == "zero":
        return torch.zeros(len(neurons), dtype=model.dtype, device=model.device)
    if kind == "mean":
        if means is None:
            raise ValueError("mean ablation needs the neurons' means; use measure_means")
        layers = [means.of_layer(neuron.layer) for neuron in neurons]
        return means.post[layers, [neuron.index for neuron in neurons]]
    if on is None or len(on) != len(neurons):
        raise ValueError("switching on needs an activation for every row; give `on`")
    signed = [neuron.sign * float(value) for neuron, value in zip(neurons, on, strict=True)]
    return torch.tensor(signed, dtype=model.dtype, device=model.device)
