"""Wikipedia's texts: what a small export becomes, by hand; and the real one, by its digest."""

import bz2
import hashlib
import json
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from inline import defined_in
from lookups.corpus import wikipedia
from lookups.corpus.texts import corpus_texts
from lookups.corpus.wikipedia import Paragraph, article_of, clean, load_wikipedia
from lookups.errors import SourceError
from lookups.settings import CorpusSpec

EXPECTED_DIGEST = "fae800b2f763e505b1380538fa1e97b5942fff6e8b8cb535f438f3b912883ee0"
"""Of the cleaned texts that the committed notebooks were made from."""

LONG = (
    "The river rises in the high hills and is joined by two smaller rivers before it reaches the "
    "sea. Most of its water comes from melting snow, so that it carries least in autumn and most "
    "in May and in June. "
)
SAID = LONG.strip()

PAGE = """<page><title>{title}</title><ns>{ns}</ns><id>{page}</id>{redirect}
<revision><id>{revision}</id><text xml:space="preserve">{text}</text></revision></page>"""


def page(title: str, text: str, *, number: int = 1, ns: int = 0, redirect: str = "") -> str:
    content = {"title": title, "ns": ns, "page": number, "revision": 100 + number}
    return PAGE.format(**content, redirect=redirect, text=escape(text))


def export(folder: Path, *pages: str) -> Path:
    names = '<siteinfo><namespaces><namespace key="6">File</namespace></namespaces></siteinfo>'
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">'
    path = folder / "export.xml.bz2"
    path.write_bytes(bz2.compress(f"{head}{names}{''.join(pages)}</mediawiki>".encode()))
    return path


def shown(wikitext_: str) -> tuple[list[str], Counter]:
    """Return the paragraphs that a text keeps, each behind the long one, and what was dropped."""
    dropped: Counter[str] = Counter()
    found = wikipedia.paragraphs(LONG + wikitext_, frozenset({"file", "image"}), dropped)
    return [text.removeprefix(SAID).strip() for _, _, text in found], +dropped


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("'''It''' is [[River|''long'']] and [[deep]].", "It is long and deep."),
        ("Deep.<ref>Someone, {{cite book|title=R}}</ref> Wide.<ref name=a/>", "Deep. Wide."),
        ("Deep{{citation needed}}, wide <!-- x -->.{{sfn|A|2001}}", "Deep, wide."),
        ("The Ob ({{IPA|[o]}}; {{lang|ru|О́бь}}) is deep.", "The Ob is deep."),
        ("H<sub>2</sub>O of the 19<sup>th</sup> century.", "H2O of the 19th century."),
        ("[[File:A.jpg|thumb|A [[river]] (''Ob'').]]It is deep.", "It is deep."),
        ("See [http://x.org the map] and [http://x.org].", "See the map and."),
    ],
)
def test_running_text_is_what_a_reader_sees(written, read):
    assert shown(written) == ([read], Counter())


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("It is {{convert|5|mi|km}} long.", "a template or formula stood in a sentence"),
        ("Its rivers are:", "ends no sentence"),
        ("A [[River (of a kind|river is deep.", "markup that could not be parsed"),
    ],
)
def test_a_paragraph_that_lost_something_is_dropped_and_counted(written, reason):
    assert shown(written) == ([], Counter({reason: 1}))


WHOLE = f"""{{{{Infobox river|name=Ob}}}}
{LONG}It is deep.

* {LONG}
: {LONG}
{{|
| {LONG}
|}}
== {{{{anchor|x}}}} ''Use'' ==
Short.

{LONG}
{LONG}
<gallery>File:A.jpg|{LONG}</gallery>
== See also ==
{LONG}
=== More ===
{LONG}
== Name ==
{LONG}
"""


def test_articles_of_an_export_without_lists_tables_and_appendices(tmp_path):
    to = '<redirect title="Ob" />'
    path = export(
        tmp_path,
        page("Ob", WHOLE, number=1),
        page("River Ob", "#REDIRECT [[Ob]]", number=2, redirect=to),
        page("Talk", LONG, number=3, ns=4),
        page("Stub", "Nothing.", number=4),
    )
    texts = clean(path)
    assert texts.paragraphs == [
        Paragraph("Ob", 1, 101, "lead", 0, f"{SAID} It is deep."),
        Paragraph("Ob", 1, 101, "Use", 1, f"{SAID} {SAID}"),
        Paragraph("Ob", 1, 101, "Name", 4, SAID),
    ]
    assert texts.paragraphs[1].source == "Ob (revision 101) § Use"
    other = {"redirects": 1, "pages about the project": 1, "articles without a paragraph kept": 1}
    assert texts.pages == {"articles": 1} | other
    dropped = {"an item of a list": 2, "at most 200 characters": 2, "in an appendix": 2}
    assert {what: n for what, n in texts.dropped.items() if n} == dropped
    articles_used = defined_in("01_corpus_and_model").articles_used
    (used,) = articles_used({"Ob (revision 101) § Use", "mine.txt#3 § 2"}, texts).values
    assert used.tolist() == ["Ob", 1, 101, "https://en.wikipedia.org/?oldid=101"]


def test_half_an_export_says_so(tmp_path):
    path = export(tmp_path, page("Ob", LONG * 50))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"export\.xml\.bz2 cannot be read .* no whole MediaWiki"):
        clean(path)


def test_a_text_is_a_section_and_articles_stay_on_one_side(tmp_path, monkeypatch):
    wikitext = f"{LONG}\n\n{LONG}\n== Use ==\n{LONG}\n== Name ==\n{LONG}"
    path = export(tmp_path, *(page(f"R{n}", wikitext, number=n) for n in range(12)))
    monkeypatch.setattr(wikipedia, "packaged_file", lambda *_: path)
    corpus = CorpusSpec(name="wikipedia", folder=tmp_path)
    halves = [list(corpus_texts(corpus, split)) for split in ("train", "test")]
    assert [len({article_of(one.source) for one in half}) for half in halves] == [6, 6]
    sections = {"lead": f"{SAID}\n\n{SAID}", "Use": SAID, "Name": SAID}
    expected = [
        (text, f"R{n} (revision {100 + n}) § {name}", False)
        for n in range(12)
        for name, text in sections.items()
    ]
    assert sorted(map(tuple, halves[0] + halves[1])) == sorted(expected)
    assert halves[0][0].source_of(25, 40) == halves[0][0].source  # however many passages it gives


def test_the_real_texts_are_the_expected_ones(tmp_path):
    try:
        real = load_wikipedia(tmp_path)
    except SourceError as error:
        pytest.skip(f"NOT RUN: {error}")
    content = hashlib.sha256()
    for one in real.paragraphs:
        content.update(json.dumps(one).encode() + b"\n")
    assert content.hexdigest() == EXPECTED_DIGEST
