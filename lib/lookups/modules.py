"""A processed model in the modules that Hugging Face runs it with: the fastest ordinary pass.

TransformerLens computes attention a step at a time, so that every step can be watched. What most
chapters read (neurons, heads' outputs, the residual stream) needs none of that: here the same
weights stand in Hugging Face's own modules with fused attention, half again as fast. Weights are
shared with the bridge; only the joint query, key and value matrices of GPT-2 and GPT-NeoX, which
the bridge leaves unprocessed and does not use, are written anew. Norms have no gain left to apply.
"""

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from lookups.errors import ModelError

Take = Callable[[Tensor], None]
"""Is handed a tensor of the pass (prompt × pos × …) and must copy what it keeps."""


class Site(NamedTuple):
    """Where a tensor can be read."""

    module: nn.Module
    entering: bool
    """Whether it is what the module reads, not what it returns."""
    shaped: Callable[[Tensor], Tensor]
    """Gives the tensor the shape that TransformerLens's hook of the same name has."""


class _Names(NamedTuple):
    """What one architecture calls its modules."""

    layers: str
    embed: str
    positions: str | None
    attention: str
    joint: str | None
    """The joint query, key and value matrix inside the attention."""
    attention_out: str
    """Inside the attention."""
    norm: str
    """The MLP's."""
    reads: tuple[str, ...]
    """Inside the MLP: what reads the residual stream; the gate first."""
    writes: str
    """Inside the MLP."""


_NAMES = {
    "gpt2": _Names("h", "wte", "wpe", "attn", "c_attn", "c_proj", "ln_2", ("c_fc",), "c_proj"),
    "gpt_neox": _Names(
        "layers", "embed_in", None, "attention", "query_key_value", "dense",
        "post_attention_layernorm", ("dense_h_to_4h",), "dense_4h_to_h",
    ),
    "llama": _Names(
        "layers", "embed_tokens", None, "self_attn", None, "o_proj", "post_attention_layernorm",
        ("gate_proj", "up_proj"), "down_proj",
    ),
}  # fmt: skip
"""By the `model_type` of the configuration."""


class _Enough(Exception):
    """Raised behind the last tensor that is wanted, to spare the rest of the pass."""


class Modules:
    """The processed model, to be read while it runs."""

    def __init__(self, bridge: Any):
        """Put a bridge's processed weights into Hugging Face's modules."""
        whole = bridge.original_model
        self._names = _NAMES[whole.config.model_type]
        self._heads = whole.config.num_attention_heads
        with torch.device("meta"):
            base = type(whole)._from_config(copy.deepcopy(whole.config), attn_implementation="sdpa")
        base = base.base_model
        base.load_state_dict(self._weights(bridge, base.state_dict().keys()), assign=True)
        for name, module in list(base.named_modules()):
            if type(module).__name__ in ("LayerNorm", "LlamaRMSNorm"):
                parent, _, attribute = name.rpartition(".")
                setattr(base.get_submodule(parent), attribute, _without_gain(module))
        inner = getattr(whole, whole.base_model_prefix)
        if hasattr(base, "rotary_emb"):  # what it computes at the start is no weight
            base.rotary_emb = inner.rotary_emb.original_component
        self.base = base.eval().requires_grad_(False)
        self.layers = getattr(self.base, self._names.layers)

    def read(self, ids: Tensor, takes: Mapping[str, Take]) -> bool:
        """Hand the tensor at each of TransformerLens's hook names over, and stop behind the last.

        Padding belongs to the right: no token looks at what stands behind it, so none is masked.
        Returns False, and runs nothing, where a name is not one of those that can be read here.
        """
        sites = {name: self.site(name) for name in takes}
        if None in sites.values():
            return False
        waiting = set(takes)

        def reader(name: str, site: Site) -> Callable[..., None]:
            def hook(module: nn.Module, entering: tuple, leaving: Any = None) -> None:
                tensor = entering[0] if site.entering else leaving
                takes[name](site.shaped(tensor))
                waiting.discard(name)
                if not waiting:
                    raise _Enough

            return hook

        handles = []
        for name, site in sites.items():
            add = site.module.register_forward_pre_hook if site.entering else (
                site.module.register_forward_hook
            )  # fmt: skip
            handles.append(add(reader(name, site)))
        try:
            self.base(ids, use_cache=False)
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if waiting:
            raise ModelError(f"the pass never reached {sorted(waiting)}; is the model supported?")
        return True

    def site(self, name: str) -> Site | None:
        """Return where the tensor of one of TransformerLens's hook names is, if it can be read."""
        names = self._names
        if name == "hook_embed":
            return Site(getattr(self.base, names.embed), False, _as_it_is)
        if name == "hook_pos_embed" and names.positions:
            return Site(getattr(self.base, names.positions), False, _as_it_is)
        if not name.startswith("blocks."):
            return None
        _, at, what = name.split(".", 2)
        layer = self.layers[int(at)]
        if what == "attn.hook_z":
            module = getattr(getattr(layer, names.attention), names.attention_out)
            return Site(module, True, lambda flat: flat.unflatten(-1, (self._heads, -1)))
        if what == "ln2.hook_in":
            return Site(getattr(layer, names.norm), True, _as_it_is)
        if what == "ln2.hook_scale":
            return Site(getattr(layer, names.norm), True, self._scale)
        reads = dict(zip(("mlp.hook_pre", "mlp.hook_pre_linear"), names.reads, strict=False))
        if what in reads:
            return Site(getattr(layer.mlp, reads[what]), False, _as_it_is)
        if what == "mlp.hook_post":
            return Site(getattr(layer.mlp, names.writes), True, _as_it_is)
        if what == "hook_mlp_out":
            return Site(layer.mlp, False, _as_it_is)
        return None

    def _scale(self, entering: Tensor) -> Tensor:
        """What the MLP's norm divides by."""
        norm = getattr(self.layers[0], self._names.norm)
        if isinstance(norm, nn.RMSNorm):
            return (entering.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return (entering.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()

    def _weights(self, bridge: Any, wanted: Collection[str]) -> dict[str, Tensor]:
        """The bridge's processed weights by Hugging Face's names."""
        whole = bridge.original_model
        prefix = whole.base_model_prefix + "."
        found = {}
        for name, weight in whole.named_parameters(remove_duplicate=False):
            plain = name.replace("._original_component", "").removeprefix(prefix)
            if plain in wanted:
                found[plain] = weight.detach()
        if self._names.joint is not None:
            for at, block in enumerate(bridge.blocks):
                joint = f"{self._names.layers}.{at}.{self._names.attention}.{self._names.joint}"
                for kind in ("weight", "bias"):
                    self._join(found[f"{joint}.{kind}"], block.attn, kind)
        return found

    def _join(self, into: Tensor, attention: Any, kind: str) -> None:
        """Write processed queries, keys and values of all heads into the joint matrix or bias."""
        parts = [getattr(attention, f"{'W' if kind == 'weight' else 'b'}_{part}") for part in "QKV"]
        if self._names.joint == "c_attn":  # first all queries; weights are d_model × out
            flat = [rearrange(part, "head ... d_head -> ... (head d_head)") for part in parts]
            into.copy_(torch.cat(flat, dim=-1))
        else:  # head by head; weights are out × d_model
            into.copy_(rearrange(parts, "qkv head ... d_head -> (head qkv d_head) ..."))


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _without_gain(norm: nn.Module) -> nn.Module:
    """Return the norm whose gain and bias are folded into what reads it."""
    if isinstance(norm, nn.LayerNorm):
        return nn.LayerNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    return nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, elementwise_affine=False)
