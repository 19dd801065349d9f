"""The contrast explainer: which words set the active prompts apart? (chapter 7)

Features of the training prompts (`explain.candidates`) are ranked by how surely they are more
common among one kind, beyond what those before them tell (`explain.log_odds`), and the first few
become a checklist (`explain.checklist`). How many is settled by cross-validation on the training
prompts alone: the fewest that come within one standard error of the best. Where even the best does
no more than chance would, the explanation says that no words tell, and the rule is the weak vote of
as many as there can be; any other verdict would be a guess too. No model, no server and no random
number is needed: the same prompts in any order give the same explanation.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lookups.explain.candidates import Candidates, candidates
from lookups.explain.cases import in_order
from lookups.explain.checklist import Checklist, Condition, chances_of, needed
from lookups.explain.explainer import Case, Explainer, Explanation, Question, Verdict
from lookups.explain.log_odds import Pick, strongest

SIZES = (1, 2, 3, 4, 6, 8)
"""Numbers of conditions tried."""
FOLDS = 10
SURE = 3.5
"""Standard errors above one half at which the best size does more than chance would. It is the best
of several, and verdicts on prompts left out in turn are not independent: of pairs in which nothing
differs, a fifth pass two standard errors, and about one in twenty passes these."""


class CrossValidated(NamedTuple):
    """How well rules of each size do on prompts that they were not made from."""

    balanced_accuracy: Float[np.ndarray, " size"]
    standard_error: Float[np.ndarray, " size"]

    @property
    def best(self) -> int:
        """The place of the most accurate size, the smaller of equals."""
        return int(np.argmax(self.balanced_accuracy))

    @property
    def simplest(self) -> int:
        """The place of the smallest size within one standard error of the best."""
        bar = self.balanced_accuracy[self.best] - self.standard_error[self.best]
        return int(np.argmax(self.balanced_accuracy >= bar))

    @property
    def told_apart(self) -> bool:
        """Whether the best size does more than chance would."""
        above = self.balanced_accuracy[self.best] - 0.5
        return bool(above > SURE * self.standard_error[self.best])


class Contrast(Explainer):
    """Explains by the words that are more common among one kind of prompt."""

    name = "contrast"

    def explain(self, case: Case) -> Explanation:
        """Say which words make the head active, and the rule that the sentence is."""
        prompts, labels = in_order(case)
        texts, active = [one.text for one in prompts], np.array(labels)
        found = candidates(texts)
        scored = cross_validate(found.held, active, folds(texts, active))
        told = scored is not None and scored.told_apart
        size = scored.simplest if told else len(SIZES) - 1
        picks = strongest(found.held, active, most=SIZES[size])
        accuracy = None if scored is None else float(scored.balanced_accuracy[size])
        rule = checklist_of(found, active, picks, balanced_accuracy=accuracy, told_apart=told)
        return Explanation(self.name, rule.sentence(), rule.as_json())

    def judge(self, question: Question) -> list[Verdict]:
        """Count, in every prompt, how many of the rule's conditions are true.

        Raises:
            MeasurementError: the explanation has no rule of this explainer's.
        """
        rule = Checklist.from_json(question.explanation.rule)
        return [rule.judge(prompt.text) for prompt in question.prompts]


def tells_apart(explanation: Explanation) -> bool:
    """Whether an explanation of `Contrast` claims to tell a pair's prompts apart.

    Raises:
        MeasurementError: the explanation has no rule of this explainer's.
    """
    return Checklist.from_json(explanation.rule).told_apart


def folds(
    texts: Sequence[str], active: Bool[np.ndarray, " prompt"]
) -> Bool[np.ndarray, "fold prompt"]:
    """Return which prompts each fold learns from; both kinds are spread evenly over the folds.

    Prompts go to folds in the order of their texts' digests, which is as good as random and always
    the same. There is no fold where a kind has one prompt only.
    """
    number = min(FOLDS, int(active.sum()), int((~active).sum()))
    if number < 2:
        return np.zeros((0, len(active)), bool)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    fold = np.empty(len(active), int)
    for kind in (True, False):
        own = sorted(np.flatnonzero(active == kind).tolist(), key=digests.__getitem__)
        fold[own] = np.arange(len(own)) % number
    return fold != np.arange(number)[:, None]


def cross_validate(
    held: Bool[np.ndarray, "feature prompt"],
    active: Bool[np.ndarray, " prompt"],
    learn: Bool[np.ndarray, "fold prompt"],
) -> CrossValidated | None:
    """Return how each of `SIZES` does when every fold's strongest features judge what it left out.

    The standard error is that of two independent proportions, each with one right and one wrong
    prompt more than were seen. None without folds.
    """
    if not len(learn):
        return None
    right = np.zeros((len(SIZES), 2))
    for fold in learn:
        picks = strongest(held[:, fold], active[fold], most=max(SIZES))
        for place, size in enumerate(SIZES):
            true = count_true(held, picks[:size])
            called = true >= needed(true[fold], active[fold])
            for kind in (True, False):
                right[place, int(kind)] += (~fold & (active == kind) & (called == kind)).sum()
    sizes = np.array([(~active).sum(), active.sum()])
    doubted = (right + 1) / (sizes + 2)
    error = np.sqrt((doubted * (1 - doubted) / sizes).sum(axis=1)) / 2
    return CrossValidated((right / sizes).mean(axis=1), error)


def count_true(
    held: Bool[np.ndarray, "feature prompt"], picks: Sequence[Pick]
) -> Int[np.ndarray, " prompt"]:
    """Return how many of some features speak for active in each prompt."""
    rows = [held[pick.feature] == pick.active for pick in picks]
    return np.sum(rows, axis=0, dtype=int) if rows else np.zeros(held.shape[1], int)


def checklist_of(
    found: Candidates,
    active: Bool[np.ndarray, " prompt"],
    picks: Sequence[Pick],
    *,
    balanced_accuracy: float | None,
    told_apart: bool,
) -> Checklist:
    """Return the rule of some features, with everything in it counted on all training prompts."""
    true = count_true(found.held, picks)
    need = needed(true, active) if picks else 0
    return Checklist(
        tuple(Condition(found.features[pick.feature], pick.active) for pick in picks),
        need,
        chances_of(true, active, need=need, most=len(picks)),
        None if balanced_accuracy is None else round(balanced_accuracy, 4),
        told_apart,
    )
