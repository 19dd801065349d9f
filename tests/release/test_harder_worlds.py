"""The harder worlds do what a second reading of their texts says, and models have learnt them."""

import dataclasses
import hashlib
import json

import pytest
import torch
from lookups.corpus.grammar import KINDS, labelled_documents
from planted_reader import reader
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.worlds.train import recipe_of
from benchmarks.worlds.worlds import HERE, WORLDS
from tools.train.planted import slot_accuracy

DIGESTS = {
    "two-words": "65f783e42477b8a5",
    "distractors": "182af3a415d8e25f",
    "crowded": "5529d3a4701546b0",
    "16-heads": "88da47986bf438ce",
}


@pytest.mark.parametrize("name", WORLDS)
def test_every_label_is_what_a_reader_would_say(name):
    grammar = WORLDS[name].grammar
    read, seen = reader(grammar), set()
    for document in labelled_documents("test", 600, grammar=grammar):
        found, words = read(grammar.text(document.ids))
        whole = [slot for slot in found if slot[0] + 1 < len(words)]
        labels = [(s.position, s.kind, s.cue, grammar.words[s.target]) for s in document.slots]
        assert labels == whole
        for at, kind, _, target in whole:
            assert words[at + 1] == target
            seen.add((kind, target))
    assert seen == {(kind, target) for kind in KINDS for target in grammar.targets}
    fifty = labelled_documents("train", 50, grammar=grammar)
    written = json.dumps([list(document.ids) for document in fifty]).encode()
    assert hashlib.sha256(written).hexdigest()[:16] == DIGESTS[name]  # the same texts for ever


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_shipped_models_do_what_their_record_says(name):
    folder, grammar = HERE / name, WORLDS[name].grammar
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    record = json.loads((folder / "training.json").read_text())
    assert dataclasses.asdict(recipe_of(name)).items() <= record["recipe"].items()
    again = slot_accuracy(model, labelled_documents("test", 2000, grammar=grammar))
    fresh = slot_accuracy(model, labelled_documents("test", 500, seed=77, grammar=grammar))
    for kind in KINDS:
        assert again[kind] == pytest.approx(record["accuracy"][kind], abs=1e-3)
        assert fresh[kind] == pytest.approx(record["accuracy"][kind], abs=0.02)
        assert fresh[kind] >= 0.9
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for document in labelled_documents("test", 20, grammar=grammar):
        assert tokenizer(tokenizer.decode(document.ids))["input_ids"] == list(document.ids)
