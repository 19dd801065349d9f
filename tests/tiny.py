"""Tiny random models of every supported architecture, and a handful of documents for them.

The models are saved in Hugging Face format in a folder that lives as long as the test session, with
gains and biases far from their initial 1 and 0, so that a forgotten one shows. `anatomy` reads the
plain Hugging Face model with its own modules and nothing of `lookups`: the naive reference.
"""

import copy
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
import yaml
from lookups.corpus.documents import SCHEMA, Documents
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
from lookups.settings import ModelSpec
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import PreTrainedTokenizerFast as FastTokenizer
from transformers.utils import logging

logging.disable_progress_bar()
torch.set_num_threads(1)

VOCAB = 101
CONTEXT = 64
LAYERS = 3
HEADS = 4

ARCHITECTURES = ("gpt2", "neox", "llama")
VARIANTS = (*ARCHITECTURES, "gpt2-untied", "neox-serial", "llama-biased",
            "mistral", "qwen2", "qwen3", "phi3", "gemma", "olmo")  # fmt: skip
"""With forms that change a formula: own unembedding, blocks in series, biases everywhere."""


def scaled(kind: str, **more: Any) -> dict[str, Any]:
    """Return the settings of rotary positions of a kind."""
    return {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0} | more


OWN = {
    "gpt2": {"tie_word_embeddings": True},
    "gpt2-untied": {"tie_word_embeddings": False},
    "neox": {"use_parallel_residual": True},
    "neox-serial": {"use_parallel_residual": False},
    "llama": {"num_key_value_heads": 2},
    "llama-biased": {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True},
    "mistral": {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": CONTEXT,
                "rope_parameters": scaled("yarn", original_max_position_embeddings=32)},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True,
              "rope_parameters": scaled("linear")},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16, "attention_bias": True,
              "rope_parameters": scaled("llama3", low_freq_factor=1.0, high_freq_factor=4.0,
                                        original_max_position_embeddings=16)},
    "phi3": {"num_key_value_heads": 2, "pad_token_id": 0,
             "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                 "partial_rotary_factor": 0.5}},
    "gemma": {"num_key_value_heads": 1, "head_dim": 16},
    "olmo": {"num_key_value_heads": 4, "attention_bias": True, "tie_word_embeddings": True},
}  # fmt: skip
"""What the variants set otherwise than their architectures do."""

_scratch = tempfile.TemporaryDirectory(prefix="lookups-tiny-")


def scratch(name: str) -> Path:
    """Return a new folder that is gone when the session ends."""
    return Path(tempfile.mkdtemp(dir=_scratch.name, prefix=f"{name}-"))


def config_of(
    kind: str, *, width: int = 32, layers: int = LAYERS, heads: int = HEADS, mlp: int | None = None,
    words: int = VOCAB, context: int = CONTEXT, **more: Any,
) -> Any:  # fmt: skip
    usual = {"vocab_size": words, "bos_token_id": 0, "eos_token_id": 0, "hidden_size": width,
             "num_hidden_layers": layers, "num_attention_heads": heads,
             "max_position_embeddings": context}  # fmt: skip
    usual |= {"n_inner": mlp} if kind == "gpt2" else {"intermediate_size": mlp or 64}
    return AutoConfig.for_model({"neox": "gpt_neox"}.get(kind, kind), **usual | more)


def random_model(name: str) -> nn.Module:
    """Build the Hugging Face model of a variant; the same every time."""
    torch.manual_seed(VARIANTS.index(name))
    config = config_of(name.split("-")[0], **copy.deepcopy(OWN[name]))
    return moved(AutoModelForCausalLM.from_config(config))


@torch.no_grad()
def moved(model: nn.Module) -> nn.Module:
    """Take gains and biases away from 1 and 0."""
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else 0.1))
    return model.eval()


