"""The maxima that a scan keeps of each neuron: the strongest, and a few by lot from each band.

Slots of a bounded number hold them, whatever the number of documents (chapter 2 shows both
samples). No model is read here (`lookups.scan` does). Equals stand in the order of a fact of their
document, its number or its lot; empty slots come last.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BANDS = 16
"""Bands of activation to the octave: for all neurons the edges are powers of 2 ** (1 / BANDS)."""


class Maxima(NamedTuple):
    """Documents kept for each neuron; a slot that nothing fills holds activation -inf."""

    activation: Float[Tensor, "slot neuron"]
    """Rounded to 15 significant bits."""
    document: Int[Tensor, "slot neuron"]
    """Row number in the documents scanned."""
    position: Int[Tensor, "slot neuron"]


def no_maxima(slots: int, neurons: int, device: torch.device) -> Maxima:
    """Return slots that nothing fills yet."""
    empty = torch.full((slots, neurons), -torch.inf, device=device)
    nowhere = torch.full((slots, neurons), -1, dtype=torch.long, device=device)
    return Maxima(empty, nowhere, nowhere.clone())


def joined(*maxima: Maxima) -> Maxima:
    """Return the slots of all, one below the other."""
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


def keep_strongest(maxima: Maxima, numbers: Int[Tensor, " document"], slots: int) -> Maxima:
    """Keep the strongest, strongest first; equals in the order of their documents' numbers."""
    order = _order(_of_document(numbers, maxima), -maxima.activation)[:slots]
    return Maxima(*(part.gather(0, order) for part in maxima))


def level_of(activation: Tensor) -> Tensor:
    """The band that an activation lies in, higher for a higher one; -inf where not positive."""
    positive = activation > 0
    level = torch.where(positive, activation, 1.0).double().log2().mul(BANDS).floor()
    return torch.where(positive, level, -torch.inf)


def keep_by_band(maxima: Maxima, lots: Int[Tensor, " document"], per_band: int) -> Maxima:
    """Keep, in each band below the maximum so far, the documents with the smallest lots.

    Bands have fixed edges (powers of 2 ** (1 / BANDS)), so what was kept stays right as the maximum
    grows: higher bands open and the lowest fall away.
    """
    level = level_of(maxima.activation)
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
