"""How strongly does each prompt's own neuron fire at its last token? (chapters 3 and 4)

Rows pair a neuron, or a head, with token ids. Rows that share ids share the forward pass, which
stops at the deepest layer asked about.
"""

from collections.abc import Callable, Hashable, Iterator, MutableMapping, Sequence, Sized

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Head, Neuron

APART = 1024
"""Tokens from which on prompts whose neurons lie in one layer are worth passes of their own."""


def activations(
    model: Model, neurons: Sequence[Neuron], sequences: Sequence[Ids], *, bos: bool = True
) -> Float[np.ndarray, " row"]:
    """Return, for every row, the activation of its neuron (times its sign) at the last token.

    `bos=False` reads the ids without a beginning-of-sequence token (the paper's truncation).
    """
    found = own_at_last(model, "mlp.hook_post", neurons, sequences, bos)
    signs = np.array([neuron.sign for neuron in neurons], dtype=np.float64)
    return signs * found.double().cpu().numpy()


def own_at_last(
    model: Model,
    hook: str,
    units: Sequence[Neuron] | Sequence[Head],
    sequences: Sequence[Ids],
    bos: bool = True,
) -> Float[Tensor, "row ..."]:
    """Return what each row's neuron or head has at `blocks.*.{hook}` at the row's last token."""
    groups = shared(sequences)
    lengths = np.array([len(sequences[rows[0]]) for rows in groups], dtype=np.int64)
    deepest = np.array([max(units[row].layer for row in rows) for rows in groups], dtype=np.int64)
    pieces, order = [], []
    for alike in _by_depth(deepest, lengths + 1):
        for some in batches_by_length(lengths[alike].tolist(), tokens=model.tokens()):
            chosen = [groups[i] for i in alike[some]]
            rows, places = members(chosen)
            layers = np.array([units[row].layer for row in rows])
            names = {at: f"blocks.{at}.{hook}" for at in np.unique(layers).tolist()}
            found = model.read_last([sequences[one[0]] for one in chosen], names.values(), bos=bos)
            for at, name in names.items():
                mine = layers == at
                index = [units[row].index for row in rows[mine]]
                pieces.append(found[name][places[mine], index])
                order.append(rows[mine])
    if not pieces:
        return torch.empty(0, dtype=model.dtype, device=model.device)
    return torch.cat(pieces)[np.concatenate(order).argsort()]


def batched(model: Model, sequences: Sequence[Ids]) -> Iterator[np.ndarray]:
    """Yield the numbers of sequences that the model reads together."""
    return batches_by_length([len(ids) for ids in sequences], tokens=model.tokens())


def check_rows(*columns: Sized) -> None:
    """Refuse columns that differ in length (ValueError)."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1:
        raise ValueError(f"every row has one of each, but there are {lengths}")


def shared(*columns: Sequence[Ids]) -> list[np.ndarray]:
    """Group the rows that have the same ids in every column, in the order of their first rows."""
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for row, texts in enumerate(zip(*columns, strict=True)):
        key = tuple(np.asarray(ids, np.int64).tobytes() for ids in texts)
        groups.setdefault(key, []).append(row)
    return [np.array(rows) for rows in groups.values()]


def members(groups: Sequence[np.ndarray]) -> tuple[Int[np.ndarray, " row"], np.ndarray]:
    """Return all rows of some groups, and which of the groups each belongs to."""
    return np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(one) for one in groups])


def keeper(
    seen: MutableMapping, name: Hashable, take: Callable[[Tensor], Tensor] = torch.clone
) -> Callable[[Tensor], None]:
    """Return a hook that keeps what `take` copies of the tensor that it is shown."""
    return lambda tensor: seen.update({name: take(tensor)})


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
