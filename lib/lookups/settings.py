"""A run: one file that fixes everything an analysis depends on, checked when it is read.

`read_run("smollm2")` finds `notebooks/runs/smollm2.yml`; a path to a file of one's own works the
same way. Chapters take the id or path as their only setting; thresholds are shown where they act.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lookups.errors import RunError
from lookups.llm_settings import LlmSettings
from lookups.names import Neuron
from lookups.paths import PROJECT, Room, folder
from lookups.run.run_lock import locked_revision
from lookups.run_files import RUNS as RUNS
from lookups.run_files import content_of, path_of

DEFAULT_RUN = "smollm2"
RECORDS = PROJECT / "notebooks" / "records"
"""What people found out by reading, which no code can make again."""

Count = Annotated[int, Field(ge=1)]
Layers = tuple[Annotated[int, Field(ge=0)], ...]


class Section(BaseModel):
    """The parent of all sections of a run file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        """YAML reads yes, no, on and off as truth values, which would pass for 1 and 0."""
        values = value if isinstance(value, list) else [value]
        if any(isinstance(item, bool) for item in values):
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


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()


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
        if self.held_out is not None and self.held_out == self.name:
            raise ValueError(
                f"held_out is {self.name!r} as well; without the key half of it is held out"
            )
        return self


class Paths(Section):
    """Folders; an environment variable LOOKUPS_DATA, _MODELS or _ARTIFACTS overrides each."""

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
    layers: Layers
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
    """Readers' verdicts in the blind sort of chapter 6; notebooks/records/<id>.sort.yml if there
    is one. Written by `tools/blind_sort.py`."""
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
    """For `effect`: how much more of its activation a neuron owes to the head on the active prompts
    than on the others, for the pair to be kept."""
    pair_share: tuple[float, float] = (0.25, 0.75)
    llm: LlmSettings | None = None
    """A language model that explains heads too; without it only the rules of words do."""
    held_out: Count = 50
    """Held-out prompts of each kind on which an explanation is scored, where there are so many."""
    permuted: str | None = None
    """The run, by id or file, on the same model with permuted weights that chapter 8 holds this one
    against; `lookups run` executes it first."""
    published: Path | None = None
    """The folder of the record that the paper's authors released: chapters 13 and 14 read it."""
    published_model: str = ""
    """The record's name of the run's model, such as gpt2-small, where its own does not tell it."""
    protocol: Literal["sound", "paper"] = "sound"
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("rejected", "neurons")
    @classmethod
    def _names_are_neurons(cls, value):
        for name in value or ():
            try:
                Neuron.parse(name)
            except RunError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="before")
    @classmethod
    def _rule_of_the_protocol(cls, content: Any) -> Any:
        rule = "2sd" if content.get("protocol") == "paper" else "effect"
        return {"active_rule": rule} | content

    @model_validator(mode="after")
    def _shares_in_order(self):
        low, high = self.pair_share
        if not 0 <= low < high <= 1:
            raise ValueError(f"pair_share must be two shares in order, not {low} and {high}")
        if not self.layers:
            raise ValueError("layers is empty; name at least one layer")
        for key in ("layers", "middle_layers"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key} names a layer twice; name each once")
        return self

    @property
    def is_default(self) -> bool:
        """Whether this is the run whose notebooks are committed."""
        return self.id == DEFAULT_RUN

    @property
    def measure(self) -> Literal["effect", "attribution"]:
        """The column of `heads` that the run's active rule looks at."""
        return "effect" if self.active_rule == "effect" else "attribution"

    def folder(self, room: Room) -> Path:
        """Return where this run keeps its data, models or artifacts."""
        return folder(room, getattr(self.paths, room))


