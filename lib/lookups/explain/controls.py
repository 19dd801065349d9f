"""What an explanation has to beat: two simple explainers and three controls (chapters 7 and 8).

The explainers look at token ids alone. Permuted verdicts keep how often *active* is said and
nothing else; an explanation of another neuron's head keeps the style of an explanation; one of
another head of the same neuron keeps the neuron's token and contexts too. Here it is only drawn who
borrows from whom, by the seed and the names of pairs, whatever their order.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from math import nan, sqrt
from operator import itemgetter

import numpy as np
from jaxtyping import Bool
from scipy.optimize import linear_sum_assignment
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lookups.explain.explainer import Case, Explainer, Explanation, Question, Verdict
from lookups.names import Pair
from lookups.statistics.bootstrap import lots_of

DIGITS = 6  # decimal places of a stored weight, so that two machines write the same
ALIKE = 0.5  # the phi above which one head's explanation is nearly the other's


class BagOfWords(Explainer):
    """Judges by a logistic regression on how often each token occurs. Both kinds of prompt weigh
    the same; the penalty is scikit-learn's own (L2 with C = 1)."""

    name = "bag-of-words"

    def explain(self, case: Case) -> Explanation:
        prompts, active = case.in_order()
        tokens = sorted({token for one in prompts for token in one.ids})
        occurring = [Counter(one.ids) for one in prompts]
        counts = np.array([[found[token] for token in tokens] for found in occurring], float)
        with threadpool_limits(1):  # a few prompts are no work for two threads, which only wait
            model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(counts, active)
        weights = model.coef_[0].round(DIGITS).tolist()
        text = (
            f"The head is active when a weighted count of {len(tokens)} tokens is above 0, "
            "wherever they stand. The weights are those of a logistic regression."
        )
        rule = {"intercept": round(float(model.intercept_[0]), DIGITS)}
        return self.explanation(text, rule | {"weights": [*zip(tokens, weights, strict=True)]})

    def judge(self, question: Question) -> list[Verdict]:
        rule = json.loads(question.explanation.rule)
        intercept, weights = rule["intercept"], dict(rule["weights"])
        added = (sum(weights.get(token, 0.0) for token in one.ids) for one in question.prompts)
        sums = [intercept + some for some in added]
        return [Verdict(total > 0, round(float(expit(total)), DIGITS)) for total in sums]


class Nearest(Explainer):
    """Judges a prompt like the training prompt that ends most like it; the first of equals."""

    name = "nearest"

    def explain(self, case: Case) -> Explanation:
        prompts, active = case.in_order()
        kept = [[list(one.ids), kind] for one, kind in zip(prompts, active, strict=True)]
        text = (
            f"The head is active when the most similar of {len(prompts)} training prompts is an "
            "active one: the one with the longest common end, and of these the one with most "
            "tokens in common."
        )
        return self.explanation(text, {"prompts": kept})

    def judge(self, question: Question) -> list[Verdict]:
        kept = json.loads(question.explanation.rule)["prompts"]
        nearest = [max(kept, key=lambda one: likeness(new.ids, one[0])) for new in question.prompts]
        return [Verdict(bool(active)) for _, active in nearest]


def likeness(ids: Sequence[int], others: Sequence[int]) -> tuple[int, float]:
    """Return how many tokens two prompts' ends have in common, then their tokens' Jaccard index."""
    end = 0
    while end < min(len(ids), len(others)) and ids[-1 - end] == others[-1 - end]:
        end += 1
    either = set(ids) | set(others)
    return end, len(set(ids) & set(others)) / len(either) if either else 0.0


def permuted_verdicts(verdicts: Collection, *, seed: int, of: Sequence[str] = ()) -> list:
    """Return verdicts in another order, which is one of their own for the pair that `of` names."""
    given = list(verdicts)
    return [given[i] for i in lots_of(seed, "verdicts", *of).permutation(len(given))]


def phi(first: Collection, second: Collection) -> float:
    """Return the correlation of two yes/no lists; not-a-number where one does not vary."""
    both = [a and b for a, b in zip(first, second, strict=True)]
    n, n_a, n_b, n_both = len(both), int(sum(first)), int(sum(second)), int(sum(both))
    # in whole numbers up to the root, so that a value on a threshold stays on it
    scale = n_a * (n - n_a) * n_b * (n - n_b)
    return (n * n_both - n_a * n_b) / sqrt(scale) if scale else nan


def shuffled_within(activity: Mapping[Pair, Collection], *, seed: int) -> dict[Pair, Pair]:
    """Draw for each pair another head of the same neuron whose explanation it borrows.

    `activity` says for each pair on which of its neuron's training prompts, in one order, the head
    is active. Heads with a phi above `ALIKE`, or without one, do not borrow from each other. A pair
    that can borrow from none is left out.
    """
    lender: dict[Pair, Pair] = {}
    for neuron, group in groupby(sorted(activity), key=itemgetter(0)):
        pairs = list(group)
        # no head lends to itself: its phi with itself is 1, or not a number
        allowed = np.array([[phi(activity[a], activity[b]) <= ALIKE for b in pairs] for a in pairs])
        lender |= drawn_lenders(pairs, allowed, lots_of(seed, "within", neuron))
    return lender


def drawn_lenders(
    pairs: Sequence[Pair], allowed: Bool[np.ndarray, "borrower lender"], random: np.random.Generator
) -> dict[Pair, Pair]:
    """Draw a lender for everyone who is allowed one, with as few lending twice as can be, by the
    cheapest assignment at random costs, in which breaking a rule costs more than all of these
    together."""
    borrowers = [i for i in range(len(pairs)) if allowed[i].any()]
    allowed = allowed[borrowers]
    costs = random.random(allowed.shape) + np.where(allowed, 0, len(allowed))
    found = {}
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if not allowed[row, column]:
            column = random.choice(np.flatnonzero(allowed[row]))
        found[pairs[borrowers[row]]] = pairs[column]
    return found
