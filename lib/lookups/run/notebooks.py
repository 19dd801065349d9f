"""A chapter's two files: the percent `.py` that is edited, the `.ipynb` that is made from it.

The way goes from text to notebook and never back. A notebook made here holds no time, no path of
papermill's and no random id, so that two executions of the same chapter are the same bytes.
"""

import ast
import hashlib
import json
import os
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from lookups.errors import LookupsError, StorageError
from lookups.paths import PROJECT
from lookups.run.stages import CHAPTERS

NOTEBOOKS = PROJECT / "notebooks"
DEFAULT_ONLY = "default-run"
"""The tag of Markdown that is true of the default run alone."""

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("tags", "mystnb")


def chapter_sources(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the chapters' source files in the order in which they are executed."""
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    return sorted(found, key=lambda path: [*CHAPTERS, path.stem].index(path.stem))


def read_source(source: Path) -> NotebookNode:
    """Read a percent file as a notebook without outputs.

    Raises:
        LookupsError: the file is not there or is no percent script.
    """
    try:
        text = source.read_text("utf-8")
    except OSError:
        raise LookupsError(f"there is no chapter {source.name} in {source.parent}") from None
    return cleaned(jupytext.reads(text, fmt="py:percent"))


def read_notebook(path: Path) -> NotebookNode:
    """Read an executed notebook.

    Raises:
        LookupsError: it is not there, or damaged.
    """
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise LookupsError(
            f"{path.name} is missing; make it with: lookups run smollm2 (or: lookups pair)"
        ) from None
    except Exception as error:
        raise LookupsError(f"{path} is not a notebook ({error}); delete it and run again") from None


def for_run(notebook: NotebookNode, run: str, *, default: bool) -> NotebookNode:
    """Return a chapter as a run sees it: its `run` line set; for others, default-run words dropped.

    Raises:
        LookupsError: the chapter has no `parameters` cell with a line `run: str = …` and another.
    """
    cells = [cell for cell in notebook.cells if default or not _default_only(cell)]
    for cell in cells:
        if _set_line(cell, "run", run):
            if len(cell.source.splitlines()) == 1:
                raise LookupsError(
                    "IPython takes a cell of the one line `run: …` for its own command %run; put a "
                    "comment line above it in the parameters cell"
                )
            break
    else:
        raise LookupsError('a chapter needs a cell tagged "parameters" with a line run: str = "…"')
    return cleaned(nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata))


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
    language = {"name": "python"}
    return NotebookNode(
        nbformat=4,
        nbformat_minor=5,
        metadata=NotebookNode(kernelspec=NotebookNode(KERNEL), language_info=language),
        cells=cells,
    )


def as_text(notebook: NotebookNode) -> str:
    """Return a notebook's file content, valid and always written the same way."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is either the former one or the whole new one.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}); free some space, or check who "
            "may write there; what was there before is untouched"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_if_new(path: Path, text: str) -> bool:
    """Write a file whole unless it holds that text already; True if it was written."""
    if path.is_file() and path.read_text("utf-8") == text:
        return False
    write_whole(path, text)
    return True


def with_outputs_of(notebook: NotebookNode, former: NotebookNode) -> NotebookNode:
    """Return a notebook whose code cells carry the outputs of the same cells of a former one.

    Cells that differ in layout or comments only are the same.
    """
    notebook = cleaned(notebook)
    new, old = ([c for c in n.cells if c.cell_type == "code"] for n in (notebook, former))
    meant, was_meant = ([_meaning(cell.source) for cell in cells] for cells in (new, old))
    matcher = SequenceMatcher(None, was_meant, meant, autojunk=False)
    for start, place, size in matcher.get_matching_blocks():
        for cell, kept in zip(new[place : place + size], old[start : start + size], strict=True):
            cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    return cleaned(notebook)


def pair(source: Path) -> bool:
    """Make a chapter's notebook from its source, outputs of unchanged cells kept; True if changed.

    A cell whose code changed loses its output until the chapter is run.
    """
    target = source.with_suffix(".ipynb")
    notebook = read_source(source)
    if target.is_file():
        notebook = with_outputs_of(notebook, read_notebook(target))
    return write_if_new(target, as_text(notebook))


def drift(source: Path, notebook: Path) -> list[str]:
    """Tell where a notebook is not in step with its source: cell types, sources, tags."""
    ours, theirs = read_source(source).cells, read_notebook(notebook).cells
    found = []
    for number, (cell, other) in enumerate(zip(ours, theirs, strict=False)):
        for what in ("cell_type", "source"):
            if cell[what] != other[what]:
                found.append(f"cell {number}: {what} differs ({_start(cell)} | {_start(other)})")
        if cell.metadata.get("tags", []) != other.metadata.get("tags", []):
            found.append(f"cell {number}: tags differ ({_start(cell)})")
        elif cell.metadata.get("mystnb") != other.metadata.get("mystnb"):
            found.append(f"cell {number}: mystnb metadata differ ({_start(cell)})")
    if len(ours) != len(theirs):
        found.append(f"{source.name} has {len(ours)} cells, {notebook.name} {len(theirs)}")
    return found


def _meaning(code: str) -> str:
    """What Python reads in some code, whatever its layout."""
    try:
        return ast.dump(ast.parse(code))
    except SyntaxError:
        return code


def _parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def _parameter_line(name: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(name)}(: str)? = [^#\n]*?(?=\s*(#|$))", re.MULTILINE)


def _set_line(cell: NotebookNode, name: str, value: str) -> bool:
    """Set one line of a parameters cell; False if it is no such cell or has no such line."""
    pattern = _parameter_line(name)
    if not _parameters(cell) or not pattern.search(cell.source):
        return False
    line = f"{name}: str = {json.dumps(value, ensure_ascii=False)}"
    cell.source = pattern.sub(lambda _: line, cell.source, count=1)
    return True


def _default_only(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and DEFAULT_ONLY in cell.metadata.get("tags", [])


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


def _start(cell: NotebookNode) -> str:
    return repr(cell.source[:40])
