"""Every table that a run leaves on disk, declared once: what a row is, what it was made from.

A stage belongs to the chapter that makes it. Its parents are the stages it was computed from, its
settings the keys of the run file it depends on besides theirs.
"""

from typing import NamedTuple

from lookups.errors import RunError
from lookups.paths import PROJECT
from lookups.settings import Run, read_run

CHAPTERS = tuple(sorted(path.stem for path in PROJECT.glob("notebooks/[0-9][0-9]_*.py")))
"""The notebooks in the order in which a run executes them; the analysis gathers what all found."""

PLANTED = ("planted", "planted-1", "planted-2")
"""The runs on the planted models, in the order of their seeds."""


class Stage(NamedTuple):
    """One table: its name, the chapter that makes it, and what a row of it is."""

    name: str
    chapter: str
    row: str
    parents: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def _stage(name: str, chapter: str, parents: str, settings: str, row: str) -> Stage:
    """Declare a stage of a chapter, given by its number; names are separated by spaces."""
    made_by = next(one for one in CHAPTERS if one.startswith(chapter))
    return Stage(name, made_by, row, tuple(parents.split()), tuple(settings.split()))


_NEURONS = """model corpus prompts layers middle_layers neurons_per_layer rejected neurons tokens
    minimum_count minimum_in_texts protocol seed"""
_SEARCH = """prompts_per_neuron top_per_neuron spread_per_neuron prompts_per_file follow_share
    follow_lift false_discovery_rate neurons_per_token selected_at_most examined_per_layer
    random_per_layer"""

STAGES = (
    _stage("neurons", "02", "", _NEURONS,
        "One MLP neuron of the model (and, if gated, one sign of it) with the token it writes."),
    _stage("prompts", "03", "neurons", _SEARCH,
        "One document in which one examined neuron was at its maximum, and the position of it."),
    _stage("follow_rates", "03", "neurons", _SEARCH,
        "One neuron of the run's layers in one split: how often its token follows its maxima."),
    _stage("suffixes", "04", "prompts follow_rates", "keep longest",
        "One prompt of one neuron, cut to the shortest suffix that keeps its activation's share."),
    _stage("heads", "05", "suffixes", "active_rule pair_share effect_apart",
        "What one head writes into one neuron's input at the end of a cut prompt, and its "
        "effect: on train every head, on test the pairs that are followed."),
    _stage("parts", "05", "suffixes", "",
        "What one part other than a head adds to a neuron's input; with the heads the total."),
    _stage("pairs", "05", "heads", "",
        "One neuron and one head: on how many of the neuron's train prompts the head is active."),
    _stage("deck", "06", "pairs", "",
        "One prompt of one item of the blind sort: to learn from, or held out and to be sorted."),
    _stage("head_kinds", "06", "", "model corpus prompts seed",
        "One head of the model, and which of the known kinds it is of."),
    _stage("explanations", "07", "pairs", "llm",
        "What one explainer says of one pair: when the head is active on the neuron's prompts."),
    _stage("verdicts", "08", "explanations", "held_out",
        "What was said of one held-out prompt of one pair by one explanation."),
    _stage("scores", "08", "explanations", "held_out",
        "How well one explainer's explanation of one pair sorts its held-out prompts."),
    _stage("head_ablations", "09", "pairs", "",
        "One held-out prompt of one kept pair: neuron and token before and after the ablation."),
    _stage("neuron_ablations", "12", "suffixes", "",
        "One text and one neuron, or its control: the token before and after the neuron is held."),
    _stage("summary", "16", "pairs scores head_ablations neuron_ablations", "",
        "One quantity of selected and of random neurons, and their difference, with intervals."),
)  # fmt: skip


def stage_named(name: str) -> Stage:
    """Return the declaration of a stage; a RunError if none has that name."""
    named = {stage.name: stage for stage in STAGES}
    if name not in named:
        raise RunError(f"no stage {name!r}; there are {', '.join(named)}")
    return named[name]


def settings_of(stage: Stage) -> tuple[str, ...]:
    """Return the run-file keys that a stage depends on, its parents' included, each once."""
    keys = [key for parent in stage.parents for key in settings_of(stage_named(parent))]
    return tuple(dict.fromkeys([*keys, *stage.settings]))


def chapters_to(stage: str) -> tuple[str, ...]:
    """Return the chapters that have to be executed for a stage, in order."""
    one = stage_named(stage)
    before = [chapter for parent in one.parents for chapter in chapters_to(parent)]
    return tuple(sorted({*before, one.chapter}))


def other_runs(chapter: str, settings: Run) -> dict[str, tuple[str, ...]]:
    """Return the other runs whose stages a chapter reads, and the chapters that make those.
    RunError if the run with permuted weights is on another model."""
    if chapter == "08_scores" and settings.permuted is not None:
        control, own = read_run(settings.permuted).model, settings.model
        if (control.name, control.revision) != (own.name, own.revision):
            raise RunError(
                f"{settings.permuted}, named by `permuted:`, is on {control.name}, and this run on "
                f"{own.name}; take that line out, or name a run on the same model"
            )
        return {settings.permuted: chapters_to("scores")}
    if chapter == "13_ground_truth":
        return {run: chapters_to("pairs") for run in PLANTED}
    return {}
