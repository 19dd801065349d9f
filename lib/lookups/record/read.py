"""What the paper prints, and the record that its authors released, as tables with our stages' names
(chapters 8 and 14).

A folder a step, a file a model and split (`2023-10-13_13-51-37_gpt2-small_test.json`): JSON, or
JSON lines for replies. Nothing else is ever opened: pickles could run code. What hangs together is
matched by its text alone: a prompt to the heads active on it, a question to its reply.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import AliasPath, Field, TypeAdapter, ValidationError, create_model

from lookups.errors import SourceError
from lookups.explain.explainer import yes_or_no
from lookups.names import Head, Neuron

MODELS = {
    "gpt2-small": ("openai-community/gpt2", 12),
    "gpt2-medium": ("openai-community/gpt2-medium", 16),
    "gpt2-large": ("openai-community/gpt2-large", 20),
    "gpt2-xl": ("openai-community/gpt2-xl", 25),
    "pythia-160m": ("EleutherAI/pythia-160m", 12),
    "pythia-410m": ("EleutherAI/pythia-410m", 16),
    "pythia-1.4b": ("EleutherAI/pythia-1.4b", 16),
}
"""The record's names of the paper's models, with their Hugging Face ids and heads a layer."""


def recorded_as(model: str) -> str | None:
    """Return the record's name of a model, with or without its owner; None if it has none."""
    names = (name for name, (id_, _) in MODELS.items() if model in (id_, id_.split("/")[1]))
    return next(names, None)


class Reported(NamedTuple):
    """One run's scores as the paper has them (GPT-4 explains and judges)."""

    run: str
    mean: float
    sd: float  # with n
    skew: float
    p_skew: float  # of D'Agostino's test that the skew is above 0
    p_digit: float  # what its last printed digit is worth


REPORTED = (
    Reported("GPT-2 small", 0.650, 0.194, -0.122, 0.789, 1e-3),
    Reported("GPT-2 medium", 0.610, 0.201, 0.113, 0.097, 1e-3),
    Reported("GPT-2 large", 0.575, 0.227, -0.132, 0.960, 1e-3),
    Reported("Pythia-160m", 0.621, 0.206, -0.038, 0.602, 1e-3),
    Reported("Pythia-1.4b", 0.574, 0.176, -0.098, 0.832, 1e-3),
    Reported("GPT-2 large, random neurons", 0.558, 0.191, 0.230, 4.0e-5, 1e-6),
)
"""The camera-ready paper, heads being active above mean + 2 sd."""

STEPS = {
    "neurons": "1_next_token_neurons",
    "heads": "4_head_attributions",
    "explanations": "5_head_explanations",
    "verdicts": "6_explanation_eval",
}
"""The folder of each step that is read."""

AGAIN = "fetch the record again, as book/how-to-run.md says"
_MARK = re.compile(r"test|prompts|results|dict|\d+")


@dataclass(frozen=True)
class Published:
    """The record of one model; the key of a prompt names a text only together with the neuron."""

    model: str
    neurons: pd.DataFrame
    """neuron, token, congruence. The chosen ones in the authors' order."""
    suffixes: pd.DataFrame
    """neuron, split, prompt, text."""
    heads: pd.DataFrame
    """neuron, split, prompt, head: the active ones alone."""
    shown: pd.DataFrame
    """neuron, head, prompt, active, text. What each explanation was made from; no text has the
    token, and `prompt` is missing where the text is none of the neuron's."""
    explanations: pd.DataFrame
    """neuron, head, explanation, which is missing where no reply came."""
    verdicts: pd.DataFrame
    """neuron, head, prompt, active, verdict. The answer to one question about a held-out prompt,
    None where there is none or it says neither yes nor no."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The tables for which this record has nothing."""
        return tuple(name for name, rows in vars(self).items() if name != "model" and rows.empty)


_NeuronKey = Annotated[str, Field(pattern=r"^\(\d+, ?\d+\)$")]  # (9, 5)
_PairKey = Annotated[str, Field(pattern=r"^\(\d+, ?\d+, ?\d+\)$")]  # (9, 5, 88)


_Chosen = create_model("_Chosen", token=(str, ...), congruence=(float, ...))
_asked, _said = AliasPath("messages", 0, "content"), AliasPath("choices", 0, "message", "content")
_Request = create_model("_Request", text=(str, Field(validation_alias=_asked)))
_Reply = create_model("_Reply", text=(str, Field(validation_alias=_said)))


