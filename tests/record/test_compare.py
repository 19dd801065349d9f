"""Our run against a record: total agreement with itself, and every planted disagreement found.

The record is written from the stages of a tiny GPT-2 with the layers and heads of GPT-2 small, in
the authors' format, so whatever the chapter says of it is known beforehand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import yaml
from inline import execute
from lookups.errors import RunError
from lookups.measure.attribution import attribute
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.record import compare
from lookups.record.compare import (
    NOTHING,
    compare_lists,
    compare_prompts,
    compared,
    jaccard,
    match_texts,
)
from lookups.record.paper import MODELS, recorded_as
from lookups.run.store import load, parameters
from lookups.settings import RUNS, read_run
from record import RecordNeuron, Text, planted_neurons, write_record
from transformers import GPT2Config, GPT2LMHeadModel

LAYERS, HEADS = 12, 12


def small_gpt2(folder: Path) -> Path:
    """Save a random GPT-2 with the layers and heads of GPT-2 small, and a small width."""
    torch.manual_seed(7)
    config = GPT2Config(n_embd=48, n_layer=LAYERS, n_head=HEADS, n_positions=64, n_inner=32,
                        vocab_size=tiny.VOCAB, bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval().save_pretrained(folder)
    special = {"bos_token": "<|bos|>", "eos_token": "<|bos|>"}
    tiny.random_tokenizer(**special).save_pretrained(folder)
    return folder


RUN = """\
title: A tiny GPT-2 small
model: {name: ./model, device: cpu}
corpus: {name: ./words.txt, documents: 40, length: 20}
layers: [9, 10, 11]
minimum_in_texts: 1
neurons_per_layer: 4
random_per_layer: 1
prompts_per_neuron: 12
longest: 20
active_rule: top3
protocol: paper
"""


def write_run(folder: Path) -> Path:
    small_gpt2(folder / "model")
    lines = [
        " ".join(f"w{word} w{(word * 7) % 100 + 1}" for word in words)
        for words in np.random.default_rng(0).integers(1, tiny.VOCAB, (120, 10)).tolist()
    ]
    (folder / "words.txt").write_text("\n\n".join(lines), "utf-8")
    (folder / "tiny.yml").write_text(RUN, "utf-8")
    return folder / "tiny.yml"


def held_against(run: Path, record: Path) -> Path:
    """Write a run's file that extends another's and names a record, and return it."""
    path = record.parent / "held" / run.name
    path.parent.mkdir(exist_ok=True)
    named = {"published": str(record), "published_model": "gpt2-small"}
    path.write_text(yaml.safe_dump({"extends": str(run)} | named), "utf-8")
    return path


@pytest.fixture(scope="module")
def analysed(tmp_path_factory) -> Path:
    """Chapters 2 to 5 of the tiny run: the folder with its file and its artifacts."""
    root = tmp_path_factory.mktemp("analysed")
    run = write_run(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKUPS_ARTIFACTS", str(root / "artifacts"))
        for chapter in ("02_next_token_neurons", "03_prompts", "04_suffixes", "05_heads"):
            execute(chapter, run)
    return root


@pytest.fixture
def run(analysed, monkeypatch) -> Path:
    """The run's file, its stages at hand; no test writes there."""
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(analysed / "artifacts"))
    return analysed / "tiny.yml"


def active_everywhere(run: Path, rule: str) -> dict[tuple, frozenset[str]]:
    """The active heads of every prompt; those of held-out prompts are measured here, one by one."""
    settings = read_run(run)
    heads, suffixes = load(settings, "heads"), load(settings, "suffixes")
    found = compare.active_sets(heads[heads.split == "train"], f"active_{rule}")
    model = load_model(settings.model)
    for row in suffixes[suffixes.split == "test"].itertuples():
        neuron = Neuron.parse(row.neuron)
        one = attribute(model, [neuron], [row.token_ids])["in"]
        every = zip(one.heads, one.by_head[0].tolist(), strict=True)
        before = {str(head): value for head, value in every if head.layer < neuron.layer}
        values = np.array(list(before.values()))
        edge = np.sort(values)[-3] if rule == "top3" else values.mean() + 2 * values.std(ddof=1)
        chosen = {h for h, v in before.items() if v > edge or (rule == "top3" and v == edge)}
        found[row.neuron, "test", row.prompt] = frozenset(chosen)
    return found


