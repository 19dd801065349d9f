"""What a neuron and its token lose without a head, or a token without a neuron (chapters 9 to 11).

Kinds of head ablation: `zero`, the paper's, takes the head's output away at every position;
`mean` puts its average output at every position but the BOS; `resample` puts, at the last token,
what the head put out at the last token of another prompt. The direct path takes the head's output
at the last token away from one neuron's input alone, so that this neuron changes and, through it,
what follows: with the norm's scale as it was (`direct_frozen`) or as it becomes
(`direct_recomputed`). `through_neuron` gives the neuron, at the last token and while all else is as
it was, the activation that it has under `zero`: what the token then loses, it loses through this
neuron, by whatever ways the head's absence reached it.

Kinds of neuron ablation: `zero` and `mean` hold the neuron at 0 or at its average at every position
but the BOS; `on` sets it at the last token alone.

The paper zeroes value vectors. Value biases are folded into the output bias here, as they are in
the authors' processed model, so zeroing a value vector at every position is zeroing what attention
makes of it (`hook_z`); the folded bias stays, as it does in theirs. In grouped-query attention
heads share value vectors, and only the one head's output is zeroed.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import einsum, reduce
from jaxtyping import Float, Int
from torch import Tensor

from lookups.measure.activation import keeper, own_at_last
from lookups.measure.intervention import Column, Edit, Edited, Rows, in_place_of, measure_edits
from lookups.model.batches import Ids, batches_by_length
from lookups.model.loaded import Model
from lookups.model.resume import Hook, Place
from lookups.names import Head, Neuron

HeadKind = Literal[
    "zero", "mean", "resample", "direct_frozen", "direct_recomputed", "through_neuron"
]
HEAD_KINDS: tuple[HeadKind, ...] = get_args(HeadKind)

NeuronKind = Literal["zero", "mean", "on"]


class Means(NamedTuple):
    """What the heads or the neurons of some layers put out on average, in the model's dtype."""

    layers: list[int]
    """The layers of the layer axis."""
    values: Float[Tensor, "layer unit ..."]
    """Heads' outputs before W_O, without value bias; neurons' activations, signs not turned."""
    tokens: int
    """How many tokens were averaged over."""

    def of(self, units: Sequence[Head] | Sequence[Neuron]) -> Tensor:
        """Return the averages of some heads or neurons.

        Raises:
            ValueError: no averages of a layer were measured.
        """
        if absent := [unit.layer for unit in units if unit.layer not in self.layers]:
            raise ValueError(f"no means of layer {absent[0]} were measured, only of {self.layers}")
        layers = [self.layers.index(unit.layer) for unit in units]
        return self.values[layers, [unit.index for unit in units]]


