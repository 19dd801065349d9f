"""The contrast explainer: which words set the active prompts apart? (chapter 7 says how)

How surely a feature does is the z-score of the log-odds ratio with an informative Dirichlet prior
of Monroe, Colaresi and Quinn ("Fightin' Words", Political Analysis 16, 2008); here a prompt has a
feature or not, so that the prior is a beta distribution, that of all prompts. Ratios are taken
among prompts for which the count so far is the same, and averaged by their inverse variances.
Nothing is random, and the order of prompts does not matter.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import TypeAdapter

from lookups.explain.explainer import Case, Explainer, Explanation, Question, Verdict
from lookups.explain.features import Feature, candidates, holds, said, words_of

SIZES = (1, 2, 3, 4, 6, 8)  # numbers of conditions tried
FOLDS = 10
WITHIN = 500  # only so many features of largest |z| are looked at
SURE = 3.5
"""Standard errors above one half at which the best size does more than chance would: of pairs in
which nothing differs, a fifth pass two, as the best of several, and one in twenty passes these."""

Held = Bool[np.ndarray, "feature prompt"]
Active = Bool[np.ndarray, " prompt"]
Counts = Int[np.ndarray, " prompt"]
Having = Int[np.ndarray, " feature"]
Folds = Bool[np.ndarray, "fold prompt"]  # what each learns from
Sizes = Float[np.ndarray, " size"]
Pick = tuple[int, bool]  # a feature, by its row, and whether it speaks for active or against


class LogOdds(NamedTuple):
    """Of each feature the log-odds ratio; positive where it speaks for active."""

    delta: Float[np.ndarray, " feature"]
    variance: Float[np.ndarray, " feature"]  # infinite where all prompts have it or none has

    @property
    def z(self) -> Float[np.ndarray, " feature"]:
        """The log-odds ratio in its own standard deviations."""
        return self.delta / np.sqrt(self.variance)


class Checklist(NamedTuple):
    """Active where at least `need` of the conditions are true."""

    conditions: tuple[Feature, ...]
    need: int
    chances: tuple[float, ...]  # of being active where no condition is true, where one is, …
    balanced_accuracy: float | None  # of such rules on prompts left out; None: too few prompts
    told_apart: bool  # whether that is more than chance would do

    def judge(self, text: str) -> Verdict:
        """Say whether the head is active on a prompt."""
        words = words_of(text)
        true = sum(holds(one, words) == one.present for one in self.conditions)
        return Verdict(true >= self.need, self.chances[true])

    def sentence(self) -> str:
        """Return the rule in one sentence, or in two where it is no more than a guess."""
        parts = list(map(said, self.conditions))
        where = "everywhere"
        if parts and self.need in (1, len(parts)):
            last = "or" if self.need == 1 else "and"
            listed = f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
            where = f"when the prompt {listed}, and only then"
        elif parts:
            where = f"when at least {self.need} of these {len(parts)} are true of the prompt, "
            where += f"and only then: it {'; it '.join(parts)}"
        if self.told_apart:
            return f"The head is active {where}."
        none = "No words tell the active prompts from the others with any certainty."
        return f"{none} The best guess is that the head is active {where}."


class Contrast(Explainer):
    """Explains by the words that are more common among one kind of prompt."""

    name = "contrast"

    def explain(self, case: Case) -> Explanation:
        prompts, labels = case.in_order()
        texts, active = [one.text for one in prompts], np.array(labels)
        features, held = candidates(texts)
        learn = folds(texts, active)
        accuracy, error = cross_validate(held, active, learn)
        size, told_apart = settled(accuracy, error)
        picks = strongest(held, active, most=SIZES[size])
        true = count_true(held, picks)
        need = needed(true, active) if picks else 0
        rule = Checklist(
            tuple(features[row]._replace(present=kind) for row, kind in picks),
            need,
            chances_of(true, active, need=need, most=len(picks)),
            round(float(accuracy[size]), 4) if len(learn) else None,
            told_apart,
        )
        given = rule._asdict() | {"conditions": [one.given() for one in rule.conditions]}
        return self.explanation(rule.sentence(), given)

    def judge(self, question: Question) -> list[Verdict]:
        rule = TypeAdapter(Checklist).validate_json(question.explanation.rule)
        return [rule.judge(prompt.text) for prompt in question.prompts]


def log_odds(active: Having, inactive: Having, *, of_active: int, of_inactive: int) -> LogOdds:
    """Return the log-odds ratios of features that so many of some prompts of both kinds have."""
    have, size = active + inactive, of_active + of_inactive
    known = (have > 0) & (have < size)
    has = np.stack([active, inactive]) + np.where(known, have, 1)  # where nothing is known: any
    lacks = np.array([[of_active], [of_inactive]]) + size - has
    delta = np.subtract(*np.log(has / lacks))
    # the second term may be dropped for rare words, but half of the prompts can have a feature
    variance = (1 / has + 1 / lacks).sum(axis=0)
    return LogOdds(np.where(known, delta, 0.0), np.where(known, variance, np.inf))


def z_beyond(count: Counts, held: Held, active: Active) -> Float[np.ndarray, " feature"]:
    """Return z of each feature among prompts with the same count; 0 where nothing is known."""
    total, weight = np.zeros(len(held)), np.zeros(len(held))
    for number in np.unique(count):
        kinds = [(count == number) & active, (count == number) & ~active]
        sizes = [int(kind.sum()) for kind in kinds]
        if min(sizes) > 0:
            have = [held[:, kind].sum(axis=1) for kind in kinds]
            found = log_odds(*have, of_active=sizes[0], of_inactive=sizes[1])
            total += found.delta / found.variance
            weight += 1 / found.variance
    return np.divide(total, np.sqrt(weight), out=np.zeros(len(held)), where=weight > 0).round(9)


def strongest(held: Held, active: Active, *, most: int) -> list[Pick]:
    """Return the `most` features in the order in which each adds most to those before it. What is
    counted is how many speak for active in a prompt. Of equals the first is taken."""
    count = np.zeros(len(active), int)
    order = np.argsort(-np.abs(z_beyond(count, held, active)), kind="stable")
    left, picks = np.sort(order[:WITHIN]), []
    while len(picks) < most and len(left):
        z = z_beyond(count, held[left], active)
        best = int(np.argmax(np.abs(z)))
        if z[best] == 0:
            break
        picks.append((int(left[best]), bool(z[best] > 0)))
        count = count_true(held, picks)
        left = np.delete(left, best)
    return picks


def folds(texts: Sequence[str], active: Active) -> Folds:
    """Return which prompts each fold learns from; no fold where a kind has one prompt only. Both
    kinds are spread evenly, in the order of their texts' digests: as good as random."""
    number = min(FOLDS, int(active.sum()), int((~active).sum()))
    if number < 2:
        return np.zeros((0, len(active)), bool)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    fold = np.empty(len(active), int)
    for kind in (True, False):
        own = sorted(np.flatnonzero(active == kind).tolist(), key=digests.__getitem__)
        fold[own] = np.arange(len(own)) % number
    return fold != np.arange(number)[:, None]


