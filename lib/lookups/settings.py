"""A run: one file that fixes everything an analysis depends on, checked when it is read.

`read_run("smollm2")` finds `notebooks/runs/smollm2.yml`; a path to a file of one's own works the
same way. A file that says `extends: gpt2-xl` takes over what it does not say itself: sections key
by key, lists and single values whole; `null` takes a key of the extended run away.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import AfterValidator, DirectoryPath, Field, FilePath, NonNegativeFloat

from lookups.errors import RunError
from lookups.names import Neuron
from lookups.paths import PROJECT, Room, folder

DEFAULT_RUN = "smollm2"
RUNS = PROJECT / "notebooks" / "runs"
RECORDS = PROJECT / "notebooks" / "records"  # what people found out by reading
OPENAI = "https://api.openai.com/v1"
CONSENT = "LOOKUPS_SEND"  # `lookups run --yes` sets it: requests may be sent, and paid for


def _without_secrets(address: str) -> str:
    """An address is shown in errors, so nothing secret may stand in it."""
    if not re.fullmatch(r"https?://[^/@?#\s][^@?#\s]*", address):
        words = "write a whole address such as http://localhost/v1"
        raise ValueError(f"{words}; a key belongs in the environment")
    return address


def _in_order(shares: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= shares[0] < shares[1] <= 1:
        raise ValueError("write two shares in order")
    return shares


Count, Whole = pydantic.PositiveInt, pydantic.NonNegativeInt
Share = Annotated[float, Field(gt=0, le=1)]
Layers = Annotated[tuple[Whole, ...], AfterValidator(lambda some: tuple(dict.fromkeys(some)))]
NeuronName = Annotated[str, AfterValidator(lambda name: str(Neuron.parse(name)))]
NO_MATTER = Field(exclude=True)  # where things lie, how a request is sent: nothing is stale for it
Price = Annotated[NonNegativeFloat | None, NO_MATTER]


class Section(pydantic.BaseModel):
    """The parent of all sections of a run file: unknown keys are errors, values never change."""

    # strict: YAML reads yes, no, on and off as truth values, which would pass for 1 and 0
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSpec(Section):
    """Which model, and how it is held."""

    name: str
    """A packaged model ('SmolLM2-135M-Instruct'), one that ships ('planted-0'), a GGUF file or a
    folder in Hugging Face format, or a Hugging Face id."""
    revision: str = "main"
    device: str = "auto"
    """'auto' (a GPU where there is one), 'cpu' or 'cuda'; the environment's LOOKUPS_DEVICE wins."""
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    """What weights are rounded to; they compute in float32, and only with 'float64' in that."""
    permute_seed: int | None = None  # of a control: every weight matrix with its entries permuted
    folder: Annotated[Path | None, NO_MATTER] = None
    """Where relative model folders and downloads are looked for; filled in from `paths`."""


def is_made(corpus: str) -> bool:
    """Say whether a corpus of that name is made by the project itself, not read from texts."""
    return corpus in ("planted", "wikipedia")


class CorpusSpec(Section):
    """Which texts, and how many."""

    name: str
    """'wikipedia', 'planted', a file or folder of one's own, or a dataset's id."""
    held_out: str | None = None
    """Another corpus of texts as the test split; without it half of this one is held out."""
    field: str = "text"  # of a row of .jsonl, .parquet or a dataset: the one that holds the text
    documents: Count = 10_000  # a split
    length: Annotated[int, Field(ge=2)] = 127  # tokens a document, beginning-of-sequence aside
    cut: Literal["passages", "first"] = "passages"
    """What becomes of a longer text: passages of whole sentences, or its beginning alone."""
    folder: Annotated[Path | None, NO_MATTER] = None  # of corpora; filled in from `paths`


class LlmSettings(Section):
    """A model behind a server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, …"""

    model: Annotated[str, Field(min_length=1)]  # the name by which the server knows it
    base_url: Annotated[str, AfterValidator(_without_secrets), NO_MATTER] = OPENAI  # with its /v1
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", exclude=True)] = "OPENAI_API_KEY"
    """The environment variable that holds the key; never the key itself."""
    concurrency: Annotated[Count, NO_MATTER] = 8  # requests under way at once
    timeout: Annotated[float, Field(gt=0, exclude=True)] = 60.0  # seconds a server may be silent
    retries: Annotated[Whole, NO_MATTER] = 5
    """Further attempts where no reply came, after half a second to eight or as the server asks."""
    temperature: NonNegativeFloat | None = 0.0  # None leaves it out, for models that take none
    seed: int | None = 0  # likewise
    explain_tokens: Count = 200  # the longest explanation (paper, step 6)
    judge_tokens: Count = 1  # the longest verdict
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the longest reply; OpenAI's reasoning models know only the second."""
    logprobs: bool = True  # whether to ask for those of a verdict's first token
    top_logprobs: Annotated[int, Field(ge=1, le=20)] = 20  # of them; some servers allow only 5
    extra: dict[str, Any] = {}  # of every request, such as reasoning_effort; they win over ours
    price_in: Price = None  # dollars a million tokens of prompts
    price_out: Price = None  # of replies; with both the plan tells a cost

    def sampling(self, tokens: int, *, logprobs: bool = False) -> dict[str, Any]:
        """Return what a reply depends on besides the model and the messages."""
        optional = {"temperature": self.temperature, "seed": self.seed}
        body = {self.limit_key: tokens} | {k: v for k, v in optional.items() if v is not None}
        if logprobs and self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body | self.extra


