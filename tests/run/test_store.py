"""Stages on disk: whole or not there, and never handed out when what they stand on has changed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from faults import note
from lookups.errors import LookupsError, MissingStage, RunError, StaleStage
from lookups.run.stages import STAGES
from lookups.run.store import load, manifest, parameters, save
from lookups.settings import LlmSettings, Run, read_run


def table(rows: int = 3, start: int = 0) -> pd.DataFrame:
    return pd.DataFrame({name: range(start, start + rows) for name in ("neuron", "layer")})


def save_all(settings: Run) -> None:
    """Save every stage, as declared: after its parents, or it would be refused."""
    for stage in STAGES:
        save(settings, stage.name, table())


def changed(settings: Run, **update) -> Run:
    return settings.model_copy(update=update)


@pytest.fixture
def settings(artifacts) -> Run:
    return read_run("planted")


def test_what_was_saved_is_loaded_and_the_manifest_tells_what_it_is(settings):
    saved = table()
    save(settings, "neurons", saved, documents={"train": "abc"}, seconds=1.26)
    pd.testing.assert_frame_equal(load(settings, "neurons"), saved)
    about = manifest(settings, "neurons")
    assert (about["rows"], about["seconds"]) == (3, 1.3)
    assert about["documents"] == {"train": "abc"}
    assert about["parameters"]["minimum_count"] == 300
    assert {"schema", "run", "seed", "bos", "versions", "commit", "parents", "digest"} <= set(about)
    path = settings.place("neurons") / "table.parquet"
    first = path.read_bytes()
    beside = path.with_name(".table.parquet.123")
    beside.write_bytes(b"being written")
    save(settings, "neurons", load(settings, "neurons"))
    assert path.read_bytes() == first
    assert beside.is_file()  # loading changes nothing on disk


def test_manifests_hold_json_and_no_folder_of_this_machine_nor_is_one_counted(settings, tmp_path):
    save_all(settings)
    for stage in STAGES:
        text = (settings.place(stage.name) / "manifest.json").read_text()
        assert str(Path.home()) not in text
        assert str(settings.model.folder) not in text
    content = parameters(settings, Run.model_fields)
    assert json.loads(json.dumps(content)) == content
    model = settings.model.model_copy(update={"folder": tmp_path / "other"})
    assert len(load(changed(settings, model=model), "pairs")) == 3


def test_the_earliest_missing_stage_is_named_with_its_chapter_and_the_command(settings, tmp_path):
    with pytest.raises(RunError, match="no stage '09_magic'; there are neurons, "):
        load(settings, "09_magic")
    with pytest.raises(MissingStage, match="has no stage neurons; run the chapter 02_next"):
        load(settings, "pairs")
    save_all(settings)
    shutil.rmtree(settings.place("prompts"))
    words = r"run 'planted' has no stage prompts; run the chapter 03_prompts .*run planted"
    with pytest.raises(MissingStage, match=words):
        load(settings, "suffixes")
    with pytest.raises(MissingStage, match="no stage prompts"):
        save(settings, "suffixes", table())
    own = tmp_path / "mine.yml"
    own.write_text("{extends: planted, id: other}")
    with pytest.raises(MissingStage, match=f"'other' has no stage neurons; .* lookups run {own}"):
        load(read_run(own), "neurons")


def test_a_parent_made_again_makes_its_offspring_stale_only_if_it_differs(settings):
    save_all(settings)
    save(settings, "neurons", table())
    assert len(load(settings, "pairs")) == 3
    save(settings, "neurons", table(start=7))
    assert manifest(settings, "neurons")
    words = "prompts was made from another neurons; run the chapter 03_prompts"
    for stage in ("prompts", "suffixes", "heads", "pairs"):
        with pytest.raises(StaleStage, match=words):
            load(settings, stage)


def test_other_settings_make_a_stage_and_its_offspring_stale(settings):
    save_all(settings)
    other = changed(settings, keep=0.5)
    assert len(load(other, "prompts")) == 3
    for stage in ("suffixes", "heads"):
        with pytest.raises(StaleStage, match=r"suffixes was made with other settings \(keep\)"):
            load(other, stage)
    for key, value in {"seed": 5, "protocol": "paper", "layers": (0,)}.items():
        with pytest.raises(StaleStage, match=f"settings \\({key}\\)"):
            load(changed(settings, **{key: value}), "pairs")


def test_how_a_language_model_is_reached_makes_nothing_stale(settings):
    def asked(**llm) -> dict:
        return parameters(changed(settings, llm=LlmSettings(model="tiny", **llm)), ["llm"])

    same = {"base_url": "http://localhost/v1", "key_variable": "K", "concurrency": 1, "timeout": 1}
    assert asked() == asked(**same, retries=0, price_in=1, price_out=1)
    assert asked() != asked(temperature=1) != asked(judge_tokens=9)


def test_other_weights_or_prompts_in_the_same_place_make_a_stage_stale(settings, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one")
    (tmp_path / "own.txt").write_text("one")
    model = settings.model.model_copy(update={"name": str(folder)})
    own = changed(settings, model=model, prompts=tmp_path / "own.txt")
    save(own, "neurons", table())
    save(own, "prompts", table())
    assert len(load(own, "prompts")) == 3
    (tmp_path / "own.txt").write_text("another")
    with pytest.raises(StaleStage, match=r"other settings \(prompts\)"):
        load(own, "prompts")
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(StaleStage, match=r"other settings \(model"):
        load(own, "neurons")


def test_a_table_changed_by_hand_and_a_damaged_or_older_manifest_are_refused(settings):
    save(settings, "neurons", table())
    path = settings.place("neurons") / "table.parquet"
    os.utime(path, (1, 1))  # a clock that goes back
    assert len(load(settings, "neurons")) == 3
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, (0, 0))
    note("times of files decide nothing; a changed table is noticed by its content")
    with pytest.raises(StaleStage, match="is not the table its manifest describes"):
        load(settings, "neurons")
    for text in ("", "{", '{"schema": 0}', "[]", "{}", '{"schema": 2}'):
        path.with_name("manifest.json").write_text(text)
        with pytest.raises((MissingStage, StaleStage), match="run the chapter 02_next_token_neur"):
            load(settings, "neurons")


KILLED = """
    import os, signal, sys
    import pandas as pd
    from lookups.run import store
    from lookups.settings import read_run
    replace = os.replace
    def die_at(*paths):
        if sys.argv[1] in str(paths[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
    os.replace = die_at
    store.save(read_run("planted"), "neurons", pd.DataFrame({"layer": range(50, 60)}))
"""


@pytest.mark.parametrize("before", ["table.parquet", "manifest.json"])
def test_a_kill_leaves_nothing_half_written_that_is_read(settings, before):
    def kill():
        command = [sys.executable, "-c", textwrap.dedent(KILLED), before]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL

    kill()
    with pytest.raises(MissingStage):
        load(settings, "neurons")
    save(settings, "neurons", table())
    kill()
    if before == "table.parquet":
        assert list(load(settings, "neurons").layer) == [0, 1, 2]
    else:
        with pytest.raises(StaleStage, match="not the table its manifest describes"):
            load(settings, "neurons")
    save(settings, "neurons", table(start=4))
    assert list(load(settings, "neurons").layer) == [4, 5, 6]
    note("nothing is lost: what was finished is read, what was not is made again")


def test_a_full_disk_is_told_and_nothing_half_written_is_read(settings, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    save(settings, "neurons", table())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)  # the manifest, when the table is there
        with pytest.raises(LookupsError, match="the disk is full"):
            save(settings, "neurons", table(rows=9))
    assert len(load(settings, "neurons")) == 3
    assert set(os.listdir(settings.place("neurons"))) == {"manifest.json", "table.parquet"}
