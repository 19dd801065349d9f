"""What a neuron owes to one head's output, earlier MLPs included (chapters 4 and 12).

*Path patching*: at the last token of a prompt, the output of one head is replaced by another (its
average, or what it puts out on another prompt). The change travels to the neuron along the residual
stream and through the MLPs on the way, which are computed again; all other heads put out what they
did (Wang et al. 2023). What the neuron loses is the head's *effect* on it. A head attribution
(`lookups.heads`) is the direct term alone, against nothing and with the norm's scale held.

Only the last token is computed again, so one ordinary forward pass a prompt is all that is run.
Rows pair a prompt with a neuron; heads are ordered as in `lookups.heads.attribute`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model import Model
from lookups.names import Head, Neuron
from lookups.sequences import Ids, batches_by_length


class Patched(NamedTuple):
    """Each row's neuron as it is, and with one head's output replaced; times the neuron's sign."""

    heads: list[Head]
    """The heads of the head axis: all that feed the neuron by the architecture."""
    pre: Float[Tensor, " row"]
    """Pre-activation as it is (the gate's, in a gated MLP)."""
    act: Float[Tensor, " row"]
    """Activation as it is."""
    pre_without: Float[Tensor, "row head"]
    """Pre-activation with the head's output replaced."""
    act_without: Float[Tensor, "row head"]
    """Activation with the head's output replaced."""


TOGETHER = 256
"""Prompts patched together at most: each stands for as many streams as a layer has heads."""


class _AtLast(NamedTuple):
    """What stood at the last token of some prompts."""

    z: Float[Tensor, "prompt layer head d_head"]
    """What every head put out, before the output matrix and without its value bias."""
    entering: Float[Tensor, "prompt layer d_model"]
    """What every MLP read, before its norm."""


def mean_outputs(
    model: Model, sequences: Sequence[Ids], *, tokens_per_batch: int = 8192
) -> Float[Tensor, "layer head d_head"]:
    """Return what every head puts out at the last token, on average over the prompts.

    Raises:
        ValueError: there is no prompt.
    """
    if not len(sequences):
        raise ValueError("there is no prompt to average over; give the run's training prompts")
    total = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)
    for some in batches_by_length([len(ids) for ids in sequences], tokens=tokens_per_batch):
        total += _at_last(model, [sequences[i] for i in some]).z.double().sum(0).cpu()
    return (total / len(sequences)).to(model.device, model.dtype)


