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


class _Reading(NamedTuple):
    """What one forward pass gives: raw parts projected onto each row's input directions."""

    by_head: dict[str, Float[Tensor, "prompt head"]]
    by_part: dict[str, Float[Tensor, "prompt part"]]
    measured: dict[str, Float[Tensor, " prompt"]]
    activation: Float[Tensor, " prompt"]


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
    layers = {neuron.layer for neuron in neurons}
    if len(layers) != 1:
        raise ValueError(f"attribute the neurons of one layer at a time, not of {sorted(layers)}")
    layer = layers.pop()
    pieces: list[tuple[Tensor, _Reading]] = []
    lengths = [len(sequence) for sequence in sequences]
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        names = _hook_names(model, layer)
        found = model.read_last([sequences[i] for i in some], names.values(), bos=bos)
        seen = {name: found[hook] for name, hook in names.items()}
        rows = [neurons[i] for i in some]
        pieces.append((torch.from_numpy(some), _read(model, layer, rows, seen)))
    order = torch.cat([rows for rows, _ in pieces]).argsort().to(model.device)
    signs = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)
    heads = [Head(at, h) for at in model.head_layers(layer) for h in range(model.n_heads)]
    parts = part_names(model, layer)
    answer: dict[Input, Attribution] = {}
    for name in pieces[0][1].by_head:
        by_head = torch.cat([reading.by_head[name] for _, reading in pieces])[order]
        by_part = torch.cat([reading.by_part[name] for _, reading in pieces])[order]
        total = torch.cat([reading.measured[name] for _, reading in pieces])[order]
        answer[name] = Attribution(
            heads, parts, by_head * signs[:, None], by_part * signs[:, None], total * signs
        )
    return answer


def part_names(model: Model, layer: int) -> list[str]:
    """Return the names of the parts other than heads, in the order of the part axis."""
    names = ["embed"]
    if model.adds_positions:
        names.append("pos_embed")
    names += [f"L{at}.attn_bias" for at in model.head_layers(layer)]
    names += [f"L{at}.mlp" for at in range(layer)]
    return [*names, "b_in"]


@torch.no_grad()
def _read(model: Model, layer: int, neurons: Sequence[Neuron], seen: dict[str, Tensor]) -> _Reading:
    """Every part's share of every input, already divided by σ, from what stood at last tokens."""
    rows = torch.arange(len(neurons), device=model.device)
    index = torch.tensor([neuron.index for neuron in neurons], device=model.device)
    scale = seen["scale"].reshape(-1, 1)
    by_head, by_part, measured = {}, {}, {}
    for name, (weight, bias) in model.mlp_in(layer).items():
        direction = weight[:, index].T
        from_heads = [_head_shares(model, at, direction, seen[f"z{at}"]) for at in
                      model.head_layers(layer)]  # fmt: skip
        written = [seen["embed"]]
        if model.adds_positions:
            written.append(seen["pos_embed"])
        written += [model.b_o(at).expand_as(seen["embed"]) for at in model.head_layers(layer)]
        written += [seen[f"mlp{at}"] for at in range(layer)]
        projected = [einsum(part, direction, "row d_model, row d_model -> row") for part in written]
        none = direction.new_zeros(len(neurons), 0)
        by_head[name] = torch.cat([none, *from_heads], dim=1) / scale
        shares = torch.stack(projected, dim=1) / scale
        by_part[name] = torch.cat([shares, bias[index][:, None]], dim=1)
        measured[name] = seen[f"pre_{name}"][rows, index]
    activation = seen["post"][rows, index]
    reading = _Reading(by_head, by_part, measured, activation)
    return _with_product(model, reading) if model.gated else reading


def _hook_names(model: Model, layer: int) -> dict[str, str]:
    """Our name of everything that is read, and TransformerLens's."""
    block = f"blocks.{layer}"
    names = {"embed": "hook_embed"}
    if model.adds_positions:
        names["pos_embed"] = "hook_pos_embed"
    names |= {f"z{at}": f"blocks.{at}.attn.hook_z" for at in model.head_layers(layer)}
    names |= {f"mlp{at}": f"blocks.{at}.hook_mlp_out" for at in range(layer)}
    names["scale"] = f"{block}.ln2.hook_scale"
    if model.gated:
        names["pre_gate"] = f"{block}.mlp.hook_pre"
        names["pre_up"] = f"{block}.mlp.hook_pre_linear"
    else:
        names["pre_in"] = f"{block}.mlp.hook_pre"
    return names | {"post": f"{block}.mlp.hook_post"}


def _head_shares(
    model: Model,
    layer: int,
    direction: Float[Tensor, "row d_model"],
    z: Float[Tensor, "row head d_head"],
) -> Float[Tensor, "row head"]:
    """Project heads' outputs onto `direction` without ever forming them: z · (W_O direction)."""
    read = einsum(
        model.w_o(layer), direction, "head d_head d_model, row d_model -> row head d_head"
    )
    return einsum(z, read, "row head d_head, row head d_head -> row head")


def _with_product(model: Model, reading: _Reading) -> _Reading:
    """Add `post`: ½ [a(g) · u_part + (a(g) / g) · u · g_part], which sums to a(g) · u."""
    gate, up = reading.measured["gate"], reading.measured["up"]
    ratio = model.act_over_gate(gate)

    def split(shares: dict[str, Tensor]) -> Tensor:
        of_up = model.act(gate)[:, None] * shares["up"]
        of_gate = (ratio * up)[:, None] * shares["gate"]
        return (of_up + of_gate) / 2

    return _Reading(
        reading.by_head | {"post": split(reading.by_head)},
        reading.by_part | {"post": split(reading.by_part)},
        reading.measured | {"post": reading.activation},
        reading.activation,
    )
