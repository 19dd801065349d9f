"""Where texts come from: files, folders, the data folder, the hub; and which split they are in."""

import json
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from lookups.errors import CorpusError
from lookups.runs import CorpusSpec, read_run
from lookups.texts import corpus_texts, half_of, hub_texts, key_name, local_texts

TEXTS = [f"The value {n} is kept." for n in range(60)]


def jsonl(path: Path, texts: list[str], field: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))
    return path


def texts_of(name: object, split: str = "train", **more) -> list[str]:
    return [one.text for one in corpus_texts(CorpusSpec(name=str(name), **more), split)]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Datasets in folders of this machine in place of the hub's; the real library reads them."""
    place = tmp_path / "hub"
    load = datasets.load_dataset
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, **more: load(str(place / name), **more)
    )
    return place


def test_rows_of_several_files_are_split_by_text_works_by_file(tmp_path):
    for n in range(3):
        jsonl(tmp_path / f"{n}.jsonl", TEXTS[n * 20 : n * 20 + 20])
    halves = {split: texts_of(tmp_path, split) for split in ("train", "test")}
    assert halves == {s: [text for text in TEXTS if half_of(text) == s] for s in halves}
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text(f"A {n}.\n\nB {n}.")
    works = [text for text in texts_of(tmp_path, "train") if text[0] in "AB"]
    assert works == [f"{p} {n}." for n in range(8) if half_of(f"{n}.txt") == "train" for p in "AB"]


def test_a_folder_is_read_in_order_and_hidden_files_are_not(tmp_path):
    jsonl(tmp_path / "b" / "2.jsonl", TEXTS[20:])
    jsonl(tmp_path / "a" / "1.jsonl", TEXTS[:20])
    jsonl(tmp_path / ".cache" / "0.jsonl", ["hidden"])
    jsonl(tmp_path / ".1.jsonl", ["hidden"])
    (tmp_path / "download.json").write_text("{}")
    (tmp_path / "README.md").write_text("# No text")
    found = list(local_texts(tmp_path, None))
    assert [one.text for one in found] == TEXTS
    assert [found[0].source, found[20].source] == ["a/1.jsonl#1", "b/2.jsonl#1"]


def test_a_downloaded_dataset_is_found_in_the_data_folder(tmp_path):
    jsonl(tmp_path / "org" / "name" / "train-00000.jsonl", TEXTS[:30])
    jsonl(tmp_path / "org" / "name" / "train-00001.jsonl", TEXTS[30:])
    found = texts_of("org/name", folder=tmp_path)
    assert found == [text for text in TEXTS if half_of(text) == "train"]
    one_file = "org/name/train-00001.jsonl"
    assert texts_of(one_file, folder=tmp_path) == [t for t in found if t in TEXTS[30:]]


def test_a_dataset_reads_alike_downloaded_and_as_a_stream(tmp_path, hub):
    jsonl(hub / "org" / "name" / "train.jsonl", TEXTS)
    streamed = texts_of("org/name", "test", folder=tmp_path / "data")
    jsonl(tmp_path / "data" / "org" / "name" / "train.jsonl", TEXTS)
    assert streamed == texts_of("org/name", "test", folder=tmp_path / "data") != []


def test_a_stream_takes_the_train_split_or_else_all(hub):
    jsonl(hub / "org" / "both" / "train.jsonl", TEXTS[:5])
    jsonl(hub / "org" / "both" / "test.jsonl", TEXTS[5:])
    jsonl(hub / "org" / "neither" / "val.jsonl", TEXTS[5:])
    jsonl(hub / "org" / "neither" / "test.jsonl", TEXTS[:5])
    assert [one.text for one in hub_texts("org/both", None)] == TEXTS[:5]
    assert [one.text for one in hub_texts("org/neither", None)] == TEXTS
    one = list(hub_texts("org/neither/val.jsonl", None))
    assert [text.text for text in one] == TEXTS[5:]
    assert one[0].source == "neither-val#1"


def test_a_stream_without_the_field_says_what_it_has(hub):
    jsonl(hub / "org" / "name" / "train.jsonl", TEXTS, "content")
    with pytest.raises(CorpusError, match="no text field 'text', only content; name the field"):
        list(hub_texts("org/name", None))
    assert len(list(hub_texts("org/name", None, field="content"))) == len(TEXTS)


def test_a_held_out_corpus_is_the_whole_test_split(tmp_path):
    mine, other = jsonl(tmp_path / "a.jsonl", TEXTS), jsonl(tmp_path / "b.jsonl", ["x", "y"])
    spec = {"held_out": str(other)}
    assert texts_of(mine, "train", **spec) == TEXTS
    assert texts_of(mine, "test", **spec) == ["x", "y"]


def test_keys_name_a_corpus_in_one_word():
    names = {
        "NeelNanda/pile-10k": "pile-10k",
        "org/name/val.jsonl": "name-val",
        "org/name/data/train-0.parquet": "name-data-train-0",
        "/srv/texts/": "texts",
        "/srv/texts.jsonl.gz": "texts",
        "mine.txt": "mine",
        "planted": "planted",
    }
    assert {name: key_name(name) for name in names} == names


def test_what_is_nowhere_says_where_to_look(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CorpusError, match=r"there is no file or folder .*mine\.jsonl\.gz; correct"):
        texts_of("mine.jsonl.gz", folder=tmp_path)
    words = (
        "'org/name/a.jsonl' is no local file, and .* fetch it beforehand with `lookups download`"
    )
    with pytest.raises(CorpusError, match=words):
        texts_of("org/name/a.jsonl", folder=tmp_path)
    (tmp_path / "old.csv").write_text("a,b")
    with pytest.raises(CorpusError, match=r"old\.csv is not one of .* \(the first two also with"):
        texts_of(tmp_path / "old.csv")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "planted", "held_out": "a/b"}, "'planted' has a test split of its own"),
        ({"name": "a/b", "held_out": "planted"}, "held_out goes with texts of one's own"),
        ({"name": "a/b", "held_out": "a/b"}, "held_out is 'a/b' as well; without the key half"),
    ],
)
def test_a_held_out_corpus_that_cannot_be_is_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        CorpusSpec(**keys)


def test_a_relative_held_out_corpus_is_taken_from_the_run_file(tmp_path):
    (tmp_path / "mine.yml").write_text(
        "title: A run\nmodel: {name: gpt2}\nlayers: [0]\n"
        "corpus: {name: org/name, held_out: ./other.jsonl, field: content}\n"
    )
    corpus = read_run(tmp_path / "mine.yml").corpus
    assert (corpus.name, corpus.field) == ("org/name", "content")
    assert Path(corpus.held_out) == tmp_path / "other.jsonl"
