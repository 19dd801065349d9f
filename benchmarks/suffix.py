"""The shortest suffix that keeps a neuron firing: all prompts of a length at once, or in turn."""

from typing import NamedTuple

import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from inline import defined_in
from lookups.measure.activation import activations

KEEP, LONGEST = 0.8, 100


class Suffix(NamedTuple):
    length: int
    activation: float


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

    find, rule = defined_in("04_suffixes").shortest_suffixes, (rows.whole, long_enough)
    kept = find(fire, rows.prompts, *rule, longest=LONGEST, progress=lambda n: None)
    return [one and Suffix(*one) for one in kept]


def compared(ours: list[Suffix | None], expected: list[Suffix | None], rows: Rows) -> str:
    """Say how both agree. The same lengths must come out, but where the shorter one lies on the
    threshold, and the same activations."""
    equal, off = 0, 0.0
    for one, other, whole in zip(ours, expected, rows.whole, strict=True):
        if one and other and one.length == other.length:
            equal += 1
            off = max(off, abs(one.activation - other.activation) / other.activation)
        else:
            shorter = min((s for s in (one, other) if s), key=lambda suffix: suffix.length)
            assert shorter.activation < (1 + 1e-4) * KEEP * whole, f"{one} is not {other}"
    assert off < 1e-4, f"activations differ by {off:.0e} of their size"
    return f"{equal / len(ours):.1%} of lengths, activations within {off:.0e}"


def main() -> None:
    found, chosen = setting(__doc__, documents=300)
    rows = rows_of(found, neurons=8, prompts=chosen.prompts or 8)
    warm = Rows(*(part[:5] for part in rows))
    naive(found, warm), fast(found, warm)
    slow, expected = timed(found.model, lambda: naive(found, rows))
    quick, ours = timed(found.model, lambda: fast(found, rows))
    record(
        "suffix",
        found,
        f"{len(ours)} prompts",
        naive=slow,
        fast=quick,
        agreement=compared(ours, expected, rows),
    )


if __name__ == "__main__":
    main()
