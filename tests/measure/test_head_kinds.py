"""Scores of known kinds of heads equal a loop over positions; chance is looking at all alike."""

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.head_kinds import HEAD_TYPES, head_kinds, repeated
from lookups.names import Head


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_scores_equal_a_loop_over_positions(name):
    model = tiny.model(name, "float64")
    texts = [np.array([5, 7, 5, 9, 7, 5]), np.array([3, 3, 8]), np.array([4])]
    found = head_kinds(model, texts)
    sums = np.zeros((tiny.LAYERS, tiny.HEADS, 3))
    alike, counts = np.zeros(3), np.zeros(3)
    for ids in texts:
        with torch.no_grad():
            _, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
        for query in range(len(ids)):
            places = [
                [key for key in range(query) if key == query - 1],
                [key for key in range(query) if ids[key] == ids[query]],
                [key + 1 for key in range(query - 1) if ids[key] == ids[query]],
            ]
            for kind, keys in enumerate(places):
                counts[kind] += bool(keys)
                alike[kind] += len(keys) / (query + 2)  # the beginning of the sequence counts
                for layer in range(tiny.LAYERS):
                    pattern = seen[f"blocks.{layer}.attn.hook_pattern"][0]
                    for key in keys:
                        sums[layer, :, kind] += pattern[:, query + 1, key + 1].numpy()
    for layer in range(tiny.LAYERS):
        for head in range(tiny.HEADS):
            row = found.loc[str(Head(layer, head))]
            assert np.allclose(row, sums[layer, head] / counts, atol=1e-6)
    assert np.allclose(found.loc["chance"], alike / counts)


def test_repeated_ids_are_repeated_and_plain():
    model = tiny.model("gpt2")
    ids = repeated(model, rows=3, length=10, seed=0)
    assert (ids[:, :10] == ids[:, 10:]).all()
    assert not np.isin(ids, model.tokenizer.all_special_ids).any()
    assert head_kinds(model, list(ids)).notna().all().all()
    assert head_kinds(model, [[1, 2]])[list(HEAD_TYPES)[1:]].isna().all().all()
