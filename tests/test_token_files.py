"""Documents in files are the documents in memory; what is half written is made again."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from lookups import packed_texts, packing, token_files
from lookups.documents import Documents, load_documents
from lookups.errors import CorpusError, StorageError
from lookups.runs import CorpusSpec
from tiny import random_tokenizer

WORDS = np.random.default_rng(0)
TEXTS = [
    " ".join(f"w{word}" for word in WORDS.integers(1, 101, WORDS.integers(1, 30)))
    for _ in range(700)
]


@pytest.fixture
def corpus(tmp_path) -> CorpusSpec:
    path = tmp_path / "naïve" / "mine.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    held_out = tmp_path / "other.txt"
    held_out.write_text("\n\n".join(TEXTS[100:200:3] + [f"{text} w1" for text in TEXTS[:300]]))
    return CorpusSpec(
        name=str(path), held_out=str(held_out), documents=250, length=20, folder=tmp_path / "data"
    )


def load(corpus: CorpusSpec, split: str = "train") -> Documents:
    return load_documents(corpus, split, tokenizer=random_tokenizer(), context=64)


def folders(corpus: CorpusSpec) -> list[Path]:
    return sorted((corpus.folder / "tokens").iterdir())


@pytest.fixture
def in_files(monkeypatch):
    """Let documents outgrow memory after a few, and columns be read and written in small pieces."""
    monkeypatch.setattr(token_files, "IN_MEMORY", 5000)
    monkeypatch.setattr(token_files, "AT_ONCE", 17)


@pytest.mark.parametrize("split", ["train", "test"])
def test_documents_in_files_are_the_documents_in_memory(corpus, split, monkeypatch):
    expected = load(corpus, split)
    assert not corpus.folder.exists(), "a small corpus leaves no files"
    monkeypatch.setattr(token_files, "IN_MEMORY", 5000)
    monkeypatch.setattr(token_files, "AT_ONCE", 17)
    found = load(corpus, split)
    again = load(corpus, split)
    assert len(folders(corpus)) == 1
    for other in (found, again):
        assert len(other) == len(expected) == 250
        assert (other.digest, other.length) == (expected.digest, expected.length)
        assert (other.n_cut, other.n_shared) == (expected.n_cut, expected.n_shared)
        assert other.lengths.tolist() == expected.lengths.tolist()
        for row in range(-len(other), len(other)):
            here, there = other[row], expected[row]
            assert here.ids.tolist() == there.ids.tolist()
            assert (here.key, here.source, here.line) == (there.key, there.source, there.line)
            assert other.by_key(here.key).ids.tolist() == here.ids.tolist()
    assert found.n_cut > 0
    assert (found.n_shared > 0) == (split == "test")


def test_documents_in_files_do_not_change(corpus, in_files):
    documents = load(corpus)
    with pytest.raises(ValueError, match="read-only"):
        documents[0].ids[0] = 1


def test_the_second_chapter_tokenises_nothing(corpus, in_files, monkeypatch):
    first = load(corpus).digest
    monkeypatch.setattr(packing, "encoded", None)
    assert load(corpus).digest == first


def test_files_are_made_anew_when_what_they_depend_on_changes(corpus, in_files, tmp_path):
    load(corpus, "test")
    for key, value in {"documents": 240, "length": 19}.items():
        load(corpus.model_copy(update={key: value}), "test")
    train = Path(corpus.name)
    train.write_text(train.read_text() + '{"text": "w5 w6 w7"}\n')
    load(corpus, "test")
    assert len(folders(corpus)) == 4
    other = random_tokenizer()
    other.backend_tokenizer.normalizer = packing_normalizer()
    load_documents(corpus, "test", tokenizer=other, context=64)
    assert len(folders(corpus)) == 5


def packing_normalizer():
    from tokenizers.normalizers import Lowercase

    return Lowercase()


@pytest.mark.parametrize(
    "name", ["ids", "stops", "lines", "numbers", "ends", "sources", "about.json"]
)
def test_half_a_file_is_never_taken_for_whole(corpus, in_files, name):
    digest = load(corpus).digest
    (folder,) = folders(corpus)
    for damage in ("cut", "gone"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if damage == "cut":
            (folder / name).write_bytes(content[: len(content) // 2])
        assert token_files.whole(folder) is None
        assert load(corpus).digest == digest
        assert token_files.whole(folder) is not None
        assert folders(corpus) == [folder]


def test_a_kill_while_writing_leaves_nothing_under_the_name(corpus, in_files, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            load(corpus)
    assert folders(corpus) == []
    assert len(load(corpus)) == 250


def test_what_an_older_kill_left_is_removed(corpus, in_files):
    load(corpus)
    (folder,) = folders(corpus)
    shutil.rmtree(folder)
    left = folder.with_name(f".{folder.name}-left")
    fresh = folder.with_name(f".{folder.name}-fresh")
    for scratch, age in ((left, 2 * token_files.OLD), (fresh, 0)):
        scratch.mkdir()
        then = scratch.stat().st_mtime - age
        os.utime(scratch, (then, then))
    load(corpus)
    assert set(folders(corpus)) == {folder, fresh}


def test_two_processes_at_once_leave_one_whole_folder(corpus, in_files, monkeypatch):
    write = token_files._write_columns

    def other_comes_first(first, rest, scratch):
        write(first, rest, scratch)
        with monkeypatch.context() as patched:
            patched.setattr(token_files, "_write_columns", write)
            load(corpus)

    with monkeypatch.context() as patched:
        patched.setattr(token_files, "_write_columns", other_comes_first)
        assert len(load(corpus)) == 250
    assert len(folders(corpus)) == 1


def test_a_full_disk_is_one_sentence(corpus, in_files, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot be written .*No space left.*LOOKUPS_DATA"):
        load(corpus)
    assert folders(corpus) == []


def test_a_bad_row_behind_what_is_held_leaves_nothing(corpus, in_files, monkeypatch):
    monkeypatch.setattr(packing, "LOT", 100)
    path = Path(corpus.name)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:200], "not json"]))
    with pytest.raises(CorpusError, match=r"line 201 of mine\.jsonl is not a JSON object"):
        load(corpus)
    assert folders(corpus) == []


def test_a_corpus_of_the_hub_is_known_by_its_commit(monkeypatch, tmp_path):
    spec = CorpusSpec(name="org/name", folder=tmp_path)
    at = {"org/name": "a" * 40}
    monkeypatch.setattr(packed_texts, "hub_commit", at.get)

    def place() -> Path:
        return packed_texts.tokens_folder(spec, "train", random_tokenizer(), 20)

    first = place()
    assert first == place()
    at["org/name"] = "b" * 40
    second = place()
    at.clear()
    assert len({first, second, place(), place()}) == 4, "an unknown commit is never the same"
