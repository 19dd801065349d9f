"""Batched, resumed ablations equal whole forward passes, one prompt at a time, with hooks.

The naive reference is written here from TransformerLens's hooks alone; `zero` is compared with
plain Hugging Face's own modules as well. Whole logits are computed for every row.
"""

import functools
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
import tiny
import torch
from inline import defined_in
from lookups.corpus.grammar import GRAMMAR, KINDS, minimal_pairs
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.activation import activations
from lookups.measure.attention import look
from lookups.measure.attribution import attribute
from lookups.measure.routes import logp_without
from lookups.model.loaded import Model, load_model
from lookups.model.resume import resume
from lookups.names import Head, Neuron
from tiny import HEADS, LAYERS, VARIANTS, VOCAB, held, hook_of, model, random_ids, whole_pass

donors_of = defined_in("09_head_ablation").donors_of
CLOSE = 1e-5
TEXTS = random_ids(12, seed=62, shortest=2)
ANYWHERE = ("zero", "mean", "resample")
"""Kinds that need no direct path from the head to the neuron."""
HEAD_KINDS = (*ANYWHERE, "direct_frozen", "direct_recomputed", "through_neuron")


class Rows:
    """Random rows: prompts of many lengths (some shared), neurons, tokens and heads that feed."""

    def __init__(self, one: Model, *, feeding: bool, n: int = 15, seed: int = 61):
        rng = np.random.default_rng(seed)
        distinct = random_ids(n * 2 // 3, seed=seed, longest=25)
        self.prompts = [distinct[i] for i in rng.integers(len(distinct), size=n)]
        self.neurons, self.heads = [], []
        for _ in range(n):
            layer = int(rng.integers(1, LAYERS))
            sign = int(rng.choice(one.signs))
            self.neurons.append(Neuron(layer, int(rng.integers(one.d_mlp)), sign))
            layers = one.head_layers(layer) if feeding else range(LAYERS)
            self.heads.append(Head(int(rng.choice(list(layers))), int(rng.integers(HEADS))))
        self.tokens = [int(token) for token in rng.integers(1, VOCAB, size=n)]
        self.donors, self.on = donors_of([0] * n, seed=seed), rng.uniform(5, 20, size=n)

    def ablated(self, one: Model, kinds: Sequence[str], of: str):
        self.means = mean_over_tokens(one, [*TEXTS, []], range(LAYERS), of=of)
        options = {"donors": self.donors, "on": self.on, "means": self.means}
        units = getattr(self, of)
        return ablate(one, self.prompts, self.neurons, self.tokens, units, kinds, **options)


def naive_pass(one: Model, ids, neuron: Neuron, token: int, edits=()) -> dict[str, float]:
    """One prompt, no padding, every layer, all logits."""
    logits, seen = whole_pass(one, ids, edits)
    ends = {"pre": "pre", "act": "post"} | ({"up": "pre_linear"} if one.gated else {})
    mine = {to: seen[f"blocks.{neuron.layer}.mlp.hook_{end}"] for to, end in ends.items()}
    logp = float(logits.log_softmax(-1)[token])
    found = {to: neuron.sign * float(each[0, -1, neuron.index]) for to, each in mine.items()}
    return found | {"logp": logp, "p": np.exp(logp)}


@functools.cache
def naive_mean(name: str, unit: Head | Neuron):
    """A plain loop over every token but the BOS."""
    one = model(name)
    found = [whole_pass(one, ids)[1][hook_of(unit)][0, 1:, unit.index] for ids in TEXTS]
    return torch.cat(found).double().mean(0).to(one.dtype)


def naive_direct(one: Model, ids, neuron: Neuron, head: Head, *, frozen: bool) -> tuple:
    """The activation and inputs of the neuron without the head."""
    cache = whole_pass(one, ids)[1]
    read = cache[f"blocks.{neuron.layer}.ln2.hook_in"][0, -1]
    z = cache[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
    without = read - z @ one.w_o(head.layer)[head.index]
    behind = tiny.normed(one, without, of=read if frozen else without)
    inputs = {
        name: behind @ weight[:, neuron.index] + bias[neuron.index]
        for name, (weight, bias) in one.mlp_in(neuron.layer).items()
    }
    if not one.gated:
        return one.act(inputs["in"]), {"pre": inputs["in"]}
    act = one.act(inputs["gate"]) * inputs["up"]
    return act, {"pre": inputs["gate"], "up": inputs["up"]}


def naive(name: str, rows: Rows, at: int, kind: str, unit: Head | Neuron) -> dict[str, float]:
    one = model(name)
    row = ids, neuron, _ = rows.prompts[at], rows.neurons[at], rows.tokens[at]
    if kind == "zero":
        return naive_pass(one, *row, held(unit, slice(isinstance(unit, Neuron), None), 0))
    if kind == "mean":
        return naive_pass(one, *row, held(unit, slice(1, None), naive_mean(name, unit)))
    if kind == "on":
        return naive_pass(one, *row, held(unit, -1, unit.sign * rows.on[at]))
    if kind == "resample":
        lent = whole_pass(one, rows.prompts[rows.donors[at]])[1][hook_of(unit)][0, -1, unit.index]
        return naive_pass(one, *row, held(unit, -1, lent))
    if kind == "through_neuron":
        without = naive_pass(one, *row, held(unit, slice(None), 0))["act"]
        return naive_pass(one, *row, held(neuron, -1, neuron.sign * without))
    act, inputs = naive_direct(one, ids, neuron, unit, frozen=kind == "direct_frozen")
    found = naive_pass(one, *row, held(neuron, -1, act))
    return found | {name: neuron.sign * float(value) for name, value in inputs.items()}


def check(measured, at: int, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert getattr(measured, name)[at] == pytest.approx(value, abs=CLOSE), name


@pytest.mark.parametrize(
    ("of", "kinds"),
    [("heads", HEAD_KINDS), ("heads", ANYWHERE), ("neurons", ("zero", "mean", "on"))],
)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_equals_one_whole_pass_at_a_time(name, of, kinds):
    one = model(name)
    rows = Rows(one, feeding=kinds == HEAD_KINDS)
    found = rows.ablated(one, kinds, of)
    assert (found.before.up is None) == (not one.gated)
    assert np.abs(found.before.act - activations(one, rows.neurons, rows.prompts)).max() < CLOSE
    for at, row in enumerate(zip(rows.prompts, rows.neurons, rows.tokens, strict=True)):
        check(found.before, at, naive_pass(one, *row))
        for kind in kinds:
            check(found.after[kind], at, naive(name, rows, at, kind, getattr(rows, of)[at]))
    assert rows.means.tokens == sum(map(len, TEXTS))
    for unit in getattr(rows, of):
        assert (rows.means.of([unit])[0] - naive_mean(name, unit)).abs().max() < 1e-6
    for kind in kinds:
        alone = of == "neurons" or kind == "through_neuron"  # nothing in front of it changes
        for column in ("logp", "act") if alone else ("logp", "act", "pre"):
            changed = getattr(found.after[kind], column) - getattr(found.before, column)
            assert np.abs(changed).max() > 1e-3, "nothing was ablated"


@pytest.mark.parametrize("name", VARIANTS)
def test_zero_is_plain_hugging_face_with_the_values_gone(name):
    """Raw weights: without its values, all that is left of a head is its value bias."""
    one, hf = model(name), tiny.plain(name)
    rows = Rows(one, n=12, feeding=False)
    found = rows.ablated(one, ["zero"], "heads")
    for at, (ids, head) in enumerate(zip(rows.prompts, rows.heads, strict=True)):
        source = tiny.parts_of(name, hf, head.layer)
        columns = slice(one.d_head * head.index, one.d_head * (head.index + 1))

        def silence(module, args, source=source, columns=columns):
            z = args[0].clone()
            z[..., columns] = source.b_v[columns]
            return (z,)

        handle = source.attn_out.register_forward_pre_hook(silence)
        with torch.no_grad():
            logits = hf(torch.tensor([[0, *ids]])).logits[0, -1]
        handle.remove()
        expected = logits.double().log_softmax(-1)[rows.tokens[at]]
        assert found.after["zero"].logp[at] == pytest.approx(float(expected), abs=CLOSE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_frozen_direct_effect_is_the_attribution(name, dtype):
    one = model(name, dtype)
    rows = Rows(one, n=40, seed=63, feeding=True)
    found = rows.ablated(one, ["direct_frozen"], "heads")
    after, bound = found.after["direct_frozen"], {"float32": 1e-5, "float64": 1e-12}[dtype]
    if one.gated and dtype == "float64":
        bound = 1e-7  # Hugging Face's Llama, which runs on behind the change, has a float32 softmax
    for layer in range(1, LAYERS):
        mine = [at for at, neuron in enumerate(rows.neurons) if neuron.layer == layer]
        neurons, prompts = ([column[at] for at in mine] for column in (rows.neurons, rows.prompts))
        for into, parts in attribute(one, neurons, prompts).items():
            if into == "post":
                continue
            column = "up" if into == "up" else "pre"
            lost = getattr(found.before, column)[mine] - getattr(after, column)[mine]
            heads = [parts.heads.index(rows.heads[at]) for at in mine]
            predicted = parts.by_head[range(len(mine)), heads].double().numpy()
            size = parts.by_head.abs().sum(1) + parts.by_part.abs().sum(1)
            assert (np.abs(lost - predicted) / size.double().numpy()).max() < bound


@pytest.mark.parametrize("size", [2, 3, 7])
def test_no_row_lends_to_itself_and_every_row_lends_once(size):
    groups = ["a"] * size + ["b"] * size + ["a"]
    for seed in range(50):
        other = donors_of(groups, seed=seed)
        assert sorted(other) == list(range(len(groups)))
        assert (other != np.arange(len(groups))).all()
        assert np.array_equal(np.array(groups)[other], groups)
    assert (donors_of(groups, seed=3) == donors_of(groups, seed=3)).all()
    assert donors_of(["a", "b", "a"], seed=0).tolist() == [2, 1, 0], "one alone has none"


def test_rows_that_ask_the_same_share_a_pass():
    one, neurons = model("gpt2"), [Neuron(1, 3), Neuron(1, 4), Neuron(2, 5)]
    with patch("lookups.measure.intervention.resume", wraps=resume) as passes:
        ablate(one, [[5, 6]] * 3, neurons, [7, 8, 9], [Head(0, 1)] * 3, ["zero"])
        for n, on in ((40, [2.0] * 40), (2, [2.0, 3.0])):
            rows = [[5, 6]] * n, [Neuron(0, 3)] * n, range(n), [Neuron(0, 3)] * n
            ablate(one, *rows, ["on"], on=on)
    assert [len(call.args[1].prompts) for call in passes.call_args_list] == [1, 1, 2]


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_and_neurons_silenced_together_are_held_at_nothing(name):
    one, prompts, tokens = model(name), random_ids(4, seed=8, shortest=2), [3, 60, 9, 11]
    heads = [(), (Head(0, 1), Head(1, 3)), (Head(2, 0),), ()]
    neurons = [(), (Neuron(2, 5),), (), (Neuron(0, 3), Neuron(1, 7))]
    found = logp_without(one, prompts, tokens, heads, neurons)
    for row, ids in enumerate(prompts):
        edits = [hook for head in heads[row] for hook in held(head, slice(None), 0)]
        edits += [hook for neuron in neurons[row] for hook in held(neuron, slice(1, None), 0)]
        expected = naive_pass(one, ids, Neuron(0, 0), tokens[row], edits)["logp"]
        assert found[row] == pytest.approx(expected, abs=CLOSE)


def test_a_control_is_the_nearest_in_size_within_the_factor():
    """Sizes spread over many powers of ten, as activations are; some neurons have no partner."""
    nearest_in_size = defined_in("12_neuron_ablation").nearest_in_size
    random, found = np.random.default_rng(0), []
    for factor in np.tile([1.1, 2.0], 200):
        sizes = np.exp(random.normal(scale=2, size=60))
        sizes[random.integers(60, size=5)] = 0
        mine = int(sizes.argsort()[random.integers(50, 60)])
        barred = random.integers(60, size=3).tolist()
        found.append(nearest_in_size(sizes, mine, factor=factor, barred=barred))
        allowed = np.setdiff1d(np.flatnonzero(sizes > 0), [mine, *barred])
        ratios = np.maximum(sizes[allowed] / sizes[mine], sizes[mine] / sizes[allowed])
        nearest = int(allowed[ratios.argmin()])
        assert found[-1] == (nearest if ratios.min() <= factor else None)
    assert 0 < found.count(None) < 400
    assert nearest_in_size(np.array([0.0, 1.0, 0.0]), 0, factor=2.0) is None


ROW = {"prompts": [[5]], "neurons": [Neuron(1, 3)], "token_ids": [7], "units": [Head(0, 1)]}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("zero", {"token_ids": [7, 8]}, r"there are \[1, 1, 2, 1\]"),
        ("zero", {"units": [Head(0, 1)] * 2}, r"there are \[1, 1, 1, 2\]"),
        ("zero", {"token_ids": [101]}, "token 101 is not one of the 101"),
        ("direct_frozen", {"units": [Head(2, 1)]}, r"layer 1 is fed by L2\.H1"),
        ("on", {"units": [Neuron(1, 3)], "on": [1.0, 2.0]}, r"there are \[1, 1, 1, 1, 2\]"),
    ],
)
def test_what_is_wrong_or_missing_is_said(kind, changes, words):
    with pytest.raises(ValueError, match=words):
        ablate(model("gpt2"), kinds=[kind], **ROW | changes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_that_reads_the_cue_is_the_one_that_matters(kind):
    """In the planted language one word settles the next: without the head that looks there, the
    token is lost; without any other, nothing is."""
    one, neuron = load_model("planted-0"), Neuron(1, 3)
    targets = [GRAMMAR.ids[target] for target in GRAMMAR.targets]
    pairs = [pair for target in targets for pair in minimal_pairs(GRAMMAR, kind, target, 3)]
    heads = [Head(layer, index) for layer in range(2) for index in range(one.n_heads)]
    prompts = [list(pair.cued) for pair in pairs for _ in heads]
    tokens = [pair.slot.target for pair in pairs for _ in heads]
    rows = prompts, [neuron] * len(prompts), tokens, heads * len(pairs)
    found = ablate(one, *rows, ["zero"])
    assert found.before.p.min() > 0.9
    lost = (found.before.logp - found.after["zero"].logp).reshape(len(pairs), -1).mean(0)
    looked = [look(one, neuron, heads, pair.cued).pattern[:, -1] for pair in pairs]
    at_cues = [by_key[:, pair.slot.cue + 1] for by_key, pair in zip(looked, pairs, strict=True)]
    at_cue = torch.stack(at_cues).mean(0)
    reader = int(lost.argmax())
    assert lost[reader] > 3
    assert np.delete(lost, reader).max() < 0.1
    assert reader == at_cue.argmax()
    assert at_cue[reader] > 0.9
