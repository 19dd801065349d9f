"""The record is read without loss, scored as a few lines would, and refused when broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inline import defined_in
from lookups.errors import SourceError
from lookups.record.read import MODELS, STEPS, read_published
from lookups.statistics.scores import count, score
from record import REAL, planted_neurons, read, scores_from_files, write, write_record

CHAPTER = defined_in("14_published_record")
read_record, recorded_as = CHAPTER.read_record, CHAPTER.recorded_as
needs_record = pytest.mark.skipif(
    not REAL.is_dir(),
    reason="NOT RUN: the authors' record is not in shared/reference/published beside the project",
)


@pytest.fixture(params=["written", pytest.param("real", marks=needs_record)], scope="module")
def folder(request, tmp_path_factory) -> Path:
    written = tmp_path_factory.mktemp("record")
    return write_record(written, planted_neurons()) if request.param == "written" else REAL


@pytest.fixture(scope="module")
def record(folder):
    return read_record(folder, "gpt2-small")


@pytest.fixture
def own(tmp_path) -> Path:
    return write_record(tmp_path, planted_neurons())


def test_every_score_equals_that_of_a_few_lines_over_the_files(folder, record):
    pairs = record.verdicts.groupby(["neuron", "head"], sort=False)
    found = {" ".join(key): score(count(rows.verdict, rows.active)) for key, rows in pairs}
    assert found == pytest.approx(scores_from_files(folder), nan_ok=True)
    assert len(found) == len(record.explanations)


@needs_record
def test_the_record_gives_the_figures_of_the_papers_first_version():
    verdicts = read_record(REAL).verdicts.groupby(["neuron", "head"])
    counts = [count(rows.verdict, rows.active) for _, rows in verdicts]
    scores = np.array([score(c) for c in counts])
    every = np.where(np.isnan(scores), [(c.tp + c.tn) / sum(c) for c in counts], scores)
    assert (len(every), np.isfinite(scores).sum()) == (207, 194)
    assert (round(np.nanmean(scores), 3), round(np.nanstd(scores), 3)) == (0.629, 0.172)
    assert (round(every.mean(), 3), round(every.std(), 3)) == CHAPTER.EARLIER["GPT-2 small"]


def test_no_entry_of_a_file_is_lost(folder, record):
    def rows(pattern: str, name: str) -> dict[str, Any]:
        return next(part[name] for path in folder.glob(pattern) for part in read(path))

    chosen = rows("1_*/*.json", "neurons").values()
    assert record.neurons.congruence.tolist() == [one["congruence"] for one in chosen]
    shown = rows("4_*/*prompts*.json", "nh_to_pos_neg_prompts").values()
    assert len(record.shown) == sum(len(texts) for kinds in shown for texts in kinds)
    asked = rows("6_*/*_20.json", "classify_prompts")
    assert len(record.verdicts) == sum(map(len, asked.values()))
    assert not record.verdicts.duplicated(["neuron", "head", "prompt"]).any()
    assert len(record.explanations) == record.explanations.explanation.notna().sum() == len(asked)
    assert CHAPTER.missing(record) == []
    heads = record.heads[record.heads.split == "train"]
    active = set(zip(heads.neuron, heads["prompt"], heads["head"], strict=True))
    keys = zip(record.shown.neuron, record.shown.prompt, record.shown["head"], strict=True)
    assert [key in active for key in keys] == record.shown.active.tolist()

    texts = rows("4_*/*_test.json", "head_attributions")
    assert (record.suffixes.split == "test").sum() == sum(map(len, texts.values()))
    active = [flat for own in texts.values() for heads in own.values() for flat in heads]
    assert (record.heads.split == "test").sum() == len(active)


def test_models_in_one_folder_are_chosen_by_name(tmp_path):
    write_record(tmp_path, planted_neurons())
    late, middle = (planted_neurons(layer=layer, n_heads=20) for layer in (10, 4))
    write_record(tmp_path, late, model="gpt2-large")
    write_record(tmp_path, middle, model="gpt2-large", variant="mid", day=14)
    for name, neurons in (("gpt2-large", late), ("gpt2-large_mid", middle)):
        found = read_record(tmp_path, name)  # files of neurons tell no variant
        assert found.neurons.neuron.tolist() == [one.name for one in neurons]
        assert set(found.heads.neuron) == set(found.neurons.neuron)
    with pytest.raises(SourceError, match=r"several models; .* gpt2-large, gpt2-large_mid, gpt2"):
        read_published(tmp_path)
    with pytest.raises(SourceError, match=r"no file about 'gpt2-xl'; .* gpt2-large, gpt2"):
        read_published(tmp_path, "gpt2-xl")


def test_of_several_runs_of_a_step_the_one_that_was_evaluated_is_read(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), day=12)
    expected = read_record(folder).suffixes
    later = write_record(tmp_path / "again", planted_neurons(texts=9), day=13)
    for path in later.glob("4_*/*_test.json"):
        path.rename(folder / "4_head_attributions" / path.name)
    assert read_record(folder).suffixes.equals(expected)


def test_another_models_questions_under_this_ones_name_are_left_out(own):
    add = to("classify_prompts", "(11, 3000, 24)", value={"q": "a text"})
    add(next(own.glob(ASKED)))
    assert read_record(own).verdicts.neuron.nunique() == 6


def test_questions_without_a_reply_and_replies_without_a_verdict_are_unread(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), reply=lambda active, luck: "Perhaps")
    # what the authors' script keeps of a failure, and fewer replies than questions
    (sent, _), *others = read(path := next(folder.glob("6_*/*_10_results.jsonl")))
    write(path, [sent, ["the server did not answer"]], *others[:100])
    assert all(one is None for one in read_record(folder).verdicts.verdict)


def test_a_record_with_neurons_alone_says_what_is_missing(own):
    for path in own.glob("[4-6]_*/*"):
        path.unlink()
    found = read_record(own)
    assert CHAPTER.missing(found) == ["suffixes", "heads", "shown", "explanations", "verdicts"]
    assert len(found.neurons) == 6


def halve(path: Path) -> None:
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")


def to(*keys: str | int, value: Any):
    """Replace one entry of a file; keys that are numbers count the entries of an object."""

    def change(path: Path) -> None:
        lines = read(path)
        content = lines[0] if path.suffix == ".json" else lines
        for key in keys[:-1]:
            counts = isinstance(key, int) and isinstance(content, dict)
            content = list(content.values())[key] if counts else content[key]
        content[keys[-1]] = value
        write(path, *lines)

    return change


NEURONS, ACTIVE, KINDS = "neurons", "head_attributions", "nh_to_pos_neg_prompts"
HEADS, SHOWN = "4_*/*small.json", "4_*/*prompts.json"
ASKED, REPLIES = "6_*/*_20.json", "6_*/*results.jsonl"


@pytest.mark.parametrize(
    ("pattern", "change", "words"),
    [
        *((f"{step}/*.json", halve, rf"{step}/2023-.*\.json: Invalid JSON: .* fetch the record")
          for step in STEPS.values()),
        (REPLIES, halve, r"_results\.jsonl, line \d+: Invalid JSON"),
        ("1_*/*", to(NEURONS, 0, "token", value=7), r"\(9, 5\), token: .* valid string"),
        (HEADS, to(ACTIVE, 0, "a text", value=[500]), r"500 is no head that L9\.N5 can read"),
        (SHOWN, to(KINDS, "(9, 5)", value=[[], []]), r"\(9, 5\).*: String should match"),
        (SHOWN, to(KINDS, "(9, 5, 1)", value=[[]]), r"\(9, 5, 1\), 1: Field required"),
        (ASKED, to("prior_filename", value="gone"), r"from gone\.json, .* not in 4_head"),
        (REPLIES, to(0, 1, value={}), r"line 1, 1.*choices, 0, message, content: Field required"),
        ("4_*/*_test.json", Path.unlink, r"_test\.json, which is not in 4_head_attributions"),
        ("1_*/*", Path.unlink, r"1_next_token_neurons has no file with all neurons of 4_head"),
        ("1_*", lambda path: path.rename(path.with_name("1")), "has no 1_next.*: fetch the rec"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where_is_said(own, pattern, change, words):
    change(sorted(own.glob(pattern))[0])
    with pytest.raises(SourceError, match=words):
        read_published(own)


def test_models_are_known_by_id_and_by_short_id():
    known = {recorded_as(name) for id_, _ in MODELS.values() for name in (id_, id_.split("/")[1])}
    assert (known, recorded_as("planted-0")) == (set(MODELS), None)
