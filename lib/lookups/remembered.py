"""What a chapter read besides its run, remembered from one execution to the next.

`lookups verify` sets lines of a chapter's parameters cell, such as the folder of the released
record. They stand in the record beside the executed copy (`lookups.chain`), with a digest of what
lay in the folder, so that a later `lookups run` neither takes the chapter for stale because of them
nor gives them up without a word. Nothing is executed here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from lookups.artifacts import contents_digest
from lookups.pairs import has_parameter


def remembered(record: Mapping[str, Any] | None, notebook: NotebookNode) -> dict[str, str]:
    """Return the parameters that a chapter was executed with the last time and that it still has.

    `record` is what lies beside the executed copy, None before the first execution.
    """
    former = (record or {}).get("parameters", {})
    return {name: value for name, value in former.items() if has_parameter(notebook, name)}


def folders_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return digests of the JSON files in the folders that are among the parameters."""
    paths = (Path(value) for value in parameters.values())
    return {
        str(path): contents_digest(path, "*.json", "*.jsonl")
        for path in paths
        if path.is_absolute() and path.is_dir()
    }


def gone(parameters: Mapping[str, str]) -> str | None:
    """Return a folder among the parameters that is not there any more."""
    paths = (Path(value) for value in parameters.values())
    return next((str(path) for path in paths if path.is_absolute() and not path.is_dir()), None)


def read_otherwise(parameters: Mapping[str, str], record: Mapping[str, Any]) -> str | None:
    """Tell in words whether a chapter is to read other folders than it did, or changed ones.

    A folder that is gone is no reason: what was read from it stands.
    """
    if record.get("parameters", {}) != dict(parameters):
        return f"to be held against {parameters.get('published') or 'no record'}"
    former = record.get("folders", {})
    changed = [name for name, now in folders_of(parameters).items() if former.get(name) != now]
    return f"what lies in {changed[0]} has changed" if changed else None
