"""The maxima that a scan keeps of each neuron: the strongest, and a few at random from each band.

What is kept is bounded, whatever the number of documents (chapter 3 shows both samples). Equals
stand in the order of their documents' numbers or lots, so how documents come in does not matter.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BANDS = 16
"""Bands of activation to the octave: for all neurons the edges are powers of 2 ** (1 / BANDS)."""

_OPEN = BANDS + 1
"""Bands kept of a neuron: that of its maximum, and those that begin above half of it or hold it."""

_AT_ONCE, _ON_A_GPU = 2**20, 2**24
"""Slots and documents, times neurons, that are sorted at once: what a processor's caches hold."""


class Maxima(NamedTuple):
    """For each neuron some documents, by their rows, and where in them it is strongest; -inf where
    nothing is kept yet."""

    activation: Float[Tensor, "slot neuron"]
    document: Int[Tensor, "slot neuron"]
    position: Int[Tensor, "slot neuron"]


class Strongest:
    """Each neuron's strongest documents, strongest first; equals in the order of their `numbers`,
    which are below 2 ** 31 and may be filled in as portions come."""

    def __init__(self, slots: int, neurons: int, numbers: Int[Tensor, " document"]):
        self.numbers, self.kept = numbers, _nothing(slots, neurons, numbers.device)

    def add(self, new: Maxima) -> None:
        """Take a portion in."""
        slots, neurons = self.kept.activation.shape
        for some in _parts(self.numbers, neurons, slots + len(new.document)):
            kept = Maxima(*(axis[:, some] for axis in self.kept))
            part = Maxima(*(axis[:, some] for axis in new))
            order = torch.cat([self._keys(kept), self._keys(part)]).topk(slots, dim=0).indices
            for into, found in zip(kept, joined(kept, part), strict=True):
                into[:] = found.gather(0, order)

    def _keys(self, some: Maxima) -> Int[Tensor, "slot neuron"]:
        """Numbers in the order of activations; of equals the document with the lowest is first."""
        bits = some.activation.float().view(torch.int32)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
        return ordered.bitwise_left_shift_(31).sub_(_looked_up(self.numbers, some.document))


