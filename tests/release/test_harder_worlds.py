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
from lookups.corpus.grammar import KINDS, labelled_documents, minimal_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.worlds.train import recipe_of, train_world
from benchmarks.worlds.worlds import DISTRACTORS, HERE, TWO_WORDS, WORLDS
from tools.train.planted import slot_accuracy

# What a first and a second word mean together, by the number of the target.
TOGETHER = {0: (4, 1, 2, 7), 1: (5, 2, 3, 4), 2: (6, 7, 0, 1), 3: (3, 0, 5, 6)}
DIGESTS = {
    "two-words": "65f783e42477b8a5",
    "distractors": "182af3a415d8e25f",
    "crowded": "5529d3a4701546b0",
    "16-heads": "88da47986bf438ce",
}
NAMES = tuple(WORLDS)


def meanings(grammar, words_of_kind, two):
    """What each cue of a kind means: a word, or a pair of words, to a target's number."""
    if not two:
        return {(word,): meant for meant, words in enumerate(words_of_kind) for word in words}
    flat = [word for words in words_of_kind for word in words]
    return {(flat[i], flat[4 + j]): TOGETHER[i][j] for i in range(4) for j in range(4)}


def reader(grammar, *, denial=" no"):
    """Return a function that finds the slots of a text: (marker's place, kind, cue, target)."""
    two = grammar is TWO_WORDS
    width = 2 if two else 1
    topics = meanings(grammar, grammar.topics, two)
    fillers = meanings(grammar, [(word,) for word in grammar.overriding], two)
    titles = meanings(grammar, [(word,) for word in grammar.titles], two)

    def read(text):
        words = [f" {w}" if w != "." else w for w in text.replace(".", " .").split()]
        found, begin = [], width + 1
        for at, word in enumerate(words):
            if word == ".":
                begin = at + 1
            if word not in grammar.markers:
                continue
            there = [p for p in range(begin, at) if tuple(words[p : p + width]) in topics]
            counted = [p for p in there if words[p - 1] != denial]
            if tuple(words[at - width : at]) in fillers:
                kind, cue, table = "filler", at - width, fillers
            elif counted:
                kind, cue, table = "topic", counted[-1], topics
            else:
                kind, cue, table = "title", 0, titles
            turned = grammar.permutations[grammar.markers.index(word)]
            meant = table[tuple(words[cue : cue + width])]
            found.append((at, kind, cue, grammar.targets[turned[meant]]))
        return found, words

    return read


@pytest.fixture(scope="module", params=NAMES)
def world(request):
    grammar = WORLDS[request.param].grammar
    return request.param, grammar, reader(grammar), documents_of(request.param)


def documents_of(name, n=600, seed=0):
    return labelled_documents("test", n, seed=seed, grammar=WORLDS[name].grammar)


def test_every_label_is_what_a_reader_would_say(world):
    _, grammar, read, documents = world
    for document in documents:
        found, words = read(grammar.text(document.ids))
        whole = [slot for slot in found if slot[0] + 1 < len(words)]
        labels = [(s.position, s.kind, s.cue, grammar.words[s.target]) for s in document.slots]
        assert labels == whole
        for at, _, _, target in whole:
            assert words[at + 1] == target


def test_every_kind_calls_for_every_target(world):
    _, grammar, _, documents = world
    seen = {(slot.kind, slot.target) for document in documents for slot in document.slots}
    assert seen == {(kind, grammar.ids[target]) for kind in KINDS for target in grammar.targets}


def test_a_name_always_gives_the_same_text(world):
    name, grammar, _, _ = world
    assert grammar.document("test/0/7", 60).ids[:20] == grammar.document("test/0/7", 20).ids
    fifty = labelled_documents("train", 50, grammar=grammar)
    written = json.dumps([list(document.ids) for document in fifty]).encode()
    assert hashlib.sha256(written).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("kind", KINDS)
def test_minimal_pairs_differ_in_their_cue_alone(world, kind):
    _, grammar, read, _ = world
    target = grammar.ids[" stars"]
    width = len(grammar.phrases(kind, 0)[0])
    pairs = minimal_pairs(grammar, kind, target, 12)
    assert pairs == minimal_pairs(grammar, kind, target, 12)
    for pair in pairs:
        cue = range(pair.slot.cue, pair.slot.cue + width)
        differ = [p for p, (a, b) in enumerate(zip(pair.cued, pair.other, strict=True)) if a != b]
        assert differ
        assert set(differ) <= set(cue)
        for ids, called in ((pair.cued, target), (pair.other, pair.other_target)):
            found, words = read(grammar.text(ids))
            assert found[-1] == (len(ids) - 1, kind, cue[0], grammar.words[called])
            for at, _, _, before in found[:-1]:
                assert words[at + 1] == before  # everything earlier stays true
        assert pair.other_target != target


# --- Two words ---


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


