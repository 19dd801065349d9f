"""`lookups run`: a run's chapters in order, each executed only if what it stands on has changed.

Beside each executed copy, `artifacts/<run>/notebooks/NN_name.ipynb`, lies NN_name.json: the basis
it was made on (see `run.staleness`), the digests of the stages it left, and how long it took. The
default run's copies are also the committed `notebooks/*.ipynb`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from nbformat import NotebookNode

from lookups.errors import ChapterError, LookupsError, MissingStage, RunError, StaleStage
from lookups.run.execution import execute, kernel_environment
from lookups.run.notebooks import (
    NOTEBOOKS,
    as_text,
    for_run,
    read_notebook,
    read_source,
    with_outputs_of,
    write_if_new,
    write_whole,
)
from lookups.run.stages import CHAPTERS, SCORED
from lookups.run.staleness import Needs, basis_of, difference, made_by, needs_of
from lookups.settings import DEFAULT_RUN, RUNS, Run, read_run


class Chapter(NamedTuple):
    """One chapter of one run."""

    name: str
    notebook: NotebookNode
    """Its source as this run sees it, without outputs."""
    needs: Needs
    executed: Path
    """Where its executed copy lies, or would lie."""

    @property
    def record(self) -> Path:
        """The file that says what the executed copy was made on."""
        return self.executed.with_suffix(".json")

    @property
    def seconds(self) -> float | None:
        """How long it took the last time."""
        return (_read_record(self) or {}).get("seconds")


class Chain(NamedTuple):
    """A run and its chapters in order."""

    settings: Run
    default: bool
    chapters: tuple[Chapter, ...]
    sources: Path
    """The folder of the chapters' sources, which is also the kernels' working directory."""

    @property
    def folder(self) -> Path:
        """Where this run's stages and executed notebooks lie."""
        return self.settings.folder("artifacts") / self.settings.id

    @property
    def notebooks(self) -> Path:
        """Where its executed notebooks lie."""
        return self.folder / "notebooks"


def chain_of(run: str | Path, *, sources: Path = NOTEBOOKS) -> Chain:
    """Read a run and the chapters that exist, as that run sees them.

    Raises:
        RunError: the run is unknown or wrong, or calls itself like the default run.
        LookupsError: a chapter cannot be read.
    """
    settings = read_run(run)
    path = Path(run).expanduser()
    written = path.suffix in (".yml", ".yaml")
    shipped = not written or path.resolve().parent == RUNS
    if not shipped and settings.is_default:
        raise RunError(
            f"{path.name} calls itself {DEFAULT_RUN!r}, which is the run whose notebooks are "
            "committed; give the file another name, or an id"
        )
    run_id = settings.id if shipped else path.resolve().as_posix()
    chapters = [
        _chapter(settings, run_id, sources / f"{name}.py")
        for name in CHAPTERS
        if (sources / f"{name}.py").is_file()
    ]
    if not chapters:
        raise RunError(f"there are no chapters in {sources}; is this a complete checkout?")
    return Chain(settings, settings.is_default, tuple(chapters), sources)


def _chapter(settings: Run, run_id: str, source: Path) -> Chapter:
    executed = settings.folder("artifacts") / settings.id / "notebooks" / f"{source.stem}.ipynb"
    notebook = read_source(source)
    try:
        notebook = for_run(notebook, run_id, default=settings.is_default)
    except LookupsError as error:
        raise LookupsError(f"{source.stem}: {error}") from None
    return Chapter(source.stem, notebook, needs_of(source.stem, notebook), executed)


def why_stale(settings: Run, chapter: Chapter) -> str | None:
    """Tell in words why a chapter must be executed (again); None if it is up to date."""
    record = _read_record(chapter)
    if record is None or not chapter.executed.is_file():
        return "never executed"
    if record.get("notebook") != _file_digest(chapter.executed):
        return "its executed copy was changed by another hand"
    try:
        reason = difference(record, basis_of(settings, chapter.needs))
        if reason is None and record.get("makes") != made_by(settings, chapter.needs):
            reason = "its tables were made by another hand"
    except (MissingStage, StaleStage) as error:
        return str(error).split(";")[0]
    if reason is None and any(_unexecuted(cell) for cell in _with_new_words(chapter).cells):
        reason = "its cells are divided in another way"
    return reason


