"""What becomes of a neuron and its token when something in the pass is changed (chapters on
ablation).

A row is a prompt with a neuron and a token; everything is read at the prompt's last token, after
exactly one BOS. The unchanged pass runs once a distinct prompt; changed passes resume at the first
layer that the change reaches, many at once, and rows that ask the same of a prompt share one.
What is changed, and how, is said by an edit: see `head_ablation` and `neuron_ablation`.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.model.resume import Hook, Place, Trace, log_probabilities, record, resume
from lookups.names import Neuron

Column = Float[np.ndarray, " row"]

TOGETHER = 4
"""Batches of prompts that are recorded together, so that many of their changed passes resume at one
layer; and passes of one token in place of one of a whole prompt."""


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


class Cases(NamedTuple):
    """The rows: prompts as ids without a BOS, each with a neuron and a token."""

    prompts: Sequence[Ids]
    neurons: Sequence[Neuron]
    token_ids: Sequence[int]


class Edit(ABC):
    """One kind of change, spelt out for every row."""

    @property
    @abstractmethod
    def starts(self) -> Int[np.ndarray, " row"]:
        """The first layer that is to be run again."""

    @property
    @abstractmethod
    def alone(self) -> np.ndarray:
        """Whether nothing before the last token can change what is measured there."""

    @property
    @abstractmethod
    def watched(self) -> set[str]:
        """Hook names whose unchanged tensors the change needs."""

    @abstractmethod
    def key(self, row: int) -> Hashable:
        """What is asked of the row's prompt: rows with equal keys share a pass."""

    @abstractmethod
    def hooks(self, rows: Int[np.ndarray, " row"], place: Place) -> list[tuple[str, Hook]]:
        """The change, for one row a pass, all with the same start."""

    def given(self, activations: Mapping[str, Column]) -> "Edit":
        """Return the change to make, where it depends on the activations under earlier edits."""
        return self


def measure_edits(
    model: Model, cases: Cases, edits: Mapping[str, Edit], *, tokens_per_batch: int | None = None
) -> Edited:
    """Measure every row as it is and under every edit, edits in their order.

    Raises:
        ValueError: the columns have unequal lengths, or a token is not one of the model's.
    """
    _check(model, cases)
    layers = sorted({neuron.layer for neuron in cases.neurons})
    watch = {name for layer in layers for name in _names(model, layer).values()}
    watch |= {name for edit in edits.values() for name in edit.watched}
    whole = {int(s) for edit in edits.values() for s in edit.starts[~edit.alone]}
    before = _Sheet(model, cases)
    after = {kind: _Sheet(model, cases) for kind in edits}
    prompts, prompt_of = _distinct(cases.prompts)
    order = np.argsort(prompt_of, kind="stable")
    bounds = np.searchsorted(prompt_of[order], np.arange(len(prompts) + 1))
    tokens = model.tokens(tokens_per_batch)
    for some in batches_by_length([len(ids) for ids in prompts], tokens=TOGETHER * tokens):
        trace = record(model, [prompts[i] for i in some], whole=whole, watch=watch)
        rows = np.concatenate([order[bounds[i] : bounds[i + 1]] for i in some])
        places = np.repeat(np.arange(len(some)), bounds[some + 1] - bounds[some])
        before.write(rows, trace.final, places, trace.at_last)
        for kind, edit in edits.items():
            after[kind].copy(rows, before)
            change = edit.given({name: sheet.columns["act"] for name, sheet in after.items()})
            for one in _passes(change, rows, places, trace, tokens):
                _run(model, change, one, trace, after[kind])
    return Edited(before.done(), {kind: sheet.done() for kind, sheet in after.items()})


class _Pass(NamedTuple):
    """Rows that are run together: they resume at one layer."""

    layer: int
    alone: bool
    firsts: Int[np.ndarray, " pass"]
    """One row for each pass."""
    places: Int[np.ndarray, " pass"]
    """Its prompt in the trace."""
    rows: Int[np.ndarray, " row"]
    """All rows that read one of the passes."""
    which: Int[np.ndarray, " row"]
    """Which of them."""


