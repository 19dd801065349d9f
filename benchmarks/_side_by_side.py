"""What the measurements share: which rows are measured, the clock, and the table of results.

The naive way reads one prompt at a time with whole forward passes and full logits; the fast way is
the library's. Both run in one process on the same rows, so their ratio does not depend on what else
the machine does as much as seconds do.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lookups.corpus.documents import Document, Documents, load_documents
from lookups.measure.scan import maxima_table, scan
from lookups.model.loaded import Model, load_model
from lookups.names import Neuron
from lookups.paths import PROJECT
from lookups.settings import read_run

sys.path.insert(0, str(PROJECT / "tests"))  # chapters' definitions, and tiny models

RESULTS = Path(os.environ.get("LOOKUPS_RESULTS", Path(__file__).with_name("results.md")))
"""The table; the variable names another file for a trial."""

HEADING = "| measured | machine | model | rows | naive, s | fast, s | ratio | agreement |"
RULE = "| --- | --- | --- | --- | ---: | ---: | ---: | --- |"
GPU_UNKNOWN = "one GPU"
ON_A_GPU = 10
"""How many times as many texts are read there: few fill no GPU."""


class Setting(NamedTuple):
    """A model with texts that fit it."""

    model: Model
    documents: Documents
    layers: Sequence[int]


class Rows(NamedTuple):
    """Prompts with the neuron that each of them fires."""

    neurons: list[Neuron]
    prompts: list[np.ndarray]
    whole: list[float]


class First(Sequence[Document]):
    """The first few documents, to warm up on."""

    def __init__(self, documents: Documents, n: int):
        self.documents, self.n = documents, min(n, len(documents))
        self.corpus, self.split, self.digest = documents.corpus, documents.split, ""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int) -> Document:  # type: ignore[override]
        return self.documents[range(self.n)[row]]

    def __iter__(self) -> Iterator[Document]:
        return (self.documents[row] for row in range(self.n))


def setting(
    description: str, *, documents: int, more: Mapping[str, Mapping[str, Any]] = {}
) -> tuple[Setting, argparse.Namespace]:
    """Read the command line, with `more` options of a script's own, and load what it names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", default="smollm2", help="a run's id, or a path to its .yml")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--documents", type=int, help=f"texts to read; {documents} on a CPU")
    parser.add_argument("--prompts", type=int, help="prompts a neuron, where there are some")
    for name, about in more.items():
        parser.add_argument(name, **about)
    chosen = parser.parse_args()
    run = read_run(chosen.run)
    model = load_model(run.model.model_copy(update={"device": chosen.device}))
    usual = documents * (ON_A_GPU if model.device.type == "cuda" else 1)
    corpus = run.corpus.model_copy(update={"documents": chosen.documents or usual})
    texts = load_documents(corpus, "train", tokenizer=model.tokenizer, context=model.context)
    return Setting(model, texts, run.layers), chosen


def rows_of(found: Setting, *, neurons: int, prompts: int, longest: int | None = None) -> Rows:
    """Return the strongest prompts of the most congruent neurons of the last layer.

    At most `longest` tokens are kept of each, as chapter 4 keeps suffixes.
    """
    from inline import defined_in

    layer = max(found.layers)
    model = found.model
    congruence = defined_in("02_next_token_neurons").congruence
    values, _ = congruence(model.w_out(layer), model.w_u, signs=model.signs)
    order, every = values.argsort(descending=True), model.neurons([layer])
    wanted = [every[i] for i in order[:neurons].tolist()]
    scanned = scan(model, found.documents, [layer], strongest=prompts)
    table = maxima_table(scanned.strongest, scanned, found.documents, wanted)
    ids = [found.documents.by_key(row.prompt).ids[: row.position + 1] for row in table.itertuples()]
    ids = [one if longest is None else one[-longest:] for one in ids]
    return Rows([Neuron.parse(name) for name in table.neuron], ids, table.activation.tolist())


def timed(model: Model, measure: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and what was measured."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = measure()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def record(
    measured: str, found: Setting, rows: str, *, naive: float, fast: float, agreement: str
) -> None:
    """Print one line, and write it into the table in place of the last one of its kind."""
    given = measured, machine_of(found.model), Path(found.model.name).name, rows
    of_gpu = found.model.device.type == "cuda"
    times = f"{naive / fast:.2f}" if naive < 2 * fast else f"{naive / fast:.1f}"
    write_row(*given, f"{naive:.1f}", f"{fast:.2f}", times, agreement, of_gpu=of_gpu)


def write_row(measured: str, machine: str, *cells: str, of_gpu: bool = False) -> None:
    """Print a row, and write it in place of the last one with its first two cells."""
    line = f"| {' | '.join([measured, machine, *cells])} |"
    print(line, flush=True)
    old = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    intro = [text for text in old if not text.startswith("|")]
    table = {tuple(text.split(" | ")[:2]): text for text in old if text.startswith("| ")}
    for head in (HEADING, RULE):
        table.pop(tuple(head.split(" | ")[:2]), None)
    if of_gpu:
        table.pop((f"| {measured}", GPU_UNKNOWN), None)
    table[(f"| {measured}", machine)] = line
    body = [HEADING, RULE, *(table[key] for key in sorted(table))]
    RESULTS.write_text("\n".join([*intro, *body]).strip() + "\n", "utf-8")


def machine_of(model: Model) -> str:
    """The name of the device in the table."""
    if model.device.type == "cuda":
        return f"one {torch.cuda.get_device_name(model.device)}"
    return cpu()


def cpu() -> str:
    """The name of this machine's processor in the table."""
    return f"{len(os.sched_getaffinity(0))}-core CPU"
