"""Batched, resumed ablations equal whole forward passes, one prompt at a time, with hooks.

The naive reference is written here from TransformerLens's hooks alone; `zero` is compared with
plain Hugging Face's own modules as well. Whole logits are computed for every row.
"""

import functools
import warnings

import numpy as np
import pytest
import torch
from lookups.corpus.grammar import GRAMMAR, KINDS, minimal_pairs
from lookups.measure.attention import look
from lookups.measure.attribution import attribute
from lookups.measure.head_ablation import HEAD_KINDS, ablate_heads, other_rows
from lookups.measure.intervention import Cases, measure_edits
from lookups.measure.means import measure_means
from lookups.model import resume as resuming
from lookups.model.loaded import Model, load_model
from lookups.names import Head, Neuron
from tiny import ARCHITECTURES, HEADS, LAYERS, VARIANTS, VOCAB, model, parts_of, plain, random_ids

CLOSE = 1e-5


class Rows:
    """Random rows: prompts of many lengths (some shared), neurons, tokens and heads that feed."""

    def __init__(self, one: Model, n: int = 15, *, seed: int = 61, feeding: bool = True):
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
        self.donors = other_rows([0] * n, seed=seed)

    def ablated(self, one: Model, kinds=HEAD_KINDS, **options):
        means = measure_means(one, TEXTS, range(LAYERS), tokens_per_batch=100)
        options = {"means": means, "donors": self.donors} | options
        return ablate_heads(
            one, self.prompts, self.neurons, self.tokens, self.heads, kinds, **options
        )


TEXTS = random_ids(12, seed=62, shortest=2)


# --- The naive procedure ---


def naive_pass(one: Model, ids, neuron: Neuron, token: int, edits=()) -> dict[str, float]:
    """One prompt, no padding, every layer, all logits."""
    seen = {}

    def reading(column):
        def hook(tensor, hook):
            seen[column] = neuron.sign * float(tensor[0, -1, neuron.index])

        return hook

    block = f"blocks.{neuron.layer}.mlp"
    hooks = [*edits, (f"{block}.hook_pre", reading("pre")), (f"{block}.hook_post", reading("act"))]
    if one.gated:
        hooks.append((f"{block}.hook_pre_linear", reading("up")))
    with torch.no_grad():
        logits = one.bridge.run_with_hooks(torch.tensor([[0, *ids]]), fwd_hooks=hooks)
    logp = logits[0, -1].double().log_softmax(-1)[token]
    return seen | {"logp": float(logp), "p": float(logp.exp())}


def naive_cache(one: Model, ids):
    with torch.no_grad():
        return one.bridge.run_with_cache(torch.tensor([[0, *ids]]))[1]


def set_z(head: Head, positions, value):
    def hook(z, hook):
        z = z.clone()
        z[0, positions, head.index] = value
        return z

    return [(f"blocks.{head.layer}.attn.hook_z", hook)]


def set_last(neuron: Neuron, activation):
    def hook(post, hook):
        post = post.clone()
        post[0, -1, neuron.index] = activation
        return post

    return [(f"blocks.{neuron.layer}.mlp.hook_post", hook)]


@functools.cache
def naive_texts(name: str):
    one = next(model(variant) for variant in VARIANTS if model(variant).name == name)
    return [naive_cache(one, ids) for ids in TEXTS]


def naive_mean(one: Model, head: Head):
    name = f"blocks.{head.layer}.attn.hook_z"
    found = [cache[name][0, 1:, head.index] for cache in naive_texts(one.name)]
    return torch.cat(found).double().mean(0).to(one.dtype)


