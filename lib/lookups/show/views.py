"""Interactive views of attention and activation, and prompts side by side.

The drawing is circuitsvis', put into the page by `lookups.show.html`. Every view also has a summary
in plain text, for nbval and for readers without JavaScript, which numbers the tokens as the drawing
does, from 0 at the first one shown.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from lookups.errors import LookupsError
from lookups.show.html import inert, page_part, slug, view_html

BOS = "⟨BOS⟩"
"""The label of the beginning-of-sequence token; first in `tokens`, it survives every cut."""

Numbers = np.ndarray | Tensor | Sequence[Any]
"""An array, a tensor on any device, or nested lists; its axes are checked where it is shown."""

LONGEST = 24
"""The most tokens a view shows; what is longer is cut from the left and the summary says so."""
QUOTED = 200  # the last characters of a prompt that a table shows

_POSITIVE, _NEGATIVE = "#0068a8", "#c2490a"  # told apart by readers with any colour vision
_TABLE_STYLE = page_part("table.css")


class Shown:
    """HTML for where it can be shown, made when it is, and a plain text that says the same."""

    def __init__(self, text: str, page: Callable[[], str]):
        self.text, self._page = text, page

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self._page(), "text/plain": self.text}


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
    values, kept = _numbers(patterns, axes, name), _kept(tokens)
    shown, values = [readable(tokens[i]) for i in kept], values[:, kept][:, :, kept]
    props = {"attention": _rounded(values), "attentionHeadNames": list(head_names)}
    props |= {"tokens": shown} | _coloured(values)
    start = f"From the last token, {_label(shown, -1)}, strongest among"
    text = _summary(f"{start} {_count(kept, tokens)}:", shown, values[:, -1], head_names, most=2)
    return _view("AttentionHeads", props, name=name, look_for=look_for, text=text)


def token_view(
    tokens: Sequence[str], values: Numbers, *,
    name: str, series: Sequence[str] = (), look_for: str = "",
) -> Shown:  # fmt: skip
    """Show a value under every token, such as a neuron's activation; hovering tells the number.

    `values` has one axis, the tokens, or two (token, series), of which one series is shown at once.
    """
    axes = {"token": len(tokens)} | ({"series": len(series)} if series else {})
    kept = _kept(tokens)
    shown = [readable(tokens[i]) for i in kept]
    numbers = _numbers(values, axes, name)[kept]
    props = {"tokens": [inert(token) for token in shown], "values": _rounded(numbers)}
    if series:
        top = [_scale(column) for column in numbers.T]
        bounds = {"positiveBounds": top, "negativeBounds": [-bound for bound in top]}
        props |= {"labels": list(series)} | bounds
    else:
        props |= _coloured(numbers)
    start = f"Strongest among {_count(kept, tokens)}, ending in {_label(shown, -1)}:"
    rows = numbers.T if series else numbers[None]
    text = _summary(start, shown, rows, series or ("value",), most=3)
    component = "ColoredTokensMulti" if series else "ColoredTokens"
    return _view(component, props, name=name, look_for=look_for, text=text)


def _view(
    component: str, props: Mapping[str, Any], *, name: str, look_for: str, text: str
) -> Shown:
    page = partial(view_html, slug(name), component, props, text=text, look_for=look_for)
    return Shown(text, page)


def prompt_table(columns: Mapping[str, Sequence[tuple[str | None, ...]]]) -> Shown:
    """Show columns of prompts side by side; with `followed`, a narrow column says what came next.

    Takes a column's rows by its title: `PromptText`, or tuples like it.
    """
    quoted = {title: [PromptText(*row) for row in rows] for title, rows in columns.items()}
    lines = []
    for title, rows in quoted.items():
        lines += [f"{title} ({len(rows)})", *map(_prompt_line, rows)]
    return Shown("\n".join(lines), partial(_prompt_html, quoted))


def quotes(rows: pd.DataFrame, notes: Sequence[str] | None = None) -> list[PromptText]:
    """Return a pair's prompts as a table shows them, each with its note, or else its source."""
    quoted, notes = [], rows.source if notes is None else notes
    for row, note in zip(rows.itertuples(), notes, strict=True):
        text = row.text if len(row.text) <= QUOTED else f"…{row.text[-QUOTED:]}"
        followed = row.next_token if isinstance(row.next_token, str) else None
        quoted.append(PromptText(text, row.token, note, followed))
    return quoted


