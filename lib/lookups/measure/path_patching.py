"""What a neuron owes to one head's output, earlier MLPs included (chapters 5 and 13).

*Path patching*: at the last token of a prompt, the output of one head is replaced by another (its
average, or what it puts out on another prompt). The change travels to the neuron along the residual
stream and through the MLPs on the way, which are computed again for that token; all other heads put
out what they did (Wang et al. 2023). What the neuron loses is the head's *effect* on it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from lookups.measure.activation import Site, batched, check_feed, check_rows, in_batches
from lookups.measure.attribution import feeding_heads, layer_of
from lookups.model.batches import TOGETHER
from lookups.model.loaded import Model, Prompts
from lookups.model.workers import results_of
from lookups.names import Head, Heads, Neurons


class Patched(NamedTuple):
    """Each row's pre-activation (the gate's, in a gated MLP) and activation as they are, and with
    one head's output replaced; times the neuron's sign."""

    heads: list[Head]
    pre: Float[Tensor, " row"]
    act: Float[Tensor, " row"]
    pre_without: Float[Tensor, "row head"]
    act_without: Float[Tensor, "row head"]


def mean_at_last(model: Model, sequences: Prompts) -> Float[Tensor, "layer head d_head"]:
    """Return what every head puts out at the last token, on average over the prompts."""
    if not len(sequences):
        raise ValueError("there is no prompt to average over; give the run's training prompts")
    total: Tensor | int = 0
    names = list(map(Site.Z.format, range(model.n_layers)))
    for some in batched(model, sequences):
        found = model.read_last([sequences[i] for i in some], names)
        total = total + torch.stack([found[name] for name in names]).double().sum(1)
    return (total / len(sequences)).to(model.dtype)


@torch.no_grad()
def path_patch(
    model: Model,
    neurons: Neurons,
    sequences: Prompts,
    instead: Float[Tensor, "layer head d_head"] | Prompts,
    *,
    through_mlps: bool = True,
    heads: Heads | None = None,
) -> Patched:
    """Replace the output of each head in turn at each row's last token, and read the row's neuron.

    All neurons must be of one layer. `instead` is what the heads put out in place of their own, or
    a prompt a row on which to read it. Without `through_mlps` the MLPs before the neuron's put out
    what they did. By default every head that feeds the neurons is patched, else those of `heads`.
    """
    layer = layer_of(neurons)
    texts = [sequences] if isinstance(instead, Tensor) else [sequences, instead]
    check_rows(neurons, *texts)
    wanted = feeding_heads(model, layer) if heads is None else list(heads)
    check_feed(model, wanted, layer)
    computed = sorted(wanted)  # by layer
    shape = len(neurons), 1 + len(computed)
    pre, act = (torch.empty(shape, dtype=model.dtype, device=model.device) for _ in range(2))
    together = min(TOGETHER, max(1, model.tokens() // max(1, len(computed))))
    batches = list(in_batches(texts, tokens=model.tokens(), together=together))
    calls = (
        (layer, computed, through_mlps, [neurons[row] for row in rows], places,
         [sequences[row] for row in first],
         instead if isinstance(instead, Tensor) else [instead[row] for row in first])
        for first, rows, places in batches
    )  # fmt: skip
    for (_, rows, _), found in zip(batches, results_of(model, _patched, calls), strict=True):
        pre[rows], act[rows] = found
    sign = torch.tensor([n.sign for n in neurons], dtype=model.dtype, device=model.device)[:, None]
    pre, act = pre * sign, act * sign
    column = [1 + computed.index(head) for head in wanted]
    return Patched(wanted, pre[:, 0], act[:, 0], pre[:, column], act[:, column])


@torch.no_grad()
def _patched(
    model: Model, layer: int, heads: Heads, through_mlps: bool, neurons: Neurons,
    places: np.ndarray, texts: Prompts, instead: Tensor | Prompts,
) -> tuple[Float[Tensor, "row stream"], Float[Tensor, "row stream"]]:  # fmt: skip
    """Rows' pre-activations and activations as they are and with each head's output replaced, heads
    by layer; the texts are read together, and `places` says which of them a row reads."""
    entering = [Site.ENTERING.format(at) for at in (range(layer + 1) if through_mlps else [layer])]
    z_of = {Site.Z.format(head.layer): head.layer for head in heads}
    here = model.read_last(texts, [*z_of, *entering])
    if isinstance(instead, Tensor):
        there = {z: instead[at].expand_as(here[z]) for z, at in z_of.items()}
    else:
        there = model.read_last(instead, z_of)
    stream = here[Site.ENTERING.format(layer)]
    changed = stream + _changed(model, layer, heads, here, there, through_mlps)
    index = torch.tensor([neuron.index for neuron in neurons], device=model.device)
    at = torch.from_numpy(places).to(model.device)
    normed = model.forward.normed(torch.cat([stream.unsqueeze(0), changed]))[:, at]
    into, *up = (
        einsum(normed, weight[:, index], "stream row d, d row -> row stream")
        + rearrange(bias[index], "row -> row 1")
        for weight, bias in model.mlp_in(layer).values()
    )
    # in double precision, for the last few of many numbers are computed in another way
    act = model.act(into.double()).to(into.dtype)
    return into, act * up[0] if up else act


def _changed(
    model: Model,
    layer: int,
    heads: Heads,
    here: Mapping[str, Float[Tensor, "prompt ..."]],
    there: Mapping[str, Float[Tensor, "prompt each d_head"]],
    through_mlps: bool,
) -> Float[Tensor, "change prompt d_model"]:
    """By how much the stream that the layer's MLP reads changes with each head, heads by layer."""
    shape = len(heads), *here[Site.ENTERING.format(layer)].shape
    change = torch.empty(shape, dtype=model.dtype, device=model.device)
    for at in range(layer + 1):
        before, upto = (sum(head.layer < end for head in heads) for end in (at, at + 1))
        for place, (_, index) in enumerate(heads[before:upto], before):
            lost = there[Site.Z.format(at)][:, index] - here[Site.Z.format(at)][:, index]
            change[place] = lost @ model.w_o(at)[index]
        # where attention and MLP work in parallel, a layer's MLP does not read its own heads
        reaching = before if model.parallel else upto
        if through_mlps and at < layer and reaching:
            usual, some = here[Site.ENTERING.format(at)], change[:reaching]
            some += model.forward.mlp(at, usual + some) - model.forward.mlp(at, usual)
    return change
