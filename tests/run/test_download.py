"""`lookups download` against a hub in small: whole, or not there at all."""

import errno
import json
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from faults import note
from huggingface_hub import constants
from lookups.corpus.texts import corpus_texts
from lookups.errors import LookupsError, SourceError
from lookups.model.files import place_of
from lookups.model.loaded import load_model
from lookups.run import download
from lookups.run.download import fetch, plan_run
from lookups.settings import read_run
from loopback import Hub

MODEL, CORPUS, OTHER = "someone/tiny", "someone/words", "someone/others"
TRAIN = "data/train-0.parquet"
NOTES: list[str] = []


def parquet(folder: Path) -> bytes:
    pd.DataFrame({"text": tiny.texts(400, words=24)}).to_parquet(folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


def model_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tiny.folder("gpt2").iterdir()}


class World:
    """A hub with a model and two corpora, and a run that reads them."""

    def __init__(self, server: Hub, folder: Path) -> None:
        self.hub, self.folder = server, folder
        self.run, self.models, self.data = (folder / name for name in ("a.yml", "models", "data"))
        more = {"pytorch_model.bin": b"a pickle", "README.md": b"?", "onnx/model.safetensors": b"?",
                "modeling_tiny.py": b"code"}  # fmt: skip
        self.commit = server.publish(MODEL, model_files() | more)
        self.texts = {TRAIN: parquet(folder), "data/test-0.parquet": b"?",
                      "words.py": b"code", "data/words.pkl": b"a pickle"}  # fmt: skip
        server.publish(CORPUS, self.texts, kind="datasets")
        self.write()

    def write(self, **changes) -> None:
        """Write the run's file; a dictionary changes a section, anything else a key."""
        settings = {"title": "A tiny run from the hub", "model": {"name": MODEL, "device": "cpu"},
                    "corpus": {"name": CORPUS, "documents": 120}, "layers": [1]}  # fmt: skip
        for key, value in changes.items():
            settings[key] = settings[key] | value if isinstance(value, dict) else value
        self.run.write_text(yaml.safe_dump(settings), "utf-8")

    def download(self) -> None:
        for part in plan_run(self.run, NOTES.append):
            fetch(part)

    def refusal(self, kind: type[LookupsError] = SourceError) -> str:
        with pytest.raises(kind) as error:
            self.download()
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Hub() as server:
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's attempts
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("LOOKUPS_MODELS", str(tmp_path / "models"))
        monkeypatch.setenv("LOOKUPS_DATA", str(tmp_path / "data"))
        NOTES.clear()
        yield World(server, tmp_path)


def test_a_downloaded_run_needs_no_network(world, call, monkeypatch):
    code, out, err = call("download", str(world.run))
    assert code == 0, err
    assert f"model {MODEL} at {world.commit}, 0." in out
    assert f" MB, into {world.models / MODEL}\n" in out
    assert f"to keep to this commit, write `revision: {world.commit}` into {world.run}\n" in err
    assert out.endswith("all of it is here\n")
    held = {path.name for path in (world.models / MODEL).iterdir()}
    assert held == {*model_files(), "download.json"}
    texts = {p.name for p in (world.data / CORPUS).rglob("*") if p.is_file()}
    assert texts == {"train-0.parquet", "download.json"}
    world.hub.close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    settings = read_run(world.run)
    loaded, own = load_model(settings.model), tiny.model("gpt2")
    assert (loaded.revision, own.revision) == (world.commit, "local")
    assert (loaded.bridge.W_U == own.bridge.W_U).all()
    read = [text for half in ("train", "test") for text in corpus_texts(settings.corpus, half)]
    assert len(read) == 400
    assert call("download", str(world.run))[:2] == (0, "all of it is here\n")


