"""The gallery's pages: one a head and a token, escaped, small; and what a card cannot be."""

import json
import sys

import pytest
from lookups.paths import PROJECT
from sample_chapters import HOSTILE, cards, with_gallery
from sphinx.errors import ExtensionError

sys.path.insert(0, str(PROJECT / "book" / "_ext"))
import gallery


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    given = {"run": "a", "kinds": {"L10.H0": ["induction"]}, "cards": cards()}
    folder = with_gallery(tmp_path_factory.mktemp("pages"), given)
    return gallery.read_cards(folder / "15_gallery.ipynb")


def test_every_pair_has_a_card_on_three_pages_of_little_size(carried):
    pages = {name: body for name, _, _, body in gallery.pages_of(carried)}
    for card in carried["cards"]:
        for name in ("index", f"heads/{card['head']}", f"tokens/{card['slug']}"):
            assert f'id="{card["key"]}"' in pages[f"gallery/{name}"]
    assert len(pages["gallery/index"].encode()) < 2_000_000
    assert "known kind: induction" in pages["gallery/heads/L10.H0"]
    assert "none of the known kinds" in pages["gallery/heads/L11.H1"]


def test_no_text_of_a_card_becomes_markup_or_ends_a_script(carried, tmp_path):
    for *_, body in gallery.pages_of(carried):
        assert HOSTILE not in body
        assert "<img" not in body
    gallery.write_cards(carried["cards"], tmp_path)
    texts = {path.stem: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert set(texts) == {card["key"] for card in carried["cards"]}
    assert not any("<" in text for text in texts.values())
    text = texts["L23.N3--L3.H3"]
    assert json.loads(text[text.index("]={") + 2 :].rstrip(";"))["prompts"][0]["token"] == HOSTILE


def test_a_run_without_cards_has_a_page_that_says_so(tmp_path):
    ((name, *_, body),) = gallery.pages_of(gallery.read_cards(tmp_path / "none.ipynb"))
    assert name == "gallery/index"
    assert "kept no pair" in body


def test_no_file_is_named_after_what_is_not_a_pair(tmp_path):
    bad = [cards(1)[0] | {"neuron": "../L1.N1"}]
    with pytest.raises(ExtensionError, match="names no neuron and head"):
        gallery.read_cards(with_gallery(tmp_path, {"cards": bad}) / "15_gallery.ipynb")


def test_every_token_has_an_address_of_its_own():
    long = [f" {'x' * n}" for n in (50, 51)]
    tokens = [" a", "a", " A", "A", "\n", "\n\n", " ", "", "é", "-a", HOSTILE, *long]
    slugs = [gallery.slug(token) for token in tokens]
    assert len({one.lower() for one in slugs}) == len(tokens)
    assert all(one and one.replace("-", "").isalnum() and one.isascii() for one in slugs)
    assert slugs[0] == "a"


def test_words_tell_where_the_head_looks_and_the_beginning_apart():
    told = gallery.words_of({"tokens": ["⟨BOS⟩", " either", " a"], "attention": [0.7, 0.2, 0.1]})
    assert told["text"] == ["", " either", " a"]
    assert (told["most"], told["idle"]) == (0.2, 0.7)
    assert gallery.words_of({"tokens": ["⟨BOS⟩"], "attention": [1.0]})["most"] == 1.0
    tokens = ["⟨BOS⟩", " far", *(f" w{i}" for i in range(20))]
    told = gallery.words_of({"tokens": tokens, "attention": [0.1, 0.9, *[0.0] * 20]})
    assert told["sample"] == ["", " far", " …" + "".join(tokens[-gallery.SAMPLE :])]
