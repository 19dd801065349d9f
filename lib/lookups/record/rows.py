"""Neurons, spans and active heads of the authors' record as rows, and what is left out on the way.

Used by `lookups.record.read`, which says which files are read; requests and replies are
`lookups.record.replies`' matter. Entries are checked one by one, and a wrong one is an error
that names its place. Entries about neurons that were not chosen are left out: one released
evaluation carries another model's name.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lookups.errors import PublishedError
from lookups.names import Neuron
from lookups.record.files import (
    AGAIN,
    STEPS,
    RecordFile,
    head_of,
    neuron_of,
    pair_of,
    part,
    read_object,
)

SECTIONS = {"neurons": "neurons", "spans": "neuron_to_trunc_data", "heads": "head_attributions"}
"""Where a step's file has its rows."""
LONGEST = 100
"""Tokens of the longest span whose text was kept."""
SPAN = {"document": "Int64", "start": "Int64", "stop": "Int64"}
SPAN |= {"activation": "float64", "whole_activation": "float64"}
"""Columns of a span, and their types."""
OTHER = "its neuron is not among the chosen ones"

_Number = (int, float)


class Ledger:
    """What was read, and what became of it."""

    def __init__(self) -> None:
        self._read: Counter = Counter()
        self._left: dict[tuple[str, str, str], int | None] = {}

    def read(self, file: RecordFile, rows: int) -> None:
        """Note how many rows a file has."""
        self._read[file.name] += rows

    def leave(self, table: str, file: RecordFile, rows: int | None, reason: str) -> None:
        """Note rows that stand in no table; None for a file that is not opened."""
        key = (table, file.name, reason)
        if rows is None:
            self._left[key] = None
        elif rows:
            self._left[key] = (self._left.get(key) or 0) + rows

    def files(self) -> pd.DataFrame:
        """Return file, rows, used."""
        left: Counter = Counter()
        for (_, file, _), rows in self._left.items():
            left[file] += rows or 0
        rows = [(file, count, count - left[file]) for file, count in self._read.items()]
        return pd.DataFrame(rows, columns=["file", "rows", "used"])

    def left_out(self) -> pd.DataFrame:
        """Return table, file, rows, reason."""
        rows = [(table, file, n, reason) for (table, file, reason), n in self._left.items()]
        found = pd.DataFrame(rows, columns=["table", "file", "rows", "reason"])
        return found.astype({"rows": "Int64"})


class Texts:
    """Every neuron's texts by split, in order, with the heads that were active on each."""

    def __init__(self, neurons: pd.DataFrame):
        kept = neurons[~neurons.rejected]
        self.tokens: dict[str, str] = dict(zip(kept.neuron, kept.token, strict=True))
        self.heads: dict[tuple[str, str, str], list[str]] = {}
        """By neuron, split and text."""
        self.keys: dict[tuple[str, str, str], str] = {}

    def add(self, file: RecordFile, split: str, n_heads: int, ledger: Ledger) -> None:
        """Read a file of head attributions.

        Raises:
            PublishedError: an entry is not what it should be.
        """
        for key, texts in part(read_object(file), SECTIONS["heads"], dict, file.name).items():
            neuron, where = neuron_of(key, file.name), f"{file.name}, {key}"
            texts = part({key: texts}, key, dict, file.name)
            ledger.read(file, len(texts))
            if neuron not in self.tokens:
                ledger.leave("suffixes", file, len(texts), OTHER)
                continue
            layer = Neuron.parse(neuron).layer
            for place, text in enumerate(texts):
                at, heads = (neuron, split, text), part(texts, text, list, where)
                self.heads[at] = [head_of(head, n_heads, layer, where) for head in heads]
                self.keys[at] = f"record/{split}/{place}"


