"""All shipped runs of the paper's models through their chapters, narrow and with random weights.

True layers, heads and neurons (narrow_models.py), a few short texts: what is shown is that
every run file works to the end with models of that depth, and where the time goes. Each run is a
process of its own, and its seconds are the processor's, whatever else the machine does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _side_by_side import cpu, write_row
from lookups.run.stages import CHAPTERS

FEW = {
    "documents": 40, "length": 10, "minimum_in_texts": 1, "neurons_per_layer": 3,
    "random_per_layer": 1,
    "prompts_per_neuron": 12, "spread_per_neuron": {"train": 2, "test": 4},
}  # fmt: skip
NARROWER = {"gpt2-medium": 4, "gpt2-large": 4, "gpt2-xl": 4}
"""Width of a head where it is not eight; rotary positions need eight."""


def chapters() -> list[str]:
    """The chapters of a run in its order, the analysis that gathers them last."""
    return [name for name in CHAPTERS if int(name.split("_")[0]) not in (13, 14)]


def measure(run: str) -> dict[str, Any]:
    """Execute the chapters of one run in this process; return seconds a chapter and what came."""
    import narrow_models
    from inline import execute
    from lookups.run.store import load
    from lookups.settings import read_run

    with tempfile.TemporaryDirectory(prefix="lookups-narrow-") as scratch:
        folder = Path(scratch)
        os.environ["LOOKUPS_ARTIFACTS"] = str(folder / "artifacts")
        d_head = NARROWER.get(run.removesuffix("-paper"), 8)
        path = narrow_models.run_file(folder, run, **FEW, d_head=d_head)
        seconds = {}
        for chapter in chapters():
            start = time.process_time()
            execute(chapter, path)
            seconds[chapter] = time.process_time() - start
        settings = read_run(path)
        pairs = load(settings, "pairs")
        neurons = load(settings, "follow_rates").drop_duplicates("neuron")
        return {
            "seconds": seconds,
            "sound": int(neurons.sound.sum()),
            "suffixes": len(load(settings, "suffixes")),
            "kept": int(pairs.kept.sum()),
        }


def note(run: str, found: dict[str, Any]) -> None:
    """Write a run's line into the table of results in place of its last one, and print it."""
    import narrow_models

    shape = narrow_models.SHAPES[run.removesuffix("-paper")]
    total, longest = sum(found["seconds"].values()), max(found["seconds"], key=found["seconds"].get)
    write_row(
        f"chapters, {run}", cpu(), "narrow, random",
        f"{shape.layers} layers × {shape.heads} heads, {found['suffixes']} suffixes",
        "", f"{total:.0f}", "",
        f"to the end, {found['sound']} sound neurons, {found['kept']} pairs kept; processor "
        f"seconds, most in chapter {longest.split('_')[0]}: {found['seconds'][longest]:.0f}",
    )  # fmt: skip


def main() -> None:
    """Measure one run in this process and print it as JSON, or all runs, each in its own."""
    import narrow_models
    from lookups.settings import RUNS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", metavar="RUN", help="this run only, printed as JSON")
    parser.add_argument("--only", nargs="*", metavar="RUN", help="these runs only")
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure)))
        return
    ours = [
        p.stem for p in RUNS.glob("*.yml") if p.stem.removesuffix("-paper") in narrow_models.SHAPES
    ]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for run in chosen.only or sorted(ours):
        command = [sys.executable, __file__, "--measure", run]
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if made.returncode:
            sys.exit(f"{run} did not come to its end")
        note(run, json.loads(made.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
