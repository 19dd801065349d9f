"""Chapter 14 without a record, with one, and against a run that found the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from inline import execute
from lookups.names import Head
from lookups.run.stages import STAGES
from lookups.run.store import parameters, save
from lookups.settings import read_run
from record import RecordNeuron, planted_neurons, scores_from_files, write_record
from scipy.stats import skew, skewtest


def held(folder: Path, **keys: Any) -> Path:
    """The file of a run like `planted`, with some other keys."""
    run = folder / "held.yml"
    run.write_text(yaml.safe_dump({"extends": "planted"} | keys), "utf-8")
    return run


def chapter(run: Path) -> tuple[dict[str, Any], str]:
    names = execute("14_published_record", run)
    return names, "\n".join(names["said"])


def test_the_chapter_without_a_record_or_answers_says_so_and_what_the_paper_reports(tmp_path):
    names, said = chapter(held(tmp_path))
    assert "names no folder of the record" in said
    assert "0.017" in said
    values = -np.random.default_rng(0).gamma(20, size=247)
    test = skewtest(values, alternative="greater")
    assert names["skew_statistic"](skew(values), np.array([247]))[0] == pytest.approx(
        test.statistic
    )
    found = names["pairs_behind"](skew(values), test.pvalue, skew_digit=0.0, p_digit=0.0)
    assert set(found.values()) == {247}
    folder = write_record(tmp_path / "mute", planted_neurons(), reply=lambda *_: "")
    assert "no score can be computed" in chapter(held(tmp_path, published=str(folder)))[1]


def save_run(run: Path, neurons: Sequence[RecordNeuron], scores: dict[str, float]) -> None:
    """Save the tables of a run that found these neurons, these active heads and these scores."""
    listed = [(o.name, o.layer, o.token, o.token, o.congruence, "top") for o in neurons]
    others = [(f"L{at}.N{n}", at, "", "", 0.0, "other") for at in (9, 10) for n in range(50)]
    shares = [(one.name, str(Head(*divmod(head, 12))), len(one.kinds(head)[0]) / len(one.train))
              for one in neurons for head in one.heads]  # fmt: skip
    pairs = pd.DataFrame(shares, columns=["neuron", "head", "share_top"])
    columns = ["neuron", "layer", "token", "paper_token", "paper_congruence", "group"]
    rows = [(*key.split(), "contrast", "none", e) for key, e in scores.items()]
    found = pd.DataFrame(listed + others, columns=columns).drop_duplicates("neuron")
    tables = {
        "neurons": found.assign(congruence=0.0),
        "pairs": pairs.assign(kept_top=pairs.share_top.between(0.25, 0.75)),
        "scores": pd.DataFrame(rows, columns=["neuron", "head", "explainer", "control", "score"]),
    }
    for stage in STAGES:
        save(read_run(run), stage.name, tables.get(stage.name, pd.DataFrame()))


def test_a_record_is_read_and_a_run_that_found_the_same_agrees_with_it(tmp_path, artifacts):
    neurons = planted_neurons()
    folder = write_record(tmp_path / "gpt2-small", neurons)
    names, shown = chapter(held(tmp_path, published=str(folder)))
    assert "executed with the record of `gpt2-small`" in shown
    assert not names["mine"]
    expected = scores_from_files(folder)
    found = names["scores"].set_index(names["scores"].neuron + " " + names["scores"]["head"]).score
    assert found.to_dict() == pytest.approx(expected, nan_ok=True)
    assert "18 pairs are compared" in shown
    # heads that follow words are told by words; verdicts that are mostly right beat another head's
    assert names["results"].contrast.mean() > 0.6
    assert "do better than explanations of another head" in shown

    keys = {"published": str(folder), "published_model": "gpt2-small", "layers": [9, 10]}
    run = held(tmp_path, **keys)
    save_run(run, neurons, expected)
    names, shown = chapter(run)
    kept = [{h for h in range(144) if 6 <= len(one.kinds(h)[0]) <= 18} for one in neurons]
    by_chance = sum(sum(h in other for other in kept) - 1 for own in kept for h in own) / 5
    assert by_chance > 1
    n = sum(map(len, kept))
    same = {"only ours": 0, "only theirs": 0}
    assert names["both"]["neurons"] == {"in both": 6, "by chance": 0.4} | same  # 3 of 50, twice
    assert names["both"]["pairs kept"] == {"in both": n, "by chance": round(by_chance, 1)} | same
    assert "keeps 100 % [100, 100] for the same neuron" in shown
    every = {one["rank correlation"] for one in names["correlations"].values()}
    assert every == {"1.000 [1.000, 1.000]"}

    before = parameters(read_run(run), ["published"])
    next(folder.glob("1_*/*")).write_text("{}")
    assert parameters(read_run(run), ["published"]) != before