class Spread:
    """A few documents at random from each band of activation, and how many lay in each.

    As the maximum grows, higher bands open and the lowest fall away. Of each open band the
    documents with the lowest `lots` (below 2 ** 63) are kept, strongest band first, in their order.
    """

    def __init__(self, per_band: int, neurons: int, lots: Int[Tensor, " document"]):
        self.per_band, self.lots = per_band, lots
        self.kept = _nothing(_OPEN * per_band, neurons, lots.device)
        self.top = torch.full((neurons,), -torch.inf, dtype=torch.float64, device=lots.device)
        # documents in each open band, the highest first; the last row is all others
        self.counts = torch.zeros(_OPEN + 1, neurons, dtype=torch.long, device=lots.device)

    def add(self, new: Maxima) -> None:
        """Take a portion in."""
        for some in _parts(self.lots, len(self.top), len(self.kept.document) + len(new.document)):
            part = Maxima(*(axis[:, some] for axis in new))
            level = level_of(part.activation)
            top = torch.maximum(self.top[some], level.amax(0))
            depth = _depth(top - level)
            counts = torch.zeros_like(self.counts[:, some])
            counts = counts.scatter_add(0, depth, torch.ones_like(depth))
            self._add(part, depth, top, counts, some)

    def merge(self, other: "Spread") -> None:
        """Take in what another has of other documents."""
        for some in _parts(self.lots, len(self.top), 2 * len(self.kept.document)):
            part = Maxima(*(axis[:, some] for axis in other.kept))
            top = torch.maximum(self.top[some], other.top[some])
            depth = _depth(top - level_of(part.activation))
            counts = _sunk(other.counts[:, some], _bands(top - other.top[some]))
            self._add(part, depth, top, counts, some)

    def _add(self, new: Maxima, depth: Tensor, top: Tensor, counts: Tensor, some: slice) -> None:
        """Take in documents of some neurons, counted by band below the maximum of old and new.

        Most change nothing, so only bands that something enters or leaves are sorted.
        """
        kept = Maxima(*(axis[:, some].unflatten(0, (_OPEN, -1)) for axis in self.kept))
        n, by = len(top), _bands(top - self.top[some])
        self.counts[:, some] = _sunk(self.counts[:, some], by) + counts
        self.top[some] = top
        # a full band takes lots that are lower than its last; what fell below all bands, none
        last = kept.document[:, -1]
        highest = torch.where((last < 0) | (by > 0), 2**63 - 1, self.lots[last.clamp(min=0)])
        highest = torch.cat([highest, highest.new_full((1, n), -1)])
        lot = _looked_up(self.lots, new.document)
        row, neuron = (lot < highest.gather(0, depth)).nonzero(as_tuple=True)
        enters = depth[row, neuron] * n + neuron
        moves = (by > 0).expand(_OPEN, n).flatten().index_fill(0, enters, True)
        band, slot, at = ((kept.document >= 0) & moves.view(_OPEN, 1, n)).nonzero(as_tuple=True)
        found = [
            torch.cat([old[band, slot, at], more[row, neuron]])
            for old, more in zip(kept, new, strict=True)
        ]
        for old, blank in zip(kept, (-torch.inf, -1, -1), strict=True):
            old[band, slot, at] = blank
        group = torch.cat([(band + by[at]) * n + at, enters])
        order = self.lots[found[1]].argsort()
        order = order[group[order].argsort(stable=True)]
        group = group[order]
        rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
        stays = ((rank < self.per_band) & (group < _OPEN * n)).nonzero().flatten()
        group, order = group[stays], order[stays]
        places = group // n, rank[stays], group % n
        for old, part in zip(kept, found, strict=True):
            old[places] = part[order]


def _parts(like: Tensor, neurons: int, slots: int) -> Iterator[slice]:
    """The neurons in portions that are sorted at once with so many slots each, where `like` is."""
    width = max(1, (_ON_A_GPU if like.is_cuda else _AT_ONCE) // slots)
    return (slice(start, start + width) for start in range(0, neurons, width))


def joined(*some: Maxima) -> Maxima:
    """Put the slots of several below each other."""
    return Maxima(*map(torch.cat, zip(*some, strict=True)))


def _looked_up(table: Int[Tensor, " document"], document: Tensor) -> Int[Tensor, "slot #neuron"]:
    """What a table says of the documents in slots, or in rows; nothing there: of the first."""
    rows = document if document.stride(1) else document[:, :1]  # each row is one document
    return table[rows.clamp(min=0)]


def level_of(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    return activation.double().clamp(min=0).log2_().mul_(BANDS).floor_()


def _depth(below: Float[Tensor, "slot neuron"]) -> Int[Tensor, "slot neuron"]:
    """The band of a slot, counted downwards from the maximum's; not a number: nothing fires."""
    return torch.where(below <= BANDS, below, _OPEN).long()


def _bands(higher: Float[Tensor, " neuron"]) -> Int[Tensor, " neuron"]:
    """How many bands down the old ones go when a maximum is higher; 0 where nothing fired."""
    return higher.nan_to_num(0, posinf=_OPEN).clamp(max=_OPEN).long()


def _sunk(
    counts: Int[Tensor, "band neuron"], by: Int[Tensor, " neuron"]
) -> Int[Tensor, "band neuron"]:
    """Counts a band, so many bands further down: the last row takes what falls below the others."""
    bands = (torch.arange(_OPEN + 1, device=by.device)[:, None] + by).clamp(max=_OPEN)
    return torch.zeros_like(counts).scatter_add(0, bands, counts)


def _nothing(slots: int, neurons: int, device: torch.device) -> Maxima:
    """Slots that nothing fills yet."""
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())
