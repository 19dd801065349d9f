"""One way to load a model: equal to plain Hugging Face, blind to padding, clear when it cannot."""

import json
import shutil

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from lookups.errors import MeasurementError, ModelError
from lookups.model.files import find_checkpoint, permute_weights
from lookups.model.loaded import SUPPORTED, load_model, raw_bridge
from lookups.names import Neuron
from lookups.settings import ModelSpec
from tiny import (
    CONTEXT,
    LAYERS,
    VARIANTS,
    VOCAB,
    anatomy,
    folder,
    model,
    plain,
    random_ids,
    random_model,
    random_tokenizer,
    scratch,
)

CPU = torch.device("cpu")


def with_bos(ids) -> torch.Tensor:
    return torch.tensor([[0, *ids]])


@pytest.mark.parametrize("name", VARIANTS)
def test_raw_logits_are_those_of_plain_hugging_face(name):
    checkpoint = find_checkpoint(ModelSpec(name=str(folder(name))), SUPPORTED)
    bridge = raw_bridge(checkpoint, torch.float32, CPU)
    for ids in random_ids(5, seed=1):
        with torch.no_grad():
            ours, theirs = bridge(with_bos(ids)), plain(name)(with_bos(ids)).logits
        assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_processed_log_probabilities_are_those_of_plain_hugging_face(name, dtype):
    one = model(name, dtype)
    for ids in random_ids(5, seed=2):
        with torch.no_grad():
            theirs = plain(name, dtype)(with_bos(ids)).logits
        ours = one.logits(one.batch([ids]))
        assert ours.dtype == theirs.dtype == getattr(torch, dtype)
        assert (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max() < 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_processed_logits_are_centred(name):
    one = model(name)
    logits = one.logits(one.batch(random_ids(4, seed=3)))
    assert logits.mean(-1).abs().max() < 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_activations_are_what_hugging_face_computes_one_sequence_at_a_time(name):
    one, sequences = model(name), random_ids(12, seed=4)
    ours = one.activations_at_last(sequences, range(LAYERS))
    for row, ids in enumerate(sequences):
        alone = anatomy(name, ids)
        for layer in range(LAYERS):
            assert (ours[layer][row] - alone.post[layer][-1]).abs().max() < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_and_company_change_nothing(name):
    one, sequences = model(name), random_ids(9, seed=5, longest=40)
    together = one.activations_at_last(sequences, [0, 2])
    logits = one.logits(one.batch(sequences))
    for row, ids in enumerate(sequences):
        alone = one.activations_at_last([ids], [0, 2])
        for layer in (0, 2):
            assert (together[layer][row] - alone[layer][0]).abs().max() < 1e-5
        own = one.logits(one.batch([ids]))[0]
        assert (logits[row, : len(ids) + 1] - own).abs().max() < 1e-5


def test_every_sequence_begins_with_exactly_one_bos():
    one = model("gpt2")
    ids = one.tokenizer("w5 w6", add_special_tokens=False)["input_ids"]
    batch = one.batch([ids, [7]])
    assert batch.ids.tolist() == [[0, 5, 6], [0, 7, 0]]
    assert one.batch([ids], bos=False).ids.tolist() == [[5, 6]]


def test_the_end_of_sequence_token_stands_in_for_a_missing_bos():
    path = altered("gpt2")
    random_tokenizer(eos_token="w7").save_pretrained(path)
    assert load_model(str(path)).bos_id == 7


@pytest.mark.parametrize("name", VARIANTS)
def test_the_description_is_that_of_the_architecture(name):
    one = model(name)
    assert (one.n_layers, one.n_heads, one.d_model, one.d_head) == (LAYERS, 4, 32, 8)
    assert (one.d_vocab, one.context) == (VOCAB, CONTEXT)
    assert one.parallel == (name == "neox")
    assert one.gated == name.startswith("llama")
    assert one.adds_positions == name.startswith("gpt2")
    assert one.w_out(1).shape == (one.d_mlp, 32)
    assert one.w_o(1).shape == (4, 8, 32)
    assert one.w_u.shape == (32, VOCAB)
    assert list(one.head_layers(2)) == ([0, 1] if name == "neox" else [0, 1, 2])


def test_both_signs_of_gated_neurons_are_listed_with_what_they_write():
    one = model("llama")
    neurons, written = one.neurons([1]), one.written_by(1)
    assert neurons[64] == Neuron(1, 0, -1)
    assert len(neurons) == len(written) == 128
    assert torch.equal(written[64:], -one.w_out(1))
    assert {neuron.sign for neuron in model("gpt2").neurons([0, 1])} == {1}


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama"])
def test_the_share_of_a_gate_that_passes_is_half_at_zero(name):
    one = model(name)
    gate = torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 3.0])
    share = one.act_over_gate(gate)
    assert share[2] == 0.5
    assert torch.allclose(share * gate, one.act(gate), atol=1e-7)
    assert (share[1] - 0.5).abs() < 1e-3


def test_an_unused_forward_pass_is_not_paid_for(monkeypatch):
    one, act = model("gpt2"), []
    monkeypatch.setattr(one.forward, "_act", lambda pre: act.append(pre))
    one.read(one.batch([[1, 2]]), {"blocks.0.mlp.hook_pre": lambda tensor: None})
    assert act == []


# --- Permuted weights: the control with the same norms ---