def as_record(run: Path, rule: str = "top3") -> list[RecordNeuron]:
    """What a run found, as the authors would have written it under that rule."""
    settings = read_run(run)
    neurons, suffixes = load(settings, "neurons"), load(settings, "suffixes")
    model, sets = load_model(settings.model), active_everywhere(run, rule)
    listed = neurons[neurons.group == "top"]
    listed = listed.sort_values(["layer", "paper_congruence"], ascending=[True, False])

    def text(row: Any) -> Text:
        heads = [Head.parse(name) for name in sorted(sets[row.neuron, row.split, row.prompt])]
        flat, whole = tuple(h.layer * HEADS + h.index for h in heads), float(row.whole_activation)
        return Text(model.decode(row.token_ids), flat, activation=whole, whole=whole)

    def texts(neuron: str, split: str) -> tuple[Text, ...]:
        rows = suffixes[(suffixes.neuron == neuron) & (suffixes.split == split)]
        return tuple(map(text, rows.itertuples()))

    return [
        RecordNeuron(row.layer, Neuron.parse(row.neuron).index, row.paper_token,
                     row.paper_congruence, texts(row.neuron, "train"), texts(row.neuron, "test"))
        for row in listed.itertuples()
    ]  # fmt: skip


# The chapter, held against a record that is known.


def test_a_run_agrees_with_its_own_record_in_everything(run, tmp_path):
    folder = write_record(tmp_path / "gpt2-small", as_record(run), rejected=())
    names = execute("14_agreement", held_against(run, folder))
    table = names["agreement"]
    assert set(table.index) == {
        "neuron on the list", "order in its layer", "token", "congruence", "prompt", "text kept",
        "active heads, top3", "active heads, their texts", "pair kept, top3",
    }  # fmt: skip
    assert (table["share"] == 1).all(), names["why"]
    assert (table.compared > 0).all()
    assert table.compared["neuron on the list"] == 12
    assert names["agreed_digits"].neurons[7] == 12
    assert (names["apart"] == 1).all()
    assert names["whole"].reason.isna().all()


def planted(neurons: list[RecordNeuron]) -> tuple[list[RecordNeuron], dict[str, str]]:
    """One disagreement of each kind, each with another neuron; returns the neurons' names, too."""
    of, where = list(neurons), {}

    def change(place: int, kind: str, **fields: Any) -> None:
        where[kind] = f"L{of[place].layer}.N{of[place].index}"
        of[place] = of[place]._replace(**fields)

    taken = {one.index for one in of if one.layer == 9}
    change(1, "swapped", index=next(n for n in range(32) if n not in taken))
    where["swapped in"] = f"L9.N{of[1].index}"
    change(2, "token", token=" w1" if of[2].token != " w1" else " w2")
    change(4, "digit", congruence=of[4].congruence * 1.02)
    change(5, "rounding", congruence=of[5].congruence * 1.0005)
    text = of[6].test[0]
    worst = next(head for head in range(LAYERS * HEADS) if head not in text.heads)
    flipped = text._replace(heads=(worst, *text.heads[1:]))
    change(6, "flipped", test=(flipped, *of[6].test[1:]))
    texts = list(of[8].test)
    cuts = [text.text.split(" ", 1)[-1] for text in texts]
    alone = (sum(text.text.endswith(cut) for text in texts) == 1 for cut in cuts)
    place = next(at for at, one in enumerate(alone) if one and " " in cuts[at])
    texts[place] = texts[place]._replace(text=cuts[place])
    change(8, "shortened", test=tuple(texts))
    return of, where


def test_planted_disagreements_are_found_and_no_others(run, tmp_path):
    neurons, where = planted(as_record(run))
    folder = write_record(tmp_path / "gpt2-small", neurons, rejected=())
    names = execute("14_agreement", held_against(run, folder))
    whole = names["whole"]
    found = whole[~whole.agrees][["what", "neuron", "reason"]]
    found = set(found.itertuples(index=False, name=None))
    expected = {
        ("neuron on the list", where["swapped"], "not explained"),
        ("neuron on the list", where["swapped in"], "not explained"),
        ("token", where["token"], "not explained"),
        ("congruence", where["digit"], "not explained"),
        ("congruence", where["rounding"], "tie or rounding"),
        ("active heads, top3", where["flipped"], "not explained"),
        ("active heads, their texts", where["flipped"], "not explained"),
        ("text kept", where["shortened"], "not explained"),
    }
    # these heads are recorded under other texts than they were active on, so they may differ there
    allowed = {("active heads, their texts", where[kind], "not explained")
               for kind in ("swapped in", "shortened")}  # fmt: skip
    assert found >= expected
    assert found - expected <= allowed
    for what in ("token", "text kept", "active heads, top3"):
        assert (~whole[whole.what == what].agrees).sum() == 1
    assert sum("without a reason" in line for line in names["lines"]) == 6


