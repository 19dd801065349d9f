"""Lots that belong to names: what is drawn for one pair stays when others come or go."""

import hashlib

import numpy as np


def lots_of(seed: int, *names: str) -> np.random.Generator:
    """Return a source of random numbers that belongs to a seed and some names, in order."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *digest])
