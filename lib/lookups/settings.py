"""A run: one file that fixes everything an analysis depends on, checked when it is read.

`read_run("smollm2")` finds `notebooks/runs/smollm2.yml`; a path to a file of one's own works the
same way. A file that says `extends: gpt2-xl` takes over what it does not say itself: sections key
by key, lists and single values whole; `null` takes a key of the extended run away.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lookups.errors import RunError
from lookups.llm_settings import LlmSettings
from lookups.names import Neuron
from lookups.paths import PROJECT, Room, folder

DEFAULT_RUN = "smollm2"
RUNS = PROJECT / "notebooks" / "runs"
RECORDS = PROJECT / "notebooks" / "records"  # what people found out by reading

Count = Annotated[int, Field(ge=1)]
Layers = tuple[Annotated[int, Field(ge=0)], ...]


class Section(BaseModel):
    """The parent of all sections of a run file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        """YAML reads yes, no, on and off as truth values, which would pass for 1 and 0."""
        if any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
            raise ValueError("no key takes true or false; put a word such as no or on in quotes")
        return value


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
    permute_seed: int | None = None
    """Permute the entries of every weight matrix with this seed: a control with the same norms."""
    folder: Path | None = None
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
    field: str = "text"
    """The field of a row of .jsonl, .parquet or a dataset that holds the text."""
    documents: Count = 10_000
    """Documents a split."""
    length: Annotated[int, Field(ge=2)] = 127
    """Tokens a document, beginning-of-sequence token not counted."""
    cut: Literal["passages", "first"] = "passages"
    """What becomes of a longer text: passages of whole sentences, or its beginning alone."""
    folder: Path | None = None
    """Where corpora are cached; filled in from `paths`."""

    @model_validator(mode="after")
    def _held_out_is_texts(self):
        if self.held_out is not None and (is_made(self.name) or is_made(self.held_out)):
            raise ValueError(
                "held_out goes with texts of one's own or from the hub; 'wikipedia' and 'planted' "
                "have a test split of their own, so leave the key out"
            )
        if self.held_out == self.name:
            raise ValueError(f"held_out is {self.name!r} as well; without the key half is held out")
        return self


class Paths(Section):
    """Folders; an environment variable, such as LOOKUPS_DATA, overrides each."""

    data: Path | None = None
    models: Path | None = None
    artifacts: Path | None = None


class SpreadSizes(Section):
    """How many prompts of the spread sample each split may give a neuron."""

    train: Count = 40
    test: Count = 40


