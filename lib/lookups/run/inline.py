"""Execute chapters inside another one, on a run of its own (chapter 12).

Whether the method finds what was planted is asked of the chapters themselves, not of a copy of
their rules: their code cells are executed here, in this process, and leave their stages as ever.
What they would show is dropped. `lookups run` does not use this (it wants notebooks).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from IPython.utils.capture import capture_output

from lookups.errors import ChapterError
from lookups.run.notebooks import NOTEBOOKS, read_source
from lookups.run.store import load
from lookups.settings import Run, read_run

METHOD = ("02_next_token_neurons", "03_prompts", "04_suffixes", "05_heads")
"""The chapters that search for look-ups: from the weights to the kept pairs."""


class Found(NamedTuple):
    """What the search left: the tables of its stages."""

    neurons: pd.DataFrame
    """`neurons` with the training rows of `follow_rates`."""
    suffixes: pd.DataFrame
    """`suffixes` with the position that each prompt ends at."""
    heads: pd.DataFrame
    """`heads`, the rows of the input that decides."""
    pairs: pd.DataFrame
    """`pairs`."""


def found_by(settings: Run) -> Found:
    """Return what the search of a run left.

    Raises:
        MissingStage, StaleStage: the run has not been executed, or not to the end.
    """
    first, rates = load(settings, "neurons"), load(settings, "follow_rates")
    rates = rates[rates.split == "train"]
    new = [column for column in rates.columns if column not in first.columns]
    prompts, suffixes = load(settings, "prompts"), load(settings, "suffixes")
    key = ["neuron", "split", "prompt"]
    heads = load(settings, "heads")
    return Found(
        rates[["neuron", *new]].merge(first, on="neuron"),
        suffixes.merge(prompts[[*key, "position"]], on=key),
        heads[heads.input.isin(("in", "post"))],
        load(settings, "pairs"),
    )


def execute_inline(run: Path, chapters: Iterable[str], *, sources: Path = NOTEBOOKS) -> None:
    """Execute the code cells of chapters, each chapter in a namespace of its own.

    Raises:
        ChapterError: a cell fails; the sentence names the chapter and the error.
    """
    for chapter in chapters:
        names: dict[str, Any] = {"__name__": chapter, "display": lambda *shown: None}
        for cell in read_source(sources / f"{chapter}.py").cells:
            if cell.cell_type != "code":
                continue
            if "parameters" in cell.metadata.get("tags", []):
                exec(compile(cell.source, chapter, "exec"), names)
                names["run"] = str(run)
                continue
            try:
                with capture_output():
                    exec(compile(cell.source, chapter, "exec"), names)
            except Exception as error:
                raise ChapterError(
                    f"{chapter} failed on the run {run.stem} ({type(error).__name__}: {error}); "
                    f"execute that run by itself to see where: lookups run {run}"
                ) from error
            finally:
                plt.close("all")


def run_like(settings: Run, base: str, **changes: Any) -> Path:
    """Write the file of a run that differs from a shipped one, and return its path.

    It lies among the artifacts of `settings`, and so do the stages that it leaves.
    """
    folder = settings.folder("artifacts") / changes["id"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{changes['id']}.yml"
    path.write_text(yaml.safe_dump({"extends": base} | changes, sort_keys=True), "utf-8")
    read_run(path)  # a wrong key is told here, not from inside a chapter
    return path
