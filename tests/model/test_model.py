"""One way to load a model: equal to plain Hugging Face, blind to padding, clear when it cannot."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from lookups.errors import LookupsError, SourceError
from lookups.model.batches import batch_of, batches_by_length
from lookups.model.files import find_checkpoint, permute_weights
from lookups.model.loaded import Model, bridge_of, load_model
from lookups.settings import ModelSpec
from lookups.show.views import readable
from safetensors.torch import load_file, save_file
from tiny import LAYERS, VARIANTS, folder, model, plain, random_ids
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", VARIANTS[:6])
def test_processed_weights_are_those_of_the_compatibility_mode(name: str, dtype: str) -> None:
    spec = ModelSpec(name=str(folder(name)), device="cpu", dtype=dtype)
    checkpoint = find_checkpoint(spec)
    theirs = bridge_of(checkpoint, checkpoint.weights(getattr(torch, dtype), CPU))
    theirs.enable_compatibility_mode(disable_warnings=True)
    ours = load_model(spec).bridge
    wanted, found = theirs.state_dict(), ours.state_dict()
    assert wanted.keys() == found.keys()
    for key, weight in wanted.items():
        assert found[key].dtype == weight.dtype, key
        apart = 1e-2 if dtype == "bfloat16" else 1e-6  # one step of its 8 bits
        assert torch.allclose(found[key], weight, rtol=apart, atol=apart), key


# TransformerLens processes the others in float32. The biased one stands on patterns that sum to 1,
# which Hugging Face rounds to float32, as the bridge does where it masks padding.
APART = {("llama", "float64"): 1e-12, ("llama-biased", "float64"): 2e-7}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_processed_log_probabilities_are_those_of_plain_hugging_face_alone(name, dtype):
    one, sequences = model(name, dtype), random_ids(9, seed=2, longest=40)
    together = one.logits(one.batch(sequences))
    for ours, ids in zip(together, sequences, strict=True):
        with torch.no_grad():
            theirs = plain(name, dtype)(torch.tensor([[0, *ids]])).logits[0]
        ours = ours[: len(ids) + 1]  # what stands at padding is not defined
        alone = one.logits(one.batch([ids]))[0]
        for found, most in ((ours, 1e-5), (alone, APART.get((name, dtype), 1e-5))):
            assert found.dtype == theirs.dtype == getattr(torch, dtype)
            assert (found.log_softmax(-1) - theirs.log_softmax(-1)).abs().max() < most
        assert ours.mean(-1).abs().max() < 1e-4, "centred"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gpt2", "neox", "llama"])
def test_half_precision_rounds_weights_and_computes_in_float32(name, dtype):
    one, (ids,) = model(name, dtype), random_ids(1, seed=2)
    rounded = copy.deepcopy(plain(name, dtype)).float()
    with torch.no_grad():
        theirs = rounded(torch.tensor([[0, *ids]])).logits.log_softmax(-1)
    ours = one.logits(one.batch([ids]))
    assert one.dtype == ours.dtype == torch.float32
    assert (ours.log_softmax(-1) - theirs).abs().max() < 1e-4
    exact = load_model(ModelSpec(name=str(folder(name)), device="cpu", dtype=dtype), exact=True)
    again = exact.logits(exact.batch([ids]))
    assert again.dtype == torch.float64
    assert (again.log_softmax(-1) - theirs).abs().max() < 1e-4


# --- Exactly one beginning-of-sequence token, padding on the right, batches that lose nobody ---


def test_parts_of_characters_are_told_apart_by_their_bytes_and_stay_what_they_were():
    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(["👩 👩 👩 é"], vocab_size=257)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learned._tokenizer)
    bare = Model.__new__(Model)
    vars(bare).update(tokenizer=tokenizer, d_vocab=257)
    tokens = [bare.vocabulary[one] for one in tokenizer.encode("👩é")]
    assert "".join(map(readable, tokens)).replace("⟩⟨", " ") == "⟨F0 9F 91 A9 C3 A9⟩"
    assert set(tokens) == {"�"}
    assert len(set(map(readable, bare.vocabulary))) == 257
    vars(bare).update(tokenizer=SimpleNamespace(convert_ids_to_tokens=lambda _: "<0xF0>"))
    assert bare._piece(0, "�").spelled == "⟨F0⟩"


@given(st.lists(st.lists(st.integers(1, 9), max_size=7), min_size=1, max_size=9))
def test_every_row_is_one_bos_if_there_is_one_its_tokens_and_padding(sequences):
    batch = batch_of(sequences, 0, "cpu")
    for row, sequence in enumerate(sequences):
        own = batch.ids[row][batch.mask[row]].tolist()
        assert own == [0, *sequence]
        assert batch.ids[row, : len(own)].tolist() == own  # so padding stands on the right
        assert batch.ids[row, batch.last[row]] == own[-1]
    assert batch.mask.any(0).all(), "no column is padding alone"
    assert batch.ids.dtype == torch.int64
    if not all(sequences):
        with pytest.raises(ValueError, match="leave it out before batching"):
            batch_of(sequences, None, "cpu")
        return
    without = batch_of(sequences, None, "cpu")
    assert torch.equal(without.ids[without.mask], batch.ids[:, 1:][batch.mask[:, 1:]])
    assert torch.equal(without.last, batch.last - 1)


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_shortest_first_within_their_size(lengths, tokens):
    batches = list(batches_by_length(lengths, tokens=tokens))
    rows = [int(row) for batch in batches for row in batch]
    assert rows == sorted(range(len(lengths)), key=lambda row: lengths[row])
    sizes = [(max(lengths[row] for row in batch) + 1) * len(batch) for batch in batches]
    assert all(size <= tokens or len(one) == 1 for size, one in zip(sizes, batches, strict=True))
    assert [len(one) for one in batches_by_length([1] * 1500, tokens=9999)] == [512, 512, 476]


# --- Permuted weights: the control with the same norms ---


@pytest.mark.parametrize("name", VARIANTS)
def test_permuting_keeps_the_entries_and_so_the_norm_of_every_matrix(name):
    before, after = tiny.random_model(name), tiny.random_model(name)
    permute_weights(after, seed=3)
    for (label, was), now in zip(before.named_parameters(), after.parameters(), strict=True):
        if was.dim() == 2:
            assert not torch.equal(was, now), label
            assert torch.equal(was.flatten().sort().values, now.flatten().sort().values), label
        else:
            assert torch.equal(was, now), label


def test_permuting_depends_on_the_seed_alone():
    spec = ModelSpec(name=str(folder("neox")), device="cpu")
    seeds = [spec.model_copy(update={"permute_seed": seed}) for seed in (1, 1, 2, None)]
    once, again, *others = (load_model(one).w_u for one in seeds)
    assert torch.equal(once, again)
    assert not any(torch.equal(once, other) for other in others)


# --- What cannot be loaded says what to do ---


def altered(name: str = "gpt2", files: dict[str, bytes] | None = None, **config) -> Path:
    """Return a copy of a model's folder, some files replaced (without content: gone) and some
    settings of its config.json."""
    path = tiny.scratch("altered")
    shutil.copytree(folder(name), path, dirs_exist_ok=True)
    content = json.loads((path / "config.json").read_text("utf-8"))
    (path / "config.json").write_text(json.dumps(content | config), "utf-8")
    for file, content in (files or {}).items():
        (path / file).write_bytes(content) if content else (path / file).unlink()
    return path


def tokenised(**special: str) -> Path:
    path = altered()
    tiny.random_tokenizer(**special).save_pretrained(path)
    return path


def with_tensors(name: str, more: dict[str, torch.Tensor]) -> Path:
    """Return a copy of a model's folder with other tensors, or more of them."""
    path = altered(name)
    save_file(load_file(path / WHOLE) | more, path / WHOLE, {"format": "pt"})
    return path


