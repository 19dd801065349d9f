"""Documents: keys stay, what is cut is counted, errors say what to do."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from lookups import packing
from lookups.documents import load_documents, load_prompts
from lookups.errors import CorpusError
from lookups.grammar import BOS_ID, BOS_TEXT
from lookups.packing import pack
from lookups.runs import CorpusSpec
from lookups.texts import Text, half_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [f"The value number {n} is read from the table and kept for later." for n in range(400)]


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level pieces learnt from the sentences, as most models have them."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    options = {"special_tokens": [BOS_TEXT], "show_progress": False}
    options["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=300, **options))
    named = {"bos_token": BOS_TEXT, "eos_token": BOS_TEXT}
    return PreTrainedTokenizerFast(tokenizer_object=learnt, **named)


def spec(name: object, **more) -> CorpusSpec:
    return CorpusSpec(name=str(name), **more)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"mine{kind}"
    if kind == ".txt":
        path.write_text("\n\n\n".join(SENTENCES) + "\n\n")
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in SENTENCES))
    else:
        pd.DataFrame({"text": SENTENCES, "n": 1}).to_parquet(path)
    return path


@pytest.fixture
def mine(tmp_path) -> Path:
    """A file of one's own with four hundred texts."""
    return written(tmp_path, ".jsonl")


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


def test_pack_cuts_counts_and_leaves_empty_documents_out():
    packed = pack([([1, 2, 3], "a", 1), ([], "b", 2), ([4], "c", 3)], 2)
    assert packed.ids.tolist() == [1, 2, 4]
    assert packed.stops.tolist() == [2, 3]
    assert (packed.sources, packed.lines, packed.n_cut) == (["a", "c"], [1, 3], 1)


def test_keys_do_not_depend_on_how_many_are_asked_for(mine, tokenizer):
    few, many = (
        load_documents(spec(mine, documents=n), "train", tokenizer=tokenizer, context=128)
        for n in (5, 50)
    )
    assert len(few) == 5
    assert [few[n].ids.tolist() for n in range(5)] == [many[n].ids.tolist() for n in range(5)]
    assert few.by_key("mine/train/3").source == many[3].source
    assert few.digest != many.digest


def test_documents_do_not_change(mine, tokenizer):
    documents = load_documents(spec(mine), "train", tokenizer=tokenizer, context=64)
    with pytest.raises(ValueError, match="read-only"):
        documents[0].ids[0] = 1
    assert documents[np.int64(1)].key == "mine/train/1"
    assert documents[-1].key == f"mine/train/{len(documents) - 1}"
    with pytest.raises(IndexError):
        documents[len(documents)]


def test_an_unknown_key_says_why(mine, tokenizer):
    documents = load_documents(spec(mine, documents=5), "train", tokenizer=tokenizer, context=64)
    with pytest.raises(CorpusError, match="is not a key of mine/train"):
        documents.by_key("mine/test/1")
    with pytest.raises(CorpusError, match="beyond the 5 documents"):
        documents.by_key("mine/train/5")


def test_planted_documents(tokenizer):
    documents = load_documents(
        spec("planted", documents=20), "test", tokenizer=tokenizer, context=64
    )
    assert len(documents) == 20
    assert len({document.source for document in documents}) == 20
    assert BOS_ID not in documents[0].ids


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
