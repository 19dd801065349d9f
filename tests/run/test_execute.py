"""`lookups run`: what is executed and what is not, what is left behind, and what failure leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
import yaml
from chapters import NAMES, write_chapters
from faults import note
from lookups.errors import ChapterError, LookupsError, RunError
from lookups.paths import PROJECT
from lookups.run import execute, notebooks
from lookups.run.execute import Chapter, chapters_of, run_chapters, why_stale
from lookups.run.kernels import ForkedKernels, forking
from lookups.run.notebooks import kernel_environment, read_source
from lookups.run.stages import chapters_to, other_runs
from lookups.settings import read_run
from papermill.__main__ import papermill


@pytest.fixture
def sources(tmp_path, artifacts, monkeypatch) -> Path:
    monkeypatch.setattr(notebooks, "NOTEBOOKS", write_chapters(tmp_path / "notebooks"))
    return notebooks.NOTEBOOKS


@pytest.fixture(scope="module", autouse=True)
def executed(tmp_path_factory) -> Iterator[Path]:
    """The three chapters executed once for the planted run: sources and artifacts in one folder.
    All kernels are forked from one Python from then on, since imports take seconds."""
    root = tmp_path_factory.mktemp("executed")
    kept = forking(["pandas", "lookups.run.store"], patience=notebooks.START_TIMEOUT)
    with kept, pytest.MonkeyPatch.context() as always:
        always.setattr(execute, "forking", lambda modules, patience: nullcontext())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(notebooks, "NOTEBOOKS", write_chapters(root / "notebooks"))
            patch.setenv("LOOKUPS_ARTIFACTS", str(root / "artifacts"))
            run_chapters(read_run("planted"))
        yield root


@pytest.fixture
def done(executed, tmp_path, monkeypatch) -> Path:
    """A copy of the executed run, to be changed; returns the folder of the sources."""
    subprocess.run(["cp", "-a", f"{executed}/.", str(tmp_path)], check=True)
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    return notebooks.NOTEBOOKS


def chapters() -> list[Chapter]:
    return chapters_of(read_run("planted"))


def execute_all(**options) -> list[str]:
    return run_chapters(read_run("planted"), **options)


def stale(**changes) -> dict[str, str]:
    """Why chapters of the planted run, with other settings, are stale."""
    settings = read_run("planted").model_copy(update=changes)
    reasons = {c.source.stem: why_stale(c._replace(settings=settings)) for c in chapters()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def write_run(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump({"extends": "planted", **changes}), "utf-8")
    return path


def test_nothing_is_executed_twice(done):
    before = [chapter.executed.read_bytes() for chapter in chapters()]
    lines: list[str] = []
    assert stale() == {}
    assert execute_all(say=lines.append) == []
    assert lines == [f"planted/{name}: up to date" for name in NAMES]
    assert [chapter.executed.read_bytes() for chapter in chapters()] == before


def test_executed_copies_hold_only_what_source_run_and_outputs_decide(done):
    for chapter in chapters():
        text = chapter.executed.read_text()
        notebook = nbformat.reads(text, as_version=4)
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert not [w for w in ("papermill", str(PROJECT), str(done.parent)) if w in text]
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        injected = notebook.cells[tags.index(["parameters"]) + 1]
        assert injected.metadata.tags == ["injected-parameters"]
        assert injected.source.splitlines()[-1] == 'run = "planted"'
        assert ["default-run"] not in tags
    last = nbformat.read(chapters()[0].executed, 4).cells[-1]
    assert [output.get("name") for output in last.outputs] == ["stdout", None]
    assert "to stderr" not in json.dumps(last.outputs)


@pytest.mark.slow
def test_two_executions_are_the_same_bytes(done):
    before = [chapter.executed.read_bytes() for chapter in chapters()]
    for chapter in chapters():
        chapter.executed.unlink()
    assert execute_all() == list(NAMES)
    assert [chapter.executed.read_bytes() for chapter in chapters()] == before


def test_a_setting_a_package_and_a_module_make_every_chapter_stale(done, tmp_path, monkeypatch):
    assert stale(keep=0.5) == {
        "02_next_token_neurons": "changed: setting keep",
        "03_prompts": "changed: setting keep",
        "04_suffixes": "suffixes was made with other settings (keep)",
    }
    package = tmp_path / "lookups"
    subprocess.run(["cp", "-r", str(execute.PACKAGE), str(package)], check=True)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "PACKAGE", package)
        edit(package / "names.py", '"""Names for', '# A comment.\n"""Other names for')
        assert stale() == {}
        edit(package / "names.py", "(-?)", "([-+]?)")
        execute.library_digest.cache_clear()
        assert set(stale().values()) == {"changed: the library's code"}
    others = execute.versions() | {"torch": "0"}
    monkeypatch.setattr(execute, "versions", lambda: others)
    assert set(stale().values()) == {"changed: version of torch"}


