"""One batched pass finds what reading document after document finds, in whatever order."""

import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from faults import note
from hypothesis import given, settings
from hypothesis import strategies as st
from lookups.corpus.documents import Document
from lookups.errors import LookupsError, SourceError
from lookups.measure.kept_maxima import BANDS, Maxima
from lookups.measure.scan import Findings, Scan, lot_of, maxima_table, scan
from lookups.model.loaded import Model
from lookups.names import Neuron
from measured import identical
from tiny import ARCHITECTURES, VOCAB, TinyDocuments, anatomy, documents, model

LAYERS = [0, 2]
STRONGEST, PER_BAND = 7, 2


@pytest.fixture(autouse=True)
def settled_often(monkeypatch):
    """Sort out what was found every few documents, as a long corpus makes a scan do."""
    monkeypatch.setattr("lookups.measure.scan.SETTLE", 7)


@functools.cache
def posts(name: str, ids: tuple[int, ...]) -> list[torch.Tensor]:
    return anatomy(name, np.array(ids)).post


def by_reading(name: str, docs: TinyDocuments, *, only_last: bool = False) -> dict:
    """Return {neuron: [(activation, number, position)]} of a few neurons, document by document."""
    neurons = model(name).neurons(LAYERS)
    found: dict[Neuron, list] = {neuron: [] for neuron in neurons[:: len(neurons) // 16]}
    for document in docs:
        n = len(document.ids)
        positions = [n - 1] if only_last else list(range(n - 1))
        if not positions:
            continue
        post = posts(name, tuple(document.ids.tolist()))
        for neuron in found:
            column = post[neuron.layer][1:, neuron.index]  # 1: leaves out the BOS
            values = (neuron.sign * column).tolist()
            at = max(positions, key=lambda p, v=values: (v[p], -p))
            found[neuron].append((values[at], number_of(document), at))
    return found


def level(activation: float) -> float:
    return math.floor(BANDS * math.log2(activation)) if activation > 0 else -math.inf


def spread_of(maxima: list, lot: dict[int, int]) -> list:
    """Take the smallest lots of every band, from the maximum's down to the one below half of it."""
    top = max(level(row[0]) for row in maxima)
    if top == -math.inf:
        return []
    bands = range(int(top), int(top) - BANDS - 1, -1)
    members = ([row for row in maxima if level(row[0]) == band] for band in bands)
    return [row for some in members for row in sorted(some, key=lambda row: lot[row[1]])[:PER_BAND]]


def number_of(document: Document) -> int:
    return int(document.key.rpartition("/")[2])


def slots(found: Maxima, column: int, docs: TinyDocuments) -> list:
    rows = zip(*(axis[:, column].tolist() for axis in found), strict=True)
    return [(act, number_of(docs[at]), p) for act, at, p in rows if act > -math.inf]


def same(found: list, expected: list) -> None:
    """Compare activations to their rounding; where they are about 0, all is rounding."""
    assert [row[0] for row in found] == pytest.approx([r[0] for r in expected], rel=5e-5, abs=1e-5)
    firm = [place for place, row in enumerate(expected) if row[0] > 1e-2]
    assert [found[i][1:] for i in firm] == [expected[i][1:] for i in firm]


def scanned(name: str, docs: TinyDocuments, **options) -> Scan:
    settings = {"strongest": STRONGEST, "per_band": PER_BAND} | options
    return scan(model(name), docs, LAYERS, **settings)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("settle", "window", "at_once", "tokens", "places", "only_last"), [
    (7, 2**15, 2**22, 150, 512, False), (2**22, 2**15, 2**22, 100, 8, False),
    (7, 7, 2**22, 150, 512, False), (2**22, 39, 2**22, 8192, 8, False),
    (7, 1, 9000, 8192, 512, False), (7, 39, 2**22, 150, 512, True),
])  # fmt: skip
def test_the_pass_finds_what_one_document_at_a_time_finds_whatever_stands_in_a_batch(
    name, settle, window, at_once, tokens, places, only_last, monkeypatch
):
    monkeypatch.setattr("lookups.measure.scan.PLACES", places)
    monkeypatch.setattr("lookups.measure.scan.SETTLE", settle)
    monkeypatch.setattr("lookups.measure.scan.WINDOW", window)
    monkeypatch.setattr("lookups.measure.kept_maxima._AT_ONCE", at_once)
    monkeypatch.setattr(Model, "tokens", lambda self: tokens)
    shuffled = np.random.default_rng(settle + window).permutation(40).tolist()
    docs, told = documents(order=None if tokens == 100 else shuffled), []
    found = scanned(name, docs, only_last=only_last, progress=told.append)
    assert sum(told) == sum(len(one.ids) >= 2 or only_last for one in docs)
    expected = by_reading(name, docs, only_last=only_last)
    lot = {number_of(one): lot_of(one.key) for one in docs}
    assert found.neurons == model(name).neurons(LAYERS)
    for neuron, maxima in expected.items():
        column = found.neurons.index(neuron)
        strongest = sorted(maxima, key=lambda row: (-row[0], row[1]))[:STRONGEST]
        same(slots(found.strongest, column, docs), strongest)
        same(slots(found.spread, column, docs), spread_of(maxima, lot))
        tops = [level(row[0]) for row in maxima]
        fires = sum(one >= max(tops) - BANDS > -math.inf for one in tops)
        if max(row[0] for row in maxima) > 1e-2:  # about 0 all is rounding
            assert found.frequency[column] == pytest.approx(fires / len(maxima))
    following = np.array([token for one in docs for token in one.ids[1:] if not only_last], int)
    assert found.successors.tolist() == np.bincount(following, minlength=VOCAB).tolist()


def findings(docs: TinyDocuments) -> Findings:
    return Findings(model("llama"), docs, LAYERS, strongest=STRONGEST, per_band=PER_BAND)


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(1, 39), max_size=5), st.data())
def test_parts_that_are_merged_in_any_order_give_the_same_to_the_last_bit(cuts, data):
    docs, edges = documents(), [0, *sorted(cuts), 40]
    parts = [part_of(start, stop) for start, stop in pairwise(edges)]
    in_order, mixed, nested = findings(docs), findings(docs), findings(docs)
    for part in parts:
        in_order.merge(part)
    for part in data.draw(st.permutations([*parts, *data.draw(st.sets(st.sampled_from(parts)))])):
        mixed.merge(part)  # some twice
    at = data.draw(st.integers(0, len(parts)))
    inner = findings(docs)
    for part in parts[at:]:
        inner.merge(part)
    for part in parts[:at]:
        nested.merge(part)
    nested.merge(inner)
    assert identical(mixed.scan()[1:], in_order.scan()[1:])
    assert identical(nested.scan()[1:], in_order.scan()[1:])
    whole = scanned("llama", docs)
    firing = whole.strongest.activation > 0.02
    assert torch.equal(in_order.scan().strongest.document[firing], whole.strongest.document[firing])


