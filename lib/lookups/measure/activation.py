"""How strongly a prompt's own neuron fires (chapters 3 and 4), and what is read together.

Rows pair a neuron, or a head, with token ids. Rows that share ids share the forward pass, which
stops at the deepest layer asked about.
"""

from collections.abc import Callable, Hashable, Iterator, MutableMapping, Sequence, Sized

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model.batches import TOGETHER, batches_by_length
from lookups.model.loaded import Model, Prompts
from lookups.model.workers import results_of
from lookups.names import Heads, Neurons, Units

APART = 1024
"""Tokens from which on prompts whose neurons lie in one layer are worth passes of their own."""

Column = Float[np.ndarray, " row"]

Fire = Callable[[Sequence[int], Prompts], np.ndarray]
"""Rows and the ids to read in each: the activation of each row's neuron at the last id."""


class Site:
    """Places in the pass of a layer, by TransformerLens's names. `Z` is what heads put out, without
    value biases; `ENTERING` what the MLP's norm reads, `SCALE` what it divides by."""

    PATTERN, VALUES = "blocks.{}.attn.hook_pattern", "blocks.{}.attn.hook_v"
    Z, POST = "blocks.{}.attn.hook_z", "blocks.{}.mlp.hook_post"
    ENTERING, SCALE = "blocks.{}.ln2.hook_in", "blocks.{}.ln2.hook_scale"
    NORMED, WRITTEN = "blocks.{}.mlp.hook_in", "blocks.{}.hook_mlp_out"


def activations(model: Model, neurons: Neurons, sequences: Prompts, *, bos: bool = True) -> Column:
    """Return, for every row, the activation of its neuron (times its sign) at the last token.

    `bos=False` reads the ids without a beginning-of-sequence token (the paper's truncation).
    """
    found = own_at_last(model, Site.POST, neurons, sequences, bos)
    signs = np.array([neuron.sign for neuron in neurons], dtype=np.float64)
    return signs * found.double().cpu().numpy()


def own_at_last(
    model: Model, hook: str, units: Units, sequences: Prompts, bos: bool = True
) -> Float[Tensor, "row ..."]:
    """Return what each row's neuron or head has at a hook of its layer, at the row's last token."""
    layers, indices = (np.array([unit[at] for unit in units], dtype=np.int64) for at in (0, 1))
    calls, order = [], [layers[:0]]
    for first, rows, places in in_batches([sequences], tokens=model.tokens(), layers=layers):
        by_layer = layers[rows].argsort(kind="stable")
        order.append(rows[by_layer])
        own = layers[order[-1]], indices[order[-1]], places[by_layer]
        calls.append((hook, [sequences[row] for row in first], bos, *own))
    pieces = [torch.empty(0, dtype=model.dtype, device=model.device)]
    pieces += results_of(model, _read_own, calls)
    return torch.cat(pieces)[np.concatenate(order).argsort()]


def _read_own(
    model: Model, hook: str, texts: Prompts, bos: bool,
    layers: np.ndarray, indices: np.ndarray, places: np.ndarray,
) -> Float[Tensor, "row ..."]:  # fmt: skip
    """What stands at a hook of rows in the order of their layers, whose texts are read together."""
    names = {at: hook.format(at) for at in np.unique(layers).tolist()}
    found = model.read_last(texts, names.values(), bos=bos)
    return torch.cat([found[name][places[layers == at], indices[layers == at]]
                      for at, name in names.items()])  # fmt: skip


def inputs_of(model: Model, layer: int) -> dict[str, str]:
    """Return the hook names of what a layer's neurons read: `in`, or `gate` and `up`."""
    mlp = f"blocks.{layer}.mlp."
    if model.gated:
        return {"gate": mlp + "hook_pre", "up": mlp + "hook_pre_linear"}
    return {"in": mlp + "hook_pre"}


def batched(model: Model, sequences: Prompts) -> Iterator[np.ndarray]:
    """Yield the numbers of sequences that the model reads together."""
    return batches_by_length([len(ids) for ids in sequences], tokens=model.tokens())


def check_rows(*columns: Sized) -> None:
    """Refuse columns that differ in length (ValueError)."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1:
        raise ValueError(f"every row has one of each, but there are {lengths}")


def check_feed(model: Model, heads: Heads, layer: int) -> None:
    """Refuse heads that do not feed the neurons of a layer (ValueError)."""
    late = ", ".join(str(head) for head in heads if head.layer not in model.head_layers(layer))
    if late:
        raise ValueError(f"no neuron of layer {layer} is fed by {late}: choose heads before it")


def in_batches(
    columns: Sequence[Prompts],
    *,
    tokens: int,
    together: int = TOGETHER,
    layers: Int[np.ndarray, " row"] | None = None,
) -> Iterator[tuple[list[int], Int[np.ndarray, " row"], np.ndarray]]:
    """Yield what is read together, texts that rows share once: a row that has each text, all rows
    that have one, and which of the texts each has. Texts that must be read to other `layers` stand
    apart, where they are many."""
    rows_of: dict[tuple[bytes, ...], list[int]] = {}
    for row, texts in enumerate(zip(*columns, strict=True)):
        key = tuple(np.asarray(ids, np.int64).tobytes() for ids in texts)
        rows_of.setdefault(key, []).append(row)
    groups = [np.array(rows) for rows in rows_of.values()]
    lengths = np.array([max(len(column[rows[0]]) for column in columns) for rows in groups])
    deepest = np.array([0 if layers is None else layers[rows].max() for rows in groups])
    order, start = deepest.argsort(kind="stable"), 0
    for stop in np.flatnonzero(np.diff(deepest[order], append=-1)) + 1:  # behind each layer
        alike = order[start:stop]
        if stop < len(order) and (lengths[alike] + 1).sum() < APART:
            continue
        start = stop
        for some in batches_by_length(lengths[alike].tolist(), tokens=tokens, sequences=together):
            chosen = [groups[i] for i in alike[some]]
            yield [int(rows[0]) for rows in chosen], *members(chosen)


def members(groups: Sequence[np.ndarray]) -> tuple[Int[np.ndarray, " row"], np.ndarray]:
    """Return all rows of some groups, and which of the groups each belongs to."""
    return np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(one) for one in groups])


def keeper(
    seen: MutableMapping, name: Hashable, take: Callable[[Tensor], Tensor] = torch.clone
) -> Callable[[Tensor], None]:
    """Return a hook that keeps what `take` copies of the tensor that it is shown."""
    return lambda tensor: seen.update({name: take(tensor)})
