"""The harder planted worlds by name: the words of each language, and what is harder about it.

The folder of that name beside this file is the model that learnt it; `train.py` made it.
"""

from pathlib import Path
from typing import NamedTuple

from lookups.corpus.grammar import Grammar

from benchmarks.worlds.harder import Distracting, TwoWords

HERE = Path(__file__).resolve().parent


class World(NamedTuple):
    """A language, and what is harder about it."""

    grammar: Grammar
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
    "two-words": World(TWO_WORDS, "cues of two words"),
    "distractors": World(DISTRACTORS, "words that look like cues and are none"),
    "crowded": World(CROWDED, "24 targets, 16 neurons a layer"),
    "16-heads": World(Grammar(), "the plain language, 16 heads of width 4"),
}
