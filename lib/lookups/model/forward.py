"""The processed model's forward pass written out: the fastest ordinary one, open at every step.

TransformerLens computes attention a step at a time and runs hooks at some thirty places a layer.
What the chapters measure in bulk needs little of that, and here the same weights (views of the
bridge's, nothing is copied) run with fused attention and without gains and value biases, which are
folded away. Names of tensors are TransformerLens's. A reading stops behind the last tensor that is
wanted, and nothing is ever unembedded.

Padding belongs to the right: no token looks at what stands behind it, so none is masked.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]
"""Of one layer, positions rotated in: prompt × key/value head × pos × d_head."""

SHORT = 24
"""Tokens up to which prompts share the pass of their beginning-of-sequence token."""

_IN_A_LAYER = ("hook_resid_pre", "attn.hook_v", "attn.hook_pattern", "attn.hook_z", "ln2.hook_in",
               "ln2.hook_scale", "mlp.hook_in", "mlp.hook_pre", "mlp.hook_pre_linear",
               "mlp.hook_post", "hook_mlp_out")  # fmt: skip


class _Linear(NamedTuple):
    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Layer(NamedTuple):
    queries: _Linear
    keys: _Linear
    values: _Linear
    """Without a bias: it is folded into that of `mixes`."""
    mixes: _Linear
    """From all heads' outputs to what attention writes."""
    reads: tuple[_Linear, ...]
    """Of the MLP: one, or gate and up."""
    writes: _Linear
    scaling: float
    """What attention scores are multiplied by."""


class Context(NamedTuple):
    """What the layers of one pass have in common."""

    turn: tuple[Tensor, Tensor] | None
    """Cosines and sines of rotary positions: prompt or 1 × pos × 1 × half of what is turned."""
    mask: Bool[Tensor, "*prompt pos key"] | None
    """What each position may look at; None for all up to itself, with nothing in front."""