def _passes(
    edit: Edit, rows: np.ndarray, places: np.ndarray, trace: Trace, tokens: int
) -> Iterator[_Pass]:
    """Group rows by what they have in common, at most `tokens` padded tokens at a time."""
    groups: dict[tuple[int, bool], dict[Hashable, list[int]]] = {}
    for at, row in enumerate(rows):
        group = groups.setdefault((int(edit.starts[row]), bool(edit.alone[row])), {})
        group.setdefault((int(places[at]), edit.key(int(row))), []).append(at)
    for (layer, alone), group in groups.items():
        shared = list(group.values())
        most = max(1, tokens // trace.batch.ids.shape[1] * (TOGETHER if alone else 1))
        for start in range(0, len(shared), most):
            chunk = shared[start : start + most]
            firsts = np.array([members[0] for members in chunk])
            readers = np.concatenate([np.array(members) for members in chunk])
            which = np.repeat(np.arange(len(chunk)), [len(members) for members in chunk])
            yield _Pass(layer, alone, rows[firsts], places[firsts], rows[readers], which)


def _run(model: Model, edit: Edit, one: _Pass, trace: Trace, sheet: "_Sheet") -> None:
    """Run some passes with their change, and write down what their rows read."""
    place = Place(trace, torch.from_numpy(one.places).to(model.device), one.alone)
    seen: dict[str, Tensor] = {}

    def reader(name: str) -> Hook:
        def take(tensor: Tensor) -> None:
            seen[name] = place.at_last(tensor)

        return take

    layers = {sheet.cases.neurons[row].layer for row in one.rows}
    reached = [layer for layer in layers if layer >= one.layer]
    hooks = edit.hooks(one.firsts, place)  # first, so that what is read is what was changed
    hooks += [(name, reader(name)) for at in reached for name in _names(model, at).values()]
    final = resume(model, place, one.layer, hooks)
    sheet.write(one.rows, final, one.which, seen)


class _Sheet:
    """Measurements of all rows, filled in as they come."""

    def __init__(self, model: Model, cases: Cases):
        self.model, self.cases = model, cases
        columns = ("logp", "pre", "up", "act") if model.gated else ("logp", "pre", "act")
        self.columns = {name: np.full(len(cases.prompts), np.nan) for name in columns}

    def write(
        self, rows: np.ndarray, final: Tensor, which: np.ndarray, seen: Mapping[str, Tensor]
    ) -> None:
        """Write down some rows; `which` says where in `final` and in `seen` a row stands."""
        at = torch.from_numpy(which).to(self.model.device)
        tokens = torch.tensor([int(self.cases.token_ids[row]) for row in rows])
        logp = log_probabilities(self.model, final, at, tokens.to(self.model.device))
        self.columns["logp"][rows] = logp.cpu().numpy()
        layer_of = np.array([self.cases.neurons[row].layer for row in rows])
        for layer in np.unique(layer_of):
            mine = np.flatnonzero(layer_of == layer)
            neurons = [self.cases.neurons[row] for row in rows[mine]]
            index = torch.tensor([neuron.index for neuron in neurons], device=self.model.device)
            signs = np.array([neuron.sign for neuron in neurons])
            for column, name in _names(self.model, int(layer)).items():
                if name in seen:  # what was not reached has not changed
                    found = seen[name][at[mine], index].double().cpu().numpy()
                    self.columns[column][rows[mine]] = signs * found

    def copy(self, rows: np.ndarray, other: "_Sheet") -> None:
        """Take over some rows as they stand on another sheet."""
        for name, column in self.columns.items():
            column[rows] = other.columns[name][rows]

    def done(self) -> Measured:
        """Return the columns."""
        found = self.columns
        return Measured(
            np.exp(found["logp"]), found["logp"], found["pre"], found.get("up"), found["act"]
        )


def _names(model: Model, layer: int) -> dict[str, str]:
    """The columns that are read from a layer's MLP, with TransformerLens's names."""
    names = {"pre": f"blocks.{layer}.mlp.hook_pre", "act": f"blocks.{layer}.mlp.hook_post"}
    if model.gated:
        names["up"] = f"blocks.{layer}.mlp.hook_pre_linear"
    return names


def _distinct(prompts: Sequence[Ids]) -> tuple[list[Ids], Int[np.ndarray, " row"]]:
    """Return every prompt once, and which of them each row has."""
    numbers: dict[bytes, int] = {}
    found, which = [], np.empty(len(prompts), dtype=np.int64)
    for row, ids in enumerate(prompts):
        number = numbers.setdefault(np.asarray(ids, np.int64).tobytes(), len(numbers))
        if number == len(found):
            found.append(ids)
        which[row] = number
    return found, which


def _check(model: Model, cases: Cases) -> None:
    lengths = [len(column) for column in cases]
    if len(set(lengths)) != 1:
        raise ValueError(f"a row has a prompt, a neuron and a token, but there are {lengths}")
    outside = [int(token) for token in cases.token_ids if not 0 <= token < model.d_vocab]
    if outside:
        raise ValueError(
            f"token {outside[0]} is not one of the {model.d_vocab} of {model.name}; use its own "
            "tokenizer"
        )
