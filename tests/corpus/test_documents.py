"""Documents: passages lose nothing, keys stay, what is left out is counted, errors are clear."""

import json
import os
import random
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookups.corpus import texts as reading
from lookups.corpus.documents import Documents, load_documents, load_prompts
from lookups.corpus.grammar import labelled_documents
from lookups.corpus.texts import Text, half_of, pieces, sentences
from lookups.corpus.wikipedia import article_of
from lookups.errors import LookupsError, SourceError
from lookups.model.loaded import load_model
from lookups.settings import CorpusSpec
from tiny import random_tokenizer
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

WORDS = ["the", "value", "of", "a", "table", "is", "kept", "for", "later", "and"]
WORDS += ["naïve", "“so”", "4"]
BOS = "<|bos|>"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level pieces of words, as GPT-2 has them."""
    learned = ByteLevelBPETokenizer(trim_offsets=True)
    learned.train_from_iterator([prose(400, 0)], vocab_size=400, special_tokens=[BOS])
    return PreTrainedTokenizerFast(
        tokenizer_object=learned._tokenizer, bos_token=BOS, eos_token=BOS
    )


def prose(n: int, seed: int) -> str:
    """Return sentences of 1 to 30 words, here and there with an empty line between them."""
    chance = random.Random(seed)
    text = ""
    for _ in range(n):
        words = " ".join(chance.choices(WORDS, k=chance.randint(1, 30)))
        text += words.capitalize() + chance.choice([". ", "? ", "! ", ".\n\n", '." '])
    return text.strip()


def jsonl(path: Path, texts: list, field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))
    return path


def load(name: object, tokenizer, split: str = "train", *, context: int = 64, **more) -> Documents:
    folder = Path(name).parent
    spec = CorpusSpec(name=str(name), **{"folder": folder, "length": 24} | more)
    return load_documents(spec, split, tokenizer=tokenizer, context=context)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ('He said "No." Then he left. (So what?) 4 are here.',
         ['He said "No."', "Then he left.", "(So what?)", "4 are here."]),
        ("In the U.S. House J. Smith met Dr. Mo, e.g. Today.", None),
        ("A heading\n\nand text\nover lines.", ["A heading", "and text\nover lines."]),
        ("  Space around. Here  ", ["Space around.", "Here"]),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_sees_an_end(text, found):
    assert [text[begin:end] for begin, end in sentences(text)] == (found or [text])


def encoded(tokenizer, texts: list[str]) -> list[list[int]]:
    return [one.ids for one in reading.encoded(tokenizer, texts)]


def bare(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("limit", [5, 24, 60, 150, 400])
def test_passages_lose_little_and_are_as_many_whole_sentences_as_fit(tokenizer, limit):
    text = prose(60, 1) + " " * 200  # no passage of its own
    ((_, found, lost),) = pieces([Text(text, "a")], tokenizer, limit, "passages")
    assert all(0 < len(ids) <= limit for ids in found)
    read = bare(tokenizer.decode([i for ids in found for i in ids]))
    assert bare(text).startswith(read)
    places = {len(bare(text[:place])): place for place in range(len(text) + 1)}
    (rest,) = encoded(tokenizer, [text[places[len(read)] :].rstrip()])
    assert len(rest) == lost < limit / 3
    if limit < 150:  # some sentences are cut
        return
    ends = {len(bare(text[:end])): end for _, end in sentences(text)}
    after = np.cumsum([len(bare(tokenizer.decode(ids))) for ids in found])
    assert set(after) <= set(ends)
    order = sorted(ends)
    for ids, place in zip(found[:-1], after, strict=False):
        following = order[order.index(place) + 1]
        (added,) = encoded(tokenizer, [text[ends[place] : ends[following]]])
        assert len(ids) + len(added) > limit, "the next sentence would have had room"


ODD = 'ab .?!\n\t\r\f\x00\x1b\u2028\u202eéא\U0001f469\u200d�A1"'


@given(st.text(st.sampled_from(ODD)).filter(str.strip), st.integers(1, 9))
def test_any_text_comes_back_from_its_ids_and_passages_hold_its_beginning(tokenizer, text, limit):
    ((_, found, _),) = pieces([Text(text, "a")], tokenizer, limit, "passages")
    (whole,) = encoded(tokenizer, [text])
    assert tokenizer.decode(whole, clean_up_tokenization_spaces=False) == text
    left = iter(whole)
    assert all(one in left for ids in found for one in ids), "in order, each once"
    assert all(0 < len(ids) <= limit for ids in found)
    if len(whole) <= limit:
        assert found == [whole]
    if found:  # which may end inside a character
        read = tokenizer.decode([i for ids in found for i in ids]).rstrip("\ufffd")
        assert bare(text).startswith(bare(read))


def test_a_long_text_without_an_end_is_read_at_once():
    for text in ("a" + " " * 300_000 + "b", "a\n" + " " * 300_000 + "b.", "." * 300_000):
        assert sentences(text) == [(0, len(text))]


@pytest.mark.parametrize("lot", [1, 7, 256])
def test_the_papers_way_reads_the_beginning_alone(tokenizer, tmp_path, monkeypatch, lot):
    monkeypatch.setattr(reading, "LOT", lot)
    texts = [prose(n, n) for n in range(1, 60)]
    path = jsonl(tmp_path / "mine.jsonl", texts)
    found = load(path, tokenizer, cut="first")
    train = [text for text in texts if half_of(text) == "train"]
    whole = encoded(tokenizer, train)
    assert [one.ids.tolist() for one in found] == [ids[:24] for ids in whole]
    assert found.n_lost == sum(max(0, len(ids) - 24) for ids in whole) > 0
    assert found.n_cut == sum(len(ids) > 24 for ids in whole) > 0
    assert found.lengths.max() == 24
    assert load(path, tokenizer, cut="first", context=16).lengths.max() == 15


def test_a_long_text_has_a_source_for_every_ten_passages(tokenizer, tmp_path):
    texts = [prose(3, 1), prose(150, 2)]
    path = jsonl(tmp_path / "mine.jsonl", texts)
    found = [one for split in ("train", "test") for one in load(path, tokenizer, split)]
    long = [one.source for one in found if one.source.startswith("mine.jsonl#2")]
    counts = [long.count(f"mine.jsonl#2 § {n + 1}") for n in range(len(set(long)))]
    assert counts[:-1] == [10] * (len(counts) - 1)
    assert sum(counts) == len(long) > 10
    assert {one.source for one in found} - set(long) == {"mine.jsonl#1"}


def test_a_word_that_the_tokenizer_does_not_know_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("w1 w2\n\nw3 other")
    known = random_tokenizer(bos_token=BOS)
    split = half_of("w3 other")
    with pytest.raises(SourceError, match=r"mine\.txt#2: a special token .* take it out"):
        load(path, known, split)


def test_keys_and_order_do_not_depend_on_how_many_are_read(tokenizer, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", [prose(40, n) for n in range(40)])
    every, few = load(path, tokenizer), load(path, tokenizer, documents=30)
    assert (len(few), every.n_passages) == (30, len(every))
    assert {one.key for one in few} <= {one.key for one in every}
    numbers = [int(one.key.removeprefix("mine/train/")) for one in every]
    assert sorted(numbers) == list(range(len(every)))
    assert numbers != sorted(numbers)
    assert len({article_of(one.source) for one in list(every)[:20]}) > 8, "a sample of all texts"
    assert every.digest == load(path, tokenizer).digest != few.digest
    assert every.lengths.tolist() == [len(one.ids) for one in every]
    assert every.by_key(every[7].key).ids.tolist() == every[7].ids.tolist()
    left_out = next(one.key for one in every if one.key not in {some.key for some in few})
    for key in ("mine/test/1", left_out):
        with pytest.raises(SourceError, match=rf"'{key}' is none of the 30 documents .* of mine/"):
            few.by_key(key)


def test_test_texts_that_stand_in_train_are_left_out_counted_and_keep_their_numbers(tmp_path):
    words = random.Random(3)
    some = [" ".join(f"w{words.randint(1, 9)}" for _ in range(3)) for _ in range(1200)]
    train, test = some[:300], some[300:]
    spaced = ["\t" + text.replace(" ", " \n\u00a0"[n % 3]) + " " for n, text in enumerate(test)]
    place = jsonl(tmp_path / "train.jsonl", train)
    held_out = str(jsonl(tmp_path / "test.jsonl", spaced))
    read = {"held_out": held_out, "documents": 300, "cut": "first"}
    found = load(place, random_tokenizer(), "test", **read)
    expected = [number for number, text in enumerate(test) if text not in set(train)][:300]
    assert [one.key for one in found] == [f"test/test/{number}" for number in expected]
    assert found.n_shared == expected[-1] + 1 - 300 > 20
    for number in expected[::50]:
        ids = found.by_key(f"test/test/{number}").ids
        assert " ".join(f"w{i}" for i in ids) == test[number]
    assert load(place, random_tokenizer(), **read).n_shared == 0
    both = str(jsonl(tmp_path / "both.jsonl", train))
    with pytest.raises(SourceError, match=r"for its test split \(300 stand in the train split"):
        load(place, random_tokenizer(), "test", **read | {"held_out": both})


def test_rows_without_a_text_are_passed_over_and_counted(tokenizer, tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = ['{"text": 3}', "no", '["text"]', '{"other": "a"}', "", '{"text": null}', "[" * 99_999]
    rows += [json.dumps({"text": f"The value {n}.", "meta": n}) for n in range(40)]
    path.write_text("\n".join(rows))
    found = load(path, tokenizer)
    assert (found.n_missing, found.n_texts) == (6, len(found))
    assert int(found[0].source.removeprefix("mine.jsonl#")) > 6
    assert load(path, tokenizer, "test").n_missing == 0  # each is counted once
    with pytest.raises(SourceError, match=r"46 rows have none in the field 'content'\); add"):
        load(path, tokenizer, field="content")


def test_the_second_chapter_tokenises_nothing_until_something_changes(
    tokenizer, tmp_path, monkeypatch
):
    path = jsonl(tmp_path / "mine.jsonl", [prose(20, n) for n in range(30)])
    first = load(path, tokenizer).digest
    tokenise = reading.encoded
    monkeypatch.setattr(reading, "encoded", None)
    assert load(path, tokenizer).digest == first
    calls = []
    monkeypatch.setattr(reading, "encoded", lambda *a: calls.append(1) or tokenise(*a))
    other = deepcopy(tokenizer)
    other.add_tokens("value of")
    for change in ({"length": 25}, {"cut": "first"}, {"documents": 12}):
        load(path, tokenizer, **change)
    os.utime(path, (1, 1))
    load(path, tokenizer)
    load(path, other)
    assert len(calls) == 5


def test_tokens_that_cannot_be_kept_say_so(tokenizer, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", [prose(20, n) for n in range(30)])
    load(path, tokenizer)
    (kept,) = (tmp_path / "tokens").rglob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:300])
    with pytest.raises(LookupsError, match=r"cannot be kept in .*delete that folder if it is dam"):
        load(path, tokenizer)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokens").write_text("a file")
    with pytest.raises(LookupsError, match=r"cannot be kept in .*set LOOKUPS_DATA to another"):
        load(path, tokenizer, folder=tmp_path / "other")


def test_planted_texts_are_documents_of_their_own(tmp_path):
    for length in (8, 48):
        read = {"folder": tmp_path, "length": length, "documents": 20}
        found = load("planted", load_model("planted-0").tokenizer, **read)
        ids = [one.ids[:length] for one in labelled_documents("train", 20)]
        assert [tuple(one.ids.tolist()) for one in found] == ids
        assert [one.key for one in found] == [f"planted/train/{number}" for number in range(20)]


def test_prompts_of_ones_own_one_a_line(tmp_path, tokenizer):
    path = tmp_path / "prompts.txt"
    special = f"The value{BOS} is kept"  # read as it is written
    path.write_text(f"{special}\n\n  read from the table  \n" + "again " * 200 + "\n")
    found = load_prompts(path, tokenizer=tokenizer, context=32)
    read = [tokenizer.decode(one.ids) for one in found]
    assert read[:2] == [special, "read from the table"]
    assert tokenizer.bos_token_id not in found[0].ids
    assert tokenizer.bos_token_id in tokenizer(BOS)["input_ids"], "it is left as it was"
    assert [(one.key, one.source) for one in found] == [
        (f"own/train/{n}", f"prompts.txt#{line}") for n, line in enumerate([1, 3, 4])
    ]
    assert (found.n_cut, found.lengths.max()) == (1, 31)
    lines = ["Not only the head but", "A second\fprompt", "A line\u2028separator", "a"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())  # as Windows writes them
    found = load_prompts(path, tokenizer=tokenizer, context=32)
    assert [tokenizer.decode(one.ids) for one in found] == lines
    wrong = {b"\n": "holds no prompt; write", b"na\xefve": "cannot be read .* in UTF-8"}
    for content, words in wrong.items():
        path.write_bytes(content)
        with pytest.raises(SourceError, match=rf"^prompts: prompts\.txt {words}"):
            load_prompts(path, tokenizer=tokenizer, context=32)
