"""Every table that a run leaves on disk, declared once: what a row is, what it was made from.

A stage belongs to the chapter that makes it. Its parents are the stages it was computed from, its
settings the keys of the run file it depends on besides theirs.
"""

from typing import NamedTuple

from lookups.corpus.grammar import SEEDS
from lookups.errors import RunError
from lookups.settings import Run

CHAPTERS = (
    "01_corpus_and_model",
    "02_next_token_neurons",
    "03_prompts",
    "04_suffixes",
    "05_heads",
    "06_attention_specialization",
    "07_explanations",
    "08_scores",
    "09_head_ablation",
    "10_direct_path",
    "11_neuron_ablation",
    "12_ground_truth",
    "13_published_record",
    "14_agreement",
    "15_analysis",
)
"""The notebooks in the order in which a run executes them; the analysis gathers what all found."""


class Stage(NamedTuple):
    """One table: its name, the chapter that makes it, and what a row of it is."""

    name: str
    chapter: str
    """The notebook that makes it."""
    row: str
    """What one row is, in a sentence."""
    columns: tuple[str, ...]
    """Columns that later chapters rely on; a table may hold more."""
    parents: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


def _stage(name: str, chapter: str, row: str, columns: str, parents="", settings="") -> Stage:
    """Declare a stage by its columns, parents and settings, each separated by spaces."""
    listed = (tuple(names.split()) for names in (columns, parents, settings))
    return Stage(name, next(one for one in CHAPTERS if one.startswith(chapter)), row, *listed)


_SEARCH = """prompts_per_neuron top_per_neuron spread_per_neuron prompts_per_file follow_share
    follow_lift false_discovery_rate neurons_per_token selected_at_most examined_per_layer
    random_per_layer"""
"""What the search for prompts depends on."""

STAGES = (
    _stage(
        "neurons", "02",
        "One MLP neuron of the model (and, if gated, one sign of it) with the token it writes.",
        "neuron layer index sign token token_id congruence null_percentile rank group",
        settings="""model corpus prompts layers middle_layers neurons_per_layer rejected neurons
            tokens minimum_count minimum_in_texts protocol seed""",
    ),
    _stage(
        "prompts", "03",
        "One document in which one examined neuron was at its maximum, and the position of it.",
        "neuron split sample prompt position activation next_token_id",
        parents="neurons", settings=_SEARCH,
    ),
    _stage(
        "follow_rates", "03",
        "One neuron of the run's layers in one split: how often its token follows its maxima.",
        """neuron split follow_rate base_rate p q sound selected group strongest frequency
            matched_to""",
        parents="neurons", settings=_SEARCH,
    ),
    _stage(
        "suffixes", "04",
        "One prompt of one neuron, cut to the shortest suffix that keeps its share of activation.",
        "neuron split sample prompt start stop token_ids activation whole_activation",
        parents="prompts follow_rates", settings="keep longest",
    ),
    _stage(
        "heads", "05",
        "What one head writes into one neuron's input at the end of a cut prompt, and its "
        "effect: on train every head, on test the pairs that are followed.",
        """neuron split prompt head input attribution effect active active_2sd active_top3
            active_effect""",
        parents="suffixes", settings="active_rule pair_share effect_apart",
    ),
    _stage(
        "parts", "05",
        "What one part other than a head adds to one neuron's input; parts and heads sum to total.",
        "neuron split prompt input part value total",
        parents="suffixes",
    ),
    _stage(
        "pairs", "05",
        "One neuron and one head: on how many of the neuron's training prompts the head is active.",
        "neuron head n_prompts n_active share kept followed",
        parents="heads",
    ),
    _stage(
        "deck", "06",
        "One prompt of one item of the blind sort: to learn from, or held out and to be sorted.",
        "item digest kind neuron head role place prompt text token active",
        parents="pairs",
    ),
    _stage(
        "explanations", "07",
        "What one explainer says of one pair: when the head is active on the neuron's prompts.",
        "neuron head explainer explanation rule digest n_active n_inactive",
        parents="pairs", settings="llm",
    ),
    _stage(
        "verdicts", "08",
        "What was said of one held-out prompt of one pair by one explanation.",
        "neuron head explainer control lender prompt active verdict probability",
        parents="explanations", settings="held_out",
    ),
    _stage(
        "scores", "08",
        "How well one explainer's explanation of one pair sorts its held-out prompts.",
        """neuron head explainer control tp fp tn fn unread_active unread_inactive score
            score_strict low high p q auroc""",
        parents="explanations", settings="held_out",
    ),
    _stage(
        "head_ablations", "09",
        "One held-out prompt of one kept pair: neuron and token before and after the ablation.",
        """neuron head split prompt active follows kind p_before p_after logp_before logp_after
            pre_before pre_after act_before act_after""",
        parents="pairs",
    ),
    _stage(
        "neuron_ablations", "11",
        "One text and one neuron, or its control: the token before and after the neuron is held.",
        """neuron group split prompt context kind control p_before p_after logp_before
            logp_after""",
        parents="suffixes",
    ),
    _stage(
        "summary", "15",
        "One quantity of selected and of random neurons, and their difference, with intervals.",
        """quantity unit selected selected_low selected_high random random_low random_high
            difference difference_low difference_high selected_neurons random_neurons""",
        parents="pairs scores head_ablations neuron_ablations",
    ),
)  # fmt: skip


def stage_named(name: str) -> Stage:
    """Return the declaration of a stage.

    Raises:
        RunError: no stage has that name.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise RunError(f"no stage {name!r}; there are {', '.join(stage.name for stage in STAGES)}")


def settings_of(stage: Stage) -> tuple[str, ...]:
    """Return the run-file keys that a stage depends on, its parents' included, each once."""
    keys = [key for parent in stage.parents for key in settings_of(stage_named(parent))]
    return tuple(dict.fromkeys([*keys, *stage.settings]))


def chapters_to(stage: str) -> tuple[str, ...]:
    """Return the chapters that have to be executed for a stage, in order."""
    found, waiting = set(), [stage]
    while waiting:
        one = stage_named(waiting.pop())
        found.add(one.chapter)
        waiting += one.parents
    return tuple(name for name in CHAPTERS if name in found)


def other_runs(chapter: str, settings: Run) -> dict[str, tuple[str, ...]]:
    """Return the other runs whose stages a chapter reads, and the chapters that make those.

    `lookups run` executes them first.
    """
    if chapter == "08_scores" and settings.permuted is not None:
        return {settings.permuted: chapters_to("scores")}
    if chapter == "12_ground_truth":
        return {f"planted-{seed}": chapters_to("pairs") for seed in SEEDS}
    return {}
