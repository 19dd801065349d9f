"""What do attention heads add to a neuron's input? Parts that sum to the whole (chapter 5).

At the last token of a prompt, pre-activation = Σ parts · W_in / σ + b_in. Parts are the embeddings,
every head without its value bias, one bias a layer (b_O + b_V W_O), every earlier MLP, and b_in,
which is not divided. W_O is contracted with W_in beforehand, so no head's output is ever held at
d_model width. Gated MLPs have two inputs and a product, which is split evenly between them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Head, Neuron

Input = Literal["in", "gate", "up", "post"]


class Attribution(NamedTuple):
    """One input of a neuron at the last token, taken apart; everything times the neuron's sign."""

    heads: list[Head]
    """The heads of the head axis: all that feed the neuron by the architecture."""
    parts: list[str]
    """The parts of the part axis: `embed`, `pos_embed`, `L0.attn_bias`, `L0.mlp`, …, `b_in`."""
    by_head: Float[Tensor, "prompt head"]
    by_part: Float[Tensor, "prompt part"]
    total: Float[Tensor, " prompt"]
    """The measured input: pre-activation for `in`, `gate` and `up`, activation for `post`."""

    def residual(self) -> Float[Tensor, " prompt"]:
        """Return |Σ parts - total| over Σ|parts|: 0 but for rounding."""
        everything = torch.cat([self.by_head, self.by_part], dim=1)
        return (everything.sum(1) - self.total).abs() / everything.abs().sum(1)


def attribute(
    model: Model,
    neurons: Sequence[Neuron],
    sequences: Sequence[Ids],
    *,
    bos: bool = True,
    tokens_per_batch: int | None = None,
) -> dict[Input, Attribution]:
    """Take apart the inputs of each row's neuron at its prompt's last token.

    All neurons must be of one layer. Keys: `in`; for a gated MLP `gate`, `up` and `post`.

    Raises:
        ValueError: there is no row, or neurons of several layers are mixed.
    """
    layer = layer_of(neurons)
    pieces: list[dict[Input, Attribution]] = []
    order: list[Tensor] = []
    lengths = [len(sequence) for sequence in sequences]
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        names = _hook_names(model, layer)
        found = model.read_last([sequences[i] for i in some], names.values(), bos=bos)
        seen = {name: found[hook] for name, hook in names.items()}
        pieces.append(_taken_apart(model, layer, [neurons[i] for i in some], seen))
        order.append(torch.from_numpy(some))
    back = torch.cat(order).argsort().to(model.device)
    return {
        name: Attribution(
            one.heads,
            one.parts,
            *(torch.cat([piece[name][at] for piece in pieces])[back] for at in (2, 3, 4)),
        )
        for name, one in pieces[0].items()
    }


def layer_of(neurons: Sequence[Neuron]) -> int:
    """Return the one layer of some neurons.

    Raises:
        ValueError: there is none, or there are several.
    """
    layers = sorted({neuron.layer for neuron in neurons})
    if len(layers) != 1:
        raise ValueError(f"take the neurons of one layer at a time, not of {layers}")
    return layers[0]


def feeding_heads(model: Model, layer: int) -> list[Head]:
    """Return the heads that feed a layer's neurons by the architecture, in order."""
    return [Head(at, index) for at in model.head_layers(layer) for index in range(model.n_heads)]


def part_names(model: Model, layer: int) -> list[str]:
    """Return the names of the parts other than heads, in the order of the part axis."""
    names = ["embed", "pos_embed"] if model.adds_positions else ["embed"]
    names += [f"L{at}.attn_bias" for at in model.head_layers(layer)]
    return [*names, *(f"L{at}.mlp" for at in range(layer)), "b_in"]


def _hook_names(model: Model, layer: int) -> dict[str, str]:
    """Our name of everything that is read, and TransformerLens's."""
    mlp = f"blocks.{layer}.mlp"
    names = {"embed": "hook_embed"}
    if model.adds_positions:
        names["pos_embed"] = "hook_pos_embed"
    names |= {f"z{at}": f"blocks.{at}.attn.hook_z" for at in model.head_layers(layer)}
    names |= {f"mlp{at}": f"blocks.{at}.hook_mlp_out" for at in range(layer)}
    names |= {"scale": f"blocks.{layer}.ln2.hook_scale", "post": f"{mlp}.hook_post"}
    if model.gated:
        return names | {"gate": f"{mlp}.hook_pre", "up": f"{mlp}.hook_pre_linear"}
    return names | {"in": f"{mlp}.hook_pre"}


@torch.no_grad()
def _taken_apart(
    model: Model, layer: int, neurons: Sequence[Neuron], seen: dict[str, Tensor]
) -> dict[Input, Attribution]:
    """Every part's share of every input, from what stood at last tokens."""
    rows = torch.arange(len(neurons), device=model.device)
    index = torch.tensor([neuron.index for neuron in neurons], device=model.device)
    signs = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)[:, None]
    scale = seen["scale"].reshape(-1, 1)
    written = [seen["embed"], *([seen["pos_embed"]] if model.adds_positions else [])]
    written += [model.b_o(at).expand_as(seen["embed"]) for at in model.head_layers(layer)]
    written += [seen[f"mlp{at}"] for at in range(layer)]
    heads, parts = feeding_heads(model, layer), part_names(model, layer)
    found: dict[Input, Attribution] = {}
    for name, (weight, bias) in model.mlp_in(layer).items():
        into = weight[:, index].T
        shares = [_head_shares(model.w_o(at), into, seen[f"z{at}"]) for at in
                  model.head_layers(layer)]  # fmt: skip
        by_head = torch.cat([into.new_zeros(len(neurons), 0), *shares], dim=1) / scale
        projected = [einsum(part, into, "row d_model, row d_model -> row") for part in written]
        by_part = torch.stack(projected, dim=1) / scale
        by_part = torch.cat([by_part, bias[index][:, None]], dim=1)
        total = seen[name][rows, index]
        found[name] = Attribution(
            heads, parts, by_head * signs, by_part * signs, total * signs[:, 0]
        )
    if model.gated:  # ½ [a(g) · u_part + (a(g) / g) · u · g_part] sums to a(g) · u
        g, u = (seen[name][rows, index][:, None] for name in ("gate", "up"))
        of_up, of_gate = model.act(g), model.act_over_gate(g) * u
        by_head, by_part = (
            (of_up * up + of_gate * gate) / 2
            for up, gate in zip(found["up"][2:4], found["gate"][2:4], strict=True)
        )
        total = seen["post"][rows, index] * signs[:, 0]
        found["post"] = Attribution(heads, parts, by_head, by_part, total)
    return found


def _head_shares(
    w_o: Float[Tensor, "head d_head d_model"],
    direction: Float[Tensor, "row d_model"],
    z: Float[Tensor, "row head d_head"],
) -> Float[Tensor, "row head"]:
    """Project heads' outputs onto `direction` without ever forming them: z · (W_O direction)."""
    read = einsum(w_o, direction, "head d_head d_model, row d_model -> row head d_head")
    return einsum(z, read, "row head d_head, row head d_head -> row head")
