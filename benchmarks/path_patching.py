"""Every head's output replaced in turn: the last token alone run again, or whole passes."""

import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.names import Head

LONGEST = 16


def naive(found: Setting, rows: Rows, mean: torch.Tensor) -> torch.Tensor:
    """One prompt and one head at a time: a whole pass with full logits, all other heads held."""
    model, answer = found.model, []
    for neuron, ids in zip(rows.neurons, rows.prompts, strict=True):
        batch = model.batch([ids])
        with torch.no_grad():
            _, usual = model.bridge.run_with_cache(batch.ids)
        heads = [
            Head(at, h) for at in model.head_layers(neuron.layer) for h in range(model.n_heads)
        ]
        answer.append([one_pass(model, batch.ids, usual, neuron, head, mean) for head in heads])
    return torch.tensor(answer)


def one_pass(model, ids, usual, neuron, head: Head, mean: torch.Tensor) -> float:
    """The neuron's activation with one head's output replaced at the last token."""
    hooks, seen = [], {}

    def held(layer: int):
        def hook(z, hook):
            z = usual[f"blocks.{layer}.attn.hook_z"].clone()
            if layer == head.layer:
                z[:, -1, head.index] = mean[layer, head.index]
            return z

        return hook

    def act(tensor, hook):
        seen["act"] = neuron.sign * float(tensor[0, -1, neuron.index])

    hooks += [(f"blocks.{at}.attn.hook_z", held(at)) for at in range(model.n_layers)]
    hooks.append((f"blocks.{neuron.layer}.mlp.hook_post", act))
    with torch.no_grad():
        model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
    return seen["act"]


def fast(found: Setting, rows: Rows, mean: torch.Tensor) -> torch.Tensor:
    return path_patch(found.model, rows.neurons, rows.prompts, mean).act_without


def main() -> None:
    found, chosen = setting(__doc__, documents=300)
    rows = rows_of(found, neurons=3, prompts=chosen.prompts or 10, longest=LONGEST)
    mean = mean_at_last(found.model, rows.prompts)
    few = Rows(*(part[::10] for part in rows))  # a whole pass for each head of each prompt
    fast(found, few, mean)
    slow, expected = timed(found.model, lambda: naive(found, few, mean))
    quick, ours = timed(found.model, lambda: fast(found, rows, mean))
    share = len(few.prompts) / len(rows.prompts)
    off = float((ours[::10].cpu() - expected).abs().max() / expected.abs().max())
    assert off < 1e-4, f"activations differ by {off:.0e} of the largest"
    record(
        "path patching",
        found,
        f"{len(few.prompts)} prompts × {expected.shape[1]} heads",
        naive=slow,
        fast=quick * share,
        agreement=f"within {off:.0e} of the largest; fast: a share of {len(rows.prompts)} prompts",
    )


if __name__ == "__main__":
    main()
