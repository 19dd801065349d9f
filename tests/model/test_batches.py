"""Exactly one beginning-of-sequence token, padding on the right, batches that lose nobody."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lookups.model.batches import batch_of, batches_by_length

SEQUENCES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=9)


@given(SEQUENCES)
def test_every_row_is_one_bos_if_there_is_one_its_tokens_and_padding(sequences):
    batch = batch_of(sequences, 0, "cpu")
    for row, sequence in enumerate(sequences):
        own = batch.ids[row][batch.mask[row]].tolist()
        assert own == [0, *sequence]
        assert own.count(0) == 1
        assert batch.ids[row, : len(own)].tolist() == own  # so padding stands on the right
        assert batch.ids[row, batch.last[row]] == sequence[-1]
    assert batch.mask.any(0).all(), "no column is padding alone"
    assert batch.ids.dtype == torch.int64
    without = batch_of(sequences, None, "cpu")
    assert torch.equal(without.ids[without.mask], batch.ids[:, 1:][batch.mask[:, 1:]])
    assert torch.equal(without.last, batch.last - 1)


def test_an_empty_sequence_is_its_bos_or_refused():
    assert batch_of([[], [3]], 0, "cpu").ids.tolist() == [[0, 0], [0, 3]]
    assert batch_of([[], [3]], 0, "cpu").last.tolist() == [0, 1]
    with pytest.raises(ValueError, match="leave it out before batching"):
        batch_of([[], [3]], None, "cpu")


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_shortest_first_within_their_size(lengths, tokens):
    batches = list(batches_by_length(lengths, tokens=tokens))
    rows = [int(row) for batch in batches for row in batch]
    assert rows == sorted(range(len(lengths)), key=lambda row: lengths[row])
    sizes = [(max(lengths[row] for row in batch) + 1) * len(batch) for batch in batches]
    assert all(size <= tokens or len(one) == 1 for size, one in zip(sizes, batches, strict=True))
    assert [len(one) for one in batches_by_length([1] * 1500, tokens=9999)] == [512, 512, 476]
