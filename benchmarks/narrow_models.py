"""The models of the shipped runs, narrow: true layers, heads and neurons, random weights.

What breaks with the paper's models and not with tiny ones are their numbers: forty-eight layers,
heads that divide unevenly, neurons whose index is beyond a thousand. Only heads and vocabulary are
small. A run file of a few lines `extends:` the shipped one and names the folder for the hub's id.
"""

import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tiny  # of the tests, whose folder is on the path of whoever imports this
import torch
import yaml
from torch import nn
from transformers import AutoModelForCausalLM


class Shape(NamedTuple):
    """The numbers of a real configuration (config.json of the model's page on the hub)."""

    kind: Literal["gpt2", "neox", "llama"]
    layers: int
    heads: int
    d_mlp: int
    context: int
    key_value_heads: int | None = None

    @property
    def gated(self) -> bool:
        return self.kind == "llama"


SHAPES = {
    "gpt2-small": Shape("gpt2", 12, 12, 3072, 1024),
    "gpt2-medium": Shape("gpt2", 24, 16, 4096, 1024),
    "gpt2-large": Shape("gpt2", 36, 20, 5120, 1024),
    "gpt2-xl": Shape("gpt2", 48, 25, 6400, 1024),
    "pythia-160m": Shape("neox", 12, 12, 3072, 2048),
    "pythia-410m": Shape("neox", 24, 16, 4096, 2048),
    "pythia-1.4b": Shape("neox", 24, 16, 8192, 2048),
    "smollm2-base": Shape("llama", 30, 9, 1536, 8192, key_value_heads=3),
}
"""By the id of the run that reads the model."""

WORDS = 160  # of the small tokenizer
VOCABULARY = 176  # ids of the models: more than the tokenizer has, as in Pythia


def random_model(
    run: str, d_head: int, *, words: int = VOCABULARY, context: int = tiny.CONTEXT
) -> nn.Module:
    """Build the narrow model, or a wider one; the same every time."""
    torch.manual_seed(list(SHAPES).index(run))
    shape = SHAPES[run]
    own = {"num_key_value_heads": shape.key_value_heads, "tie_word_embeddings": True}
    config = tiny.config_of(
        shape.kind, width=shape.heads * d_head, layers=shape.layers, heads=shape.heads,
        mlp=shape.d_mlp, words=words, context=context, **(own if shape.gated else {}),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # gains and biases away from 1 and 0
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:  # what is written outweighs the embeddings, so that contexts make a difference
                is_embedding = any(word in name for word in ("wte", "wpe", "embed"))
                parameter.normal_(std=0.3 if is_embedding else min(parameter.shape) ** -0.5)
    return model.eval()


@functools.cache
def narrow_model(run: str, d_head: int) -> Path:
    """Return the Hugging Face folder of a run's narrow model."""
    path = tiny.scratch(run)
    random_model(run, d_head).save_pretrained(path)
    special = dict.fromkeys(("bos_token", "eos_token"), "<|bos|>")
    tiny.random_tokenizer(WORDS, **special).save_pretrained(path)
    return path


def run_file(
    folder: Path, run: str, *, documents: int, length: int, d_head: int = 8, **changes: Any
) -> Path:
    """Write a run that extends a shipped one: its model's narrow folder, a few texts."""
    file, path = folder / "texts.txt", folder / f"narrow-{run}.yml"
    texts = tiny.texts(3 * documents, words=length, vocabulary=WORDS)
    file.write_text("\n\n".join(texts), "utf-8")
    content = {
        "extends": run,
        "model": {"name": str(narrow_model(run.removesuffix("-paper"), d_head)), "device": "cpu"},
        "corpus": {"name": str(file), "held_out": None, "documents": documents, "length": length},
        "longest": length,
    }
    path.write_text(yaml.safe_dump(content | changes), "utf-8")
    return path
