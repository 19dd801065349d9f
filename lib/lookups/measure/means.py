"""The average output of heads and neurons, to put in place of what they do (chapters 9 to 11).

Averages run over every token of the given texts but the BOS: the texts should be training texts,
so that nothing of a held-out prompt goes into what it is compared with.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model

Output = Literal["z", "post"]
"""What is averaged: heads' outputs or neurons' activations."""


class Means(NamedTuple):
    """Averages of some layers, in the model's dtype; what was not asked for is empty."""

    layers: list[int]
    """The layers of the layer axis."""
    z: Float[Tensor, "layer head d_head"]
    """Of a head's output before W_O, its value bias left out; W_O turns it into the mean output."""
    post: Float[Tensor, "layer d_mlp"]
    """Of a neuron's activation, its sign not turned."""
    tokens: int
    """How many tokens were averaged over."""

    def of_layer(self, layer: int) -> int:
        """Return where a layer stands on the layer axis.

        Raises:
            ValueError: no averages of that layer were measured.
        """
        if layer not in self.layers:
            raise ValueError(f"no means of layer {layer} were measured, only of {self.layers}")
        return self.layers.index(layer)


def measure_means(
    model: Model,
    sequences: Sequence[Ids],
    layers: Sequence[int],
    *,
    of: Sequence[Output] = ("z", "post"),
    tokens_per_batch: int | None = None,
) -> Means:
    """Return the average output of every head, neuron or both of some layers over some texts.

    Raises:
        ValueError: there is no token to average over.
    """
    lengths = [len(ids) for ids in sequences]
    if not sum(lengths):
        raise ValueError("no token to average over; give texts that have some")
    totals: dict[str, Tensor] = {}
    hooks: dict[Output, str] = {"z": "attn.hook_z", "post": "mlp.hook_post"}
    names = {(kind, at): f"blocks.{at}.{hooks[kind]}" for at in layers for kind in of}
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        batch = model.batch([sequences[i] for i in some])
        counted = batch.mask.clone()
        counted[:, 0] = False

        def adder(name: str, counted: Tensor = counted):
            def take(tensor: Tensor) -> None:
                summed = reduce(tensor[counted].double(), "token ... -> ...", "sum")
                totals[name] = totals.get(name, 0) + summed

            return take

        model.read(batch, {name: adder(name) for name in names.values()})

    def stacked(kind: Output) -> Tensor:
        if kind not in of:
            shape = (model.n_heads, model.d_head) if kind == "z" else (model.d_mlp,)
            return torch.empty(0, *shape, dtype=model.dtype, device=model.device)
        found = [totals[names[kind, layer]] / sum(lengths) for layer in layers]
        return torch.stack(found).to(model.dtype)

    return Means(list(layers), stacked("z"), stacked("post"), sum(lengths))
