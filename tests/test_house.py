"""The house stays small and its rooms apart: sizes, and who may import whom."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import jupytext
import pytest
from lookups.paths import PROJECT

LIB = PROJECT / "lib" / "lookups"
ROOMS = ("model", "corpus", "measure", "statistics", "explain", "show", "record", "run")
"""Each may use those before it and the modules beside them, never those after it."""

MODULES = {".".join(path.relative_to(LIB.parent).with_suffix("").parts): path
           for path in sorted(LIB.rglob("*.py"))}  # fmt: skip
SOURCES = sorted((PROJECT / "notebooks").glob("*.py"))


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a module imports anywhere, for more than its types."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & set(MODULES)


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def floor_of(module: str) -> int:
    """The place of a module's room in the order; 0 for modules that stand beside the rooms."""
    room = module.split(".")[1]
    return ROOMS.index(room) + 1 if room in ROOMS else 0


def test_every_folder_is_a_room_that_says_what_it_is_for_and_names_nothing_else():
    trees = {path.parent.name: ast.parse(path.read_text()) for path in LIB.glob("*/__init__.py")}
    assert set(trees) == set(ROOMS)
    assert all(ast.get_docstring(tree) and len(tree.body) == 1 for tree in trees.values())


def test_arrows_between_rooms_go_in_the_stated_direction_only():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in sorted(others)
        if floor_of(other) > floor_of(module)
    ]
    assert wrong == []


def test_no_import_goes_in_a_circle():
    TopologicalSorter(IMPORTS).prepare()  # its error names the circle


def test_the_library_is_small():
    sizes = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: lines for name, lines in sizes.items() if lines > 400} == {}
    assert len([name for name in sizes if not name.endswith("__init__")]) <= 50
    assert sum(sizes.values()) <= 8_999
    folders = [LIB, *(LIB / room for room in ROOMS)]
    assert [str(one) for one in folders if len(list(one.glob("*.py"))) > 13] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_cells_that_are_shown_are_short(source):
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
    shown = [cell.source for cell in cells if not hidden & set(cell.metadata.get("tags", []))]
    assert [text for text in shown if len(list(filter(str.strip, text.splitlines()))) > 12] == []
