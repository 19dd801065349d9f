"""Put a value in the place of one head's or one neuron's output (chapters 9 to 11)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookups.measure.intervention import Edit
from lookups.model.resume import Hook, Place

Where = Literal["everywhere", "behind_bos", "last"]


@dataclass(frozen=True)
class Substitution(Edit):
    """For every row, a value that one head or neuron puts out instead.

    What a layer puts out before the last token reaches the last token's logits only through the
    attention of later layers: in the last layer, only the last token is run again.
    """

    hook: Literal["attn.hook_z", "mlp.hook_post"]
    layers: Int[np.ndarray, " row"]
    indices: Int[np.ndarray, " row"]
    """Which head or neuron of the layer."""
    values: Float[Tensor, "row ..."]
    """`d_head` numbers for a head, one for a neuron."""
    where: Where
    """At every position, at every one but the BOS, or at the last token only."""
    n_layers: int
    keys: np.ndarray
    """Rows that share prompt, head or neuron, and key have the same value."""

    @property
    def starts(self) -> np.ndarray:
        return self.layers

    @property
    def alone(self) -> np.ndarray:
        return (self.layers == self.n_layers - 1) | (self.where == "last")

    @property
    def watched(self) -> set[str]:
        return set()

    def key(self, row: int) -> Hashable:
        return int(self.layers[row]), int(self.indices[row]), self.keys[row]

    def hooks(self, rows: np.ndarray, place: Place) -> list[tuple[str, Hook]]:
        index = torch.from_numpy(self.indices[rows]).to(place.prompts.device)
        value = rearrange(self.values[rows], "row ... -> row 1 ...")
        touched = self._touched(place)
        if self.values.ndim == 2:
            touched = rearrange(touched, "row pos -> row pos 1")

        def substitute(tensor: Tensor) -> Tensor:
            usual = tensor[place.rows, :, index]
            tensor[place.rows, :, index] = torch.where(touched, value, usual)
            return tensor  # nothing else reads it

        return [(f"blocks.{self.layers[rows[0]]}.{self.hook}", substitute)]

    def _touched(self, place: Place) -> Bool[Tensor, "row pos"]:
        if self.where == "everywhere":
            return torch.ones_like(place.positions, dtype=torch.bool)
        if self.where == "behind_bos":
            return place.positions > 0
        return place.positions == rearrange(place.last, "row -> row 1")