def read_run(run: str | Path) -> Run:
    """Read a run by its id (`notebooks/runs/<id>.yml`) or by a path to its file.

    Relative paths inside a run file are taken from the file's own folder. A file that says
    `extends:` another run takes over what it does not say itself, section by section; `null` takes
    a key of that run away. The id is always the file's own. Where `lookups download` has left a
    lock, the model's revision is the locked commit.

    Raises:
        RunError: there is no such file, it is not YAML, a key or value in it is wrong, or its lock
            is for another revision.
    """
    path = path_of(run)
    content = content_of(path)
    try:
        settings = Run(**{"id": path.stem} | content)
    except (ValidationError, TypeError) as error:
        raise RunError(f"{path.name}: {_first_problem(error)}") from None
    settings = _with_folders(settings, path.resolve().parent)
    revision = locked_revision(path, settings.model.name, settings.model.revision)
    model = settings.model.model_copy(update={"revision": revision})
    return settings.model_copy(update={"model": model})


def check_run(settings: Run, model: Any) -> None:
    """Check a run against its `Model`: layers, neurons and lengths that the model does not have.

    Raises:
        RunError: naming the key, its value and what the model has.
    """
    for key in ("layers", "middle_layers"):
        for layer in getattr(settings, key):
            _check_layer(f"{key}: ", layer, model)
    for key in ("neurons", "rejected"):
        for name in getattr(settings, key) or ():
            neuron = Neuron.parse(name)
            _check_layer(f"{key}: {name}: ", neuron.layer, model)
            if neuron.index >= model.d_mlp:
                raise RunError(
                    f"{key}: {name} does not exist; a layer of {model.name} has neurons 0 to "
                    f"{model.d_mlp - 1}"
                )
            if neuron.sign < 0 and not model.gated:
                raise RunError(
                    f"{key}: {name} does not exist; only gated neurons are read with both signs, "
                    f"and those of {model.name} are not gated"
                )
    if settings.prompts is None:
        longest = min(settings.longest, settings.corpus.length)
    else:
        longest = settings.longest
    if longest + 1 > model.context:
        raise RunError(
            f"longest: prompts of {longest} tokens do not fit; {model.name} reads {model.context} "
            f"tokens with the beginning-of-sequence token, so write at most {model.context - 1}"
        )


def _check_layer(where: str, layer: int, model: Any) -> None:
    if layer >= model.n_layers:
        raise RunError(
            f"{where}layer {layer} does not exist; {model.name} has layers 0 to "
            f"{model.n_layers - 1}"
        )


def _first_problem(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"keys must be words ({error})"
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


def _with_folders(settings: Run, base: Path) -> Run:
    """Resolve relative paths against the run file's folder and hand folders to the sections."""
    paths = {
        room: (base / path if path is not None else None)
        for room, path in settings.paths.model_dump().items()
    }
    files = {key: getattr(settings, key) for key in ("prompts", "verdicts")}
    files = {key: base / file for key, file in files.items() if file is not None}
    for key, file in files.items():
        if not file.is_file():
            raise RunError(f"{key}: there is no file {file}; correct its path")
    if settings.published is not None:
        files["published"] = base / settings.published.expanduser()
        if not files["published"].is_dir():
            raise RunError(
                f"published: there is no folder {files['published']}; fetch the record with: "
                "lookups download --published"
            )
    if (record := RECORDS / f"{settings.id}.sort.yml").is_file():
        files = {"verdicts": record} | files
    if settings.permuted is not None and settings.permuted.endswith((".yml", ".yaml")):
        files["permuted"] = str(base / Path(settings.permuted).expanduser())
    settings = settings.model_copy(update={"paths": Paths(**paths)} | files)
    model = settings.model
    if model.name.startswith((".", "~")) or _is_gguf(base / model.name):
        model = model.model_copy(update={"name": str(base / Path(model.name).expanduser())})
    corpus = settings.corpus
    for key in ("name", "held_out"):
        if (getattr(corpus, key) or "").startswith((".", "~")):
            file = str(base / Path(getattr(corpus, key)).expanduser())
            corpus = corpus.model_copy(update={key: file})
    return settings.model_copy(
        update={
            "model": model.model_copy(update={"folder": settings.folder("models")}),
            "corpus": corpus.model_copy(update={"folder": settings.folder("data")}),
        }
    )
