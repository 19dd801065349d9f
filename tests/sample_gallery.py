"""Made-up cards for the gallery, in a notebook that carries them as chapter 15 does."""

import json
from pathlib import Path

import nbformat
import numpy as np
from sample_chapters import HOSTILE, write_sample_chapters

MIME = "application/vnd.lookups.gallery+json"
MANY = 200


def cards(number: int = MANY) -> list[dict]:
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
    notebook, data = nbformat.read(path, 4), {MIME: carried, "text/plain": "cards"}
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    notebook.cells.append(nbformat.v4.new_code_cell("cards", execution_count=1, outputs=[output]))
    nbformat.write(notebook, path)
    return folder
