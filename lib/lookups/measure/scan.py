"""One pass over many documents: where was each neuron strongest? (chapter 3)

Every document gives every neuron one maximum (paper, step 2), at the first of equal positions; it
means something where the neuron fires. Of these `lookups.measure.kept_maxima` keeps a bounded
number. Neither batch size nor the order of documents changes the result: numbers and lots follow
from a document's key, and maxima are rounded before they are compared, since a GPU gives equal
contexts other last bits in another batch.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from hashlib import blake2b
from itertools import chain, pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lookups.corpus.documents import Document, Documents
from lookups.errors import LookupsError, SourceError
from lookups.measure.activation import Site
from lookups.measure.kept_maxima import Maxima, Spread, Strongest, joined, level_of
from lookups.model.batches import Batch, batches_by_length
from lookups.model.loaded import Model
from lookups.model.workers import results_of, workers_of
from lookups.names import Neuron
from lookups.paths import replacing

SETTLE = 256
"""Documents after which it is settled which maxima are kept: rarely, for it costs."""

WINDOW = 4096
"""Consecutive documents that are put in the order of their lengths, so that padding is rare, and
after which a scan writes down what it has."""

PLACES = 512
"""Positions that are compared at once: so many the bits tell apart that rounding leaves free."""


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
    kept_in: Path | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Scan:
    """Find every neuron's maxima over all documents; `only_last` reads only their last tokens.

    A maximum is never at the beginning-of-sequence token, at padding, or (unless `only_last`) at a
    document's last token, which has no successor. `progress` is told the documents of each batch.
    What was read is written to the file `kept_in` every `WINDOW` documents, from where a later call
    with the same model, documents and numbers goes on. SourceError if no document has a position
    that could be a maximum.
    """
    found = Findings(
        model, documents, layers, strongest=strongest, per_band=per_band, only_last=only_last
    )
    if kept_in is not None:
        found.take_up(kept_in)
    starts = range(0, len(documents), WINDOW)
    windows = [range(start, min(start + WINDOW, len(documents))) for start in starts]
    together = max(1, 4 * len(workers_of(model)))
    for at in range(0, len(windows), together):
        found.read(*windows[at : at + together], progress=progress)
        if kept_in is not None:
            found.write_down(kept_in)
    return found.scan()


class Findings:
    """What a scan has found in the documents it has read, to which those of others can be added.

    Which documents were read together, by whom and in what order does not change what is found.
    """

    def __init__(
        self, model: Model, documents: Sequence[Document], layers: Sequence[int], *,
        strongest: int, per_band: int, only_last: bool = False,
    ):  # fmt: skip
        self.model, self.documents, self.layers = model, documents, layers
        self.only_last, self.tokens = only_last, model.tokens()
        self.neurons = model.neurons(layers)
        numbers, lots = torch.zeros(2, len(documents), dtype=torch.long, device=model.device)
        self.lengths = np.zeros(len(documents), np.int64)
        self.best = Strongest(strongest, len(self.neurons), numbers)
        self.spread = Spread(per_band, len(self.neurons), lots)
        self.successors = torch.zeros(model.d_vocab, dtype=torch.long, device=model.device)
        self.ranges: list[range] = []
        """The documents that were read."""

    def read(self, *ranges: range, progress: Callable[[int], None] = lambda n: None) -> None:
        """Read ranges of documents, each packed by itself, unless they were read; of workers each
        reads some batches. LookupsError if some documents of a range were read, and some not."""
        new = [rows for rows in ranges if self._are_new([rows])]
        progress(sum(len(rows) for rows in ranges if rows not in new))
        batches = [batch for rows in new for batch in self._batches(rows)]
        if workers := workers_of(self.model):
            self._read_by_workers(batches, 4 * len(workers), progress)
        else:
            self._read_batches(batches, progress)
        self.ranges += new

    def merge(self, other: "Findings") -> None:
        """Add what was found in other documents of the same; the same again changes nothing.
        LookupsError if some of the other's documents were read here, and some were not."""
        if self._are_new(other.ranges):
            for rows in other.ranges:
                self._note(rows)
            self._take(other.best.kept, other.spread, other.successors)
            self.ranges += other.ranges

    def _take(self, best: Maxima, spread: Spread, successors: Int[Tensor, " vocab"]) -> None:
        self.best.add(best)
        self.spread.merge(spread)
        self.successors += successors

    def scan(self) -> Scan:
        """Return what was found; what is read or merged later is written over it."""
        counts = self.spread.counts
        if not counts.any():
            words = f"no document of {self.documents.corpus}/{self.documents.split} is long enough"
            raise SourceError(f"{words}; give some of two tokens or more")
        frequency = counts[:-1].sum(0) / counts.sum(0)
        found = self.best.kept, self.spread.kept, self.successors.cpu(), frequency.cpu()
        return Scan(self.neurons, *found)

    def write_down(self, path: Path) -> None:
        """Write what was found to a file, for `take_up`."""
        ranges = torch.tensor([(one.start, one.stop) for one in self.ranges]).reshape(-1, 2)
        with replacing(path) as aside:
            save_file(self._tensors() | {"ranges": ranges}, aside, {"of": self._of})

    def take_up(self, path: Path) -> None:
        """Go on from a file, if a whole one is there that was made from the same."""
        try:
            with safe_open(path, "pt", device=str(self.model.device)) as file:
                if file.metadata() != {"of": self._of}:
                    return
                names = [*self._tensors(), "ranges"]
                found = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError):
            return
        for name, tensor in self._tensors().items():
            tensor.copy_(found[name])
        self.ranges = [range(*one) for one in found["ranges"].tolist()]
        for rows in self.ranges:
            self._note(rows)

    def _tensors(self) -> dict[str, Tensor]:
        kept = *self.best.kept, *self.spread.kept, self.spread.top, self.spread.counts
        return {str(place): tensor for place, tensor in enumerate((*kept, self.successors))}

    @cached_property
    def _of(self) -> str:
        """What the numbers follow from: the documents' ids, the model's weights, and settings."""
        weights = [float(self.model.w_out(layer).double().sum()) for layer in self.layers]
        sizes = len(self.best.kept.activation), self.spread.per_band, self.only_last
        of = [self.documents.digest, list(self.layers), weights, sizes, str(self.model.dtype)]
        return json.dumps(of)

    def _are_new(self, ranges: Sequence[range]) -> bool:
        """Say whether some ranges are new, and not all old; LookupsError if they overlap others."""
        if all(rows in self.ranges for rows in ranges):
            return False
        for rows, one in product(ranges, self.ranges):
            if rows.start < one.stop and one.start < rows.stop:
                raise LookupsError(
                    f"documents {rows.start} to {rows.stop - 1} were read in part already; read "
                    "and merge each range of documents as a whole"
                )
        return True

    def _note(self, rows: range) -> None:
        """Note the numbers, lots and lengths of some documents."""
        here = [self.documents[row] for row in rows]
        some = slice(rows.start, rows.stop)
        self.best.numbers[some] = torch.tensor([int(one.key.rpartition("/")[2]) for one in here])
        self.spread.lots[some] = torch.tensor([lot_of(one.key) for one in here])
        self.lengths[some] = [len(one.ids) for one in here]

    def _batches(self, rows: range) -> list[np.ndarray]:
        """Note some documents; return those that are long enough in batches, the shortest first."""
        self._note(rows)
        left = rows.start + self.lengths[rows.start : rows.stop].argsort(kind="stable")
        left = left[self.lengths[left] >= (1 if self.only_last else 2)]
        batches = batches_by_length(self.lengths[left].tolist(), tokens=self.tokens)
        return [left[some] for some in batches]

    def _read_batches(self, batches: Sequence[np.ndarray], progress: Callable[[int], None]) -> None:
        """Read batches; in halves from where there was no memory for a whole one."""
        left, waiting = list(reversed(batches)), []
        while left:
            here = left.pop()
            size, half = len(here) * (1 + int(self.lengths[here].max())), len(here) // 2
            if size > self.tokens and half:
                left += [here[half:], here[:half]]
                continue
            try:
                waiting.append(self._read_together(here.tolist()))
            except torch.OutOfMemoryError:
                if not half:
                    raise LookupsError(
                        f"the device has no memory for one document of {self.lengths[here[0]]} "
                        "tokens; choose a smaller `length`, or device: cpu"
                    ) from None
                self.tokens = size // 2
                left.append(here)
                torch.cuda.empty_cache()
                continue
            if not left or sum(len(one.document) for one in waiting) >= SETTLE:
                found = joined(*waiting)
                found = found._replace(document=found.document.expand_as(found.activation))
                self.best.add(found)
                self.spread.add(found)
                waiting.clear()
            progress(len(here))

    def _read_by_workers(
        self, batches: Sequence[np.ndarray], portions: int, progress: Callable[[int], None]
    ) -> None:
        """Let workers read batches, as many in each portion."""
        ends = np.linspace(0, len(batches), 1 + min(portions, len(batches))).astype(int)
        parts = [batches[start:stop] for start, stop in pairwise(ends)]
        how = self.layers, len(self.best.kept.activation), self.spread.per_band, self.only_last
        texts = ([[self.documents[row] for row in batch] for batch in part] for part in parts)
        found = results_of(self.model, _read_apart, ((some, *how) for some in texts))
        for part, (best, kept, top, counts, successors) in zip(parts, found, strict=True):
            rows = torch.from_numpy(np.concatenate(part)).to(self.model.device)
            spread = Spread(self.spread.per_band, len(self.neurons), self.spread.lots)
            spread.kept, spread.top, spread.counts = _of_rows(rows, kept), top, counts
            self._take(_of_rows(rows, best), spread, successors)
            progress(len(rows))

    def _read_together(self, rows: list[int]) -> Maxima:
        """Each document's maximum of every neuron, and count what follows its tokens."""
        batch = self.model.batch([self.documents[row].ids for row in rows])
        found = _batch_maxima(self.model, batch, self.layers, rows, only_last=self.only_last)
        if not self.only_last:  # what follows the first token, which follows the BOS, and so on
            following = batch.ids[:, 2:][batch.mask[:, 2:]]
            self.successors += torch.bincount(following, minlength=self.model.d_vocab)
        return found


