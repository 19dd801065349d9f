"""Train the model of a harder world again: `python -m benchmarks.worlds.train NAME`."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.worlds.worlds import HERE, WORLDS
from tools.train.planted import planted_card, planted_recipe, train_planted
from tools.train.recipe import Recipe

CHANGES: dict[str, dict[str, int]] = {
    "two-words": {"steps": 4000},
    "distractors": {"steps": 3000},
    "crowded": {"d_mlp": 16, "steps": 4000},
    "16-heads": {"n_head": 16},
}
"""What each recipe has otherwise than the plain world's."""


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a world's model."""
    return replace(planted_recipe(0, WORLDS[name].grammar), **CHANGES[name])


def train_world(name: str, out: Path | None = None, **options: Any) -> dict[str, Any]:
    """Train the model of a world and put it in place of the one beside this file."""
    options = {"recipe": recipe_of(name)} | options
    grammar, card = WORLDS[name].grammar, partial(world_card, name)
    return train_planted(0, out or HERE / name, grammar=grammar, card=card, **options)


def world_card(name: str, record: dict[str, Any]) -> str:
    """Return the model card of a world's model."""
    return planted_card(
        record,
        title=f"A planted model, harder: {WORLDS[name].harder}",
        about=f"The world\n`{name}` of `benchmarks/worlds` is the language; "
        f"`python -m benchmarks.worlds.train {name}`\nmakes this model again.",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=WORLDS)
    train_world(parser.parse_args().name)
