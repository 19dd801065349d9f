"""What would a run cost here? Told before anything is computed: `lookups run RUN --dry-run`.

For every chapter the documents and tokens that the model reads (`lookups.work`), the memory at its
peak, and the time, from how fast this device reads just now (`lookups.pace`). Documents are counted
in the run's own texts. Where the model is not here, its sizes come from its configuration and no
time is told; where the texts are not here, every document is taken to be as long as may be. Drawing
and statistics are counted by rule of thumb only: on small models they are most of it.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from lookups.chain import Chain
from lookups.checkpoint import Checkpoint, find_checkpoint
from lookups.documents import Document, Documents, run_documents
from lookups.errors import ModelError
from lookups.footprint import Memory, kept_by_scan, memory_of, misfits
from lookups.model import SUPPORTED, Model, load_model
from lookups.pace import Pace, measure, room_on
from lookups.runs import ModelSpec, Run, check_run
from lookups.texts import local_path, part_of
from lookups.work import COUNTS, Facts, Sizes, Work, tables_of

KERNEL = 1.5
"""How much longer than here a chapter takes to start: a new process, its kernel and its figures."""

BESIDE = {"05": 0.2, "07": 0.1, "08": 0.2, "09": 0.1, "10": 0.02}
"""Seconds of one core that a kept pair takes beside the model, by chapter: a rule of thumb."""

ALWAYS = {"12_ground_truth": 120.0}
"""Seconds, measured on two cores, of a chapter that reads the same planted models in every run."""


class Cost(NamedTuple):
    """One chapter of one run."""

    chapter: str
    work: Work
    memory: Memory
    seconds: float | None
    """None where the model is not here to be measured, and the chapter reads it."""


class Forecast(NamedTuple):
    """All chapters of a run, and what could not be told."""

    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    """Sentences: what was guessed, what is not here, what does not fit and what to change."""
    fits: bool


def forecast(chain: Chain, *, say: Callable[[str], None] = lambda line: None) -> Forecast:
    """Tell what the chapters of a run would cost on this device; takes some ten seconds.

    Nothing is fetched but, where the hub can be reached, a model's configuration and tokenizer.

    Raises:
        RunError: the run asks for layers or neurons that its model lacks.
        ModelError: the model is neither here nor known, not even its configuration.
        CorpusError: a corpus of one's own cannot be read.
    """
    settings, notes = chain.settings, []
    start, model = time.perf_counter(), None
    if weights_here(settings.model):
        say(f"loading {settings.model.name}")
        model = _loaded(settings)
        reader, sizes = model, sizes_of(model.bridge.original_model.config)
    else:
        reader = _configuration(settings)
        sizes = sizes_of(reader.config)
        notes.append(
            f"the weights of {settings.model.name} are not here, so no time is told: "
            f"`lookups download {settings.id}` fetches them"
        )
    start = time.perf_counter() - start
    say("counting documents and tokens")
    texts, missing = texts_of(settings, reader, sizes)
    notes += missing
    facts = Facts(settings, sizes, texts, tables_of(settings))
    if model is not None:
        say("measuring how fast this device reads")
    pace = None if model is None else pace_of(model, facts, start)
    costs = costs_of(facts, [chapter.name for chapter in chain.chapters], pace)
    device = torch.device("cpu") if model is None else model.device
    problems = misfits([(cost.chapter, cost.memory) for cost in costs], room_on(device))
    if any(not cost.work.known for cost in costs):
        notes.append("~ rests on guesses of what earlier chapters leave, until they have run")
    return Forecast(costs, (*notes, *problems), not problems)


def pace_of(model: Model, facts: Facts, start: float) -> Pace:
    """Measure the device on the run's own texts, with the buffers of its scan."""
    strongest, per_band = kept_by_scan(facts.settings)
    options = {"strongest": strongest, "per_band": per_band}
    return measure(model, facts.texts["train"], facts.layers, start=start, **options)


def costs_of(facts: Facts, chapters: list[str], pace: Pace | None) -> tuple[Cost, ...]:
    """Return what every chapter costs, in the order given."""
    found = []
    for chapter in chapters:
        work = COUNTS.get(chapter, lambda facts: Work())(facts)
        seconds = ALWAYS.get(chapter)
        if seconds is None and pace is not None:
            seconds = seconds_of(chapter, work, pace)
        found.append(Cost(chapter, work, memory_of(chapter, facts), seconds))
    return tuple(found)


def seconds_of(chapter: str, work: Work, pace: Pace) -> float:
    """Return the start, the reading, the keeping, and a rule of thumb for what is done beside."""
    beside = BESIDE.get(chapter.split("_")[0], 0.0) * work.pairs
    return KERNEL * pace.start + work.passes / pace.read + work.kept / pace.kept + beside


