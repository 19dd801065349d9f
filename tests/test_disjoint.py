"""No text of the test split is one of the train split: against a naive comparison of all texts."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from lookups.disjoint import digests_of, numbered_apart, overlap, text_digest
from lookups.documents import load_documents
from lookups.errors import CorpusError
from lookups.runs import CorpusSpec
from lookups.texts import Text, half_of
from tiny import random_tokenizer


def sentences(n: int, seed: int) -> list[str]:
    words = random.Random(seed)
    return [" ".join(f"w{words.randint(1, 9)}" for _ in range(3)) for _ in range(n)]


def spaced(text: str, seed: int) -> str:
    """Write the same words with other white space between and around them."""
    chance = random.Random(seed)
    gaps = [chance.choice([" ", "\n", "\t ", "  ", "\u00a0"]) for _ in range(9)]
    return gaps[8] + "".join(word + gap for word, gap in zip(text.split(), gaps, strict=False))


def jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_white_space_makes_no_difference_and_anything_else_does():
    assert text_digest("a b\nc") == text_digest("  a\t b c\n")
    others = ["a b", "a b c d", "ab c", "a b C", "a b c."]
    assert len({text_digest(text) for text in ["a b c", *others]}) == 6
    assert len(text_digest("a")) == 16


def test_digests_hold_what_a_set_of_texts_holds():
    train, test = sentences(400, 1), sentences(2000, 2)
    digests = digests_of(spaced(text, n) for n, text in enumerate(train))
    assert [digests.hold(text) for text in test] == [text in set(train) for text in test]
    assert 200 < sum(text in set(train) for text in test) < 1800
    assert digests.high.nbytes + digests.low.nbytes == 16 * len(train)


def test_equal_first_halves_of_digests_are_told_apart():
    digests = digests_of(["a", "b"])
    high = np.full(2, np.frombuffer(text_digest("c"), np.uint64)[0])
    assert not digests._replace(high=high).hold("c")
    low = np.frombuffer(text_digest("c"), np.uint64)[[1, 1]]
    assert digests._replace(high=high, low=low).hold("c")


def test_nothing_is_held_by_nothing():
    assert not digests_of([]).hold("a")


def test_shared_texts_are_left_out_counted_and_keep_their_numbers(tmp_path):
    train, test = sentences(300, 3), sentences(900, 4)
    again = [spaced(text, n) for n, text in enumerate(test)]
    spec = CorpusSpec(
        name=str(jsonl(tmp_path / "train.jsonl", train)),
        held_out=str(jsonl(tmp_path / "test.jsonl", again)),
        documents=300,
        folder=tmp_path,
    )
    expected = [number for number, text in enumerate(test) if text not in set(train)][:300]
    documents = load_documents(spec, "test", tokenizer=random_tokenizer(), context=64)
    assert [one.key for one in documents] == [f"test/test/{number}" for number in expected]
    assert documents.n_shared == expected[-1] + 1 - 300 > 20
    assert overlap(spec) == (300, expected[-1] + 1, documents.n_shared)
    for number in (expected[0], expected[77], expected[-1]):
        found = documents.by_key(f"test/test/{number}")
        assert " ".join(f"w{i}" for i in found.ids) == test[number]
    gap = next(n for n in range(expected[-1]) if n not in set(expected))
    with pytest.raises(CorpusError, match=f"'test/test/{gap}' is left out, since the train split"):
        documents.by_key(f"test/test/{gap}")
    with pytest.raises(CorpusError, match="is beyond the 300 documents loaded"):
        documents.by_key(f"test/test/{expected[-1] + 1}")
    assert load_documents(spec, "train", tokenizer=random_tokenizer(), context=64).n_shared == 0


def test_a_number_belongs_to_a_text_however_many_train_texts_are_read():
    texts = [Text(text, "a", 0) for text in sentences(50, 5)]
    kept = dict(numbered_apart(texts, None))
    for n in (1, 10, 40):
        some = digests_of(text.text for text in texts[:n])
        for number, text in numbered_apart(texts, some):
            assert text in (None, kept[number])


def test_the_halves_of_one_corpus_are_held_apart_too(tmp_path):
    """Copies that differ in white space can come into both halves, which go by the exact text."""
    texts = list(dict.fromkeys(sentences(200, 6)))
    path = jsonl(tmp_path / "mine.jsonl", texts + [spaced(t, n) for n, t in enumerate(texts)])
    spec = CorpusSpec(name=str(path), folder=tmp_path)
    reading = {"tokenizer": random_tokenizer(), "context": 64}
    train, test = (load_documents(spec, split, **reading) for split in ("train", "test"))
    ids = [{tuple(one.ids.tolist()) for one in half} for half in (train, test)]
    assert not ids[0] & ids[1]
    both = [half_of(t) != half_of(spaced(t, n)) for n, t in enumerate(texts)]
    assert test.n_shared == sum(both) > 20


def test_a_test_split_that_stands_in_the_train_split_says_so(tmp_path):
    a, b = (jsonl(tmp_path / f"{name}.jsonl", ["w1 w2", "w3"]) for name in "ab")
    spec = CorpusSpec(name=str(a), held_out=str(b), folder=tmp_path)
    words = r"b\.jsonl' has no text for its test split \(all 2 stand in the train split\); add"
    with pytest.raises(CorpusError, match=words):
        load_documents(spec, "test", tokenizer=random_tokenizer(), context=64)
