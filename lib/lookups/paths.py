"""Where things lie on disk: never relative to the working directory, always overridable.

Order: environment variable, then the run file's `paths`, then a folder of the project.
"""

import os
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).resolve().parents[2]
"""The checkout: the package is installed editable, so its files lie in `lib/lookups`."""

EMBEDDED = Path(__file__).resolve().parent / "embedded"
"""The models that ship with the package, in Hugging Face format."""

Room = Literal["data", "models", "artifacts"]


def folder(room: Room, configured: Path | None = None) -> Path:
    """Return the folder of a room; `LOOKUPS_DATA`, `LOOKUPS_MODELS`, `LOOKUPS_ARTIFACTS` win."""
    override = os.environ.get(f"LOOKUPS_{room.upper()}")
    if override:
        return Path(override).expanduser().resolve()
    if configured is not None:
        return Path(configured).expanduser().resolve()
    return PROJECT / room
