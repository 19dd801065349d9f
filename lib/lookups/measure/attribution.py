"""What do attention heads add to a neuron's input? Parts that sum to the whole (chapter 5).

At the last token of a prompt, pre-activation = Σ parts · W_in / σ + b_in. Parts are the embeddings,
every head without its value bias, one bias a layer (b_O + b_V W_O), every earlier MLP, and b_in,
which is not divided. W_O is contracted with W_in beforehand, so no head's output is ever held at
d_model width. Gated MLPs have two inputs and a product, which is split evenly between them.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lookups.measure.activation import Site, batched, inputs_of
from lookups.model.loaded import Model, Prompts
from lookups.model.workers import results_of
from lookups.names import Head, Neurons

Input = Literal["in", "gate", "up", "post"]


class Attribution(NamedTuple):
    """One input of a neuron at the last token, taken apart; everything times the neuron's sign.

    The head axis has all heads that feed the neuron, the part axis `embed`, `pos_embed`,
    `L0.attn_bias`, …, `L0.mlp`, …, `b_in`. `total` is what was measured.
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


def attribute(model: Model, neurons: Neurons, sequences: Prompts) -> dict[Input, Attribution]:
    """Take apart the inputs of each row's neuron at its prompt's last token.

    All neurons must be of one layer. Keys: `in`; for a gated MLP `gate`, `up` and `post`.
    """
    layer = layer_of(neurons)
    batches = list(batched(model, sequences))
    calls = ((layer, *([one[i] for i in some] for one in (neurons, sequences))) for some in batches)
    pieces = list(results_of(model, _taken_apart, calls))
    back = torch.from_numpy(np.concatenate(batches).argsort()).to(model.device)
    found: dict[Input, Attribution] = {}
    for name, (heads, parts, *_) in pieces[0].items():
        columns = zip(*(piece[name][2:] for piece in pieces), strict=True)
        found[name] = Attribution(heads, parts, *(torch.cat(column)[back] for column in columns))
    return found


def layer_of(neurons: Neurons) -> int:
    """Return the one layer of some neurons; ValueError if there is none, or several."""
    layers = sorted({neuron.layer for neuron in neurons})
    if len(layers) != 1:
        raise ValueError(f"take the neurons of one layer at a time, not of {layers}")
    return layers[0]


def feeding_heads(model: Model, layer: int) -> list[Head]:
    """Return the heads that feed a layer's neurons by the architecture, in order."""
    return [Head(at, index) for at in model.head_layers(layer) for index in range(model.n_heads)]


def worth(model: Model, gate: Tensor, up: Tensor) -> dict[Input, Tensor]:
    """Return what a unit of each input of a gated MLP adds to the product, which is split evenly:
    ½ [a(g) · u_part + (a(g) / g) · u · g_part] sums to a(g) · u. At 0, a(g) / g is ½, the limit for
    SiLU and GELU."""
    at_zero, act = gate == 0, model.act(gate)
    share = torch.where(at_zero, 0.5, act / torch.where(at_zero, 1.0, gate))
    return {"gate": share * up / 2, "up": act / 2}


@torch.no_grad()
def _taken_apart(
    model: Model, layer: int, neurons: Neurons, sequences: Prompts
) -> dict[Input, Attribution]:
    """Every part's share of every input, of prompts that are read together."""
    layers, inputs = model.head_layers(layer), inputs_of(model, layer)
    inputs |= {"post": Site.POST.format(layer)} if model.gated else {}
    reads = {"embed": "hook_embed"}
    reads |= {"pos_embed": "hook_pos_embed"} if model.adds_positions else {}
    mlps = {f"L{at}.mlp": Site.WRITTEN.format(at) for at in range(layer)}
    z_of = list(map(Site.Z.format, layers))
    names = [Site.SCALE.format(layer), *z_of, *inputs.values(), *reads.values(), *mlps.values()]
    seen = model.read_last(sequences, names)
    scale = seen[Site.SCALE.format(layer)].reshape(-1, 1)
    index = torch.tensor([neuron.index for neuron in neurons], device=model.device)
    sign = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)
    signs, rows = sign[:, None], torch.arange(len(neurons), device=model.device)
    totals = {name: seen[hook][rows, index] for name, hook in inputs.items()}
    written = {part: seen[hook] for part, hook in reads.items()}
    written |= {f"L{at}.attn_bias": model.b_o(at).expand_as(seen["hook_embed"]) for at in layers}
    written |= {part: seen[hook] for part, hook in mlps.items()}
    labels = feeding_heads(model, layer), [*written, "b_in"]
    found: dict[Input, Attribution] = {}
    for name, (weight, bias) in model.mlp_in(layer).items():
        into = weight[:, index].T
        shares = [into.new_zeros(len(neurons), 0)]
        for at, z in zip(layers, z_of, strict=True):
            read = einsum(model.w_o(at), into, "head z d_model, row d_model -> row head z")
            shares.append(einsum(seen[z], read, "row head z, row head z -> row head"))
        by_head = torch.cat(shares, dim=1) / scale
        projected = [einsum(part, into, "row d, row d -> row") for part in written.values()]
        by_part = torch.cat([torch.stack(projected, dim=1) / scale, bias[index][:, None]], dim=1)
        found[name] = Attribution(*labels, by_head * signs, by_part * signs, totals[name] * sign)
    if model.gated:
        each = worth(model, totals["gate"][:, None], totals["up"][:, None])
        of_heads, of_parts = (sum(each[one] * found[one][at] for one in each) for at in (2, 3))
        found["post"] = Attribution(*labels, of_heads, of_parts, totals["post"] * sign)
    return found