def mean_over_tokens(
    model: Model,
    sequences: Sequence[Ids],
    layers: Sequence[int],
    *,
    of: Literal["heads", "neurons"],
    tokens_per_batch: int | None = None,
) -> Means:
    """Return what heads or neurons of some layers put out on average over all tokens but the BOS.

    Give training texts, so that nothing of a held-out prompt goes into what it is compared with.

    Raises:
        ValueError: there is no token to average over.
    """
    lengths = [len(ids) for ids in sequences]
    if not sum(lengths):
        raise ValueError("no token to average over; give texts that have some")
    hook = {"heads": "attn.hook_z", "neurons": "mlp.hook_post"}[of]
    totals: dict[int, Tensor | int] = dict.fromkeys(layers, 0)
    for some in batches_by_length(lengths, tokens=model.tokens(tokens_per_batch)):
        batch = model.batch([sequences[i] for i in some])
        counted = batch.mask.clone()
        counted[:, 0] = False

        def summed(tensor: Tensor, counted: Tensor = counted) -> Tensor:
            return reduce(tensor[counted].double(), "token ... -> ...", "sum")

        sums: dict[int, Tensor] = {}
        model.read(batch, {f"blocks.{at}.{hook}": keeper(sums, at, summed) for at in layers})
        totals = {at: totals[at] + sums[at] for at in layers}
    means = torch.stack([totals[at] / sum(lengths) for at in layers]).to(model.dtype)
    return Means(list(layers), means, sum(lengths))


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
    if len(heads) != len(prompts):
        raise ValueError(f"every row has a head, but there are {len(heads)} for {len(prompts)}")
    strange = [str(h) for h in heads if h.layer >= model.n_layers or h.index >= model.n_heads]
    if strange:
        raise ValueError(f"{model.name} has no head {strange[0]}")
    same = np.zeros(len(heads), dtype=np.int64)
    edits: dict[str, Edit] = {}
    for kind in kinds:
        if kind == "zero":
            nothing = torch.zeros(len(heads), model.d_head, dtype=model.dtype, device=model.device)
            edits[kind] = in_place_of(model, "attn.hook_z", heads, nothing, "everywhere", same)
        elif kind == "mean":
            mean = _known(means).of(heads)
            edits[kind] = in_place_of(model, "attn.hook_z", heads, mean, "behind_bos", same)
        elif kind == "resample":
            if donors is None or len(donors) != len(heads):
                raise ValueError("resampling needs a lending row for every row; see other_rows")
            lenders = [prompts[donor] for donor in donors]
            lent = own_at_last(
                model, "attn.hook_z", heads, lenders, tokens_per_batch=tokens_per_batch
            )
            edits[kind] = in_place_of(model, "attn.hook_z", heads, lent, "last", donors)
        elif kind == "through_neuron":
            if "zero" not in edits:
                raise ValueError("through_neuron takes activations from zero; name zero before it")
            edits[kind] = _through_neuron(model, neurons)
        else:
            edits[kind] = _direct_path(model, neurons, heads, frozen=kind == "direct_frozen")
    rows = Rows(prompts, neurons, token_ids)
    return measure_edits(model, rows, edits, tokens_per_batch=tokens_per_batch)


def ablate_neurons(
    model: Model,
    prompts: Sequence[Ids],
    neurons: Sequence[Neuron],
    token_ids: Sequence[int],
    kinds: Sequence[NeuronKind],
    *,
    means: Means | None = None,
    on: Sequence[float] | Float[np.ndarray, " row"] | None = None,
    tokens_per_batch: int | None = None,
) -> Edited:
    """Measure every row's token as it is and with the row's neuron held at a value.

    `means` is for `mean`; `on` has the activation, times the neuron's sign, that `on` sets. The
    activation measured afterwards is the value that was set; the pre-activation stays as it was,
    since what a neuron writes reaches later layers only. Given several tokens, write a row for
    each: rows that change a neuron of a prompt in the same way share one pass.

    Raises:
        ValueError: columns differ in length, or means or activations are missing.
    """
    edits: dict[str, Edit] = {}
    for kind in kinds:
        if kind == "mean":
            values = _known(means).of(neurons)
        else:
            signed = _signed(neurons, on) if kind == "on" else [0.0] * len(neurons)
            values = torch.tensor(signed, dtype=model.dtype, device=model.device)
        where, keys = "last" if kind == "on" else "behind_bos", values.double().cpu().numpy()
        edits[kind] = in_place_of(model, "mlp.hook_post", neurons, values, where, keys)
    rows = Rows(prompts, neurons, token_ids)
    return measure_edits(model, rows, edits, tokens_per_batch=tokens_per_batch)


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


def nearest_in_size(
    sizes: Float[np.ndarray, " neuron"],
    own: int,
    *,
    factor: float,
    barred: Collection[int] = (),
) -> int | None:
    """Return the neuron whose size is nearest to that of `own` in ratio, None if none is within.

    It makes a fair control: since every chosen size lies within `factor` of its partner's, so do
    the medians of both.
    """
    if not sizes[own] > 0:
        return None
    away = np.full(len(sizes), np.inf)
    positive = sizes > 0
    away[positive] = np.abs(np.log(sizes[positive] / sizes[own]))
    away[[own, *barred]] = np.inf
    nearest = int(away.argmin())
    return nearest if away[nearest] <= np.log(factor) else None


