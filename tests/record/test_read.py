"""The released record: read without loss, scored as a few lines would, and refused when broken.

The record itself lies beside the project and is never copied into it; where it is absent, what
needs it is NOT RUN. Everything else runs on records that `record.write_record` writes.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from inline import execute
from lookups.errors import SourceError
from lookups.paths import PROJECT
from lookups.record.paper import EARLIER, REPORTED, pairs_behind, skew_statistic
from lookups.record.read import STEPS, Published, read_published
from lookups.statistics.scores import count, score
from record import planted_neurons, write_record
from scipy.stats import skew, skewtest

REAL = PROJECT.parent / "shared" / "reference" / "published" / "gpt2-small"
needs_record = pytest.mark.skipif(
    not REAL.is_dir(),
    reason="NOT RUN: the authors' record is not in shared/reference/published beside the project",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_record(tmp_path_factory.mktemp("record") / "gpt2-small", planted_neurons())


@pytest.fixture(params=["written", pytest.param("real", marks=needs_record)], scope="module")
def folder(request, written) -> Path:
    return written if request.param == "written" else REAL


@pytest.fixture(scope="module")
def record(folder) -> Published:
    return read_published(folder.parent, "gpt2-small")


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def edit(path: Path, change) -> None:
    """Change the content of a JSON file, or of the list of a file's lines, in place."""
    content = json_of(path) if path.suffix == ".json" else lines_of(path)
    change(content)
    lines = [content] if path.suffix == ".json" else content
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def scores_from_files(folder: Path) -> dict[str, float]:
    """E of every pair, from the raw files: no table, no code of ours."""
    replies = {}
    for path in sorted(folder.glob("6_*/*_results.jsonl")):
        for request, response in lines_of(path):
            answer = response["choices"][0]["message"]["content"]
            replies[request["messages"][0]["content"]] = answer == "Yes"
    neurons = json_of(next(folder.glob("1_*/*.json")))["neurons"]
    heads = json_of(next(folder.glob("4_*/*_test.json")))["head_attributions"]
    found = {}
    for pair, asked in json_of(next(folder.glob("6_*/*_20.json")))["classify_prompts"].items():
        layer, index, head = map(int, pair[1:-1].split(","))
        key, right = f"({layer}, {index})", {True: [], False: []}
        for question, shown in asked.items():
            active = head in heads[key][shown[: -len(neurons[key]["token"])]]
            right[active].append(replies[question] == active)
        rates = [np.mean(some) if some else np.nan for some in right.values()]
        found[f"L{layer}.N{index} L{head // 12}.H{head % 12}"] = float(np.mean(rates))
    return found


def test_every_score_equals_that_of_a_few_lines_over_the_files(folder, record):
    expected = scores_from_files(folder)
    pairs = record.verdicts.groupby(["neuron", "head"], sort=False)
    found = {" ".join(key): score(count(rows.verdict, rows.active)) for key, rows in pairs}
    assert found == pytest.approx(expected, nan_ok=True)
    assert len(found) == len(record.explanations)


@needs_record
def test_the_record_gives_the_figures_of_the_papers_first_version():
    verdicts = read_published(REAL).verdicts.groupby(["neuron", "head"])
    counts = [count(rows.verdict, rows.active) for _, rows in verdicts]
    scores = np.array([score(c) for c in counts])
    one_rate = [(c.tp + c.tn) / (c.tp + c.fp + c.tn + c.fn) for c in counts]
    every = np.where(np.isnan(scores), one_rate, scores)
    assert (len(every), np.isfinite(scores).sum()) == (207, 194)
    assert (round(np.nanmean(scores), 3), round(np.nanstd(scores), 3)) == (0.629, 0.172)
    assert (round(every.mean(), 3), round(every.std(), 3)) == EARLIER["GPT-2 small"]


def test_no_entry_of_a_file_is_lost(folder, record):
    def entries(pattern: str, name: str, parts=len) -> int:
        return sum(sum(map(parts, json_of(path)[name].values()))
                   for path in folder.glob(pattern) if name in json_of(path))  # fmt: skip

    chosen = json_of(next(folder.glob("1_*/*.json")))
    kept = record.neurons[~record.neurons.rejected]
    assert kept.congruence.tolist() == [one["congruence"] for one in chosen["neurons"].values()]
    assert record.neurons.rejected.sum() == len(chosen["parameters"]["rejected_neurons"])
    assert len(record.spans) == entries("3_*/*", "neuron_to_trunc_data")
    assert len(record.suffixes) == entries("4_*/*", "head_attributions")
    of_kinds = lambda kinds: sum(map(len, kinds))  # noqa: E731
    assert len(record.shown) == entries("4_*/*", "nh_to_pos_neg_prompts", of_kinds)
    assert len(record.verdicts) == entries("6_*/*_20.json", "classify_prompts")
    assert len(record.explanations) == len(json_of(next(folder.glob("5_*/*_dict.json"))))
    assert record.explanations.explanation.notna().all()
    assert record.missing == ()


