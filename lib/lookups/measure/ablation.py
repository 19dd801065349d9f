"""What a neuron and its token lose without a head, a token without a neuron (chapters 9, 10, 12).

Kinds of head ablation: `zero`, the paper's, takes the head's output away at every position (value
biases, which are folded into the output bias, stay); `mean` puts its average output at every
position but the BOS; `resample` puts, at the last token, what the head put out at the last token of
another prompt. The direct path takes the head's output at the last token away from one neuron's
input alone: with the norm's scale as it was (`direct_frozen`) or as it becomes
(`direct_recomputed`). `through_neuron` gives the neuron alone, at the last token, the activation
that it has under `zero`: what the token then loses, it loses through it. Kinds of neuron ablation:
`zero` and `mean` hold it at 0 or at its average at every position but the BOS; `on` sets it at the
last token alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure import intervention
from lookups.measure.activation import Site, batched, check_feed, check_rows, keeper, own_at_last
from lookups.measure.intervention import Edit, Edited, Hooks, Measured, Rows, measure_edits
from lookups.model.loaded import Model, Prompts
from lookups.model.resume import Place
from lookups.model.workers import results_of
from lookups.names import Head, Heads, Neurons, Units

Kind = Literal[
    "zero", "mean", "resample", "on", "direct_frozen", "direct_recomputed", "through_neuron"
]


class Means(NamedTuple):
    """What heads (before W_O) or neurons (signs not turned) put out on average over some tokens."""

    by_layer: dict[int, Float[Tensor, "unit ..."]]
    tokens: int

    def of(self, units: Units) -> Tensor:
        """Return the averages of some heads or neurons."""
        return torch.stack([self.by_layer[unit.layer][unit.index] for unit in units])


def mean_over_tokens(
    model: Model, sequences: Prompts, layers: Sequence[int], *, of: Literal["heads", "neurons"]
) -> Means:
    """Average what heads or neurons of some layers put out over all tokens but the BOS."""
    hook = {"heads": Site.Z, "neurons": Site.POST}[of]
    total: dict[int, Any] = dict.fromkeys(layers, 0)
    for some in batched(model, sequences):
        batch = model.batch([sequences[i] for i in some])

        def add(tensor: Tensor, at: int, text: Tensor = batch.mask[:, 1:]) -> None:
            total[at] = total[at] + tensor[:, 1:][text].double().sum(0)

        model.read(batch, {hook.format(at): partial(add, at=at) for at in layers})
    tokens = sum(len(ids) for ids in sequences)
    return Means({at: (total[at] / tokens).to(model.dtype) for at in layers}, tokens)


def ablate(
    model: Model,
    prompts: Prompts,
    neurons: Neurons,
    token_ids: Sequence[int],
    units: Units,
    kinds: Sequence[Kind],
    *,
    means: Means | None = None,
    donors: Int[np.ndarray, " row"] | None = None,
    on: Sequence[float] | Float[np.ndarray, " row"] | None = None,
) -> Edited:
    """Measure every row's neuron and token as they are and without the row's head or neuron.

    `means` is for `mean`; `donors`, for `resample`, is the row whose prompt lends each row the
    head's output; `on` has the activation, times the neuron's sign, that `on` sets.
    `zero` goes before `through_neuron`. ValueError if columns differ in length, or a head whose
    direct path is to be cut does not feed its neuron.
    """
    given = [column for column in (donors, on) if column is not None]
    check_rows(prompts, neurons, token_ids, units, *given)
    if outside := [int(token) for token in token_ids if not 0 <= token < model.d_vocab]:
        raise ValueError(f"token {outside[0]} is not one of the {model.d_vocab} of {model.name}")
    if {"direct_frozen", "direct_recomputed"}.intersection(kinds):
        for neuron, head in zip(neurons, units, strict=True):
            check_feed(model, [head], neuron.layer)
    of_heads = len(units) > 0 and isinstance(units[0], Head)
    lent = None
    if "resample" in kinds:
        hook, donated = Site.Z if of_heads else Site.POST, [prompts[at] for at in donors]
        lent = own_at_last(model, hook, units, donated)
    on = None if on is None else np.asarray(on)
    columns, more = (prompts, neurons, token_ids, units), (lent, donors, on)
    batches = intervention.portions(model, prompts)
    calls = (
        (kinds, of_heads, means, *([column[row] for row in rows] for column in columns),
         *(column if column is None else column[rows] for column in more))
        for rows in batches
    )  # fmt: skip
    parts, back = list(results_of(model, _ablated, calls)), np.concatenate(batches).argsort()

    def whole(some: Sequence[Measured]) -> Measured:
        found = zip(*some, strict=True)
        return Measured(*(one[0] if one[0] is None else np.concatenate(one)[back] for one in found))

    after = {kind: whole([part.after[kind] for part in parts]) for kind in kinds}
    return Edited(whole([part.before for part in parts]), after)


def _ablated(
    model: Model, kinds: Sequence[Kind], of_heads: bool, means: Means | None, prompts: Prompts,
    neurons: Neurons, token_ids: Sequence[int], units: Units, lent: Tensor | None,
    donors: np.ndarray | None, on: np.ndarray | None,
) -> Edited:  # fmt: skip
    """What `ablate` measures, of rows that are read together; `lent` is what donors put out."""
    put = partial(_in_place_of, model, Site.Z if of_heads else Site.POST, units)
    edits: dict[str, Edit] = {}
    for kind in kinds:
        if kind == "zero":
            edits[kind] = put(0.0, "everywhere" if of_heads else "behind_bos")
        elif kind == "mean":
            edits[kind] = put(means.of(units), "behind_bos")
        elif kind == "resample":
            edits[kind] = put(lent, "last", donors)
        elif kind == "on":
            signed = np.multiply([unit.sign for unit in units], on)
            edits[kind] = put(torch.from_numpy(signed).to(model.device, model.dtype), "last", on)
        elif kind == "through_neuron":
            edits[kind] = _in_place_of(model, Site.POST, neurons, "zero", "last", units)
        else:
            edits[kind] = _direct_path(model, neurons, units, frozen=kind == "direct_frozen")
    return measure_edits(model, Rows(prompts, neurons, token_ids), edits)


def _in_place_of(
    model: Model,
    hook: str,
    units: Units,
    values: Float[Tensor, "row ..."] | float | str,
    where: Literal["everywhere", "behind_bos", "last"],
    keys: Sequence[Hashable] | np.ndarray | None = None,
) -> Edit:
    """Put a value in the place of what each row's head or neuron puts out.

    `values` are a row's own (`d_head` numbers for a head, one for a neuron), one number for all, or
    the activations that neurons have under an earlier edit. Rows that share prompt, unit and key
    have the same. What a layer puts out before the last token reaches that token's logits through
    later layers only, so in the last layer the token is run alone.
    """
    layers, indices = (np.array([unit[at] for unit in units], dtype=np.int64) for at in (0, 1))

    def hooks(rows: np.ndarray, place: Place, measured: Mapping[str, Measured]) -> Hooks:
        index = torch.from_numpy(indices[rows]).to(model.device)
        value = values
        if isinstance(values, str):
            signed = measured[values].act[rows] * [units[row].sign for row in rows]
            value = torch.from_numpy(signed).to(model.device, model.dtype)[:, None]
        elif isinstance(values, Tensor):
            value = values[rows].unsqueeze(1)
        first = {"everywhere": 0, "behind_bos": 1, "last": place.last[:, None]}[where]
        touched = place.positions >= first

        def replace(tensor: Tensor) -> Tensor:
            usual = tensor[place.rows, :, index]
            here = touched if usual.ndim == 2 else touched[..., None]
            tensor[place.rows, :, index] = torch.where(here, value, usual)
            return tensor  # nothing else reads it

        return [(hook.format(layers[rows[0]]), replace)]

    alone = (layers == model.n_layers - 1) | (where == "last")
    return Edit(layers, alone, lambda row: (units[row][:2], keys is not None and keys[row]), hooks)


def _direct_path(model: Model, neurons: Neurons, heads: Heads, *, frozen: bool) -> Edit:
    """Take a head's output away from one neuron's input at the last token: the MLP reads its input
    without the head, then every neuron but the row's own is put back."""

    def hooks(rows: np.ndarray, place: Place, _: Mapping[str, Measured]) -> Hooks:
        layer, at_last = neurons[rows[0]].layer, place.trace.at_last
        own, some = [neurons[row].index for row in rows], [heads[row] for row in rows]
        placed = list(zip(some, place.prompts.tolist(), strict=True))
        z = torch.stack([at_last[Site.Z.format(head.layer)][at, head.index] for head, at in placed])
        w_o = torch.stack([model.w_o(head.layer)[head.index] for head in some])
        written = einsum(z, w_o, "row z, row z d_model -> row d_model").unsqueeze(1)
        usual = at_last[Site.POST.format(layer)][place.prompts]
        scale: dict[str, Tensor] = {}

        def lessen(tensor: Tensor) -> Tensor:
            # the norm's gain is folded away, and what heads write has no mean for it to remove
            return tensor - (written / scale["scale"] if frozen else written)

        def put_back(tensor: Tensor) -> Tensor:
            changed = usual.clone()
            changed[place.rows, own] = tensor[place.rows, 0, own]
            return changed.unsqueeze(1)

        lessened = Site.NORMED if frozen else Site.ENTERING
        changes = [(lessened.format(layer), lessen), (Site.POST.format(layer), put_back)]
        return [(Site.SCALE.format(layer), keeper(scale, "scale")), *changes]

    starts, alone = np.array([neuron.layer for neuron in neurons]), np.ones(len(neurons), bool)
    return Edit(starts, alone, lambda row: (neurons[row][:2], heads[row]), hooks)
