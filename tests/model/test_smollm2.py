"""The packaged model itself: equal to plain Hugging Face."""

import functools

import pytest
import torch
from lookups.errors import SourceError
from lookups.model.files import Checkpoint, find_checkpoint
from lookups.model.loaded import Model, bridge_of, load_model
from lookups.model.packaged import packaged_file
from lookups.settings import ModelSpec
from tiny import hugging_face
from transformers import AutoModelForCausalLM

NAME = "SmolLM2-135M-Instruct"
CPU = torch.device("cpu")
TEXTS = (
    "By noon not only the cellars but also",
    "The city was founded in 1871. In the north it borders on the river, which in this",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def packaged() -> None:
    try:
        packaged_file(NAME)
    except SourceError as error:
        pytest.skip(f"NOT RUN: {error}")


@functools.cache
def checkpoint() -> Checkpoint:
    return find_checkpoint(ModelSpec(name=NAME))


@functools.cache
def model(dtype: str) -> Model:
    return load_model(ModelSpec(name=NAME, device="cpu", dtype=dtype))


def ids_of(text: str) -> list[int]:
    return checkpoint().tokenizer(text, add_special_tokens=False)["input_ids"]


def test_its_numbers_are_those_of_transformers_direct_loading():
    file = packaged_file(NAME)
    direct = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    )
    made = hugging_face(checkpoint().location).state_dict()
    for name, weight in direct.state_dict().items():
        assert torch.equal(weight, made[name]), name


@pytest.mark.parametrize(("dtype", "raw", "processed"),
                         [("float32", 1e-4, 1e-4), ("float64", 1e-8, 1e-10)])  # fmt: skip
def test_logits_are_those_of_plain_hugging_face(dtype, raw, processed):
    bridge = bridge_of(checkpoint(), checkpoint().weights(getattr(torch, dtype), CPU))
    one, plain = model(dtype), hugging_face(checkpoint().location, dtype)
    for text in TEXTS:
        ids = torch.tensor([[1, *ids_of(text)]])
        with torch.no_grad():
            found, theirs = bridge(ids)[0], plain(ids).logits[0]
        assert (found - theirs).abs().max() < raw
        ours = one.logits(one.batch([ids_of(text)]))[0]
        assert (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max() < processed
