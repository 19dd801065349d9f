"""How near does a scan come to the model alone? Beside plain passes over the same texts.

The plain passes keep nothing and unembed nothing. They end behind the last layer that the scan
reads, and have their fused attention; both read the same batches. Measured in turn, three times,
the middle of which counts.
"""

import statistics

import torch
from _side_by_side import Setting, record, setting, timed
from lookups.measure.scan import scan
from lookups.model.batches import batches_by_length
from lookups.model.files import find_checkpoint
from lookups.settings import read_run

STRONGEST = 40


def plain_model(found: Setting, run: str, layers: int) -> torch.nn.Module:
    """Load Hugging Face's own modules, all but the last few layers."""
    checkpoint = find_checkpoint(read_run(run).model)
    whole = checkpoint.weights(found.model.dtype, found.model.device)
    whole.set_attn_implementation("sdpa")
    whole.config.num_hidden_layers = layers
    base = whole.base_model
    name = "h" if hasattr(base, "h") else "layers"
    setattr(base, name, getattr(base, name)[:layers])
    return base


def read(found: Setting, base: torch.nn.Module) -> None:
    sequences = [document.ids for document in found.documents]
    tokens = found.model.tokens()
    with torch.inference_mode():
        for some in batches_by_length([len(ids) for ids in sequences], tokens=tokens):
            base(found.model.batch([sequences[i] for i in some]).ids, use_cache=False)


def main() -> None:
    found, chosen = setting(__doc__, documents=200)
    run = read_run(chosen.run)
    some = sorted({*run.layers, *(run.middle_layers or ())})
    for name, layers in (("the run's", some), ("all", range(found.model.n_layers))):
        base = plain_model(found, chosen.run, max(layers) + 1)
        seconds: dict[str, list[float]] = {"plain": [], "scan": []}
        for _ in range(3):
            seconds["plain"].append(timed(found.model, lambda base=base: read(found, base))[0])
            every = timed(found.model, lambda layers=layers: scan(
                found.model, found.documents, layers, strongest=STRONGEST))[0]  # fmt: skip
            seconds["scan"].append(every)
        plain, ours = (statistics.median(seconds[way]) for way in ("plain", "scan"))
        tokens = sum(len(document.ids) + 1 for document in found.documents)
        record(
            f"scan beside the plain pass, {name} layers",
            found,
            f"{len(found.documents)} texts, {len(layers)} layers",
            naive=plain,
            fast=ours,
            agreement=f"{tokens / plain:.0f} and {tokens / ours:.0f} tokens a second",
        )


if __name__ == "__main__":
    main()
