"""Train a small GPT-2 whose neurons can be studied, and ship it (chapter 0 shows its curve).

One trainer for the English model and for the planted ones. It is deterministic: what a step sees
is a function of the recipe and the step's number, so a run that was killed goes on from its last
checkpoint to the same weights. Checkpoints are one safetensors file, replaced atomically.

Sequences begin with the BOS, id 0, and are one id longer than the context: the model reads all but
the last and predicts all but the first. Only torch, numpy, transformers, safetensors, tokenizers
and tqdm are needed, so `python -m lookups.training --data DIR --out DIR` runs on a bare GPU
machine; DIR holds `train.npy`, `test.npy` (flat streams of ids, a BOS between files) and
`tokenizer.json`.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import tokenizers
import torch
import transformers
from jaxtyping import Float, Int
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

from lookups.errors import CorpusError, ModelError
from lookups.following import BOS, measure_following, wordlike

RARE = 300
"""A token seen less often in training is no neuron's token: its embedding is mostly noise."""

Batches = Callable[[int], Int[Tensor, "prompt pos"]]
"""The sequences of a step, by the step's number alone."""

Measure = Callable[[GPT2LMHeadModel], dict[str, Any]]
"""What the curve records about a model in training."""


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


class Trained(NamedTuple):
    """What a run leaves: the model in float32, its curve, and what it took."""

    model: GPT2LMHeadModel
    curve: list[dict[str, Any]]
    seconds: float
    device: str


class HeldOut(NamedTuple):
    """Held-out text in the two cuts that the curve needs, and which tokens may count."""

    windows: Int[Tensor, "prompt pos"]
    """For the loss: context + 1 ids."""
    documents: Int[Tensor, "prompt pos"]
    """For following: 128 ids."""
    eligible: Tensor
    bytes_per_token: float


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
        bos_token_id=BOS,
        eos_token_id=BOS,
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
        return torch.nn.functional.pad(rows, (1, 0), value=BOS)

    return batch


