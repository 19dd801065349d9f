"""The record that the paper's authors released, as tables with the names of our stages.

`read_published` reads every file of one model and matches what hangs together only by its text: a
prompt to the heads that were active on it, a question to its reply. What finds no place in a table
is listed with a reason: rows read are rows used and rows left out. How files become rows is the
matter of `lookups.record.rows` and `lookups.record.replies`. Nothing is scored here, which
chapter 13 does, and no model is needed. The record holds no token ids, no text of the spans, and of
attributions only which heads were highest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lookups.errors import PublishedError
from lookups.record.files import (
    AGAIN,
    HEADS,
    STEPS,
    RecordFile,
    part,
    read_object,
    record_files,
    record_folder,
)
from lookups.record.replies import evaluated, explained
from lookups.record.rows import (
    SECTIONS,
    Ledger,
    Texts,
    attributed,
    neurons_of,
    shown_to_explain,
    spans_of,
    suffixes_of,
)


@dataclass(frozen=True)
class Published:
    """The record of one model.

    A prompt's key is `record/split/place`, the place being that among the texts of its neuron: it
    names a text only together with the neuron.
    """

    model: str
    parameters: dict[str, Any]
    """As the file of neurons has them."""
    neurons: pd.DataFrame
    """neuron, layer, index, token, congruence, rejected. The chosen ones in the authors' order,
    then those that they rejected by hand, whose congruence is not recorded."""
    spans: pd.DataFrame
    """neuron, split, document, start, stop, activation, whole_activation. One cut of a document;
    positions as the record counts them, `stop` being the first that is no longer in it."""
    suffixes: pd.DataFrame
    """neuron, split, prompt, text, and the columns of `spans` where it is known which span a text
    is (`lookups.record.rows.suffixes_of`); missing values elsewhere."""
    heads: pd.DataFrame
    """neuron, split, prompt, head, active. Recorded heads only, which were all active; every other
    head was not."""
    shown: pd.DataFrame
    """neuron, head, prompt, active, text. What each explanation was made from, without the token;
    `prompt` is missing where the text is none of the neuron's."""
    explanations: pd.DataFrame
    """neuron, head, prompt_text, explanation. A request, and its reply (missing without one)."""
    verdicts: pd.DataFrame
    """neuron, head, prompt, active, verdict, file, reply_file. The answer to one question about a
    held-out prompt, None where there is none or it says neither yes nor no; the evaluation that
    asks it, and the file of the reply ("" without one)."""
    files: pd.DataFrame
    """file, rows, used. All that was read, and how much of it stands in a table."""
    left_out: pd.DataFrame
    """table, file, rows, reason. `rows` is missing for a file that is never opened."""
    missing: tuple[str, ...]
    """The tables for which this record has nothing."""

    def texts(self, split: str) -> pd.Series:
        """Return the texts of a split's prompts by neuron and prompt."""
        rows = self.suffixes[self.suffixes.split == split]
        return rows.set_index(["neuron", "prompt"]).text


def read_published(
    folder: Path, model: str | None = None, *, n_heads: int | None = None
) -> Published:
    """Read the authors' record of one model from the folder of its steps, or of several records.

    `model` may be left out where there is one; a second set of layers is `gpt2-large_mid`. A number
    of heads a layer need only be given for a model that `lookups.record.files.HEADS` lacks.
    Where a step was run several times, what later steps name is read, and else the latest.

    Raises:
        PublishedError: there is no such record, or a file of it is missing, cut off or malformed.
    """
    name = None if model is None else model.rsplit("/", 1)[-1]
    root = record_folder(folder, name)
    every = record_files(root)
    name = name or _only_model(every, root)
    n_heads = n_heads or _heads_a_layer(name)
    ledger = Ledger()
    own = _own(every, name, ledger)
    heads, cuts = _chosen(own, ledger)
    parameters, neurons = neurons_of(own["neurons"], [*heads.values(), *cuts.values()], ledger)
    texts = Texts(neurons)
    for split, file in heads.items():
        if file is not None:
            texts.add(file, split, n_heads, ledger)
    spans = spans_of(cuts, texts.tokens, ledger)
    prompts = [file for file in own["heads"] if "prompts" in file.marks]
    tables = {
        "neurons": neurons,
        "spans": spans,
        "suffixes": suffixes_of(texts, spans),
        "heads": attributed(texts),
        "shown": shown_to_explain(prompts, texts, n_heads, ledger),
        "explanations": explained(own["explanations"], texts, n_heads, ledger),
        "verdicts": evaluated(own["verdicts"], heads["test"], texts, n_heads, ledger),
    }
    missing = tuple(table for table, rows in tables.items() if not len(rows))
    account = {"files": ledger.files(), "left_out": ledger.left_out()}
    return Published(name, parameters, **tables, **account, missing=missing)


