"""What does giving freed memory back cost training? The same steps twice; one process keeps it."""

import subprocess
import sys
import time

import torch
from _side_by_side import record, setting
from lookups.memory import keep_freed_memory
from lookups.recipe import Recipe, new_model, new_optimizer, stream_batches
from lookups.trainer import loss_of

STEPS, WARM = 12, 3
RECIPE = Recipe(batch=16, context=128, bf16=False)


def steps() -> tuple[float, float]:
    """Return the seconds that some steps take, and the last loss."""
    stream = torch.randint(1, RECIPE.vocabulary, (50_000,), generator=torch.manual_seed(0)).int()
    model = new_model(RECIPE).train()
    model.set_attn_implementation("eager")
    optimizer, batches = new_optimizer(model, RECIPE), stream_batches(stream, RECIPE)
    for number in range(STEPS):
        if number == WARM:
            start = time.perf_counter()
        loss = loss_of(model, batches(number))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - start, float(loss)


def main() -> None:
    """Measure one way in this process, if it is told which, or both in two others."""
    if sys.argv[1:] in (["--usual"], ["--kept"]):
        if sys.argv[1] == "--kept":
            keep_freed_memory()
        print(*steps())
        return
    found, _ = setting(__doc__, documents=1)
    measured = {}
    for way in ("--usual", "--kept"):
        command = [sys.executable, __file__, way]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        measured[way] = [float(number) for number in printed.split()]
    (usual, first), (kept, second) = measured.values()
    record(
        "memory",
        found,
        f"{STEPS - WARM} training steps × {RECIPE.batch * RECIPE.context} tokens",
        naive=usual,
        fast=kept,
        agreement="the same loss" if first == second else f"losses {first:.6f} and {second:.6f}",
    )


if __name__ == "__main__":
    main()
