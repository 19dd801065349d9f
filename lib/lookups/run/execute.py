"""`lookups run`: a run's chapters, each executed only if what it stands on has changed.

Beside each executed copy, `artifacts/<run>/notebooks/NN_name.ipynb`, lies NN_name.json: what it was
made on, the digests of the stages it left, and how long it took. What a chapter stands on is taken
widely: its code, the whole library (comments, docstrings and layout left out), the run file
(but for places and how a server is reached), the stages that it loads, and the packages that
results depend on. The default run's copies are the committed notebooks.
"""

import ast
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from lookups.errors import LookupsError, MissingStage, RunError, StaleStage
from lookups.paths import write_whole
from lookups.run import notebooks
from lookups.run.kernels import forking
from lookups.run.stages import STAGES, Stage, other_runs
from lookups.run.store import manifest, parameters, versions
from lookups.settings import DEFAULT_RUN, Run, read_run

PACKAGE = Path(__file__).resolve().parents[1]
KERNELS = "LOOKUPS_KERNELS"
"""This variable says how many chapters are executed at a time: 2, or 1 where memory is short."""

LATE = ("transformer_lens.model_bridge", "transformers.models.llama.modeling_llama")
"""What is imported where a model is loaded, and no sooner."""

Say = Callable[[str], None]


class Chapter(NamedTuple):
    """One chapter of one run."""

    settings: Run
    source: Path
    notebook: NotebookNode
    """Its source as this run sees it, without outputs."""
    code: ast.Module
    executed: Path
    """Where its executed copy lies, or would lie."""

    @property
    def name(self) -> str:
        """What it is called: `run/NN_chapter`."""
        return f"{self.settings.id}/{self.source.stem}"

    @property
    def record(self) -> dict[str, Any]:
        """What its executed copy was made on; empty where there is none."""
        with suppress(OSError, ValueError):
            return json.loads(self.executed.with_suffix(".json").read_text("utf-8"))
        return {}

    @property
    def last_time(self) -> str:
        """How long it took the last time, in words."""
        seconds = self.record.get("seconds")
        return "" if seconds is None else f" (last time {seconds:.0f} s)"


def chapters_of(settings: Run) -> list[Chapter]:
    """Return the chapters in order, as a run sees them."""
    found = []
    for source in notebooks.chapter_sources():
        notebook = notebooks.read_source(source)
        if settings.id != DEFAULT_RUN:  # so tagged are words that are true of that run alone
            kept = [one for one in notebook.cells if "default-run" not in notebooks.tags_of(one)]
            notebook.cells = kept
        code = [ast.parse(c.source, source) for c in notebook.cells if c.cell_type == "code"]
        executed = settings.place("notebooks") / f"{source.stem}.ipynb"
        found.append(Chapter(settings, source, notebook, ast.Module(code, []), executed))
    return found


def why_stale(chapter: Chapter) -> str | None:
    """Tell in words why a chapter must be executed (again); None if it is up to date."""
    record = chapter.record
    if not record or not chapter.executed.is_file():
        return "never executed"
    if record.get("notebook") != _digest(chapter.executed.read_text("utf-8")):
        return "its executed copy was changed by another hand"
    try:
        now = _basis(chapter) | _made(chapter)
    except (MissingStage, StaleStage) as error:
        return str(error).split(";")[0]
    changed = [part for part in now if record.get(part) != now[part]]
    return f"changed: {', '.join(changed)}" if changed else None


def _basis(chapter: Chapter) -> dict[str, Any]:
    """What a chapter stands on now, by parts named in words; errors are of the stages it reads."""
    basis = {"its code": _digest(ast.dump(chapter.code))}
    basis |= {"the library's code": library_digest(PACKAGE)}
    basis |= {f"version of {name}": number for name, number in versions().items()}
    keys = parameters(chapter.settings, Run.model_fields)
    basis |= {f"setting {key}": value for key, value in keys.items()}
    for run, stage in stages_read(chapter):
        basis[f"{run.id}'s {stage.name}"] = manifest(run, stage.name)["digest"]
    return basis


def _made(chapter: Chapter) -> dict[str, str]:
    """The digests of the stages that a chapter has left."""
    mine = [stage.name for stage in STAGES if stage.chapter == chapter.source.stem]
    return {f"its {stage}": manifest(chapter.settings, stage)["digest"] for stage in mine}


def stages_read(chapter: Chapter) -> list[tuple[Run, Stage]]:
    """Return the stages that other chapters make and this one loads, each with its run."""
    settings, name = chapter.settings, chapter.source.stem
    named = set(re.findall(r"\bload\(settings, '(\w+)'\)", ast.unparse(chapter.code)))
    found = [(settings, one) for one in STAGES if one.name in named and one.chapter != name]
    for run, chapters in other_runs(name, settings).items():
        other = read_run(run)
        found += [(other, one) for one in STAGES if one.chapter in chapters]
    return found


