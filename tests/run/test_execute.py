"""`lookups run`: what is executed and what is not, what is left behind, and what failure leaves."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from chapters import NAMES, write_chapters
from lookups.errors import ChapterError, LookupsError, RunError
from lookups.paths import PROJECT
from lookups.run import book as site
from lookups.run import execution
from lookups.run.execute import Chain, chain_of, clean, run_chapters, why_stale
from lookups.run.execution import kernel_environment
from lookups.run.inline import METHOD
from lookups.run.notebooks import NOTEBOOKS, read_source
from lookups.run.staleness import basis_of, needs_of
from lookups.settings import RUNS, Run, read_run


@pytest.fixture
def sources(tmp_path, artifacts) -> Path:
    return write_chapters(tmp_path / "notebooks")


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Path:
    """The three chapters executed once for the planted run: sources and artifacts in one folder."""
    root = tmp_path_factory.mktemp("executed")
    write_chapters(root / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKUPS_ARTIFACTS", str(root / "artifacts"))
        run_chapters(chain_of("planted", sources=root / "notebooks"))
    return root


@pytest.fixture
def done(executed, tmp_path, monkeypatch) -> Path:
    """A copy of the executed run, to be changed; returns the folder of the sources."""
    subprocess.run(["cp", "-a", f"{executed}/.", str(tmp_path)], check=True)
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "notebooks"


def stale(chain: Chain) -> dict[str, str]:
    reasons = {c.name: why_stale(chain.settings, c) for c in chain.chapters}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_is_executed_twice(done):
    chain = chain_of("planted", sources=done)
    before = [chapter.executed.read_bytes() for chapter in chain.chapters]
    lines: list[str] = []
    assert stale(chain) == {}
    assert run_chapters(chain, say=lines.append) == []
    assert lines[0] == "run planted: 3 chapters, all up to date"
    assert [chapter.executed.read_bytes() for chapter in chain.chapters] == before


def test_executed_copies_hold_only_what_source_and_outputs_decide(done):
    chain = chain_of("planted", sources=done)
    for chapter in chain.chapters:
        text = chapter.executed.read_text()
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert "papermill" not in text
        assert str(PROJECT) not in text
        assert str(done.parent) not in text
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_the_copy_of_another_run_names_it_and_drops_default_run_words(done):
    chain = chain_of("planted", sources=done)
    first = nbformat.read(chain.chapters[0].executed, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in first.cells]
    assert ["injected-parameters"] not in tags
    assert ["default-run"] not in tags
    parameters = first.cells[tags.index(["parameters"])]
    assert parameters.source.splitlines()[1] == 'run: str = "planted"'


def test_stdout_is_kept_and_stderr_dropped(done):
    last = nbformat.read(chain_of("planted", sources=done).chapters[0].executed, 4).cells[-1]
    assert [output.get("name") for output in last.outputs] == ["stdout", None]
    assert "to stderr" not in json.dumps(last.outputs)


@pytest.mark.slow
def test_two_executions_are_the_same_bytes(done):
    chain = chain_of("planted", sources=done)
    before = [chapter.executed.read_bytes() for chapter in chain.chapters]
    assert run_chapters(chain, again=True) == list(NAMES)
    assert [chapter.executed.read_bytes() for chapter in chain.chapters] == before


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"keep": 0.5}, {"04_suffixes": "settings have changed: keep"}),
        ({"title": "Another"}, {}),
        ({"active_rule": "top3"}, {}),
        ({"prompts_per_neuron": 5}, {"03_prompts": "settings have changed: prompts_per_neuron"}),
        ({"seed": 4}, {"02_next_token_neurons": "settings have changed: seed"}),
    ],
)
def test_a_setting_makes_only_the_chapters_stale_that_stand_on_it(done, update, expected):
    chain = chain_of("planted", sources=done)
    chain = chain._replace(settings=chain.settings.model_copy(update=update))
    found = stale(chain)
    assert found.items() >= expected.items()
    if "02_next_token_neurons" not in found:
        assert found.keys() == expected.keys() | (found.keys() & {"04_suffixes"})
    if not expected:
        assert found == {}


def test_changed_code_is_executed_again_and_what_stands_on_it_only_if_its_table_changed(done):
    edit(done / "02_next_token_neurons.py", 'print("to stdout")', 'print("again")')
    chain = chain_of("planted", sources=done)
    assert stale(chain) == {"02_next_token_neurons": "its code has changed"}
    assert run_chapters(chain) == ["02_next_token_neurons"]
    edit(done / "02_next_token_neurons.py", "start + 0.25", "start + 0.75")
    assert run_chapters(chain_of("planted", sources=done)) == list(NAMES[:2])


def test_changed_words_are_taken_over_without_executing(done):
    edit(done / "03_prompts.py", "# # Which texts fire it?", "# # Which texts fire a neuron?")
    edit(done / "03_prompts.py", 'load(settings, "neurons")', 'load(settings, "neurons")  #')
    chain = chain_of("planted", sources=done)
    assert run_chapters(chain) == []
    text = chain.chapters[1].executed.read_text()
    assert "Which texts fire a neuron?" in text
    assert "\"of a neuron': 20" not in text
    assert stale(chain) == {}


def test_layout_is_taken_over_and_another_division_into_cells_is_executed(done):
    edit(done / "04_suffixes.py", 'suffixes[["neuron"', 'suffixes[[  # shown\n    "neuron"')
    chain = chain_of("planted", sources=done)
    assert run_chapters(chain) == []
    cells = nbformat.read(chain.chapters[2].executed, as_version=4).cells
    assert "# shown" in cells[-2].source
    assert all(cell.outputs for cell in cells[-2:])
    edit(done / "04_suffixes.py", "suffixes = save(", "# %%\nsuffixes = save(")
    assert stale(chain_of("planted", sources=done)) == {
        "04_suffixes": "its cells are divided in another way"
    }


def test_a_changed_module_is_noticed_but_not_its_words(done, tmp_path, monkeypatch):
    from lookups.run import staleness as basis

    package = tmp_path / "lookups"
    subprocess.run(["cp", "-r", str(basis.PACKAGE), str(package)], check=True)
    monkeypatch.setattr(basis, "PACKAGE", package)
    edit(package / "names.py", '"""Names for', '# A comment.\n"""Other names for')
    assert stale(chain_of("planted", sources=done)) == {}
    edit(package / "names.py", "(-?)", "([-+]?)")
    found = stale(chain_of("planted", sources=done))
    assert set(found.values()) == {"modules have changed: lookups.names"}


