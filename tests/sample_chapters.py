"""Small executed notebooks in place of the chapters, to test the book without running the analysis.

They hold what chapters hold that a book can get wrong: views, prompts, a captioned figure, tables,
glued numbers, folds, hostile text. Whatever the prose pages glue from a chapter is glued here.
"""

import json
import re
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lookups.paths import PROJECT
from lookups.run.book import build_book
from lookups.show.figures import house_style
from lookups.show.views import BOS, LONGEST, PromptText, attention_view, prompt_table, token_view

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
)


SAMPLE = "sample"
"""The id of the run whose book these chapters make."""


def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the sample chapters once in a test session, into `notebooks` of the folder returned."""
    folder = tmp_path_factory.getbasetemp() / SAMPLE
    if not folder.exists():
        write_sample_chapters(folder / "notebooks")
    return folder


def sample_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book of the sample chapters once in a test session."""
    folder = sample_folder(tmp_path_factory)
    if not (folder / "html").exists():
        build_book(SAMPLE, folder / "notebooks", folder / "html", default=False)
    return folder / "html"


def chapter_names() -> list[str]:
    """The chapters that the table of contents names."""
    return re.findall(r"file: notebooks/(\S+)", (PROJECT / "_toc.yml").read_text("utf-8"))


def write_sample_chapters(folder: Path) -> Path:
    """Write one sample notebook for every chapter into a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOKUPS_VIEWS", "linked")
        return _write(folder)


def _write(folder: Path) -> Path:
    glued = _glued_names()
    for number, name in enumerate(chapter_names()):
        cells = [_markdown(f"(sample-{number})=\n# Is this chapter {number}?\n\nA sample.")]
        cells += [_glue(key) for key in sorted(glued.get(name, ()))]
        if number == 1:
            cells += [_markdown(f"$$ x $$ ({label})") for label in sorted(_missing_equations())]
        if number == 4:
            cells += [_figure()]
        if number == 5:
            cells += _shown(f"sample{number}")
        if number in (3, 4):  # in one of them the record shows something
            cells += [_markdown("About the record.", "with-record")]
            cells += [_code("found", {"text/plain": "12"} if number == 4 else {}, "with-record")]
        cells += [_markdown("Only of the default run.", "default-run"), _markdown("The end.")]
        notebook = {
            "cells": cells,
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
    return folder


def _glued_names() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for page in (PROJECT / "book").glob("*.md"):
        text = page.read_text("utf-8")
        for name, key in re.findall(r"notebooks/(\w+)(?:\.ipynb)?::([\w-]+)", text):
            found.setdefault(name, set()).add(key)
    return found


def _missing_equations() -> set[str]:
    """The equations that prose pages refer to and chapters define."""
    pages = "\n".join(page.read_text("utf-8") for page in (PROJECT / "book").glob("*.md"))
    return set(re.findall(r"{eq}`([\w-]+)`", pages)) - set(re.findall(r":label: (\S+)", pages))


def _shown(name: str) -> list[dict]:
    rng = np.random.default_rng(0)
    tokens = [BOS, " the", " set\n", HOSTILE, *(f" word{i}" for i in range(LONGEST))]
    weights = np.tril(rng.gamma(0.3, size=(4, len(tokens), len(tokens)))) + np.eye(len(tokens))
    weights /= weights.sum(-1, keepdims=True)
    short = [*tokens[:4], " they", " are"]
    heads = ["L2.H1", "L2.H5", "L3.H0", "L3.H7"]
    view = attention_view(
        tokens, weights, heads, name=f"{name}-long", look_for="Look at the last row."
    )
    signed = rng.normal(size=(3, len(short), len(short)))
    return [
        _code("attention_view(...)", view._repr_mimebundle_()),
        _code(
            "attention_view(...)",
            attention_view(short, signed, heads[:3], name=f"{name}-short")._repr_mimebundle_(),
        ),
        _code(
            "token_view(...)",
            token_view(short, rng.normal(size=6), name=f"{name}-tokens")._repr_mimebundle_(),
        ),
        _code(
            "token_view(...)",
            token_view(
                short, rng.normal(size=(6, 2)), series=heads[:2], name=f"{name}-series"
            )._repr_mimebundle_(),
        ),
        _code(
            "prompt_table(...)",
            prompt_table(
                {
                    "active": [PromptText("if not only\n $x$ " + HOSTILE, " they", "a/b.py", " we")]
                    * 2,
                    "inactive": [PromptText("word " * 60, " they")],
                }
            )._repr_mimebundle_(),
        ),
        _code("table", _table(14)),
    ]


def _table(columns: int) -> dict:
    table = pd.DataFrame({f"a column {i}": [0.123, 12.5] for i in range(columns)})
    return {"text/html": table.to_html(), "text/plain": repr(table)}


def _figure() -> dict:
    import matplotlib.pyplot as plt

    with plt.rc_context():
        house_style()
        figure, axes = plt.subplots()
        axes.plot([0, 1, 2], [1, 3, 2], label="neurons")
        axes.set(xlabel="position (tokens)", ylabel="activation")
        axes.legend()
        file = BytesIO()
        figure.savefig(file, metadata={"Software": None})
        plt.close(figure)
    cell = _code("draw()", _table(2), "hide-input")
    picture = {"image/png": b64encode(file.getvalue()).decode(), "text/plain": "a figure"}
    cell["outputs"].append({"output_type": "display_data", "data": picture, "metadata": {}})
    cell["metadata"]["mystnb"] = {
        "figure": {"caption": "Read it upwards.", "name": "fig-sample"},
        "image": {"alt": "A line."},
    }
    return cell


def _glue(key: str) -> dict:
    cell = _code(f"glue({key!r}, 12)", {"text/plain": "12"}, "remove-cell")
    (output,) = cell["outputs"]
    output["metadata"] = {
        "scrapbook": {"mime_prefix": "application/papermill.record/", "name": key}
    }
    output["data"] = {"application/papermill.record/text/plain": "12"}
    output["output_type"] = "display_data"
    del output["execution_count"]
    return cell


def _code(source: str, data: dict, *tags: str) -> dict:
    return {
        "cell_type": "code",
        "execution_count": 1,
        "id": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "outputs": [
            {"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": {}}
        ]
        if data
        else [],
    }


def _markdown(source: str, *tags: str) -> dict:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "markdown", "id": "text", "metadata": metadata, "source": source}
