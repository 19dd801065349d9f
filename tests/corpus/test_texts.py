"""Where texts come from: files of every kind, folders, the hub; and which split they are in."""

import gzip
import json
from pathlib import Path

import datasets
import huggingface_hub
import pandas as pd
import pytest
from lookups.corpus.texts import corpus_texts, half_of, hub_texts, key_name, kind_of, local_texts
from lookups.errors import SourceError
from lookups.settings import CorpusSpec, read_run

TEXTS = [f"Number {n} is naïve → and\nhas two lines." for n in range(60)]
ENDINGS = [".txt", ".jsonl", ".parquet", ".txt.gz", ".jsonl.gz"]


def written(path: Path, texts: list[str] = TEXTS, field: str = "text") -> Path:
    """Write texts as the kind of file that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame({field: texts, "n": range(len(texts))}).to_parquet(path)
        return path
    rows = [json.dumps({field: text, "meta": {"a": 1}}) for text in texts]
    content = ("\n \n\n".join(texts) if ".txt" in path.name else "\n".join(rows)).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def texts_of(name: object, split: str = "train", **more) -> list[str | None]:
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


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_texts(tmp_path, ending):
    found = list(local_texts(written(tmp_path / f"mine{ending}"), None))
    assert [one.text for one in found] == TEXTS
    assert [one.source for one in found] == [f"mine{ending}#{n + 1}" for n in range(len(TEXTS))]
    apart = 4 if ".txt" in ending else 1
    assert [one.line for one in found] == [1 + apart * n for n in range(len(TEXTS))]
    halves = {split: texts_of(tmp_path / f"mine{ending}", split) for split in ("train", "test")}
    assert halves == {s: [text for text in TEXTS if half_of(text) == s] for s in halves}


@pytest.mark.parametrize("ending", ENDINGS)
def test_empty_texts_and_empty_files_give_nothing(tmp_path, ending):
    assert texts_of(written(tmp_path / f"none{ending}", [])) == []
    path = written(tmp_path / f"mine{ending}", ["one", "", " \n\t ", "two"])
    assert [one.text for one in local_texts(path, None)] == ["one", "two"]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_another_field_may_hold_the_texts(tmp_path, ending):
    path = written(tmp_path / f"mine{ending}", field="words")
    assert [one.text for one in local_texts(path, None, field="words")] == TEXTS
    assert [one.text for one in local_texts(path, None)] == [None] * len(TEXTS)


def test_odd_characters_are_read(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\n{"text": "a\\ud83d b \\ud83d\\ude00"}\n')
    assert [one.text for one in local_texts(path, None)] == ["one", "a? b 😀"]


def test_works_are_split_by_file_and_rows_by_text(tmp_path):
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text(f"A {n}.\n\nB {n}.")
    written(tmp_path / "rows.jsonl")
    found = list(corpus_texts(CorpusSpec(name=str(tmp_path)), "train"))
    works = [one for one in found if one.text[0] in "AB"]
    assert [one.text for one in works] == [
        f"{letter} {n}." for n in range(8) if half_of(f"{n}.txt") == "train" for letter in "AB"
    ]
    assert {one.source for one in works} <= {f"{n}.txt" for n in range(8)}
    assert [one.text for one in found[len(works) :]] == [t for t in TEXTS if half_of(t) == "train"]


def test_a_folder_is_read_in_order_and_hidden_files_are_not(tmp_path):
    written(tmp_path / "b" / "2.jsonl", TEXTS[20:])
    written(tmp_path / "a" / "1.jsonl", TEXTS[:20])
    written(tmp_path / ".cache" / "0.jsonl", ["hidden"])
    written(tmp_path / ".1.jsonl", ["hidden"])
    (tmp_path / "README.md").write_text("# No text")
    found = list(local_texts(tmp_path, None))
    assert [one.text for one in found] == TEXTS
    assert [found[0].source, found[20].source] == ["a/1.jsonl#1", "b/2.jsonl#1"]


def test_a_dataset_reads_alike_downloaded_and_as_a_stream(tmp_path, hub):
    written(hub / "org" / "name" / "train.jsonl")
    streamed = texts_of("org/name", "test", folder=tmp_path / "data")
    written(tmp_path / "data" / "org" / "name" / "train.jsonl")
    assert streamed == texts_of("org/name", "test", folder=tmp_path / "data") != []
    one_file = texts_of("org/name/train.jsonl", "test", folder=tmp_path / "data")
    assert one_file == streamed


def test_a_stream_takes_the_train_split_or_else_all(hub):
    written(hub / "org" / "both" / "train.jsonl", TEXTS[:5])
    written(hub / "org" / "both" / "test.jsonl", TEXTS[5:])
    written(hub / "org" / "neither" / "val.jsonl", TEXTS[5:])
    written(hub / "org" / "neither" / "test.jsonl", TEXTS[:5])
    both = list(hub_texts("org/both", None))
    assert [one.text for one in both] == TEXTS[:5]
    assert [(one.source, one.line) for one in both][3:] == [("both#4", 4), ("both#5", 5)]
    assert [one.text for one in hub_texts("org/neither", None)] == TEXTS
    one = list(hub_texts("org/neither/val.jsonl", None))
    assert [text.text for text in one] == TEXTS[5:]
    assert one[0].source == "neither-val#1"
    assert {text.text for text in hub_texts("org/both", None, field="content")} == {None}


def test_a_held_out_corpus_is_the_whole_test_split(tmp_path):
    mine, other = written(tmp_path / "a.jsonl"), written(tmp_path / "b.jsonl", ["x", "y"])
    spec = {"held_out": str(other)}
    assert texts_of(mine, "train", **spec) == TEXTS
    assert texts_of(mine, "test", **spec) == ["x", "y"]


def test_names_say_how_a_file_is_read_and_keys_name_a_corpus_in_one_word():
    kinds = {"a.txt": ".txt", "a.jsonl.gz": ".jsonl", "a.parquet": ".parquet", "a.parquet.gz": None}
    kinds |= dict.fromkeys(("a.csv", "a.gz", "a.json", "a"))
    assert {name: kind_of(name) for name in kinds} == kinds
    names = {
        "NeelNanda/pile-10k": "pile-10k",
        "org/name/val.jsonl": "name-val",
        "org/name/data/train-0.parquet": "name-data-train-0",
        "/srv/texts/": "texts",
        "/srv/texts.jsonl.gz": "texts",
        "mine.txt": "mine",
        "wikipedia": "wikipedia",
    }
    assert {name: key_name(name) for name in names} == names


CUT = gzip.compress(b"one\n" * 9999)[:-20]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "na\xefve"}', r"a\.jsonl is not UTF-8 text .* save it again"),
        ("b.txt", b"na\xefve", r"b\.txt is not UTF-8 text .* save it again as UTF-8"),
        ("c.parquet", b"PAR1", r"c\.parquet cannot be read \(.*; fetch or save it again"),
        ("d.parquet", b"", r"d\.parquet cannot be read \(.*; fetch or save it again"),
        ("e.txt.gz", b"no", r"e\.txt\.gz cannot be read \(Not a gzipped .* save it again"),
        ("f.txt.gz", CUT, r"f\.txt\.gz cannot be read \(Compressed file ended"),
        ("g.csv", b"a,b", r"g\.csv is not one of \.txt, \.jsonl, \.parquet \(the first two also"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[1] == "." else "",
)
def test_a_bad_file_says_what_is_wrong(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"^corpus: .*{words}"):
        texts_of(tmp_path / name)


def test_what_is_nowhere_says_where_to_look(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"there is no file or folder .*mine\.jsonl\.gz; correct"):
        texts_of("mine.jsonl.gz", folder=tmp_path)
    words = "'org/name/a.jsonl' is no local file, and .* beforehand with `lookups download`"
    with pytest.raises(SourceError, match=words):
        texts_of("org/name/a.jsonl", folder=tmp_path)
    with pytest.raises(SourceError, match=r"holds no \.txt, \.jsonl, \.parquet file"):
        texts_of(tmp_path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "wikipedia", "held_out": "a/b"}, "'wikipedia' and 'planted' have a test split"),
        ({"name": "a/b", "held_out": "planted"}, "held_out goes with texts of one's own"),
        ({"name": "a/b", "held_out": "a/b"}, "held_out is 'a/b' as well; without the key half"),
        ({"name": "a/b", "cut": "last"}, "Input should be 'passages' or 'first'"),
    ],
)
def test_a_corpus_that_cannot_be_is_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        CorpusSpec(**keys)


def test_a_relative_held_out_corpus_is_taken_from_the_run_file(tmp_path):
    (tmp_path / "mine.yml").write_text(
        "title: A run\nmodel: {name: gpt2}\nlayers: [0]\n"
        "corpus: {name: org/name, held_out: ./other.jsonl, field: content}\n"
    )
    corpus = read_run(tmp_path / "mine.yml").corpus
    assert (corpus.name, corpus.field, corpus.cut) == ("org/name", "content", "passages")
    assert Path(corpus.held_out) == tmp_path / "other.jsonl"
