"""Chapters executed inside another leave what they leave by themselves, or say what is wrong."""

import pytest
from chapters import write_chapters
from lookups.errors import ChapterError, RunError
from lookups.run.inline import execute_inline, run_like
from lookups.run.store import load
from lookups.settings import read_run


@pytest.fixture
def run(artifacts):
    return run_like(read_run("planted"), "planted", id="inside", seed=4)


def test_a_run_like_another_differs_in_what_was_said(run, artifacts):
    settings, base = read_run(run), read_run("planted")
    assert run.parent == artifacts / "inside"
    assert (settings.id, settings.seed) == ("inside", 4)
    assert settings.model == base.model
    assert settings.layers == base.layers


def test_a_wrong_key_is_told_before_any_chapter(artifacts):
    with pytest.raises(RunError, match="unknown key 'sead'"):
        run_like(read_run("planted"), "planted", id="inside", sead=4)


def test_chapters_leave_their_stages_and_show_nothing(run, tmp_path, capsys):
    names = ("02_next_token_neurons", "03_prompts", "04_suffixes")
    execute_inline(run, names, sources=write_chapters(tmp_path / "chapters"))
    assert len(load(read_run(run), "suffixes")) == 2
    assert load(read_run(run), "neurons").neuron.iloc[0] == 4.25  # the seed of this run
    assert capsys.readouterr().out == ""


def test_a_failing_chapter_is_named(run, tmp_path):
    sources = write_chapters(tmp_path / "chapters")
    chapter = sources / "03_prompts.py"
    chapter.write_text(chapter.read_text("utf-8") + "\n# %%\n1 / 0\n", "utf-8")
    with pytest.raises(ChapterError, match=r"03_prompts failed on the run inside \(ZeroDivision"):
        execute_inline(run, ("02_next_token_neurons", "03_prompts"), sources=sources)
