"""Look-up views in a real browser: drawn, chosen from, reached by keys, and the same in words."""

from pathlib import Path

import pytest
from lookups.show import views
from lookups.show.look_ups import look_up_view
from lookups.show.views import BOS
from sample_look_ups import made
from test_browser import PHONE, browser, screen  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CALM = made(
    tokens=[BOS, " or", " as"], attention=[0.1, 0.65, 0.25], brought=[0.001, 3.35, -0.25],
    activation=[0.0, 0.45, 6.25], token=" so", next=" so", active=False,
)  # fmt: skip
LONG = made(tokens=[BOS, *(f" t{i}" for i in range(49))], active=False) ._replace(
    **dict.fromkeys(("attention", "brought", "activation"), [0.02] * 50)
)  # fmt: skip


@pytest.fixture
def shown(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    """The summary of a view, and a page with it as a live notebook makes it, script or not."""
    monkeypatch.setenv("LOOKUPS_VIEWS", getattr(request, "param", "live"))
    monkeypatch.setattr(views, "_carriers", [])
    view = look_up_view([made(), CALM, LONG], "H → N", name="one", look_for="Look.")
    page = tmp_path / "live.html"
    html = view._repr_mimebundle_()["text/html"]
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{html}</body>", "utf-8")
    return view.text, page


def told(side) -> list[str]:
    """What a side that is drawn says, written as the summary writes it."""
    lines = [f"  {fact.text_content()}" for fact in side.locator(".lu-fact").all()]
    for kind, items in zip(("with", "without"), side.locator("ol").all(), strict=True):
        rows = items.locator("li:not(.lu-more)").all()
        likely = [
            f'"{row.locator("bdi").text_content()}" {row.locator("span").text_content()}'
            for row in rows
        ]
        lines.append(f"  {kind} the head: {', '.join(likely)}")
    return lines


@pytest.mark.parametrize("screen", [{}, {"size": PHONE}], indirect=True)
def test_what_is_drawn_is_what_the_summary_says(screen, shown):  # noqa: F811
    text, path = shown
    active, inactive = text.split("inactive (1 of 2)")
    page = screen.draw(path)
    for kind, words in (("active", active), ("inactive", inactive)):
        side = page.locator(f".lu-{kind}")
        assert told(side) == words.splitlines()[-5:]
        assert f"{side.locator('.lu-tick').count()} tokens" in text
        amount, fired = (side.locator(f".lu-{one}").text_content() for one in ("amount", "fired"))
        assert f"brings: {amount} from" in words
        assert f"activation: {fired} at" in words
    assert page.title() != "taken"
    assert screen.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= screen.size["width"]


def test_the_pointer_and_the_keys_reach_every_token_and_its_numbers_are_told(screen, shown):  # noqa: F811
    page = screen.draw(shown[1])
    side = page.locator(".lu-inactive")
    live, tokens = side.locator("[aria-live=polite]"), side.locator("g[role=img]")
    side.locator("select").focus()
    page.keyboard.press("Tab")  # a line that is wider than its box can be scrolled by keys
    if not page.evaluate("document.activeElement.matches('g')"):
        page.keyboard.press("Tab")
    assert live.text_content().startswith('2: " as" gets attention 0.25 and brings -0.25')
    page.keyboard.press("ArrowLeft")
    assert live.text_content().endswith("brings +3.35; the neuron's activation there is 0.45.")
    assert side.locator("path.lu-at").count() == 1
    page.keyboard.press("Home")
    assert live.text_content().startswith(f'0: "{BOS}"')
    tokens.nth(1).hover()
    assert live.text_content().startswith('1: " or" gets attention 0.65')


@pytest.mark.parametrize("screen", [{"size": PHONE}], indirect=True)
def test_another_prompt_can_be_chosen_and_a_long_one_starts_at_its_end(screen, shown):  # noqa: F811
    page = screen.draw(shown[1])
    assert page.locator("select").count() == 1  # where there is a choice
    page.locator("select").select_option("1")
    side = page.locator(".lu-inactive")
    assert side.locator(".lu-tick").all_text_contents() == [*map(str, range(24))]
    assert "the last 24 of 50 tokens" in side.locator(".lu-source").text_content()
    box, last = side.locator(".lu-line").bounding_box(), side.locator("g").last.bounding_box()
    assert box["x"] <= last["x"] < box["x"] + box["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("shown", ["linked"], indirect=True)
def test_a_notebook_without_the_script_says_so_and_keeps_the_words(screen, shown):  # noqa: F811
    page = screen.open(shown[1])
    page.wait_for_selector(".cv-stuck")
    assert "run this cell" in page.locator(".cv-stuck").inner_text()
    assert page.locator(".cv-text").text_content() == shown[0]
    assert screen.complaints == []
