"""Every chapter on every kind of run: architectures, protocols, rules, controls, one's own prompts.

Each variation is executed once, in this process, on a tiny model with random weights; the tests
below look at what it left. What chapters assert themselves is part of the test.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import jupytext
import numpy as np
import pandas as pd
import pytest
import tiny
import yaml
from inline import execute
from lookups import settings as settings_module
from lookups.corpus import grammar
from lookups.errors import LookupsError
from lookups.model import loaded
from lookups.model.files import find_checkpoint
from lookups.paths import PROJECT
from lookups.run.stages import CHAPTERS, settings_of, stage_named
from lookups.run.store import load, parameters
from lookups.settings import CONSENT, RECORDS, ModelSpec, Run, read_run
from misbehaving import Server, says
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from transformers.utils.import_utils import is_serve_available

from tools import keep_summary

HALF = "gated and grouped, effect, half precision"
VARIATIONS: dict[str, dict[str, Any]] = {
    "parallel blocks, own prompts, effect": {
        "kind": "neox", "active_rule": "effect", "prompts": "mine.txt",
    },
    "gated and grouped, top 3, neurons by name": {
        "kind": "qwen3", "active_rule": "top3", "neurons": ["L1.N3", "L1.N8-", "L2.N5", "L2.N6-"],
    },
    "paper's protocol, permuted weights": {
        "kind": "gpt2", "protocol": "paper", "model": {"permute_seed": 0},
    },
    HALF: {"kind": "llama", "active_rule": "effect", "model": {"dtype": "bfloat16"}},
}  # fmt: skip
"""An architecture, and what the run's file says besides what all say."""


class Executed(NamedTuple):
    """A run of which every chapter was executed."""

    variation: dict[str, Any]
    path: Path
    settings: Run

    def load(self, *stages: str) -> list[pd.DataFrame]:
        return [load(self.settings, stage) for stage in stages]


@pytest.fixture(scope="module", params=VARIATIONS)
def executed(request, tmp_path_factory) -> Iterator[Executed]:
    """A tiny run of which every chapter is executed."""
    folder = tmp_path_factory.mktemp("run")
    own = [" ".join(line.split()[:9]) for line in tiny.texts(20, words=24)]
    (folder / "mine.txt").write_text("\n".join(own), "utf-8")
    path = tiny.write_run(folder, **VARIATIONS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "load_model", cache(loaded.load_model))
        patch.setattr(grammar, "SEEDS", grammar.SEEDS[:1])  # nbval reads all planted models
        for chapter in CHAPTERS:
            if chapter != "13_ground_truth":  # it reads nothing of a run, and nbval executes it
                execute(chapter, path)
    return Executed(VARIATIONS[request.param], path, read_run(path))


def test_prompts_are_cut_and_neurons_are_those_asked_for(executed):
    suffixes, rates = executed.load("suffixes", "follow_rates")
    assert len(suffixes)
    if executed.settings.protocol == "sound":  # the paper measures its share without a BOS
        kept = executed.settings.keep * suffixes.whole_activation
        assert (suffixes.activation >= kept * 0.999).all()
    assert set(rates.columns) >= {"sound", "selected", "examined"}
    assert set(suffixes.neuron) >= set(executed.settings.neurons or ())


def test_heads_and_parts_add_up_to_the_neurons_input(executed):
    # held-out prompts have rows of the followed heads alone, so they add up in the chapter only
    heads, parts = (table[table.split == "train"] for table in executed.load("heads", "parts"))
    rows = ["neuron", "split", "prompt", "input"]
    values = pd.concat([heads.rename(columns={"attribution": "value"}), parts])
    whole = values.groupby(rows).value.sum()  # in layer 0 of parallel blocks no head is among them
    size = values.assign(value=values.value.abs()).groupby(rows).value.sum()
    total = parts.groupby(rows).total.first()
    assert ((whole - total).abs() <= 1e-5 * size).all()
    if executed.variation["kind"] == "llama":
        assert "post" in set(heads.input) <= {"gate", "up", "post"}
        assert heads.neuron.str.endswith("-").any()


