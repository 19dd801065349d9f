"""What a token owes to heads and neurons that are silenced (chapters 10 and 12), and by which way.

What leaves the last layer is a sum of what heads and neurons put out at the last token, so the fall
of a token has five routes, named for the component that comes last. They sum to the fall of the
logit with the final norm's scale held. That of the log-probability is measured in both orders:
*restored*, one route is put back into the pass without the head; *sent*, one alone is changed in
the normal pass (the natural indirect effect of Vig et al. 2020).
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure.activation import Site, batched, check_rows
from lookups.model.batches import Batch
from lookups.model.forward import Touch
from lookups.model.loaded import Model, Prompts
from lookups.model.resume import log_probabilities
from lookups.names import Head, Heads, Neuron, Neurons, Units

Route = Literal["the head", "the neuron", "the token's neurons", "other neurons", "other heads"]
ROUTES: tuple[Route, ...] = get_args(Route)

TOGETHER = 16
"""Rows that are unembedded together, each some ten times."""


class Routes(NamedTuple):
    """What a row's token loses without the row's head (float64): of its logit over the vocabulary's
    mean, scale held; of its log-probability by all routes, what comes back when one alone is put
    back, and what is lost by one alone."""

    logit: Float[np.ndarray, "row route"]
    whole: Float[np.ndarray, " row"]
    restored: Float[np.ndarray, "row route"]
    sent: Float[np.ndarray, "row route"]


@torch.no_grad()
def logp_without(
    model: Model,
    prompts: Prompts,
    token_ids: Sequence[int],
    heads: Sequence[Collection[Head]],
    neurons: Sequence[Collection[Neuron]],
) -> Float[np.ndarray, " row"]:
    """Return each row's log-probability of its token without its heads and neurons (float64)."""
    check_rows(prompts, token_ids, heads, neurons)
    found = np.zeros(len(prompts))
    for some in batched(model, prompts):
        batch = model.batch([prompts[row] for row in some])
        final, _ = _run_without(model, batch, [[*heads[row], *neurons[row]] for row in some])
        tokens = torch.tensor([int(token_ids[row]) for row in some], device=model.device)
        rows = torch.arange(len(some), device=model.device)
        found[some] = log_probabilities(model, final, rows, tokens).cpu().numpy()
    return found


@torch.no_grad()
def routes(
    model: Model,
    prompts: Prompts,
    heads: Heads,
    neurons: Neurons,
    token_ids: Sequence[int],
    allies: Sequence[Neurons],
) -> Routes:
    """Silence each row's head at every position, and divide its token's fall by the last component.
    `allies` are a row's other neurons of the same token; the row's own may stand among them."""
    check_rows(prompts, heads, neurons, token_ids, allies)
    n, kinds = len(prompts), len(ROUTES)
    found = Routes(*(np.zeros(shape) for shape in ((n, kinds), n, (n, kinds), (n, kinds))))
    average = model.w_u.double().mean(1, keepdim=True)
    for some in batched(model, prompts):
        columns = ([column[row] for row in some] for column in (prompts, heads, neurons, allies))
        final, parts = _changes(model, *columns)
        tokens = torch.tensor([int(token_ids[row]) for row in some], device=model.device)
        portions = zip(*(one.split(TOGETHER) for one in (final, parts, tokens)), strict=True)
        judged = [_falls(model, *portion, average) for portion in portions]
        for column, values in zip(found, zip(*judged, strict=True), strict=True):
            column[some] = torch.cat(values).cpu().numpy()
    return found


def _run_without(
    model: Model, batch: Batch, units: Sequence[Units], names: Collection[str] = ()
) -> tuple[Float[Tensor, "row d_model"], dict[str, Tensor]]:
    """What leaves the last layer at the last token without each row's heads and neurons, and what
    stands there at some hook names."""
    rows = torch.arange(len(batch.ids), device=batch.ids.device)
    at_last: dict[str, Tensor] = {}
    silenced: dict[str, list[tuple]] = {name: [] for name in names}
    for row, some in enumerate(units):
        for unit in some:
            hook, first = (Site.Z, 0) if isinstance(unit, Head) else (Site.POST, 1)
            place = row, slice(first, None), unit.index
            silenced.setdefault(hook.format(unit.layer), []).append(place)

    def silence(name: str, tensor: Tensor) -> None:
        for place in silenced[name]:
            tensor[place] = 0
        if name in names:
            at_last[name] = tensor[rows, batch.last]

    out = model.forward.run(batch.ids, Touch({name: partial(silence, name) for name in silenced}))
    return out[rows, batch.last], at_last


def _changes(
    model: Model, prompts: Prompts, heads: Heads, neurons: Neurons, allies: Sequence[Neurons]
) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, "row route d_model"]]:
    """Return what leaves the last layer at the last token, and by how much routes change it."""
    batch, layers = model.batch(prompts), range(model.n_layers)
    names = [hook.format(at) for at in layers for hook in (Site.Z, Site.POST, Site.WRITTEN)]
    final, usual = _run_without(model, batch, [()] * len(prompts), names)
    without, silent = _run_without(model, batch, [(head,) for head in heads], names)
    final = final.double()
    parts = final.new_zeros(len(prompts), len(ROUTES), model.d_model)
    own, neuron, token, others, later = parts.unbind(1)
    for row, head in enumerate(heads):
        at = usual[Site.Z.format(head.layer)][row, head.index].double()
        own[row] = -at @ model.w_o(head.layer)[head.index].double()
        # the row's neuron first; every neuron once, whatever its signs
        writers = dict.fromkeys((one.layer, one.index) for one in (neurons[row], *allies[row]))
        for place, (layer, index) in enumerate(writers):
            was, now = (seen[Site.POST.format(layer)][row, index] for seen in (usual, silent))
            lost = (now.double() - was) * model.w_out(layer)[index]
            (token if place else neuron)[row] += lost
    for name in map(Site.WRITTEN.format, layers):
        others += silent[name].double() - usual[name]
    others -= neuron + token
    later += without - final - own - neuron - token - others
    return final, parts


def _falls(
    model: Model,
    final: Float[Tensor, "row d_model"],
    parts: Float[Tensor, "row route d_model"],
    tokens: Int[Tensor, " row"],
    average: Float[Tensor, "d_model 1"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unembed what is left when routes are changed; for the logit, hold the final norm's scale."""
    final, centred = final[:, None], model.forward.centred
    without = final + parts.sum(1, keepdim=True)
    streams = torch.cat([final, without, without - parts, final + parts], 1)
    logits = model.bridge.unembed(model.forward.normed(streams).to(model.dtype)).double()
    logp = logits[torch.arange(len(tokens)), :, tokens] - logits.logsumexp(-1)
    before, after, restored, sent = logp.split([1, 1, len(ROUTES), len(ROUTES)], 1)
    scale = centred(final).norm(dim=-1) / model.forward.normed(final).norm(dim=-1)
    moved = centred(parts) / scale[..., None]
    fallen = -einsum(
        moved, model.w_u[:, tokens].double() - average, "row part d, d row -> row part"
    )
    return fallen, (before - after)[:, 0], restored - after, before - sent
