"""By which last component does a silenced head reach its token? (chapter 10)

What the last layer hands to the unembedding is a sum: embeddings, every head's output and every
neuron's, all at the last token. When a head is silenced at every position, each of them changes,
and the changes sum to the change of the whole, whatever happens on the way. So the fall of a token
has five routes, named for the component that comes last: the head itself, the neuron in question,
other neurons that write the token, all other neurons, and all other heads (those of later layers).

The token's logit is linear in the routes as long as the final norm's scale is held: there the parts
sum to the whole exactly. Its log-probability is not, and is measured in both orders: *restored*,
one route is put back into the pass without the head; *sent*, one route alone is changed in the
normal pass (the natural indirect effect of Vig et al. 2020). What the routes leave of the whole is
the remainder.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure.together import Silenced
from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Head, Neuron

Route = Literal["the head", "the neuron", "the token's neurons", "other neurons", "other heads"]
ROUTES: tuple[Route, ...] = get_args(Route)

TOGETHER = 16
"""Rows that are unembedded together, each some twenty times."""


class Routes(NamedTuple):
    """What a row's token loses without the row's head, and by which routes; float64.

    Every fall is positive where the token loses.
    """

    logit: Float[np.ndarray, "row route"]
    """Fall of the token's logit over the vocabulary's mean, scale held; routes sum to the whole."""
    whole: Float[np.ndarray, "row held"]
    """Fall of the log-probability by all routes: final norm's scale held, and recomputed."""
    restored: Float[np.ndarray, "row held route"]
    """What comes back of that when one route alone is put back."""
    sent: Float[np.ndarray, "row held route"]
    """What is lost of it by one route alone."""


def routes(
    model: Model,
    prompts: Sequence[Ids],
    heads: Sequence[Head],
    neurons: Sequence[Neuron],
    token_ids: Sequence[int],
    allies: Sequence[Sequence[Neuron]],
    *,
    tokens_per_batch: int | None = None,
) -> Routes:
    """Silence each row's head at every position, and divide its token's fall by the last component.

    `allies` are a row's other neurons of the same token; the row's own may stand among them.

    Raises:
        ValueError: columns differ in length.
    """
    columns = (prompts, heads, neurons, token_ids, allies)
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"every row has one of each, but there are {[len(c) for c in columns]}")
    found = Routes(
        np.zeros((len(prompts), len(ROUTES))),
        np.zeros((len(prompts), 2)),
        *(np.zeros((len(prompts), 2, len(ROUTES))) for _ in range(2)),
    )
    tokens = model.tokens(tokens_per_batch)
    average = model.w_u.double().mean(1, keepdim=True)
    for some in batches_by_length([len(ids) for ids in prompts], tokens=tokens):
        final, parts = _changes(model, *([column[row] for row in some] for column in (
            prompts, heads, neurons, allies)))  # fmt: skip
        targets = torch.tensor([int(token_ids[row]) for row in some], device=model.device)
        for start in range(0, len(some), TOGETHER):
            here = slice(start, start + TOGETHER)
            judged = _falls(model, final[here], parts[here], targets[here], average)
            for column, values in zip(found, judged, strict=True):
                column[some[here]] = values.cpu().numpy()
    return found


@torch.no_grad()
def _changes(
    model: Model,
    prompts: Sequence[Ids],
    heads: Sequence[Head],
    neurons: Sequence[Neuron],
    allies: Sequence[Sequence[Neuron]],
) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, "row route d_model"]]:
    """Return what leaves the last layer at the last token, and by how much routes change it."""
    batch, layers = model.batch(prompts), range(model.n_layers)
    z, mlp, post = (
        {at: f"blocks.{at}.{name}" for at in layers}
        for name in ("attn.hook_z", "hook_mlp_out", "mlp.hook_post")
    )
    asked = {neuron.layer for one in (neurons, *allies) for neuron in one}
    names = {*z.values(), *mlp.values(), *(post[at] for at in asked)}
    nothing = [()] * len(prompts)
    usual = Silenced(batch, nothing, nothing, names)
    silent = Silenced(batch, [(head,) for head in heads], nothing, names)
    final = model.forward.run(batch.ids, usual.touch)[usual.rows, batch.last].double()
    model.forward.run(batch.ids, silent.touch)
    differs = {name: (silent.at_last[name] - usual.at_last[name]).double() for name in names}
    parts = final.new_zeros(len(prompts), len(ROUTES), model.d_model)
    own, neuron, token, others, later = parts.unbind(1)
    for at in layers:
        w_o = model.w_o(at).double()
        later += einsum(differs[z[at]], w_o, "row head d_head, head d_head d -> row d")
        others += differs[mlp[at]]
    for row, head in enumerate(heads):
        at = usual.at_last[z[head.layer]][row, head.index].double()
        own[row] = -at @ model.w_o(head.layer)[head.index].double()
        for one, route in _writers(neurons[row], allies[row]):
            change = differs[post[one.layer]][row, one.index]
            (neuron if route else token)[row] += change * model.w_out(one.layer)[one.index]
    later -= own
    others -= neuron + token
    return final, parts


def _writers(neuron: Neuron, allies: Sequence[Neuron]) -> Iterator[tuple[Neuron, bool]]:
    """The row's neuron (True) and the others of its token, each once, whatever their signs."""
    yield neuron, True
    places = {(one.layer, one.index): one for one in allies}
    places.pop((neuron.layer, neuron.index), None)
    yield from ((one, False) for one in places.values())


@torch.no_grad()
def _falls(
    model: Model,
    final: Float[Tensor, "row d_model"],
    parts: Float[Tensor, "row route d_model"],
    targets: Int[Tensor, " row"],
    average: Float[Tensor, "d_model 1"],
) -> Routes:
    """Unembed what is left when routes are changed, with the final norm's scale held and not."""
    without = final[:, None] + parts.sum(1, keepdim=True)
    streams = torch.cat([final[:, None], without, without - parts, final[:, None] + parts], 1)
    scale = _centred(model, final).norm(dim=-1) / model.forward.normed(final).norm(dim=-1)
    held = _centred(model, streams) / scale[:, None, None]
    both = torch.stack([held, model.forward.normed(streams)], 1).to(model.dtype)
    logits = model.bridge.unembed(both.flatten(0, 1)).unflatten(0, (len(targets), 2))
    of_token = logits[torch.arange(len(targets)), ..., targets]
    logp = of_token.double() - logits.double().logsumexp(-1)  # row × held × stream
    n = len(ROUTES)
    writes = model.w_u[:, targets].double() - average
    moved = _centred(model, parts) / scale[:, None, None]
    return Routes(
        -einsum(moved, writes, "row route d, d row -> row route"),
        logp[..., 0] - logp[..., 1],
        logp[..., 2 : 2 + n] - logp[..., 1:2],
        logp[..., 0:1] - logp[..., 2 + n :],
    )


def _centred(model: Model, stream: Tensor) -> Tensor:
    """What a LayerNorm divides by its scale; an RMSNorm (Llama's) takes no mean off."""
    return stream if model.gated else stream - stream.mean(-1, keepdim=True)
