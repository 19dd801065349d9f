"""One look-up on one line: where a head looks from a prompt's last token, and what that changes.

Arcs run from the last token to the tokens that the head reads: the wider, the more attention; blue
where what is brought drives the neuron, orange where it holds it back. Under each token stands the
neuron's activation, at the end what the model expects with and without the head. The drawing is
`page/look_up.js`; a static picture and a summary that says the same take its place without it.
"""

import unicodedata
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookups.errors import LookupsError
from lookups.measure.activation import Site, keeper
from lookups.measure.attention import looks
from lookups.model.forward import Touch
from lookups.model.loaded import Model, Prompts
from lookups.model.resume import log_probabilities
from lookups.names import Head, Neuron
from lookups.show.views import BOS, SIGNS, Shown, cut, labelled, readable, rounded, view_of

LETTER = 7.83  # pixels, in the static picture; scripts measure

_TWO_DIGITS = Context(prec=2, rounding=ROUND_HALF_UP)  # as JavaScript's toPrecision

Likely = list[tuple[str, float]]


class LookUpPrompt(NamedTuple):
    """One prompt with a head and a neuron: plain values of three digits, the BOS first.

    What tokens bring sums to the head's attribution. Activations, times the neuron's sign, are 0 at
    the BOS, where none is measured. The head is silenced as by `zero` of `ablate`. `p` is the
    probability of the neuron's token with and without it, `next` what followed where that is known.
    """

    tokens: list[str]
    attention: list[float]  # from the last token to each
    brought: list[float]
    activation: list[float]
    with_head: Likely  # the five most likely next tokens with their probabilities
    without_head: Likely
    token: str
    p: tuple[float, float]
    next: str | None
    active: bool
    source: str
    pattern: list[list[float]]  # the head's attention, query by key

    def data(self) -> dict[str, Any]:
        """Return what the drawing takes, ready for JSON: `with` and `without` are no names here."""
        return {name.removesuffix("_head"): value for name, value in self._asdict().items()}


def measured_prompts(
    model: Model, neuron: Neuron | str, head: Head | str, rows: pd.DataFrame
) -> list[LookUpPrompt]:
    """Measure a pair on some of its prompts (`PairPrompts.rows`), in three passes for all."""
    return measured_pairs(model, neuron, rows.assign(head=str(head)))


def measured_pairs(model: Model, neuron: Neuron | str, rows: pd.DataFrame) -> list[LookUpPrompt]:
    """Do the same for several heads of a neuron, each row's in `head`; each text is read once."""
    neuron, heads, seen = Neuron.parse(str(neuron)), list(map(Head.parse, rows["head"])), {}
    ids = [tuple(map(int, one)) for one in rows.token_ids]
    texts, units = list(dict.fromkeys(ids)), list(dict.fromkeys(heads))
    if not texts:
        return []

    def silence(layer: int, z: Tensor) -> Tensor:
        for row, head in enumerate(heads):
            if head.layer == layer:
                z[row, :, head.index] = 0
        return z

    own = keeper(seen, "own", lambda post: post[..., neuron.index].clone())
    usual = _expects(model, texts, Touch({Site.POST.format(neuron.layer): own}))
    change = {Site.Z.format(one.layer): partial(silence, one.layer) for one in units}
    silenced, looked = _expects(model, ids, Touch(change)), looks(model, neuron, units, texts)
    found = []
    for row, text, head, without in zip(rows.itertuples(), ids, heads, silenced, strict=True):
        at, unit = texts.index(text), units.index(head)
        token, fired = model.vocabulary.index(row.token), neuron.sign * seen["own"][at]
        fired[0] = 0
        pattern, both = looked[at].pattern[unit], torch.stack([usual[at], without])
        found.append(
            LookUpPrompt(
                [BOS, *(model.vocabulary[i] for i in text)],
                *map(_digits, (pattern[-1], looked[at].contribution[unit], fired[: len(text) + 1])),
                *(_most_likely(model, p) for p in both),
                row.token,
                tuple(_digits(both[:, token])),
                row.next_token if isinstance(row.next_token, str) else None,
                bool(row.active),
                str(row.source),
                _digits(pattern),
            )
        )
    return found


