"""Where texts come from: files of every kind, folders, datasets; and which split they are in."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from lookups.corpus.texts import Text, corpus_texts, half_of, key_name
from lookups.errors import SourceError
from lookups.settings import CorpusSpec

TEXTS = [f"Number {n} is naïve → and\nhas two lines." for n in range(60)]
ENDINGS = [".txt", ".jsonl", ".parquet", ".txt.gz", ".jsonl.gz", ".txt.zst", ".jsonl.zst"]


def written(path: Path, texts: list = TEXTS, field: str = "text") -> Path:
    """Write texts as the kind of file that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame({field: texts, "n": range(len(texts))}).to_parquet(path)
        return path
    rows = [json.dumps({field: text, "meta": {"a": 1}}) for text in texts]
    content = ("\n \n\n".join(texts) if ".txt" in path.name else "\n".join(rows)).encode()
    squeezed = {".gz": gzip.compress, ".zst": lambda c: pyarrow.compress(c, "zstd").to_pybytes()}
    path.write_bytes(squeezed.get(path.suffix, bytes)(content))
    return path


def every(name: object, **more) -> list[Text]:
    """All texts of a corpus: as the train split of a run whose test split is another."""
    spec = CorpusSpec(name=str(name), **{"held_out": "other"} | more)
    return list(corpus_texts(spec, "train"))


def texts_of(name: object, split: str = "train", **more) -> list[str | None]:
    return [one.text for one in corpus_texts(CorpusSpec(name=str(name), **more), split)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_texts(tmp_path, ending):
    path = written(tmp_path / f"mine{ending}")
    assert every(path) == [Text(text, f"mine{ending}#{n + 1}") for n, text in enumerate(TEXTS)]
    halves = {split: texts_of(path, split) for split in ("train", "test")}
    assert halves == {s: [text for text in TEXTS if half_of(text) == s] for s in halves}
    assert texts_of(written(tmp_path / f"none{ending}", [])) == []
    path = written(tmp_path / f"mine{ending}", ["one", "", " \n\t ", "two"], field="words")
    assert [one.text for one in every(path, field="words")] == ["one", "two"]
    if ".txt" not in ending:
        assert [one.text for one in every(path)] == [None] * 4


@pytest.mark.parametrize("ending", [one for one in ENDINGS if ".txt" not in one])
def test_rows_without_a_text_are_of_one_kind_in_all_formats_and_fields_may_be_nested(
    tmp_path, ending
):
    path = written(tmp_path / f"mine{ending}", [*TEXTS, None, "", " "])
    halves = [texts_of(path, split) for split in ("train", "test")]
    assert [half.count(None) for half in halves] == [1, 0]
    assert sorted(filter(None, [*halves[0], *halves[1]])) == sorted(TEXTS)
    rows = [{"b": "one"}, {"b": None}, None, {"b": "two"}]
    path = written(tmp_path / f"nested{ending}", rows, field="a")
    assert [one.text for one in every(path, field="a.b")] == ["one", None, None, "two"]
    for field in ("a", "a.c", "b", "a.b.c", "."):
        assert [one.text for one in every(path, field=field)] == [None] * 4
    path = written(tmp_path / f"dotted{ending}", ["one"], field="a.b")
    assert [one.text for one in every(path, field="a.b")] == ["one"]


def test_odd_characters_are_read(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\n{"text": "a\\ud83d b \\ud83d\\ude00"}\n')
    assert [one.text for one in every(path)] == ["one", "a? b 😀"]


def test_works_are_split_by_file_and_rows_by_text(tmp_path):
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text(f"A {n}.\n\nB {n}.")
    written(tmp_path / "rows.jsonl")
    found = list(corpus_texts(CorpusSpec(name=str(tmp_path)), "train"))
    mine = [n for n in range(8) if half_of(f"{n}.txt") == "train"]
    works = [Text(f"{letter} {n}.", f"{n}.txt") for letter in "AB" for n in mine]  # in turn
    rows = [one for one in found if one.source.startswith("rows.jsonl")]
    assert [one for one in found if one not in rows] == works
    assert [one.text for one in rows] == [t for t in TEXTS if half_of(t) == "train"]


def test_the_files_of_a_folder_are_read_in_turn_and_hidden_ones_are_not(tmp_path, monkeypatch):
    place = tmp_path / "org" / "name"
    written(place / "b" / "2.jsonl", TEXTS[20:])
    written(place / "a" / "1.jsonl", TEXTS[:20])
    written(place / ".cache" / "0.jsonl", ["hidden"])
    written(place / ".1.jsonl", ["hidden"])
    (place / "README.md").write_text("# No text")
    found = every(place)
    assert [one.source for one in found[:4]] == [
        f"{name}.jsonl#{n}" for n in (1, 2) for name in ("a/1", "b/2")
    ]
    monkeypatch.setattr("lookups.corpus.texts.OPEN", 1)
    assert [one.text for one in every(place)] == TEXTS
    monkeypatch.undo()
    assert every("org/name", folder=tmp_path) == found  # as a dataset that was fetched
    one = every("org/name/b/2.jsonl", folder=tmp_path)
    assert [text.text for text in one] == TEXTS[20:]


def test_keys_name_a_corpus_in_one_word():
    names = {
        "NeelNanda/pile-10k": "pile-10k",
        "org/name/val.jsonl": "name-val",
        "org/name/data/train-0.parquet": "name-data-train-0",
        "/srv/texts/": "texts",
        "/srv/texts.jsonl.gz": "texts",
        "mine.txt": "mine",
    }
    assert {name: key_name(name) for name in names} == names


CUT = gzip.compress(b"one\n" * 9999, mtime=0)[:-20]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "na\xef"}', r"a\.jsonl cannot be read \('utf-8' codec"),
        ("b.txt", b"na\xefve", r"b\.txt cannot be read \('utf-8' .*; .*, or save it as UTF-8"),
        ("c.parquet", b"PAR1", r"c\.parquet cannot be read \(.*; fetch it again"),
        ("d.parquet", b"", r"d\.parquet cannot be read"),
        ("e.txt.gz", b"no", r"e\.txt\.gz cannot be read \(Not a gzipped"),
        ("f.txt.gz", CUT, r"f\.txt\.gz cannot be read \(Compressed file ended"),
        ("f.txt.zst", b"no", r"f\.txt\.zst cannot be read \("),
        (
            "h.txt.zst",
            pyarrow.compress(b"one\n" * 9999, "zstd").to_pybytes()[:-4],
            "cannot be read",
        ),
        ("g.csv", b"a,b", r"g\.csv is not, .* end in \.txt, \.jsonl, \.parquet .* also with \.gz"),
        ("mine.jsonl.gz", None, r"/mine\.jsonl\.gz is not on this machine; correct its name"),
        ("org/name/a.jsonl", None, "org/name/a.jsonl is not on .* with `lookups download`"),
        ("org/name", None, "org/name is not on .* fetch the hub's dataset with `lookups download`"),
        (".", None, "has not, a file of texts"),
    ],
)
def test_what_cannot_be_read_says_what_is_wrong(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"^corpus: .*{words}"):
        texts_of(name, folder=tmp_path)