class SpreadSizes(Section):
    """How many prompts of the spread sample each split may give a neuron."""

    train: Count = 40
    test: Count = 40


class Run(Section):
    """Everything that one analysis depends on."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """A word for folders; the file's name unless the file says otherwise."""
    given: Annotated[str, NO_MATTER] = ""
    """What commands are told: a shipped run's id, else the path to its file; filled in."""
    title: str
    model: ModelSpec
    corpus: CorpusSpec
    paths: Annotated[dict[Room, Path], NO_MATTER] = {}
    """Folders; an environment variable, such as LOOKUPS_DATA, overrides each."""
    layers: Annotated[Layers, Field(min_length=1)]  # whose neurons are candidates
    middle_layers: Layers = ()  # for the control 'the same, but not late in the network'
    neurons_per_layer: Count = 20
    examined_per_layer: Count | None = None
    """Of a layer's list, so many of the highest congruence are examined further; all by default."""
    neurons_per_token: Count | None = None
    """Selected neurons for one token at most, so that many tokens are seen."""
    selected_at_most: Count | None = None
    random_per_layer: Count = 10  # control neurons, matched to selected ones of that layer
    rejected: dict[NeuronName, str] = {}  # neurons left out by hand, each with its reason
    neurons: tuple[NeuronName, ...] | None = None  # exactly these, in place of the search
    tokens: tuple[str, ...] | None = None  # only neurons with one of these, in place of the search
    prompts: FilePath | None = None  # a text file of one's own, one a line, in place of the search
    examples: tuple[NeuronName, ...] = ()
    """Neurons that the chapters look at by hand, at most two; by default those with the highest
    follow rates on `train`, each for a token of its own."""
    verdicts: FilePath | None = None
    """Readers' verdicts in the blind sort; by default notebooks/records/<id>.sort.yml, if any."""
    minimum_count: Whole = 300  # of a neuron's token in training, where counts are known
    minimum_in_texts: Whole = 20  # of it elsewhere, in the run's own train texts
    prompts_per_neuron: Count = 20
    """A neuron's strongest documents a split: its follow rate is that of their positions."""
    top_per_neuron: Count | None = None
    """Of these, so many go on as prompts, the strongest first; all by default."""
    spread_per_neuron: SpreadSizes = SpreadSizes()
    prompts_per_file: Count = 2
    follow_share: Share = 0.25
    follow_lift: Annotated[float, Field(gt=0)] = 5.0
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    keep: Share = 0.8
    longest: Count = 100
    active_rule: Literal["effect", "2sd", "top3"]
    """Which heads are called active; by default `2sd` under the paper's protocol, else `effect`."""
    effect_apart: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """For `effect`: a pair is kept if the head's share is so much larger on the active prompts."""
    pair_share: Annotated[tuple[float, float], AfterValidator(_in_order)] = (0.25, 0.75)
    llm: LlmSettings | None = None
    """A language model that explains heads too; without it only the rules of words do."""
    held_out: Count = 50  # prompts of each kind on which an explanation is scored, if so many
    permuted: str | None = None  # the run with permuted weights that this one is held against
    published: DirectoryPath | None = None
    """The folder of the record that the paper's authors released: chapter 14 reads it."""
    published_model: str = ""
    """The record's name of the run's model, such as gpt2-small, where its own does not tell it."""
    protocol: Literal["sound", "paper"] = "sound"
    seed: Whole = 0

    @property
    def measure(self) -> Literal["effect", "attribution"]:
        """The column of `heads` that the run's active rule looks at."""
        return "effect" if self.active_rule == "effect" else "attribution"

    def folder(self, room: Room) -> Path:
        """Return where this run keeps its data, models or artifacts."""
        return folder(room, self.paths.get(room))

    def place(self, stage: str = "") -> Path:
        """Return where a stage of this run, its `notebooks` or all it leaves lie, or would lie."""
        return self.folder("artifacts") / self.id / stage


