"""Views: same numbers, same bytes; data never becomes markup; words beside every picture."""

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from lookups.errors import LookupsError
from lookups.show import views
from lookups.show.views import BOS, LONGEST, PromptText, attention_view, prompt_table, token_view
from markdown_it import MarkdownIt
from sample_look_ups import HOSTILE


@pytest.fixture(autouse=True)
def linked(monkeypatch):
    monkeypatch.setenv("LOOKUPS_VIEWS", "linked")


def uniform(heads: int, length: int) -> np.ndarray:
    rows = np.tril(np.ones((heads, length, length)))
    return rows / rows.sum(-1, keepdims=True)


def html_of(shown) -> str:
    return shown._repr_mimebundle_()["text/html"]


def data_of(view) -> dict:
    found = re.search(r'class="cv-data">(.*?)</script>', html_of(view), re.S)
    return json.loads(found.group(1))["props"]


class Tags(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.seen: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)


def test_the_same_numbers_give_the_same_bytes_rounded_and_zero_has_no_sign():
    values = np.array([[[1.0, 0.0], [0.33333333, -0.00001]]])
    first, again = (attention_view(["a", " b"], values, ["L0.H0"], name="same") for _ in "xx")
    assert html_of(first) == html_of(again)
    assert 'id="cv-same"' in html_of(first)
    assert data_of(first)["attention"] == [[[1.0, 0.0], [0.333, 0.0]]]
    exact = torch.tensor([0.5, 0.25, 2.0])
    shown = [token_view(list("abc"), one, name="v") for one in (exact.bfloat16(), exact.numpy())]
    assert html_of(shown[0]) == html_of(shown[1])


@pytest.mark.parametrize("token", [*HOSTILE, "&lt;b&gt;"])
def test_text_from_data_never_becomes_markup(token):
    tokens, calm = ["a", token], ["a", "b"]
    makers = [
        lambda t: attention_view(t, uniform(1, 2), ["L0.H0"], name="v", look_for=t[1]),
        lambda t: token_view(t, [0.0, 1.0], name="v", look_for=t[1]),
        lambda t: token_view(t, [[0.0], [1.0]], series=[t[1]], name="v"),
        lambda t: prompt_table({t[1]: [PromptText(*[t[1]] * 4)]}),
        lambda t: prompt_table({t[1]: [PromptText(*[t[1]] * 3, "c")]}),
    ]
    for made in makers:
        assert Tags(html_of(made(tokens))).seen == Tags(html_of(made(calm))).seen
    # circuitsvis writes coloured tokens as HTML
    (shown,) = data_of(token_view([token], [1.0], name="v"))["tokens"]
    assert shown.replace("\u200b", "") == token
    assert not re.search(r"<[A-Za-z/!?]|&[A-Za-z#]", shown)


def test_long_prompts_are_cut_from_the_left_and_the_summary_says_so():
    tokens = [BOS, *(f" t{i}" for i in range(1, 51))]
    view = attention_view(tokens, uniform(1, 51), ["L0.H0"], name="long")
    assert len(data_of(view)["tokens"]) == LONGEST
    assert data_of(view)["tokens"][:2] == [BOS, " t28"]
    assert np.array(data_of(view)["attention"]).shape == (1, LONGEST, LONGEST)
    assert '" t50" (23)' in view.text
    assert "24 tokens (the last of 51)" in view.text
    assert "(the last of 51)" in token_view(tokens, np.zeros(51), name="long").text


def test_equal_weights_are_listed_by_position():
    view = token_view(["a", "b", "c"], [0.5, 0.5000001, 0.5], name="ties")
    assert view.text.splitlines()[1] == 'value  0.5 "a" (0), 0.5 "b" (1), 0.5 "c" (2)'


@pytest.mark.parametrize(
    ("view", "arguments", "wanted"),
    [
        (attention_view, (["a", "b"], uniform(2, 2), ["L0.H0"]), r"\(1, 2, 2\) \(head, query"),
        (token_view, (["a", "b"], [1.0]), r"shape \(2,\) \(token\)"),
        (attention_view, ([], np.zeros((0, 0, 0)), []), "1 at least of each"),
        (token_view, ([], []), "1 at least of each"),
        (token_view, (["a"], [float("nan")]), "needs finite numbers"),
    ],
)
def test_what_cannot_be_shown_says_what_is_needed(view, arguments, wanted):
    with pytest.raises(LookupsError, match=wanted):
        view(*arguments, name="v")


def test_a_live_notebook_gets_the_script_once_and_again_when_its_cell_is_run_again(monkeypatch):
    monkeypatch.delenv("LOOKUPS_VIEWS")
    monkeypatch.setattr(views, "_carriers", [])
    first, second = (token_view(["a"], [1.0], name=name) for name in ("first", "second"))
    pages = [html_of(view) for view in (first, second, first)]
    assert ['class="cv-bundle"' in page for page in pages] == [True, False, True]
    assert pages[0].count("</script>") == 3


def test_prompts_stand_side_by_side_and_another_token_than_followed_is_struck_out():
    told = [("not only but", " also", "x/y.py", " also"), ("who, but\n", " also", "", "⏎")]
    table = prompt_table({"active": told, "inactive": [PromptText("they", " also")], "none": []})
    assert "  who, but⏎« also» ✗ →⏎" in repr(table).splitlines()
    page = html_of(table).replace("\n", "")
    assert page.count(">next</th>") == 1
    assert "but<mark> also</mark></span><small>x/y.py</small></td>" in page
    assert '<td class="next"><span> also</span>' in page
    assert '⏎<mark class="other"> also</mark></span></td><td class="next"><span>⏎</span>' in page
    assert "they<mark> also</mark></span></td><td></td></tr>" in page
    assert (page.count("<tr>"), page.count("<td></td>")) == (3, 3)


def test_what_reads_from_right_to_left_is_isolated_and_two_dollars_are_no_formula():
    view = token_view([" שלום", "$5 to $6"], [2.5, -1.25], name="v")
    assert '2.5 " \u2068שלום\u2069" (0), -1.2 "$5 to $6" (1)' in view.text
    page = html_of(prompt_table({"t": [PromptText("costs $5 or $6 <b>", " $9", followed="שלום")]}))
    assert "costs <span>$</span>5 or <span>$</span>6 &lt;b&gt;<mark" in page
    assert ">\u2068שלום\u2069<" in page
    assert " $9</mark>" in page


def test_tokens_are_readable_and_shown_by_markdown_as_they_stand():
    tokens = {"\n": "⏎", " a": " a", "\t": "⇥", " ": "␣", "": "∅", "\r\n": "⏎"}
    tokens |= {"\x1b[0m": "⟨1B⟩[0m", "\u202eab": "ab", " \u202bא": " \u2068א\u2069"}
    assert {token: views.readable(token) for token in tokens} == tokens
    text = "ends in “*a*_b_ `c` <b>#d</b> $e$ [f](g) 1. h - i\\n”"
    shown = MarkdownIt().render(f"> {views.escaped(text)}")
    inside = re.sub(r"</?(blockquote|p)>|\n", "", shown)
    assert html.unescape(inside) == text
