"""The planted world as a run reads it: documents of `corpus.grammar`, the same at every call.

Tiny transformers trained on that language ship with the package, one a seed; they are the fast real
fixture of the tests and a run of their own, since what every neuron and head should be found to do
can be checked against the grammar. `tools/train` made them.
"""

from lookups.corpus.grammar import Document, Grammar

SEEDS = (0, 1, 2)
"""Of the models that ship: `planted-0` and so on."""

GRAMMAR = Grammar()


def labelled_documents(
    split: str, n: int, *, seed: int = 0, grammar: Grammar = GRAMMAR, length: int | None = None
) -> list[Document]:
    """Return documents with their slots; `train` is what the model of that seed was trained on."""
    return [grammar.document(f"{split}/{seed}/{number}", length) for number in range(n)]


def planted_documents(split: str, n: int, seed: int = 0) -> list[list[int]]:
    """Return the ids of documents, without the BOS."""
    return [list(document.ids) for document in labelled_documents(split, n, seed=seed)]
