"""What is left of a token when several heads and neurons are silenced at once (chapters 10, 11).

A silenced head puts out nothing at every position, a silenced neuron is at zero at every position
behind the beginning-of-sequence token: the kinds `zero` of head and neuron ablation, any number of
them in one pass. Every row has a set of its own.
"""

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lookups.model.batches import Batch, Ids, batches_by_length
from lookups.model.forward import Touch
from lookups.model.loaded import Model
from lookups.model.resume import log_probabilities
from lookups.names import Head, Neuron


class Silenced:
    """Silences each row's heads and neurons while a pass runs, and keeps what it is asked to."""

    def __init__(
        self,
        batch: Batch,
        heads: Sequence[Collection[Head]],
        neurons: Sequence[Collection[Neuron]],
        names: Collection[str] = (),
    ):
        self.batch, self.rows = batch, torch.arange(len(batch.ids), device=batch.ids.device)
        self.at_last = dict[str, Tensor]()
        """What stood at each row's last token, by name."""
        zeros: dict[str, list[tuple[int, int, int]]] = {name: [] for name in names}
        for row in range(len(batch.ids)):
            for head in heads[row]:
                place = zeros.setdefault(f"blocks.{head.layer}.attn.hook_z", [])
                place.append((row, 0, head.index))
            for neuron in neurons[row]:
                place = zeros.setdefault(f"blocks.{neuron.layer}.mlp.hook_post", [])
                place.append((row, 1, neuron.index))

        def hook(name: str, tensor: Tensor) -> None:
            for row, first, index in zeros[name]:
                tensor[row, first:, index] = 0
            if name in names:
                self.at_last[name] = tensor[self.rows, batch.last]

        self.touch = Touch({name: partial(hook, name) for name in zeros})
        """For the pass."""


@torch.no_grad()
def logp_without(
    model: Model,
    prompts: Sequence[Ids],
    token_ids: Sequence[int],
    heads: Sequence[Collection[Head]],
    neurons: Sequence[Collection[Neuron]],
    *,
    tokens_per_batch: int | None = None,
) -> Float[np.ndarray, " row"]:
    """Return each row's log-probability of its token without its heads and neurons (float64).

    Raises:
        ValueError: columns differ in length.
    """
    columns = (prompts, token_ids, heads, neurons)
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"every row has one of each, but there are {[len(c) for c in columns]}")
    found = np.zeros(len(prompts))
    lengths = [len(ids) for ids in prompts]
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        batch = model.batch([prompts[row] for row in some])
        silent = Silenced(batch, [heads[row] for row in some], [neurons[row] for row in some])
        final = model.forward.run(batch.ids, silent.touch)[silent.rows, batch.last]
        tokens = torch.tensor([int(token_ids[row]) for row in some], device=model.device)
        found[some] = log_probabilities(model, final, silent.rows, tokens).cpu().numpy()
    return found
