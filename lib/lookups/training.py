"""Train the English model on a tokenised corpus and ship it (chapter 0 shows its curve).

Only torch, numpy, transformers, safetensors, tokenizers, jaxtyping, einops and tqdm are needed, so
`python -m lookups.training --data DIR --out DIR` runs on a bare GPU machine. DIR holds `train.npy`
and `test.npy` (flat streams of ids, a BOS, id 0, before every file) and `tokenizer.json`. The
corpus itself is the matter of `lookups.corpus`, the loop that of `lookups.trainer`.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

from lookups.errors import CorpusError
from lookups.following import measure_following, wordlike
from lookups.paths import EMBEDDED, folder
from lookups.recipe import Recipe, stream_batches
from lookups.shipping import ship, training_record
from lookups.trainer import Measure, device_of_choice, mean_loss, tell, train
from lookups.vocabulary import BOS_ID

RARE = 300
"""A token seen less often in training is no neuron's token: its embedding is mostly noise."""


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


def read_corpus(data: Path) -> Corpus:
    """Read `train.npy`, `test.npy` and `tokenizer.json` of a folder.

    Raises:
        CorpusError: a file is missing or empty, or an id lies beyond the tokenizer's vocabulary.
    """
    files = [data / name for name in ("train.npy", "test.npy", "tokenizer.json")]
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


class HeldOut(NamedTuple):
    """Held-out text in the two cuts that the curve needs, and which tokens may count."""

    windows: Int[Tensor, "prompt pos"]
    """For the loss: context + 1 ids."""
    documents: Int[Tensor, "prompt pos"]
    """For following: 128 ids."""
    eligible: Bool[Tensor, " vocab"]
    bytes_per_token: float


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
        return torch.nn.functional.pad(
            whole[torch.from_numpy(np.sort(chosen))], (1, 0), value=BOS_ID
        )

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
        work: where checkpoints lie; by default among the user's models, until it is shipped.
        source: the digest by which the corpus itself is known, for the record.
    """
    corpus = read_corpus(data)
    recipe = dataclasses.replace(recipe or Recipe(), vocabulary=len(corpus.texts))
    checkpoints = work or folder("models") / f"{out.name}.work"
    place = device_of_choice(device)
    counts = torch.bincount(corpus.train.long(), minlength=recipe.vocabulary)
    held = held_out(corpus.test, corpus.texts, counts, recipe, text_bytes=corpus.test_bytes)
    trained = train(
        recipe,
        stream_batches(corpus.train.to(place), recipe),
        measure_english(held, bf16=recipe.bf16),
        checkpoints,
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
    if work is None:
        shutil.rmtree(checkpoints)
    say(f"shipped; half precision costs {cost:+.6f} nats a token")
    return record


def train_embedded(
    out: Path | None = None,
    *,
    seed: int | None = None,
    device: str | None = None,
    say: Callable[[str], None] = tell,
) -> dict[str, Any]:
    """Train the model that ships as `embedded` again: harvest, tokenise, train, ship.

    The recipe is the one that its record states; a GPU only changes the last digits.
    """
    from lookups.streams import prose_streams  # needs the corpus packages; a GPU machine may not

    out = out or EMBEDDED / "english"
    stated = json.loads((EMBEDDED / "english" / "training.json").read_text(encoding="utf-8"))
    recipe = Recipe(**stated["recipe"])
    if seed is not None:
        recipe = dataclasses.replace(recipe, seed=seed)
    say("reading the corpus; harvesting it takes a minute or two the first time")
    streams = prose_streams(recipe.vocabulary)
    points = [point["step"] for point in stated["curve"]]
    return train_english(
        streams.folder,
        out,
        recipe,
        device=device,
        measure_every=points[1] - points[0],
        source=streams.digest,
        say=say,
    )


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
| precision | half (float16); trained in {"bfloat16 autocast" if recipe["bf16"] else "float32"} |
| optimizer | {"Muon and AdamW" if recipe["optimizer"] == "muon" else "AdamW"} |
| corpus | digest `{data["corpus"][:16]}…` (`training.json` has it whole) |

Every sequence begins with the token of id 0, exactly once. The unembedding is not tied to the
embedding. `training.json` holds the recipe and the whole curve, `token_counts.json` how often each
token occurred in training.

## Data
English prose from the docstrings and comments of published Python packages (the corpus module of
this project names them, with versions). These texts belong to their authors and are under the
packages' licences: BSD, Apache-2.0, MIT and PSF-style. The corpus is not shipped; anyone can
harvest it again from the packages. The held-out text comes from other files of the same packages.
Where the digest above is not that of the corpus the book reads, cleaning rules changed after
training; files fall into the same splits all the same.

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
    parser.add_argument("--work", type=Path, help="folder of the checkpoints (in models)")
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
