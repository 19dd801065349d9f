"""Execute a chapter in this process, on any run: what its asserts say is part of the test."""

from pathlib import Path
from typing import Any

import jupytext
import matplotlib.pyplot
from lookups.paths import PROJECT

matplotlib.use("agg")


def execute(chapter: str, run: Path) -> None:
    """Run the code cells of a chapter in one namespace."""
    names: dict[str, Any] = {"__name__": chapter, "display": print}
    for cell in jupytext.read(PROJECT / "notebooks" / f"{chapter}.py").cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, f"{chapter}.py", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names["run"] = str(run)
        matplotlib.pyplot.close("all")
