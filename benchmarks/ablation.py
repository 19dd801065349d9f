"""A head taken away in six ways: passes resumed in batches, or whole ones with full logits."""

import numpy as np
import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from inline import defined_in
from lookups.measure.ablation import Means, ablate, mean_over_tokens
from lookups.names import Head, Neuron

HEADS_A_PROMPT, LONGEST = 4, 16
HEAD_KINDS = ("zero", "mean", "resample", "direct_frozen", "direct_recomputed", "through_neuron")


def with_heads(found: Setting, rows: Rows) -> tuple[Rows, list[Head], list[int], np.ndarray]:
    """Repeat every prompt for some heads that feed its neuron; give each its neuron's token."""
    model, rng = found.model, np.random.default_rng(0)
    layer = rows.neurons[0].layer
    every = [Head(at, h) for at in model.head_layers(layer) for h in range(model.n_heads)]
    few = min(HEADS_A_PROMPT, len(every))
    of = {
        neuron: rng.choice(len(every), few, replace=False) for neuron in dict.fromkeys(rows.neurons)
    }
    token = {n: int((n.sign * model.w_out(layer)[n.index] @ model.w_u).argmax()) for n in of}
    order = [(at, every[h]) for at, neuron in enumerate(rows.neurons) for h in of[neuron]]
    repeated = Rows(*([column[at] for at, _ in order] for column in rows))
    heads = [head for _, head in order]
    groups = list(zip(repeated.neurons, heads, strict=True))
    count = {group: groups.count(group) for group in set(groups)}
    kept = [at for at, group in enumerate(groups) if count[group] > 1]  # one alone cannot borrow
    repeated = Rows(*([column[at] for at in kept] for column in repeated))
    donors = defined_in("09_head_ablation").donors_of([groups[at] for at in kept], seed=0)
    tokens = [token[neuron] for neuron in repeated.neurons]
    return repeated, [heads[at] for at in kept], tokens, donors


def one_pass(found: Setting, ids: np.ndarray, token: int, hooks: list) -> float:
    """The log-probability of a token after one prompt: every layer, all logits."""
    batch = found.model.batch([ids])
    with torch.no_grad():
        logits = found.model.bridge.run_with_hooks(batch.ids, fwd_hooks=hooks)
    return float(logits[0, -1].double().log_softmax(-1)[token])


def part_set(positions, index: int, value):
    """A hook that gives one head or neuron a value at some positions."""

    def hook(tensor, hook):
        changed = tensor.clone()
        changed[0, positions, index] = value
        return changed

    return hook


def last_z(found: Setting, ids: np.ndarray, head: Head) -> torch.Tensor:
    """What a head takes from the positions it looks at, at the last token."""
    name = f"blocks.{head.layer}.attn.hook_z"
    with torch.no_grad():
        _, cache = found.model.bridge.run_with_cache(
            found.model.batch([ids]).ids, names_filter=lambda other: other == name
        )
    return cache[name][0, -1, head.index]


def without_path(found: Setting, ids: np.ndarray, neuron: Neuron, head: Head, frozen: bool):
    """The neuron's activation when its MLP reads the input without the head."""
    model, seen = found.model, {}
    written = last_z(found, ids, head) @ model.w_o(head.layer)[head.index]
    block = f"blocks.{neuron.layer}"

    def scale(tensor, hook):
        seen["scale"] = tensor[0, -1]

    def lessen(tensor, hook):
        changed = tensor.clone()
        changed[0, -1] -= written / seen["scale"] if frozen else written
        return changed

    into = "mlp.hook_in" if frozen else "ln2.hook_in"
    hooks = [(f"{block}.{into}", lessen)]
    if frozen:
        hooks.append((f"{block}.ln2.hook_scale", scale))
    return activation(found, ids, neuron, hooks)


def activation(found: Setting, ids: np.ndarray, neuron: Neuron, hooks: list) -> torch.Tensor:
    """The neuron's activation at the last token of a pass with hooks."""
    seen = {}

    def act(tensor, hook):
        seen["act"] = tensor[0, -1, neuron.index]

    one_pass(found, ids, 0, [*hooks, (f"blocks.{neuron.layer}.mlp.hook_post", act)])
    return seen["act"]


def naive(found: Setting, rows: Rows, heads: list, tokens: list, donors, means: Means):
    """One prompt, one head and one kind at a time; a column a kind, the unchanged pass first."""
    answer = []
    for at, (ids, head, token) in enumerate(zip(rows.prompts, heads, tokens, strict=True)):
        neuron = rows.neurons[at]
        z, post = f"blocks.{head.layer}.attn.hook_z", f"blocks.{neuron.layer}.mlp.hook_post"
        mean = means.of([head])[0]
        lent = last_z(found, rows.prompts[donors[at]], head)
        hooks = [
            [],
            [(z, part_set(slice(None), head.index, 0))],
            [(z, part_set(slice(1, None), head.index, mean))],
            [(z, part_set(-1, head.index, lent))],
        ]
        acts = [without_path(found, ids, neuron, head, frozen) for frozen in (True, False)]
        acts.append(activation(found, ids, neuron, hooks[1]))
        hooks += [[(post, part_set(-1, neuron.index, act))] for act in acts]
        answer.append([one_pass(found, ids, token, some) for some in hooks])
    return np.array(answer)


def fast(found: Setting, rows: Rows, heads: list, tokens: list, donors, means: Means):
    """All kinds of all rows; the same columns."""
    answer = ablate(
        found.model,
        rows.prompts,
        rows.neurons,
        tokens,
        heads,
        HEAD_KINDS,
        means=means,
        donors=donors,
    )
    return np.stack([answer.before.logp, *(answer.after[k].logp for k in HEAD_KINDS)], axis=1)


def main() -> None:
    found, chosen = setting(__doc__, documents=300)
    rows = rows_of(found, neurons=4, prompts=chosen.prompts or 4, longest=LONGEST)
    texts = [found.documents[i].ids for i in range(min(50, len(found.documents)))]
    means = mean_over_tokens(found.model, texts, range(max(found.layers) + 1), of="heads")
    warm = with_heads(found, Rows(*(part[:5] for part in rows)))
    naive(found, *warm, means), fast(found, *warm, means)
    whole = with_heads(found, rows)
    slow, expected = timed(found.model, lambda: naive(found, *whole, means))
    quick, ours = timed(found.model, lambda: fast(found, *whole, means))
    off = np.abs(ours - expected).max()
    assert off < 1e-3, f"log-probabilities differ by {off:.0e}"
    record(
        "ablation",
        found,
        f"{len(ours)} prompts with a head × {len(HEAD_KINDS)} kinds",
        naive=slow,
        fast=quick,
        agreement=f"log-probabilities within {off:.0e}",
    )


if __name__ == "__main__":
    main()
