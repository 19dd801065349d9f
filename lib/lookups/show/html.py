"""The HTML of a view: circuitsvis in a page, with nothing fetched from outside.

Takes the place of the circuitsvis package's own renderer. The same view gives the same bytes, and
no text from data can become markup or end a script.
"""

import html
import json
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lookups.errors import LookupsError

BUNDLE = "circuitsvis.iife.js"
"""The name of the one script that all views of a book's page share, in the book's `_static`."""


def page_part(name: str) -> str:
    """Return a style sheet or script that stands in this room's folder `page`."""
    return (Path(__file__).parent / "page" / name).read_text("utf-8").strip()


_STYLE = page_part("view.css")
# Mounts every view of this name that is on the page and not yet drawn. A notebook may attach the
# output after its scripts ran, so it looks again for a while. Where it is stuck, the text stays.
_MOUNT = page_part("view.js").replace("BUNDLE", BUNDLE)
_CARRIED = re.compile(r'<script type="application/json" class="cv-bundle">[^<]*</script>\n')

_carriers: list[str] = []
"""The view that brought the bundle into this session: drawn again, it brings it again."""


def view_html(
    name: str, component: str, props: Mapping[str, Any], *, text: str, look_for: str = ""
) -> str:
    """Return the HTML of a view: style, text summary, data, and the script that draws it.

    A page of the book loads the drawing script once from `_static`. In a live notebook the first
    view of the session carries it, unless LOOKUPS_VIEWS is `linked`, as it is for the book.
    """
    kind = "heads" if component == "AttentionHeads" else "tokens"
    data = _script_json({"component": component, "props": dict(props)})
    look = f'<p class="cv-look">{html.escape(look_for)}</p>' if look_for else ""
    mount = _MOUNT.replace("NAME", name)
    return (
        f'<div class="cv-view cv-{kind} tex2jax_ignore mathjax_ignore" data-name="{name}">\n'
        f"<style>{_STYLE}</style>\n{look}"
        "<noscript><p>The drawing needs JavaScript; the text below says the same in words.</p>"
        '</noscript>\n<div class="cv-box" tabindex="0" role="group" '
        f'aria-label="{html.escape(look_for or name)}">'
        f'<div class="cv-mount" id="cv-{name}"><pre class="cv-text">{html.escape(text)}'
        f'</pre></div></div>\n<script type="application/json" class="cv-data">{data}</script>\n'
        f"{_carried(name)}<script>{mount}</script>\n</div><!-- /cv-view -->"
    )


def without_bundle(view: str) -> str:
    """Return a view's HTML without the drawing script that a live notebook put into it."""
    return _CARRIED.sub("", view)


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


def _carried(name: str) -> str:
    if os.environ.get("LOOKUPS_VIEWS") == "linked" or name not in (_carriers or [name]):
        return ""
    _carriers[:] = [name]
    source = bundle_path().read_text("utf-8").split("//# sourceMappingURL")[0]
    return f'<script type="application/json" class="cv-bundle">{_script_json(source)}</script>\n'


def _script_json(value: object) -> str:
    """JSON that can stand in a script element: no `<`, so no `</script>` and no `<!--`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def inert(token: str) -> str:
    """Return text that stays text where circuitsvis writes it as HTML.

    After a zero-width space neither < nor & opens anything, and plain text looks the same.
    """
    return token.replace("<", "<\u200b").replace("&", "&\u200b")


def slug(name: str) -> str:
    """Return a name in letters, digits and dashes, fit for an HTML id."""
    letters = re.sub(r"[^a-z0-9]", "-", name.lower()).strip("-")
    if not letters:
        raise LookupsError(f"a view's name needs letters or digits, not {name!r}")
    return letters