def run_chapters(
    chain: Chain,
    *,
    only: Sequence[str] = (),
    again: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Execute the chapters that are not up to date, in order; return the names of those executed.

    `only` names chapters to look at (their numbers do), `again` executes what is up to date as
    well, `say` takes lines of progress.

    Raises:
        ChapterError: a chapter stopped; those before it are kept.
        LookupsError: no such chapter, or another process is at work on this run.
    """
    chosen = [chapter for chapter in chain.chapters if _chosen(chapter, only)]
    if not chosen:
        known = ", ".join(chapter.name for chapter in chain.chapters)
        raise LookupsError(f"no chapter {', '.join(only)}; there are {known}")
    executed = run_permuted(chain, chosen, say=say)
    with _alone(chain.folder), kernel_environment(record=chain.default):
        say(_forecast(chain, chosen, again))
        for number, chapter in enumerate(chosen, 1):
            where = f"[{number}/{len(chosen)}] {chapter.name}"
            reason = "asked for" if again else why_stale(chain.settings, chapter)
            if reason is None:
                _refresh(chain, chapter)
                say(f"{where}: up to date")
                continue
            say(f"{where}: {reason}; executing{_last_time(chapter)}")
            seconds = _execute(chain, chapter)
            executed.append(chapter.name)
            say(f"{where}: done in {seconds:.0f} s")
    return executed


def run_permuted(
    chain: Chain,
    chosen: Sequence[Chapter] | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Execute what is not up to date of the run that this one is held against (`permuted:`).

    Only if one of the chosen chapters reads it, and only the chapters that its scores need. Returns
    the names of those executed.

    Raises:
        RunError: that run names a run of this kind, too.
    """
    other = chain.settings.permuted
    chosen = chain.chapters if chosen is None else chosen
    if other is None or not any("permuted" in chapter.needs.keys for chapter in chosen):
        return []
    against = chain_of(other, sources=chain.sources)
    if against.settings.permuted is not None:
        raise RunError(
            f"permuted: the run {against.settings.id} is held against another run itself; "
            "take `permuted:` out of its file"
        )
    names = [name for name in SCORED if name in {one.name for one in against.chapters}]
    with kernel_environment(record=chain.default):
        return [f"{other}/{name}" for name in run_chapters(against, only=names, say=say)]


def outlook(chain: Chain) -> list[str]:
    """Say, a line a chapter, what would be executed and why, and how long it took the last time."""
    corpus = chain.settings.corpus
    lines = [_forecast(chain, chain.chapters, again=False)]
    if chain.settings.prompts is None:
        lines[0] += f"; up to {corpus.documents:,} documents a split of {corpus.length} tokens"
    if chain.settings.permuted is not None:
        against = chain_of(chain.settings.permuted, sources=chain.sources)
        scored = [one for one in against.chapters if one.name in SCORED]
        lines.append(f"before it, where chapters need it: {_forecast(against, scored, False)}")
    for chapter in chain.chapters:
        reason = why_stale(chain.settings, chapter) or "up to date"
        lines.append(f"{chapter.name:30}  {reason}{_last_time(chapter)}")
    return lines


def clean(settings: Run) -> list[Path]:
    """Remove a run's stages, executed notebooks and book; return the folders removed."""
    from lookups.run.book import site_folder

    site = site_folder(settings.id, default=settings.is_default)
    found = [settings.folder("artifacts") / settings.id, site]
    found = [folder for folder in found if folder.is_dir()]
    for folder in found:
        shutil.rmtree(folder)
    return found


def _execute(chain: Chain, chapter: Chapter) -> float:
    basis = basis_of(chain.settings, chapter.needs)
    failed = chapter.executed.with_name(f"{chapter.name}.failed.ipynb")
    done = execute(chapter.notebook, chapter.name, folder=chain.sources, keep_failed=failed)
    try:
        makes = made_by(chain.settings, chapter.needs)
    except (MissingStage, StaleStage) as error:
        raise ChapterError(
            f"{chapter.name} came to its end but did not leave its table ({error}); does it call "
            "save with the run's settings?"
        ) from None
    text = as_text(done.notebook)
    write_whole(chapter.executed, text)
    record = basis | {
        "makes": makes,
        "notebook": hashlib.sha256(text.encode()).hexdigest(),
        "seconds": round(done.seconds, 1),
    }
    write_whole(chapter.record, json.dumps(record, indent=1) + "\n")
    _publish(chain, chapter, text)
    return done.seconds


def _refresh(chain: Chain, chapter: Chapter) -> None:
    """Bring changed words into an executed copy whose outputs still hold."""
    text = as_text(_with_new_words(chapter))
    record = _read_record(chapter) | {"notebook": hashlib.sha256(text.encode()).hexdigest()}
    if write_if_new(chapter.executed, text):
        write_whole(chapter.record, json.dumps(record, indent=1) + "\n")
    _publish(chain, chapter, text)


def _with_new_words(chapter: Chapter) -> NotebookNode:
    """The chapter as its source reads now, with the outputs of its executed copy."""
    return with_outputs_of(chapter.notebook, read_notebook(chapter.executed))


def _unexecuted(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and cell.execution_count is None


def _publish(chain: Chain, chapter: Chapter, text: str) -> None:
    """Put the default run's copy where it is committed."""
    if chain.default:
        write_if_new(chain.sources / chapter.executed.name, text)


def _chosen(chapter: Chapter, only: Sequence[str]) -> bool:
    wanted = {Path(name).stem for name in only}
    return not wanted or chapter.name in wanted or chapter.name.split("_")[0] in wanted


def _forecast(chain: Chain, chosen: Sequence[Chapter], again: bool) -> str:
    """How many chapters there are to execute, and what they cost the last time."""
    stale = [c for c in chosen if again or why_stale(chain.settings, c) is not None]
    if not stale:
        return f"run {chain.settings.id}: {len(chosen)} chapters, all up to date"
    known = [chapter.seconds for chapter in stale if chapter.seconds is not None]
    cost = f"; {sum(known):.0f} s the last time" if len(known) == len(stale) else ""
    return f"run {chain.settings.id}: {len(stale)} of {len(chosen)} chapters to execute{cost}"


def _last_time(chapter: Chapter) -> str:
    return "" if chapter.seconds is None else f" (last time {chapter.seconds:.0f} s)"


def _read_record(chapter: Chapter) -> dict[str, Any] | None:
    try:
        return json.loads(chapter.record.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the lock ends with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LookupsError(
            f"another `lookups run` is at work in {folder}; wait until it has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()
