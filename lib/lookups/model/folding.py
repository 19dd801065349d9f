"""Process the weights of a Llama in place: what TransformerLens does with copies, without them.

Each norm's gain goes into the matrices that read its output, the unembedding is centred over the
vocabulary, and value biases go into the output bias. Log-probabilities stay as they are. The
compatibility mode of TransformerLens gives the same numbers (a test holds the two equal), but
copies all weights three times on the way, and computes in float32 what it then returns as float64.
"""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def fold_llama(model: Any) -> None:
    """Process a freshly loaded `LlamaForCausalLM` in place."""
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        _fold_gain(layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj)
        _fold_gain(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        if attention.v_proj.bias is not None:
            _fold_value_bias(attention)
    model.config.tie_word_embeddings = False  # the unembedding becomes a matrix of its own
    unembedding = model.lm_head.weight.to(_at_least_float32(model.lm_head.weight))
    unembedding = unembedding * model.model.norm.weight
    unembedding -= unembedding.mean(0)
    model.lm_head.weight = nn.Parameter(unembedding.to(model.lm_head.weight.dtype))
    model.model.norm.weight.fill_(1)


def _fold_gain(norm: Any, *readers: nn.Linear) -> None:
    """Scale the columns of the matrices that read a norm's output; its gain becomes 1."""
    for reader in readers:
        weight = reader.weight.to(_at_least_float32(reader.weight)) * norm.weight
        reader.weight = nn.Parameter(weight.to(reader.weight.dtype))
    norm.weight.fill_(1)


def _fold_value_bias(attention: Any) -> None:
    """Add to the output bias what the value biases always write: attention sums to 1."""
    value, output = attention.v_proj, attention.o_proj
    kind = _at_least_float32(value.weight)
    by_head = value.bias.to(kind).reshape(-1, attention.head_dim)
    by_head = by_head.repeat_interleave(attention.num_key_value_groups, dim=0)
    output.bias.copy_(output.bias.to(kind) + output.weight.to(kind) @ by_head.flatten())
    value.bias.zero_()


def _at_least_float32(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)
