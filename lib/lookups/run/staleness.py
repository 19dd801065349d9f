"""What a chapter stands on: its code, the modules behind it, its settings, stages and packages.

`lookups run` writes a chapter's basis beside its executed copy and compares it the next time: there
is no other record of what is up to date. The basis is read from the chapter's source: the keys it
takes from `settings`, the stages it names, the modules it imports, and what stands behind those.
Words (Markdown, comments, docstrings, layout) are no part of it.
"""

import ast
import hashlib
import platform
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from nbformat import NotebookNode

from lookups.errors import ChapterError, LookupsError, MissingStage, StaleStage
from lookups.paths import PROJECT
from lookups.run.stages import STAGES, settings_of
from lookups.run.store import manifest, parameters
from lookups.settings import Run, read_run

PACKAGE = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "requirements.lock"

TAKE_WHOLE: dict[str, set[str]] = {
    "load": set(),
    "save": set(),
    "manifest": set(),
    "check_run": {"layers", "middle_layers", "neurons", "rejected", "longest"},
    "run_documents": {"corpus", "prompts"},
    "run_explainers": {"llm"},
    "run_like": set(),
}
"""Functions that take the whole of `settings`, and the keys they read beyond those of a stage."""


OF_STAGES = {"load", "save", "manifest"}
"""Functions that take the name of a stage behind the settings."""

BEHIND: dict[str, set[str]] = {key: {key} for key in Run.model_fields} | {
    "is_default": set(),
    "folder": set(),
    "measure": {"active_rule"},
}
"""What can be taken from `settings`, and the keys that it follows from."""


class Needs(NamedTuple):
    """What a chapter's source refers to."""

    code: str
    """Digest of its code cells."""
    modules: tuple[str, ...]
    """Modules of this package it imports, and those they import."""
    keys: tuple[str, ...]
    """Keys of the run file that it depends on."""
    reads: tuple[str, ...]
    """Stages it names that another chapter makes."""
    makes: tuple[str, ...]
    """Stages it names that are its own."""


def needs_of(name: str, notebook: NotebookNode) -> Needs:
    """Read from a chapter's code what it stands on.

    Raises:
        ChapterError: a code cell is no valid Python, or does not name a stage in quotes.
    """
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    try:
        tree = ast.parse("\n".join(sources))
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise ChapterError(f"{name}: {error.msg} in the line {line!r}; correct it") from None
    try:
        named = _stages_named(tree)
    except ChapterError as error:
        raise ChapterError(f"{name}: {error}") from None
    stages = [stage for stage in STAGES if stage.name in named]
    makes = [stage for stage in stages if stage.chapter == name]
    keys = _keys(tree) | {key for stage in makes for key in settings_of(stage)}
    return Needs(
        code=_digest(ast.dump(tree)),
        modules=_with_imports(_imports(tree)),
        keys=tuple(sorted(keys)),
        reads=tuple(stage.name for stage in stages if stage.chapter != name),
        makes=tuple(stage.name for stage in makes),
    )


def basis_of(settings: Run, needs: Needs) -> dict[str, Any]:
    """Return what a chapter stands on now, as JSON.

    Raises:
        MissingStage, StaleStage: a stage it reads is not up to date.
    """
    return {
        "code": needs.code,
        "modules": {module: _module_digest(module) for module in needs.modules},
        "settings": parameters(settings, needs.keys),
        "packages": packages_digest(),
        "reads": {stage: manifest(settings, stage)["digest"] for stage in needs.reads}
        | ({} if "permuted" not in needs.keys else _of_permuted(settings))
        | ({} if "lookups.run.inline" not in needs.modules else _of_inline()),
    }


def _of_permuted(settings: Run) -> dict[str, str]:
    """The scores of the run that this one is held against, or that they are not there."""
    if settings.permuted is None:
        return {}
    try:
        digest = manifest(read_run(settings.permuted), "scores")["digest"]
    except (MissingStage, StaleStage):
        digest = "missing"
    return {f"scores of {settings.permuted}": digest}


