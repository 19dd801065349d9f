"""What is folded here without copies is what TransformerLens folds."""

import pytest
import torch
from lookups.model.files import find_checkpoint
from lookups.model.loaded import bridge_of, load_model
from lookups.settings import ModelSpec
from tiny import VARIANTS, folder, plain, random_ids

CPU = torch.device("cpu")


def raw(spec: ModelSpec, dtype: torch.dtype):
    checkpoint = find_checkpoint(spec)
    return bridge_of(checkpoint, checkpoint.weights(dtype, CPU))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_processed_weights_are_those_of_the_compatibility_mode(name: str, dtype: str) -> None:
    spec = ModelSpec(name=str(folder(name)), device="cpu", dtype=dtype)
    theirs = raw(spec, getattr(torch, dtype))
    theirs.enable_compatibility_mode(disable_warnings=True)
    ours = load_model(spec).bridge
    wanted, found = theirs.state_dict(), ours.state_dict()
    assert wanted.keys() == found.keys()
    for key, weight in wanted.items():
        assert found[key].dtype == weight.dtype, key
        apart = 1e-2 if dtype == "bfloat16" else 1e-6  # one step of its 8 bits
        assert torch.allclose(found[key], weight, rtol=apart, atol=apart), key
    if name.startswith("llama") and dtype == "float32":  # old hook names give what they gave
        ids = torch.tensor([[0, 5, 6, 7, 8]])
        (_, wanted), (_, found) = theirs.run_with_cache(ids), ours.run_with_cache(ids)
        assert wanted.keys() <= found.keys()
        for key in wanted:
            assert torch.allclose(found[key], wanted[key], atol=1e-5), key


# The biased one stands on patterns that sum to 1, which Hugging Face rounds to float32.
@pytest.mark.parametrize(("name", "apart"), [("llama", 1e-12), ("llama-biased", 1e-7)])
def test_processed_log_probabilities_are_exact_in_float64(name: str, apart: float) -> None:
    model = load_model(ModelSpec(name=str(folder(name)), device="cpu", dtype="float64"))
    for ids in random_ids(5, seed=11):
        with torch.no_grad():
            theirs = plain(name, "float64")(torch.tensor([[0, *ids]])).logits
        ours = model.logits(model.batch([ids]))
        assert (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max() < apart