def test_a_table_or_copy_changed_by_another_hand_is_noticed(done):
    chain = chain_of("planted", sources=done)
    edit(chain.chapters[1].executed, "Which texts", "What texts")
    assert stale(chain) == {"03_prompts": "its executed copy was changed by another hand"}
    for file in (chain.folder / "neurons").iterdir():
        file.unlink()
    assert "has no stage neurons" in stale(chain)["02_next_token_neurons"]
    assert "has no stage neurons" in stale(chain)["04_suffixes"]
    assert run_chapters(chain) == ["02_next_token_neurons", "03_prompts"]


def test_only_one_chapter_by_name_or_number(done):
    chain = chain_of("planted", sources=done)
    assert run_chapters(chain, only=["03"], again=True) == ["03_prompts"]
    with pytest.raises(LookupsError, match="no chapter 09; there are 02_next_token_neurons"):
        run_chapters(chain, only=["09"])


def test_a_chapter_whose_parents_are_missing_names_them(sources):
    with pytest.raises(LookupsError, match="no stage neurons; run the chapter 02_next_token"):
        run_chapters(chain_of("planted", sources=sources), only=["04"])


def test_an_error_of_ours_speaks_for_itself(done):
    raising = 'from lookups.errors import CorpusError\nraise CorpusError("no texts; name one")\n'
    edit(done / "03_prompts.py", "prompts = save(settings", f"{raising}prompts = save(settings")
    chain = chain_of("planted", sources=done)
    former = chain.chapters[1].executed.read_bytes()
    with pytest.raises(ChapterError) as caught:
        run_chapters(chain)
    first, second = str(caught.value).splitlines()
    assert first == "03_prompts: no texts; name one"
    assert second.startswith("(the notebook so far: ")
    partial = Path(second.removeprefix("(the notebook so far: ").removesuffix(")"))
    assert "no texts; name one" in partial.read_text()
    assert chain.chapters[1].executed.read_bytes() == former
    assert stale(chain) == {"03_prompts": "its code has changed"}


def test_another_error_is_one_sentence_with_its_cell(done):
    edit(done / "04_suffixes.py", 'load(settings, "follow_rates")', "1 / 0")
    words = r"04_suffixes: cell \[4\] raised ZeroDivisionError: division by zero; the traceback"
    with pytest.raises(ChapterError, match=words):
        run_chapters(chain_of("planted", sources=done))


def test_a_dead_kernel_is_told(done):
    edit(done / "04_suffixes.py", 'load(settings, "follow_rates")', "import os; os._exit(1)")
    with pytest.raises(ChapterError, match="04_suffixes: the Python that ran it ended abruptly"):
        run_chapters(chain_of("planted", sources=done))