def test_a_run_that_goes_by_another_rule_is_told_apart_from_one_that_disagrees(run, tmp_path):
    """The record under mean + 2 sd: compared under both rules, and explained by the rule."""
    folder = write_record(tmp_path / "gpt2-small", as_record(run, "2sd"), rejected=())
    names = execute("14_agreement", held_against(run, folder))
    assert names["record_rule"] == "2sd"
    assert names["agreement"]["share"]["active heads, 2sd"] == 1
    assert names["agreement"]["share"]["active heads, their texts"] == 1
    top3 = names["whole"][names["whole"].what == "active heads, top3"]
    assert set(top3.reason.dropna()) == {"other rule of the run"}
    other_pairs = names["whole"][names["whole"].what == "pair kept, top3"]
    assert set(other_pairs.reason.dropna()) <= {"other rule of the run"}


def test_a_record_of_neurons_alone_is_compared_as_far_as_it_goes(run, tmp_path):
    folder = write_record(tmp_path / "gpt2-small", as_record(run), rejected=())
    for path in folder.glob("[3-7]_*/*"):
        path.unlink()
    names = execute("14_agreement", held_against(run, folder))
    assert "only neurons and tokens are compared" in names["found"]
    share = names["agreement"]["share"].to_dict()
    assert share == dict.fromkeys(
        ["neuron on the list", "order in its layer", "token", "congruence"], 1)  # fmt: skip


@pytest.mark.parametrize("name", ["", "gpt2-small"])
def test_without_a_folder_the_chapter_says_what_it_would_compare(name, tmp_path):
    path = tmp_path / "tiny.yml"
    content = yaml.safe_load((RUNS / "planted.yml").read_text("utf-8"))
    path.write_text(yaml.safe_dump(content | {"published_model": name}), "utf-8")
    names = execute("14_agreement", path)
    said = "The record of gpt2-small was not given" if name else "is none of the paper's"
    assert said in names["found"]
    assert names["lines"] == ["Nothing was compared."]
    assert "model" not in names  # no weights are read


def test_what_lies_in_the_record_counts_and_a_missing_folder_is_told(tmp_path):
    folder = write_record(tmp_path / "gpt2-small", planted_neurons(neurons=1, texts=4))
    path = tmp_path / "held.yml"
    path.write_text(yaml.safe_dump({"extends": "planted", "published": str(folder)}), "utf-8")
    before = parameters(read_run(path), ["published"])
    file = next((folder / "3_trimmed_texts").glob("*_test.json"))
    file.write_text(file.read_text() + " ")
    assert parameters(read_run(path), ["published"]) != before
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(RunError, match=r"nothing at .*gpt2-small; fetch the record with: lookups"):
        read_run(path)


def test_models_are_known_by_id_by_short_id_and_by_what_is_asked():
    for name, (model, _) in MODELS.items():
        assert recorded_as(model) == recorded_as(model.split("/")[1]) == name
    assert recorded_as("anything", "gpt2-large_mid") == "gpt2-large_mid"
    assert recorded_as("planted-0") is None
    with pytest.raises(RunError, match="no model 'gpt3'; it may have gpt2-small"):
        recorded_as("anything", "gpt3")


# The comparisons themselves, on tables made for them.


def table(columns: str, *rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


def why(found: pd.DataFrame) -> dict:
    rows = found[~found.agrees]
    return {(r.what, r.neuron): r.reason for r in rows.itertuples()}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(1.0, 1.0, 7), (17.8563, 17.8564, 5), (1.0, 1.1, 1), (1.0, -1.0, 0), (0.0, 0.0, 7)],
)
def test_digits_count_what_agrees(one, other, expected):
    assert compare.digits(one, other) == compare.digits(other, one) == expected


