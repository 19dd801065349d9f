"""How many neurons of a GPT-2-shaped model are followed by their token while it trains.

While a model trains, the loss alone does not say whether neurons come to write single words, so
the trainer asks this at every measurement. A neuron's token is the eligible one that its output
row raises most (LayerNorm folded, writing weights centred); it is *followed* when that token comes
next after enough of the neuron's strongest held-out positions, one position a document.

This is the trainer's own instrument for a plain Hugging Face GPT-2. The chapters measure any
architecture, with tests of significance, by other means. Documents are rows of equal length that
begin with the BOS, which never counts as a position.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from lookups.corpus.grammar import BOS_ID
from lookups.measure.congruence import congruence
from torch import Tensor
from transformers import GPT2LMHeadModel


class Following(NamedTuple):
    """For every neuron of every layer: its token, and how often that token follows."""

    token: Int[Tensor, "layer neuron"]
    """The eligible token with the highest congruence."""
    share: Float[Tensor, "layer neuron"]
    """Share of the neuron's strongest positions that are followed by the token."""
    base: Float[Tensor, "layer neuron"]
    """The token's share among all tokens of the documents."""

    def followed(self, *, share: float = 0.25, times: float = 5.0) -> Bool[Tensor, "layer neuron"]:
        """Say which neurons reach the share, and that many times the base rate."""
        return (self.share >= share) & (self.share >= times * self.base)

    def counts(self) -> dict[str, list[int]]:
        """Count, a layer, the followed neurons and the distinct tokens that follow them."""
        followed = self.followed()
        tokens = [self.token[layer][row] for layer, row in enumerate(followed)]
        return {
            "followed": followed.sum(dim=1).tolist(),
            "distinct_tokens": [len(found.unique()) for found in tokens],
        }


def wordlike(texts: Sequence[str]) -> Bool[Tensor, " vocab"]:
    """Say which tokens start with a space and have at least two more characters."""
    return torch.tensor([text.startswith(" ") and len(text) >= 3 for text in texts])


def unembedding_of(model: GPT2LMHeadModel) -> Float[Tensor, "d_model vocab"]:
    """Return the unembedding with the final LayerNorm folded in, centred both ways."""
    scale = model.transformer.ln_f.weight.detach().float()
    weights = model.lm_head.weight.detach().float() * scale
    weights = weights - weights.mean(dim=1, keepdim=True)
    return (weights - weights.mean(dim=0, keepdim=True)).T


def written_by(model: GPT2LMHeadModel, layer: int) -> Float[Tensor, "neuron d_model"]:
    """Return what each neuron of a layer writes to the residual stream, centred."""
    written = model.transformer.h[layer].mlp.c_proj.weight.detach().float()
    return written - written.mean(dim=1, keepdim=True)


def tokens_of_neurons(
    model: GPT2LMHeadModel, eligible: Bool[Tensor, " vocab"]
) -> Int[Tensor, "layer neuron"]:
    """Return every neuron's most congruent eligible token.

    Where none is eligible, as in a corpus too small, it is the BOS, which follows nothing.
    """
    shape = (model.config.n_layer, model.transformer.h[0].mlp.c_proj.weight.shape[0])
    if not eligible.any():
        return torch.full(shape, BOS_ID, device=model.device)
    w_u, eligible = unembedding_of(model), eligible.to(model.device)
    rows = (written_by(model, layer) for layer in range(model.config.n_layer))
    return torch.stack([congruence(some, w_u, eligible=eligible).token_id for some in rows])


@contextmanager
def recorded_activations(model: GPT2LMHeadModel) -> Iterator[dict[int, Tensor]]:
    """Keep each forward pass's neuron activations, by layer, while the context is open."""
    seen: dict[int, Tensor] = {}

    def keep(layer: int):
        return lambda module, inputs: seen.__setitem__(layer, inputs[0].detach())

    blocks = enumerate(model.transformer.h)
    handles = [b.mlp.c_proj.register_forward_pre_hook(keep(layer)) for layer, b in blocks]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def strongest_next_tokens(
    model: GPT2LMHeadModel,
    documents: Int[Tensor, "prompt pos"],
    *,
    strongest: int = 20,
    batch: int = 64,
) -> Int[Tensor, "rank layer neuron"]:
    """Return what follows each neuron's maximum in each of its strongest documents.

    The last position of a document has no successor in it and does not count, nor does any BOS.
    """
    kept: list[Tensor] = []
    with torch.no_grad(), recorded_activations(model) as seen:
        for rows in documents.split(batch):
            ids = rows.to(model.device).long()
            model.transformer(ids[:, :-1], use_cache=False)
            activation = torch.stack([seen[layer] for layer in sorted(seen)], dim=1).float()
            barred = (ids[:, :-1] == BOS_ID)[:, None, :, None]
            value, position = activation.masked_fill(barred, -torch.inf).max(dim=2)
            following = ids.gather(1, position.flatten(1) + 1).reshape(position.shape)
            new = (value, following)
            if kept:
                value, following = (torch.cat(pair) for pair in zip(kept, new, strict=True))
            value, row = value.topk(min(strongest, len(value)), dim=0)
            kept = [value, following.gather(0, row)]
    return kept[1]


def measure_following(
    model: GPT2LMHeadModel,
    documents: Int[Tensor, "prompt pos"],
    eligible: Bool[Tensor, " vocab"],
    *,
    strongest: int = 20,
    batch: int = 64,
) -> Following:
    """Measure, for all neurons at once, how often their token follows them."""
    training = model.training
    model.eval()
    token = tokens_of_neurons(model, eligible)
    after = strongest_next_tokens(model, documents, strongest=strongest, batch=batch)
    model.train(training)
    own = documents[documents != BOS_ID].flatten().cpu().long()
    rate = torch.bincount(own, minlength=model.config.vocab_size) / len(own)
    share = (after == token).float().mean(dim=0)
    return Following(token.cpu(), share.cpu(), rate[token.cpu()])
