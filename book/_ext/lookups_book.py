"""What the book needs from Sphinx beyond Jupyter Book, so that it opens without a network.

Drops the script that sphinx-thebe names on another host, copies MathJax and the script that draws
views from their installed packages into `_static`, and gives the directive that documents
`lookups`.
"""

import pkgutil
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import lookups
from docutils import nodes
from docutils.statemachine import StringList
from lookups.show.views import BUNDLE, drawing_script
from markdown_it.tree import SyntaxTreeNode
from myst_nb.sphinx_ import SphinxNbRenderer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

MATHJAX = "tex-svg.js"  # one file with its letters: no fonts to fetch

ROOMS = (
    "names",
    "errors",
    "settings",
    "model",
    "corpus",
    "measure",
    "statistics",
    "explain",
    "show",
    "record",
    "run",
)
"""In the order in which the rooms may use each other."""


def mathjax_path() -> Path:
    """Return where the installed sphinx-mathjax-offline keeps MathJax."""
    found = find_spec("sphinx-mathjax-offline")
    path = Path(found.origin or "").parent / "static/mathjax" / MATHJAX if found else Path()
    if not path.is_file():
        raise ExtensionError(
            "sphinx-mathjax-offline is missing; install the project's requirements again: "
            "pip install -r requirements.lock"
        )
    return path


class Library(SphinxDirective):
    """Document every public module of `lookups`, room by room."""

    def run(self) -> list[nodes.Node]:
        found = pkgutil.walk_packages(lookups.__path__, "lookups.")
        modules = {m.name.removeprefix("lookups.") for m in found if not m.ispkg}
        rooms = [*ROOMS, *sorted({name.partition(".")[0] for name in modules} - set(ROOMS))]
        ordered = sorted(modules - {"run.cli"}, key=lambda m: (rooms.index(m.partition(".")[0]), m))
        sections: list[nodes.Node] = []
        for name in ordered:
            section = nodes.section(ids=[f"lookups-{name}"])
            section += nodes.title(text=f"lookups.{name}")
            lines = ["```{eval-rst}", f".. automodule:: lookups.{name}", "   :members:", "```"]
            self.state.nested_parse(StringList(lines, source=name), 0, section)
            sections.append(section)
        return sections


def caption_pictures_only() -> None:
    """Give a cell's caption and name to its picture, and not to the table beside it as well.

    myst-nb wraps every output of such a cell into a figure of the same name, which is an error
    where a cell draws a figure and returns the numbers that it drew.
    """
    render = SphinxNbRenderer._render_nb_cell_code_outputs

    def one_by_one(self: SphinxNbRenderer, token: SyntaxTreeNode, outputs: list) -> None:
        metadata = token.meta["metadata"]
        without = {k: v for k, v in metadata.get("mystnb", {}).items() if k != "figure"}
        for output in outputs:
            picture = any(mime.startswith("image/") for mime in output.get("data", {}))
            token.meta["metadata"] = metadata if picture else {**metadata, "mystnb": without}
            render(self, token, [output])
        token.meta["metadata"] = metadata

    SphinxNbRenderer._render_nb_cell_code_outputs = one_by_one


def drop_thebe(app: Sphinx, config: object) -> None:
    """Unhook sphinx-thebe, which would write another host's address into every page."""
    for listeners in app.events.listeners.values():
        listeners[:] = [entry for entry in listeners if entry.handler.__module__ != "sphinx_thebe"]
    styles = app.registry.css_files
    styles[:] = [style for style in styles if style[0] != "sphinx-thebe.css"]


def as_rst(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring's `code` into reStructuredText, and keep | and * from meaning anything."""
    if lines and lines[0].startswith("Alias for field number"):  # a NamedTuple's, says nothing
        lines.clear()
    lines[:] = ["".join(map(_piece, re.split(r"(`+[^`]+`+)", line))) for line in lines]


def without_settings(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out pydantic's own attribute, which says nothing about a run file."""
    return True if name == "model_config" else None


def _piece(text: str) -> str:
    if text.startswith("`"):
        return f"``{text.strip('`')}``"
    return re.sub(r"([|*])|(?<=\w)_(?!\w)", lambda found: "\\" + found[0], text)


def bold_in_pasted_text(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Show `**words**` as bold in glued text: Markdown cannot be glued from another page."""
    for pasted in list(doctree.findall(nodes.inline)):
        if "pasted-text" in pasted["classes"] and "**" in pasted.astext():
            said = re.split(r"\*\*(.+?)\*\*", pasted.astext())
            pasted.children = []
            pasted += [nodes.strong("", s) if i % 2 else nodes.Text(s) for i, s in enumerate(said)]


def not_drawn(
    app: Sphinx, env: object, node: pending_xref, shown: nodes.Element
) -> nodes.emphasis | None:
    """Say so where a chapter speaks of a figure that it does not draw, for lack of what it shows."""
    if node["reftype"] == "numref" and node["reftarget"].startswith("fig-"):
        return nodes.emphasis("", "a figure that this run has nothing to draw in")
    return None


def reachable_boxes(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Let the keyboard reach what scrolls sideways, and call no list what has no list items."""
    html, table = r'div class="output [^"]*text_html[^"]*"', r'table class="[^"]*docutils[^"]*"'
    boxes = rf"<(pre|{html}|{table})(?=[ >])"
    body = re.sub(boxes, r'<\1 tabindex="0"', context.get("body", ""))
    context["body"] = body.replace('<div role="list" class="citation-list">', "<div>")


def copy_scripts(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax and the script of the views beside the other scripts of a site that was built."""
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        (static / "mathjax").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mathjax_path(), static / "mathjax" / MATHJAX)
        (static / BUNDLE).write_text(drawing_script(), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook everything into Sphinx."""
    caption_pictures_only()
    app.add_directive("library", Library)
    app.connect("config-inited", drop_thebe)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", without_settings)
    app.connect("doctree-resolved", bold_in_pasted_text)
    app.connect("missing-reference", not_drawn)
    app.connect("html-page-context", reachable_boxes)
    app.connect("build-finished", copy_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
