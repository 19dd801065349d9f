"""Where does a head look, and what does it bring the neuron from there? (chapter 6)

A head's output at the last token is Σ over keys of pattern · value. Projected onto the neuron's
input, each term is what the head reads at that key; the terms sum to the head's attribution.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from lookups.measure.activation import keeper
from lookups.measure.attribution import Input
from lookups.model.batches import Ids
from lookups.model.loaded import Model
from lookups.names import Head, Neuron


class Look(NamedTuple):
    """How some heads look back from the last token of one prompt.

    The key axis begins with the beginning-of-sequence token.
    """

    heads: list[Head]
    pattern: Float[Tensor, "head query key"]
    """Attention of every position, for views."""
    contribution: Float[Tensor, "head key"]
    """Attention from the last token times what the value there writes into the neuron's input."""

    @property
    def attribution(self) -> Float[Tensor, " head"]:
        """The heads' attributions: contributions summed over keys."""
        return self.contribution.sum(1)


def look(
    model: Model,
    neuron: Neuron,
    heads: Sequence[Head],
    ids: Ids,
    *,
    into: Input | None = None,
    bos: bool = True,
) -> Look:
    """Return the attention of some heads, and what each key brings one neuron, on one prompt."""
    return looks(model, neuron, heads, [ids], into=into, bos=bos)[0]


def looks(
    model: Model,
    neuron: Neuron,
    heads: Sequence[Head],
    sequences: Sequence[Ids],
    *,
    into: Input | None = None,
    bos: bool = True,
) -> list[Look]:
    """Look back from the last token of several prompts, all in one pass, in their order.

    `into` is the neuron's input: by default `in`, for a gated MLP the product `post`.

    Raises:
        ValueError: a head does not feed the neuron, or the MLP has no such input.
    """
    outside = [str(head) for head in heads if head.layer not in model.head_layers(neuron.layer)]
    if outside:
        raise ValueError(f"{', '.join(outside)} do not feed {neuron}: choose heads before it")
    names = {"scale": f"blocks.{neuron.layer}.ln2.hook_scale"}
    if model.gated:
        mlp = f"blocks.{neuron.layer}.mlp"
        names |= {"gate": f"{mlp}.hook_pre", "up": f"{mlp}.hook_pre_linear"}
    for at in sorted({head.layer for head in heads}):
        names |= {f"pattern{at}": f"blocks.{at}.attn.hook_pattern"}
        names |= {f"v{at}": f"blocks.{at}.attn.hook_v"}
    seen: dict[str, Tensor] = {}
    batch = model.batch(sequences, bos=bos)
    model.read(batch, {hook: keeper(seen, name) for name, hook in names.items()})
    found = []
    for row, size in enumerate((batch.last + 1).tolist()):  # what follows is padding
        own = {name: tensor[row] for name, tensor in seen.items()}
        direction = _direction(model, neuron, own, size - 1, into) / own["scale"][size - 1]
        patterns = [own[f"pattern{head.layer}"][head.index, :size, :size] for head in heads]
        brought = []
        for head, pattern in zip(heads, patterns, strict=True):
            w_o = model.w_o(head.layer)[head.index]
            read = einsum(w_o, direction, "d_head d_model, d_model -> d_head")
            value = _values(own[f"v{head.layer}"][:size], model)[:, head.index]
            value = einsum(value, read, "key d_head, d_head -> key")
            brought.append(pattern[-1] * value * neuron.sign)
        found.append(Look(list(heads), torch.stack(patterns), torch.stack(brought)))
    return found


def _values(v: Tensor, model: Model) -> Float[Tensor, "key head d_head"]:
    """Give every head its own values; grouped-query attention shares them among heads."""
    v = v.reshape(len(v), -1, model.d_head)
    shared = model.n_heads // v.shape[1]
    return repeat(v, "key kv d_head -> key (kv shared) d_head", shared=shared)


def _direction(
    model: Model, neuron: Neuron, seen: Mapping[str, Tensor], last: int, into: Input | None
) -> Float[Tensor, " d_model"]:
    """The direction whose dot product with a part is the part's share of the input, times σ."""
    weights = {
        name: weight[:, neuron.index] for name, (weight, _) in model.mlp_in(neuron.layer).items()
    }
    into = into or ("post" if model.gated else "in")
    if into in weights:
        return weights[into]
    if into != "post" or not model.gated:
        raise ValueError(f"{neuron} has no input {into!r}; it has {', '.join(weights)}")
    gate, up = (seen[name][last, neuron.index] for name in ("gate", "up"))
    return (model.act(gate) * weights["up"] + model.act_over_gate(gate) * up * weights["gate"]) / 2