def test_changed_code_is_executed_again_and_what_stands_on_it_only_if_its_table_changed(done):
    edit(done / "02_next_token_neurons.py", 'print("to stdout")', 'print("again")')
    assert stale() == {"02_next_token_neurons": "changed: its code"}
    assert execute_all() == ["02_next_token_neurons"]
    edit(done / "02_next_token_neurons.py", "start + 0.25", "start + 0.75")
    assert execute_all() == list(NAMES[:2])


def test_changed_words_and_layout_are_taken_over_without_executing(done):
    edit(done / "03_prompts.py", "# # What is", "# # What are")
    edit(done / "03_prompts.py", 'load(settings, "neurons")', 'load(settings, "neurons")  # all')
    edit(done / "04_suffixes.py", 'suffixes[["neuron"', 'suffixes[[  # shown\n    "neuron"')
    assert execute_all() == []
    text = chapters()[1].executed.read_text()
    assert "What are 03_prompts?" in text
    assert "# all" in text
    cells = nbformat.read(chapters()[2].executed, as_version=4).cells
    assert "# shown" in cells[-2].source
    assert all(cell.outputs for cell in cells[-2:])
    assert [cell.metadata.get("tags") for cell in cells].count(["injected-parameters"]) == 1
    assert stale() == {}
    edit(done / "04_suffixes.py", "suffixes = save(", "# %%\nsuffixes = save(")
    assert stale() == {"04_suffixes": "changed: its code"}


def test_a_table_or_copy_changed_by_another_hand_is_noticed(done):
    edit(chapters()[1].executed, "What is", "What are")
    assert stale() == {"03_prompts": "its executed copy was changed by another hand"}
    shutil.rmtree(read_run("planted").place("neurons"))
    assert "has no stage neurons" in stale()["02_next_token_neurons"]
    assert "has no stage neurons" in stale()["04_suffixes"]
    assert execute_all() == ["02_next_token_neurons", "03_prompts"]
    with pytest.raises(LookupsError, match="no chapter 09; there are 02_next_token_neurons"):
        execute_all(only=["09"])


OWN = 'from lookups.errors import SourceError\nraise SourceError("no texts; name one")\n'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1 + 1", OWN, r"_suffixes: no texts; name one \(the notebook so far: .*\.unfinished\.ip"),
        ("1 + 1", "1 / 0", r"cell \[5\] raised ZeroDivisionError: division by zero \(the notebook"),
        ("1 + 1", "import os; os._exit(1)", "04_suffixes: the Python that ran it ended abruptly"),
    ],
)
def test_failure_is_one_sentence_and_leaves_the_former_copy(done, old, new, words):
    former = chapters()[2].executed
    before = former.read_bytes()
    edit(done / "04_suffixes.py", 'load(settings, "follow_rates")', "1 + 1")
    edit(done / "04_suffixes.py", old, new)
    with pytest.raises(ChapterError, match=words):
        execute_all()
    assert former.read_bytes() == before
    assert "04_suffixes" in stale()


