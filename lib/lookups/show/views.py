"""Interactive views of attention and activation, and prompts side by side.

The drawing is circuitsvis', with nothing fetched from outside; templates of the folder `page` take
the place of its own renderer. The same view gives the same bytes, and no text from data can become
markup or end a script. Every view also has a summary in plain text, for nbval and for readers
without JavaScript, which numbers the tokens as the drawing does, from 0 at the first one shown.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from torch import Tensor

from lookups.errors import LookupsError

BUNDLE = "circuitsvis.iife.js"
"""The name of the one script that all views of a book's page share, in the book's `_static`."""

BOS = "⟨BOS⟩"
"""The label of the beginning-of-sequence token; first in `tokens`, it survives every cut."""

Numbers = np.ndarray | Tensor | Sequence[Any]
"""An array, a tensor on any device, or nested lists; its axes are checked where it is shown."""

LONGEST = 24
"""The most tokens a view shows; what is longer is cut from the left and the summary says so."""
QUOTED = 200  # the last characters of a prompt that a table shows

SIGNS = ("#0068a8", "#c2490a")
"""For what is positive and negative: told apart by readers with any colour vision."""

_SEEN = {at: f"⟨{at:02X}⟩" for at in (*range(32), *range(127, 160))}  # controls
_SEEN |= {9: "⇥", 10: "⏎", 13: None, 0x2028: "⏎", 0x2029: "⏎"}
_SEEN |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))  # those of direction
_LEFTWARD = re.compile(
    "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)

_FOLDER = FileSystemLoader(Path(__file__).parent / "page")
_PAGES = Environment(loader=_FOLDER, autoescape=True, trim_blocks=True)
_PAGES.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}

_carriers: list[str] = []
"""The view that brought the drawing script into this session: drawn again, it brings it again."""


class Shown:
    """HTML for where it can be shown, made when it is, and a plain text that says the same."""

    def __init__(self, text: str, template: str, **parts: Any):
        self.text, self._template, self._parts = text, template, parts

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        page = _PAGES.get_template(self._template).render(self._parts, text=self.text)
        return {"text/html": page, "text/plain": self.text}


class PromptText(NamedTuple):
    """One prompt as a reader sees it."""

    text: str  # cut after the position where the neuron is measured
    token: str  # appended and marked: the neuron's own, or what followed
    note: str = ""  # where it comes from, or how strongly it fires
    followed: str | None = None
    """What really followed in the text. Where it is not `token`, that is marked as not said."""

    @property
    def came_true(self) -> bool:
        """Whether the token did follow, as far as is known."""
        return self.followed in (None, self.token)


def attention_view(
    tokens: Sequence[str], patterns: Numbers, head_names: Sequence[str], *,
    name: str, look_for: str = "",
) -> Shown:  # fmt: skip
    """Show where a few heads look; hovering a head enlarges it.

    `patterns` (head, query, key) are attention weights, or weights times any signed quantity of the
    key, drawn in orange where negative. The summary reads the last query.
    """
    axes = {"head": len(head_names), "query": len(tokens), "key": len(tokens)}
    values = _numbers(patterns, axes, name)
    kept, shown, how_many = cut(tokens)
    values = values[:, kept][:, :, kept]
    props = {"attention": rounded(values), "attentionHeadNames": list(head_names)}
    props |= {"tokens": shown} | _coloured(values)
    start = f"From the last token, {labelled(shown, -1)}, strongest among"
    text = _summary(f"{start} {how_many}:", shown, values[:, -1], head_names, most=2)
    return view_of(name, "AttentionHeads", props, text, look_for)


def token_view(
    tokens: Sequence[str], values: Numbers, *,
    name: str, series: Sequence[str] = (), look_for: str = "",
) -> Shown:  # fmt: skip
    """Show a value under every token, such as a neuron's activation; hovering tells the number.

    `values` has one axis, the tokens, or two (token, series), of which one series is shown at once.
    """
    axes = {"token": len(tokens)} | ({"series": len(series)} if series else {})
    numbers = _numbers(values, axes, name)
    kept, shown, how_many = cut(tokens)
    numbers = numbers[kept]
    # circuitsvis writes tokens as HTML here: a zero-width space lets text stay text
    props = {"tokens": [re.sub("[<&]", "\\g<0>\u200b", token) for token in shown]}
    props |= {"values": rounded(numbers)}
    if series:
        top = [_scale(column) for column in numbers.T]
        bounds = {"positiveBounds": top, "negativeBounds": [-bound for bound in top]}
        props |= {"labels": list(series)} | bounds
    else:
        props |= _coloured(numbers)
    start = f"Strongest among {how_many}, ending in {labelled(shown, -1)}:"
    rows = numbers.T if series else numbers[None]
    text = _summary(start, shown, rows, series or ("value",), most=3)
    component = "ColoredTokensMulti" if series else "ColoredTokens"
    return view_of(name, component, props, text, look_for)


def drawing_script() -> str:
    """Return the one script that draws all views: circuitsvis, and behind it the look-ups."""
    own = _PAGES.get_template("look_up.js").render(signs=SIGNS, longest=LONGEST)
    drawing = Path(distribution("circuitsvis").locate_file("circuitsvis/dist/cdn/iife.js"))
    return drawing.read_text("utf-8").split("//# sourceMappingURL")[0] + f"\n{own}"


def view_of(
    name: str, component: str, props: Mapping[str, Any], text: str, look_for: str, **parts: Any
) -> Shown:
    """Return a view of a component of the drawing script; its template is given the `parts`."""
    name = re.sub(r"[^a-z0-9]", "-", name.lower()).strip("-")  # fit for an HTML id
    parts |= {"look_for": look_for, "bundle": BUNDLE, "carried": _carried, "name": name}
    return Shown(text, "view.html", data={"component": component, "props": props}, **parts)


def _carried(name: str) -> str:
    """The script that draws, in a live notebook's first view; a page of the book links to it."""
    if os.environ.get("LOOKUPS_VIEWS") == "linked" or name not in (_carriers or [name]):
        return ""
    _carriers[:] = [name]
    return drawing_script()


