"""The command line: help at once, one clear line for every error, the right exit code."""

import re
import subprocess
import sys

import pytest
from chapters import NAMES, write_chapters
from lookups.run import notebooks
from lookups.run.book import RUN_LINE
from lookups.settings import RUNS


@pytest.fixture
def sample(tmp_path, artifacts, monkeypatch):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", write_chapters(tmp_path / "notebooks"))
    return notebooks.NOTEBOOKS


def test_help_tells_every_command_and_needs_nothing_heavy(call):
    heavy = {"torch", "pandas", "transformers", "papermill", "jupytext"}
    program = f"import sys, lookups.run.cli; print(sorted({heavy} & set(sys.modules)))"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.stdout.strip() == "[]", made.stderr
    out = call("--help")[1]
    for command in ("run", "book", "status", "pair", "download"):
        assert f"\n  {command} " in out
        assert call(command, "--help")[0] == 0


def test_a_mistake_is_one_line_and_code_2(call, tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text((RUNS / "planted.yml").read_text() + "kepe: 1\n")
    words = "lookups: mine.yml: kepe: there is no such key; remove it or correct its spelling\n"
    assert call("run", str(path)) == (2, "", words)
    for command in ("run", "book", "status"):
        code, out, err = call(command, "gpt9")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert re.match(r"lookups: no run 'gpt9': known ids are .*planted.*; or give a path", err)


def test_run_status_and_pair(call, sample):
    line = RUN_LINE.format(run="planted", number="02")  # as it stands on the chapter's page
    code, out, err = call(*line.split()[1:])
    assert code == 0, err
    assert out.startswith("executed: 02_next_token_neurons; the notebooks are in ")
    assert "planted/02_next_token_neurons: never executed; executing" in err
    code, out, _ = call("status", "planted")
    head, *lines = out.splitlines()
    assert code == 0
    assert head.startswith("The planted language (planted), in ")
    assert re.match(r"02_next_token_neurons +up to date \(last time \d+ s\)", lines[0])
    assert [line.split(maxsplit=1)[1] for line in lines[1:]] == ["never executed"] * 2
    assert call("pair")[1] == f"brought in step: {', '.join(NAMES)}\n"
    assert call("pair")[1] == "brought in step: nothing, all were\n"
    assert (sample / "03_prompts.ipynb").is_file()


def test_a_folder_that_cannot_be_written_is_one_line(call, sample, monkeypatch):
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(sample / "03_prompts.py"))
    code, _, err = call("run", "planted")
    assert (code, err.count("\n")) == (1, 1)
    assert "Not a directory" in err
