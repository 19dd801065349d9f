"""What every token would bring a neuron if a head looked at it, read off the weights (chapter 11).

With attention A to a source, a head adds A · x̂ · W_V W_O w_in / σ to a neuron's input, where x̂ is
the source's residual behind the norm of the head's layer. So one direction tells what any source
would bring. A token's x̂ is that of its embedding alone (`forward.normed(W_E)`), or the mean over
its occurrences in texts. Means are taken behind the norm: each residual has its own scale, and the
mean of what is brought is what the mean brings. σ, and in a gated MLP what its two inputs are worth
to their product, belong to the reading position; they are held. Sources do not count the BOS.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from lookups.errors import LookupsError
from lookups.measure.activation import batched, keeper
from lookups.measure.attribution import SCALE, Input
from lookups.model.batches import Ids
from lookups.model.forward import turned
from lookups.model.loaded import Model
from lookups.names import Head, Neuron

ENTERS = "blocks.{}.hook_resid_pre"
Part = Literal["position", "token", "context"]
PARTS: tuple[Part, ...] = get_args(Part)


class Held(NamedTuple):
    """What the reading position is held at: 1/σ; for the product of a gated MLP also what a unit
    of its gate and of its other input is worth, over σ, split evenly as in `attribute`."""

    per_scale: float
    of_gate: float = 0.0
    of_up: float = 0.0


class Residuals(NamedTuple):
    """Mean residuals entering some layers, behind the norm of each, over the tokens of texts.

    `tokens` are those seen often enough. Position 0 is a text's first token.
    """

    tokens: Int[Tensor, " token"]
    by_token: dict[int, Float[Tensor, "token d_model"]]
    by_position: dict[int, Float[Tensor, "pos d_model"]]
    overall: dict[int, Float[Tensor, " d_model"]]


def hold(model: Model, neuron: Neuron, sequences: Sequence[Ids]) -> Held:
    """Return the means, over the last tokens of some prompts, of what has to be held."""
    mlp = f"blocks.{neuron.layer}.mlp.hook_pre"
    names = [SCALE.format(neuron.layer), *([mlp, f"{mlp}_linear"] if model.gated else [])]
    seen = model.read_last(sequences, names)
    scale = seen[names[0]].double().flatten()
    gate_up = [seen[name][:, neuron.index].double() for name in names[1:]]
    worth = [torch.ones_like(scale)]
    for gate, up in [gate_up] if model.gated else []:
        worth += [model.act_over_gate(gate) * up / 2, model.act(gate) / 2]
    return Held(*(float((one / scale).mean()) for one in worth))


def directions(
    model: Model, neuron: Neuron, head: Head, held: Held
) -> dict[Input, Float[Tensor, " d_model"]]:
    """Return what a source's x̂ is multiplied by for each input of a neuron, times its sign.

    Keys as in `attribute`: `in`; for a gated MLP `gate`, `up` and their product, `post`.
    LookupsError if the head does not feed the neuron.
    """
    if head.layer not in model.head_layers(neuron.layer):
        raise LookupsError(f"{head} does not feed {neuron}; choose a head before it")
    reads = {into: w[:, neuron.index] for into, (w, _) in model.mlp_in(neuron.layer).items()}
    found: dict[Input, Tensor] = {into: one * held.per_scale for into, one in reads.items()}
    if model.gated:
        found["post"] = reads["gate"] * held.of_gate + reads["up"] * held.of_up
    w_v = _of_head(model, head, model.forward.layers[head.layer].values.weight)
    w_o = model.w_o(head.layer)[head.index]
    return {into: neuron.sign * (w_o @ one) @ w_v for into, one in found.items()}


@torch.no_grad()
def mean_residuals(
    model: Model, sequences: Sequence[Ids], layers: Collection[int], *, fewest: int
) -> Residuals:
    """Average over all tokens of some texts; tokens seen less than `fewest` times have no row."""
    lengths, flat = np.array([len(ids) for ids in sequences]), np.concatenate(sequences)
    counts = np.bincount(flat, minlength=model.d_vocab)
    often, places = np.flatnonzero(counts >= fewest), np.arange(lengths.max())
    # rows of sums: tokens seen often, then one for all others, then positions
    n, tokens = len(often), torch.from_numpy(often).to(model.device)
    row = torch.full((model.d_vocab,), n, device=model.device)
    row[tokens] = torch.arange(n, device=model.device)
    sums = {at: tokens.new_zeros(n + 1 + len(places), model.d_model).double() for at in layers}

    def add(layer: int, mask: Tensor, rows: Sequence[Tensor], entering: Tensor) -> None:
        normed = model.forward.normed(entering)[mask].double()
        for some in rows:
            sums[layer].index_add_(0, some, normed)

    for some in batched(model, sequences):
        batch = model.batch([sequences[i] for i in some])
        mask = batch.mask.clone()
        mask[:, 0] = False
        rows = row[batch.ids[mask]], n + mask.nonzero()[:, 1]
        model.read(batch, {ENTERS.format(at): partial(add, at, mask, rows) for at in layers})
    times = np.concatenate([counts[often], [1], (lengths[:, None] > places).sum(0)])[:, None]
    means = {at: one / torch.from_numpy(times).to(one.device) for at, one in sums.items()}
    overall = {at: one[n + 1 :].sum(0) / len(flat) for at, one in sums.items()}
    by_token = {at: one[:n] for at, one in means.items()}
    by_position = {at: one[n + 1 :] for at, one in means.items()}
    found = by_token, by_position, overall
    return Residuals(tokens, *({at: m.to(model.dtype) for at, m in one.items()} for one in found))


@torch.no_grad()
def split_scores(
    model: Model, head: Head, ids: Ids, residuals: Residuals
) -> Float[Tensor, "part source"]:
    """Split the attention scores of a prompt's last token by what its sources' keys come from.

    The three sum to the score before the softmax: *position*, the key of the mean residual at that
    position; *token*, how the token's own mean departs from that of all; *context*, the rest of the
    source's residual. A token or position without a mean has that of all tokens.
    """
    seen: dict[str, Tensor] = {}
    batch, at = model.batch([ids]), head.layer
    model.read(batch, {ENTERS.format(at): keeper(seen, "x")})
    own = model.forward.normed(seen["x"][0])
    parts = residuals.overall[at].repeat(len(PARTS), len(ids), 1)
    known = residuals.by_position[at][: len(ids)]
    parts[0, : len(known)] = known
    source, row = (batch.ids[0, 1:, None] == residuals.tokens).nonzero(as_tuple=True)
    parts[1, source] = residuals.by_token[at][row]
    parts[1] -= residuals.overall[at]
    parts[2] = own[1:] - parts[0] - parts[1]
    layer = model.forward.layers[at]
    keys = parts @ _of_head(model, head, layer.keys.weight).T
    if layer.keys.bias is not None:
        keys[0] += _of_head(model, head, layer.keys.bias)
    query = layer.queries(own[-1:]).unflatten(-1, (-1, model.d_head))[:, head.index]
    place = torch.arange(len(own), device=own.device)[None]
    keys = turned(keys[:, :, None], model.forward.turn_at(place[:, 1:], own))
    query = turned(query[None, :, None], model.forward.turn_at(place[:, -1:], own))
    return layer.scaling * einsum(keys, query, "part source h d, one pos h d -> part source")


def _of_head(model: Model, head: Head, flat: Float[Tensor, "rows ..."]) -> Float[Tensor, "..."]:
    """A head's part of keys or values: with grouped queries, several heads share one."""
    by_head = flat.unflatten(0, (-1, model.d_head))
    return by_head[head.index * len(by_head) // model.n_heads]
