"""The committed outputs are true: executed again they are the same; and the comparison can fail."""

import re

import nbformat
import pytest
from comparing import compare
from lookups.run.execute import run_chapters
from lookups.run.notebooks import RECORD_THREADS, chapter_sources
from lookups.run.stages import other_runs
from lookups.settings import DEFAULT_RUN, read_run

pytestmark = pytest.mark.slow
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


def test_a_chapter_is_the_same_again_until_a_digit_of_it_is_changed(artifacts, tmp_path):
    (tmp_path / "small.yml").write_text(SMALLER, "utf-8")
    settings = read_run(tmp_path / "small.yml")
    run_chapters(settings, only=["02", "03", "04"])
    chapter = settings.place("notebooks") / "04_suffixes.ipynb"
    made, stored = compare([chapter], artifacts=artifacts), nbformat.read(chapter, as_version=4)
    assert made.equal, made.report
    assert made.cells == sum(cell.cell_type == "code" for cell in stored.cells)
    outputs = [o.data for cell in stored.cells for o in cell.get("outputs", []) if "data" in o]
    texts = [data for data in outputs if "image/png" not in data and "text/plain" in data]
    last = [data for data in texts if re.search(r"\d", data["text/plain"])][-1]
    other = lambda digit: str((int(digit[0]) + 1) % 10)  # noqa: E731
    last["text/plain"] = re.sub(r"\d(?=\D*$)", other, last["text/plain"])
    nbformat.write(stored, chapter)
    made = compare([chapter], artifacts=artifacts)
    assert not made.equal
    assert "mismatch" in made.report