def test_entries_keep_their_values(folder, record):
    texts = json_of(next(folder.glob("4_*/*_test.json")))["head_attributions"]
    tables = record.heads[record.heads.split == "test"].groupby(["neuron", "prompt"])["head"]
    heads = {key: set(rows) for key, rows in tables}
    for (neuron, prompt), text in record.texts("test").items():
        key = f"({neuron[1:].replace('.N', ', ')})"
        assert list(texts[key])[int(prompt.rsplit("/", 1)[1])] == text
        assert heads[neuron, prompt] == {f"L{h // 12}.H{h % 12}" for h in texts[key][text]}
    spans = json_of(next(folder.glob("3_*/*_test.json")))["neuron_to_trunc_data"]
    flat = [cut for cuts in spans.values() for cut in cuts]
    own = record.spans[record.spans.split == "test"]
    assert own.activation.tolist() == [cut["trunc_act"] for cut in flat]
    assert own.length.tolist() == [cut["token_pos"] + 1 - cut["start_pos"] for cut in flat]


def test_what_was_shown_agrees_with_the_active_heads_and_no_question_stands_twice(record):
    heads = record.heads[record.heads.split == "train"]
    active = set(zip(heads.neuron, heads["prompt"], heads["head"], strict=True))
    shown = record.shown
    found = [key in active for key in zip(shown.neuron, shown.prompt, shown["head"], strict=True)]
    assert shown.prompt.notna().all()
    assert found == shown.active.tolist()
    assert not record.verdicts.duplicated(["neuron", "head", "prompt"]).any()


def test_a_span_is_known_where_no_text_fell_together(tmp_path):
    plain, twice = planted_neurons(neurons=2, texts=6)
    again = twice.train[0]
    folder = write_record(tmp_path, [plain, twice._replace(train=(again, *twice.train))])
    cut = {"og_act": 1, "trunc_act": 1, "dataset_index": 98, "start_pos": 0, "token_pos": 100}
    cuts = lambda content: content["neuron_to_trunc_data"][plain.key]  # noqa: E731
    # a token too long to be kept
    edit(next(folder.glob("3_*/*small.json")), lambda content: cuts(content).insert(1, cut))
    found = read_published(folder).suffixes
    train = found[found.split == "train"].set_index("neuron")  # the long span is passed over
    assert train.activation["L9.N5"].tolist() == [text.activation for text in plain.train]
    assert train.activation["L10.N6"].isna().all()
    assert len(read_published(folder).spans) == 6 + 1 + 7 + 12


def test_models_in_one_folder_and_in_folders_of_their_own_are_chosen_by_name(tmp_path):
    flat, apart = tmp_path / "flat", tmp_path / "apart"
    late = planted_neurons(layer=10, n_heads=20)
    middle = planted_neurons(seed=1, layer=4, n_heads=20)
    every = [("gpt2-small", "", planted_neurons())]
    every += [("gpt2-large", "", late), ("gpt2-large", "mid", middle)]
    for model, variant, neurons in every:
        day = 14 if variant else 12  # of the two files of neurons, which tell no variant
        write_record(flat, neurons, model=model, variant=variant, day=day)
        write_record(apart / f"{model}{variant}", neurons, model=model, variant=variant, day=day)
    assert set(read_published(flat, "gpt2-large").neurons.layer) == {9, 10, 11}
    found = read_published(flat, "gpt2-large_mid")
    assert set(found.neurons[~found.neurons.rejected].layer) == {4, 5}
    assert set(found.heads["head"].str.split(".").str[0]) <= {f"L{layer}" for layer in range(6)}
    small = read_published(apart, "gpt2-small")
    assert small.verdicts.equals(read_published(flat, "org/gpt2-small").verdicts)
    with pytest.raises(SourceError, match="gpt2-large, gpt2-large_mid, gpt2-small: name one"):
        read_published(flat)
    with pytest.raises(SourceError, match="no file about 'gpt2-xl', only about gpt2-large"):
        read_published(flat, "gpt2-xl")