class Touch(dict[str, Callable[[Tensor], Tensor | None]]):
    """By name, what is shown a tensor while a pass runs; what it returns takes its place."""

    def __call__(self, name: str, tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return what to go on with: the tensor itself, or another."""
        changed = self[name](tensor) if name in self else None
        return tensor if changed is None else changed


class _Enough(Exception):
    """Raised behind the last tensor that is wanted, to spare the rest of the pass."""


def _reader(takes: Mapping[str, Callable[[Tensor], None]]) -> Touch:
    """Hand tensors to functions, each once, and stop the pass behind the last of them."""
    waiting = set(takes)

    def take(name: str, tensor: Tensor) -> None:
        takes[name](tensor)
        waiting.discard(name)
        if not waiting:
            raise _Enough

    return Touch({name: partial(take, name) for name in takes})


_NOTHING = Touch()


class Forward:
    """The layers of a processed model."""

    def __init__(self, bridge: Any, act: Callable[[Tensor], Tensor], *, parallel: bool):
        """Take a bridge's weights; the MLP of a `parallel` layer reads what its attention reads."""
        whole = bridge.original_model
        config, inner = whole.config, getattr(whole, whole.base_model_prefix)
        self._act = partial(F.silu, inplace=True) if act is F.silu else act
        self._parallel = parallel
        self._embed = bridge.W_E
        self._positions = bridge.W_pos if config.model_type == "gpt2" else None
        self._rotary = None
        if self._positions is None:
            self._rotary = inner.rotary_emb.original_component
        names = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
        self._eps = next(getattr(config, name) for name in names if hasattr(config, name))
        self._centred = not hasattr(config, "rms_norm_eps")
        self._d_head = bridge.cfg.d_head
        self.layers = [_layer_of(block) for block in bridge.blocks]
        self._of_bos: dict[int, list[KeysValues]] = {}

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that name here."""
        if not name.startswith("blocks."):
            return name == "hook_embed" or (name == "hook_pos_embed" and self._rotary is None)
        _, at, what = name.split(".", 2)
        gated = len(self.layers[0].reads) == 2
        there = what in _IN_A_LAYER and (gated or what != "mlp.hook_pre_linear")
        return there and int(at) < len(self.layers)

    @torch.no_grad()
    def read(self, ids: Int[Tensor, "prompt pos"], takes: Mapping[str, Callable]) -> None:
        """Hand each named tensor to its function, which must copy what it keeps, and stop."""
        with suppress(_Enough):
            self.run(ids, _reader(takes))

    @torch.no_grad()
    def read_last(
        self,
        ids: Int[Tensor, "prompt pos"],
        last: Int[Tensor, " prompt"],
        wanted: Collection[str],
        *,
        bos: int | None,
    ) -> dict[str, Float[Tensor, "prompt ..."]]:
        """Return what stands at each prompt's last token, by name.

        In the last layer that is wanted only that token is run. A beginning-of-sequence token in
        front of all of some short prompts is run once.
        """
        past, rows = None, torch.arange(len(ids), device=ids.device)
        if bos is not None and 1 < ids.shape[1] <= SHORT:
            ids, last, past = ids[:, 1:], last - 1, self._after(bos)
        found: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor) -> None:
            here = last if tensor.shape[1] == ids.shape[1] else 0
            found[name] = tensor[rows if len(tensor) == len(ids) else 0, here].clone()

        reader = _reader({name: partial(keep, name) for name in wanted})
        deepest = max((int(n.split(".")[1]) for n in wanted if n.startswith("blocks.")), default=-1)
        with suppress(_Enough):
            self.run(ids, reader, past=past, last=last, last_in=deepest)
        return found

    @torch.no_grad()
    def run(
        self,
        ids: Int[Tensor, "prompt pos"],
        touch: Touch,
        *,
        past: Sequence[KeysValues] | None = None,
        last: Int[Tensor, " prompt"] | None = None,
        last_in: int = -1,
        keep: Callable[[KeysValues], None] = lambda kept: None,
    ) -> Float[Tensor, "prompt left d_model"]:
        """Run all layers and return what leaves the last; `last` alone goes through `last_in`."""
        start = 0 if past is None else past[0][0].shape[2]
        place = torch.arange(start, start + ids.shape[1], device=ids.device).unsqueeze(0)
        x = touch("hook_embed", F.embedding(ids, self._embed))
        if self._positions is not None:
            x = x + touch("hook_pos_embed", self._positions[place])
        context = Context(self.turn_at(place, x), None)
        if past is not None and ids.shape[1] > 1:
            size = ids.shape[1], start + ids.shape[1]
            context = context._replace(mask=ids.new_ones(size, dtype=torch.bool).tril(start))
        for at in range(len(self.layers)):
            before, only = past and past[at], last if at == last_in else None
            x = self.layer(at, x, context, touch, past=before, last=only, keep=keep)
        return x

    def layer(
        self,
        at: int,
        x: Float[Tensor, "prompt pos d_model"],
        context: Context,
        touch: Touch = _NOTHING,
        *,
        past: KeysValues | None = None,
        last: Int[Tensor, " prompt"] | None = None,
        keep: Callable[[KeysValues], None] = lambda kept: None,
    ) -> Float[Tensor, "prompt left d_model"]:
        """Run one layer on `x`, which it changes in place, and return what leaves it.

        `past` are keys and values in front of those of `x`. `last` are the columns of each prompt's
        last token: given, only that token goes on. `keep` is handed the keys and values of `x`.
        """
        own, block, mask, turn = self.layers[at], f"blocks.{at}.", context.mask, context.turn
        normed, _ = self._norm(touch(block + "hook_resid_pre", x))
        keys = _turned(self._heads(own.keys(normed)), turn).transpose(1, 2)
        values = touch(block + "attn.hook_v", self._heads(own.values(normed))).transpose(1, 2)
        keep((keys, values))
        if past is not None:
            before = (part.expand(len(x), -1, -1, -1) for part in past)
            keys, values = (
                torch.cat(both, dim=2) for both in zip(before, (keys, values), strict=True)
            )
        if last is not None:
            rows = torch.arange(len(x), device=x.device)
            n_past = keys.shape[2] - x.shape[1]
            column = torch.arange(keys.shape[2], device=x.device)
            mask = rearrange(column <= (last + n_past)[:, None], "row key -> row 1 1 key")
            x, normed = x[rows, last].unsqueeze(1), normed[rows, last].unsqueeze(1)
            if turn is not None:
                turn = tuple(part.expand(len(x), -1, -1, -1)[rows, last].unsqueeze(1)
                             for part in turn)  # fmt: skip
        queries = _turned(self._heads(own.queries(normed)), turn).transpose(1, 2)
        if block + "attn.hook_pattern" in touch:
            touch(block + "attn.hook_pattern", _pattern(queries, keys, own.scaling, mask))
        group = queries.shape[1] // keys.shape[1]
        if group > 1 and x.is_cuda:  # fused kernels for float32 know no groups there
            keys, values = (part.repeat_interleave(group, dim=1) for part in (keys, values))
        z = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None and x.shape[1] > 1,
            scale=own.scaling, enable_gqa=queries.shape[1] != keys.shape[1],
        )  # fmt: skip
        z = touch(block + "attn.hook_z", z.transpose(1, 2))
        mixed = own.mixes(z.flatten(2))
        if not self._parallel:
            x.add_(mixed)
        x.add_(self.mlp(at, x, touch))
        return x.add_(mixed) if self._parallel else x

    def mlp(
        self,
        at: int,
        entering: Float[Tensor, "*stream d_model"],
        touch: Touch = _NOTHING,
    ) -> Float[Tensor, "*stream d_model"]:
        """Return what a layer's MLP writes when it reads this, norm included."""
        own, block = self.layers[at], f"blocks.{at}."
        normed, scale = self._norm(touch(block + "ln2.hook_in", entering))
        touch(block + "ln2.hook_scale", scale)
        normed = touch(block + "mlp.hook_in", normed)
        post = self._act(touch(block + "mlp.hook_pre", own.reads[0](normed)))
        if len(own.reads) == 2:
            post.mul_(touch(block + "mlp.hook_pre_linear", own.reads[1](normed)))
        return touch(block + "hook_mlp_out", own.writes(touch(block + "mlp.hook_post", post)))

    def normed(self, stream: Float[Tensor, "*stream d_model"]) -> Float[Tensor, "*stream d_model"]:
        """Return what a norm makes of this; without gains, all norms are one."""
        return self._norm(stream)[0]

    def turn_at(
        self, place: Int[Tensor, "prompt pos"], like: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return cosines and sines of rotary positions, one for each pair of dimensions turned."""
        if self._rotary is None:
            return None
        both = self._rotary(like, place)
        return tuple(part[..., : part.shape[-1] // 2].unsqueeze(2) for part in both)

    def _after(self, bos: int) -> list[KeysValues]:
        """Keys and values of a beginning-of-sequence token that stands alone, of every layer."""
        if bos not in self._of_bos:
            found: list[KeysValues] = []
            self.run(torch.tensor([[bos]], device=self._embed.device), _NOTHING, keep=found.append)
            self._of_bos[bos] = found
        return self._of_bos[bos]

    def _heads(self, flat: Tensor) -> Float[Tensor, "prompt pos head d_head"]:
        return flat.unflatten(-1, (-1, self._d_head))

    def _norm(
        self, x: Float[Tensor, "*stream d_model"]
    ) -> tuple[Tensor, Float[Tensor, "*stream 1"]]:
        """Divide by the norm's scale, after taking off the mean where it does so; and the scale."""
        if self._centred:
            normed, _, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, self._eps)
            return normed, inverse.reciprocal()
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(self._eps).sqrt_()
        return x * scale.reciprocal(), scale


def _layer_of(block: Any) -> _Layer:
    attention, mlp = block.attn, block.mlp
    parts = [
        _Linear(
            rearrange(getattr(attention, f"W_{part}"), "head d d_head -> (head d_head) d"),
            None if part == "V" or (bias := _bias(attention, f"b_{part}")) is None
            else bias.flatten(),
        )
        for part in "QKV"
    ]  # fmt: skip
    w_o = rearrange(attention.W_O, "head d_head d -> d (head d_head)")
    gated = hasattr(mlp, "gate")
    reads = [(mlp.W_gate, "b_gate")] if gated else []
    reads.append((mlp.W_in, "b_in"))
    return _Layer(
        *parts,
        _Linear(w_o, _bias(attention, "b_O")),
        tuple(_Linear(weight.T, _bias(mlp, name)) for weight, name in reads),
        _Linear(mlp.W_out.T, _bias(mlp, "b_out")),
        attention.original_component.scaling,
    )


def _bias(module: Any, name: str) -> Tensor | None:
    return getattr(module, name, None)


def _pattern(
    queries: Tensor, keys: Tensor, scaling: float, mask: Tensor | None
) -> Float[Tensor, "prompt head query key"]:
    """Return how much each position attends to each: what fused attention does not show."""
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    scores = scaling * queries @ keys.transpose(2, 3)
    if mask is None:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


def _turned(heads: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
    """Rotate each pair of dimensions (d, d + half) by its position's angle, in place."""
    if turn is None:
        return heads
    cos, sin = turn
    half = cos.shape[-1]
    first, second = heads[..., :half], heads[..., half : 2 * half]
    was = first.clone()
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).addcmul_(was, sin)
    return heads
