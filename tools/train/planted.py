"""Train the planted models, tiny transformers of the language of `corpus.grammar`, and ship them.

`python -m tools.train.planted` makes the three seeds of the package again, each in about two
minutes on a CPU; it goes on where a killed one stopped.
"""

import argparse
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from lookups.corpus.grammar import (
    BOS_ID,
    BOS_TEXT,
    GRAMMAR,
    KINDS,
    SEEDS,
    Document,
    Grammar,
    labelled_documents,
)
from lookups.paths import EMBEDDED, folder
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import GPT2LMHeadModel

from tools.train.recipe import Recipe
from tools.train.shipping import ship, training_record
from tools.train.trainer import Measure, Trained, mean_loss, tell, train

Card = Callable[[dict[str, Any]], str]
"""Writes the model card from the training record."""
ABOUT = """`lookups.corpus.grammar` is the
language; `tools/train` makes this model again."""


def planted_recipe(seed: int, grammar: Grammar = GRAMMAR) -> Recipe:
    """Return the recipe: more weight decay (0.3) leaves nothing in the MLPs to be found."""
    return Recipe(
        n_layer=2,
        n_head=8,
        d_model=64,
        d_mlp=256,
        context=grammar.length + 1,
        vocabulary=len(grammar.words),
        batch=32,
        steps=2200,
        lr=5e-3,
        warmup=50,
        decay_share=0.6,
        final_share=0.02,
        beta1=0.9,
        beta2=0.98,
        weight_decay=0.01,
        seed=seed,
    )


def sequences(documents: list[Document]) -> Int[Tensor, "prompt pos"]:
    """Return documents of one length as rows, each after the BOS."""
    ids = torch.tensor([document.ids for document in documents])
    return torch.nn.functional.pad(ids, (1, 0), value=BOS_ID)


