"""Congruence in blocks equals the whole matrix; the nulls keep what they promise to keep."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inline import defined_in
from lookups.model.loaded import load_model
from lookups.settings import ModelSpec

CHAPTER = defined_in("02_next_token_neurons")
congruence, rotation_null = CHAPTER.congruence, CHAPTER.rotation_null
beyond = defined_in("13_ground_truth").beyond


def integers(shape, seed) -> torch.Tensor:
    """Small whole numbers, so that products tie often and are exact in any order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).float()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 45), st.booleans())
def test_blocks_find_the_maximum_of_the_whole_matrix_ties_included(seed, vocab, block, masked):
    directions, w_u = integers((7, 3), seed), integers((3, vocab), seed + 1)
    eligible = integers((vocab,), seed + 2) > 0 if masked else slice(None)
    if masked and not eligible.any():
        eligible[seed % vocab] = True
    value, token = congruence(directions, w_u, eligible=eligible, signs=(1, -1), block=block)
    products = torch.cat([directions, -directions]).matmul(w_u).double().numpy()
    if masked:
        products[:, ~eligible.numpy()] = -np.inf
    assert np.array_equal(value, products.max(axis=1))
    assert np.array_equal(token, products.argmax(axis=1))  # the first of equals


def test_the_isotropic_null_keeps_norms_and_no_direction():
    rows = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)) * 3 + 1
    before, null = rows.clone(), CHAPTER.isotropic_null(rows, seed=5)
    assert torch.equal(rows, before)
    assert torch.allclose(null.norm(dim=1), rows.norm(dim=1), rtol=1e-5)
    unit = null / null.norm(dim=1, keepdim=True)
    assert unit.mean(0).abs().max() < 0.02
    assert (unit.T @ unit / 4000 - torch.eye(16) / 16).abs().max() < 0.01


@pytest.mark.parametrize("n_neurons", [5, 8, 9, 200], ids=lambda n: f"{n} neurons")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rotation_null_keeps_the_covariance_exactly(n_neurons, dtype):
    generator = torch.Generator().manual_seed(n_neurons)
    full = torch.randn(n_neurons, 8, generator=generator, dtype=dtype) + 2
    exact = 1e-5 if dtype == torch.float32 else 1e-12
    for rows, moved in ((full, 0.1), (torch.ones_like(full), -1)):  # with and without full rank
        null = rotation_null(rows, seed=3)
        assert (null.dtype, null.shape) == (dtype, rows.shape)
        assert (null.T @ null - rows.T @ rows).abs().max() < exact * (rows.T @ rows).abs().max()
        assert (null - rows).abs().max() > moved, "it is another set of rows"


def test_rotations_have_the_moments_of_a_random_one_with_and_without_more_neurons_than_dimensions():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    padded = torch.cat([rows, torch.zeros(1, 8, dtype=torch.float64)])
    for matrix in (rows, padded):
        null = torch.stack([rotation_null(matrix, seed)[0] for seed in range(1000)])
        expected = rows.T @ rows / len(matrix)  # of one row of a random rotation times the rows
        assert null.mean(0).abs().max() < 0.25
        assert (null.T @ null / 1000 - expected).abs().max() < 0.25


def test_percentiles_count_what_lies_below():
    null = torch.tensor([3.0, 1.0, 2.0, 2.0])
    values = torch.tensor([0.0, 1.0, 2.0, 2.5, 9.0])
    assert CHAPTER.percentile_in(null, values).tolist() == [0, 0, 25, 75, 100]


@pytest.mark.parametrize("null", [CHAPTER.isotropic_null, rotation_null])
@pytest.mark.parametrize("of_draws", [0.05, 0.2])
def test_a_null_lets_as_many_of_its_own_draws_through_as_it_says(null, of_draws):
    """On a trained model: percent and shares are not mixed up, and many neurons lie within."""
    planted = load_model(ModelSpec(name="planted-0", device="cpu"))
    rows, w_u = planted.w_out(1), planted.w_u
    assert torch.equal(null(rows, seed=1), null(rows, seed=1))
    drawn = [congruence(null(rows, seed), w_u)[0] for seed in range(40)]
    known = torch.cat(drawn[:20])
    again = pd.Series(CHAPTER.percentile_in(known, torch.cat(drawn[20:])))
    assert beyond(again, of_draws=of_draws).mean() == pytest.approx(of_draws, abs=0.02)
    own = pd.Series(CHAPTER.percentile_in(known, congruence(rows, w_u)[0]))
    assert 0 < beyond(own).mean() < 0.9
