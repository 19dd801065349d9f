"""One pass over many documents: where was each neuron strongest? (chapter 2)

Every document gives every neuron one maximum (paper, step 2). Kept are the strongest documents and
a few chosen by lot from each band of activation from half the maximum up, so that memory does not
grow with the number of documents. Neither batch size nor the order of documents changes the result:
equals are ordered by the number in the document's key, lots are drawn from the key, and activations
are rounded before they are compared, since equal contexts differ in the last bits from batch to
batch. What is reported about a prompt is measured again on the prompt alone (`lookups.firing`).
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookups.documents import Documents
from lookups.errors import CorpusError
from lookups.model import Model
from lookups.names import Neuron
from lookups.sequences import Batch, batches_by_length

BANDS = 16
"""Bands of activation to the octave: for all neurons the edges are powers of 2 ** (1 / BANDS)."""

SETTLE = 512
"""Documents after which kept maxima are sorted out: rarely, since sorting costs much of a scan."""


class Maxima(NamedTuple):
    """Documents kept for each neuron; a slot that nothing fills holds activation -inf."""

    activation: Float[Tensor, "slot neuron"]
    """Rounded to 15 significant bits."""
    document: Int[Tensor, "slot neuron"]
    """Row number in the documents scanned."""
    position: Int[Tensor, "slot neuron"]


class Scan(NamedTuple):
    """What one pass found."""

    neurons: list[Neuron]
    """The neurons of the neuron axis."""
    strongest: Maxima
    """The strongest documents, strongest first."""
    spread: Maxima
    """Candidates for the spread sample, strongest band first, in the order of their lots."""
    successors: Int[Tensor, " vocab"]
    """How often each token id followed a position that could be a maximum; 0 for `only_last`."""


def scan(
    model: Model,
    documents: Documents,
    layers: Sequence[int],
    *,
    strongest: int,
    per_band: int = 8,
    only_last: bool = False,
    tokens_per_batch: int = 8192,
    progress: Callable[[int], None] = lambda n: None,
) -> Scan:
    """Find every neuron's maxima over all documents; `only_last` reads only their last tokens.

    A maximum is never at the beginning-of-sequence token, at padding, or (unless `only_last`) at a
    document's last token, which has no successor. `progress` is told the documents of each batch.

    Raises:
        CorpusError: no document has a position that could be a maximum.
    """
    neurons = model.neurons(layers)
    keys = [documents[row].key for row in range(len(documents))]
    lots = torch.tensor([_lot(key) for key in keys]).to(model.device)
    numbers = torch.tensor([int(key.rpartition("/")[2]) for key in keys]).to(model.device)
    best = _nothing(strongest, len(neurons), model.device)
    bands = _nothing((BANDS + 1) * per_band, len(neurons), model.device)
    successors = torch.zeros(model.d_vocab, dtype=torch.long, device=model.device)
    usable = [
        row for row in range(len(documents)) if len(documents[row].ids) >= (1 if only_last else 2)
    ]
    if not usable:
        raise CorpusError(
            f"no document of {documents.corpus}/{documents.split} is long enough to scan; "
            "give documents of two tokens or more"
        )
    lengths = [len(documents[row].ids) for row in usable]
    waiting: list[Maxima] = []

    def settle() -> None:
        nonlocal best, bands
        if waiting:
            found = _joined(*waiting)
            best = _strongest(_joined(best, found), numbers, strongest)
            bands = _banded(_joined(bands, found), lots, per_band)
            waiting.clear()

    for some in batches_by_length(lengths, tokens=tokens_per_batch):
        rows = [usable[i] for i in some]
        batch = model.batch([documents[row].ids for row in rows])
        may_be = _may_be_maximum(batch, only_last=only_last)
        if not only_last:
            following = batch.ids[:, 1:][may_be[:, :-1]]
            successors += torch.bincount(following, minlength=model.d_vocab)
        read = torch.tensor(rows, device=model.device)
        waiting.append(_batch_maxima(model, batch, may_be, layers, read))
        if sum(len(one.document) for one in waiting) >= SETTLE:
            settle()
        progress(len(rows))
    settle()
    return Scan(neurons, best, bands, successors.cpu())


def maxima_table(
    found: Maxima, scanned: Scan, documents: Documents, neurons: Sequence[Neuron] | None = None
) -> pd.DataFrame:
    """Return kept maxima as rows (neuron, prompt, position, activation, next_token_id, source).

    The column `order` counts a neuron's rows in the order in which they were kept; `band` counts
    bands of activation downwards from the one that holds the neuron's maximum (0). The spread's
    last one (BANDS) reaches below half of the maximum: leave out rows that lie there.
    """
    columns = {neuron: column for column, neuron in enumerate(scanned.neurons)}
    wanted = list(scanned.neurons if neurons is None else neurons)
    some = torch.tensor([columns[neuron] for neuron in wanted], dtype=torch.long)
    activation, document, position = (x.cpu()[:, some].numpy() for x in found)
    top = scanned.strongest.activation[0].cpu()[some].numpy()
    kept = np.isfinite(activation) & (activation > 0)
    slot, column = np.nonzero(kept)
    by_neuron = np.lexsort((slot, column))
    slot, column = slot[by_neuron], column[by_neuron]
    chosen = [documents[row] for row in document[slot, column]]
    at = position[slot, column]
    levels = [_level(torch.from_numpy(some)) for some in (top[column], activation[slot, column])]
    table = pd.DataFrame(
        {
            "neuron": [str(wanted[c]) for c in column],
            "prompt": [one.key for one in chosen],
            "position": at,
            "activation": activation[slot, column],
            "next_token_id": [
                int(one.ids[p + 1]) if p + 1 < len(one.ids) else -1
                for one, p in zip(chosen, at, strict=True)
            ],
            "source": [one.source for one in chosen],
            "band": (levels[0] - levels[1]).long().numpy(),
        }
    )
    table["order"] = table.groupby("neuron", sort=False).cumcount()
    return table


def _lot(key: str) -> int:
    """A number that depends on the document's key alone: the smallest are chosen."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 1


