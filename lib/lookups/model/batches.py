"""The one rule for what a model reads: exactly one beginning-of-sequence token, then token ids.

Every chapter hands over ids without that token; it is put in front here and nowhere else, and
padding goes to the right, with a mask. A position counts the prompt's own tokens from
0; in the padded tensor it stands one column further on.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Ids = Sequence[int] | Sequence[np.integer] | np.ndarray


class Batch(NamedTuple):
    """Padded sequences, ready for the model."""

    ids: Int[Tensor, "prompt pos"]
    """Column 0 is the beginning-of-sequence token; padding repeats it on the right."""
    mask: Bool[Tensor, "prompt pos"]
    """True on every token that is not padding, the beginning of the sequence included."""
    last: Int[Tensor, " prompt"]
    """The column of each sequence's last token."""


TOGETHER = 512
"""Sequences in a batch at most, however short they are."""


def batch_of(sequences: Sequence[Ids], bos_id: int | None, device: str | torch.device) -> Batch:
    """Pad sequences of unequal length; `bos_id=None` is the paper's reading without one. ValueError
    if a sequence is empty, and there is no beginning-of-sequence token to read."""
    start = [] if bos_id is None else [bos_id]
    whole = [np.concatenate((start, sequence)).astype(np.int64) for sequence in sequences]
    rows = list(map(torch.from_numpy, whole))
    lengths = torch.tensor([len(row) for row in rows])
    if not lengths.all():
        raise ValueError("an empty sequence has no last token; leave it out before batching")
    ids = pad_sequence(rows, batch_first=True, padding_value=bos_id or 0)
    mask = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)
    return Batch(ids.to(device), mask.to(device), (lengths - 1).to(device))


def batches_by_length(
    lengths: Sequence[int], *, tokens: int, sequences: int = TOGETHER
) -> Iterator[np.ndarray]:
    """Yield row numbers, shortest first: at most so many padded tokens and sequences a batch."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        size = stop + 1 - start  # with the next
        if stop == len(order) or size > sequences or (lengths[order[stop]] + 1) * size > tokens:
            yield order[start:stop]
            start = stop
