"""One pass over many documents: where was each neuron strongest? (chapter 3)

Every document gives every neuron one maximum (paper, step 2), at the first of the positions that
are equal to the last bit. Kept are the strongest documents and a few chosen at random from each
band of activation from half the maximum up, so that memory does not grow with the number of
documents, but for a number and a lot of each (16 bytes). Neither batch size nor the order of
documents changes the result: equals are ordered by the number in the document's key, lots are drawn
from the key, and maxima are rounded before they are compared, since equal contexts differ in the
last bits from batch to batch. What is reported about a prompt is measured again on the prompt alone
(`lookups.measure.activation`).
"""

from collections.abc import Callable, Iterator, Sequence
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
from lookups.measure.kept_maxima import Maxima, Portion, Spread, Strongest, level_of
from lookups.model.batches import Batch, batches_by_length
from lookups.model.loaded import Model
from lookups.names import Neuron

SETTLE = 256
"""Documents after which it is settled which maxima are kept: rarely, for it costs."""

WINDOW = 2**15
"""Consecutive documents that are put in the order of their lengths together: so many that batches
hold little padding."""


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
    frequency: Float[Tensor, " neuron"]
    """The share of documents whose maximum lies in the band that holds half of the neuron's largest
    or in a higher one: a bound between 0.479 and 0.5 of the largest. 0 where it never fires."""


