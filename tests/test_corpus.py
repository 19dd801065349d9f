"""The harvest: a tiny tree of packages made here, the scanner against `ast` and `tokenize`."""

import ast
import io
import json
import os
import shutil
import time
import tokenize
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from lookups import corpus, sources
from lookups.copies import new_shares
from lookups.errors import CorpusError
from lookups.sources import Written

TOPICS = ("array", "table", "graph", "model", "matrix", "message", "window", "letter", "river")


def module(subject: str) -> str:
    return f'''"""Everything that has to do with the {subject} of the day.

The {subject} is read from the disk as soon as it is needed by someone.
"""

# The next lines are about the {subject} and were written
# by somebody who knew how a {subject} should be handled.
LIMIT = 3  # a comment beside code is left out of it


def handle_{subject}():
    """Take the {subject} apart and say how many pieces of it are left."""
    return """This constant string is about the {subject} that was given."""
'''


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two installed packages of made-up files; the second repeats a file of the first."""
    site = tmp_path / "site"
    contents = {
        "alpha": {f"alpha/{topic}.py": module(topic) for topic in TOPICS},
        "beta": {
            "beta/copied.py": module("array"),
            "beta/near.py": '"""Take the array apart and say how many pieces of it are found."""\n',
            "beta/own.py": module("mountain"),
            "beta/_version.py": '"""This file says which version it is and no more."""\n',
        },
    }
    for name, files in contents.items():
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in reversed(files)))
        for file, text in files.items():
            (site / file).parent.mkdir(exist_ok=True)
            (site / file).write_text(text)
    (site / "alpha" / "stranger.py").write_text(
        '"""A stranger put this file here, so it is out."""'
    )
    monkeypatch.syspath_prepend(str(site))
    return {"alpha": "1.0", "beta": "1.0"}


def rows(prose: corpus.Prose) -> list[tuple]:
    return [tuple(row) for table in (prose.train, prose.test) for row in table.to_numpy()]


def test_strings_and_block_comments_are_kept_with_their_lines(packages):
    prose = corpus.harvest(packages, workers=1)
    found = [(line, text) for _, _, file, line, text in rows(prose) if file == "alpha/array.py"]
    assert found == [
        (1, "Everything that has to do with the array of the day."),
        (1, "The array is read from the disk as soon as it is needed by someone."),
        (
            6,
            "The next lines are about the array and were written by somebody who knew how a "
            "array should be handled.",
        ),
        (12, "Take the array apart and say how many pieces of it are left."),
        (13, "This constant string is about the array that was given."),
    ]


def test_workers_change_nothing_and_two_runs_are_alike(packages):
    one, two = corpus.harvest(packages, workers=1), corpus.harvest(packages, workers=2)
    assert rows(one) == rows(two)
    assert one.digest == two.digest
    assert one.report == two.report


def test_order_of_the_record_changes_nothing(packages, tmp_path):
    before = corpus.harvest(packages, workers=1)
    record = tmp_path / "site" / "alpha-1.0.dist-info" / "RECORD"
    record.write_text("".join(sorted(record.read_text().splitlines(keepends=True))))
    assert corpus.harvest(packages, workers=1).digest == before.digest


def test_copies_near_copies_strangers_and_generated_files_are_left_out(packages):
    prose = corpus.harvest(packages, workers=1)
    files = {row[2] for row in rows(prose)}
    assert "alpha/stranger.py" not in files
    assert not files & {"beta/copied.py", "beta/near.py", "beta/_version.py"}
    assert "beta/own.py" in files
    dropped = prose.report["packages"]["beta"]["dropped"]
    assert dropped == {"copy": 5, "near-copy": 3}  # near.py, and two sentences of own.py


def test_every_paragraph_is_kept_or_counted(packages):
    for entry in corpus.harvest(packages, workers=1).report["packages"].values():
        assert entry["paragraphs"] == entry["kept"] + sum(entry["dropped"].values())


def test_files_not_paragraphs_are_split(packages):
    prose = corpus.harvest(packages, workers=1)
    assert not set(prose.train.file) & set(prose.test.file)
    assert {corpus.split_of(file) for file in prose.train.file} == {"train"}
    assert prose.train.number.tolist() == list(range(len(prose.train)))


def test_share_of_new_runs_by_hand():
    a = np.array([1, 2, 3, 4, 5, 6], dtype=np.uint64)  # runs 1-5, 2-6
    b = np.array([1, 2, 3, 4, 5, 7], dtype=np.uint64)  # runs 1-5 (seen), 2-7
    short = np.array([8, 9], dtype=np.uint64)
    assert new_shares([a, b, a, short, short]).tolist() == [1, 0.5, 0, 1, 0]
    assert new_shares([short]).tolist() == [1]


def test_a_run_seen_twice_in_one_paragraph_is_new_there():
    again = np.array([1, 2, 3, 4, 5] * 2, dtype=np.uint64)
    assert new_shares([again]).tolist() == [1]


def test_cache_is_read_and_half_written_ones_are_not(packages, tmp_path, monkeypatch):
    first = corpus.load_prose(packages, data=tmp_path, workers=1)
    folder = corpus.cache_folder(packages, data=tmp_path)
    names = sorted(path.name for path in folder.parent.iterdir())
    assert [name for name in names if not name.endswith(".lock")] == [folder.name]

    def no_harvest(*_, **__):
        raise AssertionError("harvested although cached")

    with monkeypatch.context() as patched:
        patched.setattr(corpus, "harvest", no_harvest)
        assert corpus.load_prose(packages, data=tmp_path).digest == first.digest
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    half = folder / "train.parquet"
    half.write_bytes(half.read_bytes()[:100])
    assert corpus.load_prose(packages, data=tmp_path, workers=1).digest == first.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    (folder / "report.json").unlink()
    assert corpus.load_prose(packages, data=tmp_path, workers=1).digest == first.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def _loaded_at(start: float, packages: dict[str, str], data: Path, told) -> None:
    time.sleep(max(0.0, start - time.time()))
    plain, made = corpus.harvest, []

    def counted(*args, **options):
        made.append(1)
        time.sleep(0.3)
        return plain(*args, **options)

    corpus.harvest = counted
    told.put((corpus.load_prose(packages, data=data, workers=1), len(made)))


def test_of_two_processes_at_once_one_harvests(packages, tmp_path):
    fork, start = get_context("fork"), time.time() + 0.2
    told = fork.Queue()
    both = [
        fork.Process(target=_loaded_at, args=(start, packages, tmp_path, told)) for _ in range(2)
    ]
    for process in both:
        process.start()
    found = [told.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    assert sorted(harvests for _, harvests in found) == [0, 1]
    assert {prose.digest for prose, _ in found} == {corpus.harvest(packages, workers=1).digest}


def test_a_kill_while_writing_leaves_no_cache(packages, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        corpus.load_prose(packages, data=tmp_path, workers=1)
    assert not corpus.cache_folder(packages, data=tmp_path).exists()


def test_another_version_is_named_and_has_its_own_cache(packages, tmp_path):
    assert corpus.other_versions(packages) == {}
    before = corpus.cache_folder(packages, data=tmp_path)
    info = tmp_path / "site" / "beta-1.0.dist-info"
    metadata = (info / "METADATA").read_text().replace("1.0", "1.1")
    shutil.move(info, info.with_name("beta-1.1.dist-info"))
    (info.with_name("beta-1.1.dist-info") / "METADATA").write_text(metadata)
    assert corpus.other_versions(packages) == {"beta": "1.1"}
    assert corpus.cache_folder(packages, data=tmp_path) != before


def test_a_missing_package_says_what_to_do(packages):
    with pytest.raises(CorpusError, match=r"nowhere 2\.0 cannot be found.*make book"):
        corpus.harvest(packages | {"nowhere": "2.0"})


def test_packages_without_prose_say_what_to_do(tmp_path, packages):
    for file in (tmp_path / "site").rglob("*.py"):
        file.write_text("x = 1\n")
    with pytest.raises(CorpusError, match="no English prose was found in alpha, beta"):
        corpus.harvest(packages, workers=1)


def by_tokenize(source: str) -> list[Written]:
    """What `written_in` should find, found slowly."""
    found: list[Written] = []
    comment: list[tuple[int, int, str]] = []

    def end_comment() -> None:
        if comment:
            found.append(Written(comment[0][0], "\n".join(text for _, _, text in comment)))
            comment.clear()

    for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and not token.line[:column].strip():
            if comment and (row != comment[-1][0] + 1 or column != comment[-1][1]):
                end_comment()
            text = token.string.lstrip("#").removeprefix(":").removeprefix(" ").rstrip()
            comment.append((row, column, text))
        elif token.type == tokenize.STRING:
            prefix = token.string[: min(token.string.index(q) for q in "'\"" if q in token.string)]
            literal = token.string[len(prefix) :]
            if literal[:3] not in ('"""', "'''") or set(prefix.lower()) & set("fb"):
                continue
            if len(literal) >= sources.SHORTEST_TEXT:
                end_comment()
                found.append(Written(row, ast.literal_eval(token.string)))
    end_comment()
    return found


