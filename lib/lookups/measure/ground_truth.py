"""Which heads tell which neurons about which contexts, without the method (chapter 13).

Minimal pairs of a planted language differ in one cue and in nothing else. A (neuron, head) pair
*carries* a kind of context if the neuron loses its rise when the head puts out, on the text with
the cue, what it puts out on the other.
"""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from lookups.corpus.grammar import KINDS, Document, Grammar, minimal_pairs
from lookups.measure.activation import Site
from lookups.measure.path_patching import path_patch
from lookups.model.loaded import Model
from lookups.names import Neuron


@torch.no_grad()
def targets_of(
    model: Model, grammar: Grammar, documents: Sequence[Document], *, strongest: int, share: float
) -> Int[Tensor, " neuron"]:
    """Return the id of the target that each neuron of the last layer is for, or -1: at least a
    `share` of those slots of the documents at which it is `strongest` call for that target, and of
    all targets it raises this one's logit most (the final norm's scale held)."""
    slots = [(n, s.position + 1, s.target) for n, one in enumerate(documents) for s in one.slots]
    document, place, target = (torch.tensor(column) for column in zip(*slots, strict=True))
    seen, layer = {}, model.n_layers - 1
    hook = {Site.POST.format(layer): lambda x: seen.update(act=x[document, place])}
    model.read(model.batch([one.ids for one in documents]), hook)
    ids = torch.tensor([grammar.ids[word] for word in grammar.targets])
    top = seen["act"].topk(strongest, dim=0).indices.cpu()
    called = (target[top][..., None] == ids).float().mean(0)
    raised = (model.w_out(layer) @ model.w_u[:, ids]).cpu()
    own = (called.max(1).values >= share) & (called.argmax(1) == raised.argmax(1))
    return torch.where(own, ids[called.argmax(1)], -1)


def carried(
    model: Model, grammar: Grammar, targets: dict[Neuron, int], *, n: int, through_mlps: bool = True
) -> pd.DataFrame:
    """Measure by path patching what every head tells every neuron about the cue of each kind.

    `targets` holds the id of the target that each neuron (of one layer) writes. `change` is by how
    much the pre-activation falls, on average over `n` minimal pairs, when the head alone reads the
    other text.
    """
    tables = []
    for kind, target in product(KINDS, dict.fromkeys(targets.values())):
        neurons = [neuron for neuron, written in targets.items() if written == target]
        pairs = minimal_pairs(grammar, kind, target, n)
        rows = [neuron for neuron in neurons for _ in pairs]
        cued, other = ([pair[side] for pair in pairs] * len(neurons) for side in (0, 1))
        found = path_patch(model, rows, cued, other, through_mlps=through_mlps)
        change = (found.pre[:, None] - found.pre_without).double().numpy(force=True)
        change = change.reshape(len(neurons), n, -1).mean(1)
        labels = product(map(str, neurons), map(str, found.heads))
        table = pd.DataFrame(labels, columns=["neuron", "head"])
        tables.append(table.assign(kind=kind, change=change.ravel()))
    return pd.concat(tables, ignore_index=True)