def _step(key: str, rows: Any) -> TypeAdapter:
    """A file with its rows under a key, and the name of the file from which it was made."""
    fields = {"rows": (rows, Field(alias=key)), "prior_filename": (str | None, None)}
    return TypeAdapter(create_model(key, **fields))


_KINDS = {
    "neurons": _step("neurons", dict[_NeuronKey, _Chosen]),
    "heads": _step("head_attributions", dict[_NeuronKey, dict[str, list[int]]]),
    "shown": _step("nh_to_pos_neg_prompts", dict[_PairKey, tuple[list[str], list[str]]]),
    "explanations": TypeAdapter(dict[_PairKey, str]),
    "verdicts": _step("classify_prompts", dict[_PairKey, dict[str, str]]),
}
_REPLIES = TypeAdapter(tuple[_Request, _Reply | list[Any]])  # a list of errors: no answer came


class _File(NamedTuple):
    """One file of the record, with the documents that it is about (train or test)."""

    name: str
    stem: str
    split: str
    content: Any  # as its kind has it; for JSON lines a list of them

    def entries(self) -> Iterator[tuple[str, list[int], Any]]:
        """A neuron, in a pair its head's number, and what stands there."""
        rows = self.content if isinstance(self.content, dict) else self.content.rows
        for key, own in rows.items():
            layer, index, *head = map(int, key[1:-1].split(","))
            yield str(Neuron(layer, index)), head, own


def _opened(path: Path, kind: str, split: str) -> _File:
    where = name = f"{path.parent.name}/{path.name}"
    try:
        content = path.read_bytes()
        if kind in _KINDS:
            content = _KINDS[kind].validate_json(content, strict=True)
        else:
            lines, content = content.rstrip(b"\n").split(b"\n"), []
            for number, line in enumerate(lines, start=1):
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
    model, *words = path.stem.split("_")[2:] or [""]  # after date and time
    variant = [word for word in words if not _MARK.fullmatch(word)]
    return "_".join([model, *variant]), set(words)


def read_published(folder: Path, model: str | None = None) -> Published:
    """Read the authors' record of one model from the folder in which the steps' folders lie.

    `model` may be left out where there is one; a second set of layers is `gpt2-large_mid`. Where a
    step was run several times, what later steps name is read, and else the latest. SourceError if
    there is no such record, or a file of it is missing, cut off or malformed.
    """
    if not (folder / STEPS["neurons"]).is_dir():
        raise SourceError(f"{folder} has no {STEPS['neurons']}, as the record has: {AGAIN}")
    inside = {step: sorted((folder / place).glob("[!.]*.json*")) for step, place in STEPS.items()}
    paths = [(step, path) for step, some in inside.items() for path in some]
    about = {_named(path)[0] for _, path in paths}
    known = sorted(one for one in about if one.split("_")[0] in MODELS)
    name = model or (known[0] if len(known) == 1 else "")
    if name not in known:
        said = f"has no file about {name!r}" if name else "holds several models"
        raise SourceError(f"{folder} {said}; name one as `published_model:`: {', '.join(known)}")
    files: dict[str, list[_File]] = defaultdict(list)
    for step, path in paths:
        (about, words), lines = _named(path), path.suffix == ".jsonl"
        # files of neurons do not say which set of layers they are about
        wanted = about == name or (step == "neurons" and about == name.split("_")[0])
        if wanted and (not lines or "results" in words):  # the other lines are requests, held twice
            shown = step == "heads" and "prompts" in words
            kind = "shown" if shown else f"replies, {step}" if lines else step
            files[kind].append(_opened(path, kind, "test" if "test" in words else "train"))
    return _Reader(name, files).published()


