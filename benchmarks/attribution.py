"""What heads add to a neuron's input: W_O contracted first, or every output at full width."""

import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from lookups.measure.attribution import attribute

LONGEST = 16


def naive(found: Setting, rows: Rows) -> torch.Tensor:
    """One prompt at a time: full logits, everything cached, every head's output at every position
    formed and held, then projected onto the neuron's input."""
    model, answer = found.model, []
    into = "up" if model.gated else "in"
    for neuron, ids in zip(rows.neurons, rows.prompts, strict=True):
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(model.batch([ids]).ids)
        results = [
            torch.einsum("phd,hdm->phm", cache[f"blocks.{layer}.attn.hook_z"][0], model.w_o(layer))
            for layer in model.head_layers(neuron.layer)
        ]
        weight, _ = model.mlp_in(neuron.layer)[into]
        scale = cache[f"blocks.{neuron.layer}.ln2.hook_scale"][0, -1]
        held = torch.stack(results)  # layer × position × head × d_model
        shares = held[:, -1] @ weight[:, neuron.index] / scale
        answer.append(neuron.sign * shares.flatten())
    return torch.stack(answer)


def fast(found: Setting, rows: Rows) -> torch.Tensor:
    answer = attribute(found.model, rows.neurons, rows.prompts)
    return answer["up" if found.model.gated else "in"].by_head


def main() -> None:
    found, chosen = setting(__doc__, documents=300)
    rows = rows_of(found, neurons=20, prompts=chosen.prompts or 10, longest=LONGEST)
    warm = Rows(*(part[:5] for part in rows))
    naive(found, warm), fast(found, warm)
    slow, expected = timed(found.model, lambda: naive(found, rows))
    quick, ours = timed(found.model, lambda: fast(found, rows))
    off = float((ours - expected).abs().max() / expected.abs().max())
    assert off < 1e-4, f"attributions differ by {off:.0e} of the largest"
    record(
        "attribution",
        found,
        f"{len(rows.prompts)} prompts × {ours.shape[1]} heads",
        naive=slow,
        fast=quick,
        agreement=f"within {off:.0e} of the largest",
    )


if __name__ == "__main__":
    main()
