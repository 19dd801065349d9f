"""Go on from inside a forward pass, at a chosen layer (chapters 9 to 12).

One normal pass of some prompts is recorded: what enters the layers, keys and values. From there the
layers run on from the first that a change can reach. Where the positions before the last stay as
they were, only the last is run, with the recorded keys and values of the others; through the last
layer it goes alone in any case.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lookups.model.batches import Batch, Ids
from lookups.model.forward import KeysValues, Touch
from lookups.model.loaded import Model

ENTERS = "blocks.{}.hook_resid_pre"

Hook = Callable[[Tensor], Tensor | None]
"""Is handed the tensor at a hook name; returns what to put in its place, or None to only read. What
it keeps it must copy."""


@dataclass(frozen=True)
class Trace:
    """One normal forward pass of some prompts."""

    batch: Batch
    entering: dict[str, Float[Tensor, "prompt pos d_model"]]
    """What `ENTERS` the layers that were asked for, at every position."""
    at_last: dict[str, Float[Tensor, "prompt ..."]]
    """What enters every layer, and stood at the hook names asked for, at the last token."""
    final: Float[Tensor, "prompt d_model"]
    """What leaves the last layer, at the last token."""
    kept: list[KeysValues]
    """The keys and values of every layer."""


@dataclass(frozen=True)
class Place:
    """Which prompts a resumed pass runs (one a row, with repeats), and where its tensors stand."""

    trace: Trace
    prompts: Int[Tensor, " row"]
    """Each row's prompt in the trace."""
    alone: bool
    """Whether only the last token of each prompt is run."""

    @property
    def rows(self) -> Int[Tensor, " row"]:
        """Row numbers, for indexing."""
        return torch.arange(len(self.prompts), device=self.prompts.device)

    @property
    def last(self) -> Int[Tensor, " row"]:
        """The position of each row's last token in its prompt, counted with the BOS."""
        return self.trace.batch.last[self.prompts]

    @property
    def positions(self) -> Int[Tensor, "row pos"]:
        """The position in its prompt, counted with the BOS, of every column of every row."""
        if self.alone:
            return self.last.unsqueeze(1)
        width = self.trace.batch.ids.shape[1]
        return torch.arange(width, device=self.prompts.device).expand(len(self.prompts), width)

    def at_last(self, tensor: Float[Tensor, "row pos ..."]) -> Float[Tensor, "row ..."]:
        """Copy each row's last token; where only one position is left, it is that."""
        return tensor[:, 0].clone() if tensor.shape[1] == 1 else tensor[self.rows, self.last]


@torch.no_grad()
def record(
    model: Model, sequences: Sequence[Ids], *, whole: Collection[int], watch: Iterable[str]
) -> Trace:
    """Run some prompts as the model runs them, and keep what is needed to go on from inside.

    `whole` are the layers from which all positions may be run again, `watch` the hook names whose
    tensors at the last token are kept.
    """
    batch = model.batch(sequences)
    rows = torch.arange(len(sequences), device=model.device)
    everywhere = set(map(ENTERS.format, whole))
    entering: dict[str, Tensor] = {}
    at_last: dict[str, Tensor] = {}
    kept: list[KeysValues] = []

    def keep(name: str, tensor: Tensor) -> None:
        at_last[name] = tensor[rows, batch.last]
        if name in everywhere:
            entering[name] = tensor.clone()

    names = {*watch, *map(ENTERS.format, range(model.n_layers))}
    seen = Touch({name: partial(keep, name) for name in names})
    out = model.forward.run(batch.ids, seen, keep=kept.append)
    return Trace(batch, entering, at_last, out[rows, batch.last], kept)


@torch.no_grad()
def resume(
    model: Model, place: Place, layer: int, hooks: Sequence[tuple[str, Hook]]
) -> Float[Tensor, "row d_model"]:
    """Run on from `layer`, hooks in their order, and return what leaves the last layer at the end.
    The hooks of the last layer are shown the last token alone."""
    trace, touch, mask = place.trace, Touch(), None
    for name, hook in hooks:
        touch[name] = partial(_after, touch.get(name), hook)
    if place.alone:
        x = trace.at_last[ENTERS.format(layer)][place.prompts].unsqueeze(1)
        every = torch.arange(trace.batch.ids.shape[1], device=x.device)
        mask = rearrange(every <= place.last.unsqueeze(1), "row key -> row 1 1 key")
    else:
        x = trace.entering[ENTERS.format(layer)][place.prompts]
    column = place.last if place.alone else None
    turn = model.forward.turn_at(place.positions if place.alone else place.positions[:1], x)
    for at in range(layer, model.n_layers):
        past = tuple(kept[place.prompts] for kept in trace.kept[at]) if place.alone else None
        only = place.last if at == model.n_layers - 1 and not place.alone else None
        x = model.forward.layer(at, x, turn, mask, touch, past=past, column=column, last=only)
    return place.at_last(x)


def _after(before: Hook | None, hook: Hook, tensor: Tensor) -> Tensor:
    """Show a tensor to one hook after another."""
    for one in filter(None, (before, hook)):
        changed = one(tensor)
        tensor = tensor if changed is None else changed
    return tensor


@torch.no_grad()
def log_probabilities(
    model: Model,
    final: Float[Tensor, "run d_model"],
    runs: Int[Tensor, " row"],
    tokens: Int[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """Return each row's log-probability of its token, in float64, from what leaves the last layer.
    `runs` says which run a row reads. Only these positions are unembedded."""
    norm, unembed = model.bridge.ln_final, model.bridge.unembed
    logits = unembed(norm(rearrange(final, "run d -> run 1 d")))[:, 0].double()
    return logits[runs, tokens] - logits.logsumexp(1)[runs]