class Run(Section):
    """Everything that one analysis depends on."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """A word for folders and commands; the file's name unless the file says otherwise."""
    title: str
    model: ModelSpec
    corpus: CorpusSpec
    paths: Paths = Paths()
    layers: Annotated[Layers, Field(min_length=1)]
    """The layers whose neurons are candidates."""
    middle_layers: Layers = ()
    """Layers for the control 'the same procedure, but not late in the network'."""
    neurons_per_layer: Count = 20
    examined_per_layer: Count | None = None
    """Of a layer's list, so many of the highest congruence are examined further; all by default."""
    neurons_per_token: Count | None = None
    """Selected neurons for one token at most, so that many tokens are seen."""
    selected_at_most: Count | None = None
    """Selected neurons in all at most."""
    random_per_layer: Count = 10
    """Control neurons a layer, matched to selected ones of that layer."""
    rejected: dict[str, str] = {}
    """Neurons left out by hand, each with its reason."""
    neurons: tuple[str, ...] | None = None
    """Exactly these neurons, in place of the search."""
    tokens: tuple[str, ...] | None = None
    """Only neurons whose token is one of these, in place of the search."""
    prompts: Path | None = None
    """A text file of one's own, one prompt a line, in place of the search for prompts."""
    verdicts: Path | None = None
    """Readers' verdicts in the blind sort; by default notebooks/records/<id>.sort.yml, if any."""
    minimum_count: Annotated[int, Field(ge=0)] = 300
    """A token must occur this often in training to be a neuron's token, where counts are known."""
    minimum_in_texts: Annotated[int, Field(ge=0)] = 20
    """Elsewhere it must occur this often in the run's own train texts."""
    prompts_per_neuron: Count = 20
    """A neuron's strongest documents a split: its follow rate is that of their positions."""
    top_per_neuron: Count | None = None
    """Of these, so many go on as prompts, the strongest first; all by default."""
    spread_per_neuron: SpreadSizes = SpreadSizes()
    prompts_per_file: Count = 2
    follow_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    follow_lift: Annotated[float, Field(gt=0)] = 5.0
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    keep: Annotated[float, Field(gt=0, le=1)] = 0.8
    longest: Count = 100
    active_rule: Literal["effect", "2sd", "top3"]
    """Which heads are called active; by default `2sd` under the paper's protocol, else `effect`."""
    effect_apart: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """For `effect`: a pair is kept if the head's share is so much larger on the active prompts."""
    pair_share: tuple[float, float] = (0.25, 0.75)
    llm: LlmSettings | None = None
    """A language model that explains heads too; without it only the rules of words do."""
    held_out: Count = 50
    """Held-out prompts of each kind on which an explanation is scored, where there are so many."""
    permuted: str | None = None
    """The run on the same model with permuted weights that this one is held against."""
    published: Path | None = None
    """The folder of the record that the paper's authors released: chapter 13 reads it."""
    published_model: str = ""
    """The record's name of the run's model, such as gpt2-small, where its own does not tell it."""
    protocol: Literal["sound", "paper"] = "sound"
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("rejected", "neurons")
    @classmethod
    def _names_are_neurons(cls, value):
        for name in value or ():
            Neuron.parse(name)
        return value

    @model_validator(mode="before")
    @classmethod
    def _rule_of_the_protocol(cls, content: Any) -> Any:
        rule = "2sd" if content.get("protocol") == "paper" else "effect"
        return {"active_rule": rule} | content

    @model_validator(mode="after")
    def _shares_in_order(self):
        if not 0 <= self.pair_share[0] < self.pair_share[1] <= 1:
            raise ValueError(f"pair_share must be two shares in order, not {self.pair_share}")
        for key in ("layers", "middle_layers"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key} names a layer twice; name each once")
        return self

    @property
    def measure(self) -> Literal["effect", "attribution"]:
        """The column of `heads` that the run's active rule looks at."""
        return "effect" if self.active_rule == "effect" else "attribution"

    def folder(self, room: Room) -> Path:
        """Return where this run keeps its data, models or artifacts."""
        return folder(room, getattr(self.paths, room))


def read_run(run: str | Path) -> Run:
    """Read a run by its id (`notebooks/runs/<id>.yml`) or by a path to its file.

    Relative paths inside a run file are taken from the file's own folder.

    Raises:
        RunError: there is no such file, it is not YAML, or a key or value in it is wrong.
    """
    path = path_of(run)
    try:
        settings = Run.model_validate({"id": path.stem} | content_of(path))
    except ValidationError as error:
        raise RunError(f"{path.name}: {_problems(error)}") from None
    return _with_files(settings)


def check_run(settings: Run, model: Any) -> None:
    """Check a run against its `Model`; a RunError names the key, its value and what there is."""
    asked = [(k, Neuron(n, 0)) for k in ("layers", "middle_layers") for n in getattr(settings, k)]
    for key in ("neurons", "rejected"):
        asked += [(f"{key}: {name}", Neuron.parse(name)) for name in getattr(settings, key) or ()]
    for where, (layer, index, sign) in asked:
        has = ""
        if layer >= model.n_layers:
            where += f": layer {layer}"
            has = f"{model.name} has layers 0 to {model.n_layers - 1}"
        elif index >= model.d_mlp:
            has = f"a layer of {model.name} has neurons 0 to {model.d_mlp - 1}"
        elif sign < 0 and not model.gated:
            has = f"only gated neurons are read with both signs, and {model.name} has none"
        if has:
            raise RunError(f"{where} does not exist; {has}")
    lengths = [settings.longest] if settings.prompts else [settings.longest, settings.corpus.length]
    longest = min(lengths)
    if longest + 1 > model.context:
        raise RunError(
            f"longest: prompts of {longest} tokens do not fit; {model.name} reads {model.context} "
            f"tokens with the beginning-of-sequence token, so write at most {model.context - 1}"
        )


