"""How do the time and the memory of a scan grow: with documents, with neurons, with the model?

Models have the true layers, heads and neurons of the paper's, but are narrow and have random
weights (tests/narrow_models.py). Each row is a process of its own; its memory is the most that it
holds beyond what it held when the model and the documents were loaded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from _side_by_side import cpu, write_row
from lookups.paths import PROJECT

sys.path.insert(0, str(PROJECT / "tests"))

LENGTH, SMALL = 24, "gpt2-small"
DOCUMENTS = (1_000, 10_000, 100_000)
LAYERS = (1, 4, 12)
SHAPES = (
    "gpt2-small",
    "gpt2-medium",
    "gpt2-large",
    "gpt2-xl",
    "pythia-160m",
    "pythia-410m",
    "pythia-1.4b",
)


class Peak(threading.Thread):
    """The most memory of its own (files that are only read are not) that this process holds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.begin = 0, self.now()
        self.done = threading.Event()

    @staticmethod
    def now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, self.now() - self.begin)


def measure(shape: str, documents: int, layers: int | None) -> dict[str, float]:
    """Scan some documents with some layers of a model in this process."""
    import narrow_models
    import tiny
    from lookups.corpus.documents import load_documents
    from lookups.measure.scan import scan
    from lookups.model.loaded import load_model
    from lookups.settings import CorpusSpec, ModelSpec

    with tempfile.TemporaryDirectory(prefix="lookups-growth-") as scratch:
        os.environ["LOOKUPS_DATA"] = scratch
        texts = tiny.texts(2 * documents + 200, words=LENGTH, vocabulary=narrow_models.WORDS)
        file = Path(scratch, "texts.jsonl")
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        del texts
        model = load_model(ModelSpec(name=str(narrow_models.narrow_model(shape, 8)), device="cpu"))
        corpus = CorpusSpec(name=str(file), documents=documents, length=LENGTH, cut="first")
        found = load_documents(corpus, "train", tokenizer=model.tokenizer, context=model.context)
        chosen = range(model.n_layers)[-(layers or model.n_layers) :]
        scan(model, _First(found, 200), chosen, strongest=20)
        peak, start = Peak(), time.perf_counter()
        peak.start()
        scan(model, found, chosen, strongest=20)
        seconds = time.perf_counter() - start
        peak.done.set()
        neurons = len(model.neurons(chosen))
        return {
            "documents": len(found),
            "neurons": neurons,
            "seconds": seconds,
            "MB": peak.most / 1024,
        }


class _First:
    """The first few documents, to warm up on."""

    def __init__(self, documents, n: int):
        self.documents, self.n = documents, n
        self.corpus, self.split, self.digest = documents.corpus, documents.split, ""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int):
        return self.documents[row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("SHAPE", "DOCUMENTS", "LAYERS"))
    chosen = parser.parse_args()
    if chosen.one:
        shape, documents, layers = chosen.one
        print(json.dumps(measure(shape, int(documents), int(layers) or None)))
        return
    rows = [("documents", SMALL, many, 1) for many in DOCUMENTS]
    rows += [("neurons", SMALL, 1_000, layers) for layers in LAYERS]
    rows += [("layers and neurons", shape, 1_000, 0) for shape in SHAPES]
    for of, shape, documents, layers in rows:
        asked = [sys.executable, __file__, "--one", shape, str(documents), str(layers)]
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        each = 1e3 * found["seconds"] / found["documents"]
        write_row(
            f"scan, more {of}: {shape}, {found['documents']} × {found['neurons']}",
            cpu(), "narrow, random", f"{found['documents']} texts × {found['neurons']} neurons",
            "", f"{found['seconds']:.2f}", "", f"{each:.2f} ms a document, {found['MB']:.0f} MB",
        )  # fmt: skip


if __name__ == "__main__":
    main()
