"""The routes of a silenced head sum to the whole and equal naive hooks."""

import numpy as np
import pytest
import tiny
import torch
from lookups.measure.routes import ROUTES, routes
from lookups.names import Head, Neuron

HEADS = [Head(0, 1), Head(1, 2), Head(0, 3), Head(1, 0)]
NEURONS = [Neuron(1, 3), Neuron(2, 5), Neuron(2, 0), Neuron(1, 9)]
ALLIES = [[Neuron(2, 8), Neuron(1, 3)], [], [Neuron(2, 0), Neuron(2, 1), Neuron(1, 4)], []]
TOKENS = [7, 20, 3, 55]


def naive(model, ids, head, neuron, allies) -> tuple[torch.Tensor, ...]:
    """What leaves the last layer, its change by each route, and logits, from two whole passes."""
    _, usual = tiny.whole_pass(model, ids)
    logits, silent = tiny.whole_pass(model, ids, tiny.held(head, slice(None), 0))

    def change(name):
        return (silent[name] - usual[name])[0, -1]

    own = change(tiny.hook_of(head))[head.index] @ model.w_o(head.layer)[head.index]

    def written(one):
        return change(tiny.hook_of(one))[one.index] * model.w_out(one.layer)[one.index]

    zero = torch.zeros(model.d_model, dtype=model.dtype)
    mine = written(neuron)
    others = sum((written(one) for one in allies if one != neuron), zero)
    mlps = sum((change(f"blocks.{at}.hook_mlp_out") for at in range(model.n_layers)), zero)
    attention = sum((change(f"blocks.{at}.hook_attn_out") for at in range(model.n_layers)), zero)
    last = usual[f"blocks.{model.n_layers - 1}.hook_resid_post"][0, -1]
    parts = torch.stack([own, mine, others, mlps - mine - others, attention - own])
    return last, parts, logits


def log_probability(model, stream, token):
    normed = model.bridge.ln_final(stream[None, None])
    return float(model.bridge.unembed(normed)[0, 0].double().log_softmax(-1)[token])


@pytest.mark.parametrize("name", tiny.VARIANTS)
def test_routes_sum_to_the_whole_and_equal_whole_passes(name):
    model = tiny.model(name, "float64")
    prompts, close = tiny.random_ids(4, seed=3, shortest=3), tiny.close(model)
    found = routes(model, prompts, HEADS, NEURONS, TOKENS, ALLIES)
    for row, ids in enumerate(prompts):
        token = TOKENS[row]
        last, parts, real = naive(model, ids, HEADS[row], NEURONS[row], ALLIES[row])
        without = last + parts.sum(0)
        before = log_probability(model, last, token)
        after = log_probability(model, without, token)
        assert abs(after - float(real.log_softmax(-1)[token])) < close  # the parts are all
        assert abs(found.whole[row] - (before - after)) < close
        for at in range(len(ROUTES)):
            back = log_probability(model, without - parts[at], token) - after
            assert abs(found.restored[row, at] - back) < close
            gone = before - log_probability(model, last + parts[at], token)
            assert abs(found.sent[row, at] - gone) < close
        streams = tiny.normed(model, torch.stack([last, *(last + part for part in parts)]), last)
        each = model.bridge.unembed(streams[None])[0].double()
        falls = (each[0] - each[1:])[:, token] - (each[0] - each[1:]).mean(1)
        assert np.abs(found.logit[row] - falls.numpy()).max() < close
