"""What every token would bring a neuron if a head looked at it, read off the weights (chapter 11).

With attention A, a head adds A · x̂ · W_V W_O w_in / σ to a neuron's input, where x̂ is the source's
residual behind the norm of the head's layer: that of the embedding alone (`forward.normed(W_E)`),
or a token's mean over texts, taken behind the norm, so that the mean of what is brought is what the
mean brings. What belongs to the reading position is held. The BOS is no source.
"""

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure.activation import Site, batched, check_feed, inputs_of
from lookups.measure.attribution import Input, worth
from lookups.model.loaded import Model, Prompts
from lookups.model.resume import ENTERS
from lookups.names import Head, Neuron


class Held(NamedTuple):
    """The reading position: 1/σ, and what a unit of each input of a gated MLP adds to the product,
    over σ, split evenly as in `attribute`."""

    per_scale: float
    of_gate: float = 0.0
    of_up: float = 0.0


class Residuals(NamedTuple):
    """Mean residuals behind the norms of some layers; position 0 is a text's first token."""

    tokens: Int[Tensor, " token"]
    by_token: dict[int, Float[Tensor, "token d_model"]]
    by_position: dict[int, Float[Tensor, "pos d_model"]]
    overall: dict[int, Float[Tensor, " d_model"]]


def hold(model: Model, neuron: Neuron, sequences: Prompts) -> Held:
    """Return the means, over the last tokens of some prompts, of what has to be held."""
    inputs = inputs_of(model, neuron.layer).values() if model.gated else ()
    names = [Site.SCALE.format(neuron.layer), *inputs]
    seen = model.read_last(sequences, names)
    scale = seen[names[0]].double().flatten()
    held = [torch.ones_like(scale)]
    if model.gated:
        gate, up = (seen[name][:, neuron.index].double() for name in names[1:])
        held += worth(model, gate, up).values()
    return Held(*(float((one / scale).mean()) for one in held))


def directions(
    model: Model, neuron: Neuron, head: Head, held: Held
) -> dict[Input, Float[Tensor, " d_model"]]:
    """Return what x̂ is multiplied by, times the neuron's sign; keys as in `attribute`. ValueError
    if the head does not feed the neuron."""
    check_feed(model, [head], neuron.layer)
    reads = {into: w[:, neuron.index] for into, (w, _) in model.mlp_in(neuron.layer).items()}
    found: dict[Input, Tensor] = {into: one * held.per_scale for into, one in reads.items()}
    if model.gated:
        found["post"] = reads["gate"] * held.of_gate + reads["up"] * held.of_up
    w_v = of_head(model, head, model.forward.layers[head.layer].values.weight)
    w_o = model.w_o(head.layer)[head.index]
    return {into: neuron.sign * (w_o @ one) @ w_v for into, one in found.items()}


@torch.no_grad()
def mean_residuals(
    model: Model, sequences: Prompts, layers: Collection[int], *, fewest: int
) -> Residuals:
    """Average over all tokens of some texts; tokens seen less than `fewest` times have no row."""
    counts = np.bincount(np.concatenate(sequences), minlength=model.d_vocab)
    often = torch.from_numpy(np.flatnonzero(counts >= fewest)).to(model.device)
    n, places = len(often), max(map(len, sequences))
    row = torch.full((model.d_vocab,), n, device=model.device)  # n: the row of all rare tokens
    row[often] = torch.arange(n, device=model.device)
    times = torch.zeros(n + 1 + places, dtype=torch.float64, device=model.device)
    sums = {at: times.new_zeros(len(times), model.d_model) for at in layers}

    def add(layer: int, mask: Tensor, rows: Tensor, entering: Tensor) -> None:
        normed = model.forward.normed(entering)[mask].double()
        sums[layer].index_add_(0, rows, normed.repeat(2, 1))

    for some in batched(model, sequences):
        batch = model.batch([sequences[i] for i in some])
        mask = batch.mask.index_fill(1, batch.last.new_zeros(1), value=False)
        rows = torch.cat([row[batch.ids[mask]], n + mask.nonzero()[:, 1]])
        times += torch.bincount(rows, minlength=len(times))
        model.read(batch, {ENTERS.format(at): partial(add, at, mask, rows) for at in layers})

    def means(rows: slice) -> dict[int, Tensor]:
        return {at: (one[rows] / times[rows, None]).to(model.dtype) for at, one in sums.items()}

    total = times[n + 1 :].sum()
    overall = {at: (one[n + 1 :].sum(0) / total).to(model.dtype) for at, one in sums.items()}
    return Residuals(often, means(slice(n)), means(slice(n + 1, None)), overall)


def of_head(model: Model, head: Head, flat: Float[Tensor, "rows ..."]) -> Float[Tensor, "..."]:
    """Return a head's part of the weights or biases that make keys or values."""
    return flat.unflatten(0, (-1, model.d_head))[model.key_head(head)]
