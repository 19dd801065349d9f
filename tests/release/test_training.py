"""Training: what is drawn, that a killed run loses nothing, that what is shipped is what was made.

Everything runs on the CPU in float32, where equal means equal to the last bit.
"""

import dataclasses

import numpy as np
import pytest
import torch
from lookups.errors import ModelError
from transformers import GPT2Config, GPT2LMHeadModel

from tools.train.following import (
    measure_following,
    strongest_next_tokens,
    unembedding_of,
    wordlike,
    written_by,
)
from tools.train.planted import planted_tokenizer
from tools.train.recipe import Recipe, new_model, new_optimizer
from tools.train.shipping import ship
from tools.train.trainer import Trained, train

TINY = Recipe(
    n_layer=1,
    n_head=2,
    d_model=16,
    d_mlp=32,
    context=8,
    vocabulary=20,
    batch=4,
    steps=40,
    warmup=5,
)


def silent(line):
    """Keep the trainer's progress out of the tests' output."""


def counting(step):
    """Sequences that can be learnt: each id calls for the next."""
    first = torch.arange(step * 4, step * 4 + 4)[:, None] * 7 + torch.arange(8)
    return torch.nn.functional.pad(first % 19 + 1, (1, 0))


def unmeasured(model):
    return {}


class Killed(Exception):
    """Stands for a process that ends between two checkpoints."""


def killed_at(step, batches):
    def batch(number):
        if number == step:
            raise Killed
        return batches(number)

    return batch


def test_the_rate_warms_up_stays_and_decays():
    recipe = Recipe(steps=100, warmup=10, lr=1.0, decay_share=0.5, final_share=0.1)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[10:51] == pytest.approx([1.0] * 41)
    assert rates[75] == pytest.approx(0.5)
    assert min(rates[50:]) == pytest.approx(0.1)


def test_only_matrices_decay():
    model = new_model(TINY)
    decayed = {id(w) for w in new_optimizer(model, TINY).param_groups[0]["params"]}
    names = {name for name, weight in model.named_parameters() if id(weight) in decayed}
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert names == {f"transformer.h.0.{part}.weight" for part in parts} | {"lm_head.weight"}


def test_the_loss_falls(tmp_path):
    recipe = dataclasses.replace(TINY, lr=1e-2)
    trained = train(recipe, counting, unmeasured, tmp_path, data="p", measure_every=10, say=silent)
    losses = [point["train_loss"] for point in trained.curve]
    assert losses[0] is None
    assert losses[-1] < 0.5 * losses[1]
    assert [point["tokens"] for point in trained.curve] == [0, 320, 640, 960, 1280]


def test_a_killed_run_ends_like_an_unbroken_one(tmp_path):
    settings = {"data": "p", "measure_every": 10, "save_every": 7, "say": silent}
    whole = train(TINY, counting, unmeasured, tmp_path / "whole", **settings)
    for step in (3, 18, 33):
        with pytest.raises(Killed):
            train(TINY, killed_at(step, counting), unmeasured, tmp_path / "broken", **settings)
    (tmp_path / "broken/checkpoint.safetensors.partial").write_bytes(b"half a file")
    resumed = train(TINY, counting, unmeasured, tmp_path / "broken", **settings)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.curve == resumed.curve


def test_a_checkpoint_of_another_recipe_or_text_is_refused(tmp_path):
    train(TINY, counting, unmeasured, tmp_path, data="p", say=silent)
    for recipe, data in ((dataclasses.replace(TINY, lr=1.0), "p"), (TINY, "q")):
        with pytest.raises(ModelError, match="another recipe or other data: choose another folder"):
            train(recipe, counting, unmeasured, tmp_path, data=data, say=silent)