def random_tokenizer(size: int = VOCAB, **special: str) -> FastTokenizer:
    """Return a tokenizer of whole words `w1` … `w100`; token 0 is `<|bos|>`."""
    words = {"<|bos|>": 0} | {f"w{i}": i for i in range(1, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|bos|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return FastTokenizer(tokenizer_object=tokenizer, **special)


@functools.cache
def folder(name: str) -> Path:
    """Return the Hugging Face folder of a variant. What transformers reads as the tokenizer of a
    Qwen2, whatever the file says, knows no such words."""
    path = scratch(name)
    random_model(name).save_pretrained(path)
    random_tokenizer(bos_token="<|bos|>", eos_token="<|bos|>").save_pretrained(path)
    return path


@functools.cache
def model(name: str, dtype: str = "float32") -> Model:
    """Load a variant through the project's one door."""
    return load_model(ModelSpec(name=str(folder(name)), device="cpu", dtype=dtype))


@functools.cache
def plain(name: str, dtype: str = "float32") -> nn.Module:
    return hugging_face(folder(name), dtype)


def hugging_face(place: Path | str, dtype: str = "float32") -> nn.Module:
    """Load a folder with Hugging Face alone."""
    wanted = getattr(torch, dtype)
    eager = {"dtype": wanted, "attn_implementation": "eager"}
    found = AutoModelForCausalLM.from_pretrained(place, **eager).eval()
    if wanted == torch.float64:  # these compute in float32 whatever they are given
        for norm in found.modules():
            if type(norm).__name__.endswith(("RMSNorm", "OlmoLayerNorm")):
                norm.forward = functools.partial(_norm, norm)
    return found


def _norm(norm: nn.Module, x: Tensor, of: Tensor | None = None) -> Tensor:
    """Centre (LayerNorm only), scale and gain `x`, with the scale that `of` has; no bias."""
    kind = type(norm).__name__
    gain = getattr(norm, "weight", torch.ones(x.shape[-1]).to(x)) + kind.startswith("Gemma")
    if "RMS" not in kind:
        x, of = (None if one is None else one - one.mean(-1, keepdim=True) for one in (x, of))
    eps = getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-5))
    size = (x if of is None else of).square().mean(-1, keepdim=True)
    return gain * x / (size + eps).sqrt()


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return what the gates of a variant go through, written out."""
    if name == "gemma":
        return lambda g: g * (1 + torch.tanh((2 / np.pi) ** 0.5 * (g + 0.044715 * g**3))) / 2
    return lambda g: g * torch.sigmoid(g)


def random_ids(n: int, *, seed: int = 0, shortest: int = 1, longest: int = 20) -> list[np.ndarray]:
    """Return sequences of random ids, none of which is the beginning-of-sequence token."""
    rng = np.random.default_rng(seed)
    return [rng.integers(1, VOCAB, rng.integers(shortest, longest + 1)) for _ in range(n)]


def texts(n: int, *, words: int, vocabulary: int = VOCAB) -> list[str]:
    """Return random texts of `words` words, of which every second follows from the one before."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n):
        some = rng.integers(1, vocabulary, words // 2).tolist()
        found.append(" ".join(f"w{word} w{word * 7 % (vocabulary - 1) + 1}" for word in some))
    return found


def write_run(place: Path, kind: str, name: str = "tiny", **changes: Any) -> Path:
    """Write a run on a tiny model, over a small local corpus of words in which some follow others;
    `changes` are keys of its file, where those of the model are added to what it has."""
    path, corpus = place / f"{name}.yml", place / "words.txt"
    corpus.write_text("\n\n".join(texts(200, words=24)), "utf-8")
    model = {"name": str(folder(kind)), "device": "cpu"} | changes.pop("model", {})
    settings = {
        "title": "A tiny run", "model": model,
        "corpus": {"name": str(corpus), "documents": 120, "length": 24},
        "paths": {"artifacts": "artifacts", "data": "data"}, "longest": 24,
        "layers": [1, 2], "middle_layers": [0], "neurons_per_layer": 4, "random_per_layer": 3,
        "prompts_per_neuron": 20, "spread_per_neuron": {"train": 10, "test": 10},
        # of twelve heads hardly one passes mean + 2 sd; then no pair is kept
        "active_rule": "2sd",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings | changes), "utf-8")
    return path


