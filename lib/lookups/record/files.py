"""The files of the authors' released record: which there are, and what stands in each.

A folder a step, a file a model and split, named by a time, the model and some marks
(`2023-10-13_13-51-37_gpt2-small_test.json`); JSON, or JSON lines for requests and replies. Nothing
else is ever opened: the record's pickles could run code. What the entries mean is
`lookups.record.read`' matter; chapter 13 reads it.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import PublishedError
from lookups.names import Head, Neuron

STEPS = {
    "neurons": "1_next_token_neurons",
    "spans": "3_trimmed_texts",
    "heads": "4_head_attributions",
    "explanations": "5_head_explanations",
    "verdicts": "6_explanation_eval",
}
"""The folder of each step that is read. Steps 2 and 7 were released as pickles or not at all."""

HEADS = {
    "gpt2-small": 12, "gpt2-medium": 16, "gpt2-large": 20, "gpt2-xl": 25,
    "pythia-160m": 12, "pythia-410m": 16, "pythia-1.4b": 16,
}  # fmt: skip
"""Heads a layer: the record numbers heads through all layers, layer x heads + head."""

AGAIN = "fetch the record again with `lookups download --published`"

_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_(?P<model>[^_]+)(?P<marks>(_[A-Za-z0-9]+)*)")
_MARK = re.compile(r"test|prompts|results|dict|\d+")


class RecordFile(NamedTuple):
    """One file of the record, and what its name says."""

    path: Path
    step: str
    """A key of `STEPS`."""
    model: str
    """With what sets a second set of layers apart: `gpt2-large`, `gpt2-large_mid`. Empty where
    the name says no model."""
    marks: frozenset[str]
    """The other words of the name: test, prompts, results, dict, 10, 20."""

    @property
    def name(self) -> str:
        """The path from the record's folder on, as tables and errors have it."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def split(self) -> str:
        """Which documents it is about: train or test."""
        return "test" if "test" in self.marks else "train"


def record_folder(folder: Path, model: str | None = None) -> Path:
    """Return the folder that holds the steps: the one given, or one a model or the repository has.

    Raises:
        PublishedError: there is none, or several and `model` names none of them.
    """
    inner = ["", model or "", "experiment_data", "neuron_groups/experiment_data"]
    for place in (folder / one for one in inner):
        if (place / STEPS["neurons"]).is_dir():
            return place
    found = sorted(path.parent for path in folder.glob(f"*/{STEPS['neurons']}"))
    if len(found) == 1 and model is None:
        return found[0]
    if found:
        raise PublishedError(
            f"{folder} holds the records of {', '.join(path.name for path in found)}: "
            f"name one of them as the model{'' if model is None else f', not {model!r}'}"
        )
    raise PublishedError(
        f"{folder} holds no {STEPS['neurons']}, so it is not the authors' record: give the folder "
        "in which that lies, or fetch the record with `lookups download --published`"
    )


def record_files(folder: Path) -> list[RecordFile]:
    """Return the files of all steps, each step's in the order of their times."""
    files = []
    for step, place in STEPS.items():
        for path in sorted((folder / place).glob("*")):
            if path.is_file() and not path.name.startswith("."):
                files.append(_named(path, step))
    return files


def read_object(file: RecordFile) -> dict[str, Any]:
    """Return what a JSON file holds.

    Raises:
        PublishedError: it is empty, cut off, not JSON, or holds something else than an object.
    """
    content = _parsed(_text(file), file.name)
    if not isinstance(content, dict):
        raise PublishedError(f"{file.name} holds a {type(content).__name__}, no object: {AGAIN}")
    return content


def read_lines(file: RecordFile) -> list[Any]:
    """Return what each line of a JSON-lines file holds.

    Raises:
        PublishedError: a line is cut off or not JSON; the text says which. The file is empty.
    """
    lines = _text(file).rstrip("\n").split("\n")  # splitlines would part at other marks as well
    return [_parsed(line, f"{file.name}, line {n}") for n, line in enumerate(lines, start=1)]


def part(content: Any, key: str | int, kind: type | tuple[type, ...], where: str) -> Any:
    """Return one entry of an object or a list, which must be of a kind.

    Raises:
        PublishedError: it is missing, or of another kind; the text says where and what was found.
    """
    try:
        value = content[key]
    except (KeyError, IndexError, TypeError):
        raise PublishedError(f"{where} has no {key!r}: {AGAIN}") from None
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = kind if isinstance(kind, tuple) else (kind,)
        raise PublishedError(
            f"{where}: {key!r} is {_short(value)}, not of type "
            f"{' or '.join(one.__name__ for one in wanted)}: {AGAIN}"
        )
    return value


def numbers_of(key: str, count: int, where: str) -> list[int]:
    """Return the whole numbers of a key such as `(9, 5)` or `(9, 5, 88)`.

    Raises:
        PublishedError: it has another form.
    """
    if not re.fullmatch(r"\(\d+(, ?\d+)*\)", key) or key.count(",") != count - 1:
        raise PublishedError(f"{where}: {_short(key)} is no key of {count} numbers: {AGAIN}")
    return [int(number) for number in key[1:-1].split(",")]


def neuron_of(key: str, where: str) -> str:
    """Return the name of the neuron that a key `(layer, index)` stands for.

    Raises:
        PublishedError: it has another form.
    """
    return str(Neuron(*numbers_of(key, 2, where)))


def pair_of(key: str, n_heads: int, where: str) -> tuple[str, str]:
    """Return the names of the neuron and head of a key `(layer, index, head)`.

    Raises:
        PublishedError: it has another form, or the head lies past the neuron's layer.
    """
    layer, index, flat = numbers_of(key, 3, where)
    return str(Neuron(layer, index)), head_of(flat, n_heads, layer, where)


def head_of(flat: Any, n_heads: int, layer: int, where: str) -> str:
    """Return the name of the head with a number counted through all layers.

    Raises:
        PublishedError: it is no whole number, or its layer comes after the neuron's `layer`, which
            happens when `n_heads` is not the model's.
    """
    if type(flat) is not int or not 0 <= flat < n_heads * (layer + 1):
        raise PublishedError(
            f"{where}: {_short(flat)} is no head at or below layer {layer} in a model with "
            f"{n_heads} heads a layer: give the model's own number as n_heads, or {AGAIN}"
        )
    return str(Head(*divmod(flat, n_heads)))


def _named(path: Path, step: str) -> RecordFile:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return RecordFile(path, step, "", frozenset())
    words = match["marks"].split("_")[1:]
    variant = [word for word in words if not _MARK.fullmatch(word)]
    model = "_".join([match["model"], *variant])
    return RecordFile(path, step, model, frozenset(words) - set(variant))


def _text(file: RecordFile) -> str:
    try:
        text = file.path.read_text("utf-8")
    except OSError as error:
        raise PublishedError(f"{file.name} cannot be read ({error.strerror}): {AGAIN}") from None
    except UnicodeDecodeError as error:
        where = f"{file.name} is not text from byte {error.start} on"
        raise PublishedError(f"{where}: {AGAIN}") from None
    if not text.strip():
        raise PublishedError(f"{file.name} is empty: {AGAIN}")
    return text


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        reason = getattr(error, "msg", str(error))
        at = f" at character {error.pos} of {len(text)}" if hasattr(error, "pos") else ""
        raise PublishedError(f"{where} is cut off or not JSON ({reason}{at}): {AGAIN}") from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"
