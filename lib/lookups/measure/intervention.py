"""What becomes of a neuron and its token when something in the pass is changed (chapters 9 to 11).

A row is a prompt with a neuron and a token; everything is read at the prompt's last token, after
exactly one BOS. The unchanged pass runs once a distinct prompt; changed passes resume at the first
layer that the change reaches, many at once, and rows that ask the same of a prompt share one.
What is changed, and how, is said by an edit (`lookups.measure.ablation` makes them). Measurements
become the long tables that chapters save: a row of those is a measured row and one kind of change.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookups.measure.activation import keeper, members, shared
from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.model.resume import Hook, Place, Trace, log_probabilities, record, resume
from lookups.names import Head, Neuron

Column = Float[np.ndarray, " row"]

TOGETHER = 4
"""Batches of prompts that are recorded together, so that many of their changed passes resume at one
layer; and passes of one token in place of one of a whole prompt."""

CHANGES = {"fall": "p", "log_fall": "logp", "pre_fall": "pre", "act_fall": "act"}
"""What falls, by the name of the column that says how far: before less after."""

GROUPS = ("selected", "random")
"""The run's own neurons, and those that are matched to them."""


class Measured(NamedTuple):
    """What each row's neuron and token do at the last token of its prompt; float64."""

    p: Column
    """The probability of the row's token."""
    logp: Column
    """Its natural logarithm."""
    pre: Column
    """The neuron's pre-activation (the gate where there is one), times its sign."""
    up: Column | None
    """A gated neuron's other input, times its sign; None for an ordinary MLP."""
    act: Column
    """The neuron's activation, times its sign."""


class Edited(NamedTuple):
    """Rows before and after each kind of change."""

    before: Measured
    after: dict[str, Measured]


class Rows(NamedTuple):
    """What is measured: prompts as ids without a BOS, each with a neuron and a token."""

    prompts: Sequence[Ids]
    neurons: Sequence[Neuron]
    token_ids: Sequence[int]


class Edit(NamedTuple):
    """One kind of change, spelt out for every row."""

    starts: Int[np.ndarray, " row"]
    """The first layer that is to be run again."""
    alone: Bool[np.ndarray, " row"]
    """Whether nothing before the last token can change what is measured there."""
    key: Callable[[int], Hashable]
    """What is asked of the row's prompt: rows with equal keys share a pass."""
    hooks: Callable[[Int[np.ndarray, " row"], Place], list[tuple[str, Hook]]]
    """The change, for one row a pass, all with the same start."""
    watched: frozenset[str] = frozenset()
    """Hook names whose unchanged tensors the change needs."""
    given: Callable[[Mapping[str, Column]], "Edit"] | None = None
    """The change to make, where it depends on the activations under earlier edits."""


def measure_edits(
    model: Model, rows: Rows, edits: Mapping[str, Edit], *, tokens_per_batch: int | None = None
) -> Edited:
    """Measure every row as it is and under every edit, edits in their order.

    Raises:
        ValueError: the columns have unequal lengths, or a token is not one of the model's.
    """
    _check(model, rows)
    layers = {neuron.layer for neuron in rows.neurons}
    watch = {name for layer in layers for name in _names(model, layer).values()}
    watch.update(*(edit.watched for edit in edits.values()))
    whole = {int(s) for edit in edits.values() for s in edit.starts[~edit.alone]}
    before = _Sheet(model, rows)
    after = {kind: _Sheet(model, rows) for kind in edits}
    groups, tokens = shared(rows.prompts), model.tokens(tokens_per_batch)
    lengths = [len(rows.prompts[group[0]]) for group in groups]
    for some in batches_by_length(lengths, tokens=TOGETHER * tokens):
        chosen = [groups[i] for i in some]
        trace = record(model, [rows.prompts[one[0]] for one in chosen], whole=whole, watch=watch)
        mine, places = members(chosen)
        before.write(mine, trace.final, places, trace.at_last)
        for kind, edit in edits.items():
            after[kind].copy(mine, before)
            if edit.given is not None:
                edit = edit.given({name: sheet.columns["act"] for name, sheet in after.items()})
            _run(edit, mine, places, trace, tokens, after[kind])
    return Edited(before.done(), {kind: sheet.done() for kind, sheet in after.items()})


