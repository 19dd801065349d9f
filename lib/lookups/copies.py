"""Near-copies among paragraphs: how much of each has not been read before (chapter 0).

A paragraph is a row of word codes; what counts are its runs of `SHINGLE` words. A change of a word
here and there leaves most runs as they were, so a copy with another name in it is still a copy.
"""

from collections.abc import Sequence

import numpy as np

SHINGLE = 5
"""Words in a run."""


def new_shares(paragraphs: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each paragraph (word codes) the share of its word runs not seen in an earlier one.

    A paragraph of fewer than `SHINGLE` words is one run.
    """
    if not paragraphs:
        return np.zeros(0)
    padded = [np.pad(codes, (0, max(0, SHINGLE - len(codes)))) for codes in paragraphs]
    lengths = np.array([len(codes) for codes in padded])
    words = np.concatenate(padded)
    runs = np.zeros(len(words) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + words[offset : offset + len(runs)]
        runs ^= runs >> np.uint64(29)
    owner = np.repeat(np.arange(len(padded)), lengths)
    starts_run = np.ones(len(words), dtype=bool)
    ends = np.cumsum(lengths)
    for back in range(1, SHINGLE):
        starts_run[ends - back] = False
    starts_run = starts_run[: len(runs)]
    runs, owner = runs[starts_run], owner[: len(starts_run)][starts_run]
    _, first, inverse = np.unique(runs, return_index=True, return_inverse=True)
    new = owner[first][inverse] == owner
    return np.bincount(owner, weights=new, minlength=len(padded)) / np.bincount(owner)