def _may_be_maximum(batch: Batch, *, only_last: bool) -> Bool[Tensor, "prompt pos"]:
    column = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None, :]
    last = batch.last[:, None]
    return (column == last) if only_last else (column >= 1) & (column < last)


def _batch_maxima(
    model: Model, batch: Batch, may_be: Tensor, layers: Sequence[int], rows: Tensor
) -> Maxima:
    """Each document's maximum of every neuron, in the order of `model.neurons(layers)`."""
    never = ~may_be
    value: dict[int, list[Tensor]] = {}
    column: dict[int, list[Tensor]] = {}

    def take_maximum(layer: int) -> Callable[[Tensor], None]:
        def take(post: Float[Tensor, "prompt pos d_mlp"]) -> None:
            value[layer], column[layer] = [], []
            for sign in model.signs:
                signed = _rounded(post * sign)
                signed[never] = -torch.inf
                largest = signed.max(dim=1)  # the first of equals
                value[layer].append(largest.values)
                column[layer].append(largest.indices)

        return take

    model.read(batch, {f"blocks.{layer}.mlp.hook_post": take_maximum(layer) for layer in layers})
    values = torch.cat([part for layer in layers for part in value[layer]], dim=1)
    columns = torch.cat([part for layer in layers for part in column[layer]], dim=1)
    documents = rows[:, None].expand_as(values)
    return Maxima(values, documents, columns - 1)


def _rounded(signed: Tensor) -> Tensor:
    """Round a tensor of one's own to 15 significant bits of float32's 24: the rest is noise."""
    rounded = signed.float().contiguous()
    rounded.view(torch.int32).add_(1 << 8).bitwise_and_(~((1 << 9) - 1))
    return rounded


def _nothing(slots: int, neurons: int, device: torch.device) -> Maxima:
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())


def _joined(*maxima: Maxima) -> Maxima:
    return Maxima(*(torch.cat(parts) for parts in zip(*maxima, strict=True)))


def _order(*keys: Tensor) -> Int[Tensor, "slot neuron"]:
    """Return the places of every neuron's slots when sorted by keys, the most important last."""
    order = keys[0].argsort(dim=0, stable=True)
    for key in keys[1:]:
        order = order.gather(0, key.gather(0, order).argsort(dim=0, stable=True))
    return order


def _of_document(facts: Int[Tensor, " document"], maxima: Maxima) -> Int[Tensor, "slot neuron"]:
    """Look up a fact of each slot's document; empty slots come last."""
    return torch.where(maxima.document >= 0, facts[maxima.document.clamp(min=0)], _NEVER)


def _strongest(maxima: Maxima, numbers: Tensor, slots: int) -> Maxima:
    order = _order(_of_document(numbers, maxima), -maxima.activation)[:slots]
    return Maxima(*(part.gather(0, order) for part in maxima))


def _level(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    positive = activation > 0
    level = torch.where(positive, activation, 1.0).double().log2().mul(BANDS).floor()
    return torch.where(positive, level, -torch.inf)


def _banded(maxima: Maxima, lots: Tensor, per_band: int) -> Maxima:
    """Keep, in each band below the maximum so far, the documents with the smallest lots.

    Bands have fixed edges (powers of 2 ** (1 / BANDS)), so what was kept stays right as the maximum
    grows: higher bands open and the lowest fall away.
    """
    level = _level(maxima.activation)
    level = level.masked_fill(level < level.amax(0, keepdim=True) - BANDS, -torch.inf)
    order = _order(_of_document(lots, maxima), -level)
    level = level.gather(0, order)
    rank = _rank_within_runs(level)
    dropped = (rank >= per_band) | ~level.isfinite()
    order = order.gather(0, dropped.long().argsort(dim=0, stable=True))
    slots = (BANDS + 1) * per_band
    dropped = dropped.sort(dim=0, stable=True).values[:slots]
    kept = Maxima(*(part.gather(0, order[:slots]) for part in maxima))
    return kept._replace(activation=kept.activation.masked_fill(dropped, -torch.inf))


_NEVER = torch.iinfo(torch.int64).max


def _rank_within_runs(sorted_values: Float[Tensor, "slot neuron"]) -> Int[Tensor, "slot neuron"]:
    """Count, down each column, the place of a value within its run of equal values, from 0."""
    place = torch.arange(len(sorted_values), device=sorted_values.device)[:, None]
    place = place.expand_as(sorted_values)
    starts = torch.ones_like(sorted_values, dtype=torch.bool)
    starts[1:] = sorted_values[1:] != sorted_values[:-1]
    return place - torch.where(starts, place, 0).cummax(dim=0).values
