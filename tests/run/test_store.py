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
from lookups.errors import MissingStage, RunError, StaleStage, StorageError
from lookups.run import store as module
from lookups.run.stages import STAGES, settings_of, stage_named
from lookups.run.store import contents_digest, load, manifest, parameters, save, stage_folder
from lookups.settings import Run, read_run


def table(stage: str, rows: int = 3, start: int = 0) -> pd.DataFrame:
    """A table with the columns that a stage declares."""
    columns = stage_named(stage).columns
    return pd.DataFrame({name: range(start, start + rows) for name in columns})


def save_all(settings: Run) -> None:
    for stage in STAGES:
        save(settings, stage.name, table(stage.name))


def remove(settings: Run, stage: str) -> None:
    shutil.rmtree(stage_folder(settings, stage))


def changed(settings: Run, **update) -> Run:
    return settings.model_copy(update=update)


@pytest.fixture
def settings(artifacts) -> Run:
    return read_run("planted")


def test_every_parent_is_declared_before_its_child():
    names = [stage.name for stage in STAGES]
    for place, stage in enumerate(STAGES):
        assert set(stage.parents) <= set(names[:place])
        assert set(stage.settings) <= set(Run.model_fields)
        assert set(settings_of(stage)) >= set(stage.settings)


def test_what_was_saved_is_loaded(settings):
    saved = table("neurons")
    save(settings, "neurons", saved)
    pd.testing.assert_frame_equal(load(settings, "neurons"), saved)


def test_the_manifest_tells_what_the_table_is(settings):
    save(settings, "neurons", table("neurons"), documents={"train": "abc"}, seconds=1.26)
    about = manifest(settings, "neurons")
    assert about["rows"] == 3
    assert about["seconds"] == 1.3
    assert about["documents"] == {"train": "abc"}
    assert about["parameters"]["minimum_count"] == 300
    assert {"schema", "run", "seed", "bos", "packages", "commit", "parents", "digest"} <= set(about)


def test_the_manifest_holds_no_folder_of_this_machine(settings):
    save_all(settings)
    for stage in STAGES:
        text = (stage_folder(settings, stage.name) / "manifest.json").read_text()
        assert str(Path.home()) not in text
        assert str(settings.model.folder) not in text


def test_saving_twice_gives_the_same_bytes(settings):
    path = stage_folder(settings, "neurons") / "table.parquet"
    save(settings, "neurons", table("neurons"))
    first = path.read_bytes()
    save(settings, "neurons", table("neurons"))
    assert path.read_bytes() == first


def test_unknown_stage_lists_the_stages(settings):
    with pytest.raises(RunError, match="no stage '09_magic'; there are neurons, "):
        load(settings, "09_magic")


def test_a_table_without_its_columns_is_refused(settings):
    with pytest.raises(ValueError, match=r"neurons must hold the columns \['congruence'"):
        save(settings, "neurons", table("neurons").drop(columns=["congruence"]))


def test_missing_stage_names_the_chapter_and_the_command(settings):
    save_all(settings)
    remove(settings, "suffixes")
    words = r"run 'planted' has no stage suffixes; run the chapter 04_suffixes .*run planted"
    with pytest.raises(MissingStage, match=words):
        load(settings, "suffixes")


def test_the_earliest_missing_stage_is_named_first(settings):
    with pytest.raises(MissingStage, match="has no stage neurons; run the chapter 02_next"):
        load(settings, "pairs")


def test_missing_parent_stops_the_child(settings):
    save_all(settings)
    remove(settings, "prompts")
    with pytest.raises(MissingStage, match="no stage prompts; run the chapter 03_prompts"):
        load(settings, "suffixes")
    with pytest.raises(MissingStage, match="no stage prompts"):
        save(settings, "suffixes", table("suffixes"))


def test_a_parent_made_again_differently_makes_all_its_offspring_stale(settings):
    save_all(settings)
    save(settings, "neurons", table("neurons", start=7))
    assert manifest(settings, "neurons")
    words = "prompts was made from another neurons; run the chapter 03_prompts"
    for stage in ("prompts", "suffixes", "heads", "pairs"):
        with pytest.raises(StaleStage, match=words):
            load(settings, stage)


def test_a_parent_made_again_alike_changes_nothing(settings):
    save_all(settings)
    save(settings, "neurons", table("neurons"))
    assert len(load(settings, "pairs")) == 3


def test_other_settings_make_a_stage_and_its_offspring_stale(settings):
    save_all(settings)
    other = changed(settings, keep=0.5)
    assert len(load(other, "prompts")) == 3
    for stage in ("suffixes", "heads"):
        with pytest.raises(StaleStage, match=r"suffixes was made with other settings \(keep\)"):
            load(other, stage)


@pytest.mark.parametrize("key", ["seed", "protocol", "layers"])
def test_settings_of_the_first_stage_reach_the_last(settings, key):
    save_all(settings)
    other = changed(settings, **{key: {"seed": 5, "protocol": "paper", "layers": (0,)}[key]})
    with pytest.raises(StaleStage, match=f"settings \\({key}\\)"):
        load(other, "pairs")