@dataclass
class Anatomy:
    """What plain Hugging Face modules computed on one sequence, lists a layer: at the last token,
    and, of `norm_in`, `pre` and `post`, at every position."""

    embed: Tensor
    pos_embed: Tensor | None
    head_out: list[Tensor]  # each head's full output (head × d_model), value bias left out
    attn_bias: list[Tensor]  # output bias plus what the value biases write
    mlp_out: list[Tensor]
    norm_in: list[Tensor]  # what the MLP's LayerNorm reads
    pre: list[dict[str, Tensor]]  # `in`, or `gate` and `up`
    post: list[Tensor]  # neuron activations


@dataclass
class Parts:
    """Where the modules of one layer are, whatever the architecture calls them."""

    attn_out: nn.Module
    w_o: Tensor  # d_heads × d_model
    b_o: Tensor
    b_v: Tensor  # the processed one, into which the norm's bias is folded; a query head each, flat
    norm: nn.Module
    reads: dict[str, tuple[nn.Module, slice]]  # which of its outputs are meant
    mlp: nn.Module
    mlp_out: nn.Module

    def w_in(self, name: str) -> Tensor:
        """The MLP's reading matrix, d_model × d_mlp."""
        module, rows = self.reads[name]
        return (module.weight if type(module).__name__ == "Conv1D" else module.weight.T)[:, rows]

    def b_in(self, name: str) -> Tensor:
        return bias_of(self.reads[name][0], self.w_in(name))

    def normalised(self, x: Tensor, of: Tensor) -> Tensor:
        return _norm(self.norm, x, of)

    def norm_bias(self) -> Tensor:
        return bias_of(self.norm, self.w_o)


