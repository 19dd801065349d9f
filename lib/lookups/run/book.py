"""The book of a run: its executed notebooks and the prose pages, rendered into one folder of HTML.

Rendering executes nothing and asks nothing of the network. A site is built beside its place and
moved there when it is whole.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from nbformat import NotebookNode

from lookups.errors import LookupsError
from lookups.paths import PROJECT, write_whole
from lookups.run.notebooks import read_notebook, tags_of
from lookups.settings import DEFAULT_RUN, RUNS

WITH_RECORD = "with-record"
"""The tag of cells about the authors' record: left out of a chapter in which none of them shows
anything where it stands, as in runs that name no record."""

RUN_LINE = "lookups run {run} --only {number}"
PAPERMILL_LINE = "papermill notebooks/{name}.ipynb out.ipynb -p run {run}"
"""What executes one chapter: the same words in the README, in "How to run it" and on its page."""


def build_book(run_id: str, notebooks: Path, out: Path | None = None) -> Path:
    """Render the executed notebooks of a run with the prose pages; return the site's index page, in
    `_build/<run>/html`, or `_build/html` for the default run. LookupsError if a chapter is missing
    or was not executed, or the build gave a warning."""
    out = out or PROJECT / "_build" / ("html" if run_id == DEFAULT_RUN else f"{run_id}/html")
    names = re.findall(r"file: notebooks/(\S+)", (PROJECT / "_toc.yml").read_text("utf-8"))
    chapters = {f"{name}.ipynb": _chapter(notebooks / f"{name}.ipynb", run_id) for name in names}
    settings = yaml.safe_load((PROJECT / "_config.yml").read_text("utf-8"))
    if run_id != DEFAULT_RUN:
        settings["title"] += f": run {run_id}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".book-", dir=out.parent) as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(PROJECT / "book", source / "book")
        shutil.copyfile(PROJECT / "_toc.yml", source / "_toc.yml")
        (source / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
        for name, text in chapters.items():
            write_whole(source / "notebooks" / name, text)
        site = _render(source, Path(scratch))
        if out.exists():
            out.rename(Path(scratch) / "former")
        site.rename(out)
    return out / "index.html"


def _chapter(path: Path, run_id: str) -> str:
    """An executed notebook as this run's book shows it, below its title a box with the lines that
    execute it; the run may be one's own."""
    notebook = read_notebook(path) if path.is_file() else NotebookNode(cells=[])
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if not notebook.cells or any(cell.execution_count is None for cell in code):
        raise LookupsError(
            f"the book needs all chapters, and {path.name} is not executed to its end in "
            f"{path.parent}; first: lookups run {run_id}"
        )
    about_it = [cell for cell in code if WITH_RECORD in tags_of(cell)]
    outputs = [output.get("data", {"": ""}) for cell in about_it for output in cell.outputs]
    if all(kind.startswith("application/papermill.record/") for data in outputs for kind in data):
        notebook.cells = [cell for cell in notebook.cells if WITH_RECORD not in tags_of(cell)]
    run = run_id if (RUNS / f"{run_id}.yml").is_file() else f"{run_id}.yml"
    lines = f"`{RUN_LINE}`, or `{PAPERMILL_LINE}`"
    lines = lines.format(run=run, number=path.stem[:2], name=path.stem)
    box = f":::{{div}} run-chapter\nRun this chapter: {lines}. {{ref}}`How? <one-chapter>`\n:::\n"
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    first.source = re.sub(r"(?m)^# .*$", rf"\g<0>\n\n{box}", first.source, count=1)
    return json.dumps(notebook, ensure_ascii=False, indent=1)


def _render(source: Path, scratch: Path) -> Path:
    """Let Jupyter Book render a source folder, every warning an error; return the HTML folder."""
    program = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", str(source)]
    command += ["--path-output", str(scratch), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).replace(f"{source}/", "")
        marked = [line for line in said.splitlines() if re.search(r"\b(WARNING|ERROR)\b", line)]
        causes = "\n".join(marked[:6]) or said[-1000:]
        raise LookupsError(f"the book was not built; mend this and try again:\n{causes}")
    return scratch / "_build" / "html"
