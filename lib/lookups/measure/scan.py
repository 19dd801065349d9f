"""One pass over many documents: where was each neuron strongest? (chapter 3)

Every document gives every neuron one maximum (paper, step 2), at the first of equal positions. Of
these `lookups.measure.kept_maxima` keeps a bounded number. Neither batch size nor the order of
documents changes the result: numbers and lots follow from a document's key, and maxima are rounded
before they are compared, since equal contexts differ in the last bits from batch to batch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookups.corpus.documents import Documents
from lookups.errors import SourceError
from lookups.measure.activation import Site
from lookups.measure.kept_maxima import Maxima, Spread, Strongest, joined, level_of
from lookups.model.batches import Batch, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Neuron

SETTLE = 256
"""Documents after which it is settled which maxima are kept: rarely, for it costs."""

WINDOW = 2**15
"""Consecutive documents that are put in the order of their lengths, so that padding is rare."""


class Scan(NamedTuple):
    """What one pass found: each neuron's strongest documents, and candidates for the spread sample.

    `successors` counts how often each token id followed a position that could be a maximum.
    `frequency` is the share of documents whose maximum lies in the band that holds half of the
    neuron's largest (0.479 to 0.5 of it) or in a higher one, 0 where it never fires.
    """

    neurons: list[Neuron]
    strongest: Maxima
    spread: Maxima
    successors: Int[Tensor, " vocab"]
    frequency: Float[Tensor, " neuron"]


def scan(
    model: Model,
    documents: Documents,
    layers: Sequence[int],
    *,
    strongest: int,
    per_band: int = 8,
    only_last: bool = False,
    progress: Callable[[int], None] = lambda n: None,
) -> Scan:
    """Find every neuron's maxima over all documents; `only_last` reads only their last tokens.

    A maximum is never at the beginning-of-sequence token, at padding, or (unless `only_last`) at a
    document's last token, which has no successor. `progress` is told the documents of each batch.
    SourceError if no document has a position that could be a maximum.
    """
    neurons = model.neurons(layers)
    numbers, lots = torch.zeros(2, len(documents), dtype=torch.long, device=model.device)
    best = Strongest(strongest, len(neurons), numbers)
    spread = Spread(per_band, len(neurons), lots)
    successors = torch.zeros(model.d_vocab, dtype=torch.long, device=model.device)
    waiting: list[Maxima] = []

    def settle() -> None:
        if waiting:
            found = joined(*waiting)
            best.add(found)
            spread.add(found)
            waiting.clear()

    shortest = 1 if only_last else 2
    for rows in _batches(documents, numbers, lots, shortest, model.tokens()):
        batch = model.batch([documents[row].ids for row in rows])
        if not only_last:  # what follows the first token, which follows the BOS, and so on
            following = batch.ids[:, 2:][batch.mask[:, 2:]]
            successors += torch.bincount(following, minlength=model.d_vocab)
        waiting.append(_batch_maxima(model, batch, layers, rows, only_last=only_last))
        if sum(len(one.document) for one in waiting) >= SETTLE:
            settle()
        progress(len(rows))
    settle()
    n_documents = spread.counts.sum(0)
    if not n_documents.any():
        where = f"{documents.corpus}/{documents.split}"
        raise SourceError(f"no document of {where} is long enough; give some of two tokens or more")
    frequency = spread.counts[:-1].sum(0) / n_documents
    return Scan(neurons, best.kept, spread.kept, successors.cpu(), frequency.cpu())


def maxima_table(
    found: Maxima, scanned: Scan, documents: Documents, neurons: Sequence[Neuron] | None = None
) -> pd.DataFrame:
    """Return kept maxima as rows (neuron, prompt, position, activation, next_token_id, source).

    `order` counts a neuron's rows as they were kept; `band` counts bands downwards from the one
    that holds the neuron's maximum (0). The spread's last (BANDS) reaches below half of the
    maximum: leave out rows that lie there. The next token of a document's last is -1.
    """
    columns = {neuron: column for column, neuron in enumerate(scanned.neurons)}
    wanted = list(scanned.neurons if neurons is None else neurons)
    some = torch.tensor([columns[neuron] for neuron in wanted], dtype=torch.long)
    by_neuron = [axis.cpu()[:, some].T.numpy() for axis in found]
    neuron, slot = np.nonzero(by_neuron[0] > 0)
    activation, document, at = (axis[neuron, slot] for axis in by_neuron)
    read = {row: documents[row] for row in np.unique(document).tolist()}
    prompts = [read[row] for row in document.tolist()]
    following = [one.ids[place + 1 : place + 2] for one, place in zip(prompts, at, strict=True)]
    top = level_of(scanned.strongest.activation[0].cpu()[some])[neuron]
    table = pd.DataFrame(
        {
            "neuron": [str(wanted[one]) for one in neuron],
            "prompt": [one.key for one in prompts],
            "position": at,
            "activation": activation,
            "next_token_id": [int(ids[0]) if len(ids) else -1 for ids in following],
            "source": [one.source for one in prompts],
            "band": (top - level_of(torch.from_numpy(activation))).long().numpy(),
        }
    )
    table["order"] = table.groupby("neuron", sort=False).cumcount()
    return table


def _batches(
    documents: Documents, numbers: Tensor, lots: Tensor, shortest: int, tokens: int
) -> Iterator[list[int]]:
    """Yield rows of similar lengths, window after window; note the numbers and lots of each."""
    for start in range(0, len(documents), WINDOW):
        here = [documents[row] for row in range(start, min(start + WINDOW, len(documents)))]
        keys, stop = [one.key for one in here], start + len(here)
        numbers[start:stop] = torch.tensor([int(key.rpartition("/")[2]) for key in keys])
        lots[start:stop] = torch.tensor([lot_of(key) for key in keys])
        length = np.array([len(one.ids) for one in here])
        usable = np.flatnonzero(length >= shortest)
        for some in batches_by_length(length[usable].tolist(), tokens=tokens):
            yield (start + usable[some]).tolist()


def lot_of(key: str) -> int:
    """A number that depends on the document's key alone: the smallest are chosen."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 1