def _only_model(files: list[RecordFile], root: Path) -> str:
    names = sorted({file.model for file in files if file.model})
    if len(names) != 1:
        raise PublishedError(
            f"{root.name} holds records of {', '.join(names) or 'no model'}: name one of them"
            if names
            else f"{root.name} holds no file whose name says a model: {AGAIN}"
        )
    return names[0]


def _heads_a_layer(model: str) -> int:
    base = model.split("_")[0]
    if base not in HEADS:
        raise PublishedError(
            f"how many heads a layer of {base!r} has is not known: give n_heads, or one of the "
            f"models {', '.join(HEADS)}"
        )
    return HEADS[base]


def _own(files: list[RecordFile], model: str, ledger: Ledger) -> dict[str, list[RecordFile]]:
    """The files that are about a model, by step; what cannot be told or read is left out."""
    own: dict[str, list[RecordFile]] = {step: [] for step in STEPS}
    for file in files:
        # files of neurons do not say which set of layers they are about
        alike = file.model.split("_")[0] == model.split("_")[0]
        if file.path.suffix not in (".json", ".jsonl"):
            ledger.leave(file.step, file, None, "neither JSON nor JSON lines: never opened")
        elif not file.model:
            ledger.leave(file.step, file, None, "its name says no model: not opened")
        elif file.model == model or (file.step == "neurons" and alike):
            own[file.step].append(file)
    if not own["neurons"]:
        known = sorted({file.model for file in files if file.model})
        raise PublishedError(
            f"{STEPS['neurons']} has no file about {model!r}, only about {', '.join(known)}: "
            f"choose one of these, or {AGAIN}"
        )
    return own


def _chosen(own: dict[str, list[RecordFile]], ledger: Ledger) -> tuple[dict, dict]:
    """The files of active heads and of spans by split: what later steps name, else the latest."""
    evaluations = [file for file in own["verdicts"] if file.path.suffix == ".json"]
    named = {_made_from(file) for file in own["heads"] if "prompts" in file.marks}
    own_heads = {file.path.stem for file in own["heads"]}
    for file in evaluations:
        if _made_from(file) not in own_heads:
            raise PublishedError(
                f"{file.name} was made from {_made_from(file)}.json, which is not in "
                f"{STEPS['heads']}: {AGAIN}"
            )
        named.add(_made_from(file))
    heads = {split: _one(own["heads"], split, named, ledger) for split in ("train", "test")}
    named = {_made_from(file) for file in heads.values() if file is not None}
    cuts = {split: _one(own["spans"], split, named, ledger) for split in ("train", "test")}
    return heads, cuts


def _made_from(file: RecordFile) -> Any:
    """The name of the file that a file was made from, as it says; None where it does not."""
    return read_object(file).get("prior_filename")


def _one(
    files: list[RecordFile], split: str, named: set[str | None], ledger: Ledger
) -> RecordFile | None:
    """The one file of a step and split: named by a later step, else the latest."""
    fit = [file for file in files if file.split == split and "prompts" not in file.marks]
    if not fit:
        return None
    chosen = ([file for file in fit if file.path.stem in named] or fit)[-1]
    for file in fit:
        if file is not chosen:
            content = part(read_object(file), SECTIONS[file.step], dict, file.name)
            rows = sum(len(part(content, key, (dict, list), file.name)) for key in content)
            ledger.read(file, rows)
            ledger.leave(file.step, file, rows, f"another run of the step; {chosen.name} is used")
    return chosen