def sizes_of(config: Any) -> Sizes:
    """Return what a configuration says; parameters are counted on a model without memory."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    inner = getattr(config, "n_inner", None) or getattr(config, "intermediate_size", None)
    return Sizes(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        d_model=config.hidden_size,
        d_mlp=inner or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        context=config.max_position_embeddings,
        parameters=sum(parameter.numel() for parameter in empty.parameters()),
        signs=2 if config.model_type == "llama" else 1,
    )


def texts_of(settings: Run, reader: Any, sizes: Sizes) -> tuple[dict[str, Documents], list[str]]:
    """Return the run's documents a split, and a sentence for those that are not here.

    `reader` has the model's tokenizer. Documents that are not here count as long as may be.
    """
    found, missing = {}, []
    asked = SimpleNamespace(tokenizer=reader.tokenizer, context=sizes.context)
    for split in ("train", "test"):
        name, _ = part_of(settings.corpus, split)
        made = settings.prompts is not None or name in ("prose", "planted")
        place = None if made else local_path(settings.corpus, name)
        if made or place is not None:
            documents = run_documents(settings, asked, split)
            found |= {} if documents is None else {split: documents}
            continue
        length = min(settings.corpus.length, sizes.context - 1)
        found[split] = Unseen(settings.corpus.documents, length, sizes.vocabulary)
        missing.append(
            f"the {split} texts ({name}) are not here: every document counts as {length} tokens; "
            f"`lookups download {settings.id}` fetches them"
        )
    return found, missing


class Unseen(Documents):
    """In the place of documents that are not here: as many, each as long as may be, any tokens."""

    def __init__(self, n: int, length: int, vocabulary: int):
        self.corpus, self.split = "unseen", "train"
        self._n, self._length, self._vocabulary = n, length, vocabulary

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index) -> Document:
        ids = np.random.default_rng(int(index)).integers(1, self._vocabulary, self._length)
        return Document(f"unseen/train/{index}", ids.astype(np.int32), "unseen", 0)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a document."""
        return np.full(self._n, self._length)

    @property
    def length(self) -> int:
        """Tokens of the longest document."""
        return self._length


def weights_here(spec: ModelSpec) -> bool:
    """Say whether a model can be loaded without fetching anything."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    if spec.local is not None:
        return True
    try:
        repos = [repo for repo in scan_cache_dir().repos if repo.repo_id == spec.name]
    except CacheNotFound:
        return False
    files = {file.file_name for repo in repos for one in repo.revisions for file in one.files}
    return any(name.endswith(".safetensors") for name in files)


def _configuration(settings: Run) -> Checkpoint:
    try:
        return find_checkpoint(settings.model, SUPPORTED)
    except ModelError as error:
        raise ModelError(
            f"{settings.model.name} is not here and its configuration cannot be had, so nothing "
            f"can be told of its cost ({error}); with a network, `lookups download {settings.id}` "
            "shows the sizes first and fetches it"
        ) from error


def lines_of(found: Forecast) -> list[str]:
    """Return a forecast as text: a line a chapter, a sum, and the notes."""
    head = f"{'chapter':32}{'documents':>12}{'tokens':>16}{'memory':>10}{'time':>12}"
    lines = [head]
    for cost in found.costs:
        work = cost.work
        about = "" if work.known else "~"
        took = "?" if cost.seconds is None else in_words(cost.seconds)
        memory = f"{cost.memory.total / 1e9:.1f} GB"
        if not work.tokens:
            own = cost.chapter in ALWAYS
            said = "planted models of its own" if own else "nothing for the model to read"
            lines.append(f"{cost.chapter:32}{said:>28}{memory:>10}{took:>12}")
            continue
        documents, tokens = f"{about}{work.documents:,}", f"{about}{work.tokens:,}"
        lines.append(f"{cost.chapter:32}{documents:>12}{tokens:>16}{memory:>10}{took:>12}")
    total = [cost.seconds for cost in found.costs]
    peak = max(cost.memory.total for cost in found.costs)
    said = "?" if None in total else in_words(sum(total))
    lines.append(f"{'all':32}{'':28}{f'{peak / 1e9:.1f} GB':>10}{said:>12}")
    return [*lines, *found.notes]


def in_words(seconds: float) -> str:
    """Return a time with one unit, rounded to what such an estimate can mean."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _loaded(settings: Run) -> Model:
    """Load the model with all that a chapter imports, so that a chapter's start is measured."""
    import matplotlib.pyplot  # noqa: F401
    import myst_nb  # noqa: F401

    model = load_model(settings.model)
    check_run(settings, model)
    return model
