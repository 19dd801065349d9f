"""The gallery: a page of all look-ups, one for each head and one for each token, from chapter 15.

The executed chapter carries the data of every card. Pages are static HTML that Jinja escapes, and
can be read without scripts. `gallery.js` filters the list and draws a card once it is opened, from
a script file of its own: a page opened from disk cannot fetch anything.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import new_document
from jinja2 import Environment, FileSystemLoader
from lookups.show.views import BUNDLE, readable
from markupsafe import escape
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

CHAPTER = "notebooks/15_gallery"
MIME = "application/vnd.lookups.gallery+json"

SAMPLE = 11
"""The tokens at a prompt's end that stand in the list."""

Card = dict[str, Any]
Page = tuple[str, str, list[Card], str]

_KEY = re.compile(r"L\d+\.N\d+-?-L\d+\.H\d+")  # of a neuron and a head: fit for a file's name
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
)
_PAGES.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}


def read_cards(notebook: Path) -> dict[str, Any]:
    """Return what the executed chapter carries; without the chapter, or its data, no cards.

    A card's prompts are one text of JSON, so that a notebook has not a line for every number.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"] if notebook.is_file() else []
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    found = next((one["data"][MIME] for one in outputs if MIME in one.get("data", {})), None)
    carried = found or {"run": "", "split": "", "cards": []}
    for card in carried["cards"]:
        card["key"] = f"{card['neuron']}-{card['head']}"
        if not _KEY.fullmatch(card["key"]):
            raise ExtensionError(f"{notebook.name}: {card['key']!r} names no neuron and head")
        card["slug"], card["prompts"] = slug(card["token"]), json.loads(card["prompts"])
        card["words"] = [prompt | words_of(prompt) for prompt in card["prompts"]]
        active = [one for one in card["words"] if one["active"]]
        followed = [one for one in active if one["next"] == card["token"]]
        card["sample"] = next((one["sample"] for one in [*followed, *active]), None)
    carried["cards"].sort(key=lambda card: (card["group"] != "selected", -card["gap"], card["key"]))
    return carried


def slug(token: str) -> str:
    """Return the name of a token's page: no two tokens share one, even where case is ignored."""
    plain = re.sub(r"[^a-z0-9]+", "-", token.lower()).strip("-")[:40]
    if plain and token == f" {plain}":
        return plain
    return f"{plain}-{sha256(token.encode()).hexdigest()[:8]}".strip("-")


def words_of(prompt: dict[str, Any]) -> dict[str, Any]:
    """What a reader without scripts is told of a prompt: its text around the token looked at most.

    The beginning of the sequence, the first token, is told apart, as it is no word of the text.
    `sample` is the text's end, behind the token looked at most.
    """
    tokens, attention = list(map(readable, prompt["tokens"])), prompt["attention"]
    at = max(range(len(tokens)), key=lambda i: (i > 0 or len(tokens) == 1, attention[i]))
    end = max(1, len(tokens) - SAMPLE)
    before = "".join(tokens[end:at]) if at >= end else "… " if at > 1 else ""
    after = "".join(tokens[at + 1 :]) if at >= end - 1 else " …" + "".join(tokens[end:])
    text = ["".join(tokens[1:at]), tokens[at], "".join(tokens[at + 1 :])]
    sample = ["… " * (at >= end > 1) + before.lstrip(), tokens[at], after]
    return {"text": text, "sample": sample, "most": attention[at], "idle": attention[0]}


def share(number: float | None) -> str:
    """A share of one, without its zero: .55."""
    return "–" if number is None else f"{number:.2f}".replace("0.", ".", 1)


def points(number: float | None) -> str:
    """A change in points of probability, with its sign; a fall is a negative change."""
    if number is None:
        return "–"
    change = round(-number)
    return f"{change:+d}".replace("-", "−") if change else "0"


def percent(number: float | None) -> str:
    """A share of one in percent."""
    return "–" if number is None else f"{100 * number:.0f} %"


_PAGES.filters.update(share=share, points=points, percent=percent, readable=readable)


def page(name: str, title: str, cards: list[Card], **more: Any) -> Page:
    """Return a page of some cards: its name, its title, the cards and its body, which is HTML."""
    parts = {"cards": cards, "title": title, "root": "../" * name.count("/")}
    parts |= {"bundle": BUNDLE, "chapter": f"{CHAPTER}.html"}
    return name, title, cards, _PAGES.get_template("gallery.html").render(parts | more)


def pages_of(carried: dict[str, Any]) -> Iterator[Page]:
    """Write the gallery's index, a page for each head and one for each token, in their order."""
    cards: list[Card] = carried["cards"]
    kinds: dict[str, list[str]] = carried.get("kinds", {})
    choices = {
        name: sorted({card[name] for card in cards}, key=_in_order)
        for name in ("group", "layer", "head_layer", "head")
    }
    yield page("gallery/index", "A gallery of look-ups", cards, choices=choices, about=carried)
    for head in choices["head"]:
        own = [card for card in cards if card["head"] == head]
        kind = kinds.get(head, []) if kinds else None
        yield page(f"gallery/heads/{head}", f"Head {head}", own, kind=kind, of="head")
    for token in sorted({card["token"] for card in cards}):
        own = [card for card in cards if card["token"] == token]
        yield page(f"gallery/tokens/{slug(token)}", f"“{readable(token)}”", own, of="token")


def _in_order(name: object) -> tuple[list[int], str]:
    """Layers and heads in the order of their numbers."""
    return [int(number) for number in re.findall(r"\d+", str(name))], str(name)


def write_cards(cards: list[Card], folder: Path) -> None:
    """Write a script for every card, which hands its data to `gallery.js` once it is loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    one = _PAGES.from_string(
        "(window.lookUpCards=window.lookUpCards||{})[{{ key|tojson }}]={{ data|tojson }};"
    )
    for card in cards:
        pair = f"{card['head']} and the “{readable(card['token'])}” neuron ({card['neuron']})"
        data = {"head": card["head"], "pair": pair, "prompts": card["prompts"]}
        text = one.render(key=card["key"], data=data)
        (folder / f"{card['key']}.js").write_text(text, "utf-8")


def found_by_search(app: Sphinx, name: str, title: str, cards: list[Card]) -> None:
    """Let the book's search find a page by its heads, neurons and tokens."""
    document = new_document(name)
    said = [f"{card['token']} {card['neuron']} {card['head']}" for card in cards]
    words = (nodes.paragraph(text=one) for one in said)
    document += nodes.section("", nodes.title(text=title), *words)
    app.env.all_docs[name] = 0  # the index forgets pages that are not among them
    inert = re.sub("([<&])", "\\1\u200b", title)  # the theme writes a title as it stands
    app.env.titles[name] = nodes.title(text=inert)
    app.builder.index_page(name, document, title)


def collect_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Hand Sphinx the gallery's pages, to be set in the book's theme."""
    carried = read_cards(Path(app.srcdir) / f"{CHAPTER}.ipynb")
    write_cards(carried["cards"], Path(app.outdir) / "gallery" / "cards")
    for name, title, cards, body in pages_of(carried):
        found_by_search(app, name, title, cards)
        yield name, {"title": escape(title), "body": body, "meta": {}}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the pages when a book is written as HTML."""
    app.connect("html-collect-pages", collect_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