@pytest.mark.parametrize("instead", ["import time; time.sleep(60)", "raise SystemExit(1)"])
def test_a_kernel_that_does_not_start_is_told(done, tmp_path, monkeypatch, instead):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "ipykernel_launcher.py").write_text(instead, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    monkeypatch.setattr(execution, "START_TIMEOUT", 2)
    edit(done / "04_suffixes.py", 'load(settings, "follow_rates")', "1 / 0")
    with pytest.raises(ChapterError, match=r"04_suffixes: no Python started to run it \(.*again"):
        run_chapters(chain_of("planted", sources=done))


def test_a_chapter_that_leaves_no_table_is_told(sources):
    text = "if False:\n    save(settings"
    edit(sources / "02_next_token_neurons.py", "neurons = save(settings", f"neurons = 0\n{text}")
    edit(sources / "02_next_token_neurons.py", 'neurons[["neuron", "layer"]]', "neurons")
    with pytest.raises(ChapterError, match="did not leave its table"):
        run_chapters(chain_of("planted", sources=sources))


def test_a_chapter_that_is_no_python_is_told(sources):
    edit(sources / "03_prompts.py", "len(prompts)", "len(prompts")
    with pytest.raises(ChapterError, match=r"03_prompts: .* in the line .*; correct it"):
        chain_of("planted", sources=sources)


def test_a_parameters_cell_of_one_line_is_refused(sources):
    edit(sources / "03_prompts.py", "# A run's id, or a path to its .yml\n", "")
    with pytest.raises(LookupsError, match=r"03_prompts: IPython takes .* own command %run"):
        chain_of("planted", sources=sources)


def test_a_killed_run_goes_on_where_it_was(sources, artifacts):
    edit(sources / "03_prompts.py", "neurons = load", "import time; time.sleep(60)\nneurons = load")
    program = f"""
        from pathlib import Path
        from lookups.run.execute import chain_of, run_chapters
        run_chapters(chain_of("planted", sources=Path({str(sources)!r})))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    first = artifacts / "planted" / "notebooks" / "02_next_token_neurons.json"
    waited = time.monotonic()
    while not first.is_file() and time.monotonic() - waited < 60:
        time.sleep(0.1)
    with pytest.raises(LookupsError, match="another `lookups run` is at work"):
        run_chapters(chain_of("planted", sources=sources))
    process.kill()
    process.wait()
    edit(sources / "03_prompts.py", "time.sleep(60)", "time.sleep(0)")
    executed = run_chapters(chain_of("planted", sources=sources))
    assert executed == ["03_prompts", "04_suffixes"]


def test_a_run_of_ones_own_by_path(sources, tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text((RUNS / "planted.yml").read_text() + "keep: 0.5\n")
    chain = chain_of(path, sources=sources)
    run_chapters(chain, only=["02"])
    assert chain.folder.name == "mine"
    assert not list(sources.glob("*.ipynb"))


def test_a_run_of_ones_own_cannot_take_the_default_runs_place(sources, tmp_path):
    path = tmp_path / "smollm2.yml"
    path.write_text((RUNS / "planted.yml").read_text())
    with pytest.raises(RunError, match=r"smollm2\.yml calls itself 'smollm2'"):
        chain_of(path, sources=sources)


def test_the_default_run_leaves_its_notebooks_beside_the_sources(sources):
    chain = chain_of("smollm2", sources=sources)
    run_chapters(chain, only=["02"])
    copy = sources / "02_next_token_neurons.ipynb"
    assert copy.read_bytes() == chain.chapters[0].executed.read_bytes()
    assert "The default run shows it." in copy.read_text()
    copy.write_text("damaged")
    assert run_chapters(chain, only=["02"]) == []
    assert copy.read_bytes() == chain.chapters[0].executed.read_bytes()


def test_plain_papermill_takes_a_relative_path(sources, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine.yml").write_text((RUNS / "planted.yml").read_text())
    nbformat.write(read_source(sources / "02_next_token_neurons.py"), tmp_path / "one.ipynb")
    command = ["papermill", "one.ipynb", "out.ipynb", "-p", "run", "runs/mine.yml"]
    with kernel_environment():
        subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, check=True)
    assert (tmp_path / "artifacts" / "mine" / "neurons" / "table.parquet").is_file()


def test_clean_removes_a_run_and_nothing_else(done, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "site_folder", lambda run, default: tmp_path / "_build" / run)
    chain = chain_of("planted", sources=done)
    (chain.folder.parent / "other").mkdir()
    assert chain.folder in clean(chain.settings)
    assert [path.name for path in chain.folder.parent.iterdir()] == ["other"]


def test_the_environment_is_given_back():
    before = dict(os.environ)
    with kernel_environment(record=True):
        assert os.environ["PYTHONHASHSEED"] == "0"
    assert dict(os.environ) == before


def test_what_a_chapter_needs_is_read_from_its_source(sources):
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    assert needs.reads == ("prompts", "follow_rates")
    assert needs.makes == ("suffixes",)
    assert {"keep", "longest", "corpus", "model", "seed"} <= set(needs.keys)
    assert "active_rule" not in needs.keys
    assert {"lookups.run.store", "lookups.settings", "lookups.errors"} <= set(needs.modules)


def test_a_stage_is_named_in_quotes_where_it_is_loaded(sources):
    """A word that is also a stage's name stands for that stage only there."""
    edit(sources / "04_suffixes.py", 'load(settings, "follow_rates")', '"heads"')
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    assert needs.reads == ("prompts",)
    edit(sources / "04_suffixes.py", 'load(settings, "prompts")', "load(settings, name)")
    with pytest.raises(ChapterError, match=r"04_suffixes: `load\(settings, name\)` does not say"):
        needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))


