"""A chapter's two files, the `.py` that is edited and the `.ipynb` made from it; its execution.

The way goes from text to notebook and never back. A notebook made here holds no time, no path of
papermill's and no random id, so that two executions of the same chapter are the same bytes. It is
executed in a kernel of this Python, in which nothing of the user's Jupyter set-up takes part.
"""

import ast
import hashlib
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from lookups import errors
from lookups.errors import ChapterError, LookupsError
from lookups.paths import PROJECT, write_whole

NOTEBOOKS = PROJECT / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT_METADATA = ("tags", "mystnb")
ENVIRONMENT = {
    "JUPYTER_NO_CONFIG": "1",
    "JUPYTER_PATH": "",
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this Python, not one of the user's
    "LOOKUPS_VIEWS": "linked",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads that spin slow down everything else
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
RECORD_THREADS = "2"
"""Threads of the default run, unless OMP_NUM_THREADS is set: how sums are split decides their last
digit, and what is committed should not depend on how many processors a machine has."""

START_TIMEOUT = 300
"""Seconds that a kernel may take to start, or an output to come, on a busy machine."""


def chapter_sources() -> list[Path]:
    """Return the chapters' source files in the order in which they are executed."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))


def read_source(source: Path) -> NotebookNode:
    """Read a percent file as a notebook without outputs."""
    return cleaned(jupytext.reads(source.read_text("utf-8"), fmt="py:percent"))


def read_notebook(path: Path) -> NotebookNode:
    """Read an executed notebook."""
    try:
        return nbformat.reads(path.read_text("utf-8"), as_version=4)
    except Exception as error:  # what nbformat raises depends on the damage
        raise LookupsError(f"{path} is not a notebook ({error}); delete it and run again") from None


def tags_of(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook without papermill's metadata and times, stderr and chance ids."""
    cells, seen, count = [], Counter(), 0
    for cell in notebook.cells:
        # papermill gives every cell an empty list of tags
        kept = {key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)}
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[name] += 1
        made = {"cell_type": cell.cell_type, "id": f"{name}-{seen[name]}", "metadata": kept}
        made |= {"source": cell.source}
        if cell.cell_type == "code":
            executed = cell.get("execution_count") is not None
            count += executed
            number = {"execution_count": count if executed else None}
            shown = [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]
            outputs = [one | number if "execution_count" in one else one for one in shown]
            made |= number | {"outputs": outputs}
        cells.append(made)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return nbformat.from_dict(whole)


def as_text(notebook: NotebookNode) -> str:
    """Return a notebook's file content, valid and always written the same way."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def with_outputs_of(notebook: NotebookNode, former: NotebookNode) -> NotebookNode:
    """Return a notebook whose code cells carry the outputs of the same cells of a former one,
    whatever their layout and comments; papermill's parameters are kept. (`jupytext --update` would
    leave a changed cell the output that it had.)"""
    cells = [NotebookNode(cell) for cell in notebook.cells]
    place = 1 + next(n for n, cell in enumerate(cells) if "parameters" in tags_of(cell))
    cells[place:place] = [cell for cell in former.cells if "injected-parameters" in tags_of(cell)]
    left = defaultdict(list)
    for cell in former.cells:
        left[_meaning(cell)].append(cell)
    for cell in cells:
        if cell.cell_type == "code" and (same := left[_meaning(cell)]):
            kept = same.pop(0)
            cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    return cleaned(NotebookNode(cells=cells))


def _meaning(cell: NotebookNode) -> str:
    """What a cell does, whatever its layout and comments."""
    try:
        return ast.dump(ast.parse(cell.source)) if cell.cell_type == "code" else ""
    except SyntaxError:
        return cell.source


def pair(source: Path) -> bool:
    """Bring a chapter's notebook in step with its source; True if it changed. A cell whose code
    changed loses its output until the chapter is run."""
    notebook, target = read_source(source), source.with_suffix(".ipynb")
    if target.is_file():
        notebook = with_outputs_of(notebook, read_notebook(target))
    return write_whole(target, as_text(notebook))


@contextmanager
def kernel_environment(*, record: bool = False) -> Iterator[None]:
    """Set the environment so that kernels started inside are alike; `record` fixes threads too."""
    former = dict(os.environ)
    threads = {"OMP_NUM_THREADS": RECORD_THREADS} if record else {}
    with tempfile.TemporaryDirectory(prefix="lookups-kernel-") as folder:
        os.environ |= threads | former | ENVIRONMENT | {"IPYTHONDIR": folder}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(former)


def execute(
    notebook: NotebookNode, parameters: dict[str, str], *, folder: Path, unfinished: Path
) -> NotebookNode:
    """Execute a chapter in `folder` with papermill's parameters, and return it cleaned.
    ChapterError if a cell raised, or the kernel died or did not start: the notebook so far then
    stays at `unfinished`."""
    import papermill  # most of a second to import
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from lookups.run.kernels import ForkedKernels

    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = papermill.execute_notebook(
            notebook,
            unfinished,
            parameters,
            kernel_name=KERNEL["name"],
            kernel_manager_class=ForkedKernels,
            resources={"metadata": {"path": str(folder)}},  # `cwd` would move this process
            progress_bar=sys.stderr.isatty() and {"leave": False},
            start_timeout=START_TIMEOUT,
            iopub_timeout=START_TIMEOUT,
            coalesce_streams=True,
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        why = " ".join(str(error.evalue).split()) or "no message"
        if not hasattr(errors, error.ename):  # an error of the project speaks for itself
            why = f"cell [{error.exec_count}] raised {error.ename}: {why}"
    except DeadKernelError:
        why = (
            "the Python that ran it ended abruptly; most often memory ran out: close other "
            "programs, or ask for fewer documents in the run file"
        )
    except RuntimeError as error:  # so jupyter_client tells that no kernel answers
        why = (
            f"no Python started to run it ({error}); try again when the machine is less busy, and "
            f"see that `{sys.executable} -m ipykernel_launcher --version` works"
        )
    else:
        unfinished.unlink()
        return cleaned(done)
    name = unfinished.name.split(".")[0]
    raise ChapterError(f"{name}: {why} (the notebook so far: {unfinished})")