def test_a_token_is_sent_and_written_nowhere(world, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    world.download()
    assert world.hub.asked[-1][2]["authorization"] == "Bearer hf_secret"
    written = [p for p in world.folder.rglob("*") if p.is_file()]
    assert len(written) > 8
    assert not any(b"hf_secret" in path.read_bytes() for path in written)


def test_what_breaks_off_is_not_found_and_goes_on(world):
    world.hub.refuse(f"{world.commit}/model.safetensors", 503, "")
    assert "the model someone/tiny cannot be fetched (" in world.refusal()
    assert not (world.models / MODEL).exists()
    assert place_of(read_run(world.run).model) is None
    world.hub.refused.clear()
    world.hub.asked.clear()
    world.download()
    again = [address for address in world.hub.fetched() if MODEL in address]
    assert [address.rsplit("/", 1)[1] for address in again] == ["model.safetensors"]
    load_model(read_run(world.run).model)
    note("nothing is lost: half a download is not found, and the same command goes on")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_states_leaves_no_model(world, file):
    data = model_files()[file]
    world.hub.replace(f"{world.commit}/{file}", data[:-2] + b"??")
    sentence = f"{file} of the model {MODEL} is not what the hub states; give the same command"
    assert sentence in world.refusal()
    assert not (world.models / MODEL).exists()
    world.hub.replace(f"{world.commit}/{file}", data)
    world.download()
    assert (world.models / MODEL / file).read_bytes() == data


def test_main_may_go_on_and_a_folder_stays_at_its_commit(world):
    world.download()
    weights = model_files()["model.safetensors"]
    newer = world.hub.publish(MODEL, model_files() | {"model.safetensors": weights[::-1]})
    world.download()
    assert load_model(read_run(world.run).model).revision == world.commit
    world.write(model={"revision": world.commit})
    world.download()
    assert load_model(read_run(world.run).model).revision == world.commit
    world.write(model={"revision": newer})
    sentence = (
        f"{world.models / MODEL} holds revision main ({world.commit}), and the run asks for {newer}"
        f"; write `revision: {world.commit}` into the run file, or move that folder away and give "
        "`lookups download`"
    )
    assert world.refusal() == sentence
    with pytest.raises(SourceError) as error:
        load_model(read_run(world.run).model)
    assert str(error.value) == sentence
    (world.models / MODEL).rename(world.folder / "aside")
    world.download()
    assert (world.models / MODEL / "model.safetensors").read_bytes() == weights[::-1]


def test_a_folder_of_ones_own_is_left_alone(world):
    world.download()
    (world.models / MODEL / "download.json").write_text("{")
    assert "download.json cannot be read (" in world.refusal()
    (world.models / MODEL / "download.json").unlink()
    assert plan_run(world.run, NOTES.append) == []
    assert f"the model {MODEL} is on this machine" in NOTES
    assert load_model(read_run(world.run).model).revision == "local"
    world.write(model={"revision": world.commit})
    with pytest.raises(SourceError, match="does not say which revision it holds, and the run asks"):
        load_model(read_run(world.run).model)


REFUSED = [
    (MODEL, 404, "RepoNotFound"), (MODEL, 401, "RepoNotFound"), (MODEL, 404, "RevisionNotFound"),
    (MODEL, 403, "GatedRepo"), ("/resolve/", 403, "GatedRepo"), (MODEL, 500, ""),
]  # fmt: skip


def test_what_the_hub_refuses_and_no_network_are_one_sentence(world, monkeypatch):
    for place, code, error in REFUSED:
        world.hub.refused.clear()
        world.hub.refuse(place, code, error)
        said = world.refusal()
        assert said.startswith("the model someone/tiny")
        assert f"{code} " in said
        assert "a private or gated one needs a token in the environment variable HF_TOKEN" in said
        assert not (world.models / MODEL).exists()
    world.hub.close()
    assert "at main cannot be fetched (" in world.refusal()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "unset the `HF_HUB_OFFLINE` environment variable" in world.refusal()


def test_a_full_disk_and_a_closed_folder_are_told(world, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, "snapshot_download", full)
        assert "cannot be written (the disk is full); make room" in world.refusal(LookupsError)
    world.models.write_text("a file where a folder should be")
    assert f"{world.models / MODEL} cannot be written (" in world.refusal(LookupsError)


def test_more_than_a_gigabyte_wants_a_yes_and_what_is_here_no_hub(world, call):
    address = f"/api/models/{MODEL}/revision/main"
    about = json.loads(world.hub.answers[address].content)
    next(one for one in about["siblings"] if "lfs" in one)["size"] = 10**17
    world.hub.replace(address, json.dumps(about).encode())
    code, out, err = call("download", str(world.run))
    assert code == 1
    assert err.startswith("lookups: 100,000,000.0 GB are to be fetched; give --yes, or name one ")
    assert "100,000,000,000.0 MB" in out
    assert not world.hub.fetched()
    world.write(model={"name": str(tiny.folder("gpt2"))}, corpus={"name": "planted"})
    world.hub.close()
    assert plan_run(world.run, NOTES.append) == []
    assert len(NOTES) == 2
    assert call("download", str(world.run))[0] == 0


def test_pickled_weights_are_no_model_and_one_set_of_weights_is_enough(world):
    rest = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) for i in (1, 2)}
    shards["model.safetensors.index.json"] = b"{}"
    world.hub.publish(MODEL, rest)
    assert "has nothing that can be read: of a model config.json and" in world.refusal()
    for files in (shards, {"model.safetensors": b"?"}):
        world.hub.publish(MODEL, rest | shards | files)
        wanted = {"config.json", *(shards if files is shards else files)}
        found = set(plan_run(world.run, NOTES.append)[0].files)
        assert found - {"model.safetensors.index.json"} == wanted - {"model.safetensors.index.json"}


def test_of_a_corpus_come_the_train_files_or_those_that_are_named(world):
    many = {f"data/train-{i}.jsonl": b"x" * 1000 for i in range(3)}
    world.hub.publish(CORPUS, many | {"../x.txt": b"?"}, kind="datasets")
    files = {"val.jsonl": b'{"text": "a"}', "huge.jsonl": b"?"}
    world.hub.publish(OTHER, files, kind="datasets")
    world.write(corpus={"held_out": f"{OTHER}/val.jsonl"})
    _, train, held_out = plan_run(world.run, NOTES.append)
    assert list(train.files) == list(many)
    assert list(held_out.files) == ["val.jsonl"]
    fetch(held_out)
    world.write(corpus={"held_out": f"{OTHER}/huge.jsonl"})
    fetch(plan_run(world.run, NOTES.append)[2])
    assert {p.name for p in (world.data / OTHER).iterdir()} == {*files, "download.json"}
    world.write(corpus={"held_out": f"{OTHER}/none.jsonl"})
    assert f"the dataset {OTHER}/none.jsonl at main has nothing that can be re" in world.refusal()