def cross_validate(held: Held, active: Active, learn: Folds) -> tuple[Sizes, Sizes]:
    """Return the balanced accuracy of rules of each of `SIZES` on what the folds left out (nothing
    right without folds), and its standard errors."""
    right = np.zeros((len(SIZES), 2))
    for fold in learn:
        picks = strongest(held[:, fold], active[fold], most=max(SIZES))
        for place, size in enumerate(SIZES):
            true = count_true(held, picks[:size])
            right_here = ~fold & (active == (true >= needed(true[fold], active[fold])))
            right[place] += [(right_here & ~active).sum(), (right_here & active).sum()]
    sizes = np.array([(~active).sum(), active.sum()])
    # of two independent proportions, each with one right and one wrong more than were seen
    doubted = (right + 1) / (sizes + 2)
    error = np.sqrt((doubted * (1 - doubted) / sizes).sum(axis=1)) / 2
    return (right / sizes).mean(axis=1), error


def settled(accuracy: Sizes, error: Sizes) -> tuple[int, bool]:
    """Return the place of the smallest size within one standard error of the most accurate, and
    whether that does more than chance would: if not, the last place."""
    best = np.argmax(accuracy)
    told_apart = bool(accuracy[best] - 0.5 > SURE * error[best])
    return int(np.argmax(accuracy >= (accuracy - error)[best])) if told_apart else -1, told_apart


def count_true(held: Held, picks: Sequence[Pick]) -> Counts:
    """Return how many of some features speak for active in each prompt."""
    return sum((held[row] == kind for row, kind in picks), np.zeros(held.shape[1], int))


def needed(true: Counts, active: Active) -> int:
    """Return how many true conditions make a prompt active. More than half-way from the mean of
    inactive prompts to that of active ones."""
    (a, of_a), (b, of_b) = ((int(true[k].sum()), int(k.sum())) for k in (active, ~active))
    # whole numbers, because half-way is often a whole number itself
    return (a * of_b + b * of_a) // (2 * of_a * of_b) + 1


def chances_of(true: Counts, active: Active, *, need: int, most: int) -> tuple[float, ...]:
    """Return the share of active prompts for each number of true conditions from 0 to `most`.

    Laplace's rule gives the share on either side of `need`; the share of one number counts that as
    two prompts, so that a number never seen has the chance of its side.
    """
    found = []
    for number in range(most + 1):
        side, same = (true >= need) == (number >= need), true == number
        of_side = ((side & active).sum() + 1) / (side.sum() + 2)
        found.append(round(float(((same & active).sum() + 2 * of_side) / (same.sum() + 2)), 4))
    return tuple(found)