def documentation(source: str) -> set[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return {text for node in nodes if (text := ast.get_docstring(node, clean=False))}


def test_the_scan_finds_what_tokenize_and_ast_find():
    files = sources.source_files({"numpy": "", "networkx": "", "SQLAlchemy": ""})
    for file in files[::40]:
        source = file.path.read_text(encoding="utf-8")
        scanned = list(sources.written_in(source))
        assert scanned == by_tokenize(source), file.name
        quoted = {text for text in documentation(source) if f'"""{text}"""' in source}
        long_enough = {text for text in quoted if len(text) + 6 >= sources.SHORTEST_TEXT}
        assert long_enough <= {written.text for written in scanned}, file.name


@pytest.mark.parametrize(
    "source",
    [
        'x = \'# no comment, and """ no string\'\n# A comment stands here, though.\n',
        'x = "an escaped \\" quote # still inside"\n# A comment stands here, though.\n',
        'def f():\n    """A string with "quotes" and an escape \\n in it."""\n    # after it\n',
        "r'''A raw string with an escape \\n that stays as it is.'''\n",
        'x = f"""A formatted string is not prose, {x} is code in it."""\n# A comment is.\n',
        "#!/usr/bin/env python\n#: marked for documentation, this comment\n#\n# goes on\n",
        "if x:\n    # indented\n# and not indented any more\n",
    ],
)
def test_the_scan_is_not_confused_by_quotes_and_escapes(source):
    assert list(sources.written_in(source)) == by_tokenize(source)


def test_documentation_strings_only_without_constants():
    source = (
        '"""The documentation string of a module."""\nx = """A constant string of some length."""\n'
    )
    assert [w.line for w in sources.written_in(source, constants=False)] == [1]


@pytest.mark.slow
def test_the_corpus_is_the_one_that_notebooks_and_model_were_made_from():
    try:
        others = corpus.other_versions()
    except CorpusError as error:
        pytest.skip(f"NOT RUN: {error}")
    if others:
        named = ", ".join(f"{name} {version}" for name, version in others.items())
        pytest.skip(f"NOT RUN: the corpus differs, since other versions are installed: {named}")
    prose = corpus.load_prose()
    assert prose.digest == corpus.EXPECTED_DIGEST
    assert corpus.digest_as_expected()
    assert json.dumps(prose.report).count('"pinned"') == len(sources.PACKAGES)
    table = corpus.corpus_report()
    assert table.kept.sum() == len(prose.train) + len(prose.test)
    for text in (*prose.train.text, *prose.test.text):
        assert text.isascii()
        assert "\n" not in text
    assert not any(Path(file).is_absolute() for file in prose.train.file)