def with_one(value: float) -> Path:
    """Return a model with one number of a matrix changed."""
    name = "model.layers.1.mlp.down_proj.weight"
    weight = load_file(folder("llama") / WHOLE)[name]
    weight[3, 5] = value
    return with_tensors("llama", {name: weight})


def quantised(**config) -> Path:
    return altered("llama", quantization_config=config)


WHOLE, PICKLED = "model.safetensors", "pytorch_model.bin"
WEIGHTS = r"the weights of .* put a complete file of .safetensors weights there \(pickled .bin"
SUPPORTS = "supported are GPT2LMHeadModel, GPTNeoXForCausalLM, LlamaForCausalLM, MistralFor"
Q_NORM = {f"model.layers.{i}.self_attn.q_norm.weight": torch.ones(8) for i in range(LAYERS)}
ADAPTER = {"adapter_config.json": b'{"peft_type": "LORA", "base_model_name_or_path": "x/y"}'}
UNSCALED = {"scale_attn_weights": False}
CONFIG = "config.json cannot be read .* give a folder in Hugging Face"
REFUSED = [
    (lambda: altered(files={"config.json": b""}), CONFIG),
    (lambda: altered(files={"config.json": b"{"}), CONFIG),
    (lambda: altered(files={WHOLE: b""}), WEIGHTS),
    (lambda: altered(files={WHOLE: b"", PICKLED: (folder("gpt2") / WHOLE).read_bytes()}), WEIGHTS),
    (lambda: altered(files={WHOLE: (folder("gpt2") / WHOLE).read_bytes()[:20_000]}), WEIGHTS),
    (lambda: altered(files={WHOLE: b"x" * 99}), WEIGHTS),
    (lambda: altered(n_layer=LAYERS + 1), "12 are missing, the first transformer.h.3"),
    (lambda: altered("llama", intermediate_size=128), "down_proj.weight has not the shape that"),
    (lambda: altered(architectures=["OPTForCausalLM"]), f"a OPTForCausalLM .*{SUPPORTS}"),
    *((lambda kind=kind: altered(architectures=[f"{kind}ForCausalLM"]), f"a {kind}For.*{SUPPORTS}")
      for kind in ("Olmo2", "Gemma2", "Gemma3")),
    (lambda: altered("llama-biased", attention_bias=False, mlp_bias=False),
     "has no place, the first model.layers.0.mlp.down_proj.bias; give it the config.json"),
    (lambda: with_tensors("llama", Q_NORM), "3 tensors .* first model.layers.0.self_attn.q_norm"),
    (lambda: with_one(torch.nan), "not finite, the first in model.layers.1.mlp.down_proj.weight"),
    (lambda: with_one(torch.inf), "not finite, the first in model.layers.1.mlp.down_proj.weight"),
    (lambda: altered("llama", ADAPTER), "holds an adapter .* merge it .merge_and_unload"),
    (lambda: altered("llama", ADAPTER | {WHOLE: b"", "config.json": b""}), "holds an adapter"),
    (lambda: altered(**UNSCALED), "not read as it is meant: .* differ by .* from plain Hugging"),
    (lambda: tokenised(bos_token="<s>"), r"0 to 100, .* \(101, '<s>'\); resize .*bos_t"),
    (lambda: quantised(quant_method="bitsandbytes", load_in_4bit=True), "weights .bitsandbytes in"),
    (lambda: quantised(quant_method="gptq", bits=4, group_size=128), "give the unquantised model"),
    (lambda: quantised(quant_method="fp8"), "or a GGUF file of it"),
    (lambda: altered("olmo", clip_qkv=8.0), "clips queries, keys and values"),
    (lambda: altered(files={"config.json": b"", "x.gguf": b"GGUF"}), "is named itself .*x.gguf"),
    (lambda: altered("llama", model_type="gemma2"), f"a Llama.* of the type 'gemma2' .*{SUPPORTS}"),
    (lambda: altered(architectures=None), f"is a model of no named kind .*{SUPPORTS}"),
    (tokenised, "neither a beginning- nor an end-of-sequence token; name one"),
    (lambda: altered(files={"tokenizer.json": b""}), "a folder needs tokenizer.json and tokenizer"),
    (lambda: "./nothing", r"there is no model in \./nothing; correct `name:` in the run file"),
    (lambda: "/nowhere/at/all", "there is no model in /nowhere/at/all; correct"),
    (lambda: "someone/nothing", "model 'someone/nothing' cannot be read .* HF_HUB_OFFLINE set"),
    (lambda: "nothing", r"model 'nothing' cannot be read .* not embedded \(planted-0, .* give"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_what_cannot_be_loaded_says_why(make, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=said):
        load_model(ModelSpec(name=str(make()), device="cpu"))


UNUSED = ("transformer.h.0.attn.masked_bias", "v_head.summary.weight", "score.weight")
BOTH = dict.fromkeys(("bos_token", "eos_token"), "<|bos|>")
ACCEPTED = [
    (lambda: with_tensors("gpt2", {name: torch.zeros(1) for name in UNUSED}), 0),
    (lambda: tokenised(pad_token="<pad>", **BOTH), 0),  # which has no embedding
    (lambda: tokenised(eos_token="w7"), 7),  # stands in for a missing bos
]


@pytest.mark.parametrize(("make", "bos"), ACCEPTED)
def test_what_no_forward_pass_needs_may_be_there_or_missing(make, bos):
    one = load_model(str(make()))
    assert one.bos_id == bos
    assert one.nats_apart < 1e-5


def test_numbers_too_large_for_half_precision_are_refused():
    spec = ModelSpec(name=str(with_one(1e5)), device="cpu")
    with pytest.raises(SourceError, match="set `dtype: float32` if the run reads them in half"):
        load_model(spec.model_copy(update={"dtype": "float16"}))


@pytest.mark.parametrize(("name", "key"), [("mistral", "sliding_window"), ("phi3", "longrope")])
def test_a_text_is_read_as_far_as_every_token_sees_every_other(name, key):
    factors = {"short_factor": [1.0, 2.0], "long_factor": [3.0, 5.0]}
    rope = {"rope_type": key, "rope_theta": 1e4, "partial_rotary_factor": 0.5,
            "original_max_position_embeddings": 16} | factors  # fmt: skip
    own = {key: 16} if key == "sliding_window" else {
        "rope_parameters": rope, "original_max_position_embeddings": 16}  # fmt: skip
    path = altered(name, **own)
    one, hf, (ids,) = load_model(str(path)), tiny.hugging_face(path), random_ids(1, shortest=15)
    with torch.no_grad():
        theirs = hf(torch.tensor([[0, *ids[:15]]])).logits.log_softmax(-1)
    assert one.context == 16
    assert (one.logits(one.batch([ids[:15]])).log_softmax(-1) - theirs).abs().max() < 1e-5
    with pytest.raises(LookupsError, match="a sequence of 17 tokens does not fit into the 16"):
        one.batch([np.ones(16, int)])


def test_a_device_that_is_not_there_whoever_asks_for_it(monkeypatch):
    monkeypatch.delenv("LOOKUPS_DEVICE", raising=False)
    spec = ModelSpec(name=str(folder("gpt2")), device="warp")
    for device in ("warp", "cuda:99", "meta"):
        with pytest.raises(SourceError, match=f"'{device}' is not there; set 'device: auto'"):
            load_model(spec.model_copy(update={"device": device}))
    monkeypatch.setenv("LOOKUPS_DEVICE", "meta")
    with pytest.raises(SourceError, match="device 'meta' is not there; unset LOOKUPS_DEVICE"):
        load_model(spec)
    monkeypatch.setenv("LOOKUPS_DEVICE", "cpu")
    assert load_model(spec).device.type == "cpu"


def test_a_sequence_that_does_not_fit_and_ids_of_another_vocabulary_are_refused():
    one = model("gpt2")
    assert one.batch([np.ones(tiny.CONTEXT - 1, int)]).ids.shape[1] == tiny.CONTEXT
    with pytest.raises(LookupsError, match=r"of 65 tokens does not fit into the 64 .* cut"):
        one.batch([np.ones(tiny.CONTEXT, int)])
    with pytest.raises(LookupsError, match=r"between 0 and 100 .* own tokenizer"):
        one.batch([[5, tiny.VOCAB]])