def loss_of(model: GPT2LMHeadModel, ids: Int[Tensor, "prompt pos"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy, in nats, of predicting each id from those before it."""
    logits = model(ids[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def mean_loss(
    model: GPT2LMHeadModel, windows: Int[Tensor, "prompt pos"], *, batch: int = 64, bf16=False
) -> float:
    """Return the mean loss over all windows, in nats a token, without dropout."""
    training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        for rows in windows.split(batch):
            total += float(loss_of(model, rows.to(model.device).long())) * len(rows)
    model.train(training)
    return total / len(windows)


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


class Checkpoint(NamedTuple):
    """Where a run stands after `step` steps."""

    step: int
    seconds: float
    curve: list[dict[str, Any]]
    losses: list[float]
    """Of the steps since the curve's last point."""


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
        ModelError: the checkpoint belongs to another recipe or to other data.
    """
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise ModelError(
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


def identity_of(recipe: Recipe, data: str) -> str:
    """Return a digest of what decides the weights; `compile` only changes the speed."""
    settings = dataclasses.asdict(recipe) | {"compile": None, "data": data}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


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
    stop_after: int | None = None,
    say: Callable[[str], None] = tell,
) -> Trained:
    """Train, or go on training, and return the model with its curve.

    Args:
        data: a digest of what `batches` draws from; a checkpoint of other data is refused.
        stop_after: leave after this many steps with a checkpoint, as a kill would.
    """
    place = device_of_choice(device)
    folder.mkdir(parents=True, exist_ok=True)
    path, identity = folder / "checkpoint.safetensors", identity_of(recipe, data)
    model = new_model(recipe).to(place).train()
    optimizer = new_optimizer(model, recipe)
    standing = Checkpoint(0, 0.0, [], [])
    if path.exists():
        standing = load_checkpoint(path, model, optimizer, identity)
        say(f"going on from step {standing.step}")
    loss_here = torch.compile(loss_of) if recipe.compile else loss_of
    say(cost_beforehand(recipe, model, place))

    curve, began = list(standing.curve), time.monotonic() - standing.seconds
    losses = [torch.tensor(loss, device=place) for loss in standing.losses]
    last = min(recipe.steps, stop_after or recipe.steps)

    def note(step: int) -> None:
        mean = round(float(torch.stack(losses).mean()), 4) if losses else None
        losses.clear()
        seen = step * recipe.batch * recipe.context
        curve.append({"step": step, "tokens": seen, "train_loss": mean} | measure(model))
        say(f"{time.monotonic() - began:6.0f} s  " + json.dumps(curve[-1]))

    if not curve:
        note(0)
    steps = tqdm(range(standing.step, last), file=sys.stderr, disable=None, unit="step")
    with torch.random.fork_rng():
        for step in steps:
            if step - standing.step == 5:
                started = time.monotonic()  # compiling and warming up are behind us
            losses.append(one_step(recipe, loss_here, model, optimizer, batches(step), step))
            if step - standing.step == 24:
                float(losses[-1])  # wait for the device, or the clock has seen nothing
                say(cost_ahead(recipe, step, 20 / (time.monotonic() - started)))
            done = step + 1
            if done % measure_every == 0 or done == recipe.steps:
                note(done)
            if done % save_every == 0 or done == last:
                pending = [float(loss) for loss in losses]
                now = Checkpoint(done, time.monotonic() - began, curve, pending)
                save_checkpoint(path, model, optimizer, now, identity)
    return Trained(model.eval(), curve, time.monotonic() - began, name_of_device(place))


def one_step(
    recipe: Recipe,
    loss_here: Callable[..., Tensor],
    model: GPT2LMHeadModel,
    optimizer: torch.optim.AdamW,
    ids: Int[Tensor, "prompt pos"],
    step: int,
) -> Float[Tensor, ""]:
    """Take one step and return its loss, still on the device."""
    if recipe.dropout:
        torch.manual_seed(recipe.seed * 1_000_003 + step)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(step)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.bf16):
        loss = loss_here(model, ids.to(model.device, non_blocking=True))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def cost_beforehand(recipe: Recipe, model: GPT2LMHeadModel, place: torch.device) -> str:
    """Say what a run will cost, as far as it is known before the first step."""
    parameters = model.num_parameters()
    return (
        f"{parameters:,} parameters, {recipe.tokens:,} tokens in {recipe.steps:,} steps, about {6 * parameters * recipe.tokens:.1e} operations "
        f"on {name_of_device(place)}"
    )


def cost_ahead(recipe: Recipe, step: int, steps_a_second: float) -> str:
    """Say how long the rest will take, measurements not counted."""
    tokens = steps_a_second * recipe.batch * recipe.context
    minutes = (recipe.steps - step) / steps_a_second / 60
    return f"{tokens:,.0f} tokens/s, so about {minutes:.1f} minutes to go, measuring not counted"


def versions() -> dict[str, str]:
    """Return the versions that a training run depends on."""
    packages = (torch, transformers, tokenizers, np, safetensors)
    return {package.__name__: package.__version__ for package in packages}


def held_out(
    stream: Int[Tensor, " pos"],
    texts: list[str],
    counts: Int[Tensor, " vocab"],
    recipe: Recipe,
    *,
    text_bytes: int,
    windows: int = 1024,
    documents: int = 3000,
    length: int = 128,
) -> HeldOut:
    """Cut held-out text for the curve: windows for the loss, shorter documents for following."""

    length = min(length, recipe.context + 1)

    def rows(size: int, most: int) -> Int[Tensor, "prompt pos"]:
        whole = stream[: len(stream) // size * size].reshape(-1, size)
        chosen = np.random.default_rng(0).permutation(len(whole))[:most]
        return torch.nn.functional.pad(whole[torch.from_numpy(np.sort(chosen))], (1, 0), value=BOS)

    if len(stream) < max(recipe.context, length):
        raise CorpusError(
            f"The held-out text has {len(stream)} tokens, fewer than one window: give more text."
        )
    return HeldOut(
        windows=rows(recipe.context, windows),
        documents=rows(length - 1, documents),
        eligible=wordlike(texts) & (counts >= RARE),
        bytes_per_token=text_bytes / len(stream),
    )


def measure_english(held: HeldOut, *, bf16: bool) -> Measure:
    """Return the curve's question: held-out loss, and neurons followed by their token."""

    def measure(model: GPT2LMHeadModel) -> dict[str, Any]:
        nats = mean_loss(model, held.windows, bf16=bf16)
        bits = nats / math.log(2) / held.bytes_per_token
        found = measure_following(model, held.documents, held.eligible, bf16=bf16)
        return {"val_loss": round(nats, 4), "bits_per_byte": round(bits, 4)} | found.counts()

    return measure


def ship(
    trained: Trained,
    tokenizer: Path,
    folder: Path,
    *,
    counts: list[int],
    record: dict[str, Any],
    card: str,
    windows: Int[Tensor, "prompt pos"],
    shard: str = "1GB",
) -> float:
    """Write a Hugging Face folder in half precision, and return what the rounding cost in nats.

    The folder is built aside and put in place at the end, so a half-written model is never found.

    Raises:
        ModelError: rounding to float16 costs 0.001 nats or more on `windows`.
    """
    transformers.utils.logging.disable_progress_bar()
    before = mean_loss(trained.model, windows)
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    half = GPT2LMHeadModel(trained.model.config)
    half.load_state_dict(trained.model.state_dict())
    half.half().save_pretrained(aside, max_shard_size=shard)
    (aside / "generation_config.json").unlink(missing_ok=True)
    reloaded = GPT2LMHeadModel.from_pretrained(aside, dtype=torch.float32)
    cost = mean_loss(reloaded.to(trained.model.device), windows) - before
    if not cost < 0.001:
        raise ModelError(
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
    bos = Tokenizer.from_file(str(tokenizer)).id_to_token(BOS)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": bos,
        "model_max_length": model.config.n_positions,
        "clean_up_tokenization_spaces": False,
    }


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON: lists of numbers on one line, records readable."""
    indent = None if isinstance(value, list) else 1
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


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


class Corpus(NamedTuple):
    """A corpus as token streams, in memory."""

    train: Int[Tensor, " pos"]
    test: Int[Tensor, " pos"]
    tokenizer: Path
    texts: list[str]
    """What each id decodes to."""
    test_bytes: int
    """Length of the held-out text in UTF-8."""
    digest: str


def read_corpus(folder: Path) -> Corpus:
    """Read `train.npy`, `test.npy` and `tokenizer.json` of a folder.

    Raises:
        CorpusError: a file is missing or empty, or an id lies beyond the tokenizer's vocabulary.
    """
    files = [folder / name for name in ("train.npy", "test.npy", "tokenizer.json")]
    for file in files:
        if not file.is_file():
            raise CorpusError(f"{file} is missing: harvest and tokenise the corpus first.")
    train_ids, test_ids = (np.load(file, allow_pickle=False).astype(np.int32) for file in files[:2])
    tokenizer = Tokenizer.from_file(str(files[2]))
    size = tokenizer.get_vocab_size()
    for file, ids in zip(files, (train_ids, test_ids), strict=False):
        if ids.size == 0 or ids.max() >= size:
            raise CorpusError(
                f"{file} is empty or was not made with this tokenizer: make it again."
            )
    texts = [tokenizer.decode([i], skip_special_tokens=False) for i in range(size)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    test_bytes = len(tokenizer.decode(test_ids.tolist()).encode())
    streams = (torch.from_numpy(train_ids), torch.from_numpy(test_ids))
    return Corpus(*streams, files[2], texts, test_bytes, digest)


def train_english(
    data: Path,
    out: Path,
    recipe: Recipe | None = None,
    *,
    work: Path | None = None,
    device: str | None = None,
    measure_every: int = 500,
    save_every: int = 500,
    shard: str = "1GB",
    source: str = "",
    say: Callable[[str], None] = tell,
) -> dict[str, Any]:
    """Train the English model on a tokenised corpus, ship it to `out`, return its record.

    Args:
        work: where checkpoints go; beside `out` by default. Delete it to train from the start.
        source: the digest by which the corpus itself is known, for the record.
    """
    corpus = read_corpus(data)
    recipe = dataclasses.replace(recipe or Recipe(), vocabulary=len(corpus.texts))
    place = device_of_choice(device)
    counts = torch.bincount(corpus.train.long(), minlength=recipe.vocabulary)
    held = held_out(corpus.test, corpus.texts, counts, recipe, text_bytes=corpus.test_bytes)
    trained = train(
        recipe,
        stream_batches(corpus.train.to(place), recipe),
        measure_english(held, bf16=recipe.bf16),
        work or out.with_name(out.name + ".work"),
        data=corpus.digest,
        device=str(place),
        measure_every=measure_every,
        save_every=save_every,
        say=say,
    )
    facts = {
        "digest": corpus.digest,
        "corpus": source,
        "train_tokens": len(corpus.train),
        "test_tokens": len(corpus.test),
        "bytes_per_token": round(held.bytes_per_token, 4),
    }
    record = training_record(recipe, trained, facts)
    card = english_card(record)
    cost = ship(
        trained,
        corpus.tokenizer,
        out,
        counts=counts.tolist(),
        record=record,
        card=card,
        windows=held.windows,
        shard=shard,
    )
    say(f"shipped; half precision costs {cost:+.6f} nats a token")
    return record


def english_card(record: dict[str, Any]) -> str:
    """Return the model card of the English model."""
    recipe, last, data = record["recipe"], record["curve"][-1], record["data"]
    return f"""---
language: en
license: other
tags: [gpt2, interpretability]
---
# A small English model for looking inside

A GPT-2-shaped language model, small enough to study every neuron on two CPU cores. It was made so
that context look-ups (an attention head switching on a neuron that writes one word) can be found,
checked and shown without a download. It is not meant for writing text.

| | |
| --- | --- |
| parameters | {record["parameters"]:,} |
| shape | {recipe["n_layer"]} layers, {recipe["n_head"]} heads, d_model {recipe["d_model"]}, \
d_mlp {recipe["d_mlp"]}, context {recipe["context"]}, vocabulary {recipe["vocabulary"]} |
| trained on | {record["tokens"] / 1e6:.1f} M tokens: \
{record["tokens"] / data["train_tokens"]:.1f} passes over {data["train_tokens"] / 1e6:.2f} M |
| held-out loss | {last["val_loss"]} nats a token, {last["bits_per_byte"]} bits a byte |
| neurons followed by their token, a layer | {", ".join(map(str, last["followed"]))} |
| precision | half (float16); trained in float32 with bfloat16 autocast |

Every sequence begins with the token of id 0, exactly once. The unembedding is not tied to the
embedding. `training.json` holds the recipe and the whole curve, `token_counts.json` how often each
token occurred in training.

## Data
English prose from the docstrings and comments of published Python packages (the corpus module of
this project names them, with versions). These texts belong to their authors and are under the
packages' licences: BSD, Apache-2.0, MIT and PSF-style. The corpus is not shipped; anyone can
harvest it again from the packages. The held-out text comes from other files of the same packages.

## Limits
It knows the register of technical documentation and little else, states things that are not so,
and has seen no text in other languages. Held-out files share authors and habits with the training
files, so its loss says nothing about other kinds of text. Like any model of such size it repeats
phrases of its training data word for word.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run `train_english` from a command line, with an option for every field of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m lookups.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="train.npy, test.npy, tokenizer")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shipped model")
    parser.add_argument("--work", type=Path, help="folder of the checkpoints (beside --out)")
    parser.add_argument("--device", help="cuda or cpu; the GPU when there is one")
    parser.add_argument("--measure-every", type=int, default=500)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--shard", default="1GB", help="largest weight file, such as 15MB")
    parser.add_argument("--source", default="", help="digest of the corpus, for the record")
    for field in dataclasses.fields(Recipe):
        option = "--" + field.name.replace("_", "-")
        if field.type is bool:
            action = argparse.BooleanOptionalAction
            parser.add_argument(option, action=action, default=field.default)
        else:
            parser.add_argument(option, type=field.type, default=field.default)
    options = vars(parser.parse_args(arguments))
    chosen = {field.name: options.pop(field.name) for field in dataclasses.fields(Recipe)}
    train_english(options.pop("data"), options.pop("out"), Recipe(**chosen), **options)


if __name__ == "__main__":
    main()