def bias_of(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a module's bias, zero where it has none; a number for each column of `weight`."""
    bias = getattr(module, "bias", None)
    return torch.zeros_like(weight[0]) if bias is None else bias


@functools.cache
@torch.no_grad()
def parts_of(name: str, hf: nn.Module, layer: int) -> Parts:
    if name.startswith("gpt2"):
        block = hf.transformer.h[layer]
        attn, mlp = block.attn, block.mlp
        b_v = attn.c_attn.bias[64:] + block.ln_1.bias @ attn.c_attn.weight[:, 64:]
        return Parts(attn.c_proj, attn.c_proj.weight, attn.c_proj.bias, b_v, block.ln_2,
                     {"in": (mlp.c_fc, slice(None))}, mlp, mlp.c_proj)  # fmt: skip
    if name.startswith("neox"):
        block = hf.gpt_neox.layers[layer]
        attn, mlp = block.attention, block.mlp
        whole = attn.query_key_value.bias + attn.query_key_value.weight @ block.input_layernorm.bias
        b_v = whole.reshape(HEADS, 3, -1)[:, 2].flatten()
        return Parts(attn.dense, attn.dense.weight.T, attn.dense.bias, b_v,
                     block.post_attention_layernorm, {"in": (mlp.dense_h_to_4h, slice(None))}, mlp,
                     mlp.dense_4h_to_h)  # fmt: skip
    block = hf.model.layers[layer]
    attn, mlp = block.self_attn, block.mlp
    w_o, size = attn.o_proj.weight.T, attn.head_dim
    own = getattr(getattr(attn, "v_proj", None), "bias", None)
    by_head = torch.zeros(HEADS, size).to(w_o) if own is None else own.reshape(-1, size)
    b_v = by_head.repeat_interleave(HEADS // len(by_head), dim=0).flatten()
    reads = (
        {"gate": (mlp.gate_up_proj, slice(64)), "up": (mlp.gate_up_proj, slice(64, 128))}
        if name == "phi3"
        else {n: (getattr(mlp, f"{n}_proj"), slice(None)) for n in ("gate", "up")}
    )
    return Parts(attn.o_proj, w_o, bias_of(attn.o_proj, w_o), b_v, block.post_attention_layernorm,
                 reads, mlp, mlp.down_proj)  # fmt: skip


@torch.no_grad()
def anatomy(name: str, ids: np.ndarray, dtype: str = "float32", *, bos: bool = True) -> Anatomy:
    """Run plain Hugging Face on one sequence alone and keep every module's part."""
    hf = plain(name, dtype)
    layers = [parts_of(name, hf, layer) for layer in range(LAYERS)]
    inputs, outputs = {}, {}
    watched = {m for p in layers for m in (p.attn_out, p.norm, p.mlp, p.mlp_out)}
    watched |= {module for p in layers for module, _ in p.reads.values()}
    base = hf.transformer if name.startswith("gpt2") else None
    token = hf.get_input_embeddings()
    watched |= {token, *([base.wpe] if base else [])}

    def keep(module, args, output):
        inputs[module], outputs[module] = args[0], output

    hooks = [module.register_forward_hook(keep) for module in watched]
    hf(torch.tensor([[0, *ids] if bos else list(ids)]))
    for hook in hooks:
        hook.remove()
    z = [(inputs[p.attn_out][0, -1] - p.b_v).reshape(HEADS, 1, -1) for p in layers]
    return Anatomy(
        embed=outputs[token][0, -1],
        pos_embed=outputs[base.wpe].reshape(-1, 32)[-1] if base else None,
        head_out=[(z[i] @ p.w_o.reshape(HEADS, -1, 32))[:, 0] for i, p in enumerate(layers)],
        attn_bias=[p.b_o + p.b_v @ p.w_o for p in layers],
        mlp_out=[outputs[p.mlp][0, -1] for p in layers],
        norm_in=[inputs[p.norm][0] for p in layers],
        pre=[{key: outputs[m][0][:, at] for key, (m, at) in p.reads.items()} for p in layers],
        post=[inputs[p.mlp_out][0] for p in layers],
    )


def whole_pass(model: Model, ids: Sequence[int], hooks: Sequence[tuple] = ()) -> tuple[Tensor, Any]:
    """Run the bridge on one prompt alone: the last token's logits, and all tensors by name,
    which are kept for whoever asks for the same pass: change none of them in place."""
    return _whole_pass(model.bridge, (0, *map(int, ids)), *hooks)


@functools.lru_cache(maxsize=100)
@torch.no_grad()
def _whole_pass(bridge: Any, ids: tuple[int, ...], *hooks: tuple) -> tuple[Tensor, Any]:
    with bridge.hooks(fwd_hooks=list(hooks)):
        logits, seen = bridge.run_with_cache(torch.tensor([ids]))
    return logits[0, -1].double(), seen


def hook_of(unit: Head | Neuron) -> str:
    return f"blocks.{unit.layer}.{'attn.hook_z' if isinstance(unit, Head) else 'mlp.hook_post'}"


def held(unit: Head | Neuron, positions: Any, value: Any) -> list[tuple]:
    """Hooks that set what one head or neuron puts out at some positions."""

    def hook(tensor, hook):
        tensor = tensor.clone()
        tensor[0, positions, unit.index] = value
        return tensor

    return [(hook_of(unit), hook)]


def normed(model: Model, x: Tensor, of: Tensor | None = None) -> Tensor:
    """Put `x` behind a norm, whose gain is folded, written out, with the scale that `of` has."""
    return _norm(model.bridge.blocks[0].ln2.original_component, x, of)


def close(model: Model) -> float:
    """How far float64 may be off: Llama's softmax is in float32 in the bridge."""
    return 1e-6 if model.gated else 1e-9


class TinyDocuments(Documents):
    """Documents of given ids, listed in an order that may differ from that of their keys."""

    def __init__(self, ids: Sequence[Sequence[int]], order: Sequence[int] | None = None):
        of_text = {"lost": 0, "shared": False}
        rows = [
            {"ids": one, "source": f"file{i % 7}.py", "text": i, "number": i} | of_text
            for i, one in enumerate(ids)
        ]
        super().__init__("tiny", "train", pyarrow.Table.from_pylist(rows, SCHEMA))
        order = list(range(len(ids)) if order is None else order)
        self._rows, self._keys = self._rows[order], [self._keys[at] for at in order]
        self._index = {key: at for at, key in enumerate(self._keys)}


def documents(n: int = 40, *, order: Sequence[int] | None = None) -> TinyDocuments:
    """Return random documents of 1 to 30 tokens, no two of which begin alike."""
    first = np.random.default_rng(1).permutation(np.arange(1, VOCAB))
    rest = random_ids(n, shortest=0, longest=29)
    return TinyDocuments([[f, *ids] for f, ids in zip(first, rest, strict=False)], order)
