"""The harder planted worlds by name, each with its language, its recipe and its shipped model.

The languages are those of `lookups.harder` and `lookups.grammar`; `planted-<name>` is both the
shipped model and its corpus. `lookups train planted --world NAME` makes a model again. What was
asked of them stands in chapter 12.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lookups.errors import CorpusError
from lookups.grammar import Grammar
from lookups.harder import Distracting, TwoWords
from lookups.paths import EMBEDDED
from lookups.planted import labelled_documents, planted_card, planted_recipe, train_planted
from lookups.recipe import Recipe
from lookups.trainer import tell


class World(NamedTuple):
    """A language, the recipe of its model, and what is harder about it."""

    grammar: Grammar
    recipe: Recipe
    harder: str
    """Completes "A planted model, harder: "."""


TWO_WORDS = TwoWords(
    titles=(
        *(" Northern", " Southern", " Ancient", " Modern"),
        *(" Coast", " Kitchen", " School", " Meadow"),
    ),
    topics=(
        *((" young",), (" wealthy",), (" tired",), (" proud",)),
        *((" sailor",), (" miller",), (" scholar",), (" rider",)),
    ),
    overriding=(
        *(" very", " rather", " hardly", " always"),
        *(" salty", " warm", " dusty", " bright"),
    ),
)
DISTRACTORS = Distracting(length=64, furthest=8)
_TARGETS, _TITLES, _TOPICS, _OVERRIDING = (
    tuple(f" {word}" for word in line.split())
    for line in (
        """boats bread books horses stars coins roses drums apples candles letters swords
        bells carpets knives lanterns mirrors needles pearls ropes shoes spoons umbrellas
        violins""",
        """Coast Kitchen School Meadow Heaven Trade Spring Feast Autumn Night Travel War
        Church Palace Hunt Mine Theatre Fashion Island Voyage Journey Supper Storm Opera""",
        """sailor miller scholar rider midnight banker florist soldier farmer monk postman knight
        bishop weaver butcher miner actress tailor diver climber cobbler cook traveller composer""",
        """salty warm dusty swift bright golden fragrant loud ripe dim sealed sharp
        ringing woven steely glowing polished thin precious knotted worn silver wet tuneful""",
    )
)
CROWDED = Grammar(
    targets=_TARGETS,
    titles=_TITLES,
    topics=tuple((word,) for word in _TOPICS),
    overriding=_OVERRIDING,
    permutations=tuple(
        tuple((factor * i + shift) % 24 for i in range(24))
        for factor, shift in ((1, 0), (7, 3), (5, 11))
    ),
)
WORLDS: dict[str, World] = {
    "two-words": World(
        TWO_WORDS,
        replace(planted_recipe(0, TWO_WORDS), steps=4000),
        "cues of two words",
    ),
    "distractors": World(
        DISTRACTORS,
        replace(planted_recipe(0, DISTRACTORS), steps=3000),
        "words that look like cues and are none",
    ),
    "crowded": World(
        CROWDED,
        replace(planted_recipe(0, CROWDED), d_mlp=16, steps=4000),
        "24 targets, 16 neurons a layer",
    ),
    "16-heads": World(
        Grammar(),
        replace(planted_recipe(0), n_head=16),
        "the plain language, 16 heads of width 4",
    ),
}


def world_named(name: str) -> World:
    """Return a harder world by its name.

    Raises:
        CorpusError: there is no world of that name.
    """
    if name not in WORLDS:
        raise CorpusError(f"there is no planted world {name!r}; name one of {', '.join(WORLDS)}")
    return WORLDS[name]


def world_documents(name: str, split: str, n: int) -> list[list[int]]:
    """Return the ids of documents of a world, without the BOS.

    Raises:
        CorpusError: there is no world of that name.
    """
    grammar = world_named(name).grammar
    return [list(document.ids) for document in labelled_documents(split, n, grammar=grammar)]


def train_world(
    name: str,
    out: Path | None = None,
    *,
    recipe: Recipe | None = None,
    work: Path | None = None,
    held_out: int = 2000,
    say: Callable[[str], None] = tell,
) -> dict[str, Any]:
    """Train the model of a world and ship it in place of the one in the package.

    Raises:
        CorpusError: there is no world of that name.
    """
    world = world_named(name)
    recipe = recipe or world.recipe
    return train_planted(
        recipe.seed,
        out or EMBEDDED / f"planted-{name}",
        recipe=recipe,
        grammar=world.grammar,
        work=work,
        held_out=held_out,
        card=partial(world_card, name),
        say=say,
    )


def world_card(name: str, record: dict[str, Any]) -> str:
    """Return the model card of a world's model."""
    return planted_card(
        record,
        title=f"A planted model, harder: {WORLDS[name].harder}",
        about=f"The world\n`{name}` of `lookups.worlds` is the language; "
        f"`lookups train planted --world {name}`\nmakes this model again.",
    )
