"""The HTML of a view: a template of the folder `page`, filled in with nothing fetched from outside.

Takes the place of the circuitsvis package's own renderer. The same view gives the same bytes, and
no text from data can become markup or end a script: Jinja escapes whatever is filled in.
"""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from lookups.errors import LookupsError

BUNDLE = "circuitsvis.iife.js"
"""The name of the one script that all views of a book's page share, in the book's `_static`."""

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "page"), autoescape=True, trim_blocks=True
)
_PAGES.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}

_carriers: list[str] = []
"""The view that brought the bundle into this session: drawn again, it brings it again."""


def filled(template: str, **parts: Any) -> str:
    """Return a template of this room's folder `page`, with these parts filled in."""
    return _PAGES.get_template(template).render(parts)


def view_html(
    name: str, component: str, props: Mapping[str, Any], *, text: str, look_for: str = ""
) -> str:
    """Return the HTML of a view: style, text summary, data, and the script that draws it.

    A page of the book loads the drawing script once from `_static`. In a live notebook the first
    view of the session carries it, unless LOOKUPS_VIEWS is `linked`, as it is for the book.
    """
    name = re.sub(r"[^a-z0-9]", "-", name.lower()).strip("-")  # fit for an HTML id
    carried = ""
    if os.environ.get("LOOKUPS_VIEWS") != "linked" and name in (_carriers or [name]):
        _carriers[:] = [name]
        carried = bundle_path().read_text("utf-8").split("//# sourceMappingURL")[0]
    data = {"component": component, "props": props}
    return filled(
        "view.html", name=name, data=data, text=text, look_for=look_for,
        carried=carried, bundle=BUNDLE,
    )  # fmt: skip


def bundle_path() -> Path:
    """Return where the installed circuitsvis keeps its browser bundle."""
    found = find_spec("circuitsvis")
    path = Path(found.origin or "").parent / "dist/cdn/iife.js" if found else Path()
    if not path.is_file():
        raise LookupsError(
            "circuitsvis or its browser bundle (dist/cdn/iife.js) is missing; install the "
            "project's requirements again: pip install -r requirements.lock"
        )
    return path


def inert(token: str) -> str:
    """Return text that stays text where circuitsvis writes it as HTML.

    After a zero-width space neither < nor & opens anything, and plain text looks the same.
    """
    return token.replace("<", "<\u200b").replace("&", "&\u200b")