class _Reader:
    """The files of one model, by kind."""

    def __init__(self, model: str, files: dict[str, list[_File]]):
        self.model, self.of = model, files
        self.n_heads = MODELS[model.split("_")[0]][1]
        named = {file.content.prior_filename for file in files["shown"] + files["verdicts"]}
        # of each split the file that a later step names, else the latest
        used = {file.split: file for file in sorted(files["heads"], key=lambda f: f.stem in named)}
        self.heads = [used[split] for split in ("train", "test") if split in used]
        # the latest file that has all neurons whose heads are recorded
        needed = set(self.heads[0].content.rows) if self.heads else set()
        fit = [file for file in files["neurons"] if needed <= set(file.content.rows)]
        if not fit:
            what = f"all neurons of {self.heads[0].name}" if self.heads else f"{model!r}"
            raise SourceError(f"{STEPS['neurons']} has no file with {what}: {AGAIN}")
        self.chosen = {neuron: one for neuron, _, one in fit[-1].entries()}
        # by neuron, split and text: the prompt's key, and the active heads
        self.texts: dict[tuple[str, str, str], tuple[str, list[str]]] = {}
        for file in self.heads:
            for neuron, _, texts in file.entries():
                own = texts if neuron in self.chosen else {}
                for place, (text, flat) in enumerate(own.items()):
                    heads = [self._head(one, neuron, file) for one in flat]
                    self.texts[neuron, file.split, text] = f"record/{file.split}/{place}", heads

    def _head(self, flat: int, neuron: str, file: _File) -> str:
        """The name of the head with a number counted through all layers."""
        if not 0 <= flat < self.n_heads * (Neuron.parse(neuron).layer + 1):
            raise SourceError(f"{file.name}: {flat} is no head that {neuron} can read; {AGAIN}")
        return str(Head(*divmod(flat, self.n_heads)))

    def _pairs(self, file: _File) -> Iterator[tuple[str, str, Any]]:
        """Neuron, head and rows of the pairs whose neuron was chosen: one file has another's."""
        for neuron, (flat,), own in file.entries():
            if neuron in self.chosen:
                yield neuron, self._head(flat, neuron, file), own

    def published(self) -> Published:
        chosen = [(neuron, one.token, one.congruence) for neuron, one in self.chosen.items()]
        rows = [(*of, prompt, text, some) for (*of, text), (prompt, some) in self.texts.items()]
        texts = _table(rows, "neuron split prompt text head")
        heads = texts.drop(columns="text").explode("head", ignore_index=True).dropna()
        tables = [self._shown(), self._explanations(), self._verdicts()]
        neurons = _table(chosen, "neuron token congruence")
        return Published(self.model, neurons, texts.drop(columns="head"), heads, *tables)

    def _shown(self) -> pd.DataFrame:
        rows = []
        for file in self.of["shown"][-1:]:
            for neuron, head, kinds in self._pairs(file):
                for active, texts in zip((True, False), kinds, strict=True):
                    for text in (one.removesuffix(self.chosen[neuron].token) for one in texts):
                        prompt, _ = self.texts.get((neuron, "train", text), (None, []))
                        rows.append((neuron, head, prompt, active, text))
        return _table(rows, "neuron head prompt active text")

    def _explanations(self) -> pd.DataFrame:
        pairs = (pair for file in self.of["explanations"] for pair in self._pairs(file))
        asked = {(neuron, head): text for neuron, head, text in pairs}
        replies = self._replies("explanations")
        rows = [(*pair, replies.get(text)) for pair, text in asked.items()]
        return _table(rows, "neuron head explanation")

    def _verdicts(self) -> pd.DataFrame:
        """A row for every question about a held-out prompt, with its answer; each asked once."""
        found: dict[tuple[str, str, str], tuple[str, bool]] = {}
        stems = {file.stem for file in self.of["heads"]}
        about = next((file.stem for file in self.heads if file.split == "test"), None)
        for file in reversed(self.of["verdicts"]):
            if (prior := file.content.prior_filename) not in stems:
                missing = f"{prior}.json, which is not in {STEPS['heads']}"
                raise SourceError(f"{file.name} was made from {missing}: {AGAIN}")
            for neuron, head, questions in self._pairs(file) if prior == about else ():
                for question, shown in questions.items():
                    at = (neuron, "test", shown.removesuffix(self.chosen[neuron].token))
                    if at in self.texts:
                        prompt, heads = self.texts[at]
                        found.setdefault((neuron, head, question), (prompt, head in heads))
        replies = self._replies("verdicts")
        said = [yes_or_no(replies.get(question, "")) for _, _, question in found]
        rows = [(*pair, *of) for (*pair, _), of in found.items()]
        table = _table(rows, "neuron head prompt active")
        return table.assign(verdict=pd.Series(said, dtype=object))  # in which None stays None

    def _replies(self, step: str) -> dict[str, str]:
        """What was said to each request: the last of several replies, as it was for the authors."""
        lines = (line for file in self.of[f"replies, {step}"] for line in file.content)
        return {request.text: getattr(reply, "text", "") for request, reply in lines}


def _table(rows: list[tuple], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())
