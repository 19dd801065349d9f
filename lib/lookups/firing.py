"""How strongly does each prompt's own neuron fire at its last token? (chapters 2 and 3)

Rows pair a neuron with token ids. Rows that share ids share the forward pass, so that asking about
many neurons costs no more than asking about one.
"""

from collections.abc import Sequence

import numpy as np

from lookups.model import Model
from lookups.names import Neuron
from lookups.sequences import Ids, batches_by_length


def activations(
    model: Model,
    neurons: Sequence[Neuron],
    sequences: Sequence[Ids],
    *,
    bos: bool = True,
    tokens_per_batch: int = 8192,
) -> np.ndarray:
    """Return, for every row, the activation of its neuron (times its sign) at the last token.

    `bos=False` reads the ids without a beginning-of-sequence token (the paper's truncation).
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, sequence in enumerate(sequences):
        rows_of.setdefault(np.asarray(sequence, np.int64).tobytes(), []).append(row)
    shared = list(rows_of.values())
    found = np.empty(len(sequences), dtype=np.float64)
    lengths = [len(sequences[rows[0]]) for rows in shared]
    for some in batches_by_length(lengths, tokens=tokens_per_batch):
        groups = [shared[i] for i in some]
        layers = sorted({neurons[row].layer for rows in groups for row in rows})
        post = model.activations_at_last([sequences[rows[0]] for rows in groups], layers, bos=bos)
        values = {layer: at_last.double().cpu().numpy() for layer, at_last in post.items()}
        for place, rows in enumerate(groups):
            for row in rows:
                neuron = neurons[row]
                found[row] = neuron.sign * values[neuron.layer][place, neuron.index]
    return found