class _Silent(ast.NodeTransformer):
    """Takes docstrings out."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@lru_cache(maxsize=2)
def library_digest(package: Path) -> str:
    """Return a digest of what a package does: its modules without comments and docstrings."""
    texts = [*package.glob("show/page/*"), *package.glob("explain/prompts/*")]
    lines = [path.read_text("utf-8") for path in sorted(texts)]
    for path in sorted(package.rglob("*.py")):
        tree = _Silent().visit(ast.parse(path.read_text("utf-8"), path))
        lines.append(f"{path.relative_to(package).as_posix()} {ast.dump(tree)}")
    return _digest("\n".join(lines))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_chapters(own: Run, *, only: Sequence[str] = (), say: Say = lambda _: None) -> list[str]:
    """Execute a run's chapters that are not up to date; return the names of those executed.

    `only` names chapters to look at (their numbers do), `say` takes lines of progress. Two of them
    (`KERNELS`) are executed at a time, each as soon as all are done whose stages it reads, of this
    run or another: much of a chapter keeps a single processor busy.

    ChapterError if a chapter stopped, and those that were done by then are kept; RunError if a run
    reads itself, through another one or directly; LookupsError if there is no such chapter, or
    another process is at work on this run.
    """
    given = os.environ.get(KERNELS, "2")
    kernels = int(given) if given.isdecimal() else 0
    if not kernels:
        raise LookupsError(f"{KERNELS}={given!r}: write how many chapters at a time, such as 1")
    chapters, wanted = chapters_of(own), tuple(Path(name).stem for name in only)
    names = [chapter.source.stem for chapter in chapters]
    if unknown := [one for one in wanted if not any(name.startswith(one) for name in names)]:
        raise LookupsError(f"no chapter {', '.join(unknown)}; there are {', '.join(names)}")
    jobs = {c.name: c for c in chapters if not wanted or c.source.stem.startswith(wanted)}
    for chapter in list(jobs.values()):
        for run, made_by in other_runs(chapter.source.stem, own).items():
            other = read_run(run)
            more = [one for one in chapters_of(other) if one.source.stem in made_by]
            jobs |= {one.name: one for one in more if other.id != own.id}
    with ExitStack() as stack:
        for folder in sorted({job.executed.parents[1] for job in jobs.values()}):
            folder.mkdir(parents=True, exist_ok=True)
            try:  # the lock ends with this process, however that ends
                stack.enter_context(FileLock(folder / ".lock", timeout=0))
            except Timeout:
                words = f"another `lookups run` is at work in {folder}; wait for it"
                raise LookupsError(words) from None
        stack.enter_context(notebooks.kernel_environment(record=own.id == DEFAULT_RUN))
        stack.enter_context(forking(_imported(jobs.values()), patience=notebooks.START_TIMEOUT))
        pool = stack.enter_context(ThreadPoolExecutor(kernels))
        executed = _do_all(jobs, pool, kernels, say)
    return [name.removeprefix(f"{own.id}/") for name in jobs if name in executed]


def _imported(chapters: Iterable[Chapter]) -> list[str]:
    """The modules that some chapters import, and those that come with a model."""
    nodes = [node for chapter in chapters for node in ast.walk(chapter.code)]
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    named = sorted(plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)})
    return [*named, *LATE] if "lookups.model.loaded" in named else named


def _do_all(jobs: dict[str, Chapter], pool: ThreadPoolExecutor, kernels: int, say: Say) -> set[str]:
    """Do chapters as they become ready, earlier ones first; return the names of those executed.

    After a failure none is begun, and those under way are brought to their end.
    """
    waiting = {
        name: {f"{run.id}/{stage.chapter}" for run, stage in stages_read(chapter)}
        for name, chapter in jobs.items()
    }
    try:
        TopologicalSorter(waiting).prepare()
    except CycleError as error:
        circle = " is needed by ".join(error.args[1])
        raise RunError(f"{circle}; write `permuted: null` into the run that is read") from None
    running: dict[Future[bool], str] = {}
    executed, failures = set(), []
    try:
        while waiting or running:
            ahead = {*waiting, *running.values()}
            ready = [name for name, needs in waiting.items() if not needs & ahead]
            for name in ready[: kernels - len(running)]:
                del waiting[name]
                running[pool.submit(_step, jobs[name], say)] = name
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                if error := done.exception():
                    failures.append(error)
                    waiting.clear()
                    for other in running.values():
                        say(f"{name} has failed; {other} is still brought to its end")
                elif done.result():
                    executed.add(name)
    except KeyboardInterrupt:
        say("stopped; what is finished is kept, and the same command goes on from there")
        while wait(running, timeout=0.5).not_done:  # one may be about to start its kernel
            for kernel in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    kernel.kill()
        raise
    for error in failures[1:]:
        say(str(error))
    if failures:
        raise failures[0]
    return executed


def _step(chapter: Chapter, say: Say) -> bool:
    """Execute a chapter, and return True, if it is stale; else bring in changed words.

    Its executed copy is written, then its record; the default run's also where it is committed.
    """
    reason, settings, record = why_stale(chapter), chapter.settings, chapter.record
    if reason is None:
        former = notebooks.read_notebook(chapter.executed)
        done = notebooks.with_outputs_of(chapter.notebook, former)
        told = "up to date"
    else:
        say(f"{chapter.name}: {reason}; executing{chapter.last_time}")
        basis, start = _basis(chapter), time.perf_counter()
        given = {} if settings.id == DEFAULT_RUN else {"run": settings.given}
        unfinished = chapter.executed.with_suffix(".unfinished.ipynb")
        home = chapter.source.parent
        done = notebooks.execute(chapter.notebook, given, folder=home, unfinished=unfinished)
        seconds = round(time.perf_counter() - start, 1)
        record = basis | _made(chapter) | {"seconds": seconds}
        told = f"done in {seconds:.0f} s"
    text = notebooks.as_text(done)
    if write_whole(chapter.executed, text) or record != chapter.record:
        record = record | {"notebook": _digest(text)}
        write_whole(chapter.executed.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    if settings.id == DEFAULT_RUN:
        write_whole(chapter.source.with_suffix(".ipynb"), text)
    say(f"{chapter.name}: {told}")
    return reason is not None
