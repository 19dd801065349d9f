"""Notebooks and their sources: in step, executed to the end, and free of what changes by itself."""

import ast
import json
import re
from pathlib import Path

import pytest
from chapters import write_chapters
from lookups.errors import LookupsError
from lookups.run import notebooks as pairs
from lookups.run.notebooks import (
    NOTEBOOKS,
    as_text,
    chapter_sources,
    cleaned,
    drift,
    for_run,
    pair,
    read_notebook,
    read_source,
)
from lookups.run.stages import CHAPTERS, STAGES
from lookups.run.staleness import needs_of

SOURCES = chapter_sources(NOTEBOOKS)
KNOWN_TAGS = {
    "parameters", "default-run", "with-record", "full-width", "margin",
    "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
}  # fmt: skip
MACHINE = re.compile(r"(?<![\w.])/(home|root|Users|tmp|work|usr|opt|var)/|0x[0-9a-f]{8,}|\.venv/")
GLUED = "application/papermill.record/"
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def test_every_chapter_stands_in_the_order_of_the_run():
    assert [source.stem for source in SOURCES] == [
        name for name in CHAPTERS if (NOTEBOOKS / f"{name}.py").is_file()
    ]
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == {source.stem for source in SOURCES}


@each_source
def test_the_notebook_is_in_step_executed_in_order_and_written_as_the_chain_writes_it(source):
    path = source.with_suffix(".ipynb")
    assert drift(source, path) == []
    assert path.read_text("utf-8") == as_text(cleaned(read_notebook(path)))
    code = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.source.strip() for cell in code)


@each_source
def test_no_error_no_stderr_no_glued_figure_and_nothing_of_this_machine_is_stored(source):
    """Glued images would be compared byte by byte; glued numbers and words are what is meant."""
    for cell in read_notebook(source.with_suffix(".ipynb")).cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source
            data = output.get("data", {})
            assert not [k for k in data if k.startswith(f"{GLUED}image/")], cell.source
            texts = {k: v for k, v in data.items() if not k.startswith("image/")}
            assert not MACHINE.search(json.dumps(texts) + output.get("text", "")), cell.source
            assert '"cv-bundle\\">' not in json.dumps(texts), cell.source  # the book carries it


@each_source
def test_one_parameters_cell_with_a_run(source):
    notebook = read_source(source)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'run: str = "smollm2"' in tagged[0].source
    assert for_run(notebook, "planted", default=False)


@each_source
def test_cells_have_known_tags_and_end_in_a_value_or_nothing(source):
    for cell in read_source(source).cells:
        tags = set(cell.metadata.get("tags", []))
        assert tags <= KNOWN_TAGS
        assert "default-run" not in tags or cell.cell_type == "markdown"
        if cell.cell_type == "code":
            ast.parse(cell.source)  # no magics
            assert not cell.source.rstrip().endswith(";"), cell.source


@each_source
def test_a_chapter_names_every_stage_it_makes(source):
    needs = needs_of(source.stem, read_source(source))
    assert needs.makes == tuple(stage.name for stage in STAGES if stage.chapter == source.stem)


# The functions themselves, on chapters that are made for it.


@pytest.fixture
def source(tmp_path) -> Path:
    path = write_chapters(tmp_path) / "03_prompts.py"
    pair(path)
    return path


def executed(source: Path) -> Path:
    """Put an output into every code cell of a chapter's notebook."""
    notebook = read_notebook(source.with_suffix(".ipynb"))
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.execution_count = 3
            data = {"text/plain": str(number)}
            cell.outputs = [pairs.nbformat.v4.new_output("execute_result", data)]
    source.with_suffix(".ipynb").write_text(as_text(notebook), "utf-8")
    return source.with_suffix(".ipynb")


def test_a_new_pair_is_in_step_and_pairing_again_changes_nothing(source):
    assert drift(source, source.with_suffix(".ipynb")) == []
    assert pair(source) is False


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("neurons = load", "others = load", "source differs"),
        ("# # Which texts", "# # What texts", "source differs"),
        ('tags=["hide-input"]', 'tags=["hide-cell"]', "tags differ"),
        ('tags=["hide-input"]', 'tags=["hide-input"] mystnb={"figure": {}}', "mystnb metadata"),
        ("# %% [markdown]\n# # Which", "# %%\n# # Which", "cell_type differs"),
    ],
)
def test_drift_is_told(source, old, new, words):
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    assert any(words in line for line in drift(source, source.with_suffix(".ipynb")))


def test_a_cell_too_many_is_told(source):
    source.write_text(source.read_text() + "\n# %%\nprompts\n")
    assert drift(source, source.with_suffix(".ipynb")) == [
        "03_prompts.py has 6 cells, 03_prompts.ipynb 5"
    ]


def test_pairing_keeps_outputs_of_unchanged_cells_only(source):
    path = executed(source)
    text = source.read_text().replace("neurons = load", "others = load")
    source.write_text(text.replace("# %%\ndef table", "# %%\n1 + 1\n\n\n# %%\ndef table"))
    assert pair(source) is True
    code = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    assert [len(cell.outputs) for cell in code] == [1, 1, 0, 1, 0]
    assert [cell.execution_count for cell in code] == [1, 2, None, 3, None]


def test_cleaning_twice_is_cleaning_once(source):
    notebook = read_notebook(executed(source))
    assert as_text(cleaned(cleaned(notebook))) == as_text(cleaned(notebook))


def test_ids_do_not_move_when_a_cell_is_put_in(source):
    before = [cell.id for cell in read_source(source).cells]
    source.write_text(
        source.read_text().replace("# %%\ndef", "# %% [markdown]\n# New\n\n# %%\ndef")
    )
    after = [cell.id for cell in read_source(source).cells]
    assert [name for name in after if name in before] == before


def test_a_missing_or_damaged_notebook_says_what_to_do(source):
    path = source.with_suffix(".ipynb")
    path.write_text("{")
    with pytest.raises(LookupsError, match=r"is not a notebook .*; delete it and run again"):
        read_notebook(path)
    path.unlink()
    with pytest.raises(LookupsError, match=r"03_prompts\.ipynb is missing; make it with: lookups"):
        read_notebook(path)
