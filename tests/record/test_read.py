"""The released record: read without loss, scored as a few lines would, and refused when broken.

The record itself lies beside the project and is never copied into it; where it is absent, what
needs it is NOT RUN. Everything else runs on records that `record.write_record` writes.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from lookups.errors import PublishedError
from lookups.paths import PROJECT
from lookups.record.files import STEPS
from lookups.record.paper import EARLIER, REPORTED, pairs_behind, skew_statistic
from lookups.record.read import Published, read_published
from lookups.statistics.scores import count, score
from record import planted_neurons, write_record
from scipy.stats import skew, skewtest

matplotlib.use("agg")

REAL = PROJECT.parent / "shared" / "reference" / "published" / "gpt2-small"
CHAPTER = PROJECT / "notebooks" / "13_published_record.py"
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
def real_record() -> Published:
    return read_published(REAL.parent, "gpt2-small")


@pytest.fixture(scope="module")
def record(request, folder) -> Published:
    return request.getfixturevalue("real_record") if folder == REAL else read_published(folder)


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def json_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


# --- the score, by a few lines of another kind


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
    assert set(found) == set(expected)
    assert len(found) == len(record.explanations)
    for pair, value in expected.items():
        assert found[pair] == pytest.approx(value, nan_ok=True), pair


@needs_record
def test_the_record_gives_the_figures_of_the_papers_first_version(real_record):
    verdicts = real_record.verdicts
    counts = verdicts.groupby(["neuron", "head"])[["verdict", "active"]].apply(
        lambda rows: count(rows.verdict, rows.active)
    )
    scores = counts.map(score)
    one_rate = counts.map(lambda c: (c.tp + c.tn) / (c.tp + c.fp + c.tn + c.fn))
    assert scores.notna().sum() == 194
    assert (round(scores.mean(), 3), round(scores.std(ddof=0), 3)) == (0.629, 0.172)
    every = scores.fillna(one_rate)
    assert len(every) == 207
    assert (round(every.mean(), 3), round(every.std(ddof=0), 3)) == EARLIER["GPT-2 small"]


# --- nothing is lost


def rows_in(path: Path) -> int:
    """The rows of a file, counted from the file alone."""
    if path.suffix == ".jsonl":
        return len(lines_of(path))
    content = json_of(path)
    if "neurons" in content:
        return len(content["neurons"]) + len(content["parameters"]["rejected_neurons"])
    for name in ("neuron_to_trunc_data", "head_attributions", "classify_prompts"):
        if name in content:
            return sum(len(rows) for rows in content[name].values())
    if "nh_to_pos_neg_prompts" in content:
        return sum(
            len(some) for kinds in content["nh_to_pos_neg_prompts"].values() for some in kinds
        )
    return len(content)


def test_the_rows_of_every_file_are_used_or_left_out_with_a_reason(folder, record):
    paths = [p for step in STEPS.values() for p in (folder / step).glob("*.json*")]
    assert {f"{p.parent.name}/{p.name}" for p in paths} == set(record.files.file)
    for path in paths:
        name = f"{path.parent.name}/{path.name}"
        of_file = record.files[record.files.file == name].iloc[0]
        left = record.left_out[record.left_out.file == name]
        assert of_file.rows == rows_in(path), name
        assert of_file.used + left.rows.sum() == of_file.rows, name
    assert record.left_out.reason.str.len().gt(10).all()
    assert not record.left_out.duplicated(["table", "file", "reason"]).any()


def test_what_is_used_stands_in_the_tables(folder, record):
    used = record.files.set_index("file").used
    step = used.groupby(used.index.str[0]).sum()
    assert step["1"] == len(record.neurons)
    assert step["3"] == len(record.spans)
    assert step["4"] == len(record.suffixes) + len(record.shown)
    by_file = record.verdicts[record.verdicts.reply_file != ""].groupby("reply_file")
    for name in by_file.groups:
        own = lines_of(folder / name)
        asked = {line[0]["messages"][0]["content"] for line in own}
        assert used[name] == len(asked)  # a request that is repeated keeps its last reply
    evaluations = record.verdicts.groupby("file").size()
    assert evaluations.to_dict() == used[evaluations.index].to_dict()
    replied = record.explanations.drop_duplicates("prompt_text").explanation.notna().sum()
    assert (
        used[[name for name in used.index if "_prompts_results" in name and name[0] == "5"]].sum()
        == replied
    )


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
    assert own.document.tolist() == [cut["dataset_index"] for cut in flat]
    assert own.activation.tolist() == [cut["trunc_act"] for cut in flat]
    assert own.stop.tolist() == [cut["token_pos"] + 1 for cut in flat]
    chosen = json_of(next(folder.glob("1_*/*.json")))
    kept = record.neurons[~record.neurons.rejected]
    assert kept.congruence.tolist() == [one["congruence"] for one in chosen["neurons"].values()]
    assert record.parameters == chosen["parameters"]
    assert record.missing == ()


def test_what_was_shown_agrees_with_the_active_heads(record):
    heads = record.heads[record.heads.split == "train"]
    active = set(zip(heads.neuron, heads["prompt"], heads["head"], strict=True))
    assert record.shown.prompt.notna().all()
    found = [
        key in active
        for key in zip(record.shown.neuron, record.shown.prompt, record.shown["head"], strict=True)
    ]
    assert found == record.shown.active.tolist()


def test_questions_that_are_asked_twice_are_left_out_once(record):
    repeated = record.left_out[record.left_out.reason.str.endswith("has the same question")]
    assert len(repeated) == 1
    assert not record.verdicts.duplicated(["neuron", "head", "prompt"]).any()


# --- what a text's span is


def test_a_span_is_known_where_no_text_fell_together(tmp_path):
    plain, twice = planted_neurons(neurons=2, texts=6)
    again = twice.train[0]._replace(document=99)
    folder = write_record(tmp_path, [plain, twice._replace(train=(again, *twice.train))])
    path = next(folder.glob("3_*/*small.json"))
    content = json_of(path)
    cut = {"og_act": 1, "trunc_act": 1, "dataset_index": 98, "start_pos": 0, "token_pos": 100}
    content["neuron_to_trunc_data"][plain.key].insert(1, cut)  # a token too long to be kept
    path.write_text(json.dumps(content), "utf-8")
    found = read_published(folder).suffixes
    train = found[found.split == "train"].set_index("neuron")
    assert train.document["L9.N5"].tolist() == [0, 1, 2, 3, 4, 5]  # the long span is passed over
    assert train.activation["L9.N5"].tolist() == [text.activation for text in plain.train]
    assert train.document["L10.N6"].isna().all()
    assert train.activation["L10.N6"].isna().all()
    assert len(read_published(folder).spans) == 6 + 1 + 7 + 12


# --- several models, several runs


def test_models_in_one_folder_and_in_folders_of_their_own_are_chosen_by_name(tmp_path):
    flat, apart = tmp_path / "flat", tmp_path / "apart"
    late, middle = (
        planted_neurons(layer=10, n_heads=20),
        planted_neurons(seed=1, layer=4, n_heads=20),
    )
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
    other = found.left_out[found.left_out.table == "neurons"]
    assert other.rows.tolist() == [7]
    assert other.reason.str.startswith("other neurons than those of 4_head_attributions/").all()
    small = read_published(apart, "gpt2-small")
    pd.testing.assert_frame_equal(small.verdicts, read_published(flat, "org/gpt2-small").verdicts)
    with pytest.raises(PublishedError, match="gpt2-large, gpt2-large_mid, gpt2-small: name one"):
        read_published(flat)
    with pytest.raises(
        PublishedError, match=r"holds the records of gpt2-large, .*name one of them"
    ):
        read_published(apart)
    with pytest.raises(PublishedError, match="no file about 'gpt2-xl', only about gpt2-large"):
        read_published(flat, "gpt2-xl")


def test_of_several_runs_of_a_step_the_one_that_was_evaluated_is_read(tmp_path):
    first, later = planted_neurons(), planted_neurons(texts=9)
    folder = write_record(tmp_path, first, day=12)
    again = write_record(tmp_path / "again", later, day=13)
    for path in again.glob("4_*/*_test.json"):
        path.rename(folder / "4_head_attributions" / path.name)
    found = read_published(folder)
    assert (
        found.texts("test").tolist()
        == read_published(write_record(tmp_path / "x", first)).texts("test").tolist()
    )
    left = found.left_out[found.left_out.reason.str.startswith("another run of the step")]
    assert left.rows.tolist() == [54]


def test_another_models_questions_under_this_ones_name_are_left_out(tmp_path, written):
    """As in one released file of GPT-2 medium, which asks about GPT-2 small."""
    folder = write_record(tmp_path, planted_neurons())
    path = next(folder.glob("6_*/*_20.json"))
    content = json_of(path)
    asked = content["classify_prompts"]["(9, 5, 24)"]
    content["classify_prompts"] = {"(11, 3000, 24)": asked, "(9, 5, 24)": asked}
    path.write_text(json.dumps(content), "utf-8")
    found = read_published(folder)
    left = found.left_out[found.left_out.file.str.endswith("_20.json")]
    assert "its neuron is not among the chosen ones" in set(left.reason)
    assert not found.verdicts.neuron.str.contains("N3000").any()


def test_questions_without_a_reply_and_replies_without_a_verdict_are_unread(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), reply=lambda text, active, luck: "Perhaps")
    path = next(folder.glob("6_*/*_10_results.jsonl"))
    own = lines_of(path)
    own[0][1] = ["the server did not answer"]  # what the authors' script keeps of a failure
    path.write_text("".join(json.dumps(line) + "\n" for line in own[:100]), "utf-8")
    found = read_published(folder).verdicts
    assert found.verdict.isna().all()
    assert (found.reply_file == "").sum() == 80
    assert all(one is None for one in found.verdict)


def test_of_two_replies_to_one_request_the_later_counts(tmp_path):
    folder = write_record(tmp_path, planted_neurons())
    path = next(folder.glob("6_*/*_test_prompts_results.jsonl"))
    request, response = lines_of(path)[0]
    said = response["choices"][0]["message"]["content"]
    other = "No" if said == "Yes" else "Yes"
    response["choices"][0]["message"]["content"] = other
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps([request, response]) + "\n")
    before = read_published(write_record(tmp_path / "x", planted_neurons())).verdicts.verdict
    found = read_published(folder)
    assert (found.verdicts.verdict != before).sum() == 1
    assert found.left_out.reason.tolist().count("replied to again: the last counts") == 1


def test_a_record_with_neurons_alone_says_what_is_missing(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), model="gpt2-xl")
    for step in (
        "3_trimmed_texts",
        "4_head_attributions",
        "5_head_explanations",
        "6_explanation_eval",
    ):
        for path in (folder / step).glob("*"):
            path.unlink()
    found = read_published(folder)
    assert found.missing == ("spans", "suffixes", "heads", "shown", "explanations", "verdicts")
    assert len(found.neurons) == 7


def test_a_number_of_heads_that_is_not_known_must_be_given(tmp_path):
    folder = write_record(tmp_path, planted_neurons(n_heads=8), model="tiny")
    with pytest.raises(
        PublishedError, match="heads a layer of 'tiny' has is not known: give n_heads"
    ):
        read_published(folder)
    assert read_published(folder, n_heads=8).heads["head"].str.match(r"L\d+\.H[0-7]$").all()
    with pytest.raises(PublishedError, match=r"is no head at or below layer 9 .* 2 heads a layer"):
        read_published(folder, n_heads=2)


# --- broken files


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    folder = write_record(tmp_path, planted_neurons())
    (folder / "6_explanation_eval" / "2023-10-12_06-52-17_gpt2-small.pkl").write_bytes(b"\x80")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    left = read_published(folder).left_out
    assert left[left.file.str.endswith(".pkl")].reason.tolist() == [
        "neither JSON nor JSON lines: never opened"
    ]


def broken(tmp_path: Path, pattern: str, change) -> Path:
    folder = write_record(tmp_path, planted_neurons())
    path = sorted(folder.glob(pattern))[0]
    change(path)
    return folder


def halve(path: Path) -> None:
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")


@pytest.mark.parametrize("step", STEPS.values())
def test_a_file_that_was_cut_off_is_named(tmp_path, step):
    folder = broken(tmp_path, f"{step}/*.json", halve)
    with pytest.raises(
        PublishedError, match=rf"{step}/2023-.*\.json is cut off or not JSON .* fetch"
    ):
        read_published(folder)


def test_a_line_that_was_cut_off_is_named(tmp_path):
    folder = broken(tmp_path, "6_*/*_results.jsonl", halve)
    with pytest.raises(PublishedError, match=r"_results\.jsonl, line \d+ is cut off or not JSON"):
        read_published(folder)


def edited(*keys: str | int, value: Any):
    """Replace one entry of a JSON file; keys that are numbers count the entries of an object."""

    def change(path: Path) -> None:
        content = inner = json_of(path)
        for key in keys[:-1]:
            inner = (
                list(inner.values())[key]
                if isinstance(key, int) and isinstance(inner, dict)
                else inner[key]
            )
        if value is None:
            del inner[keys[-1]]
        else:
            inner[keys[-1]] = value
        path.write_text(json.dumps(content), "utf-8")

    return change


def answered(path: Path, response: Any) -> None:
    own = lines_of(path)
    own[0][1] = response
    path.write_text("".join(json.dumps(line) + "\n" for line in own), "utf-8")


NEURONS, CUTS, ACTIVE = "neurons", "neuron_to_trunc_data", "head_attributions"
KINDS, QUESTIONS = "nh_to_pos_neg_prompts", "classify_prompts"
SPANS, HEADS, SHOWN = "3_*/*small.json", "4_*/*small.json", "4_*/*prompts.json"
ASKED = "6_*/*_20.json"


@pytest.mark.parametrize(
    ("pattern", "change", "words"),
    [
        ("1_*/*", lambda path: path.write_text(""), r"1_next.*\.json is empty: fetch"),
        ("1_*/*", lambda path: path.write_bytes(b"{\xff"), r"is not text from byte 1 on: fetch"),
        ("1_*/*", lambda path: path.write_text("[1]"), r"holds a list, no object"),
        ("1_*/*", edited(NEURONS, value=None), r"1_next.*\.json has no 'neurons'"),
        ("1_*/*", edited(NEURONS, 0, "token", value=7), r"\(9, 5\): 'token' is 7, not .* str"),
        ("1_*/*", edited(NEURONS, 0, "congruence", value="x"), r"'x', not of type int or float"),
        ("1_*/*", edited(NEURONS, "9, 5", value={}), r"'9, 5' is no key of 2 numbers"),
        (SPANS, edited(CUTS, 0, 0, "start_pos", value=None), r"\(9, 5\) has no 'start_pos'"),
        (SPANS, edited(CUTS, 0, 0, "start_pos", value=1.5), r"'start_pos' is 1.5, not of type int"),
        (SPANS, edited(CUTS, 0, 0, "og_act", value=True), r"'og_act' is True, not of type int or"),
        (HEADS, edited(ACTIVE, 0, "a text", value=3), r"'a text' is 3, not of type list"),
        (HEADS, edited(ACTIVE, 0, "a text", value=[500]), r"500 is no head .* layer 9 .* with 12"),
        (HEADS, edited(ACTIVE, 0, "a text", value=["x"]), r"'x' is no head at or below"),
        (
            HEADS,
            edited(ACTIVE, "(3, 3)", value={}),
            r"has all neurons that 4_head.*small\.json has",
        ),
        (SHOWN, edited(KINDS, "(9, 5)", value=[[], []]), r"'\(9, 5\)' is no key of 3"),
        (SHOWN, edited(KINDS, "(9, 5, 1)", value=[[]]), r"\(9, 5, 1\) has no 1"),
        ("5_*/*dict.json", edited("(9, 5, 24)", value=[1]), r"24\)' is \[1\], not of type str"),
        (ASKED, edited("prior_filename", value="gone"), r"from gone\.json, .* not in 4_head"),
        (ASKED, edited(QUESTIONS, "(9, 5, 24)", "q", value=1), r"'q' is 1, not of type str"),
        ("6_*/*results.jsonl", lambda path: path.write_text("[{}]"), r"line 1 has no 'messages'"),
        ("6_*/*results.jsonl", lambda path: path.write_text("3\n"), r"line 1 has no 0"),
        ("5_*/*results.jsonl", lambda path: answered(path, {}), r"line 1 has no 'choices'"),
        ("4_*/*_test.json", Path.unlink, r"_test\.json, which is not in 4_head_attributions"),
        ("1_*/*", Path.unlink, r"1_next_token_neurons has no file about 'gpt2-small'"),
    ],
)
def test_what_is_wrong_and_where_is_said(tmp_path, pattern, change, words):
    with pytest.raises(PublishedError, match=words):
        read_published(broken(tmp_path, pattern, change))


def test_a_folder_that_is_no_record_says_what_to_give(tmp_path):
    with pytest.raises(
        PublishedError, match=r"holds no 1_next_token_neurons.*download --published"
    ):
        read_published(tmp_path / "none")
    with pytest.raises(PublishedError, match="not the authors' record"):
        read_published(tmp_path, "gpt2-small")


# --- what reported figures tell


def test_the_number_of_scores_is_found_from_their_skew_and_its_p():
    random = np.random.default_rng(0)
    for size in (60, 247, 1500):
        for sign in (1, -1):
            values = sign * random.gamma(20, size=size)
            test = skewtest(values, alternative="greater")
            assert skew_statistic(float(skew(values)), np.array([size]))[0] == pytest.approx(
                test.statistic
            )
            found = pairs_behind(
                float(skew(values)), float(test.pvalue), skew_digit=0.0, p_digit=0.0
            )
            assert found == (size, size, size)


def test_the_record_has_as_many_pairs_as_its_printed_figures_say():
    # 194 pairs: skew .209, p .111, as chapter 13 prints them
    found = pairs_behind(0.209, 0.111, skew_digit=1e-3, p_digit=1e-3)
    assert found.fewest <= 194 <= found.most
    assert found.most - found.fewest < 10


def test_figures_that_cannot_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"cannot have a one-sided p of 0.9"):
        pairs_behind(0.2, 0.9, skew_digit=1e-3, p_digit=1e-3)
    for one in REPORTED:
        found = pairs_behind(one.skew, one.p_skew, skew_digit=1e-3, p_digit=one.p_digit)
        assert found.fewest <= found.likely <= found.most


# --- the chapter


def execute(folder: Path, published: Path | None = None) -> tuple[dict[str, Any], str]:
    """Run the chapter's code cells in one namespace; return it, and the Markdown they show.

    The run is `planted`, with the record that is given.
    """
    given = {"run": str(folder / "held.yml")}
    named = {} if published is None else {"published": str(published)}
    Path(given["run"]).write_text(yaml.safe_dump({"extends": "planted"} | named), "utf-8")
    names: dict[str, Any] = {"__name__": "chapter", "display": print}
    shown = []
    for cell in jupytext.read(CHAPTER).cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, CHAPTER.name, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= given
        last = f"\n{cell.source}".rsplit("\nMarkdown(", 1)
        if len(last) == 2:
            said = eval(compile("Markdown(" + last[1], CHAPTER.name, "eval"), names)
            shown.append("" if said is None else said.data)
        plt.close("all")
    return names, "\n".join(shown)


def test_the_chapter_without_a_folder_shows_what_the_paper_reports(tmp_path):
    names, shown = execute(tmp_path)
    assert names["record"] is None
    assert "names no folder of the record" in shown
    assert "0.017" in shown
    assert "GPT-4's explanations" not in shown


def test_the_chapter_reads_a_record(written, tmp_path):
    names, shown = execute(tmp_path, written)
    assert "executed with the record of `gpt2-small`" in shown
    expected = scores_from_files(written)
    found = names["scores"].set_index(names["scores"].neuron + " " + names["scores"]["head"]).score
    assert found.to_dict() == pytest.approx(expected, nan_ok=True)
    assert "18 pairs are compared" in shown
    # heads that follow words are told by words; verdicts that are mostly right beat another head's
    assert names["results"].contrast.mean() > 0.6
    assert names["gains"]["other head"][1].low > 0
    assert "do better than explanations of another head" in shown


def test_the_chapter_says_when_a_record_has_no_answers(tmp_path):
    folder = write_record(tmp_path, planted_neurons(), reply=lambda *_: "")
    _, shown = execute(tmp_path, folder)
    assert "no score can be computed" in shown


@needs_record
@pytest.mark.slow
def test_the_chapter_reads_the_record_of_the_authors(tmp_path):
    names, shown = execute(tmp_path, REAL)
    summaries = names["summaries"]
    assert summaries["left out"]["pairs"] == 194
    assert round(summaries["their one rate counts"]["mean"], 3) == 0.639
    assert "That is what comes out where pairs of one kind get their one rate as a score" in shown
    assert len(names["tested"]) == 194
    assert "19 of 194 hold after correction, 5 under any dependence" in shown
    assert abs(names["results"]["GPT-4"].mean() - names["results"]["contrast"].mean()) < 0.05
