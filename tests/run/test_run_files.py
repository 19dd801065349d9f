"""Run files that extend others, and the runs that ship: valid, and true to their models."""

from pathlib import Path
from types import SimpleNamespace

import narrow_models
import pytest
from lookups.errors import RunError
from lookups.names import Neuron
from lookups.settings import RUNS, check_run, read_run

BASE = """
id: called-otherwise
title: A base
model: {name: planted-0, device: cpu}
corpus: {name: planted, documents: 100, length: 48}
layers: [0, 1]
middle_layers: [0]
rejected: {L0.N1: a glitch token}
spread_per_neuron: {train: 5, test: 6}
"""


@pytest.fixture
def written(tmp_path):
    """Write run files beside each other; return the path of one."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


def problem(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        read_run(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_said_is_taken_over_section_by_section(written):
    written("base.yml", BASE)
    mine = written(
        "mine.yml",
        "extends: base.yml\ncorpus: {documents: 7}\nlayers: [1]\n"
        "rejected: {L1.N2: mine}\nspread_per_neuron: {test: 9}\n",
    )
    settings = read_run(mine)
    assert settings.id == "mine"
    assert settings.title == "A base"
    assert (settings.model.name, settings.model.device) == ("planted-0", "cpu")
    assert (settings.corpus.name, settings.corpus.documents, settings.corpus.length) == (
        "planted", 7, 48,
    )  # fmt: skip
    assert settings.layers == (1,)  # lists are taken whole
    assert settings.rejected == {"L0.N1": "a glitch token", "L1.N2": "mine"}
    assert tuple(settings.spread_per_neuron) == (("train", 5), ("test", 9))


def test_null_takes_a_key_of_the_other_run_away(written):
    written("base.yml", BASE)
    mine = written("mine.yml", "extends: base.yml\nrejected: null\ncorpus: {length: null}\n")
    settings = read_run(mine)
    assert settings.rejected == {}
    assert settings.corpus.length == 127


def test_a_run_may_extend_one_that_extends_another(written):
    written("base.yml", BASE)
    written("between.yml", "extends: base.yml\nkeep: 0.5\nseed: 3\n")
    settings = read_run(written("mine.yml", "extends: between.yml\nseed: 4\n"))
    assert (settings.keep, settings.seed, settings.layers) == (0.5, 4, (0, 1))


def test_a_shipped_run_is_extended_by_its_id(written):
    mine = read_run(written("mine.yml", "extends: planted\nid: other\n"))
    planted = read_run("planted")
    assert mine == planted.model_copy(update={"id": "other"})


def test_paths_of_the_other_run_are_taken_from_its_own_folder(written, tmp_path):
    written("there/prompts.txt", "one\n")
    written(
        "there/base.yml",
        BASE.replace("planted-0", "./model").replace("name: planted,", "name: ./texts,")
        + "prompts: prompts.txt\npermuted: permuted.yml\npaths: {data: kept}\n",
    )
    settings = read_run(written("mine.yml", "extends: there/base.yml\n"))
    there = tmp_path / "there"
    assert settings.model.name == str(there / "model")
    assert settings.corpus.name == str(there / "texts")
    assert settings.prompts == there / "prompts.txt"
    assert settings.permuted == str(there / "permuted.yml")
    assert settings.folder("data") == there / "kept"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: gpt9\n", "mine.yml: extends: no run 'gpt9': known ids are "),
        ("extends: none.yml\n", "none.yml': known ids are "),
        ("extends: [a, b]\n", "mine.yml: extends takes one run's id or file, not ['a', 'b']"),
        ("extends: mine.yml\n", "extends goes in a circle (mine → mine); take one of them out"),
        ("extends: planted\nkepe: 1\n", "mine.yml: unknown key 'kepe'"),
        ("extends: planted\nlayers: null\n", "key 'layers' is missing; add it"),
        ("extends: planted\nmodel: gpt2\n", "model is a section: put its keys below it"),
    ],
)
def test_mistakes_say_what_to_do(written, text, words):
    assert words in problem(written("mine.yml", text))


def test_a_longer_circle_is_told_with_its_way(written):
    written("one.yml", "extends: two.yml\n")
    written("two.yml", "extends: three.yml\n")
    path = written("three.yml", "extends: one.yml\n")
    assert "circle (three → one → two → three)" in problem(path)


PAPER = sorted(path.stem for path in RUNS.glob("*.yml")
               if path.stem.removesuffix("-paper") in narrow_models.SHAPES)  # fmt: skip


def test_every_model_of_the_paper_has_a_run_under_both_protocols():
    ours = {f"{run}{end}" for run in narrow_models.SHAPES for end in ("", "-paper")}
    assert set(PAPER) == ours - {"smollm2-base-paper"}
    for run in PAPER:
        assert read_run(run).protocol == ("paper" if run.endswith("-paper") else "sound")


@pytest.mark.parametrize("run", PAPER)
def test_a_shipped_run_fits_the_model_it_names(run):
    settings, shape = read_run(run), narrow_models.SHAPES[run.removesuffix("-paper")]
    model = SimpleNamespace(
        name=run, n_layers=shape.layers, d_mlp=shape.d_mlp, context=shape.context,
        gated=shape.gated,
    )  # fmt: skip
    check_run(settings, model)
    assert settings.corpus.length < shape.context
    read = {*settings.layers, *settings.middle_layers}
    for name, reason in settings.rejected.items():
        assert Neuron.parse(name).layer in read
        assert "reason" in reason


@pytest.mark.parametrize(
    ("run", "layers", "middle", "neurons", "rejected"),
    [  # the paper's, as the authors released them
        ("gpt2-small-paper", range(9, 12), (), 20, 3),
        ("gpt2-medium", range(20, 24), (), 20, 2),
        ("gpt2-large", range(31, 36), range(16, 21), 40, 16 + 11),
        ("gpt2-xl", range(43, 48), (), 20, 15),
        ("pythia-160m", range(9, 12), (), 20, 26),
        ("pythia-410m", range(20, 24), (), 20, 0),
        ("pythia-1.4b", range(20, 24), (), 20, 0),
    ],
)
def test_the_papers_layers_and_counts(run, layers, middle, neurons, rejected):
    settings = read_run(run)
    assert settings.layers == tuple(layers)
    assert settings.middle_layers == tuple(middle)
    assert settings.neurons_per_layer == neurons
    assert len(settings.rejected) == rejected
    assert read_run(run.removesuffix("-paper") + "-paper").active_rule == "2sd"