def planted_tokenizer(grammar: Grammar = GRAMMAR) -> Tokenizer:
    """Return a tokenizer whose tokens are the words of the language, with their leading space.

    It adds no BOS and reads any white space as one space. A word of another language becomes the
    BOS, which documents refuse (`lookups.packing.tokenized`).
    """
    tokenizer = Tokenizer(models.WordLevel(dict(grammar.ids), unk_token=BOS_TEXT))
    white = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([white, normalizers.Replace(Regex("^ ?"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" [^ .]+|\."), "removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(BOS_TEXT, special=True)])
    return tokenizer


def digest_of(rows: Int[Tensor, "prompt pos"]) -> str:
    """Return the digest by which training documents are known."""
    return hashlib.sha256(rows.numpy().tobytes()).hexdigest()


def slot_accuracy(
    model: GPT2LMHeadModel, documents: list[Document], *, batch: int = 100
) -> dict[str, float]:
    """Return, for each kind of context, how often the most likely word at a slot is its target."""
    model.eval()
    ids = sequences(documents)
    with torch.no_grad():
        guesses = [
            model(rows.to(model.device)).logits.argmax(-1).cpu() for rows in ids.split(batch)
        ]
    guess = torch.cat(guesses)[:, 1:]
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for row, document in zip(guess, documents, strict=True):
        for slot in document.slots:
            right[slot.kind].append(int(row[slot.position]) == slot.target)
    return {kind: round(sum(hits) / max(1, len(hits)), 4) for kind, hits in right.items()}


def measure_planted(grammar: Grammar, *, documents: int = 500) -> Measure:
    """Return the curve's question: loss, and accuracy by kind."""
    held = labelled_documents("test", documents, grammar=grammar)

    def measure(model: GPT2LMHeadModel) -> dict[str, Any]:
        training = model.training
        found = {"val_loss": round(mean_loss(model, sequences(held)), 4)}
        found["accuracy"] = slot_accuracy(model, held)
        model.train(training)
        return found

    return measure


def train_planted(
    seed: int,
    out: Path | None = None,
    *,
    recipe: Recipe | None = None,
    grammar: Grammar = GRAMMAR,
    work: Path | None = None,
    device: str | None = "cpu",
    held_out: int = 2000,
    card: Card | None = None,
    say: Callable[[str], None] = tell,
) -> dict[str, Any]:
    """Train the planted model of a seed and ship it in place of the one in the package.

    No document is seen twice. On the CPU the same seed gives the same weights on the same kind of
    machine. Checkpoints lie in `work` (by default among the user's models) until it is shipped.
    """
    out = out or EMBEDDED / f"planted-{seed}"
    recipe = recipe or planted_recipe(seed, grammar)
    many = recipe.steps * recipe.batch
    texts = labelled_documents("train", many, seed=seed, grammar=grammar, length=recipe.context)
    rows = sequences(texts)
    checkpoints = work or folder("models") / f"{out.name}.work"
    trained = train(
        recipe,
        lambda step: rows[step * recipe.batch : (step + 1) * recipe.batch],
        measure_planted(grammar, documents=min(500, held_out)),
        checkpoints,
        data=digest_of(rows),
        device=device,
        measure_every=200,
        say=say,
    )
    held = labelled_documents("test", held_out, grammar=grammar)
    record = ship_planted(trained, recipe, grammar, rows, held, out, card or planted_card)
    if work is None:
        shutil.rmtree(checkpoints)
    return record


def ship_planted(
    trained: Trained,
    recipe: Recipe,
    grammar: Grammar,
    rows: Int[Tensor, "prompt pos"],
    held: list[Document],
    out: Path,
    card: Card,
) -> dict[str, Any]:
    """Write a planted model's folder and return its record."""
    counts = torch.bincount(rows[:, 1:].flatten(), minlength=recipe.vocabulary).tolist()
    facts = {"digest": digest_of(rows), "documents": len(rows), "train_tokens": sum(counts)}
    record = training_record(recipe, trained, facts)
    record["accuracy"] = slot_accuracy(trained.model, held)
    windows = sequences(held)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = Path(scratch) / "tokenizer.json"
        planted_tokenizer(grammar).save(str(tokenizer))
        shown = {"card": card(record), "windows": windows}
        ship(trained, tokenizer, out, counts=counts, record=record, **shown)
    return record


def planted_card(record: dict[str, Any], *, title: str | None = None, about: str = ABOUT) -> str:
    """Return the model card of a planted model."""
    recipe = record["recipe"]
    reached = ", ".join(f"{kind} {share:.3f}" for kind, share in record["accuracy"].items())
    return f"""---
tags: [gpt2, interpretability, synthetic]
---
# {title or f"A planted model, seed {recipe['seed']}"}

A tiny GPT-2-shaped model of a made-up language in which known contexts call for known words, so
that a method for finding look-ups can be checked against the truth. {about}

| | |
| --- | --- |
| parameters | {record["parameters"]:,} |
| shape | {recipe["n_layer"]} layers, {recipe["n_head"]} heads, d_model {recipe["d_model"]}, \
d_mlp {recipe["d_mlp"]}, context {recipe["context"]}, vocabulary {recipe["vocabulary"]} |
| trained on | {record["data"]["documents"]:,} documents, none seen twice |
| right word at a slot, held out | {reached} |
| precision | half (float16); trained in float32 |

Every sequence begins with the token of id 0, exactly once. The data are generated: they contain no
text by anyone. It knows nothing but its {recipe["vocabulary"]} words.
"""


def main(arguments: list[str] | None = None) -> None:
    """Train the seeds that ship, or one of them."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.planted", description=__doc__)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--out", type=Path, help="a folder in place of the shipped model's")
    chosen = parser.parse_args(arguments)
    if chosen.out is not None and chosen.seed is None:
        parser.error("--out holds one model; say which with --seed")
    for seed in SEEDS if chosen.seed is None else (chosen.seed,):
        train_planted(seed, chosen.out)


if __name__ == "__main__":
    main()
