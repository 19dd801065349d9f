"""The maxima that a scan keeps of each neuron: the strongest, and a few by lot from each band.

What is kept is bounded, whatever the number of documents (chapter 3 shows both samples). No model
is read here (`measure.scan` does). Equals stand in the order of a fact of their document, its
number or its lot, so neither the order of documents nor how they come in portions matters.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BANDS = 16
"""Bands of activation to the octave: for all neurons the edges are powers of 2 ** (1 / BANDS)."""

_OPEN = BANDS + 1
"""Bands kept of a neuron: that of its maximum, and those that begin above half of it or hold it."""

_NEVER = torch.iinfo(torch.int64).max


class Maxima(NamedTuple):
    """Documents kept for each neuron; a slot that nothing fills holds activation -inf."""

    activation: Float[Tensor, "slot neuron"]
    """Rounded to 15 significant bits."""
    document: Int[Tensor, "slot neuron"]
    """Row number in the documents scanned."""
    position: Int[Tensor, "slot neuron"]


class Portion(NamedTuple):
    """Every neuron's maximum in each of some documents."""

    activation: Float[Tensor, "document neuron"]
    document: Int[Tensor, " document"]
    position: Int[Tensor, "document neuron"]


class Strongest:
    """Each neuron's strongest documents, strongest first; equals in the order of their numbers."""

    def __init__(self, slots: int, neurons: int, device: torch.device):
        """Make room; nothing fills it yet."""
        self.kept = no_maxima(slots, neurons, device)

    def add(self, new: Portion, numbers: Int[Tensor, " document"]) -> None:
        """Take a portion in; `numbers` are those of all documents, below 2 ** 31."""
        rows = new.document[:, None].expand_as(new.position)
        parts = zip(self.kept, (new.activation, rows, new.position), strict=True)
        found = Maxima(*(torch.cat(part) for part in parts))
        slots = len(self.kept.activation)
        order = _rank_key(found, numbers).topk(slots, dim=0).indices
        self.kept = Maxima(*(part.gather(0, order) for part in found))


def _rank_key(maxima: Maxima, numbers: Int[Tensor, " document"]) -> Int[Tensor, "slot neuron"]:
    """A number that is higher for a stronger document and, among equals, for a lower number."""
    bits = maxima.activation.float().view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # as the activations are
    last = torch.where(maxima.document >= 0, numbers[maxima.document.clamp(min=0)], 2**31 - 1)
    return (ordered << 31) - last


