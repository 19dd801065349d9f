"""The book: built strictly, self-contained, whole or not at all, and true for every run."""

import json
import pkgutil
import re
from pathlib import Path

import lookups
import pytest
import yaml
from lookups.errors import LookupsError
from lookups.paths import PROJECT
from lookups.run.book import build_book
from lookups.run.stages import CHAPTERS
from sample_chapters import SAMPLE, chapter_names, sample_site, write_sample_chapters

ELSEWHERE = re.compile(
    r"""(?:src|srcset|content)\s*=\s*["'](?:https?:)?//[^"']*["']|<link[^>]*https?://"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return sample_site(tmp_path_factory)


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text("utf-8")


@pytest.mark.slow
def test_every_page_is_there_loads_nothing_from_elsewhere_and_shares_its_scripts(site):
    contents = yaml.safe_load((PROJECT / "_toc.yml").read_text("utf-8"))
    files = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    for name in [contents["root"], *files, "index"]:
        assert (site / f"{name}.html").is_file()
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        assert not ELSEWHERE.search(text), path.name
        assert "thebe" not in text, path.name
    static = site / "_static"
    assert (static / "circuitsvis.iife.js").stat().st_size > 1_000_000
    assert (static / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 30_000_000
    assert 'cv-bundle">' not in page(site, "notebooks/06_attention_specialization")


@pytest.mark.slow
def test_pages_hold_what_is_true_of_their_run_as_text(site):
    text = page(site, "notebooks/05_heads")
    assert "The end." in text
    assert "a figure that this run has nothing to draw in" in text
    told = re.sub("<[^>]+>", "", text)
    assert f"Run this chapter: lookups run {SAMPLE}.yml --only 05, or papermill" in told
    assert f"notebooks/05_heads.ipynb out.ipynb -p run {SAMPLE}.yml" in told
    assert f"run {SAMPLE}" in text
    assert "About the record." not in page(site, f"notebooks/{chapter_names()[3]}")
    assert "About the record." in page(site, f"notebooks/{chapter_names()[4]}")
    hostile = page(site, "notebooks/06_attention_specialization")
    assert "<img src=x" not in hostile
    assert "<script>document.title" not in hostile


@pytest.mark.slow
def test_every_module_is_documented(site):
    text = page(site, "book/api")
    for module in pkgutil.walk_packages(lookups.__path__, "lookups."):
        if not module.ispkg and module.name != "lookups.run.cli":
            assert f'id="module-{module.name}"' in text, module.name


@pytest.mark.slow
def test_a_warning_fails_the_build_and_leaves_the_former_site(site, tmp_path):
    broken = write_sample_chapters(tmp_path) / "04_suffixes.ipynb"
    text = broken.read_text("utf-8").replace("The end.", "See {doc}`nowhere`.")
    broken.write_text(text, "utf-8")
    with pytest.raises(LookupsError, match=r"(?s)not built.*04_suffixes.*nowhere") as caught:
        build_book(SAMPLE, tmp_path, site)
    assert "/.book-" not in str(caught.value)
    assert (site / "index.html").is_file()
    assert [path for path in site.parent.iterdir() if path.name.startswith(".book-")] == []


def test_a_chapter_that_is_missing_unexecuted_or_damaged_says_what_to_run(tmp_path):
    def refused(words):
        with pytest.raises(LookupsError, match=words):
            build_book("other", tmp_path, tmp_path / "html")

    path = write_sample_chapters(tmp_path) / "06_attention_specialization.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"][1]["execution_count"] = None
    path.write_text(json.dumps(notebook), "utf-8")
    refused(
        r"needs all chapters, and 06_attention_specialization.ipynb is not executed.*lookups run "
    )
    path.write_text("{", "utf-8")
    refused(r"is not a notebook .*; delete it and run again")
    path.unlink()
    refused(r"06_attention_specialization.ipynb is not executed to its end")


def test_the_contents_name_the_chapters_in_order():
    assert tuple(chapter_names()) == CHAPTERS
