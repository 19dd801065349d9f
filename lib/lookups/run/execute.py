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
import platform
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from lookups.errors import ChapterError, LookupsError, MissingStage, RunError, StaleStage
from lookups.paths import PROJECT, write_whole
from lookups.run import notebooks
from lookups.run.stages import STAGES, other_runs, stage_named
from lookups.run.store import manifest, parameters
from lookups.settings import DEFAULT_RUN, RUNS, Run, read_run

PACKAGE = Path(__file__).resolve().parents[1]
KERNELS = int(os.environ.get("LOOKUPS_KERNELS", "2"))
"""How many chapters are executed at a time; 1 where a model fits only once into memory."""

REASONS = {
    "code": "its code has changed",
    "settings": "settings have changed",
    "reads": "stages it reads have changed",
    "library": "the library's code has changed",
    "packages": "other versions of Python or packages are installed",
    "makes": "its tables were made by another hand",
}
"""What a chapter's record holds of its basis, and what is said when that part has changed."""

Say = Callable[[str], None]


class Chapter(NamedTuple):
    """One chapter of one run."""

    name: str
    notebook: NotebookNode
    """Its source as this run sees it, without outputs."""
    code: ast.Module
    """Its code, a block a cell."""
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
    parameters: dict[str, str]
    """What papermill hands to every chapter; nothing in the default run."""

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
        ChapterError: a chapter is no valid Python.
    """
    settings, path = read_run(run), Path(run).expanduser()
    shipped = path.suffix not in (".yml", ".yaml") or path.resolve().parent == RUNS
    chain = Chain(settings, (), sources, {})
    if chain.default and not shipped:
        raise RunError(
            f"{path.name} calls itself {DEFAULT_RUN!r}, which is the run whose notebooks are "
            "committed; give the file another name, or an id"
        )
    chapters = tuple(_chapter(chain, source) for source in notebooks.chapter_sources(sources))
    given = {"run": settings.id if shipped else path.resolve().as_posix()}
    return chain._replace(chapters=chapters, parameters={} if chain.default else given)


def _chapter(chain: Chain, source: Path) -> Chapter:
    notebook = notebooks.read_source(source)
    if not chain.default:
        notebook = notebooks.without_default_words(notebook)
    try:
        cells = [ast.parse(c.source) for c in notebook.cells if c.cell_type == "code"]
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise ChapterError(f"{source.stem}: {error.msg} in the line {line!r}; correct it") from None
    executed = chain.notebooks / f"{source.stem}.ipynb"
    return Chapter(source.stem, notebook, ast.Module(cells, []), executed)


def why_stale(settings: Run, chapter: Chapter) -> str | None:
    """Tell in words why a chapter must be executed (again); None if it is up to date."""
    record = chapter.record
    if not record or not chapter.executed.is_file():
        return "never executed"
    if record.get("notebook") != _digest(chapter.executed.read_text("utf-8")):
        return "its executed copy was changed by another hand"
    try:
        now = _basis(settings, chapter) | {"makes": _made(settings, chapter)}
    except (MissingStage, StaleStage) as error:
        return str(error).split(";")[0]
    for part, words in REASONS.items():
        then, new = record.get(part), now[part]
        if then != new and isinstance(then, dict) and isinstance(new, dict):
            changed = sorted(key for key in then | new if then.get(key) != new.get(key))
            return f"{words}: {', '.join(changed)}"
        if then != new:
            return words
    return None


def _basis(settings: Run, chapter: Chapter) -> dict[str, Any]:
    """What a chapter stands on now, as JSON; MissingStage or StaleStage for what it reads."""
    reads = {stage: manifest(settings, stage)["digest"] for stage in stages_read(chapter)}
    for run, chapters in other_runs(chapter.name, settings).items():
        other = read_run(run)
        for stage in (stage.name for stage in STAGES if stage.chapter in chapters):
            reads[f"{stage} of {other.id}"] = manifest(other, stage)["digest"]
    return {
        "code": _digest(ast.dump(chapter.code)),
        "settings": parameters(settings, set(Run.model_fields) - {"paths"}),
        "reads": reads,
        "library": library_digest(PACKAGE),
        "packages": packages_digest(),
    }


def stages_read(chapter: Chapter) -> list[str]:
    """Return the stages that a chapter loads from its own run and another chapter makes."""
    named = set()
    for node in ast.walk(chapter.code):
        match node:
            case ast.Call(
                ast.Name("load" | "manifest"), [ast.Name("settings"), ast.Constant(stage)]
            ):
                named.add(stage)
    return [one.name for one in STAGES if one.name in named and one.chapter != chapter.name]


def _made(settings: Run, chapter: Chapter) -> dict[str, str]:
    """The digests of the stages that a chapter has left."""
    mine = [stage.name for stage in STAGES if stage.chapter == chapter.name]
    return {stage: manifest(settings, stage)["digest"] for stage in mine}


@lru_cache(maxsize=2)
def library_digest(package: Path) -> str:
    """Return a digest of what a package does: its modules without comments and docstrings."""
    lines = []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"), path)
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                alone = (one for one in body if isinstance(one, ast.Expr))
                unread = [one for one in alone if isinstance(one.value, ast.Constant)]
                node.body = [one for one in body if one not in unread]
        lines.append(f"{path.relative_to(package).as_posix()} {ast.dump(tree)}")
    lines += [path.read_text("utf-8") for path in sorted(package.glob("show/page/*"))]
    return _digest("\n".join(lines))


@lru_cache(maxsize=1)
def packages_digest() -> str:
    """Return a digest of Python's version and of those installed of all that the lock names."""
    lock = (PROJECT / "requirements.lock").read_text("utf-8")
    names = {_plain(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    there = {_plain(one.name): one.version for one in distributions()}
    lines = [f"{name} {there.get(name)}" for name in sorted(names)]
    return _digest("\n".join([platform.python_version(), *lines]))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run_chapters(
    chain: Chain, *, only: Sequence[str] = (), again: bool = False, say: Say = lambda _: None
) -> list[str]:
    """Execute the chapters that are not up to date, and return the names of those executed.

    `only` names chapters to look at (their numbers do), `again` executes what is up to date as
    well, `say` takes lines of progress. `KERNELS` of them are executed at a time, each as soon as
    those are done whose stages it reads, of this run or another: much of a chapter, imports above
    all, keeps a single processor busy.

    Raises:
        ChapterError: a chapter stopped; those that were done by then are kept.
        LookupsError: no such chapter, or another process is at work on this run.
    """
    names = {name for c in chain.chapters for name in (c.name, c.name.split("_")[0])}
    wanted = {Path(name).stem for name in only}
    if unknown := sorted(wanted - names):
        known = ", ".join(chapter.name for chapter in chain.chapters)
        raise LookupsError(f"no chapter {', '.join(unknown)}; there are {known}")
    chosen = [c for c in chain.chapters if not wanted or wanted & {c.name, c.name.split("_")[0]}]
    groups = [(chain, chosen), *_others(chain, chosen).values()]
    jobs = [Job(one, chapter) for one, chapters in groups for chapter in chapters]
    waiting, running, executed = list(jobs), {}, set()
    with ExitStack() as stack:
        for one, chapters in groups:
            stack.enter_context(_alone(one.folder))
            say(_forecast(one, chapters, again and one is chain))
        stack.enter_context(notebooks.kernel_environment(record=chain.default))
        pool = stack.enter_context(ThreadPoolExecutor(KERNELS))
        try:
            while waiting or running:
                unfinished = [*waiting, *running.values()]
                ready = [job for job in waiting if not job.needs(unfinished)]
                for job in ready[: KERNELS - len(running)]:
                    waiting.remove(job)
                    running[pool.submit(_do, job, again and job.chain is chain, say)] = job
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(done)
                    executed |= {job.name} if done.result() else set()
        except KeyboardInterrupt:
            for kernel in psutil.Process().children(recursive=True):
                kernel.kill()
            raise
        except LookupsError:
            for job in running.values():
                say(f"a chapter has failed; {job.name} is still brought to its end")
            raise
    done = [job for job in jobs if job.name in executed]
    return [job.chapter.name if job.chain is chain else job.name for job in done]


class Job(NamedTuple):
    """A chapter of a run, to be executed where it is not up to date."""

    chain: Chain
    chapter: Chapter

    @property
    def name(self) -> str:
        """What it is called: `run/NN_chapter`."""
        return f"{self.chain.settings.id}/{self.chapter.name}"

    def needs(self, others: Sequence["Job"]) -> bool:
        """Tell whether it reads what one of the others makes."""
        reads = {stage_named(stage).chapter for stage in stages_read(self.chapter)}
        makers = {f"{self.chain.settings.id}/{name}" for name in reads}
        for run, chapters in other_runs(self.chapter.name, self.chain.settings).items():
            makers |= {f"{read_run(run).id}/{name}" for name in chapters}
        return any(other.name in makers for other in others)


def _do(job: Job, again: bool, say: Say) -> bool:
    """Execute a chapter, and return True, unless it is up to date."""
    reason = "asked for" if again else why_stale(job.chain.settings, job.chapter)
    if reason is None:
        _refresh(job.chain, job.chapter)
        say(f"{job.name}: up to date")
        return False
    say(f"{job.name}: {reason}; executing{job.chapter.last_time}")
    seconds = _execute(job.chain, job.chapter)
    say(f"{job.name}: done in {seconds:.0f} s")
    return True


def _others(chain: Chain, chapters: Sequence[Chapter]) -> dict[str, tuple[Chain, list[Chapter]]]:
    """The other runs that chapters read, each with the chapters of it that come first."""
    found = {}
    for chapter in chapters:
        for run, names in other_runs(chapter.name, chain.settings).items():
            other = chain_of(run, sources=chain.sources)
            if other.settings.id == chain.settings.id:
                continue
            if other.settings.permuted is not None:  # it might lead back here
                raise RunError(
                    f"{other.settings.id}, which {chain.settings.id} reads, is held against a run "
                    "itself; write `permuted: null` into its file"
                )
            found[run] = other, [one for one in other.chapters if one.name in names]
    return found


def outlook(chain: Chain) -> list[str]:
    """Say, a line a chapter, what would be executed and why, and how long it took the last time."""
    corpus = chain.settings.corpus
    lines = [_forecast(chain, chain.chapters, again=False)]
    if chain.settings.prompts is None:
        lines[0] += f"; up to {corpus.documents:,} documents a split of {corpus.length} tokens"
    for other, first in _others(chain, chain.chapters).values():
        lines.append(f"before chapters that read it: {_forecast(other, first, False)}")
    for chapter in chain.chapters:
        reason = why_stale(chain.settings, chapter) or "up to date"
        lines.append(f"{chapter.name:30}  {reason}{chapter.last_time}")
    return lines


def _forecast(chain: Chain, chosen: Sequence[Chapter], again: bool) -> str:
    """How many chapters there are to execute, and what they cost the last time."""
    stale = [c for c in chosen if again or why_stale(chain.settings, c) is not None]
    known = [chapter.record.get("seconds") for chapter in stale]
    cost = "" if None in known else f"; {sum(known):.0f} s the last time"
    some = f"{len(stale)} of {len(chosen)} chapters to execute{cost}"
    return f"run {chain.settings.id}: {some if stale else 'all up to date'}"


def _execute(chain: Chain, chapter: Chapter) -> float:
    """Execute a chapter and keep its copy with what it was made on; return its seconds."""
    basis, start = _basis(chain.settings, chapter), time.perf_counter()
    unfinished = chapter.executed.with_suffix(".unfinished.ipynb")
    try:
        done = notebooks.execute(
            chapter.notebook, chain.parameters, folder=chain.sources, unfinished=unfinished
        )
        seconds = round(time.perf_counter() - start, 1)
        makes = _made(chain.settings, chapter)
    except ChapterError as error:
        raise ChapterError(f"{chapter.name}: {error}") from None
    except (MissingStage, StaleStage) as error:
        raise ChapterError(
            f"{chapter.name} came to its end but did not leave its table ({error}); does it call "
            "save with the run's settings?"
        ) from None
    _keep(chain, chapter, done, basis | {"makes": makes, "seconds": seconds})
    return seconds


def _refresh(chain: Chain, chapter: Chapter) -> None:
    """Bring changed words into an executed copy whose outputs still hold."""
    former = notebooks.read_notebook(chapter.executed)
    _keep(chain, chapter, notebooks.with_outputs_of(chapter.notebook, former), chapter.record)


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
