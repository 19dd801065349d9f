"""What an explainer is: it says when a head is active, and judges new prompts by what it said.

One interface for all of them (paper, step 6): from active and inactive prompts to an explanation,
from an explanation and a prompt to a verdict. The rule that an explanation holds is text, so that
it can be stored, shown, and handed to judge the prompts of another pair.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from lookups.errors import LookupsError


class Example(NamedTuple):
    """One cut prompt of a neuron, as an explainer sees it."""

    prompt: str  # its key, `corpus/split/number`
    ids: tuple[int, ...]  # of the suffix, without the beginning-of-sequence token
    text: str  # what the ids decode to
    token: str  # the neuron's, which is appended to the prompt where it is shown


class Explanation(NamedTuple):
    """When a head is active, in words and as the rule that its explainer judges by."""

    explainer: str
    text: str  # one to three plain sentences
    rule: str = ""  # what `judge` reads besides the text, as JSON; empty if the text is all

    @property
    def digest(self) -> str:
        """Sixteen digits that stand for exactly this explanation."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()[:16]


class Verdict(NamedTuple):
    """What was said of one prompt."""

    active: bool | None  # None: no answer could be read
    probability: float | None = None  # of being active, where the explainer gives one


class Case(NamedTuple):
    """What one explanation is made from."""

    active: tuple[Example, ...]
    inactive: tuple[Example, ...]
    token: str

    def in_order(self) -> tuple[list[Example], list[bool]]:
        """Return the prompts by key, however they were given, and whether the head is active.

        A `LookupsError` where there is no prompt of one of the two kinds.
        """
        if not (self.active and self.inactive):
            missing = "inactive" if self.active else "active"
            raise LookupsError(
                f"there is no {missing} prompt to explain from: choose a pair whose head is active "
                "on some of the neuron's training prompts and not on others"
            )
        pairs = sorted([(p, True) for p in self.active] + [(p, False) for p in self.inactive])
        return [prompt for prompt, _ in pairs], [kind for _, kind in pairs]


class Question(NamedTuple):
    """One explanation, and the prompts to be judged by it, in order."""

    explanation: Explanation
    prompts: tuple[Example, ...]


class Explainer(ABC):
    """Says when a head is active, and judges prompts by what was said."""

    name: str

    @abstractmethod
    def explain(self, case: Case) -> Explanation:
        """Say in words when the head is active."""

    @abstractmethod
    def judge(self, question: Question) -> list[Verdict]:
        """Say of every prompt whether the head is active on it, by the explanation alone."""

    def explain_all(self, cases: Sequence[Case]) -> list[Explanation]:
        """Explain many pairs; an explainer that waits for a server does so for all at once."""
        return [self.explain(case) for case in cases]

    def judge_all(self, questions: Sequence[Question]) -> list[list[Verdict]]:
        """Answer many questions, in order."""
        return [self.judge(question) for question in questions]


def check_apart(case: Case, question: Question) -> None:
    """Raise a LookupsError if a prompt that was explained from is judged, by key or by ids."""
    learned = [*case.active, *case.inactive]
    keys, ids = {one.prompt for one in learned}, {one.ids for one in learned}
    for one in question.prompts:
        if one.prompt in keys or one.ids in ids:
            raise LookupsError(
                f"{one.prompt} was used to explain and cannot be used to score: "
                "leave it out of the held-out prompts"
            )
