"""Small executed notebooks in place of the chapters, to test the book without running the analysis.

They hold what chapters hold that a book can get wrong: views, prompts, tables, glued numbers,
folds, hostile text, cards of the gallery. Whatever the prose pages glue is glued here.
"""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from comparing import CARDS
from lookups.paths import PROJECT
from lookups.run.book import build_book
from lookups.run.notebooks import KERNEL
from lookups.show.look_ups import look_up_view
from lookups.show.views import BOS, LONGEST, PromptText, attention_view, prompt_table, token_view
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sample_look_ups import made

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
)
GLUED = "application/papermill.record/"
SAMPLE = "sample"
"""The id of the run whose book these chapters make."""


def sample_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book of the sample chapters, with a gallery, once in a test session."""
    folder = tmp_path_factory.getbasetemp() / SAMPLE
    if not folder.exists():
        carried = {"run": SAMPLE, "split": "test", "cards": cards()}
        build_book(SAMPLE, with_gallery(folder / "notebooks", carried), folder / "html")
    return folder / "html"


def chapter_names() -> list[str]:
    """The chapters that the table of contents names."""
    return re.findall(r"file: notebooks/(\S+)", (PROJECT / "_toc.yml").read_text("utf-8"))


def write_sample_chapters(folder: Path) -> Path:
    """Write one sample notebook for every chapter into a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = "\n".join(page.read_text("utf-8") for page in (PROJECT / "book").glob("*.md"))
    glued = set(re.findall(r"notebooks/(\w+)(?:\.ipynb)?::([\w-]+)", pages))
    equations = set(re.findall(r"{eq}`([\w-]+)`", pages))
    equations -= set(re.findall(r":label: (\S+)", pages))  # what chapters define
    for number, name in enumerate(chapter_names()):
        cells = [_markdown(f"(sample-{number})=\n# Is this chapter {number}?\n\nA sample.")]
        cells += [_glue(key) for chapter, key in sorted(glued) if chapter == name]
        if number == 1:
            cells += [_markdown(f"$$ x $$ ({label})") for label in sorted(equations)]
        if number == 5:
            cells += _shown(f"sample{number}")
        if number in (3, 4):  # in one of them the record shows something
            cells += [_markdown("About the record.", "with-record")]
            cells += [_code("found", {"text/plain": "12"} if number == 4 else {}, "with-record")]
        cells += [_markdown("The end. {numref}`fig-not-drawn`")]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


def cards(number: int = 200) -> list[dict]:
    """Made-up cards: every seventh has hostile text, some have no score and no fall."""
    rng, made = np.random.default_rng(0), []
    for i in range(number):
        hostile = i % 7 == 3
        token = HOSTILE if hostile else f" word{i // 3}"
        tokens = ["⟨BOS⟩", *(f" w{j}" for j in range(8 + i % 14)), HOSTILE if hostile else " end"]
        pattern = np.tril(rng.random((len(tokens), len(tokens))))
        pattern = (pattern / pattern.sum(1, keepdims=True)).round(2)
        brought, activation = rng.normal(size=(2, len(tokens))).round(2).tolist()
        prompt = {
            "tokens": tokens, "pattern": pattern.tolist(), "attention": pattern[-1].tolist(),
            "brought": brought, "activation": activation, "with": [[token, 0.4], [" the", 0.2]],
            "without": [[" the", 0.3], [token, 0.1]], "token": token, "p": [0.4, 0.1],
            "next": " other", "source": "a text",
        }  # fmt: skip
        some = [prompt | {"active": active} for active in (True, False) for _ in range(3)]
        made.append({
            "token": token, "neuron": f"L{20 + i % 9}.N{i}{'-' if i % 2 else ''}",
            "head": f"L{i % 20}.H{i % 5}", "layer": 20 + i % 9, "head_layer": i % 20,
            "group": ("selected", "random", "middle")[i % 3], "gap": round(0.1 + i / 400, 2),
            "sentence": f"It ends in {token}.", "explainer": "contrast", "low": 0.5, "high": 0.9,
            "score": None if i % 10 == 9 else round(0.5 + i / 400, 2), "through": 0.4,
            "fall": None if i % 5 == 4 else {"active": i / 4, "inactive": 0.2},
            "sort": {"right": 8, "of": 10, "clear": False} if i % 2 else None,
            "table": [" as", token], "prompts": json.dumps(some),
        })  # fmt: skip
    return made


def with_gallery(folder: Path, carried: dict) -> Path:
    """Write sample chapters of which the gallery's carries some cards."""
    path = write_sample_chapters(folder) / "15_gallery.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.append(_code("cards", {CARDS: carried, "text/plain": "cards"}))
    nbformat.write(notebook, path)
    return folder


def _shown(name: str) -> list[NotebookNode]:
    """Views, the text of prompts and a wide table, with hostile text in them."""
    rng = np.random.default_rng(0)
    tokens = [BOS, " the", " set\n", HOSTILE, *(f" word{i}" for i in range(LONGEST))]
    weights = np.tril(rng.gamma(0.3, size=(4, len(tokens), len(tokens)))) + np.eye(len(tokens))
    weights /= weights.sum(-1, keepdims=True)
    short = [*tokens[:4], " they", " are"]
    heads = ["L2.H1", "L2.H5", "L3.H0", "L3.H7"]
    signed = rng.normal(size=(3, len(short), len(short)))
    active = PromptText("if not only\n $x$ " + HOSTILE, " they", "a/b.py", " we")
    prompts = {"active": [active] * 2, "inactive": [PromptText("word " * 60, " they")]}
    views = (
        attention_view(tokens, weights, heads, name=f"{name}-long", look_for="Look at it."),
        attention_view(short, signed, heads[:3], name=f"{name}-short"),
        token_view(short, rng.normal(size=6), name=f"{name}-tokens"),
        token_view(short, rng.normal(size=(6, 2)), series=heads[:2], name=f"{name}-series"),
        look_up_view(
            [made(), made(active=False)], HOSTILE, name=f"{name}-look-up", look_for="Look."
        ),
        prompt_table(prompts),
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOKUPS_VIEWS", "linked")
        cells = [_code("view", view._repr_mimebundle_()) for view in views]
    return [*cells, _code("table", _table(14))]


def _table(columns: int) -> dict:
    table = pd.DataFrame({f"a column {i}": [0.123, 12.5] for i in range(columns)})
    return {"text/html": table.to_html(), "text/plain": repr(table)}


def _glue(key: str) -> NotebookNode:
    about = {"scrapbook": {"mime_prefix": GLUED, "name": key}}
    glued = new_output("display_data", {f"{GLUED}text/plain": "12"}, metadata=about)
    cell = _code(f"glue({key!r}, 12)", {}, "remove-cell")
    return NotebookNode(cell | {"outputs": [glued]})


def _code(source: str, data: dict, *tags: str) -> NotebookNode:
    outputs = [new_output("execute_result", data, execution_count=1)] if data else []
    metadata = {"tags": list(tags)}
    return new_code_cell(source, execution_count=1, metadata=metadata, outputs=outputs)


def _markdown(source: str, *tags: str) -> NotebookNode:
    return new_markdown_cell(source, metadata={"tags": list(tags)})
