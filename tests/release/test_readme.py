"""The README's commands work from a clean copy, with Python, make and a package index."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lookups.paths import PROJECT
from lookups.run.book import PAPERMILL_LINE, RUN_LINE

README = (PROJECT / "README.md").read_text("utf-8")
GUIDE = (PROJECT / "book" / "how-to-run.md").read_text("utf-8")
CHAPTER = {"run": "planted", "number": "04", "name": "04_suffixes"}
ONE_CHAPTER = [line.format(**CHAPTER) for line in (RUN_LINE, PAPERMILL_LINE)]
BLOCKS = [block.split("\n") for block in re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)]


def in_copy(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a command as someone would who has just cloned the project."""
    own = ("LOOKUPS_", "VIRTUAL_ENV", "PYTHON", "MAKE", "MFLAGS", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    kept["PYTHON"] = str(Path(sys.base_prefix) / "bin" / "python3.11")
    words = ["bash", "-c", command]
    return subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The working tree as it would be committed: tracked and new files, not ignored ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("NOT RUN: not a git checkout, so a clean copy cannot be made")
    folder = tmp_path_factory.mktemp("clean") / "context-lookups"
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    return folder


def test_the_readmes_links_and_pins_are_right_and_a_chapter_is_run_by_the_line_on_its_page():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (PROJECT / link).exists()] == []
    locked = re.search(r"^torch==\S+", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert set(re.findall(r"torch==[0-9.]+[0-9]", README)) == {locked[0]}
    for text in (README, GUIDE):
        assert [line for line in ONE_CHAPTER if f"\n{line}" not in text] == []
        assert not re.search(r"\.venv/bin/(lookups (run|book)|papermill)", text)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_make_book_from_a_clean_copy(copy):
    book, test = BLOCKS[0]
    made = in_copy(f"{book} RUN=planted", copy)
    assert made.returncode == 0, made.stdout[-5000:] + made.stderr[-5000:]
    page = copy / "_build" / "planted" / "html" / "index.html"
    assert page.is_file()
    assert "open " in made.stdout.splitlines()[-1]
    made = in_copy(".venv/bin/lookups run planted", copy)
    assert "nothing, all was up to date" in made.stdout, made.stderr
    for line in ONE_CHAPTER:
        made = in_copy(f"source .venv/bin/activate && {line}", copy)
        assert made.returncode == 0, made.stderr
    assert (copy / "out.ipynb").is_file()
    assert in_copy(f"make -n {test.removeprefix('make ')}", copy).returncode == 0
    shutil.copy(copy / "notebooks" / "runs" / "planted.yml", copy / "mine.yml")
    made = in_copy(".venv/bin/lookups status mine.yml", copy)
    assert "02_next_token_neurons           never executed" in made.stdout, made.stderr
