"""Every chapter on every kind of run: architectures, protocols, controls, prompts of one's own.

Chapters are executed in this process, cell after cell, on tiny models with random weights; what
they assert themselves is part of the test.
"""

from pathlib import Path
from typing import Any

import jupytext
import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
import tiny
import yaml
from lookups.errors import LookupsError, NotConfirmed
from lookups.explain.language_model import CONSENT
from lookups.paths import PROJECT
from lookups.run.stages import CHAPTERS, SCORED
from lookups.run.store import load
from lookups.settings import Run, read_run
from misbehaving import Server, says

matplotlib.use("agg")

NOTEBOOKS = PROJECT / "notebooks"

VARIATIONS: dict[str, dict[str, Any]] = {
    "gpt2": {"model": "gpt2", "active_rule": "top3"},
    "parallel blocks": {"model": "neox", "active_rule": "effect"},
    "gated and grouped": {"model": "llama", "active_rule": "effect"},
    "protocol paper": {"model": "gpt2", "protocol": "paper"},
    "permuted weights": {"model": "gpt2", "permute": 0},
    "neurons by name": {"model": "neox", "neurons": ["L1.N3", "L2.N5"]},
    "own prompts": {"model": "gpt2", "own": True},
    "half precision": {"model": "llama", "active_rule": "effect", "dtype": "bfloat16"},
}


def run_file(folder: Path, variation: dict[str, Any]) -> Path:
    """Write a run over a small local corpus of words in which some follow others."""
    random = np.random.default_rng(0)
    lines = []
    for _ in range(200):
        words = random.integers(1, 101, 12).tolist()
        lines.append(" ".join(f"w{word} w{(word * 7) % 100 + 1}" for word in words))
    (folder / "words.txt").write_text("\n\n".join(lines), "utf-8")
    settings = {
        "title": "A tiny run",
        "model": {"name": str(tiny.folder(variation["model"])), "device": "cpu"},
        "corpus": {"name": str(folder / "words.txt"), "documents": 120, "length": 24},
        "layers": [1, 2],
        "middle_layers": [0],
        "neurons_per_layer": 4,
        "random_per_layer": 3,
        "prompts_per_neuron": 20,
        "spread_per_neuron": {"train": 10, "test": 10},
        "longest": 24,
        # of twelve heads hardly one passes mean + 2 sd; then no pair is kept
        "active_rule": variation.get("active_rule", "2sd"),
        "protocol": variation.get("protocol", "sound"),
    }
    settings["model"]["dtype"] = variation.get("dtype", "float32")
    if "permute" in variation:
        settings["model"]["permute_seed"] = variation["permute"]
    if "neurons" in variation:
        settings["neurons"] = variation["neurons"]
    if "own" in variation:
        (folder / "mine.txt").write_text(
            "\n".join(" ".join(line.split()[:9]) for line in lines[:20]), "utf-8"
        )
        settings |= {"prompts": "mine.txt"}
    path = folder / "tiny.yml"
    path.write_text(yaml.safe_dump(settings), "utf-8")
    return path


def execute(chapter: str, run: Path) -> None:
    """Run the code cells of a chapter in one namespace."""
    cells = jupytext.read(NOTEBOOKS / f"{chapter}.py").cells
    names: dict[str, Any] = {"__name__": chapter, "display": print}
    for cell in cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, f"{chapter}.py", "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names["run"] = str(run)
        matplotlib.pyplot.close("all")


def check_that_tables_bound_each_other(settings: Run) -> None:
    """Groups went through the filter that they are said to have; permuted verdicts are chance."""
    pairs = load(settings, "pairs").set_index(["neuron", "head"])
    deck, scores = load(settings, "deck"), load(settings, "scores")
    of_deck, of_scores = (
        pairs.reindex(pd.MultiIndex.from_frame(table[["neuron", "head"]]))
        for table in (deck, scores)
    )
    assert of_scores.kept.all()
    assert (of_deck.kept.to_numpy() == (deck.kind == "clearest")).all()
    assert (of_deck.selected & of_deck.followed).all()
    for kind in ("follows_active", "follows_inactive"):
        assert scores[kind].dropna().between(0, 1).all()
    chance = scores[scores.control == "permuted"].dropna(subset=["score", "p"])
    if len(chance) > 60:
        assert abs(chance.score.mean() - 0.5) < 0.1
        assert (chance.p < 0.05).mean() < 0.1


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_chapter_runs_and_reads_true(name: str, tmp_path: Path, artifacts: Path) -> None:
    run = run_file(tmp_path, VARIATIONS[name])
    for chapter in CHAPTERS:
        if chapter != "12_ground_truth":  # it reads nothing of a run, and nbval executes it
            execute(chapter, run)
    settings = read_run(run)
    suffixes, heads, parts = (load(settings, stage) for stage in ("suffixes", "heads", "parts"))
    assert len(suffixes)
    if settings.protocol == "sound":  # the paper measures its share without a BOS
        assert (suffixes.activation >= settings.keep * suffixes.whole_activation * 0.999).all()
    rows = ["neuron", "split", "prompt", "input"]
    # held-out prompts have rows of the followed heads alone, so they add up in the chapter only
    trained = [table[table.split == "train"] for table in (heads, parts)]
    values = pd.concat([trained[0].rename(columns={"attribution": "value"}), trained[1]])
    whole = values.groupby(rows).value.sum()  # in layer 0 of parallel blocks no head is among them
    size = values.assign(value=values.value.abs()).groupby(rows).value.sum()
    total = trained[1].groupby(rows).total.first()
    assert ((whole - total).abs() <= 1e-5 * size).all()
    scores = load(settings, "scores")
    assert set(scores.explainer) == (
        {"contrast", "bag-of-words", "nearest"} if len(scores) else set()
    )
    check_that_tables_bound_each_other(settings)
    if name == "gated and grouped":  # the others keep few pairs or none: that must work, too
        assert (scores.control == "none").any()
    assert set(load(settings, "follow_rates").columns) >= {"sound", "selected", "examined"}
    if name == "neurons by name":
        assert set(suffixes.neuron) >= {"L1.N3", "L2.N5"}
    if name == "gated and grouped":
        assert set(heads.input) == {"gate", "up", "post"}
        assert pd.Series(suffixes.neuron).str.endswith("-").any()


def test_a_language_model_is_asked_with_consent_and_once(
    tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chapters 7 and 8 with a real server: told beforehand, kept, and replayed without it."""
    monkeypatch.delenv(CONSENT, raising=False)
    path = run_file(tmp_path, VARIATIONS["gated and grouped"])
    with Server(
        answer=lambda body: says("Yes" if "Yes or No" in str(body) else "On w7.")
    ) as server:
        content = yaml.safe_load(path.read_text("utf-8"))
        content["llm"] = {"model": "tiny", "base_url": server.url, "price_in": 1, "price_out": 1}
        content["paths"] = {"data": str(tmp_path / "data")}
        path.write_text(yaml.safe_dump(content), "utf-8")
        for chapter in SCORED[:4]:
            execute(chapter, path)
        with pytest.raises(NotConfirmed, match=r"requests to send .*about \$.*pass --yes"):
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


def test_a_chapter_without_its_parents_names_the_one_to_run(
    tmp_path: Path, artifacts: Path
) -> None:
    run = run_file(tmp_path, VARIATIONS["gpt2"])
    with pytest.raises(LookupsError, match="02_next_token_neurons"):
        execute("03_prompts", run)
