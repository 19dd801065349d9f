"""Run files: what is accepted, and that a mistake is one sentence naming the key and the fix."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from lookups.errors import RunError
from lookups.settings import RUNS, check_run, read_run

GOOD = """
title: A test
model: {name: planted-0}
corpus: {name: planted}
layers: [0, 1]
"""


@pytest.fixture
def written(tmp_path):
    """Write a run file of one's own and return its path."""

    def write(text: str, name: str = "mine.yml") -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def problem(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        read_run(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("run", sorted(path.stem for path in RUNS.glob("*.yml")))
def test_every_shipped_run_reads_and_is_called_like_its_file(run):
    assert read_run(run).id == run


@pytest.mark.parametrize("run", sorted(path.stem for path in RUNS.glob("*.yml")))
def test_middle_layers_are_in_the_middle_and_apart_from_the_runs_own(run):
    settings = read_run(run)
    if len({*settings.layers, *settings.middle_layers}) == 2:
        pytest.skip("a model of two layers has no middle")
    for layer in settings.middle_layers:
        assert 1 / 4 <= layer / (max(settings.layers) + 1) <= 2 / 3
        assert layer < min(settings.layers) - 3


def test_a_path_works_like_an_id(written):
    settings = read_run(written(GOOD))
    assert (settings.id, settings.layers, settings.keep) == ("mine", (0, 1), 0.8)


def test_relative_folders_are_taken_from_the_files_own_folder(written, tmp_path):
    text = GOOD.replace("planted-0", "./model") + "paths: {artifacts: out}\nprompts: own.txt\n"
    (tmp_path / "own.txt").write_text("one prompt\n")
    settings = read_run(written(text))
    assert settings.model.name == str(tmp_path / "model")
    assert settings.folder("artifacts") == tmp_path / "out"
    assert settings.prompts == tmp_path / "own.txt"


def test_an_environment_variable_wins_over_the_run_files_folder(written, tmp_path, monkeypatch):
    settings = read_run(written(GOOD + "paths: {artifacts: out}\n"))
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path / "elsewhere"))
    assert settings.folder("artifacts") == tmp_path / "elsewhere"


def test_unknown_run_lists_the_known_ones():
    with pytest.raises(RunError, match=r"no run 'gpt9': known ids are .*planted.*path to a \.yml"):
        read_run("gpt9")


def test_missing_file_of_ones_own(tmp_path):
    with pytest.raises(RunError, match=r"no run '.*nothing\.yml'"):
        read_run(tmp_path / "nothing.yml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("kepe: 0.5", "unknown key 'kepe'; remove it or correct its spelling"),
        ("keep: 1.5", "keep: Input should be less than or equal to 1 (it holds 1.5)"),
        ("keep: most", "keep: Input should be a valid number"),
        ("keep: yes", "keep: no key takes true or false"),
        ("tokens: [no, the]", "put a word such as no or on in quotes"),
        ("longest: 2.5", "longest: Input should be a valid integer"),
        ("protocol: fair", "protocol: Input should be 'sound' or 'paper' (it holds 'fair')"),
        ("active_rule: 3sd", "active_rule: Input should be 'effect', '2sd' or 'top3'"),
        ("pair_share: [0.75, 0.25]", "pair_share must be two shares in order"),
        ("middle_layers: [1, 1]", "middle_layers names a layer twice"),
        ("neurons: [L1N2]", "'L1N2' names no neuron; write layer and index as in 'L9.N5'"),
        ("rejected: {L1: glitch}", "'L1' names no neuron"),
        ("paths: {artefacts: here}", "unknown key 'paths.artefacts'"),
        ("spread_per_neuron: {train: 0}", "spread_per_neuron.train: Input should be greater"),
        ("id: ../outside", "id: String should match pattern"),
        ("prompts: nowhere.txt", "prompts: there is no file"),
        ("seed: -1", "seed: Input should be greater than or equal to 0"),
    ],
)
def test_wrong_keys_and_values_say_where_and_what(written, change, words):
    assert words in problem(written(GOOD + change + "\n"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title: A test", "", "key 'title' is missing; add it"),
        ("layers: [0, 1]", "layers: []", "layers is empty; name at least one layer"),
        ("layers: [0, 1]", "layers: [-1]", "layers.0: Input should be greater than or equal to 0"),
        ("model: {name: planted-0}", "model: gpt2", "model is a section: put its keys below it"),
        ("{name: planted-0}", "{name: x, dtype: int8}", "model.dtype: Input should be 'float32'"),
        ("layers: [0, 1]", "layers: [0, 1", "mine.yml is not valid YAML"),
        ("layers: [0, 1]", "3: 4", "keys must be words"),
    ],
)
def test_wrong_sections_say_where_and_what(written, old, new, words):
    assert words in problem(written(GOOD.replace(old, new)))


def test_several_mistakes_are_told_together(written):
    text = problem(written(GOOD + "kepe: 1\nlongst: 2\n"))
    assert "'kepe'" in text
    assert "'longst'" in text


@pytest.mark.parametrize("content", ["", "just words", "- a\n- b"])
def test_a_file_without_settings(written, content):
    assert "holds no settings" in problem(written(content))


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "mine.yml").write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read as text" in problem(tmp_path / "mine.yml")


@pytest.fixture
def small():
    """What `check_run` asks of a model."""
    return SimpleNamespace(name="small", n_layers=2, d_mlp=16, gated=False, context=64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("layers: [0, 2]", "layers: layer 2 does not exist; small has layers 0 to 1"),
        ("middle_layers: [7]", "middle_layers: layer 7 does not exist"),
        ("neurons: [L0.N16]", "neurons: L0.N16 does not exist; a layer of small has neurons 0"),
        ("neurons: [L0.N3-]", "only gated neurons are read with both signs"),
        (
            "rejected: {L5.N1: glitch}",
            "rejected: L5.N1: layer 5 does not exist; small has layers 0 to 1",
        ),
        ("longest: 100", "longest: prompts of 100 tokens do not fit; small reads 64"),
    ],
)
def test_a_run_that_asks_for_what_the_model_lacks(written, small, change, words):
    key = change.split(":")[0]
    base = "\n".join(line for line in GOOD.splitlines() if not line.startswith(f"{key}:"))
    settings = read_run(written(f"{base}\n{change}\n"))
    with pytest.raises(RunError) as caught:
        check_run(settings, small)
    assert words in str(caught.value)


def test_a_run_that_fits_its_model_passes(written, small):
    text = GOOD + "longest: 63\nneurons: [L1.N15]\n"
    assert check_run(read_run(written(text)), small) is None


def test_prompts_cannot_be_longer_than_their_documents(written, small):
    text = GOOD.replace("{name: planted}", "{name: planted, length: 48}") + "longest: 100\n"
    assert check_run(read_run(written(text)), small) is None


def test_the_run_to_be_held_against_is_an_id_or_a_file_beside(written):
    assert read_run("smollm2").permuted == "smollm2-random"
    path = written(GOOD + "permuted: other.yml\n")
    assert read_run(path).permuted == str(path.parent / "other.yml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("key_variable", "sk-not-to-be-shown"), ("base_url", "http://me:sk-not-to-be-shown@host/v1")],
)
def test_a_key_written_where_it_does_not_belong_is_not_shown(key, value, written):
    text = GOOD + f"llm: {{model: small, {key}: '{value}'}}\n"
    with pytest.raises(RunError, match=rf"llm\.{key}") as caught:
        read_run(written(text))
    assert "sk-not-to-be-shown" not in str(caught.value)