def test_other_weights_under_the_same_name_make_a_stage_stale(settings, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one")
    own = changed(settings, model=settings.model.model_copy(update={"name": str(folder)}))
    save(own, "neurons", table("neurons"))
    load(own, "neurons")
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(StaleStage, match=r"other settings \(model\)"):
        load(own, "neurons")


def test_other_prompts_in_the_same_file_make_a_stage_stale(settings, tmp_path):
    (tmp_path / "own.txt").write_text("one")
    own = changed(settings, prompts=tmp_path / "own.txt")
    save(own, "neurons", table("neurons"))
    save(own, "prompts", table("prompts"))
    (tmp_path / "own.txt").write_text("another")
    with pytest.raises(StaleStage, match=r"other settings \(prompts\)"):
        load(own, "prompts")


def test_where_folders_lie_makes_nothing_stale(settings, tmp_path):
    save_all(settings)
    model = settings.model.model_copy(update={"folder": tmp_path / "other"})
    assert len(load(changed(settings, model=model), "pairs")) == 3


def test_a_table_changed_by_hand_is_refused(settings):
    save(settings, "neurons", table("neurons"))
    path = stage_folder(settings, "neurons") / "table.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StaleStage, match="is not the table its manifest describes"):
        load(settings, "neurons")


@pytest.mark.parametrize("text", ["", "{", '{"schema": 0}', "[]", "{}", '{"schema": 1}'])
def test_a_damaged_or_older_manifest_is_refused(settings, text):
    save(settings, "neurons", table("neurons"))
    (stage_folder(settings, "neurons") / "manifest.json").write_text(text)
    with pytest.raises((MissingStage, StaleStage), match="run the chapter 02_next_token_neurons"):
        load(settings, "neurons")


def test_two_runs_do_not_share_stages(settings):
    save(settings, "neurons", table("neurons"))
    with pytest.raises(MissingStage, match="run 'other' has no stage neurons"):
        load(changed(settings, id="other"), "neurons")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import pandas as pd
    from lookups.run import store as artifacts
    from lookups.settings import read_run
    from lookups.run.stages import stage_named

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    point = sys.argv[1]
    if point == "inside the table":
        whole = pd.DataFrame.to_parquet
        def half(self, path, **options):
            whole(self, path, **options)
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            die()
        pd.DataFrame.to_parquet = half
    elif point == "before the manifest":
        artifacts.json.dumps = die
    elif point == "before the move":
        artifacts._replace = die
    elif point == "inside the move":
        rename = Path.rename
        def once(self, target):
            done = rename(self, target)
            if ".former-" in str(target):
                die()
            return done
        Path.rename = once
    elif point == "before tidying up":
        def after(path, **options):
            if ".former-" in str(path):
                die()
        artifacts.shutil.rmtree = after
    columns = stage_named("neurons").columns
    table = pd.DataFrame({name: range(50, 60) for name in columns})
    artifacts.save(read_run("planted"), "neurons", table)
"""


def killed_at(point: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), point]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL


BEFORE = ("inside the table", "before the manifest", "before the move", "inside the move")


@pytest.mark.parametrize("point", BEFORE)
def test_a_kill_leaves_the_former_state(settings, point):
    save(settings, "neurons", table("neurons"))
    killed_at(point)
    assert list(load(settings, "neurons").layer) == [0, 1, 2]
    assert left_over(settings) == []


@pytest.mark.parametrize("point", BEFORE[:3])
def test_a_kill_the_first_time_leaves_nothing(settings, point):
    killed_at(point)
    with pytest.raises(MissingStage):
        load(settings, "neurons")
    save(settings, "neurons", table("neurons"))
    assert list(load(settings, "neurons").layer) == [0, 1, 2]
    assert left_over(settings) == []


def test_a_kill_after_the_move_leaves_the_new_state(settings):
    save(settings, "neurons", table("neurons"))
    killed_at("before tidying up")
    assert list(load(settings, "neurons").layer) == list(range(50, 60))
    assert left_over(settings) == []


def left_over(settings: Run) -> list[str]:
    folder = settings.folder("artifacts") / settings.id
    return [path.name for path in folder.iterdir() if path.name != "neurons"]


def test_what_a_living_process_is_writing_is_left_alone(settings):
    save(settings, "neurons", table("neurons"))
    writing = stage_folder(settings, "neurons").with_name(f"neurons.partial-{os.getppid()}")
    writing.mkdir()
    load(settings, "neurons")
    assert writing.is_dir()


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 64 kB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("NOT RUN: a full disk is only made by root (the next test imitates one)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_former_state(tiny_disk, settings, monkeypatch):
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tiny_disk))
    save(settings, "neurons", table("neurons"))
    words = r"neurons cannot be written to .* \(.*\); free some space or set LOOKUPS_ARTIFACTS"
    with pytest.raises(StorageError, match=words):
        save(settings, "neurons", table("neurons", rows=100_000))
    assert len(load(settings, "neurons")) == 3
    assert left_over(settings) == []


@pytest.mark.parametrize("step", ["table", "manifest"])
def test_an_imitated_full_disk_leaves_the_former_state(settings, monkeypatch, step):
    save(settings, "neurons", table("neurons"))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    place = (pd.DataFrame, "to_parquet") if step == "table" else (Path, "write_text")
    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(StorageError, match=r"\(No space left on device\)"):
            save(settings, "neurons", table("neurons", rows=9))
    assert len(load(settings, "neurons")) == 3
    assert left_over(settings) == []


def test_a_folder_that_cannot_be_made_is_told(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="cannot be written to"):
        save(settings, "neurons", table("neurons"))


def test_digests_of_folders_follow_names_and_contents(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    first = contents_digest(tmp_path)
    (tmp_path / ".hidden").write_text("ignored")
    assert contents_digest(tmp_path) == first
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    second = contents_digest(tmp_path)
    assert second != first
    (tmp_path / "b.txt").write_text("four")
    assert contents_digest(tmp_path) != second


def test_parameters_are_json(settings):
    content = parameters(settings, Run.model_fields)
    assert json.loads(json.dumps(content)) == content


def test_a_process_that_is_gone_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not module._alive(child.pid)
    assert module._alive(os.getpid())
