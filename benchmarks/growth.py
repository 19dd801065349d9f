"""How do the time and the memory of a scan grow: with documents, with neurons, with the model?

Each row is a process of its own. Its memory is the most that it holds beyond what it held when the
model and the documents were loaded. Four parts, of which `--only` chooses:

- `documents`: a tiny model reads a thousand texts, ten and a hundred thousand (`--million`: more)
- `neurons`: of a hundred small layers the last one, the last ten and all are scanned, while the
  pass itself stays the same
- `model`: the run's own model reads a hundred and a thousand documents (`--long`: ten thousand)
- `shapes`: models of the paper's seven shapes, true in layers, heads and neurons, but narrow and
  with random weights (narrow_models.py), beside the plain pass over the same texts
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from _side_by_side import First, Setting, machine_of, timed, write_row
from lookups.corpus.documents import load_documents
from lookups.measure.scan import SETTLE, scan
from lookups.model.loaded import load_model
from lookups.settings import CorpusSpec, ModelSpec, read_run
from plain import plain_model, read

PARTS = ("documents", "neurons", "model", "shapes")
WORDS, WARM, STRONGEST, FLAT = 24, 20, 20, 0.1
LEAST = 10_000  # texts: few are scanned again and again, so that no short peak is missed
TINY = {"width": 32, "layers": 2, "heads": 4, "mlp": 1024}
DEEP = {"width": 32, "layers": 100, "heads": 4, "mlp": 256}
SHAPES = (
    "gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl",
    "pythia-160m", "pythia-410m", "pythia-1.4b",
)  # fmt: skip


class Peak(threading.Thread):
    """The most memory of its own (files that are only read are not) that this process, or on a GPU
    this process's part of it, holds beyond what it held at the start."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(daemon=True)
        self.device, self.done = device, threading.Event()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed counts as free
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.begin = self.most = self.now()

    def now(self) -> int:
        """Kilobytes at this moment."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() // 1024
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, self.now())


def built(shape: str, scratch: Path) -> Path:
    """Return the folder of a model with random weights."""
    import narrow_models
    import tiny
    from transformers import AutoModelForCausalLM

    if shape in SHAPES:
        return narrow_models.narrow_model(shape, 8)
    torch.manual_seed(0)
    config = tiny.config_of("gpt2", **{"tiny": TINY, "deep": DEEP}[shape])
    tiny.moved(AutoModelForCausalLM.from_config(config)).save_pretrained(scratch / shape)
    special = dict.fromkeys(("bos_token", "eos_token"), "<|bos|>")
    tiny.random_tokenizer(**special).save_pretrained(scratch / shape)
    return scratch / shape


def written(documents: int, scratch: Path) -> CorpusSpec:
    """Write random texts to a file, of which a hash keeps about half for the train split."""
    import tiny

    file = scratch / "texts.jsonl"
    texts = tiny.texts(2 * documents + 20 * int(documents**0.5), words=WORDS)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return CorpusSpec(name=str(file), documents=documents, length=WORDS, cut="first")


def measure(shape: str, documents: int, layers: int, device: str, run: str) -> dict[str, object]:
    """Scan some documents in this process: the last few layers of a model, or with 0 all."""
    with tempfile.TemporaryDirectory(prefix="lookups-growth-") as scratch:
        settings = read_run(run)
        spec = settings.model.model_copy(update={"device": device})
        corpus = settings.corpus.model_copy(update={"documents": documents})
        if shape != "run":
            os.environ["LOOKUPS_DATA"] = scratch
            spec = ModelSpec(name=str(built(shape, Path(scratch))), device=device)
            corpus = written(documents, Path(scratch))
        model = load_model(spec)
        texts = load_documents(corpus, "train", tokenizer=model.tokenizer, context=model.context)
        chosen = range(model.n_layers)[-(layers or model.n_layers) :]
        scan(model, First(texts, WARM), chosen, strongest=STRONGEST)
        times = max(1, min(10, LEAST // len(texts))) if shape == "tiny" else 1
        peak = Peak(model.device)
        peak.start()
        start = time.perf_counter()
        for _ in range(times):
            scan(model, texts, chosen, strongest=STRONGEST)
        seconds = (time.perf_counter() - start) / times
        peak.done.set()
        peak.join()
        found = {"machine": machine_of(model), "model": Path(model.name).name, "seconds": seconds}
        found |= {"documents": len(texts), "neurons": len(model.neurons(chosen))}
        if shape in SHAPES:
            base, reading = (
                plain_model(spec, model.device, model.n_layers),
                Setting(model, texts, chosen),
            )
            read(reading._replace(documents=First(texts, WARM)), base)
            found["plain"] = timed(model, lambda: read(reading, base))[0]
        return found | {"MB": (peak.most - peak.begin) / 1024}


def in_a_process(*asked: object) -> dict:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", *map(str, asked)]
    free_at_once = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is large and not used
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=free_at_once)
    return json.loads(done.stdout.splitlines()[-1])


def note(part: str, shape: str, found: dict) -> None:
    """Write one row."""
    of_gpu, plain = not found["machine"].endswith("CPU"), found.get("plain")
    each = 1e3 * found["seconds"] / found["documents"]
    model = found["model"] if shape == "run" else f"{shape}, random"
    scale = {"neurons": found["neurons"], "shapes": shape}.get(part, found["documents"])
    write_row(
        f"growth with {part}: {scale}", found["machine"], model,
        f"{found['documents']} texts × {found['neurons']} neurons",
        f"{plain:.2f}" if plain else "", f"{found['seconds']:.2f}",
        f"{plain / found['seconds']:.2f}" if plain else "",
        f"{each:.2f} ms a document, {found['MB']:.0f} MB", of_gpu=of_gpu,
    )  # fmt: skip


def say_whether_flat(found: list[dict]) -> None:
    """Write whether the memory stays the same however many documents are read."""
    least, most = (choose(one["MB"] for one in found) for choose in (min, max))
    upto, flat = found[-1]["documents"], most <= (1 + FLAT) * least
    write_row(
        "growth of memory with documents", found[0]["machine"], "tiny, random",
        f"{found[0]['documents']} to {upto} texts", "", "", f"{most / least:.2f}",
        f"{least:.1f} to {most:.1f} MB: {'' if flat else 'not '}flat within {FLAT:.0%}",
        of_gpu=not found[0]["machine"].endswith("CPU"),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="smollm2", help="a run's id, or a path to its .yml")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--documents", type=int, help="no more texts than these, for a trial")
    parser.add_argument("--million", action="store_true", help="a million texts, too")
    parser.add_argument("--long", action="store_true", help="ten thousand with the run's model")
    parser.add_argument("--one", nargs=3, metavar=("SHAPE", "DOCUMENTS", "LAYERS"))
    chosen = parser.parse_args()
    if chosen.one:
        shape, documents, layers = chosen.one
        found = measure(shape, int(documents), int(layers), chosen.device, chosen.run)
        print(json.dumps(found))
        return
    rows = {
        "documents": [("tiny", 10**power, 0) for power in range(3, 6 + chosen.million)],
        "neurons": [("deep", SETTLE, layers) for layers in (1, 10, 100)],
        "model": [("run", 10**power, 0) for power in range(2, 4 + chosen.long)],
        "shapes": [(shape, SETTLE, 0) for shape in SHAPES],
    }
    how = ("--device", chosen.device, "--run", chosen.run)
    for part in chosen.only:
        every = []
        for shape, documents, layers in rows[part]:
            asked = min(documents, chosen.documents or documents)
            every.append(in_a_process(shape, asked, layers, *how))
            note(part, shape, every[-1])
        if part == "documents":
            say_whether_flat([one for one in every if one["documents"] <= 100_000])


if __name__ == "__main__":
    main()
