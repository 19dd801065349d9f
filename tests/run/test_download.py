"""`lookups download` against a hub and a GitHub in small: whole, bound to a commit, offline."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from lookups.errors import (
    DownloadError,
    LookupsError,
    ModelError,
    RunError,
    StorageError,
)
from lookups.model.files import place_of
from lookups.model.loaded import load_model
from lookups.run import github, hub
from lookups.run.download import carry_out, plan_published, plan_run
from lookups.run.fetching import Patience
from lookups.run.plans import table
from lookups.run.run_lock import lock_path, read_lock
from lookups.settings import ModelSpec, read_run
from loopback import Hub, Record, cut_after, sends, stalls, status
from test_chapters import execute

MODEL, CORPUS, OTHER = "someone/tiny", "someone/words", "someone/others"
QUICK = Patience(timeout=0.5, retries=1, wait=0.01)


def words(seed: int, n: int = 400) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(f"w{draw.randint(1, 100)}" for _ in range(24)) for _ in range(n)]


def parquet(texts: list[str], folder: Path) -> bytes:
    pd.DataFrame({"text": texts}).to_parquet(folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


def model_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tiny.folder("gpt2").iterdir()}


class World:
    """A hub with a model and two corpora, and a run that reads them."""

    def __init__(self, server: Hub, folder: Path) -> None:
        self.hub, self.folder = server, folder
        self.run, self.models, self.data = (folder / name for name in ("a.yml", "models", "data"))
        more = {"pytorch_model.bin": b"a pickle", "README.md": b"?", "onnx/model.safetensors": b"?"}
        self.commit = server.publish(MODEL, model_files() | more)
        texts = {"data/train-0.parquet": parquet(words(0), folder), "data/test-0.parquet": b"?"}
        self.corpus_commit = server.publish(CORPUS, texts, kind="datasets")
        self.write()

    def write(self, run: Path | None = None, **changes) -> None:
        """Write the run's file; a dictionary changes a section, anything else a key."""
        settings = {
            "title": "A tiny run from the hub",
            "model": {"name": MODEL, "device": "cpu"},
            "corpus": {"name": CORPUS, "documents": 120, "length": 24},
            "layers": [1, 2],
            "neurons_per_layer": 4,
            "random_per_layer": 3,
            "longest": 24,
        }
        for key, value in changes.items():
            old = settings.get(key)
            settings[key] = old | value if isinstance(value, dict) and old else value
        (run or self.run).write_text(yaml.safe_dump(settings), "utf-8")

    def download(self, run: Path | None = None) -> None:
        for plan in plan_run(run or self.run, patience=QUICK):
            carry_out(plan, patience=QUICK)

    def refusal(self, kind: type[LookupsError] = DownloadError, run: Path | None = None) -> str:
        with pytest.raises(kind) as error:
            self.download(run)
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("LOOKUPS_MODELS", str(tmp_path / "models"))
        monkeypatch.setenv("LOOKUPS_DATA", str(tmp_path / "data"))
        yield World(server, tmp_path)


def test_a_downloaded_run_needs_no_network(world, call, artifacts, monkeypatch):
    code, out, err = call("download", str(world.run))
    assert code == 0, err
    assert f"model {MODEL} at {world.commit[:12]}, into {world.models / MODEL}\n" in out
    assert "  model.safetensors " in out
    assert "to fetch: " in out
    assert out.endswith("all of it is here and verified\n")
    held = {path.name for path in (world.models / MODEL).iterdir()}
    assert held == {*model_files(), "download.json"}
    assert {p.name for p in (world.data / CORPUS / "data").iterdir()} == {"train-0.parquet"}
    world.hub.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    execute("01_corpus_and_model", world.run)
    execute("02_next_token_neurons", world.run)
    about = json.loads((artifacts / "a" / "neurons" / "manifest.json").read_text())
    assert about["model"] | {"name": MODEL, "revision": world.commit} == about["model"]
    assert about["parameters"]["model"]["revision"] == world.commit
    code, out, err = call("download", str(world.run))
    assert (code, err) == (0, "")
    assert out.endswith("all of it is here and verified\n")


