"""Where does a head look, and what does it bring the neuron from there? (chapter 6)

A head's output at the last token is Σ over keys of pattern · value. Projected onto the neuron's
input, each term is what the head reads at that key; the terms sum to the head's attribution.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

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
    """Return the attention of some heads and what each key brings one neuron at the last token.

    `into` is the neuron's input: by default `in`, for a gated MLP the product `post`.

    Raises:
        ValueError: a head does not feed the neuron, or the MLP has no such input.
    """
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

    Raises:
        ValueError: a head does not feed the neuron, or the MLP has no such input.
    """
    outside = [str(head) for head in heads if head.layer not in model.head_layers(neuron.layer)]
    if outside:
        raise ValueError(f"{', '.join(outside)} do not feed {neuron}: choose heads before it")
    names = {f"blocks.{neuron.layer}.ln2.hook_scale": "scale"}
    if model.gated:
        names |= {f"blocks.{neuron.layer}.mlp.hook_pre": "gate"}
        names |= {f"blocks.{neuron.layer}.mlp.hook_pre_linear": "up"}
    for layer in sorted({head.layer for head in heads}):
        names[f"blocks.{layer}.attn.hook_pattern"] = f"pattern{layer}"
        names[f"blocks.{layer}.attn.hook_v"] = f"v{layer}"
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        def take(tensor: Tensor) -> None:
            seen[name] = tensor.clone()

        return take

    batch = model.batch(sequences, bos=bos)
    model.read(batch, {hook: keep(name) for hook, name in names.items()})
    found = []
    for row, last in enumerate(batch.last.tolist()):
        own = {name: _without_padding(name, tensor[row], last) for name, tensor in seen.items()}
        found.append(_look_of(model, neuron, heads, own, into))
    return found


def _without_padding(name: str, tensor: Tensor, last: int) -> Tensor:
    """Cut one prompt's tensor after its last token; a pattern has the tokens on two axes."""
    size = last + 1
    return tensor[:, :size, :size] if name.startswith("pattern") else tensor[:size]


def _look_of(
    model: Model,
    neuron: Neuron,
    heads: Sequence[Head],
    seen: dict[str, Tensor],
    into: Input | None,
) -> Look:
    """Put together what was seen of one prompt."""
    direction = _direction(model, neuron, seen, into) / seen["scale"][-1]
    patterns, contributions = [], []
    for head in heads:
        pattern = seen[f"pattern{head.layer}"][head.index]
        value = _values(seen[f"v{head.layer}"], model)[:, head.index]
        read = einsum(
            model.w_o(head.layer)[head.index], direction, "d_head d_model, d_model -> d_head"
        )
        brought = einsum(value, read, "key d_head, d_head -> key")
        patterns.append(pattern)
        contributions.append(pattern[-1] * brought * neuron.sign)
    return Look(list(heads), torch.stack(patterns), torch.stack(contributions))


def _values(v: Tensor, model: Model) -> Float[Tensor, "key head d_head"]:
    """Give every head its own values; grouped-query attention shares them among heads."""
    v = v.reshape(len(v), -1, model.d_head)
    shared = model.n_heads // v.shape[1]
    return repeat(v, "key kv d_head -> key (kv shared) d_head", shared=shared)


def _direction(
    model: Model, neuron: Neuron, seen: dict[str, Tensor], into: Input | None
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
    gate, up = (seen[name][-1, neuron.index] for name in ("gate", "up"))
    return (model.act(gate) * weights["up"] + model.act_over_gate(gate) * up * weights["gate"]) / 2