WHOLE = ["dict(settings)", "settings.model_dump()", "(settings.id, settings)"]


@pytest.mark.parametrize("whole", WHOLE)
def test_settings_handed_to_something_unknown_count_whole(sources, whole):
    edit(sources / "04_suffixes.py", 'load(settings, "follow_rates")', whole)
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    assert set(needs.keys) == set(Run.model_fields) - {"paths"}


def test_settings_handed_to_documents_count_as_the_keys_they_read(sources):
    """And not as all: a chapter that reads texts is not held against another run for it."""
    edit(
        sources / "04_suffixes.py",
        'load(settings, "follow_rates")',
        'run_documents(settings, 0, "x")',
    )
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    assert {"corpus", "prompts"} <= set(needs.keys)
    assert not {"permuted", "active_rule", "verdicts"} & set(needs.keys)


def test_what_follows_from_a_key_counts_as_that_key(sources):
    edit(sources / "04_suffixes.py", 'load(settings, "follow_rates")', "settings.measure")
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    assert "active_rule" in needs.keys
    assert not {"permuted", "verdicts", "llm"} & set(needs.keys)


def test_a_chapter_that_executes_others_stands_on_their_code(sources, artifacts):
    edit(sources / "04_suffixes.py", "import sys", "import sys\nimport lookups.run.inline")
    needs = needs_of("04_suffixes", read_source(sources / "04_suffixes.py"))
    reads = basis_of(read_run("planted"), needs._replace(reads=()))["reads"]
    assert set(reads) == {f"code of {name}" for name in METHOD}
    code = needs_of("05_heads", read_source(NOTEBOOKS / "05_heads.py")).code
    assert reads["code of 05_heads"] == code


def test_a_run_cannot_be_held_against_one_that_is_held_against_another(tmp_path, artifacts):
    folder = write_chapters(tmp_path / "notebooks")
    third = folder / "04_suffixes.py"
    third.write_text(third.read_text("utf-8") + "\n\n# %%\nsettings.permuted is None\n", "utf-8")
    path = tmp_path / "own.yml"
    content = yaml.safe_load((RUNS / "planted.yml").read_text("utf-8"))
    path.write_text(yaml.safe_dump(content | {"id": "own", "permuted": "own.yml"}), "utf-8")
    with pytest.raises(RunError, match="the run own is held against another run itself"):
        run_chapters(chain_of(path, sources=folder))


def test_what_a_run_is_held_against_is_executed_first(tmp_path, artifacts, monkeypatch):
    """And a chapter that reads its scores is stale once they have changed."""
    folder = write_chapters(tmp_path / "notebooks")
    other, own = ({"id": name} for name in ("other", "own"))
    content = yaml.safe_load((RUNS / "planted.yml").read_text("utf-8"))
    paths = {name: tmp_path / f"{name}.yml" for name in ("other", "own")}
    paths["other"].write_text(yaml.safe_dump(content | other), "utf-8")
    against = {"permuted": str(paths["other"])}
    paths["own"].write_text(yaml.safe_dump(content | own | against), "utf-8")
    third = folder / "04_suffixes.py"
    third.write_text(third.read_text("utf-8") + "\n\n# %%\nsettings.permuted is None\n", "utf-8")
    chain = chain_of(paths["own"], sources=folder)
    assert run_chapters(chain, only=["02"]) == ["02_next_token_neurons"]
    executed = run_chapters(chain)
    assert executed[0].endswith("other.yml/02_next_token_neurons")
    assert executed[-1] == "04_suffixes"
    assert (artifacts / "other" / "suffixes" / "manifest.json").is_file()
    assert run_chapters(chain) == []
    monkeypatch.setattr(
        "lookups.run.staleness._of_permuted", lambda settings: {"scores of other": "x"}
    )
    assert list(stale(chain)) == ["04_suffixes"]
