"""The record that the paper's authors released, as tables with our stages' names (chapter 13).

A folder a step, a file a model and split (`2023-10-13_13-51-37_gpt2-small_test.json`): JSON, or
JSON lines for requests and replies. Nothing else is ever opened: pickles could run code. A file
that does not fit the pydantic model of its kind is an error that names the place. What hangs
together is matched by its text alone: a prompt to the heads active on it, a question to its reply.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import (
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)

from lookups.errors import SourceError
from lookups.explain.language_model import yes_or_no
from lookups.names import Head, Neuron
from lookups.record.paper import MODELS

STEPS = {
    "neurons": "1_next_token_neurons",
    "spans": "3_trimmed_texts",
    "heads": "4_head_attributions",
    "explanations": "5_head_explanations",
    "verdicts": "6_explanation_eval",
}
"""The folder of each step that is read. Steps 2 and 7 were released as pickles or not at all."""

AGAIN = "fetch the record again with `lookups download --published`"
LONGEST = 100
"""Tokens of the longest span whose text was kept."""
_MEASURED = ["activation", "whole_activation"]
_TYPES = dict.fromkeys([*_MEASURED, "congruence"], float) | {"active": bool, "rejected": bool}

_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_(?P<model>[^_]+)(?P<marks>(_[A-Za-z0-9]+)*)")
_MARK = re.compile(r"test|prompts|results|dict|\d+")


@dataclass(frozen=True)
class Published:
    """The record of one model.

    A prompt's key is `record/split/place`, the place being that among the texts of its neuron: it
    names a text only together with the neuron.
    """

    model: str
    neurons: pd.DataFrame
    """neuron, layer, token, congruence, rejected. The chosen ones in the authors' order, then those
    that they rejected by hand, whose congruence is not recorded."""
    spans: pd.DataFrame
    """neuron, split, length, activation, whole_activation. One cut of a document."""
    suffixes: pd.DataFrame
    """neuron, split, prompt, text, and both activations where a neuron has as many texts as spans
    of at most `LONGEST` tokens. Elsewhere equal texts fell together, and they are missing."""
    heads: pd.DataFrame
    """neuron, split, prompt, head, active: the active ones alone."""
    shown: pd.DataFrame
    """neuron, head, prompt, active, text. What each explanation was made from, without the token;
    `prompt` is missing where the text is none of the neuron's."""
    explanations: pd.DataFrame
    """neuron, head, prompt_text, explanation. A request, and its reply (missing without one)."""
    verdicts: pd.DataFrame
    """neuron, head, prompt, active, verdict. The answer to one question about a held-out prompt,
    None where there is none or it says neither yes nor no."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The tables for which this record has nothing."""
        return tuple(name for name, rows in vars(self).items() if name != "model" and rows.empty)

    def texts(self, split: str) -> pd.Series:
        """Return the texts of a split's prompts by neuron and prompt."""
        rows = self.suffixes[self.suffixes.split == split]
        return rows.set_index(["neuron", "prompt"]).text


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)
    prior_filename: str | None = None  # the file of an earlier step from which this one was made


class _Chosen(_Part):
    token: str
    congruence: float


class _Cut(_Part):
    start_pos: int
    token_pos: int
    trunc_act: float
    og_act: float


class _Request(_Part):
    text: str = Field(validation_alias=AliasPath("messages", 0, "content"))


class _Reply(_Part):
    text: str = Field(validation_alias=AliasPath("choices", 0, "message", "content"))


def _kind(rows: Any, name: str, **more: Any) -> TypeAdapter:
    """A kind of file that has its `rows` under a name of its own."""
    return TypeAdapter(create_model(name, __base__=_Part, rows=(rows, Field(alias=name)), **more))