def read_run(run: str | Path) -> Run:
    """Read a run by its id (`notebooks/runs/<id>.yml`) or by a path to its file.

    Relative paths inside a run file are taken from the file's own folder. RunError if there is no
    such file, it is not YAML, a key or value in it is wrong, or it calls itself like the default
    run.
    """
    path = path_of(run)
    content = content_of(path)
    rule = "2sd" if content.get("protocol") == "paper" else "effect"
    content = {"id": path.stem, "active_rule": rule} | content
    try:
        settings = Run.model_validate_json(json.dumps(content, default=str))
    except pydantic.ValidationError as error:
        raise RunError(f"{path.name}: {_problems(error)}") from None
    record = RECORDS / f"{settings.id}.sort.yml"
    shipped = path.resolve().parent == RUNS
    if settings.id == DEFAULT_RUN and not (shipped and path.stem == DEFAULT_RUN):
        words = "the run whose notebooks are committed; give the file another name, or an id"
        raise RunError(f"{path} calls itself {DEFAULT_RUN!r}, {words}")
    filled = {
        "given": path.stem if shipped else path.resolve().as_posix(),
        "verdicts": settings.verdicts or (record if record.is_file() else None),
        "model": settings.model.model_copy(update={"folder": settings.folder("models")}),
        "corpus": settings.corpus.model_copy(update={"folder": settings.folder("data")}),
    }
    return settings.model_copy(update=filled)


def check_run(settings: Run, model: Any) -> None:
    """Check a run against its `Model`; a RunError names the key, its value and what there is."""
    keys = ("layers", "middle_layers", "neurons", "examples")
    asked = [(key, one) for key in keys for one in getattr(settings, key) or ()]
    for key, named in asked:
        neuron = Neuron(named, 0) if isinstance(named, int) else Neuron.parse(named)
        there = neuron.layer < model.n_layers and neuron.index < model.d_mlp
        if not there or (neuron.sign < 0 and not model.gated):
            raise RunError(
                f"{key}: {model.name} has no {'layer ' * isinstance(named, int)}{named}; it has "
                f"layers 0 to {model.n_layers - 1} of neurons 0 to {model.d_mlp - 1}, and names "
                "that end in - are for models with gated neurons; correct that key, or take it out"
            )
    lengths = [settings.longest] if settings.prompts else [settings.longest, settings.corpus.length]
    if min(lengths) >= model.context:
        raise RunError(
            f"longest: prompts of {min(lengths)} tokens and a beginning-of-sequence token do not "
            f"fit; {model.name} reads {model.context}, so write at most {model.context - 1}"
        )


def path_of(run: str | Path) -> Path:
    """Return the file of a run that is given by id or path; a RunError if there is none."""
    path = Path(run).expanduser()
    if path.suffix not in (".yml", ".yaml"):
        path = RUNS / f"{run}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RUNS.glob("*.yml")))
        if path.parent != RUNS:
            raise RunError(f"there is no file {path.absolute()}; correct the path of the run file")
        raise RunError(f"no run {str(run)!r}: known ids are {known}; or give a path to a .yml file")
    return path


def content_of(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[Any, Any]:
    """Return a file's keys, paths made absolute, over those of the run that it extends."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {error.problem}" if mark else str(error).splitlines()[-1]
        raise RunError(f"{path.name} cannot be read as YAML ({where}); mend it") from None
    if not isinstance(content, dict):
        raise RunError(f"{path.name} holds no settings; start from a copy of smollm2.yml")
    content = _anchored(content, path.resolve().parent)
    if (base := content.pop("extends", None)) is None:
        return content
    other = path_of(str(base))
    chain = (*extended_by, path.resolve())
    if other.resolve() in chain:
        raise RunError(f"{path.name}: extends goes in a circle, by {other.name}; take one out")
    return _merged(content_of(other, chain) | {"id": path.stem}, content)


def _merged(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Lay a file's keys over another's, nested sections key by key; None takes a key away."""
    merged = base | over
    for key in base.keys() & over.keys():
        if over[key] is None:
            del merged[key]
        elif isinstance(base[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(base[key], over[key])
    return merged


PATHS = "(prompts|verdicts|published|data|models|artifacts) "
NAMES = r"(name|held_out|permuted|extends) ([.~]|.*\.ya?ml$)"  # paths if they look like one


def _anchored(content: dict[Any, Any], home: Path) -> dict[Any, Any]:
    """Make the relative paths of a run file absolute: they are taken from its own folder."""
    found = dict(content)
    for key, value in content.items():
        if isinstance(value, dict):
            found[key] = _anchored(value, home)
        elif isinstance(value, str) and re.match(f"{PATHS}|{NAMES}", f"{key} {value}"):
            found[key] = str(home / Path(value).expanduser())
    return found


REMEDIES = {
    "extra_forbidden": "there is no such key; remove it or correct its spelling",
    "missing": "the key is missing; add it",
    "model_type": "this is a section; put its keys below it, indented",
}


def _problems(error: pydantic.ValidationError) -> str:
    """Say what is wrong, key by key; what may be a secret (an unknown key, `llm`) is not shown."""
    problems = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message = REMEDIES.get(item["type"], item["msg"].removeprefix("Value error, "))
        if item["type"] not in ("extra_forbidden", "missing") and "llm" not in item["loc"]:
            message += f" (it holds {item['input']!r})"
        problems.append(f"{where}: {message}")
    return "; ".join(problems)