def test_of_several_runs_of_a_step_the_one_that_was_evaluated_is_read(tmp_path):
    first, later = planted_neurons(), planted_neurons(texts=9)
    folder = write_record(tmp_path, first, day=12)
    expected = read_published(folder).texts("test")
    for path in write_record(tmp_path / "again", later, day=13).glob("4_*/*_test.json"):
        path.rename(folder / "4_head_attributions" / path.name)
    assert read_published(folder).texts("test").equals(expected)


def test_another_models_questions_under_this_ones_name_are_left_out(tmp_path):
    """As in one released file of GPT-2 medium, which asks about GPT-2 small."""
    folder = write_record(tmp_path, planted_neurons())
    other = {"(11, 3000, 24)": {"q": "a text"}}
    edit(next(folder.glob("6_*/*_20.json")), lambda file: file["classify_prompts"].update(other))
    assert read_published(folder).verdicts.neuron.nunique() == 6


def test_questions_without_a_reply_and_replies_without_a_verdict_are_unread(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), reply=lambda text, active, luck: "Perhaps")

    def fail(lines: list) -> None:
        lines[0][1] = ["the server did not answer"]  # what the authors' script keeps of a failure
        del lines[100:]

    edit(next(folder.glob("6_*/*_10_results.jsonl")), fail)
    assert all(one is None for one in read_published(folder).verdicts.verdict)


def test_of_two_replies_to_one_request_the_later_counts(tmp_path):
    folder = write_record(tmp_path, planted_neurons())
    before = read_published(folder).verdicts.verdict

    def again(lines: list) -> None:
        request, response = json.loads(json.dumps(lines[0]))
        message = response["choices"][0]["message"]
        message["content"] = "No" if message["content"] == "Yes" else "Yes"
        lines.append([request, response])

    edit(next(folder.glob("6_*/*_test_prompts_results.jsonl")), again)
    assert (read_published(folder).verdicts.verdict != before).sum() == 1


def test_a_record_with_neurons_alone_says_what_is_missing(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), model="gpt2-xl")
    for path in folder.glob("[3-6]_*/*"):
        path.unlink()
    found = read_published(folder)
    assert found.missing == ("spans", "suffixes", "heads", "shown", "explanations", "verdicts")
    assert len(found.neurons) == 7


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    folder = write_record(tmp_path, planted_neurons())
    (folder / "6_explanation_eval" / "2023-10-12_06-52-17_gpt2-small.pkl").write_bytes(b"\x80")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    assert read_published(folder).missing == ()


def halve(path: Path) -> None:
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")


