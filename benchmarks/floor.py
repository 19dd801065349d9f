"""How near do the chapters of the default run come to the least that they could take?

The floor of a chapter is the arithmetic that its measurements need, counted from the tables that
the run left, over the rate of this machine's own matrix products. Counted are multiplications and
additions of weights and of attention: each text once, to the layer that is read, with nothing for
norms, sorting, figures, imports or the chapter's statistics. Chapters that mostly do something else
are shown without a floor. The seconds are those of the run's last execution, in which two chapters
were executed at a time: run this on the machine that executed them.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from _side_by_side import machine_of, write_row
from lookups.corpus.documents import run_documents
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
from lookups.run.stages import CHAPTERS
from lookups.run.store import load
from lookups.settings import Run, read_run

NULLS = 4
"""Products with the unembedding that chapter 2 makes beside the real one: two nulls, two draws."""

LAST_ONLY = ("resample", "direct_frozen", "direct_recomputed", "through_neuron")
"""Ablations that change the last token alone."""


class Cost:
    """Floating-point operations of a model's parts; a multiplication and an addition are two."""

    def __init__(self, model: Model):
        one = model.forward.layers[0]
        own = one.queries, one.keys, one.values, one.mixes
        mlp = *one.reads, one.writes
        self.mlp = 2 * sum(part.weight.numel() for part in mlp)
        self.layer = self.mlp + 2 * sum(part.weight.numel() for part in own)
        self.width = model.n_heads * model.d_head
        self.unembed = 2 * model.d_model * model.d_vocab

    def layers(self, n: int, tokens: int, before: int = 0) -> float:
        """Of some layers, on tokens that look at each other and at those `before` them."""
        looks = tokens * (tokens + 2 * before) * 2 * self.width
        return n * (tokens * self.layer + looks)


def congruence(model: Model, settings: Run, cost: Cost) -> float:
    """Chapter 2: every neuron's direction with every token's, and of some layers with the nulls."""
    layers = model.n_layers + NULLS * len({*settings.layers, *settings.middle_layers})
    return layers * model.d_mlp * cost.unembed


def prompts(model: Model, settings: Run, cost: Cost) -> float:
    """Chapter 3: all documents of both splits, to the last layer that is examined."""
    deepest = max({*settings.layers, *settings.middle_layers}) + 1
    texts = [run_documents(settings, model, split) for split in ("train", "test")]
    lengths = np.concatenate([one.lengths for one in texts if one is not None])
    return sum(cost.layers(deepest, int(length) + 1) for length in lengths)


def suffixes(model: Model, settings: Run, cost: Cost) -> float:
    """Chapter 4: every length of every suffix that was kept, texts that are alike once."""
    deepest: dict[tuple[int, ...], int] = {}
    for row in load(settings, "suffixes").itertuples():
        ids, layer = tuple(row.token_ids), Neuron.parse(row.neuron).layer
        for length in range(1, len(ids) + 1):
            some = ids[-length:]
            deepest[some] = max(deepest.get(some, 0), layer)
    return sum(cost.layers(layer, len(ids), before=1) for ids, layer in deepest.items())


def heads(model: Model, settings: Run, cost: Cost) -> float:
    """Chapter 5: every suffix once; on train each head patched, and all later MLPs with it."""
    table, total = load(settings, "suffixes"), 0.0
    for row in table.itertuples():
        layer = Neuron.parse(row.neuron).layer
        total += cost.layers(layer, len(row.token_ids), before=1)
        if row.split == "train":  # heads of layers up to one change what its MLP reads
            changed = sum(len(model.head_layers(at)) for at in range(layer))
            total += changed * model.n_heads * cost.mlp
    patched = load(settings, "heads")
    patched = patched[(patched.split == "test") & (patched.effect != 0)]
    after = patched.neuron.map(lambda one: Neuron.parse(one).layer)
    between = after - patched["head"].map(lambda one: Head.parse(one).layer)
    return total + float(between.sum()) * cost.mlp


def ablations(model: Model, settings: Run, cost: Cost) -> float:
    """Chapter 9: every suffix once, and from the head on what each ablation changes."""
    length = load(settings, "suffixes").set_index(["neuron", "split", "prompt"]).token_ids.map(len)
    table = load(settings, "head_ablations").drop_duplicates(
        ["neuron", "split", "prompt", "silenced", "kind"]
    )
    total, seen = 0.0, set()
    for row in table.itertuples():
        tokens = int(length[row.neuron, row.split, row.prompt])
        if (row.neuron, row.prompt) not in seen:
            seen.add((row.neuron, row.prompt))
            total += cost.layers(model.n_layers, tokens, before=1) + cost.unembed
        late = row.kind in LAST_ONLY and row.kind != "resample"
        start = (Neuron if late else Head).parse(row.neuron if late else row.silenced).layer
        of = (1, tokens) if row.kind in LAST_ONLY else (tokens, 1)
        total += cost.layers(model.n_layers - start - 1, *of) + cost.mlp + cost.unembed
    return total


COUNTED: dict[str, Callable[[Model, Run, Cost], float]] = {
    "02": congruence, "03": prompts, "04": suffixes, "05": heads, "09": ablations,
}  # fmt: skip


def rate_of(model: Model, tokens: int = 2048) -> float:
    """Measure operations a second of the product of as many tokens as are read at once with the
    weights of an MLP: the median of some."""
    weight = model.forward.layers[0].reads[0].weight
    x = torch.randn(tokens, weight.shape[1], device=model.device, dtype=weight.dtype)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        x @ weight.T
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * tokens * weight.numel() / sorted(times)[len(times) // 2]


def seconds_of(settings: Run, chapters: Iterable[str]) -> dict[str, float]:
    """Return how long each chapter took the last time; those never executed are left out."""
    found = {}
    for name in chapters:
        record = settings.place("notebooks") / f"{name}.json"
        if record.is_file():
            found[name] = json.loads(record.read_text("utf-8"))["seconds"]
    return found


def main(asked: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="smollm2", help="a run's id, or a path to its .yml")
    parser.add_argument("--device", default="cpu", help="the device that executed the chapters")
    chosen = parser.parse_args(asked)
    settings = read_run(chosen.run)
    model = load_model(settings.model.model_copy(update={"device": chosen.device}))
    cost, rate, machine = Cost(model), rate_of(model), machine_of(model)
    name, of_gpu = settings.model.name, model.device.type == "cuda"
    write_row(
        "matrix products", machine, name, f"2,048 tokens × {model.d_model} × {model.d_mlp}",
        "", "", "", f"{rate / 1e9:.0f} billion operations a second", of_gpu=of_gpu,
    )  # fmt: skip
    for chapter, took in seconds_of(settings, CHAPTERS).items():
        number, _, about = chapter.partition("_")
        floor, share, how = "", "", "not counted"
        if number in COUNTED:
            needed = COUNTED[number](model, settings, cost)
            floor, share = f"{needed / rate:.1f}", f"{needed / rate / took:.2f}"
            how = f"{needed / 1e12:.2f} trillion operations"
        cells = about.replace("_", " "), floor, f"{took:.0f}", share, how
        write_row(f"chapter {number}", machine, name, *cells, of_gpu=of_gpu)


if __name__ == "__main__":
    main()
