"""Go on from inside a forward pass, at a chosen layer (chapters 9 to 11).

One normal pass of some prompts is recorded: what enters the blocks, the arguments the blocks are
called with, keys and values. From there the model's own blocks run on, hooks and all, from the
first layer that a change can reach. Where the positions before the last stay as they were, only
the last is run, with the recorded keys and values of the others. TransformerLens's
`start_at_layer` runs the blocks before it as well, so it saves nothing. Nothing is measured here.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lookups.errors import ModelError
from lookups.model import Model
from lookups.sequences import Batch, Ids

Hook = Callable[[Tensor], Tensor | None]
"""Is handed the tensor at a hook name; returns what to put in its place, or None to only read."""


class _Enough(Exception):
    """Raised behind the last block, to spare the unembedding of every position."""


@dataclass(frozen=True)
class Trace:
    """One normal forward pass of some prompts."""

    batch: Batch
    entering: dict[int, Float[Tensor, "prompt pos d_model"]]
    """What enters the layers that were asked for, at every position."""
    entering_at_last: list[Float[Tensor, "prompt d_model"]]
    """What enters every layer, at the last token."""
    at_last: dict[str, Float[Tensor, "prompt ..."]]
    """What stood at the hook names that were asked for, at the last token."""
    final: Float[Tensor, "prompt d_model"]
    """What leaves the last layer, at the last token."""
    arguments: list[tuple[tuple, dict[str, Any]]]
    """What every block was called with beside the residual stream."""
    kept: list[tuple[Tensor, Tensor]]
    """The keys and values of every layer, positions rotated in: prompt × head × pos × d_head."""


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
    def columns(self) -> Int[Tensor, " row"]:
        """The column in which each row's last token stands in the tensors of the resumed pass."""
        return torch.zeros_like(self.last) if self.alone else self.last

    @property
    def positions(self) -> Int[Tensor, "row pos"]:
        """The position in its prompt, counted with the BOS, of every column of every row."""
        if self.alone:
            return rearrange(self.last, "row -> row 1")
        width = self.trace.batch.ids.shape[1]
        return torch.arange(width, device=self.prompts.device).expand(len(self.prompts), width)


@torch.no_grad()
def record(
    model: Model, sequences: Sequence[Ids], *, whole: Collection[int], watch: Iterable[str]
) -> Trace:
    """Run some prompts as the model runs them, and keep what is needed to go on from inside.

    `whole` are the layers from which all positions may be run again, `watch` the hook names whose
    tensors at the last token are kept.
    """
    from transformers import DynamicCache  # seconds to import

    batch = model.batch(sequences)
    rows = torch.arange(len(sequences), device=model.device)
    entering: dict[int, Tensor] = {}
    entering_at_last: list[Tensor] = []
    arguments: list[tuple[tuple, dict]] = []
    at_last: dict[str, Tensor] = {}

    def before(block: Any, args: tuple, kwargs: dict) -> None:
        if len(arguments) in whole:
            entering[len(arguments)] = args[0].clone()
        entering_at_last.append(args[0][rows, batch.last])
        arguments.append((args[1:], dict(kwargs)))

    def watcher(name: str) -> Hook:
        def take(tensor: Tensor) -> None:
            at_last[name] = tensor[rows, batch.last]

        return take

    def stop(tensor: Tensor) -> None:
        at_last["final"] = tensor[rows, batch.last]
        raise _Enough

    cache = DynamicCache()
    hooks = {name: watcher(name) for name in watch}
    hooks[f"blocks.{model.n_layers - 1}.hook_resid_post"] = stop
    handles = [
        block.register_forward_pre_hook(before, with_kwargs=True) for block in model.bridge.blocks
    ]
    try:
        with model.bridge.hooks(fwd_hooks=_as_bridge(hooks)):
            model.bridge(
                batch.ids,
                attention_mask=batch.mask.long(),
                past_key_values=cache,
                return_type=None,
                logits_to_keep=1,
            )
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    final = at_last.pop("final")
    kept = [(layer.keys, layer.values) for layer in cache.layers]
    if not len(kept) == len(arguments) == model.n_layers:
        raise ModelError(f"{model.name} keeps no keys and values; is it supported?")
    return Trace(batch, entering, entering_at_last, at_last, final, arguments, kept)


@torch.no_grad()
def resume(
    model: Model, place: Place, layer: int, hooks: Sequence[tuple[str, Hook]]
) -> Float[Tensor, "row d_model"]:
    """Run on from `layer`, hooks in their order, and return what leaves the last layer at the end.

    Every block gets the arguments that the recorded pass gave it, so masks and positions are right
    by construction.
    """
    trace = place.trace
    if place.alone:
        here = rearrange(trace.entering_at_last[layer][place.prompts], "row d -> row 1 d")
    else:
        here = trace.entering[layer][place.prompts]
    with model.bridge.hooks(fwd_hooks=_as_bridge(hooks)):
        for at in range(layer, model.n_layers):
            args, kwargs = trace.arguments[at]
            args = tuple(_fitted(value, place) for value in args)
            kwargs = {name: _fitted(value, place) for name, value in kwargs.items()}
            here = model.bridge.blocks[at](here, *args, **kwargs)
    return here[place.rows, place.columns]


@torch.no_grad()
def log_probabilities(
    model: Model,
    final: Float[Tensor, "run d_model"],
    runs: Int[Tensor, " row"],
    tokens: Int[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """Return each row's log-probability of its token, in float64, from what leaves the last layer.

    `runs` says which run a row reads. Only these positions are unembedded.
    """
    norm, unembed = model.bridge.ln_final, model.bridge.unembed
    logits = unembed(norm(rearrange(final, "run d -> run 1 d")))[:, 0].double()
    return logits[runs, tokens] - logits.logsumexp(1)[runs]


def _as_bridge(hooks: Any) -> list[tuple[str, Callable]]:
    """Give functions of a tensor the two arguments with which TransformerLens calls them."""

    def adapted(function: Hook) -> Callable:
        def call(tensor: Tensor, hook: Any) -> Tensor | None:
            return function(tensor)

        return call

    pairs = hooks.items() if isinstance(hooks, dict) else hooks
    return [(name, adapted(function)) for name, function in pairs]


def _fitted(value: Any, place: Place) -> Any:
    """Cut one argument of a recorded call to the rows and positions of a resumed pass."""
    from transformers import Cache

    if isinstance(value, Cache):
        return _Kept(place) if place.alone else None
    if isinstance(value, tuple):  # cosines and sines of rotary positions
        return tuple(_fitted(part, place) for part in value)
    if not isinstance(value, Tensor):
        return value
    each = value.expand(len(place.trace.batch.ids), *value.shape[1:])
    if not place.alone:
        return each[place.prompts]
    if value.ndim == 4:  # prompt × 1 × query × key: what each position may attend to
        return rearrange(each[place.prompts, :, place.last], "row one key -> row one 1 key")
    return each[place.prompts, place.last].unsqueeze(1)


class _Kept:
    """Stands where a block expects a cache: gives back recorded keys and values, the last's new."""

    def __init__(self, place: Place):
        self._place = place

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of all positions of every row."""
        place = self._place
        old = (kept[place.prompts] for kept in place.trace.kept[layer])
        old_keys, old_values = old  # copies, since they are picked by row
        old_keys[place.rows, :, place.last] = keys[:, :, 0]
        old_values[place.rows, :, place.last] = values[:, :, 0]
        return old_keys, old_values
