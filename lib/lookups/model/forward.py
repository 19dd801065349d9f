"""The processed model's forward pass written out: the fastest ordinary one, open at every step.

The weights of the TransformerLens bridge (views, nothing is copied) run with fused attention and
without gains and value biases, which are folded away. Names of tensors are TransformerLens's. A
reading stops behind the last tensor that is wanted, and nothing is ever unembedded.

Padding belongs to the right: no token looks at what stands behind it, so none is masked.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookups.errors import SourceError

KeysValues = tuple[Tensor, Tensor]
"""Of one layer, positions rotated in: prompt × key/value head × pos × d_head."""

Turn = tuple[Tensor, Tensor] | None
"""Cosines and sines of rotary positions: prompt or 1 × pos × 1 × half of what is turned."""

SHORT = 24
"""Tokens up to which prompts share the pass of their beginning-of-sequence token."""

LANES = 16
"""Keys are filled up to a multiple of so many, out of sight: a processor adds that many at once and
the rest singly, so the length of a text's padding would change its last bits."""


class _Linear(NamedTuple):
    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Layer(NamedTuple):
    queries: _Linear
    keys: _Linear
    values: _Linear  # without a bias: it is folded into that of `mixes`
    mixes: _Linear  # from all heads' outputs to what attention writes
    reads: tuple[_Linear, ...]  # of the MLP: one, or gate and up
    writes: _Linear
    scaling: float  # what attention scores are multiplied by
    query_gain: Float[Tensor, " d_head"] | None  # of the norm behind queries, if there is one
    key_gain: Float[Tensor, " d_head"] | None