def test_groups_went_through_the_filter_that_they_are_said_to_have(executed):
    pairs, deck, scores = executed.load("pairs", "deck", "scores")
    pairs = pairs.set_index(["neuron", "head"])
    of_deck, of_scores = (
        pairs.reindex(pd.MultiIndex.from_frame(table[["neuron", "head"]]))
        for table in (deck, scores)
    )
    assert of_scores.kept.all()
    assert (of_deck.kept.to_numpy() == (deck.kind == "clearest")).all()
    assert (of_deck.selected & of_deck.followed).all()


def test_scores_are_of_every_explainer_and_permuted_verdicts_are_chance(executed):
    (scores,) = executed.load("scores")
    explainers = {"contrast", "bag-of-words", "nearest"} if len(scores) else set()
    assert set(scores.explainer) == explainers
    for kind in ("follows_active", "follows_inactive"):
        assert scores[kind].dropna().between(0, 1).all()
    if executed.variation == VARIATIONS[HALF]:
        assert (scores.control == "none").any()  # the others may keep no pair: that must work, too
    chance = scores[scores.control == "permuted"].dropna(subset=["score", "p"])
    if len(chance) > 60:
        assert abs(chance.score.mean() - 0.5) < 0.1
        assert (chance.p < 0.05).mean() < 0.1


def test_a_language_model_is_asked_with_consent_and_once(executed, tmp_path, monkeypatch):
    """Chapters 7 and 8 with a real server: told beforehand, kept, and replayed without it."""
    if executed.variation != VARIATIONS[HALF]:
        pytest.skip("once is enough, where there are pairs to explain")
    monkeypatch.delenv(CONSENT, raising=False)
    path = Path(shutil.copytree(executed.path.parent, tmp_path / "copy")) / "tiny.yml"
    answer = lambda body: says("Yes" if "Yes or No" in str(body) else "On w7.")  # noqa: E731
    with Server(answer=answer) as server:
        content = yaml.safe_load(path.read_text("utf-8"))
        content["llm"] = {"model": "tiny", "base_url": server.url, "price_in": 1, "price_out": 1}
        path.write_text(yaml.safe_dump(content), "utf-8")
        with pytest.raises(LookupsError, match=r"requests to send .*about \$.*pass --yes"):
            execute("07_explanations", path)
        assert not server.asked
        monkeypatch.setenv(CONSENT, "yes")
        execute("07_explanations", path)
        execute("08_scores", path)
        assert set(server.asked.values()) == {1}
    settings = read_run(path)
    first = load(settings, "scores")
    mine = first[(first.explainer == "llm") & (first.control == "none")]
    assert len(mine)
    assert (mine.fn == 0).all()  # it calls everything active
    assert (mine.score.dropna() == 0.5).all()
    monkeypatch.delenv(CONSENT)
    execute("07_explanations", path)  # the server is gone: every reply comes from the store
    execute("08_scores", path)
    pd.testing.assert_frame_equal(load(settings, "scores"), first)


