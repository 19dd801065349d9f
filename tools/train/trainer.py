"""The training loop for small GPT-2 models: seeded, resumable, with its cost told beforehand.

On one kind of machine a run that was killed and started again ends in the same weights as one that
was not. What the curve records is the caller's question (`Measure`). Progress goes to standard
error.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm
from transformers import GPT2LMHeadModel

from tools.train.recipe import Batches, Recipe, new_model, new_optimizer
from tools.train.training_state import Checkpoint, identity_of, load_checkpoint, save_checkpoint

Measure = Callable[[GPT2LMHeadModel], dict[str, Any]]
"""What the curve records about a model in training."""

WARM = 5
"""Steps before the clock is read: compiling and first allocations are not typical."""


class Trained(NamedTuple):
    """What a run leaves: the model in float32, its curve, and what it took."""

    model: GPT2LMHeadModel
    curve: list[dict[str, Any]]
    seconds: float
    device: str


def tell(line: str) -> None:
    """Say a line on standard error, above any progress bar."""
    tqdm.write(line, file=sys.stderr)


def device_of_choice(device: str | None = None) -> torch.device:
    """Return the device that was asked for, or the GPU when there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def name_of_device(device: torch.device) -> str:
    """Name a device for the record, without anything that tells one machine from another."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def loss_of(model: GPT2LMHeadModel, ids: Int[Tensor, "prompt pos"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy, in nats, of predicting each id from those before it."""
    logits = model(ids[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def mean_loss(
    model: GPT2LMHeadModel, windows: Int[Tensor, "prompt pos"], *, batch: int = 64
) -> float:
    """Return the mean loss over all windows, in nats a token."""
    training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad():
        for rows in windows.split(batch):
            total += float(loss_of(model, rows.to(model.device).long())) * len(rows)
    model.train(training)
    return total / len(windows)


class _Run:
    """A run on its way: the model, its optimizer, and what has been recorded so far."""

    def __init__(self, recipe: Recipe, folder: Path, data: str, place: torch.device) -> None:
        self.recipe, self.identity = recipe, identity_of(recipe, data)
        self.path = folder / "checkpoint.safetensors"
        self.model = new_model(recipe).to(place).train()
        if place.type == "cpu":  # the fused attention's backward pass takes a third of a CPU step
            self.model.set_attn_implementation("eager")
        self.optimizer = new_optimizer(self.model, recipe)
        standing = Checkpoint(0, 0.0, [], [])
        if self.path.exists():
            standing = load_checkpoint(self.path, self.model, self.optimizer, self.identity)
        self.first, self.curve = standing.step, list(standing.curve)
        self.losses = [torch.tensor(loss, device=place) for loss in standing.losses]
        self.began = time.monotonic() - standing.seconds

    @property
    def seconds(self) -> float:
        """How long the run has taken, over all its parts."""
        return time.monotonic() - self.began

    def step(self, number: int, ids: Int[Tensor, "prompt pos"]) -> None:
        """Take one step; its loss stays on the device, so nothing waits for it."""
        recipe, place = self.recipe, self.model.device
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(number)
        loss = loss_of(self.model, ids.to(place, non_blocking=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.detach())

    def measure(self, step: int, measure: Measure) -> str:
        """Add a point to the curve and return it as a line."""
        mean = round(float(torch.stack(self.losses).mean()), 4) if self.losses else None
        self.losses.clear()
        seen = step * self.recipe.batch * self.recipe.context
        point = {"step": step, "tokens": seen, "train_loss": mean}
        self.curve.append(point | measure(self.model))
        return f"{self.seconds:6.0f} s  " + json.dumps(self.curve[-1])

    def save(self, step: int) -> None:
        """Replace the checkpoint."""
        pending = [float(loss) for loss in self.losses]
        standing = Checkpoint(step, self.seconds, self.curve, pending)
        save_checkpoint(self.path, self.model, self.optimizer, standing, self.identity)


def train(
    recipe: Recipe,
    batches: Batches,
    measure: Measure,
    folder: Path,
    *,
    data: str,
    device: str | None = None,
    measure_every: int = 500,
    save_every: int = 500,
    say: Callable[[str], None] = tell,
) -> Trained:
    """Train, or go on from the checkpoint in `folder`, and return the model with its curve.

    Args:
        data: a digest of what `batches` draws from.

    Raises:
        SourceError: the checkpoint is of another recipe or of other data.
    """
    place = device_of_choice(device)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, folder, data, place)
    say(f"{cost_beforehand(recipe, run.model)} on {name_of_device(place)}")
    if run.first:
        say(f"going on from step {run.first}")
    if not run.curve:
        say(run.measure(0, measure))
    steps = range(run.first, recipe.steps)
    with torch.random.fork_rng():
        for step in tqdm(steps, file=sys.stderr, disable=None, unit="step"):
            if step - run.first == WARM:
                started = time.monotonic()
            run.step(step, batches(step))
            if step - run.first == WARM + 19:
                float(run.losses[-1])  # wait for the device, or the clock has seen nothing
                say(cost_ahead(recipe, step, 20 / (time.monotonic() - started)))
            done = step + 1
            if done % measure_every == 0 or done == recipe.steps:
                say(run.measure(done, measure))
            if done % save_every == 0 or done == recipe.steps:
                run.save(done)
    return Trained(run.model.eval(), run.curve, run.seconds, name_of_device(place))


def cost_beforehand(recipe: Recipe, model: GPT2LMHeadModel) -> str:
    """Say what a run will cost, as far as it is known before the first step."""
    parameters = model.num_parameters()
    operations = 6 * parameters * recipe.tokens
    return (
        f"{parameters:,} parameters, {recipe.tokens:,} tokens in {recipe.steps:,} steps, "
        f"about {operations:.1e} operations"
    )


def cost_ahead(recipe: Recipe, step: int, steps_a_second: float) -> str:
    """Say how long the rest will take, measurements not counted."""
    tokens = steps_a_second * recipe.batch * recipe.context
    minutes = (recipe.steps - step) / steps_a_second / 60
    return f"{tokens:,.0f} tokens/s, so about {minutes:.1f} minutes to go, measuring not counted"