def _read_apart(
    model: Model, batches: Sequence[Sequence[Document]], layers: Sequence[int],
    strongest: int, per_band: int, only_last: bool,
) -> tuple[Maxima, Maxima, Tensor, Tensor, Tensor]:  # fmt: skip
    """Find what is in some batches, of which there are the documents alone."""
    documents = list(chain.from_iterable(batches))
    how = {"strongest": strongest, "per_band": per_band, "only_last": only_last}
    found = Findings(model, documents, layers, **how)
    found._note(range(len(documents)))
    ends = np.cumsum([len(batch) for batch in batches])
    found._read_batches(np.split(np.arange(len(documents)), ends[:-1]), lambda n: None)
    spread = found.spread
    return found.best.kept, spread.kept, spread.top, spread.counts, found.successors


def _of_rows(rows: Int[Tensor, " row"], kept: Maxima) -> Maxima:
    """Maxima of some documents, numbered among all."""
    nowhere = kept.document < 0
    return kept._replace(document=torch.where(nowhere, -1, rows[kept.document.clamp(min=0)]))


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


def lot_of(key: str) -> int:
    """A number that depends on the document's key alone: the smallest are chosen."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 1


def _batch_maxima(
    model: Model, batch: Batch, layers: Sequence[int], rows: list[int], *, only_last: bool
) -> Maxima:
    """Each document's maximum of every neuron, in the order of `model.neurons(layers)`; documents
    stand in a single column."""
    # The column of a last token is the length, for the beginning-of-sequence token is column 0. No
    # token looks at it or at padding, so the first column's numbers can stand there instead.
    each = torch.arange(len(rows), device=model.device)
    behind = torch.arange(batch.ids.shape[1], device=model.device) >= batch.last[:, None]
    row, at = behind.nonzero(as_tuple=True)
    n = 1 if only_last else batch.ids.shape[1] - 2
    start = batch.last[:, None] - 1 if only_last else 0
    numbers = torch.arange(n, dtype=torch.int32, device=model.device).remainder(PLACES)[:, None]
    room = torch.empty(len(rows), n, model.d_mlp, dtype=torch.int32, device=model.device)
    shape = len(rows), len(layers), len(model.signs), model.d_mlp
    words = torch.empty(-(-n // PLACES), *shape, device=model.device)

    def take_maximum(place: int, post: Float[Tensor, "prompt pos d_mlp"]) -> None:
        if only_last:
            part = post[each, batch.last].unsqueeze(1)
        else:
            post[row, at] = post[row, 1]
            part = post[:, 1:-1]
        # rounded to 15 significant bits of float32's 24 (the rest is noise), whose room then holds
        # the position: the higher, the earlier, so that one maximum finds both
        torch.add(part.float().view(torch.int32), PLACES // 2, out=room)
        room.bitwise_or_(PLACES - 1).sub_(numbers)
        for block, some in enumerate(room.view(torch.float32).split(PLACES, dim=1)):
            for side, sign in enumerate(model.signs):
                words[block, :, place, side] = (some.amax if sign > 0 else some.amin)(1)

    hooks = enumerate(map(Site.POST.format, layers))
    model.read(batch, {name: partial(take_maximum, place) for place, name in hooks})
    signs = torch.tensor(model.signs, device=model.device)[:, None]
    value, column = torch.full(shape, -torch.inf, device=model.device), 0
    for block, word in enumerate(words.view(torch.int32)):
        found = word.bitwise_and(-PLACES).view(torch.float32) * signs
        first = (block + 1) * PLACES - 1 - word.bitwise_and(PLACES - 1)
        column = torch.where(found > value, first, column)
        value = torch.maximum(value, found)
    column = torch.where(value > 0, column, 0)  # where it never fires, no place is meant
    value, column = value.flatten(1), column.flatten(1) + start
    return Maxima(value, torch.tensor(rows, device=model.device)[:, None], column)