def look_up_view(
    prompts: Sequence[LookUpPrompt], pair: str, *, name: str, look_for: str = ""
) -> Shown:
    """Show a pair's look-ups, active and inactive prompts next to each other.

    The first prompt of either kind is drawn, and summed up in words; the others can be chosen.
    LookupsError without a prompt.
    """
    if not prompts:
        raise LookupsError(f"view {name!r} needs a prompt, at least one")
    lines, pictures = [f"{pair}, strongest first"], []
    for kind, active in (("active", True), ("inactive", False)):
        some = [one for one in prompts if one.active == active]
        lines += _summary(kind, some) if some else [f"{kind}: no prompt"]
        pictures += [(kind, some[0])] if some else []
    data = {"pair": pair, "prompts": [one._replace(pattern=[]).data() for one in prompts]}
    tops = [
        max(0.001, *(abs(getattr(one, what)[at]) for one in prompts for at in cut(one.tokens)[0]))
        for what in ("brought", "activation")
    ]
    drawn = {"pictures": pictures, "tops": tops, "signs": SIGNS}
    drawn |= {"wide": _wide, "cut": cut, "readable": readable, "written": _short}
    return view_of(name, "LookUp", data, "\n".join(lines), look_for, **drawn)


def _expects(model: Model, sequences: Prompts, touch: Touch) -> Float[Tensor, "prompt vocab"]:
    """What the model expects behind each prompt, while a pass is shown to `touch`."""
    batch, size = model.batch(sequences), model.d_vocab
    rows, every = (torch.arange(n, device=model.device) for n in (len(sequences), size))
    final = model.forward.run(batch.ids, touch)[rows, batch.last]
    runs, tokens = rows.repeat_interleave(size), every.repeat(len(rows))
    return log_probabilities(model, final, runs, tokens).exp().reshape(-1, size)


def _digits(values: Tensor) -> list[Any]:
    return rounded(values.double().cpu().numpy())


def _most_likely(model: Model, p: Float[Tensor, " vocab"]) -> Likely:
    some = p.topk(min(40, len(p))).indices.sort().values  # more than share three digits at the top
    digits = np.array(_digits(p[some]))
    order = np.argsort(-digits, kind="stable")[:5]
    return [(model.vocabulary[int(some[at])], float(digits[at])) for at in order]


def _short(value: float) -> str:
    return f"{float(_TWO_DIGITS.create_decimal_from_float(value)):.15g}"


def _percent(p: float) -> str:
    return "<1 %" if p < 0.005 else f"{int(100 * p + 0.5)} %"


def _listed(likely: Likely) -> str:
    return ", ".join(f'"{readable(token)}" {_percent(p)}' for token, p in likely)


def _summary(kind: str, some: Sequence[LookUpPrompt]) -> list[str]:
    one, (kept, shown, how_many) = some[0], cut(some[0].tokens)
    brought = [one.brought[at] for at in kept]
    order = sorted(range(len(kept)), key=lambda place: (-abs(brought[place]), place))[:3]
    brings = [
        f"{'+' * (brought[place] > 0)}{_short(brought[place])} from {labelled(shown, place)}, "
        f"attention {_short(one.attention[kept[place]])}"
        for place in order
        if abs(brought[place]) >= 0.05 * abs(brought[order[0]])
    ]
    other = "" if one.next in (None, one.token) else f'; "{readable(one.next)}" followed'
    says = f'"{readable(one.token)}": {_percent(one.p[0])} with the head, {_percent(one.p[1])}'
    return [
        f"{kind} (1 of {len(some)}), {how_many}",
        f"  {says} without it{other}",
        f"  brings: {'; '.join(brings)}",
        f"  activation: {_short(one.activation[-1])} at {labelled(shown, -1)}",
        f"  with the head: {_listed(one.with_head)}",
        f"  without the head: {_listed(one.without_head)}",
    ]


def _wide(text: str) -> float:
    """How wide a text is, about: wide letters count twice, marks that are put on others not."""
    marks = [unicodedata.combining(c) > 0 or c in "\u2068\u2069" for c in text]
    twice = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return LETTER * (len(text) - sum(marks) + twice)
