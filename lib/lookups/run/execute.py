"""`lookups run`: a run's chapters in order, each executed only if what it stands on has changed.

Beside each executed copy, `artifacts/<run>/notebooks/NN_name.ipynb`, lies NN_name.json: what it was
made on, the digests of the stages it left, and how long it took. What a chapter stands on is taken
widely: its code, the whole library (comments, docstrings and layout left out), the whole run file,
the stages that it loads, and all packages. The default run's copies are the committed notebooks.
"""

import ast
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from lookups.errors import LookupsError, MissingStage, RunError, StaleStage
from lookups.paths import write_whole
from lookups.run import notebooks
from lookups.run.stages import STAGES, other_runs, stage_named
from lookups.run.store import manifest, parameters, versions
from lookups.settings import DEFAULT_RUN, Run, read_run

PACKAGE = Path(__file__).resolve().parents[1]
KERNELS = int(os.environ.get("LOOKUPS_KERNELS", "2"))
"""How many chapters are executed at a time; 1 where a model fits only once into memory."""

DEFAULT_ONLY = "default-run"
"""The tag of Markdown that is true of the default run alone."""

Say = Callable[[str], None]


class Chapter(NamedTuple):
    """One chapter of one run."""

    name: str
    notebook: NotebookNode
    """Its source as this run sees it, without outputs."""
    code: ast.Module
    executed: Path
    """Where its executed copy lies, or would lie."""

    @property
    def record(self) -> dict[str, Any]:
        """What its executed copy was made on; empty where there is none."""
        try:
            return json.loads(self.executed.with_suffix(".json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    @property
    def last_time(self) -> str:
        """How long it took the last time, in words."""
        seconds = self.record.get("seconds")
        return "" if seconds is None else f" (last time {seconds:.0f} s)"


class Chain(NamedTuple):
    """A run and its chapters in order."""

    settings: Run
    chapters: tuple[Chapter, ...]
    sources: Path
    """The folder of the chapters' sources, which is also the kernels' working directory."""

    @property
    def default(self) -> bool:
        """Whether this is the run whose notebooks are committed."""
        return self.settings.id == DEFAULT_RUN

    @property
    def folder(self) -> Path:
        """Where this run's stages and executed notebooks lie."""
        return self.settings.folder("artifacts") / self.settings.id

    @property
    def notebooks(self) -> Path:
        """Where its executed notebooks lie."""
        return self.folder / "notebooks"


def chain_of(run: str | Path, *, sources: Path = notebooks.NOTEBOOKS) -> Chain:
    """Read a run and the chapters that exist, as that run sees them.

    Raises:
        RunError: the run is unknown or wrong, or calls itself like the default run.
    """
    settings = read_run(run)
    chain = Chain(settings, (), sources)
    if chain.default and settings.given != DEFAULT_RUN:
        raise RunError(
            f"{run} calls itself {DEFAULT_RUN!r}, the run whose notebooks are committed; give the "
            "file another name, or an id"
        )
    chapters = tuple(_chapter(chain, source) for source in notebooks.chapter_sources(sources))
    return chain._replace(chapters=chapters)


def _chapter(chain: Chain, source: Path) -> Chapter:
    notebook = notebooks.read_source(source)
    if not chain.default:
        cells = [cell for cell in notebook.cells if DEFAULT_ONLY not in notebooks.tags_of(cell)]
        notebook = NotebookNode(notebook | {"cells": cells})
    code = [ast.parse(c.source, source) for c in notebook.cells if c.cell_type == "code"]
    executed = chain.notebooks / f"{source.stem}.ipynb"
    return Chapter(source.stem, notebook, ast.Module(code, []), executed)


def why_stale(settings: Run, chapter: Chapter) -> str | None:
    """Tell in words why a chapter must be executed (again); None if it is up to date."""
    record = chapter.record
    if not record or not chapter.executed.is_file():
        return "never executed"
    if record.get("notebook") != _digest(chapter.executed.read_text("utf-8")):
        return "its executed copy was changed by another hand"
    try:
        now = _basis(settings, chapter) | _made(settings, chapter)
    except (MissingStage, StaleStage) as error:
        return str(error).split(";")[0]
    changed = [part for part in now if record.get(part) != now[part]]
    return f"changed: {', '.join(changed)}" if changed else None


def _basis(settings: Run, chapter: Chapter) -> dict[str, Any]:
    """What a chapter stands on now, by parts named in words; errors are of the stages it reads."""
    basis = {
        "its code": _digest(ast.dump(chapter.code)),
        "the library's code": library_digest(PACKAGE),
    }
    basis |= {f"version of {name}": number for name, number in versions().items()}
    keys = parameters(settings, Run.model_fields)
    basis |= {f"setting {key}": value for key, value in keys.items()}
    reads = [(settings, stage) for stage in stages_read(chapter)]
    for run, chapters in other_runs(chapter.name, settings).items():
        reads += [(read_run(run), stage.name) for stage in STAGES if stage.chapter in chapters]
    return basis | {f"{run.id}'s {stage}": manifest(run, stage)["digest"] for run, stage in reads}


def stages_read(chapter: Chapter) -> list[str]:
    """Return the stages that a chapter loads from its own run and another chapter makes."""
    named = set(re.findall(r"\bload\(settings, '(\w+)'\)", ast.unparse(chapter.code)))
    return [one.name for one in STAGES if one.name in named and one.chapter != chapter.name]


def _made(settings: Run, chapter: Chapter) -> dict[str, str]:
    """The digests of the stages that a chapter has left."""
    mine = [stage.name for stage in STAGES if stage.chapter == chapter.name]
    return {f"its {stage}": manifest(settings, stage)["digest"] for stage in mine}


class _Silent(ast.NodeTransformer):
    """Takes docstrings out."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@lru_cache(maxsize=2)
def library_digest(package: Path) -> str:
    """Return a digest of what a package does: its modules without comments and docstrings."""
    lines = [path.read_text("utf-8") for path in sorted(package.glob("show/page/*"))]
    for path in sorted(package.rglob("*.py")):
        tree = _Silent().visit(ast.parse(path.read_text("utf-8"), path))
        lines.append(f"{path.relative_to(package).as_posix()} {ast.dump(tree)}")
    return _digest("\n".join(lines))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_chapters(chain: Chain, *, only: Sequence[str] = (), say: Say = lambda _: None) -> list[str]:
    """Execute the chapters that are not up to date, and return the names of those executed.

    `only` names chapters to look at (their numbers do), `say` takes lines of progress. `KERNELS`
    of them are executed at a time, each as soon as all are done whose stages it reads, of this run
    or another: much of a chapter, imports above all, keeps a single processor busy.

    Raises:
        ChapterError: a chapter stopped; those that were done by then are kept.
        LookupsError: no such chapter, or another process is at work on this run.
    """
    wanted, names = {Path(name).stem for name in only}, [c.name for c in chain.chapters]
    if unknown := sorted(wanted - {*names, *(name[:2] for name in names)}):
        raise LookupsError(f"no chapter {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [c for c in chain.chapters if not wanted or wanted & {c.name, c.name[:2]}]
    jobs = {f"{chain.settings.id}/{chapter.name}": Job(chain, chapter) for chapter in chosen}
    for job in list(jobs.values()):
        for run, made_by in other_runs(job.chapter.name, chain.settings).items():
            other = chain_of(run, sources=chain.sources)
            more = [Job(other, one) for one in other.chapters if one.name in made_by]
            jobs |= {} if other.settings.id == chain.settings.id else {j.name: j for j in more}
    with ExitStack() as stack:
        for folder in dict.fromkeys(job.chain.folder for job in jobs.values()):
            stack.enter_context(_alone(folder))
        stack.enter_context(notebooks.kernel_environment(record=chain.default))
        pool = stack.enter_context(ThreadPoolExecutor(KERNELS))
        executed = _by_and_by(jobs, pool, say)
    return [name.removeprefix(f"{chain.settings.id}/") for name in jobs if name in executed]


class Job(NamedTuple):
    """A chapter of a run, to be executed where it is stale."""

    chain: Chain
    chapter: Chapter

    @property
    def name(self) -> str:
        """What it is called: `run/NN_chapter`."""
        return f"{self.chain.settings.id}/{self.chapter.name}"

    def needs(self) -> set[str]:
        """Return the names of those that make what it reads."""
        reads = {stage_named(stage).chapter for stage in stages_read(self.chapter)}
        found = {f"{self.chain.settings.id}/{name}" for name in reads}
        for run, chapters in other_runs(self.chapter.name, self.chain.settings).items():
            found |= {f"{read_run(run).id}/{name}" for name in chapters}
        return found


def _by_and_by(jobs: Mapping[str, Job], pool: ThreadPoolExecutor, say: Say) -> set[str]:
    """Do jobs as they become ready, earlier ones first; return the names of those executed."""
    waiting, executed = {name: job.needs() for name, job in jobs.items()}, set()
    running: dict[Future[bool], str] = {}
    try:
        while waiting or running:
            ahead = {*waiting, *running.values()}
            ready = [name for name, needs in waiting.items() if not needs & ahead]
            for name in ready[: KERNELS - len(running)]:
                del waiting[name]
                running[pool.submit(_step, jobs[name], say)] = name
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                executed |= {name} if done.result() else set()
    except KeyboardInterrupt:
        for kernel in psutil.Process().children(recursive=True):
            kernel.kill()
        raise
    except LookupsError:
        for name in running.values():
            say(f"a chapter has failed; {name} is still brought to its end")
        raise
    return executed


def _step(job: Job, say: Say) -> bool:
    """Execute a chapter, and return True, if it is stale; else bring in changed words."""
    chain, chapter = job
    reason = why_stale(chain.settings, chapter)
    if reason is None:
        former = notebooks.read_notebook(chapter.executed)
        copy = notebooks.with_outputs_of(chapter.notebook, former)
        _keep(chain, chapter, copy, chapter.record)
        say(f"{job.name}: up to date")
        return False
    say(f"{job.name}: {reason}; executing{chapter.last_time}")
    say(f"{job.name}: done in {_execute(chain, chapter):.0f} s")
    return True


def _execute(chain: Chain, chapter: Chapter) -> float:
    """Execute a chapter and keep its copy with what it was made on; return its seconds."""
    basis, start = _basis(chain.settings, chapter), time.perf_counter()
    given = {} if chain.default else {"run": chain.settings.given}
    unfinished = chapter.executed.with_suffix(".unfinished.ipynb")
    done = notebooks.execute(chapter.notebook, given, folder=chain.sources, unfinished=unfinished)
    seconds = round(time.perf_counter() - start, 1)
    _keep(chain, chapter, done, basis | _made(chain.settings, chapter) | {"seconds": seconds})
    return seconds


def _keep(chain: Chain, chapter: Chapter, notebook: NotebookNode, record: dict[str, Any]) -> None:
    """Write an executed copy, then its record; put the default run's where it is committed."""
    text = notebooks.as_text(notebook)
    if notebooks.write_if_new(chapter.executed, text) or record != chapter.record:
        record = record | {"notebook": _digest(text)}
        write_whole(chapter.executed.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    if chain.default:
        notebooks.write_if_new(chain.sources / chapter.executed.name, text)


def _alone(folder: Path):
    """Hold a run's folder for this process; the lock ends with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise LookupsError(
            f"another `lookups run` is at work in {folder}; wait until it has ended"
        ) from None