@lru_cache(maxsize=1)
def _of_inline() -> dict[str, str]:
    """The chapters that are executed inside another, which stands on their code as on its own."""
    from lookups.run.inline import METHOD
    from lookups.run.notebooks import NOTEBOOKS, read_source

    sources = {name: read_source(NOTEBOOKS / f"{name}.py") for name in METHOD}
    return {f"code of {name}": needs_of(name, source).code for name, source in sources.items()}


def difference(former: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Tell in words why a chapter made on a former basis is not up to date; None if it is."""
    if former.get("code") != now["code"]:
        return "its code has changed"
    for part, words in (
        ("settings", "settings have changed"),
        ("reads", "stages it reads have changed"),
        ("modules", "modules have changed"),
    ):
        was = former.get(part, {})
        changed = sorted(key for key in was | now[part] if was.get(key) != now[part].get(key))
        if changed:
            return f"{words}: {', '.join(changed)}"
    if former.get("packages") != now["packages"]:
        return "other versions of Python or packages are installed"
    return None


def made_by(settings: Run, needs: Needs) -> dict[str, str]:
    """Return the digests of the stages that a chapter has left.

    Raises:
        MissingStage, StaleStage: one is not there, or not up to date.
    """
    return {stage: manifest(settings, stage)["digest"] for stage in needs.makes}


@lru_cache(maxsize=1)
def packages_digest() -> str:
    """Return a digest of Python's version and of those installed of all that the lock names."""
    lines = [platform.python_version()]
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text("utf-8"), re.MULTILINE):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} missing")
    return _digest("\n".join(lines))


def _stages_named(tree: ast.AST) -> set[str]:
    """The stages that some code loads, saves or asks the manifest of, by their names in quotes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in OF_STAGES:
            stage = node.args[1] if len(node.args) > 1 else None
            if not isinstance(stage, ast.Constant):
                raise ChapterError(
                    f"`{ast.unparse(node)}` does not say in quotes which stage it means; what a "
                    "chapter stands on is read from its code"
                )
            found.add(stage.value)
    return found


def _keys(tree: ast.AST) -> set[str]:
    """The keys taken from `settings`; all of them when it is handed to something unknown."""
    known: set[int] = set()
    keys: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in BEHIND and _is_settings(node.value):
            keys |= BEHIND[node.attr]
            known.add(id(node.value))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in TAKE_WHOLE:
            known.update(id(argument) for argument in node.args if _is_settings(argument))
            keys |= TAKE_WHOLE[node.func.id]
    used = (n for n in ast.walk(tree) if _is_settings(n) and isinstance(n.ctx, ast.Load))
    if any(id(node) not in known for node in used):
        keys = set(Run.model_fields)
    return keys - {"paths"}


def _is_settings(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "settings"


def _imports(tree: ast.AST) -> set[str]:
    """The modules of this package that some code imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in found if _module_file(module) is not None}


def _with_imports(modules: set[str]) -> tuple[str, ...]:
    """These modules and all that stand behind them."""
    found, waiting = set(), set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        text = _module_file(module).read_text("utf-8")
        waiting |= _read_module(text, module)[1] - found
    return tuple(sorted(found))


def _module_file(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def _module_digest(module: str) -> str:
    """A digest of what a module does: comments, layout and docstrings are left out."""
    return _read_module(_module_file(module).read_text("utf-8"), module)[0]


@lru_cache(maxsize=512)
def _read_module(text: str, module: str) -> tuple[str, frozenset[str]]:
    """The digest of a module's text, and the modules of this package that it imports."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise LookupsError(f"{module} is not valid Python ({error}); correct it") from None
    imports = _imports(tree)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_docstring(item)]
    return _digest(ast.dump(tree)), frozenset(imports)


def _is_docstring(node: ast.AST) -> bool:
    """A string standing alone, which nothing reads."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