@pytest.mark.parametrize("name", VARIANTS)
def test_permuting_keeps_the_entries_and_so_the_norm_of_every_matrix(name):
    before, after = random_model(name), random_model(name)
    permute_weights(after, seed=3)
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    for (label, was), now in pairs:
        if was.dim() == 2:
            assert not torch.equal(was, now), label
            assert torch.equal(was.flatten().sort().values, now.flatten().sort().values), label
        else:
            assert torch.equal(was, now), label


def test_permuting_depends_on_the_seed_alone():
    def first_matrix(seed: int | None) -> torch.Tensor:
        return load_model(ModelSpec(name=str(folder("neox")), device="cpu", permute_seed=seed)).w_u

    assert torch.equal(first_matrix(1), first_matrix(1))
    assert not torch.equal(first_matrix(1), first_matrix(2))
    assert not torch.equal(first_matrix(1), first_matrix(None))


# --- What cannot be loaded says what to do ---


def altered(name: str, **config):
    """Return a copy of a model's folder, some settings of its config.json changed."""
    path = scratch("altered")
    shutil.copytree(folder(name), path, dirs_exist_ok=True)
    content = json.loads((path / "config.json").read_text("utf-8"))
    (path / "config.json").write_text(json.dumps(content | config), "utf-8")
    return path


def refusal(spec, **options) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(ModelSpec(name=str(spec), device="cpu") if not options else ModelSpec(**options))
    return str(caught.value)


def test_a_folder_without_configuration():
    path = altered("gpt2")
    (path / "config.json").unlink()
    assert "has no config.json; give a folder in Hugging Face format" in refusal(path)


def test_a_configuration_that_is_not_json():
    path = altered("gpt2")
    (path / "config.json").write_text("{", "utf-8")
    assert "config.json cannot be read" in refusal(path)


@pytest.mark.parametrize("left", [None, "pytorch_model.bin"])
def test_a_folder_without_safetensors_and_a_pickle_is_no_substitute(left):
    path = altered("gpt2")
    weights = path / "model.safetensors"
    weights.rename(path / left) if left else weights.unlink()
    message = refusal(path)
    assert "has no weights; put the model's .safetensors files there" in message
    assert "pickled .bin files are never read" in message


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"x" * 99, lambda b: b""])
def test_damaged_weights(damage):
    path = altered("gpt2")
    weights = path / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    message = refusal(path)
    assert "the weights of" in message
    assert "put a complete model.safetensors there, or download the model again" in message


def test_weights_that_lack_a_layer_are_not_filled_with_random_numbers():
    message = refusal(altered("gpt2", n_layer=LAYERS + 1))
    assert "12 are missing, the first transformer.h.3.attn.c_attn.bias" in message


def test_weights_of_another_shape_than_configured():
    message = refusal(altered("llama", intermediate_size=128))
    assert "mlp.down_proj.weight has not the shape that config.json says" in message


@pytest.mark.parametrize(
    ("architectures", "said"),
    [(["OPTForCausalLM"], "is a OPTForCausalLM"), (None, "model of no named kind")],
)
def test_an_unsupported_architecture(architectures, said):
    message = refusal(altered("gpt2", architectures=architectures))
    assert said in message
    assert "supported are GPT2LMHeadModel, GPTNeoXForCausalLM, LlamaForCausalLM" in message


def test_a_tokenizer_without_beginning_and_end():
    path = altered("gpt2")
    random_tokenizer().save_pretrained(path)
    message = refusal(path)
    assert "neither a beginning- nor an end-of-sequence token" in message
    assert "name one in its tokenizer_config.json" in message


def test_a_missing_tokenizer():
    path = altered("gpt2")
    (path / "tokenizer.json").unlink()
    assert "its folder needs tokenizer.json and tokenizer_config.json" in refusal(path)


@pytest.mark.parametrize("name", ["someone/nothing", "nothing"])
def test_a_hub_that_cannot_be_reached(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refusal(name)
    assert f"no model {name!r}: it is not embedded (" in message
    assert "HF_HUB_OFFLINE is set; check the name, or download it elsewhere and give its" in message


@pytest.mark.parametrize("name", ["./nothing", "/nowhere/at/all"])
def test_a_folder_that_is_not_there(name):
    assert f"there is no folder {name}; embedded models are " in refusal(name)


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.delenv("LOOKUPS_DEVICE", raising=False)
    for device in ("warp", "cuda:99", "meta"):
        message = refusal(None, name=str(folder("gpt2")), device=device)
        assert message == f"device {device!r} is not there; set 'device: auto' or 'device: cpu'"


def test_the_environment_decides_the_device_of_every_run(monkeypatch):
    spec = ModelSpec(name=str(folder("gpt2")), device="warp")
    monkeypatch.setenv("LOOKUPS_DEVICE", "cpu")
    assert load_model(spec).device.type == "cpu"
    monkeypatch.setenv("LOOKUPS_DEVICE", "meta")
    with pytest.raises(ModelError, match="device 'meta' is not there; unset LOOKUPS_DEVICE"):
        load_model(spec)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_sequence_that_does_not_fit_is_refused_before_it_is_read(name):
    one = model(name)
    assert one.batch([np.ones(CONTEXT - 1, int)]).ids.shape[1] == CONTEXT
    with pytest.raises(MeasurementError, match=r"of 65 tokens does not fit into the 64 .* cut"):
        one.batch([np.ones(CONTEXT, int)])


def test_ids_of_another_vocabulary_are_refused():
    with pytest.raises(MeasurementError, match=r"between 0 and 100 .* own tokenizer"):
        model("gpt2").batch([[5, VOCAB]])