class Spread:
    """A few documents by lot from each band of activation, and how many lay in each.

    Bands have fixed edges, so what was kept stays right as the maximum grows: higher bands open and
    the lowest fall away. Only what lies in an open band, with a lot low enough, is held at all, in
    a list that is sorted when it has doubled.
    """

    def __init__(self, per_band: int, neurons: int, device: torch.device):
        """Open no band yet."""
        self.per_band = per_band
        self.top = torch.full((neurons,), -torch.inf, dtype=torch.float64, device=device)
        """The highest band of each neuron."""
        self.counts = torch.zeros(neurons, _OPEN, dtype=torch.long, device=device)
        """Documents in each open band, which stands in column `band % _OPEN`."""
        self.bound = torch.full((neurons, _OPEN), _NEVER, device=device)
        """The highest lot kept in each open band that is full."""
        self.sorted = 0
        self.held: list[_Held] = []

    def add(self, new: Portion, lots: Int[Tensor, " document"]) -> None:
        """Take a portion in; `lots` are those of all documents."""
        self._open(level_of(new.activation.amax(0)))
        lowest = torch.exp2((self.top - BANDS) / BANDS) * (1 - 1e-6)  # rounding is settled below
        lowest = torch.where(self.top.isfinite(), lowest, torch.inf)
        row, neuron = (new.activation >= lowest.float()).nonzero(as_tuple=True)
        activation = new.activation[row, neuron]
        level = level_of(activation)
        inside = level >= self.top[neuron] - BANDS
        row, neuron, activation, level = (part[inside] for part in (row, neuron, activation, level))
        cell = neuron * _OPEN + level.long().remainder(_OPEN)
        self.counts.view(-1).index_add_(0, cell, torch.ones_like(cell))
        document = new.document[row]
        low = lots[document] <= self.bound.view(-1)[cell]
        found = _Held(neuron, level.short(), lots[document], activation, document,
                      new.position[row, neuron])  # fmt: skip
        self.held.append(_Held(*(part[low] for part in found)))
        if sum(len(one.lot) for one in self.held) > max(2**20, 2 * self.sorted):
            self._sort()

    def _open(self, top: Float[Tensor, " neuron"]) -> None:
        """Raise the highest bands where they are higher; what stood in their columns is gone."""
        for step in range(1, _OPEN + 1):
            fresh = self.top + step
            opened = ((fresh <= top) & fresh.isfinite())[:, None]
            column = torch.where(fresh.isfinite(), fresh, 0).long().remainder(_OPEN)[:, None]
            for table, empty in ((self.counts, 0), (self.bound, _NEVER)):
                stood = table.gather(1, column)
                table.scatter_(1, column, torch.where(opened, empty, stood))
        self.top = torch.maximum(self.top, top)

    def _sort(self) -> None:
        """Keep what belongs to the sample; a neuron's strongest band first, by lot."""
        found = _Held(*(torch.cat(parts) for parts in zip(*self.held, strict=True)))
        depth = self.top[found.neuron].long() - found.level
        order = found.lot.argsort()
        order = order[depth[order] <= BANDS]
        cell = found.neuron * _OPEN + depth
        order = order[cell[order].argsort(stable=True)]
        rank = _rank_within_runs(cell[order])
        stays = rank < self.per_band
        found, rank = _Held(*(part[order[stays]] for part in found)), rank[stays]
        full = rank == self.per_band - 1
        column = found.level[full].long().remainder(_OPEN)
        self.bound[found.neuron[full], column] = found.lot[full]
        self.held, self.sorted = [found], len(found.lot)

    def kept(self) -> Maxima:
        """Return what is kept, a neuron's strongest band first, in the order of lots."""
        slots = _OPEN * self.per_band
        answer = no_maxima(slots, len(self.top), self.top.device)
        if self.held:
            self._sort()
            (found,) = self.held
            place = _rank_within_runs(found.neuron)
            values = (found.activation, found.document, found.position)
            for into, part in zip(answer, values, strict=True):
                into[place, found.neuron] = part.to(into.dtype)
        return answer

    def within_an_octave(self) -> Int[Tensor, " neuron"]:
        """Return how many documents' maxima lie in an open band.

        The lowest of them holds half of the largest maximum, so that some of what lies less than a
        sixteenth of an octave below that half counts, too.
        """
        return self.counts.sum(1)


class _Held(NamedTuple):
    """Maxima of single neurons in single documents."""

    neuron: Int[Tensor, " held"]
    level: Int[Tensor, " held"]
    lot: Int[Tensor, " held"]
    activation: Float[Tensor, " held"]
    document: Int[Tensor, " held"]
    position: Int[Tensor, " held"]


def no_maxima(slots: int, neurons: int, device: torch.device) -> Maxima:
    """Return slots that nothing fills yet."""
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())


def level_of(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    positive = activation > 0
    level = torch.where(positive, activation, 1.0).double().log2().mul(BANDS).floor()
    return torch.where(positive, level, -torch.inf)


def _rank_within_runs(runs: Int[Tensor, " held"]) -> Int[Tensor, " held"]:
    """Count the place of an element within its run of equal numbers, from 0."""
    place = torch.arange(len(runs), device=runs.device)
    starts = torch.ones_like(runs, dtype=torch.bool)
    starts[1:] = runs[1:] != runs[:-1]
    return place - torch.where(starts, place, 0).cummax(dim=0).values