def path_of(run: str | Path) -> Path:
    """Return the file of a run that is given by id or path; a RunError if there is none."""
    path = Path(run).expanduser()
    if path.suffix not in (".yml", ".yaml"):
        path = RUNS / f"{run}.yml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RUNS.glob("*.yml"))) or "none"
        raise RunError(f"no run {str(run)!r}: known ids are {known}; or give a path to a .yml file")
    return path


def content_of(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[Any, Any]:
    """Return a file's keys, paths made absolute, over those of the run that it extends."""
    content = _anchored(_yaml_of(path), path.resolve().parent)
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise RunError(f"{path.name}: extends takes one run's id or file, not {base!r}")
    place = path.parent / Path(base).expanduser() if base.endswith((".yml", ".yaml")) else base
    try:
        other = path_of(place)
    except RunError as error:
        raise RunError(f"{path.name}: extends: {error}") from None
    chain = (*extended_by, path.resolve())
    if other.resolve() in chain:
        circle = " → ".join(one.stem for one in (*chain, other))
        raise RunError(f"{path.name}: extends goes in a circle ({circle}); take one of them out")
    return _merged(content_of(other, chain) | {"id": path.stem}, content)


def _yaml_of(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = str(error).splitlines()[-1].strip()
        raise RunError(f"{path.name} cannot be read as YAML ({where}); mend it") from None
    if not isinstance(content, dict):
        raise RunError(f"{path.name} holds no settings; start from a copy of smollm2.yml")
    return content


def _merged(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """Lay a file's keys over another's, nested sections key by key; None takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        if value is None and key in base:
            del merged[key]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merged(base[key], value)
        else:
            merged[key] = value
    return merged


def _anchored(content: dict[Any, Any], folder: Path, section: str = "") -> dict[Any, Any]:
    """Make the relative paths of a run file absolute: they are taken from its own folder."""
    found = {}
    for key, value in content.items():
        if isinstance(value, dict):
            value = _anchored(value, folder, f"{section}{key}.")
        elif isinstance(value, str) and _is_path(f"{section}{key}", value, folder):
            value = str(folder / Path(value).expanduser())
        found[key] = value
    return found


def _is_path(key: str, value: str, folder: Path) -> bool:
    """Whether the value of a key, such as corpus.name, is a path rather than a name."""
    if key in ("model.name", "corpus.name", "corpus.held_out"):
        gguf = value.endswith(".gguf") and (folder / value).is_file()
        return gguf or value.startswith((".", "~"))
    if key == "permuted":
        return value.endswith((".yml", ".yaml"))
    return key in ("prompts", "verdicts", "published") or key.startswith("paths.")


def _with_files(settings: Run) -> Run:
    """Check that the files of a run are there, find its verdicts, hand folders to the sections."""
    for key, remedy in (
        ("prompts", "correct its path"),
        ("verdicts", "correct its path"),
        ("published", "fetch the record with: lookups download --published"),
    ):
        place = getattr(settings, key)
        if place is not None and not place.exists():
            raise RunError(f"{key}: there is nothing at {place}; {remedy}")
    record = RECORDS / f"{settings.id}.sort.yml"
    if settings.verdicts is None and record.is_file():
        settings = settings.model_copy(update={"verdicts": record})
    model = settings.model.model_copy(update={"folder": settings.folder("models")})
    corpus = settings.corpus.model_copy(update={"folder": settings.folder("data")})
    return settings.model_copy(update={"model": model, "corpus": corpus})


def _problems(error: ValidationError) -> str:
    problems = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {where!r}; remove it or correct its spelling")
        elif item["type"] == "missing":
            problems.append(f"key {where!r} is missing; add it")
        elif item["type"] == "model_type":
            problems.append(f"{where} is a section: put its keys below it, indented")
        else:
            message = item["msg"].removeprefix("Value error, ")
            secret = "key" in where or where.endswith("base_url")  # a key may stand in it
            held = "" if secret else f" (it holds {item['input']!r})"
            problems.append(f"{where}: {message}{held}")
    return "; ".join(problems)