def to(*keys: str | int, value: Any):
    """Replace one entry of a file; keys that are numbers count the entries of an object."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            counts = isinstance(key, int) and isinstance(content, dict)
            content = list(content.values())[key] if counts else content[key]
        content[keys[-1]] = value

    return lambda path: edit(path, change)


NEURONS, CUTS, ACTIVE = "neurons", "neuron_to_trunc_data", "head_attributions"
KINDS, QUESTIONS = "nh_to_pos_neg_prompts", "classify_prompts"
SPANS, HEADS, SHOWN = "3_*/*small.json", "4_*/*small.json", "4_*/*prompts.json"
ASKED, REPLIES = "6_*/*_20.json", "6_*/*results.jsonl"


@pytest.mark.parametrize(
    ("pattern", "change", "words"),
    [
        *((f"{step}/*.json", halve, rf"{step}/2023-.*\.json: Invalid JSON: .* fetch the record")
          for step in STEPS.values()),
        (REPLIES, halve, r"_results\.jsonl, line \d+: Invalid JSON"),
        ("1_*/*", lambda path: path.write_bytes(b"{\xff"), r"1_next.*\.json: Invalid JSON"),
        ("1_*/*", to(NEURONS, 0, "token", value=7), r"\(9, 5\), token: .* valid string"),
        ("1_*/*", to(NEURONS, 0, "congruence", value="x"), r"congruence: .* valid number"),
        ("1_*/*", to(NEURONS, "9, 5", value={}), r"neurons, 9, 5.*: String should match"),
        (SPANS, to(CUTS, 0, 0, "start_pos", value=1.5), r"\(9, 5\), 0, start_pos: .* integer"),
        (SPANS, to(CUTS, 0, 0, "og_act", value=True), r"og_act: .* valid number"),
        (SPANS, to(CUTS, 0, 0, value={}), r"\(9, 5\), 0, start_pos: Field required"),
        (HEADS, to(ACTIVE, 0, "a text", value=[500]), r"500 is no head .* layer 9 with 12"),
        (HEADS, to(ACTIVE, 0, "a text", value=["x"]), r"a text, 0: .* integer"),
        (HEADS, to(ACTIVE, "(3, 3)", value={}), r"has all neurons of 4_head.*small\.json"),
        (SHOWN, to(KINDS, "(9, 5)", value=[[], []]), r"\(9, 5\).*: String should match"),
        (SHOWN, to(KINDS, "(9, 5, 1)", value=[[]]), r"\(9, 5, 1\), 1: Field required"),
        ("5_*/*dict.json", to("(9, 5, 24)", value=[1]), r"\(9, 5, 24\): .* valid string"),
        (ASKED, to("prior_filename", value="gone"), r"from gone\.json, .* not in 4_head"),
        (REPLIES, to(0, value=[{}, {}]), r"line 1, 0, messages, 0, content: Field required"),
        (REPLIES, to(0, 1, value={}), r"line 1, 1.*choices, 0, message, content: Field required"),
        ("4_*/*_test.json", Path.unlink, r"_test\.json, which is not in 4_head_attributions"),
        ("1_*/*", Path.unlink, r"1_next_token_neurons has no file about 'gpt2-small'"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where_is_said(tmp_path, pattern, change, words):
    folder = write_record(tmp_path, planted_neurons())
    change(sorted(folder.glob(pattern))[0])
    with pytest.raises(SourceError, match=words):
        read_published(folder)


def test_a_folder_that_is_no_record_says_what_to_give(tmp_path):
    with pytest.raises(SourceError, match=r"no 1_next_token_neurons.*download --published"):
        read_published(tmp_path, "gpt2-small")


def test_the_number_of_scores_is_found_from_their_skew_and_its_p():
    random = np.random.default_rng(0)
    for size in (60, 247, 1500):
        for sign in (1, -1):
            values = sign * random.gamma(20, size=size)
            test = skewtest(values, alternative="greater")
            statistic = skew_statistic(float(skew(values)), np.array([size]))[0]
            assert statistic == pytest.approx(test.statistic)
            given = float(skew(values)), float(test.pvalue)
            assert pairs_behind(*given, skew_digit=0.0, p_digit=0.0) == (size, size, size)


def test_printed_figures_are_those_of_a_range_of_numbers_or_refused():
    # 194 pairs: skew .209, p .111, as chapter 13 prints them
    found = pairs_behind(0.209, 0.111, skew_digit=1e-3, p_digit=1e-3)
    assert found.fewest <= 194 <= found.most < found.fewest + 10
    for one in REPORTED:
        found = pairs_behind(one.skew, one.p_skew, skew_digit=1e-3, p_digit=one.p_digit)
        assert found.fewest <= found.likely <= found.most
    with pytest.raises(ValueError, match=r"cannot have a one-sided p of 0.9"):
        pairs_behind(0.2, 0.9, skew_digit=1e-3, p_digit=1e-3)


def chapter(folder: Path, published: Path | None = None) -> tuple[dict[str, Any], str]:
    """The names and the Markdown of chapter 13 of the run `planted`, with a record if given."""
    named = {} if published is None else {"published": str(published)}
    run = folder / "held.yml"
    run.write_text(yaml.safe_dump({"extends": "planted"} | named), "utf-8")
    names = execute("13_published_record", run)
    return names, "\n".join(names["said"])


def test_the_chapter_without_a_record_or_answers_says_so_and_what_the_paper_reports(tmp_path):
    names, shown = chapter(tmp_path)
    assert names["record"] is None
    assert "names no folder of the record" in shown
    assert "0.017" in shown
    folder = write_record(tmp_path / "mute", planted_neurons(), reply=lambda *_: "")
    assert "no score can be computed" in chapter(tmp_path, folder)[1]


def test_the_chapter_reads_a_record(written, tmp_path):
    names, shown = chapter(tmp_path, written)
    assert "executed with the record of `gpt2-small`" in shown
    expected = scores_from_files(written)
    found = names["scores"].set_index(names["scores"].neuron + " " + names["scores"]["head"]).score
    assert found.to_dict() == pytest.approx(expected, nan_ok=True)
    assert "18 pairs are compared" in shown
    # heads that follow words are told by words; verdicts that are mostly right beat another head's
    assert names["results"].contrast.mean() > 0.6
    assert names["gains"]["other head"][1].low > 0
    assert "do better than explanations of another head" in shown


@needs_record
@pytest.mark.slow
def test_the_chapter_reads_the_record_of_the_authors(tmp_path):
    names, shown = chapter(tmp_path, REAL)
    assert "That is what comes out where pairs of one kind get their one rate as a score" in shown
    assert len(names["tested"]) == 194
    assert "19 of 194 hold after correction, 5 under any dependence" in shown
    assert abs(names["results"]["GPT-4"].mean() - names["results"]["contrast"].mean()) < 0.05
