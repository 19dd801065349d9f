"""`lookups verify`: a run held against the authors' released record (chapters 13 and 14).

The two chapters are executed with the record's folder as their parameter; what they show is then
part of the run's book. `lookups.chain` remembers the folder beside each executed copy: as long as
nothing changes `lookups run` leaves them as they are, and reads the same folder when it executes
them again. What the comparison says stands in the chapters, not here.
"""

from collections.abc import Callable
from pathlib import Path

from lookups.chain import Chain, chain_of, run_chapters
from lookups.errors import LookupsError, RunError
from lookups.pairs import NOTEBOOKS, has_parameter, read_source
from lookups.recorded import RECORDED_AS, recorded_as
from lookups.runs import Run, read_run

VERIFIED = ("13_published_record", "14_agreement")
"""The chapters that read the record."""


def verify(
    run: str | Path,
    published: Path,
    *,
    model: str = "",
    sources: Path = NOTEBOOKS,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Chain, list[str]]:
    """Execute the chapters that read the record of a run; return its chain and those executed.

    `published` is the authors' folder, `model` the record's name of the run's model, where the
    run's own name (a local folder) does not tell it.

    Raises:
        RunError: the run cannot be held against the record, or there is no such folder.
        PublishedError: the folder does not hold the model, or a file in it is damaged.
        LookupsError: a stage of the run is missing; the sentence names the chapter to run.
    """
    from lookups.published import read_published  # pandas takes a while to import

    settings = read_run(run)
    name = _record_name(settings, model)
    folder = published.expanduser().resolve()
    if not folder.is_dir():
        raise RunError(
            f"there is no folder {published}; fetch the record with: lookups download --published"
        )
    read_published(folder, name)  # a damaged file is told before anything is executed
    chain = chain_of(run, sources=sources, parameters=_parameters(sources, folder, name))
    return chain, run_chapters(chain, only=VERIFIED, say=say)


def _record_name(settings: Run, asked: str) -> str:
    """The record's name of a run's model."""
    if settings.is_default:
        raise RunError(
            f"the notebooks of {settings.id} are committed and read no folder of yours; name "
            "another run, such as gpt2-small, or a copy of the run file under another name"
        )
    name = recorded_as(settings.model.name, asked)
    if name is None:
        known = ", ".join(RECORDED_AS.values())
        raise RunError(
            f"the record has no model {settings.model.name!r}; if it is one of {known}, say which "
            "with --model"
        )
    return name


def _parameters(sources: Path, folder: Path, name: str) -> dict[str, dict[str, str]]:
    """What each of the two chapters is to read."""
    found = {}
    for chapter in VERIFIED:
        if not (sources / f"{chapter}.py").is_file():
            raise LookupsError(f"there is no chapter {chapter}; is this a complete checkout?")
        values = {"published": str(folder), "published_model": name}
        notebook = read_source(sources / f"{chapter}.py")
        found[chapter] = {key: v for key, v in values.items() if has_parameter(notebook, key)}
    return found
