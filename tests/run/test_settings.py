"""Run files: what is accepted, taken over and refused, and that a mistake is one sentence."""

import re
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lookups.errors import RunError
from lookups.names import Neuron
from lookups.settings import RUNS, LlmSettings, Run, check_run, read_run

from benchmarks.narrow_models import SHAPES

GOOD = """
title: A test
model: {name: planted-0}
corpus: {name: planted}
layers: [0, 1]
"""

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

SHIPPED = sorted(path.stem for path in RUNS.glob("*.yml"))


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "mine.yml") -> Path:
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


NAMES = [*Run.model_fields, *LlmSettings.model_fields, "name", "extends", 1, None]
KEYS = st.sampled_from(NAMES) | st.text()
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
ANY = st.recursive(VALUES, lambda some: st.lists(some) | st.dictionaries(KEYS, some), max_leaves=8)


@given(st.dictionaries(KEYS, ANY) | ANY, st.booleans())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_whatever_a_run_file_holds_is_a_run_or_one_sentence(written, content, beside):
    if beside and isinstance(content, dict):
        content = yaml.safe_load(GOOD) | content
    with suppress(RunError):
        assert read_run(written(yaml.safe_dump(content))).title


@pytest.mark.parametrize("run", SHIPPED)
def test_every_shipped_run_is_called_like_its_file_and_fits_the_model_it_names(run):
    settings, shape = read_run(run), SHAPES.get(run.removesuffix("-paper"))
    assert settings.id == run
    assert settings.protocol == ("paper" if run.endswith("-paper") else "sound")
    layers = {Neuron.parse(name).layer for name in settings.rejected}
    assert layers <= {*settings.layers, *settings.middle_layers}
    if shape is not None:
        about = {"name": run, "n_layers": shape.layers, "gated": shape.gated}
        check_run(settings, SimpleNamespace(**shape._asdict(), **about))
        assert settings.corpus.length < shape.context
    if len({*settings.layers, *settings.middle_layers}) > 2:  # two layers have no middle
        for layer in settings.middle_layers:
            assert 1 / 4 <= layer / (max(settings.layers) + 1) <= 2 / 3
            assert layer < min(settings.layers) - 3


