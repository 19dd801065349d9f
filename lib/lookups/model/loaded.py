"""Load a model, one way for all: raw weights in, processed weights and named hooks out.

The processing is that of step 0 of the method: norms folded into the weights that read, writing
weights centred (not for RMSNorm, which has no mean to remove) and the unembedding, value biases
folded into the output bias. Nothing else touches a model's device, dtype or BOS. What comes out is
compared, at every load, with plain Hugging Face.
"""

import codecs
import itertools
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lookups.errors import LookupsError, SourceError
from lookups.model.batches import Batch, Ids, batch_of
from lookups.model.files import Checkpoint, as_llama, find_checkpoint
from lookups.model.forward import Forward, Touch
from lookups.names import Head, Neuron
from lookups.settings import ModelSpec

codecs.register_error("spell", lambda e: (f"⟨{e.object[e.start : e.end].hex(' ').upper()}⟩", e.end))

Prompts = Sequence[Ids]  # without beginning-of-sequence tokens

PROCESSING = "layernorm folded, writing weights and unembedding centred, value biases folded"

MAY_DIFFER = {torch.float32: 5e-3, torch.float64: 1e-4}
"""By how many nats log-probabilities may differ from plain Hugging Face's, whose softmax is in
float32. Rounding makes less than a tenth of it, what is read wrongly far more."""


class Piece(str):
    """The text of a token, with `�` for parts of characters; `spelled` has their bytes instead."""

    spelled: str