@contextmanager
def served(folder: str) -> Iterator[dict[str, str]]:
    """Serve a real model on this machine, by `transformers serve`."""
    if not is_serve_available():
        pytest.skip("NOT RUN: `transformers serve` needs fastapi, starlette and uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, program = f"http://127.0.0.1:{port}", Path(sys.executable).with_name("transformers")
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen([program, "serve", folder, *options]) as process:
        try:
            while process.poll() is None:
                with suppress(OSError):
                    urlopen(f"{url}/health").close()
                    break
                time.sleep(1)
            yield {"model": folder, "base_url": f"{url}/v1"}
        finally:
            process.terminate()


@pytest.mark.slow
def test_every_reply_of_a_real_model_is_read_or_counted(executed, tmp_path, monkeypatch):
    """Chapters 7 and 8 from consent to stored replies, with the default run's model."""
    if executed.variation != VARIATIONS[HALF]:
        pytest.skip("once is enough, where there are pairs to explain")
    try:
        folder = find_checkpoint(ModelSpec(name="SmolLM2-135M-Instruct")).location
    except LookupsError as error:
        pytest.skip(f"NOT RUN: {error}")
    few = {"neurons": ["L2.N5", "L2.N6-"], "random_per_layer": 1, "middle_layers": []}
    few |= {"effect_apart": 0.3, "held_out": 1}
    limits = {"explain_tokens": 20, "judge_tokens": 2, "timeout": 600.0, "concurrency": 2}
    monkeypatch.setenv(CONSENT, "yes")
    with served(folder) as server:
        path = tmp_path / "tiny.yml"
        content = yaml.safe_load(executed.path.read_text("utf-8")) | few
        path.write_text(yaml.safe_dump(content | {"llm": server | limits}), "utf-8")
        for chapter in (*CHAPTERS[1:5], "07_explanations"):
            execute(chapter, path)
        first = execute("08_scores", path)
    monkeypatch.delenv(CONSENT)
    execute("07_explanations", path)  # the server is gone: every reply comes from the store
    again = execute("08_scores", path)
    pd.testing.assert_frame_equal(again["verdicts"], first["verdicts"])
    mine = first["verdicts"][first["verdicts"].explainer == "llm"]
    assert {"none", "permuted"} <= set(mine.control)
    assert first["unread"] == first["verdicts"].verdict.isna().sum()


def check_summary(table: pd.DataFrame) -> None:
    """What bounds every summary: its units, intervals, and counts of one and the same pairs."""
    assert not table.duplicated(["quantity", "unit"]).any()
    for group in ("selected", "random", "difference"):
        known = table.dropna(subset=f"{group}_low")
        assert known[group].between(known[f"{group}_low"], known[f"{group}_high"]).all()
        assert known[group][known.unit == "points"].between(-100, 100).all()
        shares = known[known.unit.isin(["share", "E"])].set_index("quantity")[group]
        assert shares.between(-1, 1).all()
        if group != "difference":
            assert (shares.filter(regex="^(?!effect)") >= 0).all()
    values = table.set_index("quantity")
    for group in ("selected", "random"):
        names = ["neurons", "kept pairs", "neurons with a kept pair", "heads in kept pairs"]
        neurons, kept, with_pair, heads = values.loc[names, group]
        assert with_pair <= min(neurons, kept)
        assert heads <= kept
        assert (values[f"{group}_neurons"] <= neurons).all()
        if (a_neuron := values.loc["kept pairs a neuron"])[f"{group}_neurons"]:
            assert abs(kept / a_neuron[f"{group}_neurons"] - a_neuron[group]) < 0.01


def test_the_summary_keeps_its_bounds_and_stands_beside_another(executed, tmp_path, monkeypatch):
    check_summary(*executed.load("summary"))
    if executed.variation == VARIATIONS[HALF]:
        for module in (keep_summary, settings_module):
            monkeypatch.setattr(module, "RECORDS", tmp_path)
        kept = Path(keep_summary.main([str(executed.path)]).split(":")[0])
        kept.rename(tmp_path / "tiny-paper.summary.csv")
        sides = execute("16_analysis", executed.path)["SIDES"]
        assert list(sides) == ["paper's protocol", "this run"]
        check_summary(sides["paper's protocol"])


def test_the_kept_summary_is_of_the_run_file_as_it_is():
    path = RECORDS / "smollm2-paper.summary.csv"
    about = json.loads(path.read_text("utf-8").splitlines()[2].removeprefix("# "))
    run = read_run("smollm2-paper")
    assert about == parameters(run, settings_of(stage_named("summary")))
    table = pd.read_csv(path, comment="#")
    check_summary(table.fillna({"unit": ""}))
    assert table.selected[0] == run.neurons_per_layer * len(run.layers)


def test_prompts_left_out_at_once_are_those_left_out_one_by_one():
    """Chapter 6 predicts each text from the others in closed form; scikit-learn fits them anew."""
    names: dict[str, Any] = {}
    cells = jupytext.read(PROJECT / "notebooks" / "06_attention_specialization.py").cells
    for line in cells[2].source.splitlines():
        if line.startswith(("import numpy", "from sklearn")):
            exec(line, names)
    for cell in cells:
        if cell.source.startswith(("PLACES", "PENALTY", "def left_out")):
            exec(cell.source, names)
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(30)]
    for n in (4, 17):
        texts = [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(n)]
        truth = random.normal(size=n)
        one_by_one = cross_val_predict(names["by_words"](), texts, truth, cv=LeaveOneOut())
        assert np.allclose(names["left_out"](texts, truth), one_by_one, atol=1e-7)
