"""Does memory grow with the corpus? Millions of short documents in files against lists of them.

Each measurement is a process of its own: JSON lines are written, read, tokenised and scanned by a
tiny model with random weights, so that what documents cost is not hidden behind what a model costs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

FEW, MANY = 20_000, 2_000_000
WORDS = 100
SCAN = {"strongest": 5, "per_band": 1}


def write_texts(path: Path, n: int) -> None:
    """Write `n` random documents of 6 to 10 words; no more than a few thousand are held."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for start in range(0, n, 5000):
            n_some = min(5000, n - start)
            words = random.integers(1, WORDS + 1, (n_some, 10)).tolist()
            lengths = random.integers(6, 11, n_some).tolist()
            for row, length in zip(words, lengths, strict=True):
                file.write('{"text": "w' + " w".join(map(str, row[:length])) + '"}\n')


def write_model(folder: Path) -> None:
    """Save a GPT-2 of one narrow layer, with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {"<|bos|>": 0} | {f"w{i}": i for i in range(1, WORDS + 1)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|bos|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"bos_token": "<|bos|>", "eos_token": "<|bos|>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 16, "vocab_size": WORDS + 1}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)


def measure(way: str, n: int, folder: Path) -> dict:
    """Read and scan `n` documents, and say what it took: the peak in MiB is this process's."""
    import torch
    from lookups.documents import Documents, load_documents
    from lookups.model import load_model
    from lookups.packing import pack, tokenized
    from lookups.runs import CorpusSpec, ModelSpec
    from lookups.scan import maxima_table, scan
    from lookups.texts import corpus_texts

    torch.set_num_threads(1)
    torch.manual_seed(0)
    write_texts(folder / f"{n}.jsonl", 2 * n + n // 10)  # half of them are held out
    write_model(folder / "tiny-random")
    model = load_model(ModelSpec(name=str(folder / "tiny-random"), device="cpu"))
    corpus = CorpusSpec(name=f"{n}.jsonl", documents=n, length=12, folder=folder)
    before = peak()
    start = time.perf_counter()
    if way == "lists":
        texts = list(islice(corpus_texts(corpus, "train"), n))
        rows = list(tokenized(texts, model.tokenizer))
        documents = Documents("lists", "train", pack(rows, 12), model.decode)
        held = [documents[row] for row in range(len(documents))]
    else:
        documents = load_documents(
            corpus, "train", tokenizer=model.tokenizer, context=model.context
        )
        held = []
    found = scan(model, documents, [0], **SCAN)
    seconds = time.perf_counter() - start
    table = maxima_table(found.strongest, found, documents)
    return {
        "documents": len(documents),
        "held": len(held),
        "before": before,
        "peak": peak(),
        "seconds": seconds,
        "strongest": [round(value, 4) for value in table.activation.head(20)],
    }


def peak() -> float:
    """Return the most memory that this process ever held, in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) / 1024


def measured_apart(way: str, n: int) -> dict:
    """Measure in a process of its own, in a folder that is gone afterwards."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="lookups-corpus-") as folder:
        command = [sys.executable, __file__, "--measure", way, str(n), folder]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("LOOKUPS_")
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment | quiet)
    if done.returncode:
        raise RuntimeError(f"measuring {n} documents failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure one way in this process, if it is told which, or all in others."""
    if sys.argv[1:2] == ["--measure"]:
        way, n, folder = sys.argv[2:]
        print(json.dumps(measure(way, int(n), Path(folder))))
        return
    from _side_by_side import Setting, record
    from lookups.model import load_model
    from lookups.runs import ModelSpec

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=MANY, help="documents to scan")
    n = parser.parse_args().documents
    few, files, lists = (
        measured_apart(*which) for which in [("files", FEW), ("files", n), ("lists", n)]
    )
    same = files["strongest"] == lists["strongest"]
    more = files["peak"] / few["peak"] - 1
    with tempfile.TemporaryDirectory(prefix="lookups-corpus-") as folder:
        write_model(Path(folder) / "tiny-random")
        model = load_model(ModelSpec(name=f"{folder}/tiny-random", device="cpu"))
    record(
        "corpus memory",
        Setting(model, documents=None, layers=[0]),  # type: ignore[arg-type]  # names the model
        f"{files['documents']:,} texts of 6 to 10 tokens",
        naive=lists["seconds"],
        fast=files["seconds"],
        agreement=f"{'the same' if same else 'OTHER'} maxima; peak {files['peak']:.0f} MiB, "
        f"{more:+.0%} of that of {few['documents']:,} texts; naive {lists['peak']:.0f} MiB",
    )


if __name__ == "__main__":
    main()
