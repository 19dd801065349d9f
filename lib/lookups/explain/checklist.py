"""A rule that counts: a head is active where enough things are true of the prompt (chapter 7).

With many conditions it says "any of them", "all of them" or "at least two of these three", by the
number that is needed. It is stored as JSON, said in one sentence, and judges by just what it says.
How the conditions are found is the matter of `lookups.explain.contrast`.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from lookups.errors import MeasurementError
from lookups.explain.explainer import Verdict
from lookups.explain.features import Feature, holds, said, words_of

NOT_TOLD = "No words tell the active prompts from the others with any certainty."


class Condition(NamedTuple):
    """Something that is true of a prompt or not."""

    feature: Feature
    present: bool
    """Whether the prompt must have the feature, or lack it."""


class Checklist(NamedTuple):
    """Active where at least `need` of the conditions are true."""

    conditions: tuple[Condition, ...]
    need: int
    chances: tuple[float, ...]
    """Of being active, where none of the conditions is true, where one is, …"""
    balanced_accuracy: float | None
    """Of such a rule on training prompts that it was not made from; None: they were too few."""
    told_apart: bool
    """Whether that is more than chance would do."""

    def judge(self, text: str) -> Verdict:
        """Say whether the head is active on a prompt."""
        words = words_of(text)
        true = sum(holds(one.feature, words) == one.present for one in self.conditions)
        return Verdict(true >= self.need, self.chances[true])

    def sentence(self) -> str:
        """Return the rule in one sentence, or in two where it is no more than a guess."""
        rule = f"he head is active {self._where()}."
        return f"T{rule}" if self.told_apart else f"{NOT_TOLD} The best guess is that t{rule}"

    def _where(self) -> str:
        parts = [said(one.feature, present=one.present) for one in self.conditions]
        if not parts:
            return "everywhere"
        if self.need in (1, len(parts)):
            joined = listed(parts, "or" if self.need == 1 else "and")
            return f"when the prompt {joined}, and only then"
        return (
            f"when at least {self.need} of these {len(parts)} are true of the prompt, and only "
            f"then: it {'; it '.join(parts)}"
        )

    def as_json(self) -> str:
        """Return the rule as JSON, always the same for the same rule."""
        conditions = [one.feature.as_json() | {"present": one.present} for one in self.conditions]
        rule = self._asdict() | {"conditions": conditions}
        return json.dumps(rule, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, rule: str) -> "Checklist":
        """Read what `as_json` wrote.

        Raises:
            MeasurementError: it is something else.
        """
        try:
            parts = json.loads(rule)
            found = [
                Condition(Feature.from_json(one), one["present"]) for one in parts["conditions"]
            ]
            chances = tuple(float(chance) for chance in parts["chances"])
            known = parts["balanced_accuracy"], parts["told_apart"]
            made = cls(tuple(found), parts["need"], chances, *known)
        except (ValueError, KeyError, TypeError, AttributeError):
            made = None
        if made is None or len(made.chances) != len(made.conditions) + 1:
            raise MeasurementError(f"{rule[:60]!r} is no checklist; explain the pair again")
        return made


def needed(true: Sequence[int] | np.ndarray, active: Bool[np.ndarray, " prompt"]) -> int:
    """Return how many true conditions make a prompt active: more than half-way from mean to mean.

    The two means are those of active and of inactive prompts, however many there are of each.
    """
    sums, sizes = zip(
        *((int(np.asarray(true)[kind].sum()), int(kind.sum())) for kind in (active, ~active)),
        strict=True,
    )
    # whole numbers, because half-way is often a whole number itself
    return (sums[0] * sizes[1] + sums[1] * sizes[0]) // (2 * sizes[0] * sizes[1]) + 1


def chances_of(
    true: Sequence[int] | np.ndarray, active: Bool[np.ndarray, " prompt"], *, need: int, most: int
) -> tuple[float, ...]:
    """Return the share of active prompts for each number of true conditions from 0 to `most`.

    Laplace's rule gives the share on either side of `need`; the share of one number counts that as
    two prompts, so that a number never seen has the chance of its side.
    """
    counts = np.asarray(true)
    found = []
    for number in range(most + 1):
        side, same = (counts >= need) == (number >= need), counts == number
        of_side = ((side & active).sum() + 1) / (side.sum() + 2)
        found.append(round(float(((same & active).sum() + 2 * of_side) / (same.sum() + 2)), 4))
    return tuple(found)


def listed(parts: Sequence[str], last: str) -> str:
    """Return "a, b or c", or with another word before the last part."""
    return f" {last} ".join([part for part in (", ".join(parts[:-1]), *parts[-1:]) if part])
