"""The scan and the ablation of heads in one process, beside one and two workers of Ray.

Everything has one thread. Workers have loaded the model before the clock starts.
"""

import torch
from _side_by_side import Rows, Setting, record, rows_of, setting, timed
from ablation import HEAD_KINDS, HEADS_A_PROMPT, with_heads
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.activation import activations
from lookups.measure.scan import scan
from lookups.model.workers import cluster, workers_of


def scanned(found: Setting) -> list[torch.Tensor]:
    """All documents, the run's layers."""
    result = scan(found.model, found.documents, found.layers, strongest=20)
    return [*result.strongest, *result.spread, result.successors]


def ablated(found: Setting, rows: Rows) -> list[torch.Tensor]:
    """Six kinds of every row."""
    texts = [found.documents[i].ids for i in range(min(50, len(found.documents)))]
    means = mean_over_tokens(found.model, texts, range(max(found.layers) + 1), of="heads")
    of, heads, tokens, donors = with_heads(found, rows)
    given = of.prompts, of.neurons, tokens, heads, HEAD_KINDS
    result = ablate(found.model, *given, means=means, donors=donors)
    return [torch.from_numpy(one.logp) for one in (result.before, *result.after.values())]


def main() -> None:
    torch.set_num_threads(1)
    found, _ = setting(__doc__, documents=256)
    rows = rows_of(found, neurons=16, prompts=4, longest=16)
    steps = {"scan": lambda: scanned(found), "ablation": lambda: ablated(found, rows)}
    sizes = {"scan": f"{len(found.documents)} documents"}
    sizes["ablation"] = f"{len(rows.prompts)} prompts, {HEADS_A_PROMPT} heads each"
    alone = {name: timed(found.model, step) for name, step in steps.items()}
    for number in (1, 2):
        with cluster(processors=number):
            for _ in workers_of(found.model).copy():  # each loads the model
                activations(found.model, [rows.neurons[0]], [rows.prompts[0]])
            for name, step in steps.items():
                seconds, result = timed(found.model, step)
                same = all(map(torch.equal, result, alone[name][1]))
                record(
                    f"{name}, {number} worker{'s' * (number > 1)}",
                    found,
                    sizes[name],
                    naive=alone[name][0],
                    fast=seconds,
                    agreement="the same to the last bit" if same else "DIFFERENT",
                )


if __name__ == "__main__":
    main()
