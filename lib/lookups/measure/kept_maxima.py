"""The maxima that a scan keeps of each neuron: the strongest, and a few at random from each band.

What is kept is bounded, whatever the number of documents (chapter 3 shows both samples). Equals
stand in the order of a fact of their document, its number or its lot, so neither the order of
documents nor how they come in portions matters.
"""

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
    """Documents kept for each neuron, by their rows; where nothing is, the activation is -inf."""

    activation: Float[Tensor, "slot neuron"]
    document: Int[Tensor, "slot neuron"]
    position: Int[Tensor, "slot neuron"]


class Portion(NamedTuple):
    """Every neuron's maximum in each of some documents."""

    activation: Float[Tensor, "document neuron"]
    document: Int[Tensor, " document"]
    position: Int[Tensor, "document neuron"]


class Strongest:
    """Each neuron's strongest documents, strongest first; equals in the order of their numbers."""

    def __init__(self, slots: int, neurons: int, device: torch.device):
        self.kept = _nothing(slots, neurons, device)

    def add(self, new: Portion, numbers: Int[Tensor, " document"]) -> None:
        """Take a portion in; `numbers` are those of all documents, below 2 ** 31."""
        found, slots = _joined(self.kept, new), len(self.kept.activation)
        bits = found.activation.float().view(torch.int32)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # as the activations are
        last = torch.where(found.document >= 0, numbers[found.document.clamp(min=0)], 2**31 - 1)
        order = ((ordered << 31) - last).topk(slots, dim=0).indices
        self.kept = Maxima(*(part.gather(0, order) for part in found))


class Spread:
    """A few documents at random from each band of activation, and how many lay in each.

    Bands have fixed edges, so what was kept stays right as the maximum grows: higher bands open and
    the lowest fall away. Of each open band the documents with the lowest lots are kept, strongest
    band first, in the order of lots.
    """

    def __init__(self, per_band: int, neurons: int, device: torch.device):
        self.per_band = per_band
        self.kept = _nothing(_OPEN * per_band, neurons, device)
        self.top = torch.full((neurons,), -torch.inf, dtype=torch.float64, device=device)
        # documents in each open band, the highest first; the last row is all others
        self.counts = torch.zeros(_OPEN + 1, neurons, dtype=torch.long, device=device)

    def add(self, new: Portion, lots: Int[Tensor, " document"]) -> None:
        """Take a portion in; `lots` are those of all documents, below 2 ** 63."""
        width = max(1, _AT_ONCE // (len(self.kept.activation) + len(new.document)))
        for start in range(0, len(self.top), width):
            self._add(new, lots, slice(start, start + width))

    def _add(self, new: Portion, lots: Tensor, some: slice) -> None:
        """Take in what a portion says of some neurons."""
        new = Portion(new.activation[:, some], new.document, new.position[:, some])
        kept, top = Maxima(*(part[:, some] for part in self.kept)), self.top[some].clone()
        found = _joined(kept, new)
        level = level_of(found.activation)
        self.top[some] = torch.maximum(top, level.amax(0))
        depth = self.top[some] - level  # not a number where nothing has fired
        depth = torch.where(depth <= BANDS, depth, _OPEN).long()
        self._count(depth[len(kept.document) :], top, some)
        lot = lots[found.document.clamp(min=0)]
        order = ((depth << 58) | (lot >> 5)).argsort(dim=0)
        depth = depth.gather(0, order)
        place = torch.arange(len(depth), device=depth.device)[:, None].expand_as(depth)
        begins = torch.ones_like(depth, dtype=torch.bool)
        begins[1:] = depth[1:] != depth[:-1]
        rank = place - torch.where(begins, place, 0).cummax(dim=0).values
        stays = (depth < _OPEN) & (rank < self.per_band)
        slot = torch.where(stays, depth * self.per_band + rank, len(kept.document))
        empty = _nothing(1 + len(kept.document), depth.shape[1], depth.device)  # 1: for what goes
        for into, blank, part in zip(self.kept, empty, found, strict=True):
            into[:, some] = blank.scatter(0, slot, part.gather(0, order))[:-1]

    def _count(self, depth: Int[Tensor, "document neuron"], top: Tensor, some: slice) -> None:
        """Count new documents by band, after moving down what was counted below a lower `top`."""
        risen = torch.where(top.isfinite(), self.top[some] - top, 0).clamp(max=_OPEN).long()
        bands = torch.arange(_OPEN + 1, device=depth.device)[:, None]
        stood = self.counts[:, some]
        moved = torch.zeros_like(stood).scatter_add(0, (bands + risen).clamp(max=_OPEN), stood)
        self.counts[:, some] = moved.scatter_add(0, depth, torch.ones_like(depth))

    def within_an_octave(self) -> Int[Tensor, " neuron"]:
        """Return how many documents' maxima lie in an open band: the lowest holds half of the
        largest maximum, so that a little below that half counts, too."""
        return self.counts[:_OPEN].sum(0)


def level_of(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    positive = activation > 0
    level = torch.where(positive, activation, 1.0).double().log2().mul(BANDS).floor()
    return torch.where(positive, level, -torch.inf)


def _nothing(slots: int, neurons: int, device: torch.device) -> Maxima:
    """Slots that nothing fills yet."""
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())


def _joined(kept: Maxima, new: Portion) -> Maxima:
    """What was kept and, below it, a portion."""
    rows = new.document[:, None].expand_as(new.position)
    parts = zip(kept, (new.activation, rows, new.position), strict=True)
    return Maxima(*(torch.cat(part) for part in parts))
