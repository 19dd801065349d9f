"""The shortest suffix that keeps a neuron firing: all prompts of a length at once, or in turn."""

import numpy as np
import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from lookups.measure.activation import Suffix, activations, shortest_suffixes

KEEP, LONGEST = 0.8, 100


def long_enough(activation: float, whole: float) -> bool:
    return activation >= KEEP * whole


def naive(found: Setting, rows: Rows) -> list[Suffix | None]:
    """One prompt and one length at a time, whole forward passes with full logits."""
    model, answer = found.model, []
    for neuron, ids, whole in zip(rows.neurons, rows.prompts, rows.whole, strict=True):
        name, kept = f"blocks.{neuron.layer}.mlp.hook_post", None
        for length in range(1, min(LONGEST, len(ids)) + 1):
            batch = model.batch([ids[-length:]])
            with torch.no_grad():
                _, cache = model.bridge.run_with_cache(batch.ids, names_filter=name)
            activation = neuron.sign * float(cache[name][0, -1, neuron.index])
            if long_enough(activation, whole):
                kept = Suffix(length, activation)
                break
        answer.append(kept)
    return answer


def fast(found: Setting, rows: Rows) -> list[Suffix | None]:
    def fire(some, kept):
        return activations(found.model, [rows.neurons[row] for row in some], kept)

    return shortest_suffixes(fire, rows.prompts, rows.whole, long_enough, longest=LONGEST)


def main() -> None:
    found, _ = setting(__doc__, documents=300)
    rows = rows_of(found, neurons=10, prompts=10)
    warm = Rows(*(part[:5] for part in rows))
    naive(found, warm), fast(found, warm)
    slow, expected = timed(found.model, lambda: naive(found, rows))
    quick, ours = timed(found.model, lambda: fast(found, rows))
    pairs = list(zip(ours, expected, strict=True))
    same = np.mean([(a and a.length) == (b and b.length) for a, b in pairs])
    off = max(abs(a.activation - b.activation) for a, b in pairs if a and b)
    record(
        "suffix",
        found,
        f"{len(ours)} prompts",
        naive=slow,
        fast=quick,
        agreement=f"{same:.1%} of lengths, activations within {off:.0e}",
    )


if __name__ == "__main__":
    main()
