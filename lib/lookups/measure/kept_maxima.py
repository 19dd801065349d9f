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

_AT_ONCE = 2**22
"""Slots and documents, times neurons, that are sorted at once."""


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
        found, slots = joined(self.kept, new), len(self.kept.activation)
        bits = found.activation.float().view(torch.int32)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # as the activations are
        number = self.numbers[found.document.clamp(min=0)]
        last = torch.where(found.document >= 0, number, 2**31 - 1)
        order = ((ordered << 31) - last).topk(slots, dim=0).indices
        self.kept = Maxima(*(part.gather(0, order) for part in found))


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
        for some in self._parts(len(new.document)):
            part = Maxima(*(axis[:, some] for axis in new))
            level = level_of(part.activation)
            top = level.amax(0)
            depth = _depth(top - level)
            counts = torch.zeros_like(self.counts[:, some])
            self._add(part, top, counts.scatter_add(0, depth, torch.ones_like(depth)), some)

    def merge(self, other: "Spread") -> None:
        """Take in what another has of other documents."""
        for some in self._parts(len(other.kept.document)):
            part = Maxima(*(axis[:, some] for axis in other.kept))
            self._add(part, other.top[some], other.counts[:, some], some)

    def _parts(self, documents: int) -> Iterator[slice]:
        """The neurons in portions that are sorted at once with so many documents."""
        width = max(1, _AT_ONCE // (len(self.kept.activation) + documents))
        return (slice(start, start + width) for start in range(0, len(self.top), width))

    def _add(self, new: Maxima, new_top: Tensor, new_counts: Tensor, some: slice) -> None:
        """Take in documents of some neurons, counted in bands below a maximum of their own."""
        kept = Maxima(*(axis[:, some] for axis in self.kept))
        found, n_slots = joined(kept, new), len(kept.document)
        top = torch.maximum(self.top[some], new_top)
        counts = _sunk(self.counts[:, some], top - self.top[some])
        self.counts[:, some] = counts + _sunk(new_counts, top - new_top)
        self.top[some] = top
        depth = _depth(top - level_of(found.activation))
        lot = self.lots[found.document.clamp(min=0)]
        order = ((depth << 58) | (lot >> 5)).argsort(dim=0)
        depth = depth.gather(0, order)
        place = torch.arange(len(depth), device=depth.device)[:, None].expand_as(depth)
        begins = depth.diff(dim=0, prepend=depth.new_full((1, depth.shape[1]), -1)) != 0
        rank = place - torch.where(begins, place, 0).cummax(dim=0).values
        stays = (depth < _OPEN) & (rank < self.per_band)
        slot = torch.where(stays, depth * self.per_band + rank, n_slots)
        empty = _nothing(n_slots + 1, depth.shape[1], depth.device)  # 1: for what goes
        for into, blank, part in zip(kept, empty, found, strict=True):
            into[:] = blank.scatter(0, slot, part.gather(0, order))[:-1]


def joined(*some: Maxima) -> Maxima:
    """Put the slots of several below each other."""
    return Maxima(*map(torch.cat, zip(*some, strict=True)))


def level_of(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    positive = activation > 0
    level = torch.where(positive, activation, 1.0).double().log2().mul(BANDS).floor()
    return torch.where(positive, level, -torch.inf)


def _depth(below: Float[Tensor, "slot neuron"]) -> Int[Tensor, "slot neuron"]:
    """The band of a slot, counted downwards from the maximum's; not a number: nothing fires."""
    return torch.where(below <= BANDS, below, _OPEN).long()


def _sunk(counts: Int[Tensor, "band neuron"], by: Float[Tensor, " neuron"]) -> Tensor:
    """Counts a band, so many bands further down: the last row takes what falls below the others."""
    by = torch.where(by.isfinite(), by, 0).clamp(max=_OPEN).long()
    bands = (torch.arange(_OPEN + 1, device=by.device)[:, None] + by).clamp(max=_OPEN)
    return torch.zeros_like(counts).scatter_add(0, bands, counts)


def _nothing(slots: int, neurons: int, device: torch.device) -> Maxima:
    """Slots that nothing fills yet."""
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())
