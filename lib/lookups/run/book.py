"""The book of a run: its executed notebooks and the prose pages, rendered into one folder of HTML.

Rendering executes nothing and asks nothing of the network. A site is built beside its place and
moved there when it is whole; when nothing has changed since, it is left as it is.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from lookups.errors import LookupsError
from lookups.paths import PROJECT
from lookups.show.html import without_bundle

DEFAULT_ONLY = "default-run"
"""The tag of Markdown cells that are true of the default run only."""

WITH_RECORD = "with-record"
"""The tag of cells about the authors' record: left out of a chapter in which none of them shows
anything, as in runs that name no record."""

STAMP = ".digest"
"""The file in a finished site that tells what it was made from."""

_GLUED = "application/papermill.record/"

_TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "circuitsvis")


def site_folder(run_id: str, *, default: bool) -> Path:
    """Return where the site of a run lies, or would lie."""
    return PROJECT / "_build" / ("html" if default else f"{run_id}/html")


def build_book(run_id: str, notebooks: Path, out: Path | None = None, *, default: bool) -> Path:
    """Render the executed notebooks of a run with the prose pages; return the site's index page.

    Runs other than the default one lose the Markdown cells that are true of that one alone.

    Raises:
        LookupsError: a chapter is missing or was not executed, or the build gave a warning.
    """
    out = out or site_folder(run_id, default=default)
    chapters = {path.name: _chapter(path, run_id, default) for path in _chapter_files(notebooks)}
    digest = _digest(run_id, chapters)
    if _made_from(out) == digest:
        return out / "index.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".book-", dir=out.parent) as scratch:
        source = Path(scratch) / "source"
        _assemble(source, run_id, chapters, default)
        site = _render(source, Path(scratch))
        (site / STAMP).write_text(digest)
        _move_into_place(site, out)
    return out / "index.html"


def _chapter_files(notebooks: Path) -> list[Path]:
    """The notebooks that the table of contents names, all of them there."""
    contents = (PROJECT / "_toc.yml").read_text("utf-8")
    names = re.findall(r"file: notebooks/(\S+)", contents)
    missing = [name for name in names if not (notebooks / f"{name}.ipynb").is_file()]
    if missing:
        raise LookupsError(
            f"the book needs the executed notebook {missing[0]}.ipynb in {notebooks}"
            f"{f' (and {len(missing) - 1} more)' if missing[1:] else ''}; execute the run first: "
            "lookups run RUN"
        )
    return [notebooks / f"{name}.ipynb" for name in names]


def _chapter(path: Path, run_id: str, default: bool) -> str:
    """An executed notebook as this run's book shows it."""
    try:
        notebook = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise LookupsError(
            f"{path} is not a notebook; execute the run again: lookups run {run_id}"
        ) from None
    cells = notebook["cells"]
    if any(_unexecuted(cell) for cell in cells):
        raise LookupsError(
            f"{path.name} has cells that were never executed; execute the run: lookups run {run_id}"
        )
    notebook["cells"] = [
        cell for cell in _without_empty_record(cells) if default or not _default_only(cell)
    ]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = without_bundle("".join(data["text/html"]))
    return json.dumps(notebook, ensure_ascii=False, indent=1)


def _unexecuted(cell: dict[str, Any]) -> bool:
    code = cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    return bool(code) and cell.get("execution_count") is None


def _default_only(cell: dict[str, Any]) -> bool:
    return _tagged(cell, DEFAULT_ONLY) and cell["cell_type"] == "markdown"


def _without_empty_record(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of a chapter, those about the record only where one of them shows something."""
    about_it = [cell for cell in cells if _tagged(cell, WITH_RECORD)]
    if any(_shown(output) for cell in about_it for output in cell.get("outputs", [])):
        return cells
    return [cell for cell in cells if not _tagged(cell, WITH_RECORD)]


def _shown(output: dict[str, Any]) -> bool:
    """Whether an output is seen where it stands; what is glued elsewhere is not."""
    return not all(mime.startswith(_GLUED) for mime in output.get("data", {"": ""}))


def _tagged(cell: dict[str, Any], tag: str) -> bool:
    return tag in cell.get("metadata", {}).get("tags", [])


def _prose_files() -> list[Path]:
    kept = (path for path in (PROJECT / "book").rglob("*") if path.is_file())
    return sorted(path for path in kept if "__pycache__" not in path.parts)


def _digest(run_id: str, chapters: dict[str, str]) -> str:
    """A digest of all that a site is made from: pages, chapters, docstrings and tools."""
    code = sorted((PROJECT / "lib" / "lookups").rglob("*.py"))
    settings = [PROJECT / "_config.yml", PROJECT / "_toc.yml"]
    made_from: list[Iterable[str]] = [[run_id], (f"{tool} {version(tool)}" for tool in _TOOLS)]
    made_from += [[name, text] for name, text in sorted(chapters.items())]
    for path in [*settings, *_prose_files(), *code]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        made_from.append([path.relative_to(PROJECT).as_posix(), content])
    lines = "\n".join("\0".join(item) for item in made_from)
    return hashlib.sha256(lines.encode()).hexdigest()


def _made_from(out: Path) -> str | None:
    stamp = out / STAMP
    whole = stamp.is_file() and (out / "index.html").is_file()
    return stamp.read_text() if whole else None


def _assemble(source: Path, run_id: str, chapters: dict[str, str], default: bool) -> None:
    """Lay the sources of one site into a folder: settings, prose pages, chapters."""
    for page in _prose_files():
        place = source / page.relative_to(PROJECT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, place)
    settings = yaml.safe_load((PROJECT / "_config.yml").read_text("utf-8"))
    if not default:
        settings["title"] += f": run {run_id}"
    (source / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    shutil.copyfile(PROJECT / "_toc.yml", source / "_toc.yml")
    (source / "notebooks").mkdir()
    for name, text in chapters.items():
        (source / "notebooks" / name).write_text(text, "utf-8")


def _render(source: Path, scratch: Path) -> Path:
    """Let Jupyter Book render a source folder, every warning an error; return the HTML folder."""
    program = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", str(source)]
    command += ["--path-output", str(scratch), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    site = scratch / "_build" / "html"
    if done.returncode != 0 or not (site / "index.html").is_file():
        raise LookupsError(
            "the book was not built; mend this and try again:\n" + _causes(done, source)
        )
    return site


def _causes(done: subprocess.CompletedProcess[str], source: Path) -> str:
    """The first few warnings of a build, without colours and the scratch folder's name."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + "\n" + done.stderr)
    lines = [line.replace(f"{source}/", "") for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    return "\n".join(dict.fromkeys(marked[:6] or lines[-6:]))


def _move_into_place(site: Path, out: Path) -> None:
    """Put a finished site where the former one was; a reader never meets half of one."""
    former = site.parent / "former"
    if out.exists():
        out.rename(former)
    site.rename(out)