def test_lists_differ_for_reasons_that_the_tables_hold():
    ours = table(
        "neuron layer congruence listed rejected",
        ("L1.N0", 1, 9.0, True, False), ("L1.N1", 1, 8.0, False, True),
        ("L1.N2", 1, 7.0, True, False), ("L1.N3", 1, 6.99999, False, False),
        ("L1.N4", 1, 5.0, False, False), ("L2.N0", 2, 5.0, True, False),
        ("L3.N0", 3, 9.0, True, False), ("L3.N1", 3, 8.0, True, False),
        ("L3.N2", 3, 7.0, True, False), ("L3.N3", 3, 6.0, False, False),
    )  # fmt: skip
    theirs = table(
        "neuron layer congruence rejected",
        ("L1.N1", 1, 8.0, False), ("L1.N3", 1, 6.99999, False), ("L1.N4", 1, 9.5, False),
        ("L3.N1", 3, 8.0, False), ("L3.N3", 3, 6.0, False), ("L1.N0", 1, np.nan, True),
    )  # fmt: skip
    assert why(compare_lists(ours, theirs, tolerance=1e-4)) == {
        ("neuron on the list", "L1.N0"): "rejected by hand on one side",
        ("neuron on the list", "L1.N1"): "rejected by hand on one side",
        ("neuron on the list", "L1.N2"): "tie or rounding",
        ("neuron on the list", "L1.N3"): "tie or rounding",
        ("neuron on the list", "L1.N4"): "beyond the other's number",
        ("neuron on the list", "L2.N0"): "beyond the other's number",
        ("neuron on the list", "L3.N0"): "not explained",
        ("neuron on the list", "L3.N2"): "not explained",
        ("neuron on the list", "L3.N3"): "beyond the other's number",
    }


def test_a_place_changed_by_rounding_is_told_from_another_order():
    ours = table("neuron layer congruence listed rejected", ("L1.N0", 1, 9.0, True, False),
                 ("L1.N1", 1, 8.99999, True, False), ("L1.N2", 1, 8.0, True, False),
                 ("L2.N0", 2, 9.0, True, False), ("L2.N1", 2, 8.0, True, False))  # fmt: skip
    theirs = ours.iloc[[1, 0, 2, 4, 3]].drop(columns=["listed"]).reset_index(drop=True)
    assert why(compare_lists(ours, theirs, tolerance=1e-4)) == {
        ("order in its layer", "L1.N0"): "tie or rounding",
        ("order in its layer", "L1.N1"): "tie or rounding",
        ("order in its layer", "L2.N0"): "not explained",
        ("order in its layer", "L2.N1"): "not explained",
    }


def test_a_row_that_differs_gets_the_first_reason_that_holds():
    at = table("neuron", ("L1.N0",), ("L1.N1",), ("L1.N2",), ("L1.N3",))
    why = {"other corpus": [True, False, True, False]}
    why["tie or rounding"] = [True, False, False, True]
    found = compared("token", at, [1, 2, 3, 4], [1, 0, 0, 0], why)
    assert found.agrees.tolist() == [True, False, False, False]
    assert found.reason.tolist() == [None, "not explained", "other corpus", "tie or rounding"]
    told = compared("token", at, 1.0, 1.1, why, agrees=[False, True, True, True])
    assert told.reason.tolist() == ["other corpus", None, None, None]


def prompts(*texts: str, neuron: str = "L1.N0", split: str = "train", side: str = "a"):
    rows = [(neuron, split, f"{side}/{at}", text) for at, text in enumerate(texts)]
    return table("neuron split prompt text", *rows)


def test_texts_are_matched_equal_first_then_by_their_ends_each_once():
    ours = prompts("not only this but", "this but", "a far cry", "far from it", "far from it")
    theirs = prompts("this but", "only this but", "quite a far cry", "it", side="record")
    found = match_texts(ours, theirs)
    pairs = {(r.our_text, r.text) for r in found.dropna().itertuples()}
    assert pairs == {
        ("this but", "this but"),
        ("not only this but", "only this but"),
        ("a far cry", "quite a far cry"),
    }
    assert found.text.dropna().tolist().count("it") == 1  # one word is no match
    assert sorted(found.our_text.dropna()) == sorted(ours.text.unique())
    assert sorted(found.text.dropna()) == sorted(theirs.text)


def test_prompts_differ_for_reasons_that_the_tables_hold():
    def reasons_of(ours: pd.DataFrame, theirs: pd.DataFrame, corpus: str, **options: Any) -> list:
        known = {"in_our_corpus": lambda _, text: text in corpus, "below_share": lambda key: False}
        options = known | {"same_protocol": True} | options
        return sorted(compare_prompts(match_texts(ours, theirs), **options).reason.dropna())

    ours, theirs = prompts("one two", "three four"), prompts("one two", "five six", side="record")
    assert reasons_of(ours, theirs, "one two, three four") == ["other corpus"] * 2
    assert reasons_of(ours, theirs, "five six") == ["not explained"] * 2
    other_rule = ["other rule of the run"]
    assert reasons_of(ours, theirs, "five six", same_protocol=False) == other_rule * 2
    assert reasons_of(ours[:1], theirs, "five six") == ["beyond the other's number"]
    assert reasons_of(ours, theirs[:1], "") == ["beyond the other's number"]
    longer = prompts("and one two", "three four")
    assert reasons_of(longer, theirs[:1], "", same_protocol=False) == [
        "beyond the other's number", *other_rule]  # fmt: skip
    weak = {("L1.N0", "train", "record/0")}
    assert reasons_of(longer[:1], theirs[:1], "", below_share=weak.__contains__) == [
        "the record keeps less than its share"]  # fmt: skip


