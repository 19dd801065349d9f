"""What a neuron and its token lose without a head, or without its direct path (chapters on
ablation).

Kinds of head ablation: `zero`, the paper's, takes the head's output away at every position;
`mean` puts its average output at every position but the BOS; `resample` puts, at the last token,
what the head put out at the last token of another prompt. The direct path takes the head's output
at the last token away from one neuron's input alone, so that this neuron changes and, through it,
what follows: with the norm's scale as it was (`direct_frozen`) or as it becomes
(`direct_recomputed`). `through_neuron` gives the neuron, at the last token and while all else is as
it was, the activation that it has under `zero`: what the token then loses, it loses through this
neuron, by whatever ways the head's absence reached it.

The paper zeroes value vectors. Value biases are folded into the output bias here, as they are in
the authors' processed model, so a value vector has no bias and zeroing it at every position is
zeroing what attention makes of it (`hook_z`); the folded bias stays, as it does in theirs. In
grouped-query attention heads share value vectors, and only the one head's output is zeroed.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure.intervention import Cases, Column, Edit, Edited, measure_edits
from lookups.measure.means import Means
from lookups.measure.substitution import Substitution
from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.model.resume import Hook, Place
from lookups.names import Head, Neuron

HeadKind = Literal[
    "zero", "mean", "resample", "direct_frozen", "direct_recomputed", "through_neuron"
]
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)


def ablate_heads(
    model: Model,
    prompts: Sequence[Ids],
    neurons: Sequence[Neuron],
    token_ids: Sequence[int],
    heads: Sequence[Head],
    kinds: Sequence[HeadKind],
    *,
    means: Means | None = None,
    donors: Int[np.ndarray, " row"] | None = None,
    tokens_per_batch: int | None = None,
) -> Edited:
    """Measure every row's neuron and token as they are and without the row's head.

    `means` is for `mean`; `donors`, for `resample`, is the row whose prompt lends each row the
    head's output (`other_rows`).

    Raises:
        ValueError: columns differ in length, a head is not the model's or (direct paths) does not
            feed its neuron, means or donors are missing, or `through_neuron` stands before `zero`.
    """
    cases = Cases(prompts, neurons, token_ids)
    if len(heads) != len(prompts):
        raise ValueError(f"every row has a head, but there are {len(heads)} for {len(prompts)}")
    strange = [str(h) for h in heads if h.layer >= model.n_layers or h.index >= model.n_heads]
    if strange:
        raise ValueError(f"{model.name} has no head {strange[0]}")
    edits: dict[str, Edit] = {}
    for kind in kinds:
        if kind == "zero":
            nothing = torch.zeros(len(heads), model.d_head, dtype=model.dtype, device=model.device)
            edits[kind] = _in_place_of(model, heads, nothing, "everywhere")
        elif kind == "mean":
            edits[kind] = _in_place_of(model, heads, _means_of(heads, means), "behind_bos")
        elif kind == "resample":
            lent = _lent(model, prompts, heads, donors, tokens_per_batch)
            edits[kind] = _in_place_of(model, heads, lent, "last", lenders=donors)
        elif kind == "through_neuron":
            if "zero" not in edits:
                raise ValueError("through_neuron takes activations from zero; name zero before it")
            edits[kind] = _through(model, neurons)
        else:
            edits[kind] = _DirectPath(model, neurons, heads, kind == "direct_frozen")
    return measure_edits(model, cases, edits, tokens_per_batch=tokens_per_batch)


def other_rows(groups: Sequence[Hashable], *, seed: int) -> Int[np.ndarray, " row"]:
    """Return for every row another row of its group: a random permutation without fixed points.

    All such permutations are equally likely, and every row lends exactly once.

    Raises:
        ValueError: a group has a single row, which has nobody to take from.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    lone = [group for group, rows in members.items() if len(rows) == 1]
    if lone:
        raise ValueError(f"{len(lone)} groups have a single row, the first {lone[0]}; leave it out")
    rng = np.random.default_rng(seed)
    other = np.empty(len(groups), dtype=np.int64)
    for rows in members.values():
        own = np.array(rows)
        mixed = rng.permutation(own)
        while (mixed == own).any():  # on average e times
            mixed = rng.permutation(own)
        other[own] = mixed
    return other


def _in_place_of(
    model: Model,
    heads: Sequence[Head],
    values: Float[Tensor, "row d_head"],
    where: Literal["everywhere", "behind_bos", "last"],
    *,
    lenders: np.ndarray | None = None,
) -> Substitution:
    """Put values in the place of what heads take from the positions they look at."""
    layers, indices = (np.array(column, dtype=np.int64) for column in zip(*heads, strict=True))
    keys = np.zeros(len(heads)) if lenders is None else lenders
    return Substitution("attn.hook_z", layers, indices, values, where, model.n_layers, keys)


def _means_of(heads: Sequence[Head], means: Means | None) -> Float[Tensor, "row d_head"]:
    if means is None:
        raise ValueError("mean ablation needs the heads' means; measure them with measure_means")
    layers = [means.of_layer(head.layer) for head in heads]
    return means.z[layers, [head.index for head in heads]]