def path_patch(
    model: Model,
    neurons: Sequence[Neuron],
    sequences: Sequence[Ids],
    instead: Float[Tensor, "layer head d_head"] | Sequence[Ids],
    *,
    through_mlps: bool = True,
    heads: Sequence[Head] | None = None,
    tokens_per_batch: int = 8192,
) -> Patched:
    """Replace the output of each head in turn at each row's last token, and read the row's neuron.

    By default every head that feeds the neurons is patched, else those of `heads`, in their order.

    All neurons must be of one layer. `instead` is what the heads put out in place of their own, or
    a prompt a row on which to read it. Without `through_mlps` the MLPs before the neuron's put out
    what they did, and only the direct path is patched. Rows that share prompts share the work.

    Raises:
        ValueError: there is no row, neurons of several layers are mixed, or columns differ.
    """
    layers = {neuron.layer for neuron in neurons}
    if len(layers) != 1:
        raise ValueError(f"patch the neurons of one layer at a time, not of {sorted(layers)}")
    columns = [neurons, sequences] if isinstance(instead, Tensor) else [neurons, sequences, instead]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("a row has a neuron, a prompt and, where given, a prompt to read instead")
    layer = layers.pop()
    feeding = [Head(at, h) for at in model.head_layers(layer) for h in range(model.n_heads)]
    wanted = feeding if heads is None else list(heads)
    if absent := [str(head) for head in wanted if head not in feeding]:
        raise ValueError(f"{absent[0]} does not feed a neuron of layer {layer}; leave it out")
    by_layer = [[head for head in wanted if head.layer == at] for at in model.head_layers(layer)]
    computed = [head for some in by_layer for head in some]
    place_of = torch.tensor([computed.index(head) for head in wanted], device=model.device).long()
    rows_of: dict[tuple[bytes, ...], list[int]] = {}
    for row, texts in enumerate(zip(*columns[1:], strict=True)):
        key = tuple(np.asarray(ids, np.int64).tobytes() for ids in texts)
        rows_of.setdefault(key, []).append(row)
    shared = list(rows_of.values())
    pieces, order = [], []
    lengths = [max(len(column[rows[0]]) for column in columns[1:]) for rows in shared]
    batches = batches_by_length(lengths, tokens=tokens_per_batch)
    parts = (part for some in batches for part in np.array_split(some, -(-len(some) // TOGETHER)))
    for some in parts:
        groups = [shared[i] for i in some]
        rows = np.concatenate([np.array(group) for group in groups])
        place = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        here = _at_last(model, [sequences[group[0]] for group in groups])
        there = instead
        if not isinstance(there, Tensor):
            there = _at_last(model, [instead[group[0]] for group in groups]).z
        index = torch.tensor([neurons[row].index for row in rows], device=model.device)
        at = torch.from_numpy(place).to(model.device)
        read = _patched(model, layer, by_layer, here, there, at, index, through_mlps)
        pieces.append((*read[:2], read[2][:, place_of], read[3][:, place_of]))
        order.append(torch.from_numpy(rows))
    back = torch.cat(order).argsort().to(model.device)
    found = [torch.cat(part)[back] for part in zip(*pieces, strict=True)]
    sign = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)
    return Patched(wanted, *(part * (sign if part.ndim == 1 else sign[:, None]) for part in found))


@torch.no_grad()
def _at_last(model: Model, sequences: Sequence[Ids]) -> _AtLast:
    shape = len(sequences), model.n_layers
    z = torch.empty(*shape, model.n_heads, model.d_head, dtype=model.dtype, device=model.device)
    entering = torch.empty(*shape, model.d_model, dtype=model.dtype, device=model.device)
    batch = model.batch(sequences)
    rows = torch.arange(len(sequences), device=model.device)

    def into(kept: Tensor, layer: int) -> Callable[[Tensor], None]:
        def take(tensor: Tensor) -> None:
            kept[:, layer] = tensor[rows, batch.last]

        return take

    hooks = {}
    for at in range(model.n_layers):
        hooks[f"blocks.{at}.attn.hook_z"] = into(z, at)
        hooks[f"blocks.{at}.ln2.hook_in"] = into(entering, at)
    model.read(batch, hooks)
    return _AtLast(z, entering)


@torch.no_grad()
def _patched(
    model: Model,
    layer: int,
    heads: Sequence[Sequence[Head]],
    here: _AtLast,
    there: Float[Tensor, "*prompt layer head d_head"],
    place: Int[Tensor, " row"],
    index: Int[Tensor, " row"],
    through_mlps: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four readings of `Patched` for some prompts; `place` says which of them a row reads."""
    usual = here.entering[:, layer].unsqueeze(1)
    pre, act = _read_neurons(model, layer, usual, place, index)
    pres, acts = [pre[:, :0]], [act[:, :0]]
    earlier = range(layer) if through_mlps else ()
    reads = [here.entering[:, between].unsqueeze(1) for between in earlier]
    written = [_mlp(model, between, read) for between, read in enumerate(reads)]
    for some in heads:
        if not some:
            continue
        at, which = some[0].layer, [head.index for head in some]
        other = there[..., at, which, :] - here.z[:, at, which]
        change = einsum(
            other, model.w_o(at)[which], "prompt head d_head, head d_head d -> prompt head d"
        )  # fmt: skip
        # where attention and MLP work in parallel, a layer's MLP does not read its own heads
        first = at + 1 if model.parallel else at
        for between in range(first, len(reads)):
            now = _mlp(model, between, reads[between] + change)
            change = change + now - written[between]
        pre_without, act_without = _read_neurons(model, layer, usual + change, place, index)
        pres.append(pre_without)
        acts.append(act_without)
    return pre[:, 0], act[:, 0], torch.cat(pres, dim=1), torch.cat(acts, dim=1)


def _mlp(
    model: Model, layer: int, entering: Float[Tensor, "prompt head d"]
) -> Float[Tensor, "prompt head d"]:
    """What a layer's MLP writes when it reads this: the model's own norm and MLP."""
    block = model.bridge.blocks[layer]
    return block.mlp(block.ln2(entering))


def _read_neurons(
    model: Model,
    layer: int,
    entering: Float[Tensor, "prompt head d"],
    place: Int[Tensor, " row"],
    index: Int[Tensor, " row"],
) -> tuple[Float[Tensor, "row head"], Float[Tensor, "row head"]]:
    """Each row's own neuron: its pre-activation (the gate's) and its activation."""
    normed = model.bridge.blocks[layer].ln2(entering)[place]
    inputs = [
        einsum(normed, weight[:, index], "row head d, d row -> row head")
        + rearrange(bias[index], "row -> row 1")
        for weight, bias in model.mlp_in(layer).values()
    ]
    act = model.act(inputs[0])
    return inputs[0], act * inputs[1] if model.gated else act
