"""Documents: packing loses nothing, keys stay, what is cut is counted, errors say what to do."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from lookups import corpus, packing
from lookups.corpus import Prose
from lookups.documents import load_documents, load_prompts
from lookups.errors import CorpusError
from lookups.packing import pack, passages
from lookups.runs import CorpusSpec
from lookups.texts import Text, half_of
from lookups.vocabulary import BOS_ID, save_tokenizer, train_tokenizer
from transformers import AutoTokenizer

SENTENCES = [f"The value number {n} is read from the table and kept for later." for n in range(400)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(SENTENCES, 300), folder, context=32)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def prose(monkeypatch, tmp_path):
    """A corpus of forty made-up files in place of the harvest, in a data folder of its own."""
    rows = [
        {"number": n, "package": "p", "file": f"p/{n // 10}.py", "line": n, "text": text}
        for n, text in enumerate(SENTENCES)
    ]
    table = pd.DataFrame(rows)
    made = Prose(table, table.iloc[:20], "digest", {})
    monkeypatch.setattr(corpus, "load_prose", lambda **_: made)
    monkeypatch.setattr(corpus, "cache_folder", lambda **_: tmp_path / "data" / "prose" / "made")
    return made


def spec(name: object, **more) -> CorpusSpec:
    return CorpusSpec(name=str(name), **more)


def test_the_tokenizer_round_trips_and_adds_no_bos(tokenizer):
    text = "The value is kept.\nÄnd naïve → text, too."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert BOS_ID not in ids
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == BOS_ID
    assert train_tokenizer(SENTENCES, 300).get_vocab() == tokenizer.get_vocab()


def test_cutting_at_newlines_changes_no_id(tokenizer):
    lines = ["Two lines,", "cut apart.", "(And a third.)"]
    apart = [tokenizer(line)["input_ids"] for line in lines]
    (newline,) = tokenizer("\n")["input_ids"]
    joined = [*apart[0], newline, *apart[1], newline, *apart[2]]
    assert tokenizer("\n".join(lines))["input_ids"] == joined


@pytest.mark.parametrize("limit", [2, 3, 7, 20, 1000])
def test_passages_lose_nothing(limit):
    paragraphs = [(list(range(1, n + 1)), n) for n in (3, 1, 9, 2, 25, 4, 4, 1)]
    found = list(passages(iter(paragraphs), [0], limit))
    assert all(len(ids) <= limit for ids, _ in found)
    ids = [i for passage, _ in found for i in passage if i]
    assert ids == [i for paragraph, _ in paragraphs for i in paragraph]


def test_what_looks_like_a_special_token_is_read_as_it_is_written(tmp_path, tokenizer):
    text = f"The value{tokenizer.bos_token} is kept, {tokenizer.eos_token}"
    path = tmp_path / "mine.txt"
    path.write_text(text)
    documents = load_prompts(path, tokenizer=tokenizer, context=64)
    assert documents.text(0) == text
    assert BOS_ID not in documents[0].ids
    assert BOS_ID in tokenizer(text)["input_ids"], "the tokenizer itself is left as it was"


@pytest.mark.parametrize("lot", [1, 50, 10**9])
def test_lots_of_texts_change_no_id(tokenizer, monkeypatch, lot):
    monkeypatch.setattr(packing, "LOT", lot)
    texts = [Text(text * (n % 3), str(n), n) for n, text in enumerate(SENTENCES[:50])]
    found = list(packing.tokenized(texts, tokenizer, at_once=7))
    assert [ids for ids, _, _ in found] == [tokenizer(one.text)["input_ids"] for one in texts]
    assert [(source, line) for _, source, line in found] == [(str(n), n) for n in range(50)]


def test_a_word_that_the_tokenizer_does_not_know_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("w1 w2\n\nw3 other")
    with pytest.raises(CorpusError, match=r"mine\.txt#2: a special token .* take it out"):
        load_documents(
            spec(path, held_out=str(tmp_path / "none.txt"), folder=tmp_path),
            "train",
            tokenizer=tiny.random_tokenizer(bos_token="<|bos|>"),
            context=64,
        )


def test_passages_end_at_paragraphs_where_they_can():
    paragraphs = [([1, 1, 1], 10), ([2, 2], 20), ([3, 3, 3, 3], 30)]
    assert list(passages(paragraphs, [0], 6)) == [([1, 1, 1, 0, 2, 2], 10), ([3, 3, 3, 3], 30)]
    assert list(passages([([1] * 7, 5), ([2], 6)], [0], 5)) == [([1] * 5, 5), ([1, 1, 0, 2], 5)]


def test_pack_cuts_counts_and_leaves_empty_documents_out():
    packed = pack([([1, 2, 3], "a", 1), ([], "b", 2), ([4], "c", 3)], 2)
    assert packed.ids.tolist() == [1, 2, 4]
    assert packed.stops.tolist() == [2, 3]
    assert (packed.sources, packed.lines, packed.n_cut) == (["a", "c"], [1, 3], 1)


def test_prose_documents_hold_the_whole_corpus(prose, tokenizer):
    documents = load_documents(
        spec("prose", documents=10_000, length=64), "train", tokenizer=tokenizer, context=256
    )
    assert documents.n_cut == 0
    assert documents.length <= 64
    lines = [line for n in range(len(documents)) for line in documents.text(n).split("\n")]
    assert sorted(lines) == sorted(SENTENCES)
    for n in range(len(documents)):
        document = documents[n]
        assert document.key == f"prose/train/{n}"
        assert document.source == f"p/{document.line // 10}.py"
        assert documents.text(n).startswith(SENTENCES[document.line])


def test_keys_do_not_depend_on_how_many_are_asked_for(prose, tokenizer):
    few, many = (
        load_documents(spec("prose", documents=n), "train", tokenizer=tokenizer, context=128)
        for n in (5, 50)
    )
    assert len(few) == 5
    assert [few[n].ids.tolist() for n in range(5)] == [many[n].ids.tolist() for n in range(5)]
    assert few.by_key("prose/train/3").source == many[3].source
    assert few.digest != many.digest


def test_documents_are_shuffled_over_files(prose, tokenizer):
    documents = load_documents(spec("prose"), "train", tokenizer=tokenizer, context=64)
    assert len({document.source for document in list(documents)[:20]}) > 10


def test_tokens_are_cached_and_a_half_written_cache_is_made_again(prose, tokenizer, monkeypatch):
    def load() -> str:
        return load_documents(spec("prose"), "train", tokenizer=tokenizer, context=64).digest

    first = load()
    (cache,) = packing.prose_corpus.cache_folder().with_name("made-tokens").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(packing, "encoded", None)
        assert load() == first
    cache.write_bytes(cache.read_bytes()[:500])
    assert load() == first
    cache.unlink()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert not list(cache.parent.iterdir())


def test_documents_are_never_longer_than_the_context(prose, tokenizer):
    documents = load_documents(spec("prose", length=500), "test", tokenizer=tokenizer, context=32)
    assert documents.length <= 31


def test_documents_do_not_change(prose, tokenizer):
    documents = load_documents(spec("prose"), "train", tokenizer=tokenizer, context=64)
    with pytest.raises(ValueError, match="read-only"):
        documents[0].ids[0] = 1
    assert documents[np.int64(1)].key == "prose/train/1"
    assert documents[-1].key == f"prose/train/{len(documents) - 1}"
    with pytest.raises(IndexError):
        documents[len(documents)]


def test_an_unknown_key_says_why(prose, tokenizer):
    documents = load_documents(spec("prose", documents=5), "train", tokenizer=tokenizer, context=64)
    with pytest.raises(CorpusError, match="is not a key of prose/train"):
        documents.by_key("prose/test/1")
    with pytest.raises(CorpusError, match="beyond the 5 documents"):
        documents.by_key("prose/train/5")


def test_planted_documents(tokenizer):
    documents = load_documents(
        spec("planted", documents=20), "test", tokenizer=tokenizer, context=64
    )
    assert len(documents) == 20
    assert len({document.source for document in documents}) == 20
    assert BOS_ID not in documents[0].ids


def written(folder: Path, kind: str) -> Path:
    path = folder / f"mine{kind}"
    if kind == ".txt":
        path.write_text("\n\n\n".join(SENTENCES) + "\n\n")
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in SENTENCES))
    else:
        pd.DataFrame({"text": SENTENCES, "n": 1}).to_parquet(path)
    return path


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".parquet"])
def test_a_file_of_ones_own_is_split_by_text(tmp_path, tokenizer, kind):
    path = written(tmp_path, kind)
    texts = {}
    for split in ("train", "test"):
        documents = load_documents(spec(path), split, tokenizer=tokenizer, context=128)
        texts[split] = [documents.text(n) for n in range(len(documents))]
        assert texts[split] == [text for text in SENTENCES if half_of(text) == split]
        assert documents[0].key == f"mine/{split}/0"
        assert documents[0].source.startswith(f"mine{kind}#")
    assert min(len(half) for half in texts.values()) > 150


def test_a_folder_is_split_by_file(tmp_path, tokenizer):
    for n in range(12):
        (tmp_path / f"{n}.txt").write_text("\n\n".join(SENTENCES[n * 10 : n * 10 + 10]))
    sources = {}
    for split in ("train", "test"):
        documents = load_documents(spec(tmp_path), split, tokenizer=tokenizer, context=128)
        sources[split] = {document.source for document in documents}
    assert sources["train"] | sources["test"] == {f"{n}.txt" for n in range(12)}
    assert not sources["train"] & sources["test"]


def test_long_documents_are_cut_and_counted(tmp_path, tokenizer):
    path = tmp_path / "long.txt"
    path.write_text("\n\n".join(f"{n} " * (200 if n % 4 == 0 else 3) for n in range(100)))
    documents = load_documents(spec(path, length=40), "train", tokenizer=tokenizer, context=32)
    long = sum(documents.lengths == 31)
    assert documents.length == 31
    assert documents.n_cut == long > 0


def test_a_relative_name_is_taken_from_the_data_folder(tmp_path, tokenizer):
    written(tmp_path, ".txt")
    documents = load_documents(
        spec("mine.txt", folder=tmp_path), "train", tokenizer=tokenizer, context=128
    )
    assert documents.corpus == "mine"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", " \n\n", "has no text for its train split; add documents"),
        ("bad.jsonl", '{"text": "fine"}\nnot json\n', "line 2 of bad.jsonl is not a JSON object"),
        (
            "bad.jsonl",
            '{"words": "fine"}\n',
            'line 1 of bad.jsonl is not a JSON object with a "text"',
        ),
        ("bad.parquet", "PAR1", "bad.parquet is not a whole parquet file"),
        ("bad.csv", "a,b", "bad.csv is not one of .txt, .jsonl, .parquet"),
    ],
)
def test_a_bad_file_says_what_to_do(tmp_path, tokenizer, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(CorpusError, match=words):
        load_documents(spec(path), "train", tokenizer=tokenizer, context=128)


def test_other_bad_corpora_say_what_to_do(tmp_path, tokenizer):
    def load(name: object) -> None:
        load_documents(spec(name), "train", tokenizer=tokenizer, context=128)

    with pytest.raises(CorpusError, match=r"there is no file or folder .*nowhere\.txt; correct"):
        load(tmp_path / "nowhere.txt")
    with pytest.raises(CorpusError, match=r"holds no \.txt, \.jsonl, \.parquet file"):
        load(tmp_path)
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin\.txt is not UTF-8 text"):
        load(tmp_path / "latin.txt")
    pd.DataFrame({"words": ["a"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(CorpusError, match="no column 'text', only words"):
        load(tmp_path / "other.parquet")


def test_an_unreachable_hub_is_one_sentence(tokenizer, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CorpusError, match="'someone/something' is no local file, and as a Hugging"):
        load_documents(spec("someone/something"), "train", tokenizer=tokenizer, context=128)


def test_prompts_of_ones_own_one_a_line(tmp_path, tokenizer):
    path = tmp_path / "prompts.txt"
    path.write_text("The value is kept\n\n  read from the table  \n" + "again " * 200 + "\n")
    prompts = load_prompts(path, tokenizer=tokenizer, context=32)
    assert [prompts.text(n) for n in range(2)] == ["The value is kept", "read from the table"]
    assert [prompt.key for prompt in prompts] == ["own/train/0", "own/train/1", "own/train/2"]
    assert [prompt.line for prompt in prompts] == [1, 3, 4]
    assert (prompts.n_cut, prompts.length) == (1, 31)


def test_missing_or_empty_prompts_say_what_to_do(tmp_path, tokenizer):
    with pytest.raises(CorpusError, match=r"there is no file .*prompts\.txt; correct `prompts:`"):
        load_prompts(tmp_path / "prompts.txt", tokenizer=tokenizer, context=32)
    (tmp_path / "prompts.txt").write_text("\n")
    with pytest.raises(CorpusError, match="holds no prompt; write one on each line"):
        load_prompts(tmp_path / "prompts.txt", tokenizer=tokenizer, context=32)
