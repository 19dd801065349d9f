"""Every table that a run leaves on disk, as `stages.yml` declares it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from lookups.errors import RunError
from lookups.paths import PROJECT
from lookups.settings import Run, read_run

CHAPTERS = tuple(sorted(path.stem for path in PROJECT.glob("notebooks/[0-9][0-9]_*.py")))
"""The notebooks in the order in which a run executes them; the analysis gathers what all found."""

PLANTED = ("planted", "planted-1", "planted-2")
"""The runs on the planted models, in the order of their seeds."""


class Stage(NamedTuple):
    """One table: its name, the chapter that makes it, and what a row of it is."""

    name: str
    chapter: str
    row: str
    parents: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def _declared() -> Iterator[Stage]:
    """Read the declarations, whose chapters are given by their numbers."""
    about = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text("utf-8"))
    for name, stage in about.items():
        made_by = next(one for one in CHAPTERS if one.startswith(stage["chapter"]))
        more = (tuple(stage.get(key, ())) for key in ("parents", "settings"))
        yield Stage(name, made_by, stage["row"], *more)


STAGES = tuple(_declared())


def stage_named(name: str) -> Stage:
    """Return the declaration of a stage; a RunError if none has that name."""
    named = {stage.name: stage for stage in STAGES}
    if name not in named:
        raise RunError(f"no stage {name!r}; there are {', '.join(named)}")
    return named[name]


def settings_of(stage: Stage) -> tuple[str, ...]:
    """Return the run-file keys that a stage depends on, its parents' included, each once."""
    keys = [key for parent in stage.parents for key in settings_of(stage_named(parent))]
    return tuple(dict.fromkeys([*keys, *stage.settings]))


def chapters_to(stage: str) -> tuple[str, ...]:
    """Return the chapters that have to be executed for a stage, in order."""
    one = stage_named(stage)
    before = [chapter for parent in one.parents for chapter in chapters_to(parent)]
    return tuple(sorted({*before, one.chapter}))


def other_runs(chapter: str, settings: Run) -> dict[str, tuple[str, ...]]:
    """Return the other runs whose stages a chapter reads, and the chapters that make those.
    RunError if the run with permuted weights is on another model."""
    if chapter == "08_scores" and settings.permuted is not None:
        control, own = read_run(settings.permuted).model, settings.model
        if (control.name, control.revision) != (own.name, own.revision):
            raise RunError(
                f"{settings.permuted}, named by `permuted:`, is on {control.name}, and this run on "
                f"{own.name}; take that line out, or name a run on the same model"
            )
        return {settings.permuted: chapters_to("scores")}
    if chapter == "13_ground_truth":
        return {run: chapters_to("pairs") for run in PLANTED}
    return {}
