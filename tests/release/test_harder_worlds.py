"""The harder worlds do what they say, and their models have learnt them.

As for the plain language, every rule is derived a second time here from the text alone. A reader
deaf to denials must go wrong where a denied topic stands for none, or it would distract nobody.
"""

import dataclasses
import hashlib
import json
from collections import defaultdict

import pytest
import torch
from lookups.corpus.grammar import KINDS, labelled_documents
from planted_reader import reader
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.worlds.train import recipe_of, train_world
from benchmarks.worlds.worlds import DISTRACTORS, HERE, WORLDS
from tools.train.planted import slot_accuracy

DIGESTS = {
    "two-words": "65f783e42477b8a5",
    "distractors": "182af3a415d8e25f",
    "crowded": "5529d3a4701546b0",
    "16-heads": "88da47986bf438ce",
}
NAMES = tuple(WORLDS)


def documents_of(name, n=600, seed=0):
    return labelled_documents("test", n, seed=seed, grammar=WORLDS[name].grammar)


@pytest.mark.parametrize("name", NAMES)
def test_every_label_is_what_a_reader_would_say(name):
    grammar = WORLDS[name].grammar
    read, seen = reader(grammar), set()
    for document in documents_of(name):
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


def test_neither_word_of_a_cue_settles_the_target_and_both_do():
    alone, together = defaultdict(set), defaultdict(set)
    for document in documents_of("two-words", 3000):
        for slot in document.slots:
            first, second = document.ids[slot.cue : slot.cue + 2]
            for seen, key in ((alone, first), (alone, second), (together, (first, second))):
                seen[slot.marker, key].add(slot.target)
    assert {len(targets) for targets in alone.values()} == {4}
    assert {len(targets) for targets in together.values()} == {1}
    assert len(together) == 3 * 3 * 16


def denied(document, slot):
    """Where a topic word stands behind a denial in the sentence of a slot."""
    words = [DISTRACTORS.words[i] for i in document.ids]
    begin = max(p for p in range(slot.position) if words[p] == ".") + 1
    return [p for p in range(begin, slot.position) if words[p - 1] == " no"]


def test_a_reader_deaf_to_denials_goes_wrong_where_the_title_counts():
    deaf, wrong, right = reader(DISTRACTORS, denial=None), [], []
    for document in documents_of("distractors", 400):
        said = {at: target for at, *_, target in deaf(DISTRACTORS.text(document.ids))[0]}
        for slot in document.slots:
            hit = said[slot.position] == DISTRACTORS.words[slot.target]
            astray = slot.kind == "title" and denied(document, slot)
            (wrong if astray else right).append(hit)
    assert all(right)
    assert len(wrong) > 100
    assert sum(wrong) / len(wrong) < 0.25  # by chance one in eight


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shipped_models_do_what_their_record_says(name):
    folder = HERE / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    record = json.loads((folder / "training.json").read_text())
    assert dataclasses.asdict(recipe_of(name)).items() <= record["recipe"].items()
    again = slot_accuracy(model, documents_of(name, 2000))
    fresh = slot_accuracy(model, documents_of(name, 500, seed=77))
    for kind in KINDS:
        assert again[kind] == pytest.approx(record["accuracy"][kind], abs=1e-3)
        assert fresh[kind] == pytest.approx(record["accuracy"][kind], abs=0.02)
        assert fresh[kind] >= 0.9
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for document in documents_of(name, 20):
        assert tokenizer(tokenizer.decode(document.ids))["input_ids"] == list(document.ids)


def test_a_world_can_be_trained_and_shipped(tmp_path):
    recipe = dataclasses.replace(recipe_of("two-words"), steps=4, batch=8)
    settings = {"recipe": recipe, "held_out": 40, "say": lambda line: None}
    record = train_world("two-words", tmp_path / "out", work=tmp_path / "w", **settings)
    assert record["data"]["documents"] == 32
    assert "harder: cues of two words\n" in (tmp_path / "out" / "README.md").read_text()
