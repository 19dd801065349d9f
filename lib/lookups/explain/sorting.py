"""What readers of chapter 6's blind sort said, as the project keeps it.

A record is a YAML file: `readers` says who they were, `verdicts` has an entry a reader, which gives
for each item, by its digest, a letter for every prompt that was sorted. `tools/blind_sort.py`
writes it; what is in a deck, and how verdicts are counted, is `lookups.explain.blind_sort`.
"""

from pathlib import Path

import yaml

from lookups.errors import LookupsError

UNKNOWN = "not recorded"
"""Who the readers were where a record does not say it."""


def read_verdicts(path: Path | None) -> list[dict[str, str]]:
    """Return each reader's recorded verdicts by item digest; none if there is no record.

    Raises:
        LookupsError: the record cannot be read.
    """
    return [] if path is None else [dict(one) for one in mapping_of(path).get("verdicts") or []]


def who_read(path: Path | None) -> str:
    """Return what kind of readers they were, such as `language models`.

    Raises:
        LookupsError: the record cannot be read.
    """
    return UNKNOWN if path is None else str(mapping_of(path).get("readers") or UNKNOWN)


def mapping_of(path: Path) -> dict:
    """Read a YAML file of keys and values; an empty file has none.

    Raises:
        LookupsError: it is something else.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        content = "nothing readable"
    if not isinstance(content, dict | None):
        raise LookupsError(f"{path} holds no verdicts; write lines such as '1: ABBABAABBA'")
    return content or {}
