"""A GGUF file loads like any folder, its numbers unchanged; one that cannot says why."""

from pathlib import Path

import pytest
import torch
from faults import note
from lookups.errors import SourceError
from lookups.model.files import find_checkpoint
from lookups.model.gguf_files import about, folder_of
from lookups.model.loaded import bridge_of, load_model
from lookups.settings import ModelSpec, read_run
from tiny_gguf import original, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

CPU = torch.device("cpu")
IDS = torch.tensor([[1, 70, 80, 90, 259, 260, 75]])


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_values_are_those_that_were_written(tmp_path: Path, kind: str, quantised: bool) -> None:
    file = write_gguf(tmp_path / f"{kind}.gguf", kind, quantised=quantised)
    checkpoint = find_checkpoint(ModelSpec(name=str(file), folder=tmp_path / "models"))
    made = checkpoint.weights(torch.float32, CPU)
    direct = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name).eval()
    for name, weight in direct.state_dict().items():
        assert torch.equal(weight, made.state_dict()[name]), name
    written = direct if quantised else original(kind)
    with torch.no_grad():
        ours = bridge_of(checkpoint, made)(IDS)
        assert (ours - written(IDS).logits).abs().max() < 1e-5
    assert checkpoint.bos_id == 1
    assert getattr(made.config, "quantization_config", None) is None


def test_it_is_made_once_quietly_says_of_what_and_again_when_the_file_changes(tmp_path, capfd):
    file, models = write_gguf(tmp_path / "tiny.gguf", quantised=True), tmp_path / "models"
    first = folder_of(file, models)
    found = about(first)
    rows = {(row["kind"], row["stored"]): row for row in found["tensors"]}
    attention = {"kind": "attn_q", "stored": "Q8_0", "tensors": 2, "values": 2 * 32 * 32}
    # 32 weights and a scale of 2 bytes a row
    assert rows["attn_q", "Q8_0"] == attention | {"bytes": 2 * 32 * 34}
    assert rows["attn_norm", "F32"]["tensors"] == 2
    assert (found["file"], len(found["sha256"])) == ("tiny.gguf", 64)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert folder_of(file, models) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    write_gguf(file)
    assert folder_of(file, models) != first
    assert not list(models.glob("*.partial"))
    # what a kill left is made again
    first.rename(first.with_name(f"{first.name}.partial"))
    first.mkdir()
    (first / "config.json").write_text("{")
    write_gguf(file, quantised=True)
    assert folder_of(file, models) == first
    assert about(first) == found
    assert capfd.readouterr() == ("", "")
    note("what a kill left half converted is made again")


def test_every_digit_is_a_token(tmp_path: Path) -> None:
    made = folder_of(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "models")
    tokenizer = AutoTokenizer.from_pretrained(made)
    for text in ("a ab 1975,\n b", "ab 7 b12"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert sum(tokenizer.decode([i]).isdigit() for i in ids) == sum(map(str.isdigit, text))


@pytest.mark.parametrize(
    ("name", "home"), [("./mine/tiny.gguf", "."), ("mine/tiny.gguf", "models")]
)
def test_a_run_names_a_file_beside_it_or_in_its_models_folder_and_may_pin_it(
    tmp_path, name, home, monkeypatch
):
    monkeypatch.setenv("LOOKUPS_MODELS", str(tmp_path / "models"))
    (tmp_path / home / "mine").mkdir(parents=True)
    write_gguf(tmp_path / home / "mine" / "tiny.gguf")
    run = tmp_path / "tiny.yml"
    about = "title: tiny\nlayers: [1]\ncorpus: {name: planted}\n"
    run.write_text(f"{about}model: {{name: {name}, device: cpu}}\n")
    spec = read_run(run).model
    model = load_model(spec)
    assert model.revision.startswith("gguf:")
    assert (model.gated, model.n_layers, model.d_mlp, model.d_vocab) == (True, 2, 64, 263)
    assert find_checkpoint(spec.model_copy(update={"revision": model.revision}))
    with pytest.raises(SourceError, match="and the run asks for gguf:0123456789ab"):
        find_checkpoint(spec.model_copy(update={"revision": "gguf:0123456789ab"}))


def cut(file: Path, at: int, before: bytes = b"") -> Path:
    file.write_bytes(before + write_gguf(file).read_bytes()[:at])
    return file


PART = "x-00002-of-00003.gguf"
BROKEN = "cannot be read .* name a whole GGUF file"
REFUSED = [
    *((lambda file, at=at: cut(file, at), BROKEN) for at in (0, 300, -500)),
    (lambda file: cut(file, -1, b"PK" * 100), BROKEN),
    (lambda file: write_gguf(file).rename(file.with_name(PART)), "is one of several parts"),
    (lambda file: write_gguf(file, split__count=3), "is one of several parts .*split --merge"),
    (lambda file: write_gguf(file, said="falcon"), "is a falcon; of GGUF files llama and gpt2 are"),
    (lambda file: write_gguf(file, llama__expert_count=4), "is a mixture of experts"),
    (lambda file: write_gguf(file, llama__rope__scaling__type=1), "scaled rotary positions"),
    (lambda file: write_gguf(file, splitter="tekken"), r"tokenizer .* not read \(gpt2, tekken\)"),
    (lambda file: write_gguf(file, llama__feed_forward_length=96), "has not the shape that"),
    (lambda file: write_gguf(file, llama__block_count=3), "are missing, the first model"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_what_cannot_be_read_says_why(tmp_path: Path, make, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        folder_of(make(tmp_path / "x.gguf"), tmp_path / "models")
    assert not [path for path in (tmp_path / "models").glob("x*") if path.is_dir()]
