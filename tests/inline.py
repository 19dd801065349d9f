"""Execute a chapter in this process, on any run: what its asserts say is part of the test."""

import ast
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import matplotlib.pyplot
from lookups.paths import PROJECT

matplotlib.use("agg")
read = cache(jupytext.read)


def execute(chapter: str, run: Path | str) -> dict[str, Any]:
    """Run the code cells of a chapter in one namespace and return it, with the Markdown `said`."""
    said: list[str] = []
    names: dict[str, Any] = {"__name__": chapter, "display": lambda *_: None, "said": said}
    for cell in read(PROJECT / "notebooks" / f"{chapter}.py").cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, f"{chapter}.py", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names["run"] = str(run)
        last = f"\n{cell.source}".rsplit("\nMarkdown(", 1)
        if len(last) == 2 and (shown := eval("Markdown(" + last[1], names)) is not None:
            said.append(shown.data)
        matplotlib.pyplot.close("all")
    return names


@cache
def defined_in(chapter: str) -> SimpleNamespace:
    """The functions and classes of a chapter, with its imports and literals, and no results."""
    cells = read(PROJECT / "notebooks" / f"{chapter}.py").cells
    code = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    kinds, names = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef, {}
    for node in code.body:
        with suppress(AttributeError, NameError, ValueError):
            if not isinstance(node, kinds):
                ast.literal_eval(node.value)  # raises where it is no literal
            exec(compile(ast.Module([node], []), f"{chapter}.py", "exec"), names)
    return SimpleNamespace(**names)
