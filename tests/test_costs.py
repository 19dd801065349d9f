"""What a run would cost: counted as the chapters read, never less for more documents, in words.

Times are of a device that reads at a given pace; what is measured is only asked to be positive.
"""

import gc
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot  # noqa: F401  (`execute` closes figures)
import narrow_models
import numpy as np
import pytest
import tiny
import torch
import yaml
from lookups import costs
from lookups.chain import chain_of
from lookups.costs import costs_of, forecast, in_words, lines_of, sizes_of, texts_of
from lookups.errors import ModelError
from lookups.footprint import REMEDIES, Memory, misfits
from lookups.model import Model
from lookups.pace import Pace, Part, Room, free_ram, measure, room_on
from lookups.runs import read_run
from lookups.stages import CHAPTERS
from lookups.work import Facts, Work, tables_of
from test_chapters import VARIATIONS, execute, run_file

PACE = Pace(read=1000.0, kept=100.0, start=2.0)


def facts_of(run: str | Path, model: Model) -> Facts:
    settings = read_run(run)
    sizes = sizes_of(model.bridge.original_model.config)
    texts, missing = texts_of(settings, model, sizes)
    assert missing == []
    return Facts(settings, sizes, texts, tables_of(settings))


@pytest.fixture
def run(tmp_path: Path, artifacts: Path) -> Path:
    return run_file(tmp_path, VARIATIONS["gpt2"])