def _lent(
    model: Model,
    prompts: Sequence[Ids],
    heads: Sequence[Head],
    donors: np.ndarray | None,
    tokens_per_batch: int | None,
) -> Float[Tensor, "row d_head"]:
    """Return what each row's head puts out at the last token of the lending row's prompt."""
    if donors is None or len(donors) != len(heads):
        raise ValueError("resampling needs a lending row for every row; draw them with other_rows")
    lent = torch.empty(len(heads), model.d_head, dtype=model.dtype, device=model.device)
    asking: dict[bytes, list[int]] = {}
    for row, donor in enumerate(donors):
        asking.setdefault(np.asarray(prompts[donor], np.int64).tobytes(), []).append(row)
    askers = list(asking.values())
    lenders = [prompts[donors[rows[0]]] for rows in askers]
    tokens = model.tokens(tokens_per_batch)
    for some in batches_by_length([len(ids) for ids in lenders], tokens=tokens):
        rows = np.concatenate([np.array(askers[i]) for i in some])
        places = np.repeat(np.arange(len(some)), [len(askers[i]) for i in some])
        layers = np.array([heads[row].layer for row in rows])
        names = {int(at): f"blocks.{at}.attn.hook_z" for at in np.unique(layers)}
        found = model.read_last([lenders[i] for i in some], names.values())
        for at, name in names.items():
            mine = np.flatnonzero(layers == at)
            lent[rows[mine]] = found[name][places[mine], [heads[row].index for row in rows[mine]]]
    return lent


@dataclass(frozen=True)
class _ThroughNeuron(Substitution):
    """Give each row's neuron, at the last token, the activation that it has under `zero`."""

    signs: Int[np.ndarray, " row"]

    def given(self, activations: Mapping[str, Column]) -> Substitution:
        found = self.signs * activations["zero"]
        values = torch.from_numpy(found).to(self.values.device, self.values.dtype)
        return replace(self, values=values, keys=found)


def _through(model: Model, neurons: Sequence[Neuron]) -> _ThroughNeuron:
    layers, indices, signs = (np.array(column) for column in zip(*neurons, strict=True))
    unknown = torch.full((len(neurons),), torch.nan, dtype=model.dtype, device=model.device)
    return _ThroughNeuron(
        "mlp.hook_post", layers, indices, unknown, "last", model.n_layers, signs, signs
    )


@dataclass(frozen=True)
class _DirectPath(Edit):
    """Take a head's output away from one neuron's input, at the last token, and from nothing else.

    The MLP reads its input without the head; then every neuron but the row's own is put back.
    """

    model: Model
    neurons: Sequence[Neuron]
    heads: Sequence[Head]
    frozen: bool

    def __post_init__(self) -> None:
        for neuron, head in zip(self.neurons, self.heads, strict=True):
            if head.layer not in self.model.head_layers(neuron.layer):
                raise ValueError(f"{head} does not feed {neuron}: it has no direct path to it")

    @property
    def starts(self) -> np.ndarray:
        return np.array([neuron.layer for neuron in self.neurons])

    @property
    def alone(self) -> np.ndarray:
        return np.ones(len(self.neurons), dtype=bool)

    @property
    def watched(self) -> set[str]:
        return {f"blocks.{head.layer}.attn.hook_z" for head in self.heads}

    def key(self, row: int) -> Hashable:
        return self.neurons[row][:2], self.heads[row]

    def hooks(self, rows: np.ndarray, place: Place) -> list[tuple[str, Hook]]:
        layer = self.neurons[rows[0]].layer
        own = [self.neurons[row].index for row in rows]
        written = self._written([self.heads[row] for row in rows], place).unsqueeze(1)
        usual = place.trace.at_last[f"blocks.{layer}.mlp.hook_post"][place.prompts]
        scale: list[Tensor] = []

        def keep_scale(tensor: Tensor) -> None:
            scale.append(tensor)

        def lessen_normed(tensor: Tensor) -> Tensor:
            # the norm's gain is folded away, and what heads write has no mean for it to remove
            return tensor - written / scale[-1]

        def lessen(tensor: Tensor) -> Tensor:
            return tensor - written

        def put_back(tensor: Tensor) -> Tensor:
            changed = usual.clone()
            changed[place.rows, own] = tensor[place.rows, 0, own]
            return changed.unsqueeze(1)

        block = f"blocks.{layer}"
        post = (f"{block}.mlp.hook_post", put_back)
        if self.frozen:
            return [(f"{block}.ln2.hook_scale", keep_scale), (f"{block}.mlp.hook_in",
                    lessen_normed), post]  # fmt: skip
        return [(f"{block}.ln2.hook_in", lessen), post]

    def _written(self, heads: Sequence[Head], place: Place) -> Float[Tensor, "row d_model"]:
        """What each row's head writes to the residual stream at the last token."""
        shape = len(heads), self.model.d_model
        written = torch.empty(shape, dtype=self.model.dtype, device=self.model.device)
        for layer in {head.layer for head in heads}:
            mine = [at for at, head in enumerate(heads) if head.layer == layer]
            index = [heads[at].index for at in mine]
            z = place.trace.at_last[f"blocks.{layer}.attn.hook_z"][place.prompts[mine], index]
            w_o = self.model.w_o(layer)[index]
            written[mine] = einsum(z, w_o, "row d_head, row d_head d_model -> row d_model")
        return written
