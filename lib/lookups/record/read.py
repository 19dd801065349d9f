"""What the paper prints, and the record that its authors released (chapters 8 and 14).

A folder a step, a file a model and split (`2023-10-13_13-51-37_gpt2-small_test.json`): JSON, or
JSON lines for replies. Nothing else is ever opened: pickles could run code. Files are checked and
chosen here; chapter 14 makes tables of them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AliasPath, Field, TypeAdapter, ValidationError, create_model

from lookups.errors import SourceError
from lookups.names import Head, Neuron, Pair

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


class Published(NamedTuple):
    """The record of one model as it stands in the files, with the names of neurons and heads."""

    model: str
    neurons: dict[str, Any]
    """The chosen ones in the authors' order, each with `token` and `congruence`."""
    active: dict[tuple[str, str], dict[str, list[str]]]
    """By neuron and split: the heads active on each text."""
    shown: list[tuple[Pair, tuple[list[str], list[str]]]]
    """The active prompts that a pair was explained from, and the others, each with the token."""
    requests: list[tuple[Pair, str]]
    """What was asked for an explanation of a pair."""
    questions: list[tuple[Pair, dict[str, str]]]
    """The held-out prompt, with the token, that each question is about; the latest file first."""
    explanations: dict[str, str]
    """The last of the replies to a request, as it was for the authors; empty where none came."""
    answers: dict[str, str]
    """The same for questions."""


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
    n_heads: int
    content: Any  # as its kind has it; for JSON lines a list of them

    def head(self, flat: int, neuron: str) -> str:
        """The name of the head with a number counted through all layers."""
        if not 0 <= flat < self.n_heads * (Neuron.parse(neuron).layer + 1):
            raise SourceError(f"{self.name}: {flat} is no head that {neuron} can read; {AGAIN}")
        return str(Head(*divmod(flat, self.n_heads)))

    def entries(self) -> Iterator[tuple[str, list[int], Any]]:
        """A neuron, in a pair its head's number, and what stands there."""
        rows = self.content if isinstance(self.content, dict) else self.content.rows
        for key, own in rows.items():
            layer, index, *head = map(int, key[1:-1].split(","))
            yield str(Neuron(layer, index)), head, own


def _opened(path: Path, kind: str, split: str, n_heads: int) -> _File:
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
    return _File(name, path.stem, split, n_heads, content)


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
            split, n_heads = "test" if "test" in words else "train", MODELS[name.split("_")[0]][1]
            files[kind].append(_opened(path, kind, split, n_heads))
    return _chosen(name, files)


def _chosen(model: str, of: dict[str, list[_File]]) -> Published:
    """What later steps went on with, of the files of each kind."""
    named = {file.content.prior_filename for file in of["shown"] + of["verdicts"]}
    # of each split the file that a later step names, else the latest
    used = {file.split: file for file in sorted(of["heads"], key=lambda f: f.stem in named)}
    heads = [used[split] for split in ("train", "test") if split in used]
    # the latest file that has all neurons whose heads are recorded
    needed = set(heads[0].content.rows) if heads else set()
    fit = [file for file in of["neurons"] if needed <= set(file.content.rows)]
    if not fit:
        what = f"all neurons of {heads[0].name}" if heads else f"{model!r}"
        raise SourceError(f"{STEPS['neurons']} has no file with {what}: {AGAIN}")
    neurons = {neuron: one for neuron, _, one in fit[-1].entries()}
    asked, stems = [], {file.stem for file in of["heads"]}
    for file in reversed(of["verdicts"]):
        if (prior := file.content.prior_filename) not in stems:
            missing = f"{prior}.json, which is not in {STEPS['heads']}"
            raise SourceError(f"{file.name} was made from {missing}: {AGAIN}")
        asked += [file] if "test" in used and prior == used["test"].stem else []
    active = {
        (neuron, file.split): {text: [file.head(n, neuron) for n in own[text]] for text in own}
        for file in heads
        for neuron, _, own in file.entries()
        if neuron in neurons
    }
    pairs = (_pairs(files, neurons) for files in (of["shown"][-1:], of["explanations"], asked))
    said = (_said(of[f"replies, {step}"]) for step in ("explanations", "verdicts"))
    return Published(model, neurons, active, *pairs, *said)


def _pairs(files: list[_File], neurons: dict[str, Any]) -> list[tuple[Pair, Any]]:
    """Pairs and what stands there, if the neuron was chosen: one file has another model's, too."""
    entries = ((file, *entry) for file in files for entry in file.entries())
    return [((neuron, file.head(flat, neuron)), own)
            for file, neuron, (flat,), own in entries if neuron in neurons]  # fmt: skip


def _said(files: list[_File]) -> dict[str, str]:
    return {sent.text: getattr(reply, "text", "") for file in files for sent, reply in file.content}