def naive_direct(one: Model, ids, neuron: Neuron, head: Head, *, frozen: bool) -> tuple:
    """The inputs of the neuron without the head, the norm written out by hand."""
    cache = naive_cache(one, ids)
    read = cache[f"blocks.{neuron.layer}.ln2.hook_in"][0, -1]
    wrote = (
        cache[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
        @ (one.w_o(head.layer)[head.index])
    )

    def centred(x):
        return x if one.gated else x - x.mean()

    norm = one.bridge.blocks[neuron.layer].ln2.original_component
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    of = read if frozen else read - wrote
    scale = (centred(of).square().mean() + eps).sqrt()
    normed = centred(read - wrote) / scale
    inputs = {
        name: normed @ weight[:, neuron.index] + bias[neuron.index]
        for name, (weight, bias) in one.mlp_in(neuron.layer).items()
    }
    if not one.gated:
        return one.act(inputs["in"]), {"pre": inputs["in"]}
    act = one.act(inputs["gate"]) * inputs["up"]
    return act, {"pre": inputs["gate"], "up": inputs["up"]}


def naive(one: Model, rows: Rows, at: int, kind: str) -> dict[str, float]:
    ids, neuron, head, token = (
        column[at] for column in (rows.prompts, rows.neurons, rows.heads, rows.tokens)
    )
    if kind == "zero":
        return naive_pass(one, ids, neuron, token, set_z(head, slice(None), 0))
    if kind == "mean":
        return naive_pass(
            one, ids, neuron, token, set_z(head, slice(1, None), naive_mean(one, head))
        )
    if kind == "resample":
        other = naive_cache(one, rows.prompts[rows.donors[at]])
        value = other[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
        return naive_pass(one, ids, neuron, token, set_z(head, -1, value))
    if kind == "through_neuron":
        without = naive_pass(one, ids, neuron, token, set_z(head, slice(None), 0))["act"]
        return naive_pass(one, ids, neuron, token, set_last(neuron, neuron.sign * without))
    act, inputs = naive_direct(one, ids, neuron, head, frozen=kind == "direct_frozen")
    found = naive_pass(one, ids, neuron, token, set_last(neuron, act))
    return found | {name: neuron.sign * float(value) for name, value in inputs.items()}


def check(measured, at: int, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert getattr(measured, name)[at] == pytest.approx(value, abs=CLOSE), name


@pytest.mark.parametrize("kind", HEAD_KINDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_equals_one_whole_pass_at_a_time(name, kind):
    one = model(name)
    rows = Rows(one)
    kinds = ["zero", kind] if kind == "through_neuron" else [kind]
    found = rows.ablated(one, kinds, tokens_per_batch=150)
    for at, row in enumerate(zip(rows.prompts, rows.neurons, rows.tokens, strict=True)):
        check(found.before, at, naive_pass(one, *row))
        check(found.after[kind], at, naive(one, rows, at, kind))
    moves = ("logp", "act") if kind == "through_neuron" else ("logp", "pre", "act")
    for column in moves:
        changed = getattr(found.after[kind], column) - getattr(found.before, column)
        assert np.abs(changed).max() > 1e-3, "nothing was ablated"


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_anywhere_and_all_kinds_at_once(name):
    one = model(name)
    rows = Rows(one, 12, feeding=False)
    kinds = ("zero", "mean", "resample")
    together = rows.ablated(one, kinds)
    for kind in kinds:
        for at in range(len(rows.prompts)):
            check(together.after[kind], at, naive(one, rows, at, kind))


@pytest.mark.parametrize("name", VARIANTS)
def test_zero_is_plain_hugging_face_with_the_values_gone(name):
    """Raw weights: without its values, all that is left of a head is its value bias."""
    one, hf = model(name), plain(name)
    rows = Rows(one, 12, feeding=False)
    found = rows.ablated(one, ["zero"])
    for at, (ids, head) in enumerate(zip(rows.prompts, rows.heads, strict=True)):
        source = parts_of(name, hf, head.layer)
        columns = slice(8 * head.index, 8 * head.index + 8)

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


@pytest.mark.parametrize("name", ["gpt2", "neox"])
def test_zero_is_zeroing_value_vectors_everywhere(name):
    one = model(name)
    rows = Rows(one, 8, feeding=False)
    found = rows.ablated(one, ["zero"])
    for at, head in enumerate(rows.heads):

        def silence(v, hook, head=head):
            v = v.clone()
            v.reshape(*v.shape[:2], HEADS, -1)[:, :, head.index] = 0
            return v

        edits = [(f"blocks.{head.layer}.attn.hook_v", silence)]
        expected = naive_pass(one, rows.prompts[at], rows.neurons[at], rows.tokens[at], edits)
        check(found.after["zero"], at, expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_before_is_what_the_model_says(name):
    one = model(name)
    rows = Rows(one)
    before = measure_edits(one, Cases(rows.prompts, rows.neurons, rows.tokens), {}).before
    batch = one.batch(rows.prompts)
    logp = one.logits(batch).double().log_softmax(-1)
    expected = logp[torch.arange(len(rows.prompts)), batch.last, rows.tokens]
    assert np.abs(before.logp - expected.numpy()).max() < CLOSE
    assert np.allclose(before.p, np.exp(before.logp))
    assert (before.up is None) == (not one.gated)


# --- The direct path ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_frozen_direct_effect_is_the_attribution(name, dtype):
    one = model(name, dtype)
    rows = Rows(one, 40, seed=63)
    found = rows.ablated(one, ["direct_frozen"])
    after, bound = found.after["direct_frozen"], {"float32": 1e-5, "float64": 1e-12}[dtype]
    if name.startswith("llama") and dtype == "float64":
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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_direct_path_changes_this_neuron_and_no_other(name, monkeypatch):
    """Watched where the pass goes on: what leaves the neuron's MLP moves along its own W_out."""
    one, layer = model(name), 1
    rows = Rows(one, 6)
    rows.neurons = [Neuron(layer, i * 5) for i in range(6)]
    rows.heads = [Head(0, i % HEADS) for i in range(6)]
    posts, original = [], resuming.resume

    def watched(one, place, at, hooks):
        read = [(f"blocks.{layer}.mlp.hook_post", lambda post: posts.append((place, post.clone())))]
        return original(one, place, at, [*hooks, *read])

    monkeypatch.setattr("lookups.measure.intervention.resume", watched)
    rows.ablated(one, ["direct_recomputed"])
    for place, post in posts:
        usual = place.trace.at_last[f"blocks.{layer}.mlp.hook_post"][place.prompts]
        assert ((post[:, 0] != usual).sum(1) == 1).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_head_behind_the_neuron_changes_nothing_in_it(name):
    one = model(name)
    rows = Rows(one, 12, feeding=False)
    rows.neurons = [Neuron(1, neuron.index, neuron.sign) for neuron in rows.neurons]
    rows.heads = [Head(1 if one.parallel else 2, head.index) for head in rows.heads]
    found = rows.ablated(one, ["zero", "mean", "resample"])
    for after in found.after.values():
        assert np.abs(after.logp - found.before.logp).max() > 1e-4
        for column in ("pre", "act") + (("up",) if one.gated else ()):
            same = np.abs(getattr(after, column) - getattr(found.before, column))
            assert same.max() < 1e-6


def test_in_the_last_layer_a_head_of_it_acts_through_the_neuron_by_the_direct_path_alone():
    """With the scale recomputed: nothing else stands between the head and the neuron's input."""
    for name in ("gpt2", "llama"):
        one = model(name)
        rows = Rows(one, 12)
        rows.neurons = [Neuron(LAYERS - 1, neuron.index, neuron.sign) for neuron in rows.neurons]
        rows.heads = [Head(LAYERS - 1, head.index) for head in rows.heads]
        after = rows.ablated(one, ["zero", "direct_recomputed", "through_neuron"]).after
        assert np.abs(after["through_neuron"].act - after["direct_recomputed"].act).max() < CLOSE
        assert np.abs(after["through_neuron"].logp - after["direct_recomputed"].logp).max() < CLOSE


def test_a_direct_path_needs_a_head_that_feeds_the_neuron():
    for name, head in (("gpt2", Head(2, 1)), ("neox", Head(1, 1))):
        with pytest.raises(ValueError, match=rf"{head} does not feed L1\.N3: it has no direct"):
            ablate_heads(model(name), [[5]], [Neuron(1, 3)], [7], [head], ["direct_frozen"])


# --- Donors, batches, rows ---


@pytest.mark.parametrize("size", [2, 3, 7])
def test_no_row_lends_to_itself_and_every_row_lends_once(size):
    groups = ["a"] * size + ["b"] * size + ["a"]
    for seed in range(50):
        other = other_rows(groups, seed=seed)
        assert sorted(other) == list(range(len(groups)))
        assert (other != np.arange(len(groups))).all()
        assert all(groups[row] == group for row, group in zip(other, groups, strict=True))
    assert (other_rows(groups, seed=3) == other_rows(groups, seed=3)).all()


def test_a_lone_row_has_nobody_to_take_from():
    with pytest.raises(ValueError, match="1 groups have a single row, the first b; leave it out"):
        other_rows(["a", "b", "a"], seed=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_company_and_order_change_nothing(name):
    one = model(name)
    rows = Rows(one)
    whole = rows.ablated(one)
    small = rows.ablated(one, tokens_per_batch=40)
    order = np.random.default_rng(0).permutation(len(rows.prompts))
    turned = Rows(one)
    for column in ("prompts", "neurons", "heads", "tokens"):
        setattr(turned, column, [getattr(rows, column)[i] for i in order])
    turned.donors = np.argsort(order)[rows.donors[order]]
    moved = turned.ablated(one)
    assert list(whole.after) == list(HEAD_KINDS)
    for first, second, third in zip(
        (whole.before, *whole.after.values()),
        (small.before, *small.after.values()),
        (moved.before, *moved.after.values()),
        strict=True,
    ):
        for a, b, c in zip(first, second, third, strict=True):
            if a is not None:
                scale = max(1.0, np.abs(a).max())
                assert np.abs(a - b).max() < 1e-6 * scale
                assert np.abs(a[order] - c).max() < 1e-6 * scale


def test_rows_that_ask_the_same_share_a_pass(monkeypatch):
    one, passes = model("gpt2"), []
    original = resuming.resume

    def counted(one, place, *rest):
        passes.append(len(place.prompts))
        return original(one, place, *rest)

    monkeypatch.setattr("lookups.measure.intervention.resume", counted)
    neurons = [Neuron(1, 3), Neuron(1, 4), Neuron(2, 5)]
    ablate_heads(one, [[5, 6]] * 3, neurons, [7, 8, 9], [Head(0, 1)] * 3, ["zero"])
    assert passes == [1]


def test_all_hooks_are_gone_afterwards():
    one = model("neox")
    before = one.logits(one.batch([[5, 6, 7]]))
    Rows(one).ablated(one)
    assert torch.equal(one.logits(one.batch([[5, 6, 7]])), before)
    points = [module for module in one.bridge.modules() if hasattr(module, "fwd_hooks")]
    assert points
    assert not any(point.fwd_hooks for point in points)
    assert not any(block._forward_pre_hooks for block in one.bridge.blocks)


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Rows(model("llama")).ablated(model("llama"))


def test_what_is_missing_is_said():
    one = model("gpt2")
    row = [[5]], [Neuron(1, 3)], [7], [Head(0, 1)]
    with pytest.raises(ValueError, match="measure them with measure_means"):
        ablate_heads(one, *row, ["mean"])
    with pytest.raises(ValueError, match="draw them with other_rows"):
        ablate_heads(one, *row, ["resample"])
    with pytest.raises(ValueError, match=r"no means of layer 0 were measured, only of \[2\]"):
        ablate_heads(one, *row, ["mean"], means=measure_means(one, TEXTS, [2]))
    with pytest.raises(ValueError, match="name zero before it"):
        ablate_heads(one, *row, ["through_neuron", "zero"])
    with pytest.raises(ValueError, match=r"has no head L3\.H0"):
        ablate_heads(one, *row[:3], [Head(3, 0)], ["zero"])
    with pytest.raises(ValueError, match=r"there are \[1, 1, 2\]"):
        ablate_heads(one, [[5]], [Neuron(1, 3)], [7, 8], [Head(0, 1)], ["zero"])
    with pytest.raises(ValueError, match="there are 2 for 1"):
        ablate_heads(one, [[5]], [Neuron(1, 3)], [7], [Head(0, 1)] * 2, ["zero"])
    with pytest.raises(ValueError, match="token 101 is not one of the 101"):
        ablate_heads(one, [[5]], [Neuron(1, 3)], [101], [Head(0, 1)], ["zero"])
    with pytest.raises(ValueError, match="no token to average over"):
        measure_means(one, [[]], [0])


# --- The planted truth ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_that_reads_the_cue_is_the_one_that_matters(kind):
    """In the planted language one word settles the next: without the head that looks there, the
    token is lost; without any other, nothing is."""
    one = load_model("planted-0")
    pairs = [
        pair
        for target in GRAMMAR.targets
        for pair in minimal_pairs(GRAMMAR, kind, GRAMMAR.ids[target], 3)
    ]
    heads = [Head(layer, index) for layer in range(2) for index in range(one.n_heads)]
    prompts = [list(pair.cued) for pair in pairs for _ in heads]
    tokens = [pair.slot.target for pair in pairs for _ in heads]
    neurons = [Neuron(1, 3)] * len(prompts)
    found = ablate_heads(one, prompts, neurons, tokens, heads * len(pairs), ["zero"])
    assert found.before.p.min() > 0.9
    lost = (found.before.logp - found.after["zero"].logp).reshape(len(pairs), -1).mean(0)
    at_cue = np.mean(
        [
            look(one, Neuron(1, 3), heads, pair.cued).pattern[:, -1, pair.slot.cue + 1].numpy()
            for pair in pairs
        ],
        axis=0,
    )
    reader = int(lost.argmax())
    assert lost[reader] > 3
    assert np.delete(lost, reader).max() < 0.1
    assert reader == at_cue.argmax()
    assert at_cue[reader] > 0.9
