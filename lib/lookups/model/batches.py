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

Ids = Sequence[int] | Sequence[np.integer] | np.ndarray


class Batch(NamedTuple):
    """Padded sequences, ready for the model."""

    ids: Int[Tensor, "prompt pos"]
    """Column 0 is the beginning-of-sequence token; padding repeats it on the right."""
    mask: Bool[Tensor, "prompt pos"]
    """True on every token that is not padding, the beginning of the sequence included."""
    last: Int[Tensor, " prompt"]
    """The column of each sequence's last token."""


def batch_of(sequences: Sequence[Ids], bos_id: int | None, device: str | torch.device) -> Batch:
    """Pad sequences of unequal length; `bos_id=None` is the paper's reading without one.

    Raises:
        ValueError: a sequence is empty, and there is no beginning-of-sequence token to read.
    """
    start = 0 if bos_id is None else 1
    lengths = np.array([len(sequence) + start for sequence in sequences])
    if (lengths == 0).any():
        raise ValueError("an empty sequence has no last token; leave it out before batching")
    filler = bos_id if bos_id is not None else 0
    ids = np.full((len(sequences), int(lengths.max())), filler, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, start : start + len(sequence)] = sequence
    mask = np.arange(ids.shape[1])[None, :] < lengths[:, None]
    return Batch(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(mask).to(device),
        torch.from_numpy(lengths - 1).to(device),
    )


def batches_by_length(
    lengths: Sequence[int], *, tokens: int = 8192, sequences: int = 512
) -> Iterator[np.ndarray]:
    """Yield row numbers, shortest first, so that a batch holds at most `tokens` padded tokens."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and stop - start < sequences
            and (lengths[order[stop]] + 1) * (stop + 1 - start) <= tokens
        ):
            stop += 1
        yield order[start:stop]
        start = stop
