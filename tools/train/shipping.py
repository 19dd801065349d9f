"""How a trained model is shipped: a Hugging Face folder in half precision, with its record."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from jaxtyping import Int
from lookups.corpus.grammar import BOS_ID
from lookups.errors import SourceError
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

from tools.train.recipe import Recipe
from tools.train.trainer import Trained, mean_loss


def ship(
    trained: Trained,
    tokenizer: Path,
    folder: Path,
    *,
    counts: list[int],
    record: dict[str, Any],
    card: str,
    windows: Int[Tensor, "prompt pos"],
) -> float:
    """Write a Hugging Face folder in half precision, and return what the rounding cost in nats.

    The folder is built aside and put in place at the end, so a half-written model is never found.

    Raises:
        SourceError: rounding to float16 costs 0.001 nats or more on `windows`.
    """
    transformers.utils.logging.disable_progress_bar()
    before = mean_loss(trained.model, windows)
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    half = GPT2LMHeadModel(trained.model.config)
    half.load_state_dict(trained.model.state_dict())
    half.half().save_pretrained(aside)
    (aside / "generation_config.json").unlink(missing_ok=True)
    reloaded = GPT2LMHeadModel.from_pretrained(aside, dtype=torch.float32)
    cost = mean_loss(reloaded.to(trained.model.device), windows) - before
    if not cost < 0.001:
        raise SourceError(
            f"Rounding the weights to half precision costs {cost:.4f} nats a token: "
            "train with a lower learning rate or more weight decay, or ship in float32."
        )
    shutil.copyfile(tokenizer, aside / "tokenizer.json")
    write_json(aside / "tokenizer_config.json", tokenizer_config(tokenizer, trained.model))
    write_json(aside / "token_counts.json", counts)
    write_json(aside / "training.json", record | {"rounding_cost": cost})
    (aside / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
    return cost


def tokenizer_config(tokenizer: Path, model: GPT2LMHeadModel) -> dict[str, Any]:
    """Return what `AutoTokenizer` needs to load a bare `tokenizer.json`."""
    bos = Tokenizer.from_file(str(tokenizer)).id_to_token(BOS_ID)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": bos,
        "model_max_length": model.config.n_positions,
        "clean_up_tokenization_spaces": False,
    }


def training_record(recipe: Recipe, trained: Trained, data: dict[str, Any]) -> dict[str, Any]:
    """Return what `training.json` says about a run; paths and machine names stay out."""
    return {
        "recipe": dataclasses.asdict(recipe),
        "parameters": trained.model.num_parameters(),
        "tokens": recipe.tokens,
        "data": data,
        "device": trained.device,
        "seconds": round(trained.seconds, 1),
        "versions": versions(),
        "curve": trained.curve,
    }


def versions() -> dict[str, str]:
    """Return the versions that a training run depends on."""
    packages = (torch, transformers, tokenizers, np, safetensors)
    return {package.__name__: package.__version__ for package in packages}


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON: lists of numbers on one line, records readable."""
    indent = None if isinstance(value, list) else 1
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