@dataclass(frozen=True)
class Model(Checkpoint):
    """A processed model with its tokenizer and the facts that decide how it is read."""

    bridge: Any = field(repr=False)
    """The TransformerLens bridge; its old hook names work."""
    forward: Forward = field(repr=False)
    """The same weights in a pass of our own, faster than the bridge's."""
    device: torch.device
    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    context: int
    """The longest sequence it reads, the beginning-of-sequence token included."""
    act: Callable[[Tensor], Tensor]
    """The MLP's activation function."""
    dtype: torch.dtype
    """What it computes in: float32 or float64."""
    nats_apart: float
    """How far its log-probabilities are from plain Hugging Face's at most, on some tokens."""
    spec: ModelSpec = field(repr=False)
    exact: bool = field(repr=False)
    """What it was loaded by."""

    def tokens(self) -> int:
        """Return how many padded tokens to read at once: on a CPU, what suits its caches."""
        return 1024 if self.device.type == "cpu" else 2**15

    def batch(self, sequences: Prompts, *, bos: bool = True) -> Batch:
        """Pad sequences of ids; `bos=False` only for the paper's truncation. LookupsError if a
        sequence is longer than the model reads, or has an id it lacks."""
        batch = batch_of(sequences, self.bos_id if bos else None, self.device)
        if batch.ids.shape[1] > self.context:
            raise LookupsError(
                f"a sequence of {batch.ids.shape[1]} tokens does not fit into the {self.context} "
                f"that {self.name} reads, beginning-of-sequence token included; cut it"
            )
        if not 0 <= int(batch.ids.min()) <= int(batch.ids.max()) < self.d_vocab:
            raise LookupsError(
                f"token ids must lie between 0 and {self.d_vocab - 1} for {self.name}; use the "
                "model's own tokenizer"
            )
        return batch

    def decode(self, ids: Ids) -> str:
        """Return the text of some ids, nothing tidied."""
        return self.tokenizer.decode(list(map(int, ids)), clean_up_tokenization_spaces=False)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The text of every token id as it reads inside a text; of parts of characters a `Piece`.
        Some tokenizers drop the space before a text's first token, so each id is decoded behind
        another."""
        first = self.tokenizer("a", add_special_tokens=False)["input_ids"][-1]
        start, found = self.decode([first]), []
        for token in range(self.d_vocab):
            text = self.decode([first, token])
            alone = not text.startswith(start)
            found.append(self.decode([token]) if alone else text.removeprefix(start))
            if "\ufffd" in found[-1]:
                found[-1] = self._piece(token, found[-1])
        return found

    def _piece(self, token: int, text: str) -> Piece:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        letters = {letter: byte for byte, letter in bytes_to_unicode().items()}  # of byte-level BPE
        raw, piece = self.tokenizer.convert_ids_to_tokens(token), Piece(text)
        byte, piece.spelled = re.fullmatch("<0x(..)>", raw), text  # as SentencePiece has it
        if byte or letters.keys() >= set(raw):
            content = bytes.fromhex(byte[1]) if byte else bytes(letters[one] for one in raw)
            piece.spelled = content.decode("utf-8", "spell")
        return piece

    def mlp_in(self, layer: int) -> dict[str, tuple[Float[Tensor, "d_model d_mlp"], Tensor]]:
        """Return the weights that read the stream into a layer's MLP (`in`, or `gate` and `up`),
        with their biases."""
        names = ("gate", "up") if self.gated else ("in",)
        reads = zip(names, self.forward.layers[layer].reads, strict=True)
        return {name: (read.weight.T, self._bias(read.bias, self.d_mlp)) for name, read in reads}

    def w_out(self, layer: int) -> Float[Tensor, "d_mlp d_model"]:
        """Return what each neuron of a layer writes to the residual stream."""
        return self.bridge.blocks[layer].mlp.W_out

    def w_o(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """Return the output matrix of every head of a layer."""
        return self.bridge.blocks[layer].attn.W_O

    def b_o(self, layer: int) -> Float[Tensor, " d_model"]:
        """Return a layer's attention bias: b_O with every head's b_V W_O folded in."""
        return self._bias(self.forward.layers[layer].mixes.bias, self.d_model)

    @property
    def w_u(self) -> Float[Tensor, "d_model vocab"]:
        """The unembedding, the final LayerNorm's gain folded in."""
        return self.bridge.W_U

    def neurons(self, layers: Sequence[int]) -> list[Neuron]:
        """Return every neuron of some layers; both signs where the MLP is gated."""
        every = itertools.product(layers, self.signs, range(self.d_mlp))
        return [Neuron(layer, index, sign) for layer, sign, index in every]

    @property
    def signs(self) -> tuple[Literal[1, -1], ...]:
        """The signs with which activations are read: -1 too where they can be strongly negative."""
        return (1, -1) if self.gated else (1,)

    def head_layers(self, layer: int) -> range:
        """Return the layers whose heads feed a neuron of `layer`: its own too, unless parallel."""
        return range(layer if self.parallel else layer + 1)

    def key_head(self, head: Head) -> int:
        """Return whose keys and values a head reads: with grouped queries several share them."""
        there = len(self.forward.layers[head.layer].keys.weight) // self.d_head
        return head.index * there // self.n_heads

    def read(self, batch: Batch, hooks: dict[str, Callable[[Tensor], None]]) -> None:
        """Do as `Forward.read` says; what stands at padding is not defined."""
        self.forward.read(batch.ids, hooks)

    @torch.no_grad()
    def logits(self, batch: Batch) -> Float[Tensor, "prompt pos vocab"]:
        """Return the processed model's logits: the raw ones up to a constant a position."""
        return self.bridge(batch.ids, attention_mask=batch.mask.long())

    def activations_at_last(
        self, sequences: Prompts, layers: Sequence[int]
    ) -> dict[int, Float[Tensor, "prompt d_mlp"]]:
        """Return the MLP activations (post-activations) at each sequence's last token."""
        names = {layer: f"blocks.{layer}.mlp.hook_post" for layer in layers}
        found = self.read_last(sequences, names.values())
        return {layer: found[name] for layer, name in names.items()}

    def read_last(
        self, sequences: Prompts, names: Collection[str], *, bos: bool = True
    ) -> dict[str, Float[Tensor, "prompt ..."]]:
        """Return what stands at hook names (attention patterns, of two axes, aside) at each
        sequence's last token; no further than that."""
        ids, _, last = self.batch(sequences, bos=bos)
        return self.forward.read_last(ids, last, names, bos=self.bos_id if bos else None)

    def _bias(self, bias: Tensor | None, size: int) -> Tensor:
        return torch.zeros(size).to(self.w_u) if bias is None else bias


def load_model(spec: ModelSpec | str, *, exact: bool = False) -> Model:
    """Find the model that a run names, load and process it (`Checkpoint.weights` on precision).
    SourceError if it is missing, unreachable, without weights, of another architecture, or does not
    compute what plain Hugging Face does."""
    from transformers.activations import ACT2FN

    spec = ModelSpec(name=spec) if isinstance(spec, str) else spec
    device = _device(spec.device)
    checkpoint = find_checkpoint(spec)
    config = checkpoint.config
    weights = checkpoint.weights(getattr(torch, spec.dtype), device, exact=exact)
    context = _context(config)
    ids = torch.linspace(0, config.vocab_size - 1, min(8, context), device=device).long()[None]
    ids[0, 0] = checkpoint.bos_id
    with torch.no_grad():
        plain = weights(ids, use_cache=False).logits.log_softmax(-1)
    if checkpoint.gated:
        weights = as_llama(weights)
        fold_llama(weights)
    bridge = bridge_of(checkpoint, weights)
    bridge.enable_compatibility_mode(disable_warnings=True, no_processing=checkpoint.gated)
    bridge.requires_grad_(False)
    for block in bridge.blocks:  # TransformerLens keeps all patterns, many times the weights' size
        block.attn.register_forward_hook(lambda own, *_: setattr(own, "_pattern", None))
    act = getattr(config, "hidden_act", None) or config.activation_function
    act = F.silu if act == "silu" else ACT2FN[act]
    forward = Forward(bridge, act, parallel=checkpoint.parallel)
    return Model(
        **vars(checkpoint),
        bridge=bridge,
        forward=forward,
        device=device,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        d_model=config.hidden_size,
        d_head=bridge.cfg.d_head,
        d_mlp=bridge.blocks[0].mlp.W_out.shape[0],
        d_vocab=bridge.W_U.shape[1],
        context=context,
        act=act,
        dtype=bridge.W_U.dtype,
        nats_apart=_nats_apart(checkpoint.name, bridge, forward, ids, plain),
        spec=spec,
        exact=exact,
    )


