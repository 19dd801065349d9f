"""What a neuron owes to one head's output, earlier MLPs included (chapters 5 and 12).

*Path patching*: at the last token of a prompt, the output of one head is replaced by another (its
average, or what it puts out on another prompt). The change travels to the neuron along the residual
stream and through the MLPs on the way, which are computed again; all other heads put out what they
did (Wang et al. 2023). What the neuron loses is the head's *effect* on it. A head attribution
(`measure.attribution`) is the direct term alone, against nothing and with the norm's scale held.

Only the last token is computed again, so one ordinary forward pass a prompt is all that is run.
Rows pair a prompt with a neuron; heads are ordered as in `lookups.measure.attribution.attribute`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Head, Neuron


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


class _AtLast(NamedTuple):
    """What stood at the last token of some prompts, by layer."""

    z: dict[int, Float[Tensor, "prompt head d_head"]]
    """What every head put out, before the output matrix and without its value bias."""
    entering: dict[int, Float[Tensor, "prompt d_model"]]
    """What the MLP read, before its norm."""

    def of(self, prompts: slice) -> "_AtLast":
        """Return what belongs to some of the prompts."""
        return _AtLast(*({at: one[prompts] for at, one in part.items()} for part in self))


def mean_at_last(
    model: Model, sequences: Sequence[Ids], *, tokens_per_batch: int | None = None
) -> Float[Tensor, "layer head d_head"]:
    """Return what every head puts out at the last token, on average over the prompts.

    Raises:
        ValueError: there is no prompt.
    """
    if not len(sequences):
        raise ValueError("there is no prompt to average over; give the run's training prompts")
    total = torch.zeros(
        model.n_layers, model.n_heads, model.d_head, dtype=torch.float64, device=model.device
    )
    lengths, layers = [len(ids) for ids in sequences], range(model.n_layers)
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        found = _at_last(model, [sequences[i] for i in some], layers, []).z
        total += torch.stack([found[at] for at in layers]).double().sum(1)
    return (total / len(sequences)).to(model.dtype)


def path_patch(
    model: Model,
    neurons: Sequence[Neuron],
    sequences: Sequence[Ids],
    instead: Float[Tensor, "layer head d_head"] | Sequence[Ids],
    *,
    through_mlps: bool = True,
    heads: Sequence[Head] | None = None,
    tokens_per_batch: int | None = None,
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
    computed = sorted(wanted)  # by layer
    back_to = torch.tensor([computed.index(head) for head in wanted], device=model.device).long()
    rows_of: dict[tuple[bytes, ...], list[int]] = {}
    for row, texts in enumerate(zip(*columns[1:], strict=True)):
        key = tuple(np.asarray(ids, np.int64).tobytes() for ids in texts)
        rows_of.setdefault(key, []).append(row)
    shared = list(rows_of.values())
    lengths = [max(len(column[rows[0]]) for column in columns[1:]) for rows in shared]
    tokens = model.tokens(tokens_per_batch)
    together = max(1, tokens // max(1, len(computed)))
    z_of = sorted({head.layer for head in computed})
    entering_of = range(layer + 1) if through_mlps else [layer]
    pieces, order = [], []
    for some in batches_by_length(lengths, tokens=tokens):
        groups = [shared[i] for i in some]
        here = _at_last(model, [sequences[group[0]] for group in groups], z_of, entering_of)
        there = None
        if not isinstance(instead, Tensor):
            there = _at_last(model, [instead[group[0]] for group in groups], z_of, [])
        for start in range(0, len(groups), together):
            part = slice(start, start + together)
            rows = np.concatenate(groups[part])
            place = np.repeat(np.arange(len(groups[part])), [len(one) for one in groups[part]])
            index = torch.tensor([neurons[row].index for row in rows], device=model.device)
            usual = here.of(part)
            other = {at: instead[at] for at in z_of} if there is None else there.of(part).z
            changed = _changed(model, layer, computed, usual, other, through_mlps)
            at = torch.from_numpy(place).to(model.device)
            pieces.append(_read_neurons(model, layer, usual.entering[layer], changed, at, index))
            order.append(torch.from_numpy(rows))
    back = torch.cat(order).argsort().to(model.device)
    sign = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)
    pre, act = (torch.cat(part)[back] * sign[:, None] for part in zip(*pieces, strict=True))
    return Patched(wanted, pre[:, 0], act[:, 0], pre[:, 1:][:, back_to], act[:, 1:][:, back_to])


def _at_last(
    model: Model, sequences: Sequence[Ids], z_of: Sequence[int], entering_of: Sequence[int]
) -> _AtLast:
    """Read heads' outputs, and what MLPs read, of some layers."""
    z = {at: f"blocks.{at}.attn.hook_z" for at in z_of}
    entering = {at: f"blocks.{at}.ln2.hook_in" for at in entering_of}
    found = model.read_last(sequences, [*z.values(), *entering.values()])
    return _AtLast(*({at: found[name] for at, name in part.items()} for part in (z, entering)))


@torch.no_grad()
def _changed(
    model: Model,
    layer: int,
    heads: Sequence[Head],
    here: _AtLast,
    there: dict[int, Float[Tensor, "*each head d_head"]],
    through_mlps: bool,
) -> Float[Tensor, "change prompt d_model"]:
    """By how much the stream that the layer's MLP reads changes with each head, heads by layer."""
    shape = len(heads), len(here.entering[layer]), model.d_model
    change = torch.empty(shape, dtype=model.dtype, device=model.device)
    first = 0
    for at in range(layer + 1):
        # where attention and MLP work in parallel, a layer's MLP does not read its own heads
        reaching = first
        which = [head.index for head in heads if head.layer == at]
        if which:
            other = there[at][..., which, :] - here.z[at][:, which]
            change[first : first + len(which)] = einsum(
                other, model.w_o(at)[which], "prompt head d_head, head d_head d -> head prompt d"
            )
            first += len(which)
        reaching = reaching if model.parallel else first
        if through_mlps and at < layer and reaching:
            usual, some = here.entering[at], change[:reaching]
            some += model.forward.mlp(at, usual + some) - model.forward.mlp(at, usual)
    return change


@torch.no_grad()
def _read_neurons(
    model: Model,
    layer: int,
    usual: Float[Tensor, "prompt d_model"],
    changed: Float[Tensor, "change prompt d_model"],
    place: Int[Tensor, " row"],
    index: Int[Tensor, " row"],
) -> tuple[Float[Tensor, "row stream"], Float[Tensor, "row stream"]]:
    """Each row's own neuron, first as it is: its pre-activation (the gate's) and its activation."""
    streams = torch.cat([usual.unsqueeze(0), usual + changed])
    normed = model.forward.normed(streams)[:, place]
    inputs = [
        einsum(normed, weight[:, index], "stream row d, d row -> row stream")
        + rearrange(bias[index], "row -> row 1")
        for weight, bias in model.mlp_in(layer).values()
    ]
    act = model.act(inputs[0])
    return inputs[0], act * inputs[1] if model.gated else act