def scan(
    model: Model,
    documents: Documents,
    layers: Sequence[int],
    *,
    strongest: int,
    per_band: int = 8,
    only_last: bool = False,
    tokens_per_batch: int | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Scan:
    """Find every neuron's maxima over all documents; `only_last` reads only their last tokens.

    A maximum is never at the beginning-of-sequence token, at padding, or (unless `only_last`) at a
    document's last token, which has no successor. `progress` is told the documents of each batch.

    Raises:
        SourceError: no document has a position that could be a maximum.
    """
    neurons = model.neurons(layers)
    numbers, lots = torch.zeros(2, len(documents), dtype=torch.long, device=model.device)
    best = Strongest(strongest, len(neurons), model.device)
    spread = Spread(per_band, len(neurons), model.device)
    successors = torch.zeros(model.d_vocab, dtype=torch.long, device=model.device)
    waiting: list[Portion] = []
    n_documents = 0

    def settle() -> None:
        if waiting:
            found = Portion(*(torch.cat(parts) for parts in zip(*waiting, strict=True)))
            best.add(found, numbers)
            spread.add(found, lots)
            waiting.clear()

    shortest, tokens = 1 if only_last else 2, model.tokens(tokens_per_batch)
    for rows in _batches(documents, numbers, lots, shortest, tokens):
        sequences = [documents[row].ids for row in rows]
        batch = model.batch(sequences)
        reach = _reach([len(ids) for ids in sequences], only_last=only_last)
        if not only_last:
            for some, columns in reach:
                following = batch.ids[some, columns.start + 1 : columns.stop + 1].flatten()
                successors += torch.bincount(following, minlength=model.d_vocab)
        waiting.append(_batch_maxima(model, batch, reach, layers, rows))
        n_documents += len(rows)
        if sum(len(one.document) for one in waiting) >= SETTLE:
            settle()
        progress(len(rows))
    settle()
    frequency = spread.within_an_octave() / n_documents
    return Scan(neurons, best.kept, spread.kept, successors.cpu(), frequency.cpu())


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
    by_neuron = [axis.cpu()[:, some].T.numpy() for axis in found]
    top = scanned.strongest.activation[0].cpu()[some].numpy()
    column, slot = np.nonzero(by_neuron[0] > 0)
    activation, document, at = (axis[column, slot] for axis in by_neuron)
    keys, sources, following = _read_again(documents, document, at)
    levels = [level_of(torch.from_numpy(one)) for one in (top[column], activation)]
    table = pd.DataFrame(
        {
            "neuron": [str(wanted[c]) for c in column],
            "prompt": keys,
            "position": at,
            "activation": activation,
            "next_token_id": following,
            "source": sources,
            "band": (levels[0] - levels[1]).long().numpy(),
        }
    )
    table["order"] = table.groupby("neuron", sort=False).cumcount()
    return table


def _read_again(
    documents: Documents, rows: np.ndarray, at: np.ndarray
) -> tuple[list[str], list[str], list[int]]:
    """Return key, source and next token (-1: none) of positions, each document read once."""
    keys, sources, following = [""] * len(rows), [""] * len(rows), [-1] * len(rows)
    order = np.argsort(rows, kind="stable")
    last, document = None, None
    for place in order.tolist():
        if rows[place] != last:
            last, document = rows[place], documents[rows[place]]
        keys[place], sources[place] = document.key, document.source
        if at[place] + 1 < len(document.ids):
            following[place] = int(document.ids[at[place] + 1])
    return keys, sources, following


def _batches(
    documents: Documents, numbers: Tensor, lots: Tensor, shortest: int, tokens: int
) -> Iterator[list[int]]:
    """Yield rows of similar lengths, window after window; note the numbers and lots of each."""
    n_usable = 0
    for start in range(0, len(documents), WINDOW):
        rows = range(start, min(start + WINDOW, len(documents)))
        length, number, lot = (np.empty(len(rows), np.int64) for _ in range(3))
        for place, row in enumerate(rows):
            document = documents[row]
            length[place] = len(document.ids)
            number[place] = int(document.key.rpartition("/")[2])
            lot[place] = lot_of(document.key)
        for fact, values in ((numbers, number), (lots, lot)):
            fact[start : rows.stop] = torch.from_numpy(values).to(fact.device)
        usable = np.nonzero(length >= shortest)[0]
        n_usable += len(usable)
        for some in batches_by_length(length[usable].tolist(), tokens=tokens):
            yield (start + usable[some]).tolist()
    if not n_usable:
        raise SourceError(
            f"no document of {documents.corpus}/{documents.split} is long enough to scan; "
            "give documents of two tokens or more"
        )


def lot_of(key: str) -> int:
    """A number that depends on the document's key alone: the smallest are chosen."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 1


def _reach(lengths: list[int], *, only_last: bool) -> list[tuple[slice, slice]]:
    """Return, for each run of documents of one length, its rows and where a maximum may be."""
    edges = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
    found = []
    for start, stop in pairwise(edges):
        last = lengths[start]  # its column, the beginning-of-sequence token being column 0
        found.append((slice(start, stop), slice(last if only_last else 1, last + only_last)))
    return found


def _batch_maxima(
    model: Model,
    batch: Batch,
    reach: list[tuple[slice, slice]],
    layers: Sequence[int],
    rows: list[int],
) -> Portion:
    """Each document's maximum of every neuron, in the order of `model.neurons(layers)`."""
    shape = len(rows), len(layers), len(model.signs), model.d_mlp
    value = torch.empty(shape, device=model.device)
    column = torch.empty(shape, dtype=torch.int32, device=model.device)

    def take_maximum(place: int) -> Callable[[Tensor], None]:
        def take(post: Float[Tensor, "prompt pos d_mlp"]) -> None:
            for some, columns in reach:
                part = post[some, columns]
                for side, sign in enumerate(model.signs):
                    most = part.max(dim=1) if sign > 0 else part.min(dim=1)
                    value[some, place, side] = most.values * sign
                    column[some, place, side] = most.indices + (columns.start - 1)

        return take

    hooks = {f"blocks.{at}.mlp.hook_post": take_maximum(place) for place, at in enumerate(layers)}
    model.read(batch, hooks)
    document = torch.tensor(rows, device=model.device)
    return Portion(_rounded(value.flatten(1)), document, column.flatten(1))


def _rounded(activation: Tensor) -> Tensor:
    """Round a tensor of one's own to 15 significant bits of float32's 24: the rest is noise."""
    activation.view(torch.int32).add_(1 << 8).bitwise_and_(~((1 << 9) - 1))
    return activation
