"""What decides a training run: the recipe, the untrained model, and what every step sees.

All of it follows from the recipe and a step's number, which is what lets `lookups.trainer` go on
after a kill as if nothing had happened. Sequences begin with the BOS, id 0, and are one id longer
than the context: the model reads all but the last and predicts all but the first.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from lookups.errors import CorpusError
from lookups.muon import Muon
from lookups.vocabulary import BOS_ID

Batches = Callable[[int], Int[Tensor, "prompt pos"]]
"""The sequences of a step, by the step's number alone."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the data and the machine."""

    n_layer: int = 4
    n_head: int = 8
    d_model: int = 256
    d_mlp: int = 1024
    context: int = 256  # positions, the BOS among them
    vocabulary: int = 4096
    batch: int = 8  # sequences a step
    steps: int = 10_000
    lr: float = 2e-3
    warmup: int = 100  # steps
    decay_share: float = 0.7  # share of the steps, at the end, over which lr falls linearly
    final_share: float = 0.02  # of lr, at the end
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1  # on matrices; never on embeddings, biases and LayerNorms
    dropout: float = 0.0
    optimizer: str = "adamw"  # or "muon": orthogonalised steps for the blocks' matrices
    seed: int = 0
    bf16: bool = True  # autocast; weights and optimizer stay in float32
    compile: bool = False

    @property
    def tokens(self) -> int:
        """How many tokens the whole run predicts."""
        return self.steps * self.batch * self.context

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, plateau, linear decay."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1e-9, self.steps * self.decay_share)
        return self.lr * warm * max(self.final_share, min(1.0, left))


def new_model(recipe: Recipe) -> GPT2LMHeadModel:
    """Return the untrained model of a recipe, its weights drawn from the recipe's seed."""
    config = GPT2Config(
        vocab_size=recipe.vocabulary,
        n_positions=recipe.context,
        n_embd=recipe.d_model,
        n_layer=recipe.n_layer,
        n_head=recipe.n_head,
        n_inner=recipe.d_mlp,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
        use_cache=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return GPT2LMHeadModel(config)


def stream_batches(stream: Int[Tensor, " pos"], recipe: Recipe) -> Batches:
    """Cut a stream into windows, every one once an epoch, at a new phase and order each epoch.

    A window is `context` consecutive tokens to predict; the BOS stands before the first of them.
    Batches run on over the end of an epoch, so none is short and none is dropped.
    """
    windows = (len(stream) - recipe.context) // recipe.context
    if windows < 1:
        raise CorpusError(
            f"A stream of {len(stream)} tokens is too short for a context of {recipe.context}: "
            "give more text, or a shorter context."
        )
    offsets = torch.arange(recipe.context, device=stream.device)

    @lru_cache(maxsize=2)
    def starts(epoch: int) -> Int[Tensor, " prompt"]:
        rng = np.random.default_rng([recipe.seed, epoch])
        first = rng.integers(recipe.context) + recipe.context * rng.permutation(windows)
        return torch.from_numpy(first).to(stream.device)

    def batch(step: int) -> Int[Tensor, "prompt pos"]:
        wanted = range(step * recipe.batch, (step + 1) * recipe.batch)
        epochs = range(wanted[0] // windows, wanted[-1] // windows + 1)
        line = torch.cat([starts(epoch) for epoch in epochs])
        begin = wanted[0] - epochs[0] * windows
        rows = stream[line[begin : begin + recipe.batch, None] + offsets].long()
        return torch.nn.functional.pad(rows, (1, 0), value=BOS_ID)

    return batch


def new_optimizer(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW that decays the blocks' and the unembedding's matrices and nothing else.

    With `optimizer: muon`, the blocks' matrices are decayed and orthogonalised, nothing else is.
    """

    def decays(name: str, weight: Tensor) -> bool:
        return weight.dim() == 2 and "wte" not in name and "wpe" not in name

    named = list(model.named_parameters())
    if recipe.optimizer == "muon":
        blocks = {n for n, w in named if w.dim() == 2 and ".h." in n}
        decayed = {"weight_decay": recipe.weight_decay, "orthogonal": True}
        groups = [
            {"params": [w for n, w in named if n in blocks]} | decayed,
            {"params": [w for n, w in named if n not in blocks], "weight_decay": 0.0},
        ]
        return Muon(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
    groups = [
        {"params": [w for n, w in named if decays(n, w)], "weight_decay": recipe.weight_decay},
        {"params": [w for n, w in named if not decays(n, w)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
