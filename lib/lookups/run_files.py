"""Run files as they are written: found by id or path, and one that extends another (all chapters).

`extends: gpt2-xl` takes over everything that a file does not say itself: sections key by key, lists
and single values whole; `null` takes a key of the extended run away. What the keys mean, and
whether they are right, is `lookups.settings`'s affair.
"""

from pathlib import Path
from typing import Any

import yaml

from lookups.errors import RunError
from lookups.paths import PROJECT

RUNS = PROJECT / "notebooks" / "runs"


def path_of(run: str | Path) -> Path:
    """Return the file of a run that is given by id or path.

    Raises:
        RunError: there is none.
    """
    path = Path(run).expanduser()
    if path.suffix not in (".yml", ".yaml"):
        path = RUNS / f"{run}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RUNS.glob("*.yml"))) or "none"
        raise RunError(f"no run {str(run)!r}: known ids are {known}; or give a path to a .yml file")
    return path


def content_of(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[Any, Any]:
    """Return a file's keys over those of the run that it extends, which may extend another.

    `extended_by` are the files that led here, each of which extends the next.

    Raises:
        RunError: the file is no YAML, or what it extends is not there or leads back to it.
    """
    content = _yaml_of(path)
    base = content.pop("extends", None)
    if base is None:
        return content
    chain = (*extended_by, path.resolve())
    if not isinstance(base, str):
        raise RunError(f"{path.name}: extends takes one run's id or file, not {base!r}")
    try:
        place = path.parent / Path(base).expanduser() if base.endswith((".yml", ".yaml")) else base
        other = path_of(place)
    except RunError as error:
        raise RunError(f"{path.name}: extends: {error}") from None
    if other.resolve() in chain:
        circle = " → ".join(one.stem for one in (*chain, other))
        raise RunError(f"{path.name}: extends goes in a circle ({circle}); take one of them out")
    inherited = _anchored(content_of(other, chain), other.resolve().parent)
    return _merged({key: value for key, value in inherited.items() if key != "id"}, content)


def _yaml_of(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read as text ({error}); check the file") from None
    except yaml.YAMLError as error:
        where = str(error).splitlines()[-1].strip()
        raise RunError(f"{path.name} is not valid YAML ({where}); mend that line") from None
    if not isinstance(content, dict):
        raise RunError(f"{path.name} holds no settings; start from a copy of smollm2.yml")
    return content


def _merged(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Lay a file's keys over another's, nested sections key by key; None takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        if value is None and key in base:
            del merged[key]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merged(base[key], value)
        else:
            merged[key] = value
    return merged


def _anchored(content: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """Make the relative paths of an extended file absolute: they are taken from its own folder."""

    def anchored(value: Any, relative: bool) -> Any:
        return str(folder / Path(value).expanduser()) if relative else value

    found = dict(content)
    for key, value in content.items():
        if key in ("model", "corpus") and isinstance(value, dict):
            found[key] = {k: anchored(v, isinstance(v, str) and v.startswith((".", "~")))
                          for k, v in value.items()}  # fmt: skip
        elif key == "paths" and isinstance(value, dict):
            found[key] = {k: anchored(v, isinstance(v, str)) for k, v in value.items()}
        elif key in ("prompts", "verdicts", "permuted", "published") and isinstance(value, str):
            is_file = key != "permuted" or value.endswith((".yml", ".yaml"))
            found[key] = anchored(value, is_file)
    return found
