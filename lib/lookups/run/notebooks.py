"""A chapter's two files: the percent `.py` that is edited, the `.ipynb` that is made from it.

The way goes from text to notebook and never back. A notebook made here holds no time, no path of
papermill's and no random id, so that two executions of the same chapter are the same bytes.
"""

import ast
import hashlib
from collections import Counter
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from lookups.errors import LookupsError
from lookups.files import write_whole
from lookups.paths import PROJECT
from lookups.run.stages import CHAPTERS

NOTEBOOKS = PROJECT / "notebooks"
DEFAULT_ONLY = "default-run"
"""The tag of Markdown that is true of the default run alone."""

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("tags", "mystnb")


def chapter_sources(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the chapters' source files in the order in which they are executed."""
    return [path for name in CHAPTERS if (path := folder / f"{name}.py").is_file()]


def read_source(source: Path) -> NotebookNode:
    """Read a percent file as a notebook without outputs."""
    return cleaned(jupytext.reads(source.read_text("utf-8"), fmt="py:percent"))


def read_notebook(path: Path) -> NotebookNode:
    """Read an executed notebook."""
    try:
        return nbformat.reads(path.read_text("utf-8"), as_version=4)
    except Exception as error:  # what nbformat raises on a damaged file depends on the damage
        raise LookupsError(f"{path} is not a notebook ({error}); delete it and run again") from None


def without_default_words(notebook: NotebookNode) -> NotebookNode:
    """Return a chapter as runs other than the default one see it."""
    cells = [c for c in notebook.cells if c.cell_type == "code" or DEFAULT_ONLY not in _tags(c)]
    return NotebookNode(notebook | {"cells": cells})


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with only what its source and its outputs decide; ids follow the sources.

    Dropped: papermill's metadata and times, stderr. Execution counts are those of a fresh kernel.
    """
    cells, seen, count = [], Counter(), 0
    for cell in notebook.cells:
        # papermill gives every cell an empty list of tags
        kept = {key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)}
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[name] += 1
        made = NotebookNode(cell_type=cell.cell_type, id=f"{name}-{seen[name]}", metadata=kept)
        made.source = cell.source
        if cell.cell_type == "code":
            executed = cell.get("execution_count") is not None
            count += executed
            made.execution_count = count if executed else None
            made.outputs = _cleaned_outputs(cell.get("outputs", []), made.execution_count)
        cells.append(made)
    metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    return nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    )


def _cleaned_outputs(outputs: list, execution_count: int | None) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        output = NotebookNode({k: v for k, v in output.items() if k != "transient"})
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        if "execution_count" in output:
            output.execution_count = execution_count
        kept.append(output)
    return kept


def as_text(notebook: NotebookNode) -> str:
    """Return a notebook's file content, valid and always written the same way."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def with_outputs_of(notebook: NotebookNode, former: NotebookNode) -> NotebookNode:
    """Return a notebook whose code cells carry the outputs of the same cells of a former one.

    Cells that differ in layout or comments only are the same; papermill's cell of parameters is
    taken over. (`jupytext --update` would leave a changed cell the output that it had.)
    """
    cells = [deepcopy(cell) for cell in notebook.cells]
    place = 1 + next(n for n, cell in enumerate(cells) if "parameters" in _tags(cell))
    cells[place:place] = [cell for cell in former.cells if "injected-parameters" in _tags(cell)]
    left = [(_meaning(cell.source), cell) for cell in former.cells if cell.cell_type == "code"]
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        meant = _meaning(cell.source)
        same = next((number for number, (was, _) in enumerate(left) if was == meant), None)
        if same is not None:
            kept = left.pop(same)[1]
            cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    return cleaned(NotebookNode(cells=cells))


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _meaning(code: str) -> str:
    try:
        return ast.dump(ast.parse(code))
    except SyntaxError:
        return code


def paired(source: Path) -> str:
    """Return what a chapter's notebook should hold: its source, outputs of unchanged cells kept."""
    notebook, target = read_source(source), source.with_suffix(".ipynb")
    if target.is_file():
        notebook = with_outputs_of(notebook, read_notebook(target))
    return as_text(notebook)


def pair(source: Path) -> bool:
    """Bring a chapter's notebook in step with its source; True if it changed.

    A cell whose code changed loses its output until the chapter is run.
    """
    return write_if_new(source.with_suffix(".ipynb"), paired(source))


def write_if_new(path: Path, text: str) -> bool:
    """Write a file whole unless it holds that text already; True if it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_whole(path, text)
    return True