def in_place_of(
    model: Model,
    hook: Literal["attn.hook_z", "mlp.hook_post"],
    units: Sequence[Head] | Sequence[Neuron],
    values: Float[Tensor, "row ..."],
    where: Literal["everywhere", "behind_bos", "last"],
    keys: np.ndarray,
) -> Edit:
    """Return the edit that puts a value in the place of what each row's head or neuron puts out.

    `values` are `d_head` numbers for a head, one for a neuron; they are put at every position, at
    every one but the BOS, or at the last token only. Rows that share prompt, unit and key have the
    same value. What a layer puts out before the last token reaches the last token's logits only
    through the attention of later layers: in the last layer, only the last token is run again.
    """
    layers, indices = (np.array([unit[at] for unit in units], dtype=np.int64) for at in (0, 1))

    def hooks(rows: np.ndarray, place: Place) -> list[tuple[str, Hook]]:
        index = torch.from_numpy(indices[rows]).to(model.device)
        value = rearrange(values[rows], "row ... -> row 1 ...")
        touched = place.positions == rearrange(place.last, "row -> row 1")
        if where != "last":
            touched = place.positions >= (1 if where == "behind_bos" else 0)
        if values.ndim == 2:
            touched = rearrange(touched, "row pos -> row pos 1")

        def replace(tensor: Tensor) -> Tensor:
            usual = tensor[place.rows, :, index]
            tensor[place.rows, :, index] = torch.where(touched, value, usual)
            return tensor  # nothing else reads it

        return [(f"blocks.{layers[rows[0]]}.{hook}", replace)]

    alone = (layers == model.n_layers - 1) | (where == "last")
    return Edit(layers, alone, lambda row: (layers[row], indices[row], keys[row]), hooks)


