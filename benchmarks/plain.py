"""How near does a scan come to the model alone? Beside plain passes over the same texts.

The plain passes keep nothing and unembed nothing. They end behind the last layer that the scan
reads, and have their fused attention; both read the same batches. Measured in turn, three times,
the middle of which counts, over twice as many texts as a scan reads before it sorts what it has
found, so that the work that recurs is measured as often as it recurs. Besides the run's model there
are shapes of the paper's: their true layers, heads, width and neurons with random weights, which
take as long as trained ones.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from _side_by_side import Setting, record, setting, timed
from lookups.measure.scan import SETTLE, scan
from lookups.model.batches import batches_by_length
from lookups.model.files import find_checkpoint
from lookups.model.loaded import load_model
from lookups.settings import ModelSpec, read_run

STRONGEST, ROUNDS, D_HEAD = 40, 3, 64
SHAPES = {"cpu": ("gpt2-small",), "cuda": ("gpt2-small", "gpt2-large")}
"""What is measured beside the run's model where nothing else is asked for."""


def plain_model(spec: ModelSpec, device: torch.device, layers: int) -> torch.nn.Module:
    """Load Hugging Face's own modules, all but the last few layers."""
    whole = find_checkpoint(spec).weights(torch.float32, device)
    whole.set_attn_implementation("sdpa")
    whole.config.num_hidden_layers = layers
    base = whole.base_model
    name = "h" if hasattr(base, "h") else "layers"
    setattr(base, name, getattr(base, name)[:layers])
    return base


def read(found: Setting, base: torch.nn.Module) -> None:
    """Read all texts, and keep nothing."""
    sequences = [document.ids for document in found.documents]
    tokens = found.model.tokens()
    with torch.inference_mode():
        for some in batches_by_length([len(ids) for ids in sequences], tokens=tokens):
            base(found.model.batch([sequences[i] for i in some]).ids, use_cache=False)


def of_true_width(shape: str, found: Setting, scratch: Path) -> tuple[ModelSpec, Setting]:
    """Build a model of a shape, with random weights, that reads the texts of another."""
    import narrow_models

    of = narrow_models.SHAPES[shape]
    words = max(50_257, found.model.d_vocab)
    built = narrow_models.random_model(shape, D_HEAD, words=words, context=of.context)
    place = scratch / f"{shape}, random"
    built.save_pretrained(place)
    found.model.tokenizer.save_pretrained(place)
    spec = ModelSpec(name=str(place), device=found.model.device.type)
    model = load_model(spec)
    return spec, Setting(model, found.documents, range(model.n_layers))


def compare(name: str, found: Setting, spec: ModelSpec, layers: Sequence[int]) -> None:
    """Measure both ways in turn, and write the middle of each."""
    base = plain_model(spec, found.model.device, max(layers) + 1)

    def ours() -> None:
        scan(found.model, found.documents, layers, strongest=STRONGEST)

    rounds = [
        (timed(found.model, lambda: read(found, base))[0], timed(found.model, ours)[0])
        for _ in range(ROUNDS)
    ]
    plain, scanned = map(statistics.median, zip(*rounds, strict=True))
    tokens = sum(len(document.ids) + 1 for document in found.documents)
    blocks = next(one for one in base.children() if isinstance(one, torch.nn.ModuleList))
    weights = sum(part.numel() for part in blocks.parameters())
    record(
        f"scan beside the plain pass, {name}",
        found,
        f"{len(found.documents)} texts, {len(layers)} layers of "
        f"{weights / 1e6:.1f} million weights",
        naive=plain,
        fast=scanned,
        agreement=f"{tokens / plain:.0f} and {tokens / scanned:.0f} tokens a second",
    )


def main() -> None:
    shape = {"nargs": "*", "help": "shapes besides the run's model, such as gpt2-small"}
    found, chosen = setting(__doc__, documents=2 * SETTLE, more={"--shape": shape})
    spec = read_run(chosen.run).model.model_copy(update={"device": chosen.device})
    compare("all layers", found, spec, range(found.model.n_layers))
    usual = SHAPES[found.model.device.type]
    for one in usual if chosen.shape is None else chosen.shape:
        with tempfile.TemporaryDirectory(prefix="lookups-shape-") as scratch:
            spec, other = of_true_width(one, found, Path(scratch))
            compare(f"all layers, {one}", other, spec, other.layers)


if __name__ == "__main__":
    main()
