"""Muon for the blocks' matrices, AdamW for the rest: about half the tokens for the same loss.

Muon (Jordan and others, 2024) steps along the orthogonalised momentum. PyTorch's own version
orthogonalises in bfloat16, which processors without bfloat16 arithmetic emulate at a tenth of the
speed; this one computes in the weights' dtype and is otherwise the same rule, with the step scaled
to AdamW's usual size (Liu and others, 2025), so that one learning rate serves both.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz step that sends singular values near 1 fastest."""


class Muon(torch.optim.AdamW):
    """AdamW, except for groups marked `orthogonal`, whose matrices step along U Vᵀ."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; gradients of orthogonal groups are used up."""
        for group in self.param_groups:
            if not group.get("orthogonal"):
                continue
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                direction = orthogonalised(weight.grad.lerp(state["momentum"], MOMENTUM))
                size = 0.2 * math.sqrt(max(weight.shape))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction, alpha=-group["lr"] * size)
                weight.grad = None  # AdamW, below, passes over weights without a gradient
        return super().step(closure)


def orthogonalised(
    matrix: Float[Tensor, "row column"], *, rounds: int = 5
) -> Float[Tensor, "row column"]:
    """Return nearly U Vᵀ of the matrix's singular value decomposition, by Newton-Schulz rounds."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