def test_the_model_from_the_hub_is_the_model_itself(world):
    world.download()
    settings = read_run(world.run)
    loaded, own = load_model(settings.model), tiny.model("gpt2")
    assert (loaded.revision, own.revision) == (world.commit, "local")
    assert (loaded.bridge.W_U == own.bridge.W_U).all()


def test_a_plan_fetches_nothing_and_shows_sizes(world):
    (plan,) = plan_run(world.run, patience=QUICK)
    sizes = {file.path: file.size for part in plan.parts for file in part.files}
    corpus = world.hub.files[
        f"/datasets/{CORPUS}/resolve/{world.corpus_commit}/data/train-0.parquet"
    ]
    assert sizes == {name: len(data) for name, data in model_files().items()} | {
        "data/train-0.parquet": len(corpus)
    }
    assert plan.bytes_left == sum(sizes.values())
    shown = table(plan)
    assert shown.count("  to fetch") == len(sizes)
    assert "free on that disk: " in shown
    assert not any("/resolve/" in address for address, _ in world.hub.asked)
    assert not world.models.exists()


def test_a_second_download_fetches_nothing(world):
    world.download()
    lock = lock_path(world.run).read_text()
    world.hub.asked.clear()
    world.download()
    assert not any("/resolve/" in address for address, _ in world.hub.asked)
    assert lock_path(world.run).read_text() == lock


@pytest.mark.parametrize("harm", ["cut", "changed", "missing"])
def test_a_file_that_was_harmed_is_refused_and_mended(world, harm):
    world.download()
    weights = world.models / MODEL / "model.safetensors"
    data = weights.read_bytes()
    if harm == "missing":
        weights.unlink()
        (weights.parent / "other.safetensors").write_bytes(b"")
    else:
        weights.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError) as error:
        load_model(read_run(world.run).model)
    assert str(error.value) == (
        f"{weights} is not the file that was downloaded; give `lookups download` again"
    )
    world.download()
    assert weights.read_bytes() == data
    load_model(read_run(world.run).model)


