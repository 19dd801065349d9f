"""Checkpoints of a training run: one safetensors file, replaced atomically, never a pickle."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from lookups.errors import SourceError
from safetensors.torch import save_file
from transformers import GPT2LMHeadModel

from tools.train.recipe import Recipe


class Checkpoint(NamedTuple):
    """Where a run stands after `step` steps."""

    step: int
    seconds: float
    curve: list[dict[str, Any]]
    losses: list[float]
    """Of the steps since the curve's last point."""


def identity_of(recipe: Recipe, data: str) -> str:
    """Return a digest of what decides the weights."""
    settings = dataclasses.asdict(recipe) | {"data": data}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def save_checkpoint(
    path: Path,
    model: GPT2LMHeadModel,
    optimizer: torch.optim.AdamW,
    standing: Checkpoint,
    identity: str,
) -> None:
    """Write weights, optimizer state and standing as one file that is whole or not there."""
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"weight/{name}"] = weight.detach()
        tensors |= {f"{key}/{name}": kept for key, kept in optimizer.state[weight].items()}
    tensors = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    metadata = {"identity": identity, "standing": json.dumps(standing._asdict())}
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, path)


def load_checkpoint(
    path: Path, model: GPT2LMHeadModel, optimizer: torch.optim.AdamW, identity: str
) -> Checkpoint:
    """Fill the model and the optimizer from a file, and return where the run stood.

    Raises:
        SourceError: the checkpoint belongs to another recipe or to other data.
    """
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise SourceError(
                f"The checkpoint in {path.parent} was made with another recipe or other data: "
                "choose another folder, or delete it to begin again."
            )
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors.pop(f"weight/{name}"))
            kept = {k: v for k, v in tensors.items() if k.split("/", 1)[1] == name}
            optimizer.state[weight] = {
                k.split("/")[0]: v.to(weight.device) for k, v in kept.items()
            }
    return Checkpoint(**json.loads(metadata["standing"]))
