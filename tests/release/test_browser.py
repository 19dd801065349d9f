"""The built book in a real browser: views live, nothing is fetched, any screen.

It is made of the committed notebooks; a page of the sample chapters has what is hard to show.
"""

import os
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lookups.paths import PROJECT
from lookups.run.book import build_book
from lookups.settings import DEFAULT_RUN
from sample_chapters import sample_site

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SCREENS = [{"size": WIDE, "scheme": "light"}, {"size": PHONE, "scheme": "dark"}]
on_both_screens = pytest.mark.parametrize("screen", SCREENS, ids=["wide", "phone"], indirect=True)
no_scripts = pytest.mark.parametrize("screen", [{"java_script_enabled": False}], indirect=True)
LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = "NOT RUN: no Chromium; install one with `apt-get install chromium`"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("committed") / "html"
    return build_book(DEFAULT_RUN, PROJECT / "notebooks", out).parent


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory) -> list[Path]:
    """The pages to look at: all of the book, and the sample chapter with views of hostile text."""
    sample = sample_site(tmp_path_factory) / "notebooks" / "06_attention_specialization.html"
    return [*sorted(site.glob("book/*.html")), *sorted(site.glob("notebooks/*.html")), sample]


@pytest.fixture(scope="module")
def pages_with_views(pages) -> list[Path]:
    return [page for page in pages if 'class="cv-view' in page.read_text("utf-8")]


class Screen:
    """A kind of screen, in which one page after another is opened; what went wrong on the last."""

    def __init__(self, browser: Any, size: dict = WIDE, scheme: str = "light", **more):
        self.size, self.scheme = size, scheme
        self.context = browser.new_context(viewport=size, color_scheme=scheme, **more)
        self.context.set_default_timeout(120_000)  # a machine may be busy
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        bad = ("error", "warning")
        self.page.on("console", lambda m: m.type in bad and self.complaints.append(m.text))

    def open(self, file: Path) -> Any:
        """Leave the former page, forget what went wrong on it, and return this one."""
        self.page.goto("about:blank")
        self.asked.clear()
        self.complaints.clear()
        self.page.goto(file.as_uri())
        return self.page

    def draw(self, file: Path) -> Any:
        """Open a page and wait until every view of it is drawn."""
        page = self.open(file)
        page.wait_for_function(
            "document.querySelectorAll('.cv-view').length"
            " === document.querySelectorAll('.cv-drawn .cv-mount > *:not(.cv-text)').length"
        )
        return page


@pytest.fixture
def screen(request, browser) -> Iterator[Screen]:
    opened = Screen(browser, **getattr(request, "param", {}))
    yield opened
    opened.context.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core."""
    if (found := find_spec("axe_playwright_python")) is None:
        pytest.skip("NOT RUN: axe-playwright-python is not installed")
    return (Path(found.origin).parent / "axe.min.js").read_text("utf-8")


@pytest.mark.timeout(1800)
@on_both_screens
def test_pages_fit_are_accessible_complain_of_nothing_and_ask_nothing_of_the_network(
    screen, pages, axe
):
    """No finding of axe-core is serious or critical."""
    for path in pages:
        page = screen.draw(path)
        if screen.size == WIDE:  # once is enough: it waits for half a second
            page.wait_for_load_state("networkidle")
        assert [url for url in screen.asked if not url.startswith(LOCAL)] == [], path.name
        assert screen.complaints == [], path.name
        assert page.title() != "taken", path.name  # data is never run
        assert page.evaluate("document.documentElement.dataset.theme") == screen.scheme
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= screen.size["width"], path.name
        if path.name == "api.html" and screen.size != WIDE:
            continue  # 35,000 elements of a few kinds, a minute of axe: once is enough
        page.evaluate(axe)
        # circuitsvis chooses the colours of letters on the tokens that it draws
        what = "{exclude: ['.cv-tokens .cv-mount']}, {resultTypes: ['violations']}"
        said = page.evaluate(f"axe.run({what})")["violations"]
        serious = {one["id"]: one["nodes"][0]["html"][:200] for one in said
                   if one["impact"] in ("serious", "critical")}  # fmt: skip
        assert serious == {}, path.name


def test_search_finds_words_that_readers_look_for(screen, site):
    text = (site / "notebooks" / "16_analysis.html").read_text("utf-8")
    names = [re.search(rf"\bL\d+\.{kind}\d+\b", text)[0] for kind in "HN"]
    words = ["not only", "also", "mediation", "attribution", "effect", "papermill", "Pythia"]
    words += ["ablation", "pair", *names]
    nothing = [word for word in words if not found_by_search(screen, site, word)]
    assert nothing == []


def found_by_search(screen: Screen, site: Path, word: str) -> str:
    """The titles of pages that the site's own search finds."""
    page = screen.open(site / "search.html")
    page.goto(f"{(site / 'search.html').as_uri()}?q={word}")
    page.wait_for_function("/search finished|did not match/i.test(document.body.innerText)")
    return " ".join(page.locator("#search-results ul.search li a").all_inner_texts())


def test_pages_and_site_are_small(site):
    sizes = {path.name: path.stat().st_size for path in site.rglob("*.html")}
    assert [name for name, size in sizes.items() if size > 3_000_000] == []
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 60_000_000


def test_on_paper_there_is_the_article_alone(screen, site):
    page = screen.open(site / "notebooks" / "05_heads.html")
    assert page.locator(".prev-next-area a").count() == 2
    page.emulate_media(media="print")
    for name in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-area"):
        assert not page.locator(name).first.is_visible(), name
    assert len(page.locator("h1:visible").all_inner_texts()) == 1  # the theme prints it apart
    assert page.locator(".bd-article section > p:visible").count()


def test_formulas_are_set(screen, site):
    page = screen.open(site / "book" / "notation.html")
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert "$" not in page.locator(".bd-article").inner_text()


@on_both_screens
def test_hovering_shows_a_head_and_tells_a_tokens_value(screen, pages_with_views):
    for path in pages_with_views:
        page = screen.draw(path)
        for view in page.locator(".cv-heads").all():
            names = view.locator("h4").all_inner_texts()
            seen = set()
            for i, name in enumerate(names):
                view.locator("h4").nth(i).hover()
                page.wait_for_function(
                    "([box, text]) => box.querySelectorAll('h3')[1].textContent === text",
                    arg=[view.element_handle(), f"{name} Zoomed"],
                )
                seen.add(view.locator("canvas").last.evaluate("box => box.toDataURL()"))
            assert len(seen) == len(names) > 0
        for view in page.locator(".cv-tokens").all():
            view.locator(".cv-mount span span").last.hover()
            tip = view.locator('[style*="box-shadow"]')
            tip.wait_for()
            assert any(letter.isdigit() for letter in tip.inner_text())
        assert screen.complaints == []


@no_scripts
def test_views_are_words_without_javascript(screen, pages_with_views):
    for path in pages_with_views:
        views = screen.open(path).locator(".cv-view")
        assert views.count() > 0
        for view in views.all():
            assert view.locator("noscript").inner_text().startswith("The drawing needs")
            assert view.locator(".cv-text").is_visible()
            assert "strongest" in view.locator(".cv-text").inner_text().lower()
