"""What do attention heads add to a neuron's input? Parts that sum to the whole (chapter 5).

At the last token of a prompt, pre-activation = Σ parts · W_in / σ + b_in. Parts are the embeddings,
every head without its value bias, one bias a layer (b_O + b_V W_O), every earlier MLP, and b_in,
which is not divided. W_O is contracted with W_in beforehand, so no head's output is ever held at
d_model width. Gated MLPs have two inputs and a product, which is split evenly between them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lookups.measure.activation import batched
from lookups.model.batches import Ids
from lookups.model.loaded import Model
from lookups.names import Head, Neuron

Input = Literal["in", "gate", "up", "post"]

EMBED, POSITION, SCALE = "hook_embed", "hook_pos_embed", "blocks.{}.ln2.hook_scale"
Z, POST, WRITTEN = "blocks.{}.attn.hook_z", "blocks.{}.mlp.hook_post", "blocks.{}.hook_mlp_out"
"""What stands where, in TransformerLens's names: heads' outputs (without their value bias),
neurons' activations, what an MLP writes."""


class Attribution(NamedTuple):
    """One input of a neuron at the last token, taken apart; everything times the neuron's sign.

    The head axis has all heads that feed the neuron by the architecture, the part axis `embed`,
    `pos_embed`, `L0.attn_bias`, `L0.mlp`, …, `b_in`. `total` is the measured input: pre-activation
    for `in`, `gate` and `up`, activation for `post`.
    """

    heads: list[Head]
    parts: list[str]
    by_head: Float[Tensor, "prompt head"]
    by_part: Float[Tensor, "prompt part"]
    total: Float[Tensor, " prompt"]

    def residual(self) -> Float[Tensor, " prompt"]:
        """Return |Σ parts - total| over Σ|parts|: 0 but for rounding."""
        everything = torch.cat([self.by_head, self.by_part], dim=1)
        return (everything.sum(1) - self.total).abs() / everything.abs().sum(1)


def attribute(
    model: Model, neurons: Sequence[Neuron], sequences: Sequence[Ids]
) -> dict[Input, Attribution]:
    """Take apart the inputs of each row's neuron at its prompt's last token.

    All neurons must be of one layer. Keys: `in`; for a gated MLP `gate`, `up` and `post`.
    """
    layer = layer_of(neurons)
    names = [EMBED, *([POSITION] if model.adds_positions else []), SCALE.format(layer)]
    names += _inputs(model, layer).values()
    names += [Z.format(at) for at in model.head_layers(layer)]
    names += [WRITTEN.format(at) for at in range(layer)]
    pieces: list[dict[Input, Attribution]] = []
    order: list[np.ndarray] = []
    for some in batched(model, sequences):
        seen = model.read_last([sequences[i] for i in some], names)
        pieces.append(_taken_apart(model, layer, [neurons[i] for i in some], seen))
        order.append(some)
    back = torch.from_numpy(np.concatenate(order).argsort()).to(model.device)
    return {
        name: Attribution(
            *one[:2], *(torch.cat([piece[name][at] for piece in pieces])[back] for at in (2, 3, 4))
        )
        for name, one in pieces[0].items()
    }


def layer_of(neurons: Sequence[Neuron]) -> int:
    """Return the one layer of some neurons; ValueError if there is none, or several."""
    layers = sorted({neuron.layer for neuron in neurons})
    if len(layers) != 1:
        raise ValueError(f"take the neurons of one layer at a time, not of {layers}")
    return layers[0]


def feeding_heads(model: Model, layer: int) -> list[Head]:
    """Return the heads that feed a layer's neurons by the architecture, in order."""
    return [Head(at, index) for at in model.head_layers(layer) for index in range(model.n_heads)]


def _inputs(model: Model, layer: int) -> dict[Input, str]:
    """The hook names of what a layer's neurons read, and for gated ones of their activations."""
    mlp = f"blocks.{layer}.mlp."
    if model.gated:
        return {"gate": mlp + "hook_pre", "up": mlp + "hook_pre_linear", "post": mlp + "hook_post"}
    return {"in": mlp + "hook_pre"}


@torch.no_grad()
def _taken_apart(
    model: Model, layer: int, neurons: Sequence[Neuron], seen: dict[str, Tensor]
) -> dict[Input, Attribution]:
    """Every part's share of every input, from what stood at last tokens."""
    rows = torch.arange(len(neurons), device=model.device)
    index = torch.tensor([neuron.index for neuron in neurons], device=model.device)
    sign = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)
    signs, layers = sign[:, None], model.head_layers(layer)
    scale = seen[SCALE.format(layer)].reshape(-1, 1)
    totals = {name: seen[hook][rows, index] for name, hook in _inputs(model, layer).items()}
    written = {"embed": seen[EMBED]}
    written |= {"pos_embed": seen[POSITION]} if model.adds_positions else {}
    written |= {f"L{at}.attn_bias": model.b_o(at).expand_as(seen[EMBED]) for at in layers}
    written |= {f"L{at}.mlp": seen[WRITTEN.format(at)] for at in range(layer)}
    labels = feeding_heads(model, layer), [*written, "b_in"]
    found: dict[Input, Attribution] = {}
    for name, (weight, bias) in model.mlp_in(layer).items():
        into = weight[:, index].T
        shares = [_head_shares(model.w_o(at), into, seen[Z.format(at)]) for at in layers]
        by_head = torch.cat([into.new_zeros(len(neurons), 0), *shares], dim=1) / scale
        projected = [
            einsum(one, into, "row d_model, row d_model -> row") for one in written.values()
        ]
        by_part = torch.cat([torch.stack(projected, dim=1) / scale, bias[index][:, None]], dim=1)
        found[name] = Attribution(*labels, by_head * signs, by_part * signs, totals[name] * sign)
    if model.gated:  # ½ [a(g) · u_part + (a(g) / g) · u · g_part] sums to a(g) · u
        g, u = (totals[name][:, None] for name in ("gate", "up"))
        of_up, of_gate = model.act(g), model.act_over_gate(g) * u
        both = zip(found["up"][2:4], found["gate"][2:4], strict=True)
        shares = [(of_up * up + of_gate * gate) / 2 for up, gate in both]
        found["post"] = Attribution(*labels, *shares, totals["post"] * sign)
    return found


def _head_shares(
    w_o: Float[Tensor, "head d_head d_model"],
    direction: Float[Tensor, "row d_model"],
    z: Float[Tensor, "row head d_head"],
) -> Float[Tensor, "row head"]:
    """Project heads' outputs onto `direction` without ever forming them: z · (W_O direction)."""
    read = einsum(w_o, direction, "head d_head d_model, row d_model -> row head d_head")
    return einsum(z, read, "row head d_head, row head d_head -> row head")
