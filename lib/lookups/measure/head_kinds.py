"""Is a head of a known kind? Scores of attention patterns on given sequences (chapter 6).

*Previous token*: attention to the token before. *Duplicate token*: to earlier copies of the token
read. *Induction*: to the tokens that came right behind such copies (Elhage et al. 2021; Olsson et
al. 2022). A score is a mean over the positions that have such a place to look at; chance is what a
head gets that looks at all places alike. The beginning-of-sequence token is no token of the text.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Int
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Head

HeadType = Literal["previous token", "duplicate token", "induction"]
HEAD_TYPES: tuple[HeadType, ...] = get_args(HeadType)


def repeated(model: Model, *, rows: int, length: int, seed: int) -> Int[np.ndarray, "row pos"]:
    """Return rows of random ids, each twice in succession, without the model's special tokens."""
    random = np.random.default_rng(seed)
    special = set(model.tokenizer.all_special_ids) | {model.bos_id}
    plain = np.array([token for token in range(model.d_vocab) if token not in special])
    return np.tile(plain[random.integers(0, len(plain), (rows, length))], 2)


def head_kinds(model: Model, sequences: Sequence[Ids]) -> pd.DataFrame:
    """Return a row for every head of the model, a score for each kind, and `chance` as last row.

    A kind for which no sequence has a place to look at is not-a-number.
    """
    sums = torch.zeros(model.n_layers, model.n_heads, len(HEAD_TYPES), dtype=torch.float64)
    chance, count = np.zeros(len(HEAD_TYPES)), np.zeros(len(HEAD_TYPES))
    lengths = [len(ids) for ids in sequences]
    for some in batches_by_length(lengths, tokens=model.tokens() // 2):
        batch = model.batch([sequences[row] for row in some])
        places = _places(batch.ids, batch.mask)
        there = places.any(-1)
        count += there.sum((0, 2)).cpu().numpy()
        reach = torch.arange(1, batch.ids.shape[1] + 1, device=batch.ids.device)
        chance += (places.sum(-1) / reach).double().sum((0, 2)).cpu().numpy()

        def take(layer: int, wanted: Tensor = places):
            def keep(pattern: Tensor) -> None:
                found = einsum(
                    pattern, wanted.to(pattern.dtype), "row h q k, row kind q k -> h kind"
                )
                sums[layer] += found.double().cpu()

            return keep

        hooks = {f"blocks.{at}.attn.hook_pattern": take(at) for at in range(model.n_layers)}
        model.read(batch, hooks)
    with np.errstate(invalid="ignore"):
        scores = sums.flatten(0, 1).numpy() / count
        last = chance / count
    heads = [str(Head(at, h)) for at in range(model.n_layers) for h in range(model.n_heads)]
    return pd.DataFrame([*scores, last], index=[*heads, "chance"], columns=list(HEAD_TYPES))


def _places(
    ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"]
) -> Bool[Tensor, "row kind query key"]:
    """Say where a head of each kind looks: column 0, the beginning, is never asked nor a copy."""
    width = ids.shape[1]
    at = torch.arange(width, device=ids.device)
    earlier = at[:, None] > at[None, :]
    text = mask & (at > 0)
    asked = text[:, :, None] & text[:, None, :] & earlier
    copy = (ids[:, :, None] == ids[:, None, :]) & asked
    behind = torch.zeros_like(copy)
    behind[:, :, 1:] = copy[:, :, :-1]
    previous = (at[:, None] == at[None, :] + 1) & asked
    return torch.stack([previous, copy, behind & asked], 1)