def test_relative_paths_are_taken_from_the_files_own_folder(written, tmp_path, monkeypatch):
    written("one prompt\n", "there/prompts.txt")
    text = GOOD.replace("planted-0", "./model")
    text = text.replace("{name: planted}", "{name: ./texts, held_out: ./others}")
    text += "paths: {artifacts: out, data: kept}\nprompts: prompts.txt\npermuted: other.yml\n"
    base, mine = written(text, "there/base.yml"), written("extends: there/base.yml\n")
    there = tmp_path / "there"
    for settings in (read_run(base), read_run(mine)):
        assert settings.model.name == str(there / "model")
        corpora = settings.corpus.name, settings.corpus.held_out
        assert corpora == (str(there / "texts"), str(there / "others"))
        assert settings.prompts == there / "prompts.txt"
        assert settings.permuted == str(there / "other.yml")
        assert settings.folder("artifacts") == there / "out"
        assert settings.folder("data") == there / "kept"
    assert read_run("smollm2").permuted == "smollm2-random"  # an id is no path
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path / "elsewhere"))
    assert read_run(mine).folder("artifacts") == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("kepe: 0.5\nlongst: 2", "correct its spelling; longst: there is no such key; remove it"),
        ("keep: 1.5", "keep: Input should be less than or equal to 1 (it holds 1.5)"),
        ("keep: yes", "keep: Input should be a valid number (it holds True)"),
        ("protocol: fair", "protocol: Input should be 'sound' or 'paper' (it holds 'fair')"),
        ("pair_share: [0.75, 0.25]", "pair_share: write two shares in order (it holds [0.75"),
        ("neurons: [L1N2]", "'L1N2' names no neuron; write layer and index as in 'L9.N5'"),
        ("paths: {artefacts: here}", "Input should be 'data', 'models' or 'artifacts'"),
        ("spread_per_neuron: {train: 0}", "spread_per_neuron.train: Input should be greater"),
        ("id: ../outside", "id: String should match pattern"),
        ("prompts: nowhere.txt", "prompts: Path does not point to a file (it holds '/"),
        ("published: nowhere", "published: Path does not point to a directory"),
        ("3: 4", "3: there is no such key"),
        ("title: [", "mine.yml cannot be read as YAML"),
        ("llm: {model: tiny, key_variable: sk-hidden}", "llm.key_variable: String should match"),
        *(
            (f"llm: {{model: tiny, base_url: '{url}'}}", "llm.base_url: write a whole address")
            for url in ("http://me:sk-hidden@host/v1", "http://host/?sk-hidden", "host:8000/v1")
        ),
        ("llm: {model: tiny, api_key: sk-hidden}", "llm.api_key: there is no such key"),
        ("extends: gpt9", "no run 'gpt9': known ids are gpt2-large, "),
        ("extends: [a, b]", "no run "),
        ("extends: mine.yml", "extends goes in a circle, by mine.yml; take one out"),
        ("extends: planted\nlayers: null", "layers: the key is missing; add it"),
        ("layers: []", "layers: Value should have at least 1 item"),
        ("model: gpt2", "model: this is a section; put its keys below it, indented"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_no_secret(written, change, words):
    key = change.split(":")[0]
    said = problem(written(re.sub(f"^{key}: .*\n", "", GOOD, flags=re.MULTILINE) + change + "\n"))
    assert words in said
    assert "hidden" not in said


def test_files_that_are_not_there_or_no_settings_and_a_longer_circle(written, tmp_path):
    assert "title: the key is missing; add it" in problem(written("layers: [1]"))
    assert "there is no file" in problem(tmp_path / "nothing.yml")
    for text in (b"", b"- a"):
        (tmp_path / "mine.yml").write_bytes(text)
        assert "holds no settings" in problem(tmp_path / "mine.yml")
    (tmp_path / "mine.yml").write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read as YAML" in problem(tmp_path / "mine.yml")
    written("extends: two.yml\n", "one.yml")
    written("extends: three.yml\n", "two.yml")
    circle = problem(written("extends: one.yml\n", "three.yml"))
    assert circle == "two.yml: extends goes in a circle, by three.yml; take one out"


def test_what_is_not_said_is_taken_over_section_by_section(written):
    written(BASE, "base.yml")
    written("extends: base.yml\nkeep: 0.5\nseed: 3\n", "between.yml")
    own = "corpus: {documents: 7, length: null}\nlayers: [1]\nmiddle_layers: null\nseed: 4\n"
    own += "rejected: {L1.N2: mine}\nspread_per_neuron: {test: 9}\n"
    settings = read_run(written(f"extends: between.yml\n{own}"))
    assert (settings.id, settings.title, settings.keep, settings.seed) == ("mine", "A base", 0.5, 4)
    assert (settings.model.name, settings.model.device) == ("planted-0", "cpu")
    corpus = settings.corpus
    assert (corpus.name, corpus.documents, corpus.length) == ("planted", 7, 127)
    assert (settings.layers, settings.middle_layers) == ((1,), ())  # lists are taken whole
    assert settings.rejected == {"L0.N1": "a glitch token", "L1.N2": "mine"}
    assert tuple(settings.spread_per_neuron) == (("train", 5), ("test", 9))
    path = written("extends: planted\nid: other\nlayers: [1, 1]\nllm: {model: a, seed: null}\n")
    mine, planted = read_run(path), read_run("planted")
    assert mine.llm.seed is None
    changes = {"id": "other", "given": str(path), "layers": (1,), "llm": mine.llm}
    assert mine == planted.model_copy(update=changes)


SMALL = SimpleNamespace(name="small", n_layers=2, d_mlp=16, gated=False, context=64)
"""What `check_run` asks of a model."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("layers: [0, 2]", "layers: small has no layer 2; it has layers 0 to 1 of neurons 0 to 15"),
        ("middle_layers: [7]", "middle_layers: small has no layer 7"),
        ("neurons: [L0.N16]", "neurons: small has no L0.N16"),
        ("examples: [L0.N16]", "examples: small has no L0.N16"),
        ("neurons: [L0.N3-]", "small has no L0.N3-; .* names that end in - are for models with"),
        ("longest: 100", "longest: prompts of 100 tokens .* do not fit; small reads 64"),
        ("longest: 63\nneurons: [L1.N15]", ""),
        ("corpus: {name: planted, length: 48}\nlongest: 100", ""),  # no longer than documents
    ],
)
def test_a_run_that_asks_for_what_the_model_lacks(written, change, words):
    written(GOOD, "good.yml")
    settings = read_run(written(f"extends: good.yml\n{change}\n"))
    with pytest.raises(RunError, match=words) if words else nullcontext():
        check_run(settings, SMALL)
