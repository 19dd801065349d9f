"""What a look-up view shows is what plain passes give; pictures and words hold text as text."""

import numpy as np
import pandas as pd
import pytest
import torch
from lookups.errors import LookupsError
from lookups.measure.activation import activations
from lookups.measure.attribution import attribute
from lookups.names import Head, Neuron
from lookups.show.look_ups import look_up_view, measured_prompts
from lookups.show.views import BOS
from sample_look_ups import HOSTILE, made
from test_views import Tags, html_of
from tiny import VARIANTS, model, plain, random_ids, whole_pass

PROMPTS = random_ids(3, seed=5, shortest=4, longest=9)
HEAD = Head(1, 2)


@pytest.mark.parametrize("name", [one for one in VARIANTS if one != "qwen2"])  # see tiny.folder
def test_prompts_are_measured_as_plain_passes_measure_them(name):
    one, neuron = model(name), Neuron(2, 17, model(name).signs[-1])
    said = {"token": one.vocabulary[7], "active": [True, False, True], "source": "a § b"}
    rows = pd.DataFrame({"token_ids": PROMPTS, "next_token": [one.vocabulary[7], None, np.nan]})
    found = measured_prompts(one, str(neuron), HEAD, rows.assign(**said))
    parts = attribute(one, [neuron] * 3, PROMPTS)["post" if one.gated else "in"]
    for at, (ids, prompt) in enumerate(zip(PROMPTS, found, strict=True)):
        assert prompt.tokens == [BOS, *(one.vocabulary[i] for i in ids)]
        assert abs(sum(prompt.attention) - 1) < 1e-2
        assert prompt.attention == prompt.pattern[-1]
        brought = float(parts.by_head[at, parts.heads.index(HEAD)])
        assert abs(sum(prompt.brought) - brought) < 1e-2
        prefixes = [ids[: n + 1] for n in range(len(ids))]
        fires = activations(one, [neuron] * len(ids), prefixes)
        assert np.allclose(prompt.activation, [0, *fires], atol=1e-3)
        hook = ("blocks.1.attn.hook_z", lambda z, hook: z.index_fill(2, torch.tensor(2), 0))
        with torch.no_grad():
            usual = plain(name)(torch.tensor([[0, *ids]])).logits[0, -1]
        both = usual, whole_pass(one, ids, [hook])[0]
        for listed, logits in zip((prompt.with_head, prompt.without_head), both, strict=True):
            p, (tokens, told) = logits.double().softmax(-1), zip(*listed, strict=True)
            assert np.allclose(told, p.topk(5).values, atol=1e-3)
            assert np.allclose(told, p[[*map(one.vocabulary.index, tokens)]], atol=1e-3)
        assert np.allclose(prompt.p, [logits.softmax(-1)[7] for logits in both], atol=1e-3)
    assert [prompt.next for prompt in found] == [one.vocabulary[7], None, None]
    assert measured_prompts(one, neuron, HEAD, rows[:0]) == []


def test_the_summary_says_what_is_brought_fired_and_expected_by_the_numbers_drawn():
    view = look_up_view([made(), made(), made(active=False, next=None)], "H → N", name="v")
    assert view.text.splitlines()[:7] == [
        "H → N, strongest first",
        "active (1 of 2), 7 tokens",
        '  " result": <1 % with the head, 13 % without it; "⏎" followed',
        '  brings: +13 from "⏎" (3), attention 0.2; -2.1 from " is" (1), attention 0',
        '  activation: 23 at " as" (6)',
        f'  with the head: "{HOSTILE[2]}" 63 %, "⏎" <1 %',
        '  without the head: " so" 50 %, " result" 13 %',
    ]
    assert "followed" not in view.text.split("inactive (1 of 1)")[1]
    assert look_up_view([made()], "p", name="v").text.endswith("\ninactive: no prompt")
    with pytest.raises(LookupsError, match="needs a prompt"):
        look_up_view([], "p", name="v")


def test_a_static_picture_is_in_the_page_and_text_from_data_stays_text():
    page = html_of(look_up_view([made(), made(active=False)], HOSTILE[0], name="v"))
    calm = dict.fromkeys(("with_head", "without_head"), [(" so", 0.5)] * 2)
    calm = made(tokens=[BOS, *"abcdef"], source="s", **calm)
    calm_page = html_of(look_up_view([calm, calm._replace(active=False)], "p", name="v"))
    assert Tags(page).seen == Tags(calm_page).seen
    assert Tags(page).seen.count("svg") == 2
    assert Tags(page).seen.count("path") == 14