@pytest.mark.parametrize("instead", ["import time; time.sleep(60)", "raise SystemExit(1)"])
def test_a_kernel_that_does_not_start_is_told(done, tmp_path, monkeypatch, instead):
    (tmp_path / "first" / "ipykernel").mkdir(parents=True)
    (tmp_path / "first" / "ipykernel" / "__init__.py").write_text(instead, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    monkeypatch.setattr(notebooks, "START_TIMEOUT", 2)
    monkeypatch.setattr(execute, "forking", forking)
    for name in ("source", "command", "patience"):  # a source of its own, and back to that of all
        monkeypatch.setattr(ForkedKernels, name, None)
    edit(done / "04_suffixes.py", 'load(settings, "follow_rates")', "1 / 0")
    with pytest.raises(ChapterError, match=r"04_suffixes: no Python started to run it \(.*again"):
        execute_all()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(sources, artifacts, stop):
    edit(sources / "03_prompts.py", "neurons = load", "import time; time.sleep(99)\nneurons = load")
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from lookups.run import cli, notebooks\n"
        f"notebooks.NOTEBOOKS = Path({str(sources)!r})\n"
        "cli.main(lambda: cli.app(['run', 'planted']))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    while "03_prompts: never executed" not in process.stderr.readline():
        assert process.poll() is None
    with pytest.raises(LookupsError, match="another `lookups run` is at work"):
        execute_all()
    process.send_signal(stop)
    assert process.wait(timeout=60) == (130 if stop == signal.SIGINT else -stop)
    if stop == signal.SIGINT:  # its kernel is gone, too, or stderr would stay open
        assert "stopped; what is finished is kept" in process.stderr.read()
    edit(sources / "03_prompts.py", "time.sleep(99)", "time.sleep(0)")
    assert execute_all() == ["03_prompts", "04_suffixes"]
    note("nothing is lost: finished chapters stay, and the same command goes on from there")


def test_every_failure_of_those_under_way_is_told(sources, monkeypatch):
    def fail(chapter, say):
        raise ChapterError(f"{chapter.name} is broken")

    monkeypatch.setattr(execute, "_step", fail)
    edit(sources / "03_prompts.py", 'load(settings, "neurons")', "[]")
    lines: list[str] = []
    with pytest.raises(ChapterError) as raised:
        execute_all(say=lines.append)
    told = {str(raised.value), *lines}
    assert {f"planted/{name} is broken" for name in NAMES[:2]} <= told
    assert "04" not in str(told)


def test_runs_that_read_each_other_are_refused_at_once(sources, monkeypatch):
    reads = {"planted": chapters_to("neurons")}
    monkeypatch.setattr(execute, "other_runs", lambda name, run: reads if name[1] == "2" else {})
    with pytest.raises(RunError, match=r"is needed by planted/02_.*; write `permuted: null`"):
        execute_all()


def test_a_run_of_ones_own_and_the_default_runs_notebooks_beside_the_sources(sources, tmp_path):
    mine, default = read_run(write_run(tmp_path / "mine.yml", keep=0.5)), read_run("smollm2")
    run_chapters(mine, only=["02"])
    assert mine.place().name == "mine"
    assert not list(sources.glob("*.ipynb"))
    with pytest.raises(RunError, match=r"smollm2\.yml calls itself 'smollm2'"):
        read_run(write_run(tmp_path / "smollm2.yml"))
    run_chapters(default, only=["02"])
    copy, executed = sources / "02_next_token_neurons.ipynb", chapters_of(default)[0].executed
    assert copy.read_bytes() == executed.read_bytes()
    assert "The default run shows it." in copy.read_text()
    assert "injected-parameters" not in copy.read_text()
    copy.write_text("damaged")
    assert run_chapters(default, only=["02"]) == []
    assert copy.read_bytes() == executed.read_bytes()


def test_plain_papermill_takes_a_relative_path(sources, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    write_run(tmp_path / "runs" / "mine.yml")
    nbformat.write(read_source(sources / "02_next_token_neurons.py"), tmp_path / "one.ipynb")
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with kernel_environment(record=True):
        assert os.environ["PYTHONHASHSEED"] == "0"
        papermill(["one.ipynb", "out.ipynb", "-p", "run", "runs/mine.yml"], standalone_mode=False)
    assert dict(os.environ) == before
    assert (tmp_path / "artifacts" / "mine" / "neurons" / "table.parquet").is_file()


def test_the_runs_that_chapters_read_are_run_as_far_as_they_are_read():
    numbers = [[name[:2] for name in chapters_to(stage)] for stage in ("pairs", "scores")]
    assert numbers == [["02", "03", "04", "05"], ["02", "03", "04", "05", "07", "08"]]
    settings = read_run("smollm2")
    assert other_runs("08_scores", settings) == {"smollm2-random": chapters_to("scores")}
    planted = read_run("planted")
    assert other_runs("08_scores", planted) == {}
    with pytest.raises(RunError, match=r"is on SmolLM2-135M-Instruct, and this run on planted-0;"):
        other_runs("08_scores", planted.model_copy(update={"permuted": "smollm2-random"}))
    for name in other_runs("13_ground_truth", settings):
        assert (read_run(name).id, read_run(name).permuted) == (name, None)


def test_other_runs_come_first_and_their_changes_are_noticed(sources, artifacts, monkeypatch):
    paths = {name: write_run(sources / f"{name}.yml", id=name) for name in ("other", "own")}
    needed = {str(paths["other"]): chapters_to("neurons")}
    own, reading = read_run(paths["own"]), ("04_suffixes", "own")
    others = lambda name, run: needed if (name, run.id) == reading else {}  # noqa: E731
    monkeypatch.setattr(execute, "other_runs", others)
    assert run_chapters(own, only=["02"]) == ["02_next_token_neurons"]
    assert run_chapters(own) == [NAMES[1], NAMES[2], "other/02_next_token_neurons"]
    assert (artifacts / "other" / "neurons" / "manifest.json").is_file()
    assert run_chapters(own) == []
    write_run(paths["other"], id="other", seed=4)
    assert run_chapters(own) == ["04_suffixes", "other/02_next_token_neurons"]
