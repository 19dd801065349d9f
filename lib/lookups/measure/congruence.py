"""Which token does a neuron write, and how strongly: congruence (chapter 2).

The neuron × vocabulary matrix is never held whole: blocks of the vocabulary are gone through.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

Directions = Float[Tensor, "neuron d_model"]

BLOCK = 4096
"""Tokens whose products are computed together."""


class Congruence(NamedTuple):
    """How strongly a direction writes the token that it writes most (logits for one unit of
    activation, final LayerNorm's scale left out), and that token, of equals the first."""

    value: Float[Tensor, " neuron"]
    token_id: Int[Tensor, " neuron"]


def congruence(
    directions: Directions,
    w_u: Float[Tensor, "d_model vocab"],
    *,
    eligible: Bool[Tensor, " vocab"] | None = None,
    signs: Sequence[Literal[1, -1]] = (1,),
) -> Congruence:
    """Return max over eligible tokens t of direction · W_U[:, t], and that token (paper, step 1).
    With several `signs` all directions times the first come first, then all times the next.
    ValueError if no token is eligible."""
    every = torch.arange(w_u.shape[1], device=w_u.device)
    ids = every if eligible is None else every[eligible]
    if len(ids) == 0:
        raise ValueError("no token is eligible: lower the minimum count or check the vocabulary")
    shape = len(signs), len(directions)
    best = torch.full(shape, -torch.inf, device=w_u.device, dtype=w_u.dtype)
    token = torch.zeros(shape, device=w_u.device, dtype=torch.long)
    for some in ids.split(BLOCK):
        products = einsum(directions, w_u[:, some], "neuron d_model, d_model token -> neuron token")
        for row, sign in enumerate(signs):
            value, first = products.max(dim=1) if sign > 0 else products.min(dim=1)
            token[row] = torch.where(sign * value > best[row], some[first], token[row])
            best[row] = torch.maximum(best[row], sign * value)
    return Congruence(best.flatten(), token.flatten())