@functools.cache
def part_of(start: int, stop: int) -> Findings:
    found = findings(documents())
    found.read(range(start, stop))
    return found


def test_documents_that_were_read_in_part_are_refused():
    found = findings(documents())
    found.merge(part_of(0, 10))
    for other in (part_of(5, 15), part_of(0, 9)):
        with pytest.raises(LookupsError, match="were read in part"):
            found.merge(other)


def test_a_scan_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("lookups.measure.scan.WINDOW", 9)
    docs, place, read = documents(), tmp_path / "scan", []
    usual = scanned("llama", docs)

    def stopped(n: int) -> None:
        read.append(n)
        if sum(read) > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scanned("llama", docs, kept_in=place, progress=stopped)
    begun = findings(docs)
    begun.take_up(place)
    assert begun.ranges == [range(0, 9), range(9, 18)]
    assert identical(scanned("llama", docs, kept_in=place)[1:], usual[1:])
    assert findings(documents(20)).take_up(place) is None
    place.write_bytes(place.read_bytes()[:-9])  # a broken one is not read
    assert identical(scanned("llama", docs, kept_in=place)[1:], usual[1:])
    note("a scan goes on from what was written down last, if that is whole")


def test_a_batch_for_which_there_is_no_memory_is_halved(monkeypatch):
    docs, usual, read = documents(), scanned("llama", documents()), Model.read

    def small(self, batch, hooks):
        if batch.ids.numel() > 60:
            raise torch.OutOfMemoryError
        read(self, batch, hooks)

    monkeypatch.setattr(Model, "read", small)
    found = scanned("llama", docs)
    firing = usual.strongest.activation > 0.02
    assert torch.equal(found.strongest.document[firing], usual.strongest.document[firing])
    monkeypatch.setattr(Model, "read", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(LookupsError, match="no memory for one document of 3 tokens; choose"):
        scanned("llama", docs)
    note("half as many tokens are read at once, with the same result")


def test_equal_maxima_stand_in_the_order_of_their_numbers_whatever_their_batch(monkeypatch):
    monkeypatch.setattr(Model, "tokens", lambda self: 20)
    begin = [4, 5, 6]
    docs = TinyDocuments(
        [begin + [7] * i for i in range(9)],  # one more token each: other batches, other rounding
        order=[3, 8, 1, 0, 2, 7, 6, 5, 4],
    )
    found = scanned("gpt2", docs)
    rows = maxima_table(found.strongest, found, docs)
    tied = rows[rows.position < 2].groupby(["neuron", "position"])
    numbers = tied.prompt.agg(lambda keys: [int(key.rpartition("/")[2]) for key in keys])
    ordered = [found == sorted(found) for found in numbers if len(found) > 1]
    assert len(ordered) > 20
    assert np.mean(ordered) > 0.95, "rounding leaves few ties undone"


def test_a_tie_within_a_document_goes_to_the_first_position_that_has_a_successor():
    found = scanned("neox", TinyDocuments([[7] * 12]))
    post = posts("neox", (7,) * 12)[0][1:-1]
    for neuron, best in enumerate(post.max(0).values):
        if abs(best) > 1e-2:
            first = int((post[:, neuron] >= best - 1e-7).nonzero()[0])
            assert found.strongest.position[0, neuron] <= first
    assert (found.strongest.position[0] < 11).all()


def test_rows_of_the_table_are_what_they_say():
    docs = documents(order=np.random.default_rng(3).permutation(40).tolist())
    found = scanned("gpt2", docs)
    chosen = [Neuron(2, 9), Neuron(0, 3)]
    rows = maxima_table(found.spread, found, docs, chosen)
    assert list(rows.neuron.unique()) == ["L2.N9", "L0.N3"]
    every = maxima_table(found.spread, found, docs)
    assert set(range(BANDS)) <= set(every.band)
    assert (every.groupby("neuron").band.min() == 0).all()
    for neuron, some in rows.groupby("neuron", sort=False):
        parsed = Neuron.parse(neuron)
        best = float(found.strongest.activation[0, found.neurons.index(parsed)])
        assert some.order.tolist() == list(range(len(some)))
        assert some.band.is_monotonic_increasing
        for row in some.itertuples():
            document = docs.by_key(row.prompt)
            cut = document.ids[: row.position + 1]
            alone = anatomy("gpt2", cut).post[parsed.layer][-1, parsed.index]
            assert row.activation == pytest.approx(float(alone), rel=5e-5, abs=1e-6)
            assert row.next_token_id == document.ids[row.position + 1]
            assert row.source == document.source
            assert row.band == level(best) - level(row.activation)
            assert (row.activation >= best / 2) or row.band == BANDS


def test_only_what_is_long_enough_is_read_and_the_last_token_has_no_successor():
    docs = TinyDocuments([[3], [4, 5]])
    found = scanned("gpt2", docs, only_last=True)
    rows = maxima_table(found.strongest, found, docs)
    assert set(rows.next_token_id) == {-1}
    assert {"tiny/train/0", "tiny/train/1"} == set(rows.prompt)
    with pytest.raises(SourceError, match=r"no document of tiny/train is long .* two tokens"):
        scanned("gpt2", TinyDocuments([[1], [2]]))