_Neuron = Annotated[str, Field(pattern=r"^\(\d+, ?\d+\)$")]  # (9, 5)
_Pair = Annotated[str, Field(pattern=r"^\(\d+, ?\d+, ?\d+\)$")]  # (9, 5, 88)
_REJECTED = Field(default=[], validation_alias=AliasPath("parameters", "rejected_neurons"))
_KINDS = {
    "neurons": _kind(
        dict[_Neuron, _Chosen], "neurons", rejected=(list[tuple[int, int, str]], _REJECTED)
    ),
    "spans": _kind(dict[_Neuron, list[_Cut]], "neuron_to_trunc_data"),
    "heads": _kind(dict[_Neuron, dict[str, list[int]]], "head_attributions"),
    "shown": _kind(dict[_Pair, tuple[list[str], list[str]]], "nh_to_pos_neg_prompts"),
    "explanations": TypeAdapter(dict[_Pair, str]),
    "verdicts": _kind(dict[_Pair, dict[str, str]], "classify_prompts"),
}
_REPLIES = TypeAdapter(tuple[_Request, _Reply | list[Any]])  # a list of errors: no answer came


class _File(NamedTuple):
    """One file of the record, with the documents that it is about (train or test)."""

    name: str
    stem: str
    split: str
    content: Any  # as its kind has it; for JSON lines a list of them