def judged(
    *, theirs: Sequence[str], ours: Sequence[str], run_rule: Sequence[str] = (), text="as it is"
) -> str:
    """The reason why one prompt's active heads differ; attributions fall from L0.H0 to L1.H1."""
    scores = {"L0.H0": 4.0, "L0.H1": 3.0, "L0.H2": 2.0, "L0.H3": 1.9999, "L1.H0": 1.0, "L1.H1": 0.0}
    rows = [
        ("L1.N0", "train", "a/0", head, value, True, head in (run_rule or ours), head in ours)
        for head, value in scores.items()
    ]
    heads = table("neuron split prompt head attribution candidate mine theirs", *rows)
    recorded = table("neuron split prompt head active",
                     *[("L1.N0", "train", "record/0", head, True) for head in theirs])  # fmt: skip
    matches = match_texts(prompts("as it is"), prompts(text, side="record"))
    found = compare.compare_active(
        matches, heads, recorded, what="active", column="mine", record_column="theirs",
        edge=lambda s: float(np.sort(s)[::-1][2:4].mean()), tolerance=1e-3,
    )  # fmt: skip
    assert found.jaccard.iloc[0] == jaccard(frozenset(run_rule or ours), frozenset(theirs))
    return found.reason.iloc[0]


def test_active_heads_differ_for_reasons_that_the_tables_hold():
    top = ("L0.H0", "L0.H1", "L0.H2")
    assert judged(ours=top, theirs=top) is None
    assert judged(ours=top, theirs=("L0.H0", "L0.H1", "L0.H3")) == "tie or rounding"
    assert judged(ours=top, theirs=("L0.H0", "L0.H1", "L1.H0")) == "not explained"
    assert judged(ours=(*top[:2], "L1.H0"), theirs=top) == "other rule of the run"
    assert judged(ours=top, theirs=top, run_rule=top[:1]) == "other rule of the run"
    assert judged(ours=top, theirs=top[:2], text="so as it is").startswith("follows from")
    assert jaccard(frozenset(), frozenset()) == 1.0


def test_separation_is_the_share_of_twos_in_order():
    random = np.random.default_rng(1)
    rows = [("L1.N0", "train", f"a/{p}", f"L0.H{h}") for p in range(5) for h in range(8)]
    heads = table("neuron split prompt head", *rows)
    heads = heads.assign(attribution=random.integers(0, 6, 40), candidate=random.random(40) < 0.9)
    theirs = heads[random.random(40) < 0.4].assign(active=True)
    found = compare.separation(heads, theirs)
    recorded = set(zip(theirs.prompt, theirs["head"], strict=True))
    for (_, _, prompt), value in found.items():
        some = heads[(heads.prompt == prompt) & heads.candidate]
        of = {True: [], False: []}
        for row in some.itertuples():
            of[(prompt, row.head) in recorded].append(row.attribution)
        wins = [(a > b) + 0.5 * (a == b) for a in of[True] for b in of[False]]
        assert value == pytest.approx(np.mean(wins))


def test_shares_count_equal_texts_once():
    texts = prompts("a b", "c d", "a b")
    heads = table("neuron split prompt head active", ("L1.N0", "train", "a/0", "L0.H0", True),
                  ("L1.N0", "train", "a/1", "L0.H0", False),
                  ("L1.N0", "train", "a/2", "L0.H0", True))  # fmt: skip
    (row,) = compare.shares(heads, texts).itertuples()
    assert (row.n_active, row.n_prompts, row.share) == (1, 2, 0.5)


def test_summaries_of_nothing_and_of_something():
    assert compare.summary(NOTHING).empty
    assert compare.reasons(NOTHING).empty
    found = compared("token", table("neuron", *[("L1.N0",)] * 4), [1, 1, 1, 0], 1, {})
    assert compare.summary(found).loc["token"].tolist() == [4, 3, 0.75]
    assert compare.reasons(found).to_numpy().tolist() == [["token", "not explained", 1]]