def neurons_of(
    files: Sequence[RecordFile], made: Sequence[RecordFile | None], ledger: Ledger
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the parameters and neurons of the latest file that has all neurons of a later step.

    Raises:
        PublishedError: no file has, or an entry is not what it should be.
    """
    about = next((file for file in made if file is not None), None)
    keys = set(part(read_object(about), SECTIONS[about.step], dict, about.name)) if about else set()
    found = None
    for file in reversed(files):
        content = read_object(file)
        parameters = part(content, "parameters", dict, file.name)
        rows = list(_neuron_rows(file, content, parameters))
        ledger.read(file, len(rows))
        if found is None and keys <= set(content[SECTIONS["neurons"]]):
            found = parameters, rows
        else:
            other = about.name if about else "the latest file"
            ledger.leave("neurons", file, len(rows), f"other neurons than those of {other}")
    if found is None:
        raise PublishedError(
            f"no file in {STEPS['neurons']} has all neurons that {about.name} has: {AGAIN}"
        )
    columns = ["neuron", "layer", "index", "token", "congruence", "rejected"]
    types = {"congruence": "float64", "rejected": bool}
    return found[0], pd.DataFrame(found[1], columns=columns).astype(types)


def spans_of(
    files: Mapping[str, RecordFile | None], chosen: Collection[str], ledger: Ledger
) -> pd.DataFrame:
    """Return the cuts of documents, each split's in the order of the record.

    Raises:
        PublishedError: an entry is not what it should be.
    """
    rows = []
    for split, file in files.items():
        if file is None:
            continue
        for key, cuts in part(read_object(file), SECTIONS["spans"], dict, file.name).items():
            neuron, where = neuron_of(key, file.name), f"{file.name}, {key}"
            cuts = part({key: cuts}, key, list, file.name)
            ledger.read(file, len(cuts))
            if neuron in chosen:
                rows += [(neuron, split, *_span(cut, where)) for cut in cuts]
            else:
                ledger.leave("spans", file, len(cuts), OTHER)
    return pd.DataFrame(rows, columns=["neuron", "split", *SPAN]).astype(SPAN)


def suffixes_of(texts: Texts, spans: pd.DataFrame) -> pd.DataFrame:
    """Return the texts, with the span of each where the record lets it be known.

    Texts are keys in the record, in the order of the spans, so equal ones fell together, and spans
    of more than `LONGEST` tokens have none. Where a neuron has as many texts as shorter spans,
    nothing fell together, and the two are matched in order; elsewhere the span is missing.
    """
    short = spans[spans.stop - spans.start <= LONGEST].groupby(["neuron", "split"])
    by_neuron = {at: list(some[[*SPAN]].itertuples(index=False)) for at, some in short}
    sizes = Counter((neuron, split) for neuron, split, _ in texts.keys)
    rows = []
    for (neuron, split, text), prompt in texts.keys.items():
        own = by_neuron.get((neuron, split), [])
        known = len(own) == sizes[neuron, split]
        span = own[int(prompt.rsplit("/", 1)[1])] if known else [pd.NA] * 3 + [float("nan")] * 2
        rows.append((neuron, split, prompt, text, *span))
    return pd.DataFrame(rows, columns=["neuron", "split", "prompt", "text", *SPAN]).astype(SPAN)


def attributed(texts: Texts) -> pd.DataFrame:
    """Return a row for every head that was active on a text."""
    rows = [
        (neuron, split, texts.keys[neuron, split, text], head, True)
        for (neuron, split, text), heads in texts.heads.items()
        for head in heads
    ]
    columns = ["neuron", "split", "prompt", "head", "active"]
    return pd.DataFrame(rows, columns=columns).astype({"active": bool})


def shown_to_explain(
    files: Sequence[RecordFile], texts: Texts, n_heads: int, ledger: Ledger
) -> pd.DataFrame:
    """Return the active and inactive prompts from which each pair was explained.

    Raises:
        PublishedError: an entry is not what it should be.
    """
    rows = []
    for file in files:
        pairs = part(read_object(file), "nh_to_pos_neg_prompts", dict, file.name)
        for key in pairs:
            (neuron, head), where = pair_of(key, n_heads, file.name), f"{file.name}, {key}"
            both = part(pairs, key, list, file.name)
            kinds = {
                active: part(both, place, list, where) for place, active in enumerate((True, False))
            }
            size = sum(map(len, kinds.values()))
            ledger.read(file, size)
            if neuron not in texts.tokens or file is not files[-1]:
                again = f"{files[-1].name} was made later"
                ledger.leave("shown", file, size, OTHER if file is files[-1] else again)
                continue
            for active, some in kinds.items():
                for shown in some:
                    text = str(shown).removesuffix(texts.tokens[neuron])
                    prompt = texts.keys.get((neuron, "train", text))
                    rows.append((neuron, head, prompt, active, text))
    columns = ["neuron", "head", "prompt", "active", "text"]
    return pd.DataFrame(rows, columns=columns).astype({"active": bool})


def _neuron_rows(file: RecordFile, content: dict, parameters: dict) -> Iterator[tuple]:
    chosen = part(content, SECTIONS["neurons"], dict, file.name)
    for key in chosen:
        name, where = neuron_of(key, file.name), f"{file.name}, {key}"
        entry = part(chosen, key, dict, file.name)
        token, size = part(entry, "token", str, where), part(entry, "congruence", _Number, where)
        yield name, *Neuron.parse(name)[:2], token, float(size), False
    where = f"{file.name}, rejected_neurons"
    for entry in parameters.get("rejected_neurons", []):
        layer, index = part(entry, 0, int, where), part(entry, 1, int, where)
        token = part(entry, 2, str, where)
        yield str(Neuron(layer, index)), layer, index, token, float("nan"), True


def _span(cut: Any, where: str) -> tuple[int, int, int, float, float]:
    document, start = part(cut, "dataset_index", int, where), part(cut, "start_pos", int, where)
    stop = part(cut, "token_pos", int, where) + 1
    kept, whole = part(cut, "trunc_act", _Number, where), part(cut, "og_act", _Number, where)
    return document, start, stop, float(kept), float(whole)
