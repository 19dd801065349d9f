"""Tiny random models as GGUF files, written with the package `gguf` as llama.cpp does."""

import functools
from pathlib import Path

import numpy as np
import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, TokenType, get_tensor_name_map
from gguf.quants import quantize
from tiny import config_of, moved
from tokenizers import pre_tokenizers
from torch import nn
from transformers import AutoModelForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PIECES = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", "Ġb", "ab", "Ġab"]
MERGES = ["Ġ a", "Ġ b", "a b", "Ġ ab"]


@functools.cache
def original(kind: str) -> nn.Module:
    """Return the random model that a file is written from."""
    torch.manual_seed(5)
    own = {"num_key_value_heads": 2} if kind == "llama" else {}
    config = config_of(
        kind, layers=2, words=len(PIECES), context=1024, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=kind == "llama", **own,
    )  # fmt: skip
    return moved(AutoModelForCausalLM.from_config(config))


def write_gguf(
    path: Path, kind: str = "llama", *, quantised: bool = False, said: str | None = None, **extra
) -> Path:
    """Write a model; `said` is the architecture that the file names, `extra` are metadata."""
    writer = GGUFWriter(path, said or kind)
    config, model = original(kind).config, original(kind)
    extra = {key.replace("__", "."): value for key, value in extra.items()}
    writer.add_block_count(extra.pop("llama.block_count", 2))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(32)
    writer.add_head_count(4)
    if kind == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(extra.pop("llama.feed_forward_length", 64))
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(8)
        writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(extra.pop("splitter", "smollm"))
    writer.add_token_list(PIECES)
    kinds = (TokenType.NORMAL, TokenType.CONTROL)
    writer.add_token_types([kinds[piece in SPECIAL] for piece in PIECES])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for key, value in extra.items():
        writer.add_uint32(key, value)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values, stored = _as_written(kind, name, weight.numpy())
        q8 = GGMLQuantizationType.Q8_0 if quantised and values.ndim == 2 else None
        writer.add_tensor(stored, quantize(values, q8) if q8 else values, raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _as_written(kind: str, name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a weight as llama.cpp stores it: what a rotation turns lies side by side."""
    if "q_proj" in name or "k_proj" in name:
        heads = values.shape[0] // 8
        values = values.reshape(heads, 2, 4, -1).swapaxes(1, 2).reshape(values.shape)
    if kind == "gpt2" and values.ndim == 2 and ".c_" in name:
        values = values.T
    names = get_tensor_name_map(MODEL_ARCH[kind.upper()], 2)
    return np.ascontiguousarray(values), names.get_name(name, try_suffixes=(".weight", ".bias"))