def test_one_word_changed_is_another_target():
    for kind in KINDS:
        means = {pair: m for m in range(8) for pair in TWO_WORDS.phrases(kind, m)}
        assert len(means) == 16
        for (first, second), meant in means.items():
            beside = [m for (a, b), m in means.items() if (a == first) != (b == second)]
            assert len(beside) == 6
            assert meant not in beside


def test_words_of_a_cue_are_named():
    for meant in range(8):
        words = TWO_WORDS.cues("topic", meant)
        assert set(words) == {word for pair in TWO_WORDS.phrases("topic", meant) for word in pair}
        assert len(words) == 4


def test_a_square_that_does_not_fit_is_refused():
    def altered(**parts):
        return dataclasses.replace(TWO_WORDS, **parts)

    with pytest.raises(ValueError, match="must leave several targets, each once"):
        altered(square=((4, 4, 2, 7), *TWO_WORDS.square[1:]))
    with pytest.raises(ValueError, match="every target needs a cue in the square"):
        altered(square=((0, 1), (1, 0)))
    with pytest.raises(ValueError, match="must be the rows and columns"):
        altered(square=((4, 1, 2, 7), (5, 2, 3, 4), (6, 3, 0, 1)))
    with pytest.raises(ValueError, match="a word has two roles"):
        altered(titles=TWO_WORDS.overriding)


# --- Distractors ---


@pytest.fixture(scope="module")
def distracted():
    return documents_of("distractors", 400)


def denied(document, slot):
    """Where a topic word stands behind a denial in the sentence of a slot."""
    words = [DISTRACTORS.words[i] for i in document.ids]
    begin = max(p for p in range(slot.position) if words[p] == ".") + 1
    return [p for p in range(begin, slot.position) if words[p - 1] == " no"]


def test_a_reader_deaf_to_denials_goes_wrong_where_the_title_counts(distracted):
    deaf, wrong, right = reader(DISTRACTORS, denial=None), [], []
    for document in distracted:
        said = {at: target for at, *_, target in deaf(DISTRACTORS.text(document.ids))[0]}
        for slot in document.slots:
            hit = said[slot.position] == DISTRACTORS.words[slot.target]
            astray = slot.kind == "title" and denied(document, slot)
            (wrong if astray else right).append(hit)
    assert all(right)
    assert len(wrong) > 100
    assert sum(wrong) / len(wrong) < 0.25  # by chance one in eight


# --- The models ---


@pytest.fixture(scope="module", params=NAMES)
def shipped(request):
    folder = HERE / request.param
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return request.param, model, folder, json.loads((folder / "training.json").read_text())


def test_shipped_models_do_what_their_record_says(shipped):
    name, model, folder, record = shipped
    again = slot_accuracy(model, documents_of(name, 2000))
    fresh = slot_accuracy(model, documents_of(name, 500, seed=77))
    for kind in KINDS:
        assert again[kind] == pytest.approx(record["accuracy"][kind], abs=1e-3)
        assert fresh[kind] == pytest.approx(record["accuracy"][kind], abs=0.02)
        assert fresh[kind] >= 0.9
    assert sum(file.stat().st_size for file in folder.iterdir()) < 400_000


def test_shipped_models_are_of_their_recipe_and_language(shipped):
    name, model, folder, record = shipped
    recipe = recipe_of(name)
    assert dataclasses.asdict(recipe).items() <= record["recipe"].items()
    assert model.config.n_head == recipe.n_head
    assert model.config.n_inner == recipe.d_mlp
    counts = json.loads((folder / "token_counts.json").read_text())
    assert len(counts) == len(WORLDS[name].grammar.words)
    assert min(counts[1:]) >= 300


def test_the_tokenizer_reads_what_it_writes(shipped):
    name, _, folder, _ = shipped
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for document in documents_of(name, 20):
        assert tokenizer(tokenizer.decode(document.ids))["input_ids"] == list(document.ids)


def guesses(model, pairs):
    """The model's word at the end of both members of every pair."""
    with torch.no_grad():
        return [
            model(torch.tensor([[0, *pair.cued], [0, *pair.other]])).logits[:, -1].argmax(-1)
            for pair in pairs
        ]


def test_shipped_models_change_their_word_with_the_cue(shipped):
    name, model, _, _ = shipped
    grammar = WORLDS[name].grammar
    for kind in KINDS:
        pairs = minimal_pairs(grammar, kind, grammar.ids[" coins"], 20, seed=1)
        right = [
            said.tolist() == [pair.slot.target, pair.other_target]
            for said, pair in zip(guesses(model, pairs), pairs, strict=True)
        ]
        assert sum(right) >= 16


def test_a_world_can_be_trained_and_shipped(tmp_path):
    recipe = dataclasses.replace(recipe_of("two-words"), steps=4, batch=8)
    settings = {"recipe": recipe, "held_out": 40, "say": lambda line: None}
    record = train_world("two-words", tmp_path / "out", work=tmp_path / "w", **settings)
    assert record["data"]["documents"] == 32
    assert "harder: cues of two words\n" in (tmp_path / "out" / "README.md").read_text()
