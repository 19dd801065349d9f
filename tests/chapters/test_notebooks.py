"""Notebooks and their sources: in step, executed to the end, and free of what changes by itself."""

import ast
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from chapters import write_chapters
from lookups.paths import PROJECT
from lookups.run.execute import chapters_of, stages_read
from lookups.run.notebooks import NOTEBOOKS, chapter_sources, pair, read_notebook, read_source
from lookups.run.stages import CHAPTERS, STAGES
from lookups.settings import DEFAULT_RUN, read_run

SOURCES = chapter_sources()
KNOWN_TAGS = {
    "nbval-ignore-output",
    "parameters", "default-run", "with-record", "full-width", "margin",
    "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
}  # fmt: skip
MACHINE = re.compile(r"(?<![\w.])/(home|root|Users|tmp|work|usr|opt|var)/|0x[0-9a-f]{8,}|\.venv/")
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_chapter_of_a_run_is_there_and_no_notebook_is_without_a_source():
    assert [source.stem for source in SOURCES] == list(CHAPTERS)
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == set(CHAPTERS)
    assert {p.stem for p in NOTEBOOKS.glob("*.py")} == set(CHAPTERS)


@each_source
def test_the_notebook_is_in_step_and_written_as_a_run_writes_it(source, tmp_path):
    copy, *_ = [shutil.copy(source.with_suffix(end), tmp_path) for end in (".py", ".ipynb")]
    assert pair(Path(copy)) is False
    cells = code_of(read_notebook(source.with_suffix(".ipynb")))
    assert [one.execution_count for one in cells] == list(range(1, len(cells) + 1))
    assert len(cells) == len(code_of(read_source(source)))


@each_source
def test_stored_outputs_hold_no_error_and_nothing_of_a_machine(source):
    """Nor a glued figure: it would be compared byte by byte; glued numbers and words are meant."""
    for cell in code_of(read_notebook(source.with_suffix(".ipynb"))):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source
            data = output.get("data", {})
            texts = {k: v for k, v in data.items() if not k.startswith("image/")}
            assert not MACHINE.search(json.dumps(texts) + output.get("text", "")), cell.source
            glued = [kind for kind in data if kind.startswith("application/papermill.record/")]
            assert not [kind for kind in glued if "/image/" in kind], cell.source
            assert '"cv-bundle\\">' not in json.dumps(texts), cell.source  # the book carries it


@each_source
def test_a_chapter_is_written_as_all_are(source):
    notebook = read_source(source)
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        assert tags <= KNOWN_TAGS
        assert "default-run" not in tags or cell.cell_type == "markdown"
        if cell.cell_type == "code":
            ast.parse(cell.source)  # no magics
            assert cell.source.strip()
            assert not cell.source.rstrip().endswith(";"), cell.source
    (tagged,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    assert re.search('^run: str = "smollm2"', tagged.source, re.MULTILINE)
    # IPython takes a cell of the one line `run: …` for its own command %run
    assert len(tagged.source.splitlines()) > 1


def test_every_figure_that_a_chapter_speaks_of_is_drawn_by_one():
    pages = [*SOURCES, *(PROJECT / "book").glob("*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    drawn = set(re.findall(r'(?:"name": "|:name: |name=")(fig-[\w-]+)', text))
    assert set(re.findall(r"{numref}`(fig-[\w-]+)`", text)) <= drawn


def test_chapters_save_what_they_are_said_to_make_and_read_what_comes_before():
    for place, chapter in enumerate(chapters_of(read_run(DEFAULT_RUN))):
        code = ast.unparse(chapter.code)
        assert not re.search(r"\b(load|save|manifest)\(settings, [^']", code)  # stages in quotes
        saved = set(re.findall(r"\bsave\(settings, '(\w+)'", code))
        assert saved == {one.name for one in STAGES if one.chapter == chapter.source.stem}
        read = {stage.chapter for run, stage in stages_read(chapter) if run == chapter.settings}
        assert read <= set(CHAPTERS[:place])


@pytest.fixture
def source(tmp_path) -> Path:
    path = write_chapters(tmp_path) / "03_prompts.py"
    pair(path)
    return path


def test_a_notebook_out_of_step_is_noticed_and_brought_in_step(source):
    assert pair(source) is False
    text = source.read_text()
    for old, new in {
        "neurons = load": "others = load",
        "# # What is": "# # What are",
        'tags=["hide-input"]': 'tags=["hide-cell"] mystnb={"figure": {}}',
        "# %% [markdown]\n# # What": "# %%\n# # What",
        "# %%\ndef table": "# %%\nprompts = 1\n\n\n# %%\ndef table",
    }.items():
        assert old in text
        source.write_text(text.replace(old, new))
        assert pair(source) is True
        assert pair(source) is False


def test_pairing_keeps_outputs_and_ids_of_unchanged_cells_only(source):
    notebook = read_notebook(path := source.with_suffix(".ipynb"))
    for number, cell in enumerate(code_of(notebook)):
        cell.execution_count = 3
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": str(number)})]
    nbformat.write(notebook, path)
    before = [cell.id for cell in notebook.cells]
    text = source.read_text().replace("neurons = load", "others = load")
    source.write_text(text.replace("# %%\ndef table", "# %%\n1 + 1\n\n\n# %%\ndef table"))
    assert pair(source) is True
    notebook = read_notebook(path)
    code = code_of(notebook)
    assert [len(cell.outputs) for cell in code] == [1, 1, 0, 1, 0]
    assert [cell.execution_count for cell in code] == [1, 2, None, 3, None]
    assert [c.id for c in notebook.cells if c.id in before] == before[:-1]
