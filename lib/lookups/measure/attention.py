"""Where does a head look, and what does it bring from there? (chapter 6)"""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lookups.measure.activation import Site, check_feed, inputs_of, keeper
from lookups.measure.attribution import Input, worth
from lookups.model.batches import Ids
from lookups.model.loaded import Model, Prompts
from lookups.names import Head, Heads, Neuron


class Look(NamedTuple):
    """How some heads look back from the last token of one prompt; the BOS is the first key.

    A contribution is attention from the last token times what the value there writes into the
    neuron's input; over keys they sum to the head's attribution. The pattern has all positions.
    """

    heads: list[Head]
    pattern: Float[Tensor, "head query key"]
    contribution: Float[Tensor, "head key"]

    @property
    def attribution(self) -> Float[Tensor, " head"]:
        return self.contribution.sum(1)


def look(
    model: Model, neuron: Neuron, heads: Heads, ids: Ids, *, into: Input | None = None
) -> Look:
    """Return the attention of some heads, and what each key brings one neuron, on one prompt."""
    return looks(model, neuron, heads, [ids], into=into)[0]


def looks(
    model: Model, neuron: Neuron, heads: Heads, sequences: Prompts, *, into: Input | None = None
) -> list[Look]:
    """Look back from the last token of several prompts, all in one pass, in their order.

    `into` is the neuron's input: by default `in`, for a gated MLP the product `post`. ValueError if
    a head does not feed the neuron.
    """
    check_feed(model, heads, neuron.layer)
    scale, inputs = Site.SCALE.format(neuron.layer), inputs_of(model, neuron.layer)
    reads = {name: w[:, neuron.index] for name, (w, _) in model.mlp_in(neuron.layer).items()}
    into = into or ("post" if model.gated else "in")
    layers = sorted({head.layer for head in heads})
    names = [hook.format(at) for at in layers for hook in (Site.PATTERN, Site.VALUES)]
    seen: dict[str, Tensor] = {}
    batch = model.batch(sequences)
    model.read(batch, {name: keeper(seen, name) for name in [*names, scale, *inputs.values()]})
    found = []
    for row, last in enumerate(batch.last.tolist()):
        own, size = {name: tensor[row] for name, tensor in seen.items()}, last + 1
        if into == "post":
            each = worth(model, *(own[hook][last, neuron.index] for hook in inputs.values()))
            reads["post"] = sum(each[name] * reads[name] for name in each)
        direction = reads[into] / own[scale][last]
        patterns, brought = [], []
        for head in heads:  # what stands behind the last token is padding
            patterns.append(own[Site.PATTERN.format(head.layer)][head.index, :size, :size])
            values = own[Site.VALUES.format(head.layer)][:size]
            of_head = einsum(model.w_o(head.layer)[head.index], direction, "z d, d -> z")
            value = einsum(values[:, model.key_head(head)], of_head, "key z, z -> key")
            brought.append(patterns[-1][-1] * value * neuron.sign)
        found.append(Look(list(heads), torch.stack(patterns), torch.stack(brought)))
    return found