@torch.no_grad()
def _nats_apart(name: str, bridge: Any, forward: Forward, ids: Tensor, plain: Tensor) -> float:
    """Return by how much both ways to run a model depart from plain Hugging Face's results;
    SourceError if that is more than rounding."""
    streams = forward.normed(forward.run(ids, Touch()))
    both = torch.cat([bridge.unembed(streams), bridge(ids)]).log_softmax(-1)
    apart = float((both - plain).abs().max())
    if not apart <= MAY_DIFFER[both.dtype]:  # nor if it is not a number
        raise SourceError(
            f"{name!r} is not read as it is meant: log-probabilities differ by {apart:.2g} nats "
            "from plain Hugging Face's, so something in its config.json has an effect that is not "
            "known here; choose another model"
        )
    return apart


def _context(config: Any) -> int:
    """Return up to which length every token sees every other, and its position does not change."""
    rope = getattr(config, "rope_parameters", None) or {}
    limits = [config.max_position_embeddings, getattr(config, "sliding_window", None)]
    if rope.get("rope_type") == "longrope":
        limits.append(rope["original_max_position_embeddings"])
    return min(filter(None, limits))


def bridge_of(checkpoint: Checkpoint, weights: Any) -> Any:
    """Wrap a model as TransformerLens does: nothing is folded yet."""
    from transformer_lens.model_bridge import TransformerBridge  # seconds to import

    return TransformerBridge.boot_transformers(
        checkpoint.location,
        device=str(weights.device),
        dtype=weights.dtype,
        hf_model=weights,
        tokenizer=checkpoint.tokenizer,
    )


def _device(wanted: str) -> torch.device:
    forced = os.environ.get("LOOKUPS_DEVICE")
    wanted = (forced or wanted).replace("auto", "cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=wanted).item()  # some devices parse but are not there
    except (RuntimeError, AssertionError, NotImplementedError):
        advice = "unset LOOKUPS_DEVICE" if forced else "set 'device: auto' or 'device: cpu'"
        raise SourceError(f"device {wanted!r} is not there; {advice}") from None
    return torch.device(wanted)


@torch.no_grad()
def fold_llama(model: Any) -> None:
    """Process a freshly loaded `LlamaForCausalLM` in place, as the module says.

    The compatibility mode of TransformerLens, which processes the others, copies all weights three
    times on the way, and computes in float32 what it then returns as float64: those of GPT-2 and
    GPT-NeoX differ from the exact ones by up to 1e-7 of their size.
    """
    for layer in model.model.layers:
        own, mlp = layer.self_attn, layer.mlp
        _fold_gain(layer.input_layernorm, own.q_proj, own.k_proj, own.v_proj)
        _fold_gain(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        if own.v_proj.bias is not None:  # values always write it: attention sums to 1
            by_head = own.v_proj.bias.reshape(-1, own.head_dim)
            by_head = by_head.repeat_interleave(own.num_key_value_groups, dim=0)
            if own.o_proj.bias is None:  # Qwen2
                own.o_proj.bias = nn.Parameter(torch.zeros_like(own.o_proj.weight[:, 0]))
            own.o_proj.bias.add_(own.o_proj.weight @ by_head.flatten())
            own.v_proj.bias.zero_()
    model.config.tie_word_embeddings = False  # the unembedding becomes a matrix of its own
    _fold_gain(model.model.norm, model.lm_head)
    model.lm_head.weight.sub_(model.lm_head.weight.mean(0))


def _fold_gain(norm: Any, *readers: nn.Linear) -> None:
    for reader in readers:
        reader.weight = nn.Parameter(reader.weight * norm.weight)
    norm.weight.fill_(1)