def readable(token: str) -> str:
    """Return a token as a reader can see it: a newline as ⏎, a tab as ⇥, a lone space as ␣."""
    seen = token.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")
    return {" ": "␣", "": "∅"}.get(seen, seen)


def escaped(text: str) -> str:
    """Return a text from data for Markdown, which then shows it as it stands."""
    return re.sub(r"([\\`*_{}\[\]<>()#+.!|$~&-])", r"\\\1", readable(text))


def _numbers(values: Any, axes: Mapping[str, int], view: str) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, on any device and of any precision
        values = values.detach().float().cpu().numpy()
    numbers, wanted = np.asarray(values, dtype=float), tuple(axes.values())
    if numbers.shape != wanted or not numbers.size:
        needs = f"it needs {wanted} ({', '.join(axes)}), 1 at least of each"
        raise LookupsError(f"view {view!r} cannot show values of shape {numbers.shape}: {needs}")
    if not np.isfinite(numbers).all():
        raise LookupsError("a view cannot show values that are not finite; look where they arise")
    return numbers


def _kept(tokens: Sequence[str]) -> list[int]:
    first = [0] if tokens and tokens[0] == BOS else []
    rest = list(range(len(first), len(tokens)))
    return first + rest[max(0, len(rest) + len(first) - LONGEST) :]


def _rounded(values: np.ndarray) -> list[Any]:
    return (np.round(values, 3) + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0


def _scale(values: np.ndarray) -> float:
    return max(float(np.round(np.abs(values).max(), 3)), 1e-3)


def _coloured(values: np.ndarray) -> dict[str, Any]:
    top = _scale(values)
    colours = {"positiveColor": _POSITIVE, "negativeColor": _NEGATIVE}
    return {"maxValue": top, "minValue": -top} | colours


def _label(shown: Sequence[str], place: int) -> str:
    return f'"{shown[place]}" ({place % len(shown)})'  # numbered as in the drawing


def _summary(
    start: str, shown: Sequence[str], rows: np.ndarray, names: Sequence[str], *, most: int
) -> str:
    lines, width = [start], max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-abs(round(float(row[i]), 3)), i))[:most]
        told = ", ".join(f"{row[i] + 0.0:.2g} {_label(shown, i)}" for i in order)
        lines.append(f"{name:<{width}}  {told}")
    return "\n".join(lines)


def _count(kept: Sequence[int], tokens: Sequence[str]) -> str:
    whole = f" (the last of {len(tokens)})" if len(tokens) > len(kept) else ""
    return f"{len(kept)} tokens{whole}"


def _prompt_line(row: PromptText) -> str:
    note = f"   [{row.note}]" if row.note else ""
    said = f"«{readable(row.token)}»{'' if row.came_true else ' ✗'}"
    then = "" if row.followed is None else f" →{readable(row.followed)}"
    return f"  {readable(row.text)}{said}{then}{note}"


def _prompt_html(columns: Mapping[str, Sequence[PromptText]]) -> str:
    depth = max(map(len, columns.values()), default=0)
    told = {t: any(row.followed is not None for row in rows) for t, rows in columns.items()}
    following = '<th class="next" title="what really followed in the text">next</th>'
    head = "".join(
        f"<th>{html.escape(t)} ({len(rows)})</th>{following * told[t]}"
        for t, rows in columns.items()
    )
    body = "\n".join(
        f"<tr>{''.join(_prompt_cell(rows[i : i + 1], told[t]) for t, rows in columns.items())}</tr>"
        for i in range(depth)
    )
    return (
        f"<style>{_TABLE_STYLE}</style>\n"
        '<table class="prompt-table tex2jax_ignore mathjax_ignore">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )


def _prompt_cell(rows: Sequence[PromptText], told: bool) -> str:
    if not rows:
        return "<td></td>" * (1 + told)
    (row,) = rows
    note = f"<small>{html.escape(row.note)}</small>" if row.note else ""
    text, token = html.escape(readable(row.text)), html.escape(readable(row.token))
    mark = "<mark>" if row.came_true else '<mark class="other">'
    cell = f"<td><span>{text}{mark}{token}</mark></span>{note}</td>"
    then = "" if row.followed is None else html.escape(readable(row.followed))
    return cell + (f'<td class="next"><span>{then}</span></td>' if told else "")