def _opened(path: Path, kind: str, split: str) -> _File:
    where = name = f"{path.parent.name}/{path.name}"
    try:
        data, content = path.read_bytes(), []
        if kind in _KINDS:
            content = _KINDS[kind].validate_json(data, strict=True)
        else:
            for number, line in enumerate(data.rstrip(b"\n").split(b"\n"), start=1):
                where = f"{name}, line {number}"
                content.append(_REPLIES.validate_json(line, strict=True))
    except OSError as error:
        raise SourceError(f"{name} cannot be read ({error.strerror}): {AGAIN}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f", {str(key)[:40]}" for key in first["loc"])
        raise SourceError(f"{where}{place}: {first['msg']}; {AGAIN}") from None
    return _File(name, path.stem, split, content)


def _named(path: Path) -> tuple[str, set[str]]:
    """The model that a file's name says ("" if none), and the other words: test, prompts, 10."""
    match = _NAME.fullmatch(path.stem)
    words = match["marks"].split("_")[1:] if match else []
    variant = [word for word in words if not _MARK.fullmatch(word)]
    return "_".join([match["model"], *variant]) if match else "", set(words)


def read_published(folder: Path, model: str | None = None) -> Published:
    """Read the authors' record of one model from the folder of the steps, or one a model.

    `model` may be left out where there is one; a second set of layers is `gpt2-large_mid`. Where a
    step was run several times, what later steps name is read, and else the latest.

    Raises:
        SourceError: there is no such record, or a file of it is missing, cut off or malformed.
    """
    name = (model or "").rsplit("/", 1)[-1]
    root = next((at for at in (folder, folder / name) if (at / STEPS["neurons"]).is_dir()), None)
    if root is None:
        raise SourceError(
            f"{folder} holds no {STEPS['neurons']}, so it is not the authors' record: give the "
            "folder in which that lies, or fetch the record with `lookups download --published`"
        )
    paths = [(path, step) for step, place in STEPS.items()
             for path in sorted((root / place).glob("[!.]*.json*"))]  # fmt: skip
    known = sorted({_named(path)[0] for path, _ in paths} - {""})
    if not name and len(known) != 1:
        raise SourceError(f"{folder} holds records of {', '.join(known)}: name one of them")
    name = name or known[0]
    if name not in known or name.split("_")[0] not in MODELS:
        raise SourceError(f"{folder} has no file about {name!r}, only about {', '.join(known)}")
    files: dict[str, list[_File]] = defaultdict(list)
    for path, step in paths:
        (model, words), lines = _named(path), path.suffix == ".jsonl"
        # files of neurons do not say which set of layers they are about
        about = model == name or (step == "neurons" and model == name.split("_")[0])
        if about and (not lines or "results" in words):  # the other lines are requests, held twice
            shown = step == "heads" and "prompts" in words
            kind = "shown" if shown else f"replies, {step}" if lines else step
            files[kind].append(_opened(path, kind, "test" if "test" in words else "train"))
    return _Reader(name, files).published()


class _Reader:
    """The files of one model, by kind."""

    def __init__(self, model: str, files: Mapping[str, list[_File]]):
        self.model, self.n_heads, self.of = model, MODELS[model.split("_")[0]][1], files
        self.tokens: dict[str, str] = {}  # of the chosen neurons
        # by neuron, split and text: the prompt's key, and the active heads
        self.texts: dict[tuple[str, str, str], tuple[str, list[str]]] = {}

    def published(self) -> Published:
        named = {file.content.prior_filename for file in self.of["shown"] + self.of["verdicts"]}
        heads = self._one_a_split("heads", named)
        cuts = self._one_a_split("spans", {one.content.prior_filename for one in heads.values()})
        neurons = self._neurons(next(iter([*heads.values(), *cuts.values()]), None))
        self._read_texts(heads)
        spans = self._spans(cuts)
        active = [(neuron, split, prompt, head, True)
                  for (neuron, split, _), (prompt, some) in self.texts.items()
                  for head in some]  # fmt: skip
        tables = [neurons, spans, self._suffixes(spans),
                  _table(active, "neuron split prompt head active"), self._shown(),
                  self._explanations(), self._verdicts(heads.get("test"))]  # fmt: skip
        return Published(self.model, *tables)

    def _one_a_split(self, step: str, named: Collection[str | None]) -> dict[str, _File]:
        """The file of each split that there is: named by a later step, else the latest."""
        files = sorted(self.of[step], key=lambda file: file.stem in named)
        found = {file.split: file for file in files}
        return {split: found[split] for split in ("train", "test") if split in found}

    def _neurons(self, made: _File | None) -> pd.DataFrame:
        """The neurons of the latest file that has all neurons of a later step."""
        needed = set(made.content.rows if made else ())
        fit = [file for file in self.of["neurons"] if needed <= set(file.content.rows)]
        if not fit:
            about = f"{self.model!r}{f' that has all neurons of {made.name}' if made else ''}"
            raise SourceError(f"{STEPS['neurons']} has no file about {about}: {AGAIN}")
        chosen = fit[-1].content
        rows = [(*_neuron(key), one.token, one.congruence, False)
                for key, one in chosen.rows.items()]  # fmt: skip
        rows += [(str(Neuron(layer, index)), layer, token, float("nan"), True)
                 for layer, index, token in chosen.rejected]  # fmt: skip
        self.tokens = {name: token for name, _, token, _, rejected in rows if not rejected}
        return _table(rows, "neuron layer token congruence rejected")

    def _of_chosen(self, files: dict[str, _File]) -> Iterator[tuple]:
        """Split, file, key and rows of the neurons that were chosen."""
        for split, file in files.items():
            for key, rows in file.content.rows.items():
                if _neuron(key)[0] in self.tokens:
                    yield split, file, key, rows

    def _read_texts(self, files: dict[str, _File]) -> None:
        for split, file, key, texts in self._of_chosen(files):
            neuron, layer = _neuron(key)
            for place, (text, flat) in enumerate(texts.items()):
                heads = [self._head(one, layer, f"{file.name}, {key}") for one in flat]
                self.texts[neuron, split, text] = f"record/{split}/{place}", heads

    def _head(self, flat: int, layer: int, where: str) -> str:
        """The name of the head with a number counted through all layers."""
        if not 0 <= flat < self.n_heads * (layer + 1):
            what = f"{flat} is no head at or below layer {layer} with {self.n_heads} heads a layer"
            raise SourceError(f"{where}: {what}; {AGAIN}")
        return str(Head(*divmod(flat, self.n_heads)))

    def _pairs(self, file: _File) -> Iterator[tuple[str, str, Any]]:
        """Neuron, head and rows of the pairs whose neuron was chosen: one file has another's."""
        rows = file.content if isinstance(file.content, dict) else file.content.rows
        for key, own in rows.items():
            layer, index, flat = map(int, key[1:-1].split(","))
            neuron, head = str(Neuron(layer, index)), self._head(flat, layer, f"{file.name}, {key}")
            if neuron in self.tokens:
                yield neuron, head, own

    def _spans(self, files: dict[str, _File]) -> pd.DataFrame:
        rows = [
            (_neuron(key)[0], split, cut.token_pos + 1 - cut.start_pos, cut.trunc_act, cut.og_act)
            for split, _, key, cuts in self._of_chosen(files)
            for cut in cuts
        ]
        return _table(rows, f"neuron split length {' '.join(_MEASURED)}")

    def _suffixes(self, spans: pd.DataFrame) -> pd.DataFrame:
        """The texts; where nothing fell together, texts and spans are matched in order."""
        short = spans[spans.length <= LONGEST].groupby(["neuron", "split"])
        spans_of = {at: list(some[_MEASURED].itertuples(index=False)) for at, some in short}
        sizes = Counter((neuron, split) for neuron, split, _ in self.texts)
        rows = []
        for (neuron, split, text), (prompt, _) in self.texts.items():
            own = spans_of.get((neuron, split), [])
            known = len(own) == sizes[neuron, split]
            span = own[int(prompt.rsplit("/", 1)[1])] if known else [float("nan")] * 2
            rows.append((neuron, split, prompt, text, *span))
        return _table(rows, f"neuron split prompt text {' '.join(_MEASURED)}")

    def _shown(self) -> pd.DataFrame:
        rows = []
        for file in self.of["shown"][-1:]:
            for neuron, head, kinds in self._pairs(file):
                for active, shown in ((kind == 0, one) for kind in (0, 1) for one in kinds[kind]):
                    text = shown.removesuffix(self.tokens[neuron])
                    prompt = self.texts.get((neuron, "train", text), (None,))[0]
                    rows.append((neuron, head, prompt, active, text))
        return _table(rows, "neuron head prompt active text")

    def _explanations(self) -> pd.DataFrame:
        asked: dict[tuple[str, str], str] = {}
        for file in self.of["explanations"]:
            asked |= {(neuron, head): text for neuron, head, text in self._pairs(file)}
        replies = self._replies("explanations")
        rows = [(*pair, text, replies.get(text)) for pair, text in asked.items()]
        return _table(rows, "neuron head prompt_text explanation")

    def _verdicts(self, about: _File | None) -> pd.DataFrame:
        """A row for every question about a prompt of the file `about`, with its answer."""
        found: dict[tuple[str, str, str], tuple] = {}
        stems = {file.stem for file in self.of["heads"]}
        for file in reversed(self.of["verdicts"]):
            if (prior := file.content.prior_filename) not in stems:
                missing = f"{prior}.json, which is not in {STEPS['heads']}"
                raise SourceError(f"{file.name} was made from {missing}: {AGAIN}")
            for neuron, head, questions in self._pairs(file):
                for question, shown in questions.items():
                    at = (neuron, "test", shown.removesuffix(self.tokens[neuron]))
                    key = (neuron, head, question)
                    if about and prior == about.stem and at in self.texts and key not in found:
                        prompt, heads = self.texts[at]
                        found[key] = prompt, head in heads
        replies = self._replies("verdicts")
        said = [yes_or_no(replies.get(question, "")) for _, _, question in found]
        rows = [(*pair, *of) for (*pair, _), of in found.items()]
        table = _table(rows, "neuron head prompt active")
        return table.assign(verdict=pd.Series(said, dtype=object))  # in which None stays None

    def _replies(self, step: str) -> dict[str, str]:
        """What was said to each request: the last of several replies, as it was for the authors."""
        lines = (line for file in self.of[f"replies, {step}"] for line in file.content)
        return {request.text: getattr(reply, "text", "") for request, reply in lines}


def _neuron(key: str) -> tuple[str, int]:
    """The name and the layer of the neuron that a key `(layer, index)` stands for."""
    layer, index = map(int, key[1:-1].split(","))
    return str(Neuron(layer, index)), layer


def _table(rows: Sequence[tuple], columns: str) -> pd.DataFrame:
    """Rows as a table whose columns have the same types with and without rows."""
    table = pd.DataFrame(rows, columns=columns.split())
    return table.astype({name: kind for name, kind in _TYPES.items() if name in table})