def _batch_maxima(
    model: Model, batch: Batch, layers: Sequence[int], rows: list[int], *, only_last: bool
) -> Maxima:
    """Each document's maximum of every neuron, in the order of `model.neurons(layers)`."""
    # documents of one length stand together; the column of a last token is the length, for the
    # beginning-of-sequence token is column 0
    lengths = batch.last.tolist()
    edges = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
    runs = [(slice(start, stop), lengths[start]) for start, stop in pairwise(edges)]
    reach = [(some, slice(last if only_last else 1, last + only_last)) for some, last in runs]
    shape = len(rows), len(layers), len(model.signs), model.d_mlp
    value = torch.empty(shape, device=model.device)
    column = torch.empty(shape, dtype=torch.int32, device=model.device)

    def take_maximum(place: int, post: Float[Tensor, "prompt pos d_mlp"]) -> None:
        for some, columns in reach:
            part = post[some, columns]
            for side, sign in enumerate(model.signs):
                most = part.max(dim=1) if sign > 0 else part.min(dim=1)
                value[some, place, side] = most.values * sign
                column[some, place, side] = most.indices + (columns.start - 1)

    hooks = enumerate(map(Site.POST.format, layers))
    model.read(batch, {name: partial(take_maximum, place) for place, name in hooks})
    # rounded to 15 significant bits of float32's 24: the rest is noise
    value.view(torch.int32).add_(1 << 8).bitwise_and_(~((1 << 9) - 1))
    value, column = value.flatten(1), column.flatten(1)
    numbers = torch.tensor(rows, device=model.device)
    return Maxima(value, numbers[:, None].expand_as(value), column)