class Touch(dict[str, Callable[[Tensor], Tensor | None]]):
    """By name, what is shown a tensor while a pass runs; what it returns takes its place."""

    def __call__(self, name: str, tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return what to go on with: the tensor itself, or another."""
        changed = self[name](tensor) if name in self else None
        return tensor if changed is None else changed


class _Enough(Exception):
    """Raised behind the last tensor that is wanted, to spare the rest of the pass."""


_NOTHING = Touch()


class Forward:
    """The layers of a processed model."""

    def __init__(self, bridge: Any, act: Callable[[Tensor], Tensor], *, parallel: bool):
        """Take a bridge's weights; the MLP of a `parallel` layer reads what its attention reads."""
        whole = bridge.original_model
        rotary = getattr(getattr(whole, whole.base_model_prefix), "rotary_emb", None)
        self._act = partial(F.silu, inplace=True) if act is F.silu else act
        self._parallel = parallel
        self._embed = bridge.W_E
        self._positions = bridge.W_pos if rotary is None else None
        self._rotary = None if rotary is None else rotary.original_component
        norm = bridge.blocks[0].ln2.original_component
        self._centred = not hasattr(norm, "variance_epsilon")  # as RMSNorms call it
        self._eps = norm.eps if self._centred else norm.variance_epsilon
        self._d_head = bridge.cfg.d_head
        self.layers = [_layer_of(block) for block in bridge.blocks]
        self._after = cache(self._run_bos)
        self.as_loaded = True

    @torch.no_grad()
    def read(
        self, ids: Int[Tensor, "prompt pos"], takes: Mapping[str, Callable], **how: Any
    ) -> None:
        """Hand each named tensor to its function, which must copy what it keeps, and stop.
        SourceError if there is no tensor of that name."""
        waiting = set(takes)

        def take(name: str, tensor: Tensor) -> None:
            takes[name](tensor)
            waiting.discard(name)
            if not waiting:
                raise _Enough

        with suppress(_Enough):
            self.run(ids, Touch({name: partial(take, name) for name in takes}), **how)
        if waiting:
            raise SourceError(f"the model has no {min(waiting)} to be read; see {__name__}")

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
        front of short prompts is run once. Which way a prompt is read follows from its own length.
        """
        short = (last > 0) & (last < SHORT) & (bos is not None)
        found: dict[str, Tensor] = {}
        for some, shared in ((short, bos), (~short, None)):
            if some.any():
                texts = ids[some, : int(last[some].max()) + 1]
                for name, own in self._read_alike(texts, last[some], wanted, shared).items():
                    whole = found.setdefault(name, own.new_empty(len(ids), *own.shape[1:]))
                    whole[some] = own
        return found

    def _read_alike(
        self, ids: Tensor, last: Tensor, wanted: Collection[str], shared: int | None
    ) -> dict[str, Tensor]:
        """Do as `read_last` says; the pass of a token in front of all may be `shared`."""
        past, rows = None, torch.arange(len(ids), device=ids.device)
        if shared is not None:
            ids, last, past = ids[:, 1:], last - 1, self._after(shared)
        found: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor) -> None:
            here = last if tensor.shape[1] == ids.shape[1] else 0
            found[name] = tensor[rows if len(tensor) == len(ids) else 0, here].clone()

        takes = {name: partial(keep, name) for name in wanted}
        deepest = max((int(n.split(".")[1]) for n in wanted if n.startswith("blocks.")), default=-1)
        self.read(ids, takes, past=past, last=last, last_in=deepest)
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
        """Run layers up to `last_in`, which `last` alone goes through; return what leaves it."""
        start = 0 if past is None else past[0][0].shape[2]
        place = torch.arange(start, start + ids.shape[1], device=ids.device).unsqueeze(0)
        x = touch("hook_embed", F.embedding(ids, self._embed))
        if self._positions is not None:
            x = x + touch("hook_pos_embed", self._positions[place])
        turn, mask = self.turn_at(place, x), None
        if past is not None:
            size = ids.shape[1], start + ids.shape[1]
            mask = ids.new_ones(size, dtype=torch.bool).tril(start)
        for at in range(len(self.layers)):
            before, only = past and past[at], last if at == last_in else None
            x = self.layer(at, x, turn, mask, touch, past=before, last=only, keep=keep)
            if at == last_in:
                break
        return x

    def layer(
        self,
        at: int,
        x: Float[Tensor, "prompt pos d_model"],
        turn: Turn,
        mask: Bool[Tensor, "*prompt pos key"] | None,
        touch: Touch,
        *,
        past: KeysValues | None = None,
        column: Int[Tensor, " prompt"] | None = None,
        last: Int[Tensor, " prompt"] | None = None,
        keep: Callable[[KeysValues], None] = lambda kept: None,
    ) -> Float[Tensor, "prompt left d_model"]:
        """Run one layer on `x`, which it changes in place, and return what leaves it.

        `mask` says what each position may look at; None for all up to itself. `past` are keys and
        values in front of those of `x`; or of all positions, into which those of `x`, a single one,
        are written at their `column`. `last` are the columns of each prompt's last token: given,
        only that token goes on. `keep` is handed the keys and values of `x`.
        """
        own, block = self.layers[at], f"blocks.{at}."
        normed = self.normed(touch(block + "hook_resid_pre", x))
        keys = turned(self.heads(own.keys(normed), own.key_gain), turn).transpose(1, 2)
        values = touch(block + "attn.hook_v", self.heads(own.values(normed))).transpose(1, 2)
        keep((keys, values))
        if past is not None and column is not None:
            rows = torch.arange(len(x), device=x.device)
            past[0][rows, :, column], past[1][rows, :, column] = keys[:, :, 0], values[:, :, 0]
            keys, values = past
        elif past is not None:
            first, second = (part.expand(len(x), -1, -1, -1) for part in past)
            keys, values = torch.cat([first, keys], dim=2), torch.cat([second, values], dim=2)
        if last is not None:
            rows, column = (torch.arange(n, device=x.device) for n in (len(x), keys.shape[2]))
            n_past = keys.shape[2] - x.shape[1]
            mask = rearrange(column <= (last + n_past)[:, None], "row key -> row 1 1 key")
            x, normed = x[rows, last].unsqueeze(1), normed[rows, last].unsqueeze(1)
            if turn is not None:
                every = (part.expand(len(x), -1, -1, -1) for part in turn)
                turn = tuple(part[rows, last].unsqueeze(1) for part in every)
        queries = turned(self.heads(own.queries(normed), own.query_gain), turn).transpose(1, 2)
        if block + "attn.hook_pattern" in touch:
            touch(block + "attn.hook_pattern", _pattern(queries, keys, own.scaling, mask))
        group, causal = queries.shape[1] // keys.shape[1], mask is None and x.shape[1] > 1
        if group > 1 and x.is_cuda:  # fused kernels for float32 know no groups there
            keys, values = (part.repeat_interleave(group, dim=1) for part in (keys, values))
        elif not x.is_cuda and (causal or mask is not None) and (more := -keys.shape[2] % LANES):
            keys, values = (F.pad(part, (0, 0, 0, more)) for part in (keys, values))
            mask = mask if mask is None else F.pad(mask, (0, more))
        z = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=causal,
            scale=own.scaling, enable_gqa=queries.shape[1] != keys.shape[1],
        )  # fmt: skip
        z = touch(block + "attn.hook_z", z.transpose(1, 2))
        mixed = own.mixes(z.flatten(2))
        if not self._parallel:
            x.add_(mixed)
        x.add_(self.mlp(at, x, touch))
        return x.add_(mixed) if self._parallel else x

    def mlp(
        self, at: int, entering: Float[Tensor, "*stream d_model"], touch: Touch = _NOTHING
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

    def centred(self, stream: Float[Tensor, "*stream d_model"]) -> Float[Tensor, "*stream d_model"]:
        """Return what a norm divides by its scale: an RMSNorm takes no mean off."""
        return stream - stream.mean(-1, keepdim=True) if self._centred else stream

    def turn_at(self, place: Int[Tensor, "prompt pos"], like: Tensor) -> Turn:
        """Return what keys and queries at some positions are turned by; None for GPT-2."""
        if self._rotary is None:
            return None
        return tuple(both.chunk(2, dim=-1)[0].unsqueeze(2) for both in self._rotary(like, place))

    def heads(
        self, flat: Tensor, gain: Tensor | None = None
    ) -> Float[Tensor, "*stream head d_head"]:
        """Return each head's queries, keys or values; queries and keys behind their norm's gain."""
        each = flat.unflatten(-1, (-1, self._d_head))
        return each if gain is None else each * self.head_scale(each, gain)

    def head_scale(self, each: Float[Tensor, "*head d_head"], gain: Tensor) -> Tensor:
        """Return what the norm of a head's queries or keys multiplies them by."""
        return gain * (each.square().mean(-1, keepdim=True) + self._eps).rsqrt()

    def forget(self, *, as_loaded: bool) -> None:
        """Forget what was computed before: weights have changed, or are as they were loaded."""
        self._after.cache_clear()
        self.as_loaded = as_loaded

    def _run_bos(self, bos: int) -> list[KeysValues]:
        """Keys and values of a beginning-of-sequence token that stands alone, of every layer."""
        found: list[KeysValues] = []
        self.run(torch.tensor([[bos]], device=self._embed.device), _NOTHING, keep=found.append)
        return found

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

    def projection(part: str) -> _Linear:
        bias = None if part == "V" else getattr(attention, f"b_{part}", None)
        weight = rearrange(getattr(attention, f"W_{part}"), "head d d_head -> (head d_head) d")
        return _Linear(weight, None if bias is None else bias.flatten())

    def linear(part: str) -> _Linear:
        return _Linear(getattr(mlp, f"W_{part}").T, getattr(mlp, f"b_{part}", None))

    norms = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
    w_o = rearrange(attention.W_O, "head d_head d -> d (head d_head)")
    return _Layer(
        *map(projection, "QKV"),
        _Linear(w_o, getattr(attention, "b_O", None)),
        tuple(map(linear, ("gate", "in") if hasattr(mlp, "gate") else ("in",))),
        linear("out"),
        attention.original_component.scaling,
        *(None if norm is None else norm.weight for norm in norms),
    )


def _pattern(
    queries: Tensor, keys: Tensor, scaling: float, mask: Tensor | None
) -> Float[Tensor, "prompt head query key"]:
    """Return how much each position attends to each: what fused attention does not show."""
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    scores = scaling * queries @ keys.transpose(2, 3)
    if mask is None:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    # in double precision, so that how wide the padding is does not change what it is rounded to
    exact = scores if scores.is_cuda else scores.double()
    return exact.masked_fill(~mask, -torch.inf).softmax(-1).to(scores.dtype)


def turned(heads: Tensor, turn: Turn) -> Tensor:
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
