"""Where does a head look, what does it bring from there, and is it of a known kind? (chapter 6)

Known kinds (Elhage et al. 2021; Olsson et al. 2022): *previous token*, attention to the token
before; *duplicate token*, to earlier copies of the token read; *induction*, to the tokens right
behind such copies. A score is a mean over the positions that have such a place to look at; chance
is what a head gets that looks at all places alike. The BOS is no token of the text.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookups.measure.activation import Site, check_feed, inputs_of, keeper
from lookups.measure.attribution import Input, worth
from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model, Prompts
from lookups.names import Head, Heads, Neuron

HeadType = Literal["previous token", "duplicate token", "induction"]
HEAD_TYPES: tuple[HeadType, ...] = get_args(HeadType)


class Look(NamedTuple):
    """How some heads look back from the last token of one prompt; the BOS is the first key.

    A contribution is attention from the last token times what the value there writes into the
    neuron's input; over keys they sum to the head's attribution. The pattern has all positions.
    """

    heads: list[Head]
    pattern: Float[Tensor, "head query key"]
    contribution: Float[Tensor, "head key"]

    @property
    def attribution(self) -> Float[Tensor, " head"]:
        return self.contribution.sum(1)


def look(
    model: Model, neuron: Neuron, heads: Heads, ids: Ids, *, into: Input | None = None
) -> Look:
    """Return the attention of some heads, and what each key brings one neuron, on one prompt."""
    return looks(model, neuron, heads, [ids], into=into)[0]


def looks(
    model: Model, neuron: Neuron, heads: Heads, sequences: Prompts, *, into: Input | None = None
) -> list[Look]:
    """Look back from the last token of several prompts, all in one pass, in their order.

    `into` is the neuron's input: by default `in`, for a gated MLP the product `post`. ValueError if
    a head does not feed the neuron.
    """
    check_feed(model, heads, neuron.layer)
    scale, inputs = Site.SCALE.format(neuron.layer), inputs_of(model, neuron.layer)
    reads = {name: w[:, neuron.index] for name, (w, _) in model.mlp_in(neuron.layer).items()}
    into = into or ("post" if model.gated else "in")
    layers = sorted({head.layer for head in heads})
    names = [hook.format(at) for at in layers for hook in (Site.PATTERN, Site.VALUES)]
    seen: dict[str, Tensor] = {}
    batch = model.batch(sequences)
    model.read(batch, {name: keeper(seen, name) for name in [*names, scale, *inputs.values()]})
    found = []
    for row, last in enumerate(batch.last.tolist()):
        own, size = {name: tensor[row] for name, tensor in seen.items()}, last + 1
        if into == "post":
            each = worth(model, *(own[hook][last, neuron.index] for hook in inputs.values()))
            reads["post"] = sum(each[name] * reads[name] for name in each)
        direction = reads[into] / own[scale][last]
        patterns, brought = [], []
        for head in heads:  # what stands behind the last token is padding
            patterns.append(own[Site.PATTERN.format(head.layer)][head.index, :size, :size])
            values = own[Site.VALUES.format(head.layer)][:size]
            of_head = einsum(model.w_o(head.layer)[head.index], direction, "z d, d -> z")
            value = einsum(values[:, model.key_head(head)], of_head, "key z, z -> key")
            brought.append(patterns[-1][-1] * value * neuron.sign)
        found.append(Look(list(heads), torch.stack(patterns), torch.stack(brought)))
    return found


def repeated(model: Model, *, rows: int, length: int, seed: int) -> Int[np.ndarray, "row pos"]:
    """Return rows of random ids, each twice in succession, without the model's special tokens."""
    random = np.random.default_rng(seed)
    special = [*model.tokenizer.all_special_ids, model.bos_id]
    plain = np.setdiff1d(np.arange(model.d_vocab), special)
    return np.tile(plain[random.integers(0, len(plain), (rows, length))], 2)


def head_kinds(model: Model, sequences: Prompts) -> pd.DataFrame:
    """Return a row for every head of the model, a score for each kind, and `chance` as last row;
    not-a-number for a kind for which no sequence has a place to look at."""
    layers, kinds = range(model.n_layers), len(HEAD_TYPES)
    sums = torch.zeros(model.n_layers, model.n_heads, kinds, dtype=torch.float64)
    chance, count = torch.zeros(2, kinds, dtype=torch.float64)
    lengths = [len(ids) for ids in sequences]
    for some in batches_by_length(lengths, tokens=model.tokens() // 2):
        batch = model.batch([sequences[row] for row in some])
        places = _places(batch.ids, batch.mask)
        count += places.any(-1).sum((0, 2)).cpu()
        reach = torch.arange(1, batch.ids.shape[1] + 1, device=batch.ids.device)
        chance += (places.sum(-1).double() / reach).sum((0, 2)).cpu()

        def add(pattern: Tensor, at: int, places: Tensor = places) -> None:
            exact = pattern if pattern.is_cuda else pattern.double()
            found = einsum(exact, places.to(exact), "row h q k, row kind q k -> h kind")
            sums[at] += found.double().cpu()

        model.read(batch, {Site.PATTERN.format(at): partial(add, at=at) for at in layers})
    scores = torch.cat([sums.flatten(0, 1), chance[None]]) / count
    heads = [str(Head(at, h)) for at in layers for h in range(model.n_heads)]
    return pd.DataFrame(
        scores.to(model.dtype).numpy(), index=[*heads, "chance"], columns=list(HEAD_TYPES)
    )


def _places(
    ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"]
) -> Bool[Tensor, "row kind query key"]:
    """Say where a head of each kind looks: column 0, the beginning, is never asked nor a copy."""
    at = torch.arange(ids.shape[1], device=ids.device)
    text = mask & (at > 0)
    asked = text[:, :, None] & text[:, None, :] & (at[:, None] > at[None, :])
    copy = (ids[:, :, None] == ids[:, None, :]) & asked
    previous = (at[:, None] == at[None, :] + 1) & asked
    return torch.stack([previous, copy, copy.roll(1, dims=2) & asked], 1)
