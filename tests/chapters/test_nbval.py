"""The committed outputs are true: executed again they are the same; and the comparison can fail.

That it can fail is shown on the fourth chapter of the planted run, made smaller.
"""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from comparing import compare
from lookups.run.execute import run_chapters
from lookups.run.notebooks import RECORD_THREADS, chapter_sources
from lookups.run.stages import other_runs
from lookups.settings import DEFAULT_RUN, Run, read_run

pytestmark = pytest.mark.slow
CHAPTER = "04_suffixes"
SMALLER = """
extends: planted
corpus: {documents: 500}
neurons_per_layer: 5
random_per_layer: 2
prompts_per_neuron: 5
spread_per_neuron: {train: 5, test: 5}
"""


# First, since it is the longest of all: with `-n 2` no other file then waits behind it.
@pytest.mark.timeout(4800)
def test_the_committed_outputs_are_those_of_a_new_execution(tmp_path, monkeypatch):
    notebooks = [source.with_suffix(".ipynb") for source in chapter_sources()]
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", RECORD_THREADS)  # conftest may have set another number
    for chapter in ("08_scores", "13_ground_truth"):
        for run, names in other_runs(chapter, read_run(DEFAULT_RUN)).items():
            run_chapters(read_run(run), only=names)
    made = compare(notebooks, artifacts=tmp_path, record=True)
    assert made.equal, made.report[-20_000:]
    cells = [cell for path in notebooks for cell in nbformat.read(path, as_version=4).cells]
    assert made.cells == sum(cell.cell_type == "code" for cell in cells)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Run:
    """The planted run made smaller, executed as far as the fourth chapter."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yml").write_text(SMALLER, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKUPS_ARTIFACTS", str(folder / "artifacts"))
        settings = read_run(folder / "small.yml")
        run_chapters(settings, only=["02", "03", "04"])
        yield settings


@pytest.fixture
def copy(small, tmp_path) -> Path:
    """A copy of the executed fourth chapter and of the stages, to be changed."""
    shutil.copytree(small.place(), tmp_path / "artifacts" / "small")
    return Path(shutil.copy(small.place("notebooks") / f"{CHAPTER}.ipynb", tmp_path))


def test_the_same_chapter_again_is_the_same(copy):
    made = compare([copy], artifacts=copy.parent / "artifacts")
    assert made.equal, made.report
    cells = nbformat.read(copy, as_version=4).cells
    assert made.cells == sum(cell.cell_type == "code" for cell in cells)


def test_a_changed_digit_is_found(copy):
    stored = nbformat.read(copy, as_version=4)
    outputs = [o.data for cell in stored.cells for o in cell.get("outputs", []) if "data" in o]
    texts = [data for data in outputs if "image/png" not in data and "text/plain" in data]
    last = [data for data in texts if re.search(r"\d", data["text/plain"])][-1]
    other = lambda digit: str((int(digit[0]) + 1) % 10)  # noqa: E731
    last["text/plain"] = re.sub(r"\d(?=\D*$)", other, last["text/plain"])
    nbformat.write(stored, copy)
    made = compare([copy], artifacts=copy.parent / "artifacts")
    assert not made.equal
    assert "mismatch" in made.report
