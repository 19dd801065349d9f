"""How strongly does each prompt's own neuron fire at its last token? (chapters 3 and 4)

Rows pair a neuron with token ids. Rows that share ids share the forward pass, which stops at the
layer of the deepest neuron asked about, so that asking about many neurons costs no more than asking
about one.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Neuron

APART = 1024
"""Tokens from which on prompts whose neurons lie in one layer are worth passes of their own."""


def activations(
    model: Model,
    neurons: Sequence[Neuron],
    sequences: Sequence[Ids],
    *,
    bos: bool = True,
    tokens_per_batch: int | None = None,
) -> np.ndarray:
    """Return, for every row, the activation of its neuron (times its sign) at the last token.

    `bos=False` reads the ids without a beginning-of-sequence token (the paper's truncation).
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, sequence in enumerate(sequences):
        rows_of.setdefault(np.asarray(sequence, np.int64).tobytes(), []).append(row)
    shared = list(rows_of.values())
    lengths = np.array([len(sequences[rows[0]]) for rows in shared], dtype=np.int64)
    deepest = np.array([max(neurons[row].layer for row in rows) for rows in shared], dtype=np.int64)
    order: list[int] = []
    pieces: list[Tensor] = []
    for alike in _by_depth(deepest, lengths + 1):
        tokens = model.tokens(tokens_per_batch)
        for some in batches_by_length(lengths[alike].tolist(), tokens=tokens):
            groups = [shared[i] for i in alike[some]]
            asked: dict[int, list[tuple[int, int]]] = {}
            for place, rows in enumerate(groups):
                for row in rows:
                    asked.setdefault(neurons[row].layer, []).append((place, row))
            first = [sequences[rows[0]] for rows in groups]
            post = model.activations_at_last(first, sorted(asked), bos=bos)
            for layer, cells in asked.items():
                index = [neurons[row].index for _, row in cells]
                pieces.append(post[layer][[place for place, _ in cells], index])
                order += [row for _, row in cells]
    found = np.empty(len(sequences), dtype=np.float64)
    if pieces:
        signs = np.array([neurons[row].sign for row in order])
        found[order] = signs * torch.cat(pieces).double().cpu().numpy()
    return found


def _by_depth(deepest: np.ndarray, tokens: np.ndarray) -> Iterator[np.ndarray]:
    """Yield places by the layer to which they must be read, layers with few tokens together."""
    waiting: list[np.ndarray] = []
    for layer in np.unique(deepest):
        waiting.append(np.flatnonzero(deepest == layer))
        if sum(tokens[places].sum() for places in waiting) >= APART:
            yield np.concatenate(waiting)
            waiting.clear()
    if waiting:
        yield np.concatenate(waiting)