def model_with_a_planted_neuron():
    """Token 3 switches on neuron 0 of the only layer, which writes token 7 and nothing else."""
    config = GPT2Config(
        vocab_size=12, n_positions=16, n_embd=12, n_layer=1, n_head=1, n_inner=4,
        tie_word_embeddings=False, activation_function="gelu_pytorch_tanh", use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "ln" not in name:
                weight.zero_()
        model.transformer.wte.weight.copy_(torch.eye(12))
        model.lm_head.weight.copy_(torch.eye(12))
        model.transformer.h[0].mlp.c_fc.weight[3, 0] = 5.0
        model.transformer.h[0].mlp.c_proj.weight[0, 7] = 1.0
    return model


def test_a_planted_neuron_is_followed_as_often_as_planted():
    model = model_with_a_planted_neuron()
    documents = torch.full((10, 6), 1)
    documents[:, 0] = 0
    documents[:, 2] = 3
    documents[:6, 3] = 7  # in six of ten documents the neuron's token comes next
    documents[6:, 3] = 8
    documents[6, 4] = 0  # a BOS inside a document is no token of its own
    found = measure_following(model, documents, torch.ones(12, dtype=torch.bool), strongest=10)
    assert int(found.token[0, 0]) == 7
    assert float(found.share[0, 0]) == pytest.approx(0.6)
    assert float(found.base[0, 0]) == pytest.approx(6 / 49)
    assert not found.followed()[0, 0]  # .6 is less than five times 6/49
    assert found.followed(times=4.0)[0, 0]
    assert found.counts() == {"followed": [0], "distinct_tokens": [0]}


def test_a_token_that_is_not_eligible_is_nobodys():
    eligible = torch.ones(12, dtype=torch.bool)
    eligible[7] = False
    documents = torch.randint(1, 12, (4, 6))
    token = measure_following(model_with_a_planted_neuron(), documents, eligible).token
    assert 7 not in token


def test_tokens_that_read_as_words():
    texts = [" a", " an", "word", " the", "  ", "<|bos|>", ".", "\n"]
    assert wordlike(texts).tolist() == [False, True, False, True, False, False, False, False]


@pytest.fixture(scope="module")
def random_model():
    recipe = dataclasses.replace(TINY, n_layer=2, context=16, seed=3)
    model = new_model(recipe).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return model


def naive_following(model, documents, eligible, strongest):
    """The definition, neuron by neuron and document by document, with nothing batched."""
    layers, neurons = model.config.n_layer, model.config.n_inner
    token, share = np.zeros((layers, neurons), int), np.zeros((layers, neurons))
    unembedding = model.lm_head.weight.double() * model.transformer.ln_f.weight.double()
    acts, tables = {}, []
    for layer, block in enumerate(model.transformer.h):
        block.mlp.act.register_forward_hook(lambda m, i, o, at=layer: acts.update({at: o[0]}))
    for document in documents:
        model(document[None])
        tables.append((document, dict(acts)))
    for layer in range(layers):
        written = model.transformer.h[layer].mlp.c_proj.weight.double()
        for neuron in range(neurons):
            row = written[neuron] - written[neuron].mean()
            scores = [float(row @ (u - u.mean())) if ok else -np.inf for u, ok in
                      zip(unembedding, eligible, strict=True)]  # fmt: skip
            token[layer, neuron] = int(np.argmax(scores))
            best = []
            for document, acts in tables:
                own = [p for p in range(len(document) - 1) if document[p] != 0]
                value, at = max((float(acts[layer][p, neuron]), p) for p in own)
                best.append((value, int(document[at + 1])))
            best = sorted(best, reverse=True)[:strongest]
            hits = [following == token[layer, neuron] for _, following in best]
            share[layer, neuron] = sum(hits) / len(hits)
    return token, share


def test_the_fast_measure_of_following_is_the_plain_one(random_model):
    documents = torch.randint(0, 20, (15, 12), generator=torch.Generator().manual_seed(0))
    documents[:, 0] = 0
    eligible = torch.arange(20) % 3 != 0
    with torch.no_grad():
        token, share = naive_following(random_model, documents, eligible, 6)
    for batch in (1, 4, 15):
        fast = measure_following(random_model, documents, eligible, strongest=6, batch=batch)
        assert (fast.token.numpy() == token).all()
        assert fast.share.numpy() == pytest.approx(share)


def test_the_order_of_documents_changes_nothing(random_model):
    documents = torch.randint(1, 20, (15, 12), generator=torch.Generator().manual_seed(2))
    documents[:, 0] = torch.arange(1, 16)  # equal beginnings would be exact ties
    there = strongest_next_tokens(random_model, documents, strongest=5)
    back = strongest_next_tokens(random_model, documents.flip(0), strongest=5)
    assert torch.equal(there, back)


def test_congruence_is_what_a_neuron_does_to_the_logits(random_model):
    """Raising a neuron's activation with the LayerNorm's scale held moves centred logits so."""
    model = random_model
    state = torch.randn(16, generator=torch.Generator().manual_seed(0))
    row = model.transformer.h[1].mlp.c_proj.weight[5]
    final = model.transformer.ln_f

    def logits(vector, scale):
        centred = (vector - vector.mean()) / scale
        out = model.lm_head(centred * final.weight + final.bias)
        return out - out.mean()

    with torch.no_grad():
        scale = state.std(unbiased=False)
        moved = (logits(state + row, scale) - logits(state, scale)) * scale
    written = written_by(model, 1)[5] @ unembedding_of(model)
    assert torch.allclose(written, moved, atol=1e-5)


def test_a_model_that_half_precision_would_spoil_is_not_shipped(tmp_path):
    planted_tokenizer().save(str(tmp_path / "tokenizer.json"))
    model = new_model(dataclasses.replace(TINY, vocabulary=77)).eval()
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.mul_(1e9)
    trained = Trained(model, [], 0.0, "CPU")
    windows = torch.randint(1, 77, (4, 9))
    with pytest.raises(ModelError, match="Rounding the weights to half precision costs"):
        ship(
            trained,
            tmp_path / "tokenizer.json",
            tmp_path / "out",
            counts=[],
            record={},
            card="",
            windows=windows,
        )
    assert not (tmp_path / "out").exists()