def _known(means: Means | None) -> Means:
    if means is None:
        raise ValueError("mean ablation needs means; measure them with mean_over_tokens")
    return means


def _signed(neurons: Sequence[Neuron], on: Sequence[float] | np.ndarray | None) -> list[float]:
    """The activations to switch neurons on with, their signs turned back."""
    if on is None or len(on) != len(neurons):
        raise ValueError("switching on needs an activation for every row; give `on`")
    return [neuron.sign * float(value) for neuron, value in zip(neurons, on, strict=True)]


def _through_neuron(model: Model, neurons: Sequence[Neuron]) -> Edit:
    """Give each row's neuron, at the last token, the activation that it has under `zero`."""
    signs = np.array([neuron.sign for neuron in neurons])

    def given(activations: Mapping[str, Column]) -> Edit:
        found = signs * activations["zero"]
        values = torch.from_numpy(found).to(model.device, model.dtype)
        return in_place_of(model, "mlp.hook_post", neurons, values, "last", found)

    return given({"zero": np.full(len(neurons), np.nan)})._replace(given=given)


def _direct_path(
    model: Model, neurons: Sequence[Neuron], heads: Sequence[Head], *, frozen: bool
) -> Edit:
    """Take a head's output away from one neuron's input, at the last token, and from nothing else.

    The MLP reads its input without the head; then every neuron but the row's own is put back.
    """
    for neuron, head in zip(neurons, heads, strict=True):
        if head.layer not in model.head_layers(neuron.layer):
            raise ValueError(f"{head} does not feed {neuron}: it has no direct path to it")

    def hooks(rows: np.ndarray, place: Place) -> list[tuple[str, Hook]]:
        block = f"blocks.{neurons[rows[0]].layer}"
        own = [neurons[row].index for row in rows]
        written = _written(model, [heads[row] for row in rows], place).unsqueeze(1)
        usual = place.trace.at_last[f"{block}.mlp.hook_post"][place.prompts]
        scale: dict[str, Tensor] = {}

        def lessen(tensor: Tensor) -> Tensor:
            # the norm's gain is folded away, and what heads write has no mean for it to remove
            return tensor - (written / scale["scale"] if frozen else written)

        def put_back(tensor: Tensor) -> Tensor:
            changed = usual.clone()
            changed[place.rows, own] = tensor[place.rows, 0, own]
            return changed.unsqueeze(1)

        lessened = f"{block}.mlp.hook_in" if frozen else f"{block}.ln2.hook_in"
        changes = [(lessened, lessen), (f"{block}.mlp.hook_post", put_back)]
        return [(f"{block}.ln2.hook_scale", keeper(scale, "scale")), *changes]

    starts = np.array([neuron.layer for neuron in neurons])
    return Edit(
        starts,
        np.ones(len(neurons), dtype=bool),
        lambda row: (neurons[row][:2], heads[row]),
        hooks,
        watched=frozenset(f"blocks.{head.layer}.attn.hook_z" for head in heads),
    )


def _written(model: Model, heads: Sequence[Head], place: Place) -> Float[Tensor, "row d_model"]:
    """What each row's head writes to the residual stream at the last token."""
    written = torch.empty(len(heads), model.d_model, dtype=model.dtype, device=model.device)
    for layer in {head.layer for head in heads}:
        mine = [at for at, head in enumerate(heads) if head.layer == layer]
        index = [heads[at].index for at in mine]
        z = place.trace.at_last[f"blocks.{layer}.attn.hook_z"][place.prompts[mine], index]
        w_o = model.w_o(layer)[index]
        written[mine] = einsum(z, w_o, "row d_head, row d_head d_model -> row d_model")
    return written
