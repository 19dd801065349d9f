"""What becomes of a neuron and its token when something in the pass is changed (chapters 9 to 12).

A row is a prompt with a neuron and a token; everything is read at the prompt's last token. The
unchanged pass runs once a distinct prompt; changed passes resume at the first layer that the change
reaches, many at once, and rows that ask the same of a prompt share one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookups.measure.activation import Column, Site, in_batches, inputs_of, keeper, members
from lookups.model.loaded import Model, Prompts
from lookups.model.resume import Hook, Place, Trace, log_probabilities, record, resume
from lookups.names import Neurons

Hooks = list[tuple[str, Hook]]

TOGETHER = 4
"""Batches recorded together, so that many changed passes resume at one layer; and how many times
more passes run together where only the last token is run."""

GROUPS = ("selected", "random")
"""The run's own neurons, and those that are matched to them."""


class Measured(NamedTuple):
    """What each row's neuron and token do at the last token of its prompt; float64.

    The token's probability and its natural logarithm; times the neuron's sign, its pre-activation
    (the gate where there is one), a gated neuron's other input, and its activation.
    """

    p: Column
    logp: Column
    pre: Column
    up: Column | None
    act: Column


class Edited(NamedTuple):
    """Rows before and after each kind of change."""

    before: Measured
    after: dict[str, Measured]


class Rows(NamedTuple):
    """What is measured: prompts as ids without a BOS, each with a neuron and a token."""

    prompts: Prompts
    neurons: Neurons
    token_ids: Sequence[int]


class Edit(NamedTuple):
    """One kind of change, spelt out for every row.

    `starts` is the first layer that is to be run again; `alone` says whether nothing before the
    last token can change what is measured there; rows of a prompt with equal `key` share a pass.
    `hooks` make the change for some rows, a pass each; they are told what was measured under
    earlier edits, and find in the trace what heads and the neurons' layers put out unchanged.
    """

    starts: Int[np.ndarray, " row"]
    alone: Bool[np.ndarray, " row"]
    key: Callable[[int], Hashable]
    hooks: Callable[[Int[np.ndarray, " row"], Place, Mapping[str, Measured]], Hooks]


def portions(model: Model, prompts: Prompts) -> list[Int[np.ndarray, " _"]]:
    """Return the rows that are measured together."""
    found = in_batches([prompts], tokens=TOGETHER * model.tokens())
    return [rows for _, rows, _ in found] or [np.zeros(0, np.int64)]


def measure_edits(model: Model, rows: Rows, edits: Mapping[str, Edit]) -> Edited:
    """Measure every row as it is and under every edit, edits in their order."""
    watch = {name for at, _, _ in rows.neurons for name in _names(model, at).values()}
    watch |= {Site.Z.format(at) for at in range(model.n_layers)}
    whole = {int(start) for edit in edits.values() for start in edit.starts[~edit.alone]}
    before, after = _Sheet(model, rows), {kind: _Sheet(model, rows) for kind in edits}
    found = Edited(before.found, {kind: sheet.found for kind, sheet in after.items()})
    for first, mine, places in in_batches([rows.prompts], tokens=TOGETHER * model.tokens()):
        trace = record(model, [rows.prompts[row] for row in first], whole=whole, watch=watch)
        before.write(mine, places, trace.final, trace.at_last)
        for kind, edit in edits.items():
            for was, now in zip(before.found, after[kind].found, strict=True):
                if now is not None:
                    now[mine] = was[mine]  # what is not reached does not change
            after[kind].run(edit, mine, places, trace, found.after)
    return found


