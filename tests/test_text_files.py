"""Files of texts: every kind gives the same documents; a bad file says what is wrong with it."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from lookups.errors import CorpusError
from lookups.text_files import bare, documents_in, kind_of

TEXTS = [f"Number {n} is naïve → and\nhas two lines." for n in range(40)]


def compressed(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
            file.write(content)
    else:
        path.write_bytes(content)
    return path


def written(folder: Path, ending: str, texts: list[str] = TEXTS) -> Path:
    path = folder / f"mine{ending}"
    if ending == ".parquet":
        pd.DataFrame({"text": texts, "n": range(len(texts))}).to_parquet(path)
        return path
    lines = [json.dumps({"text": text, "meta": {"a": 1}}) for text in texts]
    joined = "\n\n".join(texts) if ".txt" in ending else "\n".join(lines)
    return compressed(path, joined.encode())


ENDINGS = [".txt", ".jsonl", ".parquet", ".txt.gz", ".jsonl.gz", ".txt.zst", ".jsonl.zst"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_documents(tmp_path, ending):
    found = list(documents_in(written(tmp_path, ending)))
    assert [text for _, text in found] == TEXTS
    apart = 3 if ".txt" in ending else 1
    assert [line for line, _ in found] == [1 + apart * n for n in range(len(TEXTS))]


def test_names_say_how_a_file_is_read():
    kinds = {"a.txt": ".txt", "a.jsonl.gz": ".jsonl", "a.txt.zst": ".txt", "a.parquet": ".parquet"}
    assert {name: kind_of(name) for name in kinds} == kinds
    assert [kind_of(name) for name in ("a.csv", "a.gz", "a.parquet.gz", "a.json", "a")] == [
        None
    ] * 5
    assert [bare(name) for name in ("a.b.jsonl.gz", "a.parquet", "org/pile-10k", "a.gz")] == [
        "a.b",
        "a",
        "org/pile-10k",
        "a.gz",
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_another_field_may_hold_the_texts(tmp_path, ending):
    path = tmp_path / f"mine{ending}"
    rows = pd.DataFrame({"words": TEXTS, "n": 1})
    if ending == ".jsonl":
        rows.to_json(path, orient="records", lines=True)
    else:
        rows.to_parquet(path)
    assert [text for _, text in documents_in(path, "words")] == TEXTS


@pytest.mark.parametrize("ending", ENDINGS)
def test_empty_documents_and_empty_files_give_nothing(tmp_path, ending):
    assert list(documents_in(written(tmp_path, ending, []))) == []
    found = documents_in(written(tmp_path, ending, ["one", "", " \n\t ", "two"]))
    assert [text for _, text in found] == ["one", "two"]


def test_a_missing_value_of_a_parquet_column_is_an_empty_document(tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"text": ["one", None, "two"]}).to_parquet(path)
    assert list(documents_in(path)) == [(1, "one"), (3, "two")]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = compressed(tmp_path / "mine.jsonl", b'\xef\xbb\xbf{"text": "one"}\n')
    assert list(documents_in(path)) == [(1, "one")]


def test_half_a_character_is_marked(tmp_path):
    path = compressed(tmp_path / "mine.jsonl", b'{"text": "a\\ud83d b \\ud83d\\ude00"}\n')
    ((_, text),) = documents_in(path)
    assert text.startswith("a\ufffd")
    assert text.endswith(" b 😀")


NO_ROW = 'is not a JSON object with a "text"'
CUT = gzip.compress(b"one\n" * 9999)[:-20]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "fine"}\nno\n', f"line 2 of a.jsonl {NO_ROW}; mend or remove"),
        ("b.jsonl", b'["text"]\n', f"line 1 of b.jsonl {NO_ROW}; mend"),
        ("c.jsonl", b'{"text": 3}\n', f"{NO_ROW} that is a text; mend"),
        ("d.jsonl", b'{"a": "b", "n": 1}', f"{NO_ROW} that is a text, only a; .* `corpus: field:`"),
        ("e.jsonl", b"[" * 100_000, f"line 1 of e.jsonl {NO_ROW}"),
        ("f.jsonl", b'{"text": "na\xefve"}', r"f\.jsonl is not UTF-8 text .* save it again"),
        ("g.txt", b"na\xefve", r"g\.txt is not UTF-8 text .* save it again as UTF-8"),
        ("h.parquet", b"PAR1", r"h\.parquet is not a whole parquet file; fetch or save"),
        ("i.parquet", b"", r"i\.parquet is not a whole parquet file; fetch or save"),
        ("j.txt.gz", b"no", r"j\.txt\.gz cannot be read \(Not a gzipped .* compress it again"),
        ("k.txt.gz", CUT, r"k\.txt\.gz cannot be read \(Compressed file ended"),
        ("l.jsonl.zst", b"no zst", r"l\.jsonl\.zst cannot be read \(ZSTD decompress failed"),
        ("m.jsonl.zst", b"", r"m\.jsonl\.zst cannot be read \(an empty file"),
    ],
    ids=lambda value: value if isinstance(value, str) and value[1] == "." else "",
)
def test_a_bad_file_says_what_is_wrong(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=f"^corpus: .*{words}"):
        list(documents_in(path))


def test_cut_off_files_are_never_taken_for_whole(tmp_path):
    for ending in (".parquet", ".jsonl.gz", ".jsonl.zst", ".txt.gz"):
        path = written(tmp_path, ending, [f"{n} {n * n}" for n in range(3000)])
        content = path.read_bytes()
        for share in (0.1, 0.5, 0.9, 0.999):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(CorpusError, match=path.name):
                list(documents_in(path))


def test_a_parquet_file_without_texts_says_what_it_holds(tmp_path):
    path = tmp_path / "other.parquet"
    pd.DataFrame({"words": ["a"], "n": [1]}).to_parquet(path)
    with pytest.raises(CorpusError, match="no column 'text', only words, n; name the column"):
        list(documents_in(path))
    with pytest.raises(CorpusError, match=r"row 1 of other\.parquet holds no text in 'n' but int"):
        list(documents_in(path, "n"))


def test_a_folder_in_place_of_a_file_says_so(tmp_path):
    (tmp_path / "odd.txt").mkdir()
    with pytest.raises(CorpusError, match=r"odd\.txt cannot be read \(Is a directory\)"):
        list(documents_in(tmp_path / "odd.txt"))
