"""What decides a training run: the recipe, the untrained model, and what every step sees.

All of it follows from the recipe and a step's number, which is what lets the trainer go on after a
kill as if nothing had happened. Sequences begin with the BOS, id 0, and are one id longer than the
context: the model reads all but the last and predicts all but the first.
"""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Int
from lookups.corpus.grammar import BOS_ID
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

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
    seed: int = 0

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
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
        use_cache=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return GPT2LMHeadModel(config)


def new_optimizer(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW that decays the blocks' and the unembedding's matrices and nothing else."""

    def decays(name: str, weight: Tensor) -> bool:
        return weight.dim() == 2 and "wte" not in name and "wpe" not in name

    named = list(model.named_parameters())
    groups = [
        {"params": [w for n, w in named if decays(n, w)], "weight_decay": recipe.weight_decay},
        {"params": [w for n, w in named if not decays(n, w)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