def _run(
    edit: Edit, rows: np.ndarray, places: np.ndarray, trace: Trace, tokens: int, sheet: "_Sheet"
) -> None:
    """Run some recorded prompts with a change, and write down what their rows read.

    Rows that ask the same share a pass; passes that resume at one layer run together, at most
    `tokens` padded tokens at a time.
    """
    model, starts = sheet.model, {}
    for at, row in enumerate(rows.tolist()):
        asked = starts.setdefault((int(edit.starts[row]), bool(edit.alone[row])), {})
        asked.setdefault((int(places[at]), edit.key(row)), []).append(at)
    for (layer, alone), asked in starts.items():
        groups = [np.array(group) for group in asked.values()]
        most = max(1, tokens // trace.batch.ids.shape[1] * (TOGETHER if alone else 1))
        for start in range(0, len(groups), most):
            some = groups[start : start + most]
            firsts = np.array([group[0] for group in some])
            readers, which = members(some)
            place = Place(trace, torch.from_numpy(places[firsts]).to(model.device), alone)
            seen: dict[str, Tensor] = {}
            layers = {sheet.rows.neurons[row].layer for row in rows[readers]}
            read = [n for at in layers if at >= layer for n in _names(model, at).values()]
            hooks = edit.hooks(
                rows[firsts], place
            )  # first, so that what is read is what was changed
            hooks += [(name, keeper(seen, name, place.at_last)) for name in read]
            sheet.write(rows[readers], resume(model, place, layer, hooks), which, seen)


class _Sheet:
    """Measurements of all rows, filled in as they come."""

    def __init__(self, model: Model, rows: Rows):
        self.model, self.rows = model, rows
        columns = ("logp", "pre", "up", "act") if model.gated else ("logp", "pre", "act")
        self.columns = {name: np.full(len(rows.prompts), np.nan) for name in columns}

    def write(
        self, rows: np.ndarray, final: Tensor, which: np.ndarray, seen: Mapping[str, Tensor]
    ) -> None:
        """Write down some rows; `which` says where in `final` and in `seen` a row stands."""
        at = torch.from_numpy(which).to(self.model.device)
        tokens = torch.tensor([int(self.rows.token_ids[row]) for row in rows])
        logp = log_probabilities(self.model, final, at, tokens.to(self.model.device))
        self.columns["logp"][rows] = logp.cpu().numpy()
        units = np.array([self.rows.neurons[row] for row in rows])
        for layer in np.unique(units[:, 0]).tolist():
            mine = np.flatnonzero(units[:, 0] == layer)
            index = torch.from_numpy(units[mine, 1]).to(self.model.device)
            for column, name in _names(self.model, layer).items():
                if name in seen:  # what was not reached has not changed
                    found = seen[name][at[mine], index].double().cpu().numpy()
                    self.columns[column][rows[mine]] = units[mine, 2] * found

    def copy(self, rows: np.ndarray, other: "_Sheet") -> None:
        """Take over some rows as they stand on another sheet."""
        for name, column in self.columns.items():
            column[rows] = other.columns[name][rows]

    def done(self) -> Measured:
        """Return the columns."""
        logp, pre, up, act = (self.columns.get(name) for name in ("logp", "pre", "up", "act"))
        return Measured(np.exp(logp), logp, pre, up, act)


def _names(model: Model, layer: int) -> dict[str, str]:
    """The columns that are read from a layer's MLP, with TransformerLens's names."""
    names = {"pre": f"blocks.{layer}.mlp.hook_pre", "act": f"blocks.{layer}.mlp.hook_post"}
    return names | ({"up": f"blocks.{layer}.mlp.hook_pre_linear"} if model.gated else {})


def _check(model: Model, rows: Rows) -> None:
    lengths = [len(column) for column in rows]
    if len(set(lengths)) != 1:
        raise ValueError(f"a row has a prompt, a neuron and a token, but there are {lengths}")
    outside = [int(token) for token in rows.token_ids if not 0 <= token < model.d_vocab]
    if outside:
        raise ValueError(
            f"token {outside[0]} is not one of the {model.d_vocab} of {model.name}; use its own "
            "tokenizer"
        )


def before_after(table: pd.DataFrame, edited: Edited) -> pd.DataFrame:
    """Return a table of the rows once for every kind of change, with `kind` and what was measured
    before and after it: `p`, `logp`, `pre`, `act` and, of gated neurons, `up`.

    Raises:
        ValueError: other rows were measured.
    """
    if len(edited.before.p) != len(table):
        raise ValueError(f"{len(edited.before.p)} rows were measured, not these {len(table)}")
    tables = [
        table.assign(kind=kind, **_columns("before", edited.before), **_columns("after", after))
        for kind, after in edited.after.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else table.iloc[:0].copy()


def _columns(when: str, measured: Measured) -> dict[str, Column]:
    known = measured._asdict().items()
    return {f"{name}_{when}": column for name, column in known if column is not None}


def with_falls(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with how far everything fell: `fall` of p, `log_fall`, `pre_fall`, `act_fall`.

    A fall is what was there before less what is there after, as in step 7 of the method; what rose
    has a negative one. Columns that the table lacks have no fall.
    """
    falls = {
        name: table[f"{what}_before"].astype(float) - table[f"{what}_after"].astype(float)
        for name, what in CHANGES.items()
        if f"{what}_before" in table.columns
    }
    return table.assign(**falls)


def of_group(table: pd.DataFrame, neurons: pd.DataFrame, group: str) -> pd.DataFrame:
    """Return the rows of a table that belong to a group of neurons; a neuron may be in two.

    `neurons` is `follow_rates`, one row a neuron, by name.
    """
    facts = neurons.reindex(table.neuron)
    mine = facts.selected.eq(True) if group == "selected" else facts.group.eq(group)
    return table[mine.to_numpy(bool)]


def followed_first(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs that make a good example, the best first.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `active`, `follows` (its token does)
    and `gap` (how much more the neuron owes to the head on active prompts). A pair is the better,
    the larger the gap times the share of its active prompts that the token follows; pairs with
    three such prompts or more come first, those with none are left out.
    """
    active = rows[rows.active.astype(bool)].groupby(["neuron", "head"], sort=True)
    facts = active.agg(followed=("follows", "sum"), share=("follows", "mean"), gap=("gap", "first"))
    facts["order"] = -(facts["share"] * facts.gap).astype(float)
    facts["few"] = facts.followed < 3
    facts = facts[facts.followed > 0].sort_values(["few", "order"], kind="stable")
    return facts.index.tolist()