class _Sheet:
    """Measurements of all rows, filled in as they come."""

    def __init__(self, model: Model, rows: Rows):
        self.model, self.rows = model, rows
        self.found = Measured(*np.full((5, len(rows.prompts)), np.nan))
        if not model.gated:
            self.found = self.found._replace(up=None)

    def run(
        self, edit: Edit, mine: np.ndarray, places: np.ndarray, trace: Trace, measured: dict
    ) -> None:
        """Run some recorded prompts with a change, those that resume at one layer together, and
        write down what their rows read."""
        starts: dict[tuple[int, bool], dict] = {}
        for at, row in enumerate(mine.tolist()):
            asked = starts.setdefault((int(edit.starts[row]), bool(edit.alone[row])), {})
            asked.setdefault((int(places[at]), edit.key(row)), []).append(at)
        tokens, width = self.model.tokens(), trace.batch.ids.shape[1]
        for (layer, alone), asked in starts.items():
            groups = [np.array(group) for group in asked.values()]
            most = max(1, tokens // width * (TOGETHER if alone else 1))
            for start in range(0, len(groups), most):
                some = groups[start : start + most]
                firsts = np.array([group[0] for group in some])
                readers, which = members(some)
                prompts = torch.from_numpy(places[firsts]).to(self.model.device)
                place, seen = Place(trace, prompts, alone), {}
                hooks = edit.hooks(mine[firsts], place, measured)
                for at in {self.rows.neurons[row].layer for row in mine[readers]}:
                    # behind the change: what is read is what was changed
                    names = _names(self.model, at).values() if at >= layer else ()
                    hooks += [(name, keeper(seen, name, place.at_last)) for name in names]
                self.write(mine[readers], which, resume(self.model, place, layer, hooks), seen)

    def write(
        self, mine: np.ndarray, which: np.ndarray, final: Tensor, seen: Mapping[str, Tensor]
    ) -> None:
        """Write down some rows; `which` is where they stand in `final` and in what was `seen`."""
        at = torch.from_numpy(which).to(self.model.device)
        tokens = torch.tensor([int(self.rows.token_ids[row]) for row in mine], device=at.device)
        self.found.logp[mine] = log_probabilities(self.model, final, at, tokens).cpu().numpy()
        self.found.p[mine] = np.exp(self.found.logp[mine])
        layer, index, sign = np.array([self.rows.neurons[row] for row in mine]).T
        for one in np.unique(layer).tolist():
            here = np.flatnonzero(layer == one)
            unit = at[here], torch.from_numpy(index[here]).to(at.device)
            for column, name in _names(self.model, one).items():
                if name in seen:
                    values = seen[name][unit].double().cpu().numpy()
                    getattr(self.found, column)[mine[here]] = sign[here] * values


def _names(model: Model, layer: int) -> dict[str, str]:
    """The columns that are read from a layer's MLP, with their hook names."""
    inputs = zip(("pre", "up"), inputs_of(model, layer).values(), strict=False)
    return {**dict(inputs), "act": Site.POST.format(layer)}


def before_after(table: pd.DataFrame, edited: Edited) -> pd.DataFrame:
    """Return a table of the rows measured once for every kind of change: with `kind` and what was
    there before and after it: `p`, `logp`, `pre`, `act` and, of gated neurons, `up`."""
    tables = []
    for kind, after in edited.after.items():
        columns = {
            f"{name}_{when}": column
            for when, measured in (("before", edited.before), ("after", after))
            for name, column in measured._asdict().items()
            if column is not None
        }
        tables.append(table.assign(kind=kind, **columns))
    return pd.concat(tables, ignore_index=True)


def with_falls(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with how far everything fell (before less after, step 7 of the method):
    `fall` of p, `log_fall`, `pre_fall`, `act_fall`."""
    columns = {"fall": "p", "log_fall": "logp", "pre_fall": "pre", "act_fall": "act"}
    falls = {
        fall: table[f"{name}_before"].astype(float) - table[f"{name}_after"].astype(float)
        for fall, name in columns.items()
    }
    return table.assign(**falls)


def of_group(table: pd.DataFrame, neurons: pd.DataFrame, group: str) -> pd.DataFrame:
    """Return the rows of a table that belong to a group of neurons; a neuron may be in two.
    `neurons` is `follow_rates`, one row a neuron, by name."""
    mine = neurons.selected.eq(True) if group == "selected" else neurons.group.eq(group)
    return table[table.neuron.isin(neurons.index[mine])]


def followed_first(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs that make a good example, the best first: by the `gap` (how much more the
    neuron owes to the head on active prompts) times the share of active prompts that the token
    follows, those with three such or more first. `rows` has a row a prompt of a pair.
    """
    active = rows[rows.active.astype(bool)].groupby(["neuron", "head"], sort=True)
    facts = active.agg(followed=("follows", "sum"), share=("follows", "mean"), gap=("gap", "first"))
    facts["order"] = -(facts["share"] * facts.gap).astype(float)
    facts["few"] = facts.followed < 3
    facts = facts[facts.followed > 0]
    return facts.sort_values(["few", "order"], kind="stable").index.tolist()