def test_a_half_download_is_not_found_and_goes_on(world):
    size = len(model_files()["model.safetensors"])
    world.hub.will(f"{world.commit}/model.safetensors", cut_after(size // 2), *[status(500)] * 2)
    sentence = world.refusal()
    assert f"{size // 2:,} of {size:,} bytes are kept" in sentence
    assert not (world.models / MODEL).exists()
    assert not lock_path(world.run).exists()
    assert place_of(read_run(world.run).model) is None
    (plan,) = plan_run(world.run, patience=QUICK)
    assert f"{(size - size // 2) / 1000:.1f} kB to fetch" in table(plan)
    world.download()
    again = world.hub.requests_for("/model.safetensors")[-1]
    assert again["range"] == f"bytes={size // 2}-"
    load_model(read_run(world.run).model)


def test_a_killed_download_goes_on(world):
    data = model_files()["model.safetensors"]
    world.hub.will(f"{world.commit}/model.safetensors", stalls(len(data) // 2, 30))
    program = "import lookups.run.cli; lookups.run.cli.main()"
    command = [sys.executable, "-c", program, "download", str(world.run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    partial = world.models / "someone" / "tiny.partial" / "model.safetensors.partial"
    until = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < until:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held = partial.stat().st_size
    assert 0 < held <= len(data) // 2
    assert place_of(read_run(world.run).model) is None
    world.download()
    assert world.hub.requests_for("/model.safetensors")[-1]["range"] == f"bytes={held}-"
    assert (world.models / MODEL / "model.safetensors").read_bytes() == data


def test_a_wrong_checksum_from_the_hub_leaves_no_model(world):
    other = model_files()["config.json"].replace(b"0", b"1")
    world.hub.will(f"{world.commit}/config.json", *[sends(other)] * 2)
    assert "config.json of the model someone/tiny came twice with " in world.refusal()
    assert not (world.models / MODEL).exists()


def test_a_change_upstream_is_refused_until_it_is_accepted(world):
    world.download()
    weights = model_files()["model.safetensors"]
    changed = world.hub.publish(MODEL, model_files() | {"model.safetensors": weights[::-1]})
    assert world.refusal() == (
        f"{MODEL} has changed since it was downloaded (model.safetensors; main was "
        f"{world.commit[:12]} and is {changed[:12]}): to accept that delete "
        f"{lock_path(world.run)} and {world.models / MODEL}; or write `revision: {world.commit}`"
    )
    load_model(read_run(world.run).model)
    world.write(model={"revision": world.commit})  # one way out
    world.download()
    world.write()  # the other
    lock_path(world.run).unlink()
    sentence = world.refusal()
    assert f"to accept that delete {world.models / MODEL}; or write" in sentence
    (world.models / MODEL).rename(world.folder / "aside")
    world.download()
    assert read_run(world.run).model.revision == changed
    assert (world.models / MODEL / "model.safetensors").read_bytes() == weights[::-1]


def test_a_new_commit_with_the_same_files_is_no_change(world):
    world.download()
    world.hub.publish(MODEL, model_files() | {"README.md": b"better words"})
    world.download()
    assert read_lock(world.run).model.commit == world.commit


def test_a_file_that_came_to_the_model_is_a_change(world):
    world.download()
    world.hub.publish(MODEL, model_files() | {"added_tokens.json": b"{}"})
    assert "(added_tokens.json; main was" in world.refusal()


def test_a_change_of_the_texts_is_refused_too(world):
    world.download()
    texts = {"data/train-0.parquet": parquet(words(1), world.folder)}
    world.hub.publish(CORPUS, texts, kind="datasets")
    assert f"{CORPUS} has changed since it was downloaded (data/train-0.parquet; main was" in (
        world.refusal()
    )


def test_a_run_that_asks_for_another_revision_than_its_lock_is_refused(world):
    world.download()
    world.write(model={"revision": "v2"})
    with pytest.raises(RunError) as error:
        read_run(world.run)
    assert str(error.value) == (
        f"a.yml asks for revision v2 of {MODEL}, but a.lock.json holds {world.commit[:12]}; "
        "delete that lock, or ask for the locked revision"
    )


def test_a_lock_that_was_edited_is_refused(world):
    world.download()
    path = lock_path(world.run)
    path.write_text(path.read_text().replace('"size": ', '"size": 1', 1))
    read_run(world.run)  # sizes are no part of the digest; checksums are
    content = json.loads(path.read_text())
    content["model"]["files"]["config.json"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"a.lock.json cannot be read \(a digest in it is not that"):
        read_run(world.run)
    path.write_text("{")
    with pytest.raises(RunError, match=r"a.lock.json cannot be read .*; delete it and give the"):
        read_run(world.run)


def test_two_runs_share_a_model_but_not_at_two_revisions(world):
    world.download()
    other = world.folder / "b.yml"
    world.write(other)
    world.download(other)
    assert read_lock(other) == read_lock(world.run)
    newer = world.hub.publish(MODEL, model_files() | {"merges.txt": b"new"}, revision="v2")
    world.write(other, model={"revision": "v2"})
    lock_path(other).unlink()
    assert world.refusal(run=other) == (
        f"{world.models / MODEL} holds {MODEL} at {world.commit[:12]}, and {MODEL} at "
        f"{newer[:12]} is wanted; move or delete that folder, or choose another with LOOKUPS_MODELS"
    )
    with pytest.raises(ModelError, match="and the run is bound to v2; move it away and give"):
        load_model(read_run(other).model)


def test_a_folder_of_ones_own_is_left_alone(world):
    world.download()
    (world.models / MODEL / "download.json").unlink()
    lock_path(world.run).unlink()
    (plan,) = plan_run(world.run, patience=QUICK)
    assert plan.notes == (f"the model {MODEL} is a folder of your own, {world.models / MODEL}",)
    assert load_model(read_run(world.run).model).revision == "local"
    world.write(model={"revision": world.commit})
    with pytest.raises(ModelError, match="does not say which revision it holds, and the run asks"):
        load_model(read_run(world.run).model)


def test_a_model_by_its_folder_needs_no_hub(world):
    world.write(model={"name": str(tiny.folder("gpt2"))}, corpus={"name": "planted"})
    world.hub.close()
    (plan,) = plan_run(world.run, patience=QUICK)
    assert (plan.parts, len(plan.notes)) == ((), 2)
    assert load_model(ModelSpec(name=str(tiny.folder("gpt2")), revision="v1")).revision == "local"


def test_a_gated_model_asks_for_a_token_that_is_written_nowhere(world, monkeypatch):
    address = next(a for a in world.hub.files if a.endswith("main?blobs=true") and MODEL in a)
    world.hub.script[address] = [status(401)]
    assert world.refusal() == (
        f"127.0.0.1 does not give the model {MODEL} (HTTP 401): it is gated or private, or there "
        "is none of that name; accept its terms on the hub and put a token into the environment "
        "variable HF_TOKEN"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    world.hub.script[address] = [status(403)]
    assert "the token in HF_TOKEN may not read it; accept its terms" in world.refusal()
    world.download()
    assert world.hub.asked[-1][1]["authorization"] == "Bearer hf_secret"
    written = [p for p in world.folder.rglob("*") if p.is_file()]
    assert len(written) > 8
    assert not any(b"hf_secret" in path.read_bytes() for path in written)


def test_what_the_hub_has_not_or_cannot_verify_is_refused(world):
    world.write(model={"name": "someone/none"})
    assert "has not the model someone/none (HTTP 404)" in world.refusal()
    world.write()
    pickled = {k: v for k, v in model_files().items() if k != "model.safetensors"}
    world.hub.publish(MODEL, pickled | {"pytorch_model.bin": b"a pickle"})
    assert "has no model.safetensors at " in world.refusal()
    address = next(a for a in world.hub.files if a.endswith("main?blobs=true") and MODEL in a)
    about = {"sha": "1" * 40, "siblings": [{"rfilename": "config.json", "size": 2}]}
    for change, words_of in (
        ({}, "states no size or checksum of config.json"),
        ({"sha": "main"}, "has the revision 'main', which is no commit"),
        ({"sha": None}, "the answer about the model someone/tiny has no 'sha'; check HF_ENDPOINT"),
        ({"siblings": [1]}, "the answer about the model someone/tiny has no 'siblings'; check"),
    ):
        world.hub.files[address] = json.dumps(about | change).encode()
        with pytest.raises(DownloadError, match=words_of):
            world.download()
    sibling = {"rfilename": "../x.safetensors", "size": 2, "blobId": "0" * 40}
    world.hub.files[address] = json.dumps(about | {"siblings": [sibling]}).encode()
    assert "lists a file named '../x.safetensors', which is not safe" in world.refusal()


def test_a_wrong_address_of_the_hub_is_told(world, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    assert world.refusal() == "HF_ENDPOINT is 'hub.example'; it must begin with https://"


def test_offline_only_what_is_whole_is_accepted(world, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert world.refusal() == (
        f"the model {MODEL} is not whole in {world.models / MODEL}, and HF_HUB_OFFLINE is set; "
        "unset it and give the same command again"
    )


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(world, call):
    address = next(a for a in world.hub.files if a.endswith("main?blobs=true") and MODEL in a)
    about = json.loads(world.hub.files[address])
    for sibling in about["siblings"]:
        if sibling["rfilename"] == "model.safetensors":
            sibling["lfs"]["size"] = 10**17
    world.hub.files[address] = json.dumps(about).encode()
    code, out, err = call("download", str(world.run))
    assert code == 1
    assert "100000.0 TB" in out
    assert err == "lookups: 100000.0 TB are more than 1 GB; give --yes to fetch them\n"
    code, _, err = call("download", str(world.run), "--yes")
    assert (code, err.count("\n")) == (1, 1)
    assert "100000.0 TB are to be fetched into " in err
    assert "are free there; make room, or choose" in err
    assert not any("/resolve/" in address for address, _ in world.hub.asked)
    with pytest.raises(StorageError):
        world.download()


def test_shards_come_with_their_index_and_one_file_is_preferred(world):
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) for i in (1, 2)}
    rest = {"config.json": b"{}", "model.safetensors.index.json": b"{}"} | shards
    for extra, expected in ({}, set(rest)), ({"model.safetensors": b"?"}, None):
        world.hub.publish(MODEL, rest | extra)
        (plan,) = plan_run(world.run, patience=QUICK)
        found = {file.path for file in plan.parts[0].files}
        assert found == (expected or {"config.json", "model.safetensors"})


def test_a_held_out_corpus_comes_too(world):
    lines = [json.dumps({"text": text}) for text in words(7, 300)]
    files = {"val.jsonl": "\n".join(lines).encode(), "huge.jsonl": b"?"}
    world.hub.publish(OTHER, files, kind="datasets")
    world.write(corpus={"held_out": f"{OTHER}/val.jsonl"})
    world.download()
    assert [p.name for p in sorted((world.data / OTHER).iterdir())] == [
        "download.json",
        "val.jsonl",
    ]
    assert set(read_lock(world.run).corpora) == {CORPUS, OTHER}
    world.write(corpus={"held_out": f"{OTHER}/none.jsonl"})
    assert f"the dataset {OTHER} has no readable file none.jsonl at " in world.refusal()
    world.write(corpus={"held_out": f"{CORPUS}/data/test-0.parquet"})
    assert "is named whole and by a file" in world.refusal(RunError)


def test_of_a_corpus_in_many_files_only_the_first_are_fetched(world, monkeypatch):
    monkeypatch.setattr(hub, "BYTES_A_DOCUMENT", 10)
    many = {f"data/train-{i}.jsonl": b"x" * 1000 for i in range(9)}
    world.hub.publish(CORPUS, many, kind="datasets")
    (plan,) = plan_run(world.run, patience=QUICK)  # 2 splits of 120 documents of 10 bytes
    assert [file.path for file in plan.parts[1].files] == [
        f"data/train-{i}.jsonl" for i in range(3)
    ]


def test_a_dataset_in_another_form_is_read_from_the_hubs_copy(world):
    world.hub.publish(CORPUS, {"script.py": b"?"}, kind="datasets")
    with pytest.raises(DownloadError, match=r"has not a copy of the dataset someone/words as"):
        world.download()
    copy = {"default/train/0000.parquet": parquet(words(0), world.folder)}
    world.hub.publish(CORPUS, copy, kind="datasets", revision="refs/convert/parquet")
    world.download()
    assert (world.data / CORPUS / "default" / "train" / "0000.parquet").is_file()
    world.download()


def test_the_run_on_permuted_weights_is_fetched_and_bound_with_it(world):
    world.write(world.folder / "b.yml", model={"permute_seed": 1})
    world.write(permuted="b.yml")
    world.download()
    assert read_lock(world.folder / "b.yml") == read_lock(world.run)


def test_arguments_that_say_nothing_are_refused(call):
    for arguments in ((), ("smollm2", "--model", "gpt2-small")):
        assert call("download", *arguments)[::2] == (
            2,
            "lookups: name a RUN, or give --published; --model goes with --published\n",
        )
    code, out, _ = call("download", "planted")
    assert code == 0
    assert out.endswith("the corpus planted is made here\nnothing need be fetched\n")


RECORDED = {
    "1_next_token_neurons/2023-10-11_19-07-38_gpt2-small.json": b'{"a": 1}',
    "1_next_token_neurons/2023-10-11_19-14-58_gpt2-large.json": b"{}",
    "3_trimmed_texts/2023-10-14_08-18-02_gpt2-large_mid.json": b"[]",
    "6_explanation_eval/2023-10-13_13-51-37_gpt2-small_test_10.jsonl": b"[1]\n",
    "1_next_token_neurons/2023-10-11_19-07-38_pythia-1.4b.json": b"[2]",
    "7_head_ablation/gpt2-small.pkl": b"a pickle",
}


@pytest.fixture
def record():
    with Record() as server:
        files = {f"{github.RECORD_FOLDER}/{path}": data for path, data in RECORDED.items()}
        server.publish(github.RECORD, github.RECORD_COMMIT, files | {"README.md": b"?"})
        yield server


def published(record: Record, folder: Path, model: str | None = None) -> set[str]:
    """Fetch the record and return which files then lie in its folder, their content checked."""
    addresses = {"api": record.url, "raw": record.url}
    carry_out(plan_published(model, data=folder, patience=QUICK, **addresses), patience=QUICK)
    place = folder / "published"
    found = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    found.remove("download.json")
    assert all((place / path).read_bytes() == RECORDED[path] for path in found)
    return found


def test_the_record_comes_by_model_or_whole_and_never_a_pickle(record, tmp_path):
    small = {path for path in RECORDED if "gpt2-small" in path} - {"7_head_ablation/gpt2-small.pkl"}
    assert published(record, tmp_path, "gpt2-small") == small
    large = {path for path in RECORDED if "gpt2-large" in path}
    assert published(record, tmp_path, "gpt2-large") == small | large
    record.asked.clear()
    assert published(record, tmp_path) == {p for p in RECORDED if not p.endswith(".pkl")}
    raw = [
        address for address, _ in record.asked if github.RECORD_COMMIT in address.split("/")[3:4]
    ]
    assert len(raw) == 1  # the other files were there
    with pytest.raises(DownloadError) as error:
        published(record, tmp_path, "gpt2")
    assert str(error.value) == (
        "the authors' record holds nothing of 'gpt2'; it has gpt2-large, gpt2-small, pythia-1.4b"
    )


def test_a_record_that_is_cut_or_another_is_refused(record, tmp_path):
    address = f"/repos/{github.RECORD}/commits/{github.RECORD_COMMIT}"
    record.files[address] = json.dumps({"sha": "b98f23e" + "0" * 33}).encode()
    with pytest.raises(DownloadError, match="is commit b98f23e, but b98f23e was offered; check"):
        published(record, tmp_path)
    record.script[address] = [status(403)]
    with pytest.raises(DownloadError, match=r"\(HTTP 403\): it answers no more requests from this"):
        published(record, tmp_path)
    record.files[address] = json.dumps({"sha": github.RECORD_COMMIT}).encode()
    for path in list(record.files):
        if path.endswith("?recursive=1"):
            content = json.loads(record.files[path])
            record.files[path] = json.dumps(content | {"truncated": True}).encode()
    with pytest.raises(DownloadError, match="was listed in part only; clone fbarez"):
        published(record, tmp_path)
    assert not (tmp_path / "published").exists()


def test_a_record_that_breaks_off_is_not_found(record, tmp_path):
    record.will("gpt2-small.json", *[sends(b"?" * 8)] * 2)
    with pytest.raises(DownloadError, match="came twice with the checksum"):
        published(record, tmp_path)
    assert not (tmp_path / "published").exists()
    assert len(published(record, tmp_path)) == 5


def test_a_published_folder_of_ones_own_is_left_alone(record, tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "mine.json").write_text("1")
    with pytest.raises(DownloadError, match=r"holds files of your own, and fbarez.* is wanted"):
        published(record, tmp_path)
    assert (tmp_path / "published" / "mine.json").read_text() == "1"


def test_a_folder_that_cannot_be_written_is_told(world):
    if os.geteuid() == 0:
        world.models.write_text("a file where a folder should be")
        assert str(world.models) in world.refusal(StorageError)
    else:
        world.models.mkdir(mode=0o500)
        assert "cannot be written (Permission denied)" in world.refusal(StorageError)


def test_the_hub_in_small_speaks_as_the_hubs_own_client_expects(world):
    """Listed by huggingface_hub, in a process of its own: offline is read when it is imported."""
    program = f"""
from huggingface_hub import HfApi
for info in (HfApi().model_info("{MODEL}", revision="main", files_metadata=True),
             HfApi().dataset_info("{CORPUS}", revision="main", files_metadata=True)):
    for s in info.siblings:
        print(info.sha, s.rfilename, s.size, s.lfs.sha256 if s.lfs else None,
              None if s.lfs else s.blob_id)
"""
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    listed = {tuple(line.split()) for line in made.stdout.splitlines()}
    (plan,) = plan_run(world.run, patience=QUICK)
    ours = {
        (part.commit, file.path, str(file.size), str(file.sha256), str(file.blob))
        for part in plan.parts
        for file in part.files
    }
    assert ours <= listed, made.stderr
    left = {path for _, path, *_ in listed - ours}
    assert left == {
        "pytorch_model.bin",
        "README.md",
        "onnx/model.safetensors",
        "data/test-0.parquet",
    }
