"""The planted language does what it says, and the shipped models have learnt it.

What its labels say is read a second time in release/test_harder_worlds.py, with other worlds.
"""

import json

import pytest
import torch
from lookups.corpus.grammar import GRAMMAR, KINDS, SEEDS, labelled_documents, minimal_pairs
from lookups.paths import EMBEDDED
from planted_reader import reader
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.train.planted import slot_accuracy

read = reader(GRAMMAR)


@pytest.fixture(scope="module")
def documents():
    return labelled_documents("test", 400)


def test_slots_stand_at_the_distances_of_the_grammar(documents):
    slots = [slot for document in documents for slot in document.slots]
    far = {kind: {s.position - s.cue for s in slots if s.kind == kind} for kind in KINDS}
    assert (far["filler"], far["topic"]) == ({1}, set(range(4, 15)))
    assert {slot.cue for slot in slots if slot.kind == "title"} == {0}
    assert {len(document.ids) for document in documents} == {48}
    assert 0 not in {i for document in documents for i in document.ids}


def test_a_name_always_gives_the_same_text():
    short, long = (GRAMMAR.document("test/0/7", length) for length in (20, 60))
    assert long.ids[:20] == short.ids
    halves = (("train", 0), ("train", 1), ("test", 0))
    texts = {one.ids for half, n in halves for one in labelled_documents(half, 500, seed=n)}
    assert len(texts) == 1500, "a text stands in two of them"


@pytest.mark.parametrize("kind", KINDS)
def test_minimal_pairs_differ_in_their_cue_alone(kind):
    target = GRAMMAR.ids[" stars"]
    pairs = minimal_pairs(GRAMMAR, kind, target, 20)
    assert pairs == minimal_pairs(GRAMMAR, kind, target, 20)
    for pair in pairs:
        differ = [p for p, (a, b) in enumerate(zip(pair.cued, pair.other, strict=True)) if a != b]
        assert differ == [pair.slot.cue]
        for ids, called in ((pair.cued, target), (pair.other, pair.other_target)):
            found, words = read(GRAMMAR.text(ids))
            assert found[-1] == (len(ids) - 1, kind, pair.slot.cue, GRAMMAR.words[called])
            for at, _, _, before in found[:-1]:
                assert words[at + 1] == before  # everything earlier stays true
        assert pair.other_target != target


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tokenizer_reads_what_it_writes(seed, documents):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / f"planted-{seed}")
    assert tokenizer.bos_token_id == 0
    for document in documents[:50]:
        assert tokenizer(tokenizer.decode(document.ids))["input_ids"] == list(document.ids)
    assert tokenizer("harbour  the\nold.")["input_ids"] == tokenizer(" harbour the old.").input_ids
    assert [tokenizer.decode([i]) for i in range(1, 77)] == list(GRAMMAR.words[1:])


@pytest.mark.parametrize("seed", SEEDS)
def test_shipped_models_have_learnt_it_as_their_record_says(seed, documents):
    folder = EMBEDDED / f"planted-{seed}"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    files = (folder / f"{name}.json" for name in ("training", "token_counts"))
    record, counts = (json.loads(file.read_text()) for file in files)
    accuracy = slot_accuracy(model, documents)
    assert min(accuracy.values()) >= 0.97
    assert accuracy == pytest.approx(record["accuracy"], abs=0.01)
    assert sum(counts) == record["data"]["train_tokens"]
    assert (counts[0], record["recipe"]["seed"]) == (0, seed)
