"""How fast does this device read, and how much does it hold? Measured in some ten seconds.

`measure` lets a run's own model read a sample of its own texts, and keep every neuron's maxima of
some short ones, as chapter 2 does. `lookups.costs` makes of it what a run would take (`lookups run
RUN --dry-run`); no chapter uses this. What the device is doing besides counts as its pace.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lookups.documents import Document, Documents
from lookups.model import Model
from lookups.scan import SETTLE, scan
from lookups.sequences import batches_by_length

SECONDS = 5.0
"""About how long the reading is measured; keeping takes as long as it takes, mostly less."""

SHORT = 8
"""Tokens to which texts are cut where not their reading is measured but what is kept of them."""


class Pace(NamedTuple):
    """What a device does with one model."""

    read: float
    """Tokens a second through all layers, no unembedding."""
    kept: float
    """Documents a second of which chapter 2 keeps every neuron's maximum."""
    start: float
    """Seconds until a model can be used, the libraries' import included."""


class Room(NamedTuple):
    """Bytes that are free now."""

    ram: int
    device: int | None
    """Of a GPU; None where the model is held in the same memory as everything else."""


def measure(
    model: Model,
    documents: Documents,
    layers: Sequence[int],
    *,
    start: float,
    seconds: float = SECONDS,
    **options: int,
) -> Pace:
    """Read texts for about so many seconds, then scan some; `options` are those of `scan`."""
    last = f"blocks.{model.n_layers - 1}.mlp.hook_post"

    def read(part: Documents) -> None:
        for rows in batches_by_length([len(document.ids) for document in part]):
            model.read(model.batch([part[row].ids for row in rows]), {last: lambda post: None})

    tokens, took = 64, 0.0
    while True:
        part = Part(documents, tokens=tokens)
        took = _timed(model, read, part)
        if took > seconds / 3 or part.tokens < tokens:  # there is no more to read
            break
        # half of the time, but not in one leap: the first batches are slow
        tokens = min(8 * tokens, max(2 * tokens, int(tokens * seconds / 2 / took)))
    short = Part(documents, documents=SETTLE, length=SHORT)
    kept = _timed(model, lambda some: scan(model, some, layers, **options), short)
    return Pace(part.tokens / took, len(short) / kept, start)


def room_on(device: torch.device) -> Room:
    """Return how much memory is free here and, for a GPU, there."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return Room(free_ram(), free)


def free_ram(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes that programs can still have, without swapping."""
    if meminfo.is_file():
        lines = (line.split() for line in meminfo.read_text("utf-8").splitlines())
        return next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")
    import psutil  # where there is no /proc

    return int(psutil.virtual_memory().available)


class Part(Documents):
    """Documents spread over all of them, until there are so many tokens or documents."""

    def __init__(
        self,
        whole: Documents,
        *,
        tokens: int | None = None,
        documents: int | None = None,
        length: int | None = None,
    ):
        self.corpus, self.split = whole.corpus, whole.split
        wanted = len(whole) if documents is None else min(documents, len(whole))
        self._some: list[Document] = []
        self.tokens = 0
        """Tokens that the model reads, each document's BOS included."""
        for row in _spread(len(whole))[:wanted]:
            document = whole[int(row)]
            left = len(document.ids) if tokens is None else max(2, tokens - self.tokens - 1)
            ids = document.ids[: left if length is None else min(left, length)]
            self._some.append(document._replace(ids=ids))
            self.tokens += len(ids) + 1
            if tokens is not None and self.tokens >= tokens:
                break

    def __len__(self) -> int:
        return len(self._some)

    def __getitem__(self, index) -> Document:
        return self._some[index]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a document."""
        return np.array([len(document.ids) for document in self._some])


def _spread(n: int) -> np.ndarray:
    """Row numbers in an order in which any first few are spread over all."""
    return np.random.default_rng(0).permutation(n)


def _timed(model: Model, use: Callable[[Documents], object], part: Documents) -> float:
    start = time.perf_counter()
    use(part)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return max(time.perf_counter() - start, 1e-9)
