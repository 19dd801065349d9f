"""Which heads tell which neurons about which contexts, without the method (chapter 13).

Minimal pairs of a planted language differ in one cue and in nothing else. A (neuron, head) pair
*carries* a kind of context if the neuron loses its rise when the head puts out, on the text with
the cue, what it puts out on the other. Surgery goes the other way: it leaves a head nothing to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from lookups.corpus.grammar import KINDS, Document, Grammar, minimal_pairs
from lookups.measure.activation import Site
from lookups.measure.path_patching import path_patch
from lookups.model.loaded import Model
from lookups.names import Head, Neuron


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
    model: Model,
    grammar: Grammar,
    targets: Mapping[Neuron, int],
    *,
    n: int = 500,
    through_mlps: bool = True,
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


def contexts(prompts: pd.DataFrame, documents: Mapping[str, Sequence[Document]]) -> pd.DataFrame:
    """Tell for each prompt what stands at its last token: the slot's kind, target and cue's place;
    "none" and -1 where no slot does. `documents` holds a split's in the order of their numbers.
    """
    found = []
    for split, prompt, position in prompts[["split", "prompt", "position"]].itertuples(index=False):
        slots = documents[split][int(prompt.rpartition("/")[2])].slots
        here = ((s.kind, s.target, s.cue) for s in slots if s.position == position)
        found.append(next(here, ("none", -1, -1)))
    return pd.DataFrame(found, index=prompts.index, columns=["kind", "target", "cue"])


@contextmanager
@torch.no_grad()
def cut_off(model: Model, head: Head, neuron: Neuron) -> Iterator[None]:
    """Operate on a model so that a head can tell a neuron nothing, and undo it at the end.

    In the neuron's own layer the neuron's input directions are projected out of the head's output
    matrix. From an earlier layer the head could still speak through MLPs, so all it writes goes.
    """
    matrix = model.w_o(head.layer)[head.index]
    usual = matrix.clone()
    if head.layer == neuron.layer:
        inputs = [weight[:, neuron.index] for weight, _ in model.mlp_in(neuron.layer).values()]
        basis = torch.linalg.qr(torch.stack(inputs, dim=1).double()).Q
        matrix -= (matrix.double() @ basis @ basis.T).to(matrix.dtype)
    else:
        matrix.zero_()
    model.forward.forget(as_loaded=False)
    try:
        yield
    finally:
        matrix.copy_(usual)
        model.forward.forget(as_loaded=True)