@pytest.mark.parametrize(
    ("run", "parameters"),
    [  # as the models' own pages and papers state them
        ("gpt2-small", 124_439_808),
        ("gpt2-xl", 1_557_611_200),
        ("pythia-160m", 162_322_944),
        ("pythia-1.4b", 1_414_647_808),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_sizes_are_read_off_a_configuration(run, parameters):
    shape = narrow_models.SHAPES[run]
    sizes = sizes_of(narrow_models.config_of(run, narrow=False))
    assert sizes.parameters == parameters
    assert (sizes.layers, sizes.heads, sizes.d_mlp) == (shape.layers, shape.heads, shape.d_mlp)
    assert (sizes.vocabulary, sizes.context) == (shape.vocabulary, shape.context)
    assert sizes.signs == (2 if shape.gated else 1)


def test_documents_and_tokens_are_those_of_the_runs_texts(run):
    facts = facts_of(run, tiny.model("gpt2"))
    found = {cost.chapter: cost.work for cost in costs_of(facts, list(CHAPTERS), PACE)}
    documents = [one for split in ("train", "test") for one in facts.texts[split]]
    scanned = [one for one in documents if len(one.ids) > 1]
    assert found["02_prompts"].documents == found["02_prompts"].kept == len(scanned)
    alone = found["02_prompts"].tokens - sum(len(one.ids) + 1 for one in scanned)
    assert 0 <= alone <= 1000 * (max(len(one.ids) for one in documents) + 1)
    for chapter in ("06_analysis", "07_explanations", "08_scores"):
        assert found[chapter].tokens == 0


class Counter:
    """Counts what goes through the model, whole passes only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.tokens = 0
        plain = Model.batch

        def batch(model, sequences, *, bos=True):
            made = plain(model, sequences, bos=bos)
            self.tokens += int(made.mask.sum())
            return made

        monkeypatch.setattr(Model, "batch", batch)


def test_what_is_counted_is_what_the_chapters_read(run, monkeypatch):
    """After a run the counts rest on its tables; what chapters show by hand comes on top."""
    counter, read = Counter(monkeypatch), {}
    for chapter in CHAPTERS[:5]:
        counter.tokens = 0
        execute(chapter, run)
        read[chapter] = counter.tokens
    facts = facts_of(run, tiny.model("gpt2"))
    found = {cost.chapter: cost.work for cost in costs_of(facts, list(CHAPTERS), PACE)}
    assert all(found[chapter].known for chapter in list(CHAPTERS[:5]))
    for chapter, within in {"02_prompts": 1.3, "03_suffixes": 3, "04_heads": 3}.items():
        assert read[chapter] / within < found[chapter].tokens < read[chapter] * within, chapter
    assert found["04_heads"].documents == len(facts.tables["03_suffixes"])


def test_more_documents_never_cost_less(run):
    content = yaml.safe_load(run.read_text("utf-8"))
    before = None
    for documents in (10, 40, 80):
        content["corpus"]["documents"] = documents
        run.write_text(yaml.safe_dump(content), "utf-8")
        now = costs_of(facts_of(run, tiny.model("gpt2")), list(CHAPTERS), PACE)
        for cost, less in zip(now, before or now, strict=True):
            assert cost.seconds >= less.seconds
            assert cost.work.documents >= less.work.documents
            assert cost.work.tokens >= less.work.tokens
            assert cost.memory.total >= less.memory.total
        before = now


def test_a_slower_device_takes_longer():
    work = Work(documents=10, tokens=1000, passes=500.0, kept=10, pairs=0)
    assert costs.seconds_of("02_prompts", work, PACE) == 3.0 + 0.5 + 0.1
    slow = PACE._replace(read=500.0, kept=50.0)
    assert costs.seconds_of("02_prompts", work, slow) == 3.0 + 1.0 + 0.2


def test_the_device_is_measured_on_a_sample_of_the_runs_texts(run):
    model = tiny.model("gpt2")
    facts = facts_of(run, model)
    pace = measure(model, facts.texts["train"], [1, 2], start=1.5, seconds=0.1, strongest=3)
    assert pace.start == 1.5
    assert min(pace.read, pace.kept) > 0


def test_a_part_of_the_texts_is_spread_and_cut(run):
    whole = facts_of(run, tiny.model("gpt2")).texts["train"]
    part = Part(whole, tokens=50)
    assert 50 <= part.tokens == sum(len(one.ids) + 1 for one in part) <= 53
    assert len({part[row].key for row in range(len(part))}) == len(part)
    short = Part(whole, documents=7, length=3)
    assert (len(short), short.lengths.max()) == (7, 3)
    everything = Part(whole)
    assert len(everything) == len(whole)
    assert everything.tokens == int(whole.lengths.sum()) + len(whole)


def test_a_forecast_in_words(run):
    found = forecast(chain_of(run))
    lines = lines_of(found)
    assert lines[0].split() == ["chapter", "documents", "tokens", "memory", "time"]
    assert [line.split()[0] for line in lines[1 : len(found.costs) + 2]] == [*CHAPTERS, "all"]
    assert found.fits
    assert "nothing for the model to read" in lines[1 + CHAPTERS.index("08_scores")]
    assert "planted models of its own" in lines[1 + CHAPTERS.index("12_ground_truth")]
    assert "?" not in "".join(lines)
    assert lines[-1].startswith("~ rests on guesses")
    assert max(map(len, lines)) <= 100


def test_without_weights_sizes_are_told_and_no_time(run, monkeypatch):
    monkeypatch.setattr(costs, "weights_here", lambda spec: False)
    found = forecast(chain_of(run))
    told = {cost.chapter for cost in found.costs if cost.seconds is not None}
    assert told == set(costs.ALWAYS)
    assert lines_of(found)[1 + len(CHAPTERS)].split()[-1] == "?"
    assert found.costs[2].work.tokens > 0
    assert found.costs[2].memory.total > 0
    assert (
        "are not here, so no time is told: `lookups download tiny` fetches them" in found.notes[0]
    )
    assert lines_of(found)[1].endswith("?")


def test_without_weights_and_configuration_the_error_says_how_to_get_them():
    with pytest.raises(ModelError, match=r"openai-community/gpt2 is not here.*lookups download"):
        forecast(chain_of("gpt2-small"))


def test_texts_that_are_not_here_count_as_long_as_may_be():
    settings = read_run("gpt2-small")
    sizes = sizes_of(narrow_models.config_of("gpt2-small", narrow=False))
    texts, missing = texts_of(settings, SimpleNamespace(tokenizer=None), sizes)
    for split, name in (("train", "NeelNanda/pile-10k"), ("test", "EleutherAI/pile_val_test")):
        assert len(texts[split]) == settings.corpus.documents
        assert (texts[split].lengths == 1023).all()
        assert any(f"the {split} texts ({name}" in told for told in missing)
    assert all("`lookups download gpt2-small` fetches them" in told for told in missing)
    assert len(texts["train"][3].ids) == 1023


def test_cost_of_a_large_model_is_told_from_its_configuration():
    """GPT-2 XL on a slow device: days, and dozens of gigabytes, none of which is allocated."""
    settings = read_run("gpt2-xl")
    sizes = sizes_of(narrow_models.config_of("gpt2-xl", narrow=False))
    texts, _ = texts_of(settings, SimpleNamespace(tokenizer=None), sizes)
    found = costs_of(Facts(settings, sizes, texts, {}), list(CHAPTERS), PACE)
    scan = found[2]
    assert scan.work.documents == 20_000
    assert scan.work.tokens >= 20_000 * 1024
    assert scan.seconds > 20_000
    needs = [(cost.chapter, cost.memory) for cost in found]
    (told,) = misfits(needs, Room(ram=4 * 10**9, device=None))
    assert "does not fit: chapter " in told
    assert misfits(needs, Room(ram=10**15, device=None)) == []


@pytest.mark.parametrize("part", REMEDIES)
def test_what_does_not_fit_says_what_to_change(part):
    of = dict.fromkeys(REMEDIES, 1e9) | {part: 9e9}
    needs = [("02_prompts", Memory(of)), ("03_suffixes", Memory(dict.fromkeys(REMEDIES, 1e9)))]
    (told,) = misfits(needs, Room(ram=10 * 10**9, device=None))
    assert told.startswith("does not fit: chapter 02_prompts needs about 13.6 GB of memory, and ")
    assert told.endswith(f"10.0 GB are free; most of it is for its {part}: {REMEDIES[part]}")
    assert "\n" not in told
    assert misfits(needs, Room(ram=14 * 10**9, device=None)) == []


def test_a_gpu_holds_weights_batch_and_maxima():
    memory = Memory({"weights": 5e9, "batch": 2e9, "maxima": 1e9, "table": 50e9, "texts": 1e9})
    (told,) = misfits([("02_prompts", memory)], Room(ram=10**12, device=7 * 10**9))
    assert "8.0 GB of GPU memory, and 7.0 GB are free; most of it is for its weights" in told
    assert misfits([("02_prompts", memory)], Room(ram=10**12, device=9 * 10**9)) == []


def test_free_memory_is_read(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 100 kB\nMemAvailable: 40 kB\n", "utf-8")
    assert free_ram(path) == 40 * 1024
    assert free_ram(tmp_path / "none") > 0
    assert room_on(torch.device("cpu")).device is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.4, "4 s"), (89.0, "89 s"), (90.0, "1.5 min"), (5400.0, "1.5 h"), (2e5, "2.3 days")],
)
def test_times_are_told_in_one_unit(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_no_layers_attention_pattern_outlives_its_layer(name):
    """Else the memory of a batch grows with layers × heads × length²."""
    model = tiny.model(name)
    batch = model.batch([np.arange(1, 52)] * 3)
    shape, seen = (3, tiny.HEADS, 52, 52), []

    def patterns() -> int:
        gc.collect()
        return sum(type(one) is torch.Tensor and one.shape == shape for one in gc.get_objects())

    last = f"blocks.{tiny.LAYERS - 1}.mlp.hook_post"
    model.read(batch, {last: lambda post: seen.append(patterns())})
    assert seen[0] <= 1
    assert patterns() == 0


def test_every_chapter_with_a_count_exists():
    assert set(costs.COUNTS) | set(costs.ALWAYS) <= set(CHAPTERS)
    assert not set(costs.COUNTS) & set(costs.ALWAYS)


def test_a_chapter_with_models_of_its_own_costs_the_same_in_every_run(run):
    facts = facts_of(run, tiny.model("gpt2"))
    for pace in (PACE, PACE._replace(read=1.0), None):
        (cost,) = costs_of(facts, ["12_ground_truth"], pace)
        assert (cost.seconds, cost.work) == (costs.ALWAYS["12_ground_truth"], Work())