def prompt_table(columns: Mapping[str, Sequence[tuple[str | None, ...]]]) -> Shown:
    """Show columns of prompts side by side; with `followed`, a narrow column says what came next.
    Takes a column's rows by its title: `PromptText`, or tuples like it."""
    lines, quoted = [], []
    for title, given in columns.items():
        rows = [PromptText(*row) for row in given]
        lines += [f"{title} ({len(rows)})", *map(_prompt_line, rows)]
        quoted.append((title, rows, any(row.followed is not None for row in rows)))
    return Shown("\n".join(lines), "table.html", columns=quoted, readable=readable)


def quotes(rows: pd.DataFrame, notes: Sequence[str] | None = None) -> list[PromptText]:
    """Return a pair's prompts as a table shows them, each with its note, or else its source."""
    quoted, notes = [], rows.source if notes is None else notes
    for row, note in zip(rows.itertuples(), notes, strict=True):
        text = row.text if len(row.text) <= QUOTED else f"…{row.text[-QUOTED:]}"
        followed = row.next_token if isinstance(row.next_token, str) else None
        quoted.append(PromptText(text, row.token, note, followed))
    return quoted


def readable(token: str) -> str:
    """Return a token as a reader can see it: a newline as ⏎, a lone space as ␣, a part of a
    character as its bytes (`Piece`). What is written from right to left is isolated: what stands
    beside it would change places."""
    seen = getattr(token, "spelled", token).translate(_SEEN)
    if _LEFTWARD.search(seen):
        bare = seen.lstrip()
        seen = f"{seen[: len(seen) - len(bare)]}\u2068{bare}\u2069"
    return {" ": "␣", "": "∅"}.get(seen, seen)


def escaped(text: str) -> str:
    """Return a text from data for Markdown, which then shows it as it stands."""
    return re.sub(r"([\\`*_{}\[\]<>()#+.!|$~&-])", r"\\\1", readable(text))


def _numbers(values: Any, axes: Mapping[str, int], view: str) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, on any device and of any precision
        values = values.detach().float().cpu().numpy()
    numbers, wanted = np.asarray(values, dtype=float), tuple(axes.values())
    if numbers.shape != wanted or not numbers.size or not np.isfinite(numbers).all():
        needs = f"finite numbers of shape {wanted} ({', '.join(axes)}), 1 at least of each"
        raise LookupsError(f"view {view!r} needs {needs}; the shape of these is {numbers.shape}")
    return numbers


def cut(tokens: Sequence[str]) -> tuple[list[int], list[str], str]:
    """Return the places of the tokens that are shown, how these read, and how many, in words."""
    kept = list(range(len(tokens)))[-LONGEST:]
    if tokens[0] == BOS:
        kept[0] = 0
    whole = f" (the last of {len(tokens)})" if len(tokens) > len(kept) else ""
    return kept, [readable(tokens[place]) for place in kept], f"{len(kept)} tokens{whole}"


def rounded(values: np.ndarray) -> list[Any]:
    """Return numbers with three digits, in lists."""
    return (np.round(values, 3) + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0


def _scale(values: np.ndarray) -> float:
    return max(float(np.round(np.abs(values).max(), 3)), 1e-3)


def _coloured(values: np.ndarray) -> dict[str, Any]:
    colours, top = {"positiveColor": SIGNS[0], "negativeColor": SIGNS[1]}, _scale(values)
    return {"maxValue": top, "minValue": -top} | colours


def labelled(shown: Sequence[str], place: int) -> str:
    return f'"{shown[place]}" ({place % len(shown)})'  # numbered as in the drawing


def _summary(
    start: str, shown: Sequence[str], rows: np.ndarray, names: Sequence[str], *, most: int
) -> str:
    lines, width = [start], max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-abs(round(float(row[i]), 3)), i))[:most]
        told = ", ".join(f"{row[i] + 0.0:.2g} {labelled(shown, i)}" for i in order)
        lines.append(f"{name:<{width}}  {told}")
    return "\n".join(lines)


def _prompt_line(row: PromptText) -> str:
    note = f"   [{row.note}]" if row.note else ""
    said = f"«{readable(row.token)}»{'' if row.came_true else ' ✗'}"
    then = "" if row.followed is None else f" →{readable(row.followed)}"
    return f"  {readable(row.text)}{said}{then}{note}"
