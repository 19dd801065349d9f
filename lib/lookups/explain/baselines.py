"""Two explainers for others to beat: a bag of words, and the nearest prompt (chapter 7).

Both look at token ids alone and explain next to nothing: they tell how much can be had without
saying when a head is active. `BagOfWords` is a logistic regression on how often each token occurs,
so it knows nothing of order. `Nearest` looks up the training prompt that is most like the new one.
No model is loaded, and nothing is random.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lookups.errors import MeasurementError
from lookups.explain.cases import in_order
from lookups.explain.explainer import Case, Explainer, Explanation, Question, Verdict

DIGITS = 6
"""Decimal places of a stored weight, so that two machines write the same."""


class BagOfWords(Explainer):
    """Judges by weights of tokens, wherever they stand; both kinds of prompt weigh the same.

    The penalty on the weights is scikit-learn's own (L2 with C = 1).
    """

    name = "bag-of-words"

    def explain(self, case: Case) -> Explanation:
        """Fit a weight for every token of the training prompts."""
        prompts, active = in_order(case)
        tokens = sorted({token for one in prompts for token in one.ids})
        occurring = [Counter(one.ids) for one in prompts]
        counts = np.array([[found[token] for token in tokens] for found in occurring], float)
        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(counts, active)
        weights = fitted.coef_[0].round(DIGITS).tolist()
        rule = {
            "intercept": round(float(fitted.intercept_[0]), DIGITS),
            "weights": list(zip(tokens, weights, strict=True)),
        }
        text = (
            f"The head is active when a weighted count of {len(tokens)} tokens is above 0, "
            "wherever they stand. The weights are those of a logistic regression."
        )
        return Explanation(self.name, text, _written(rule))

    def explain_all(self, cases: Sequence[Case]) -> list[Explanation]:
        """Fit pair after pair on one thread: a few prompts are no work for two, which only wait."""
        with threadpool_limits(1):
            return super().explain_all(cases)

    def judge(self, question: Question) -> list[Verdict]:
        """Add up the weights of each prompt's tokens; a token never seen has none.

        Raises:
            MeasurementError: the explanation has no rule of this explainer's.
        """
        rule = _read(question.explanation, "intercept", "weights")
        weights = dict(rule["weights"])
        sums = [
            rule["intercept"] + sum(weights.get(token, 0.0) for token in one.ids)
            for one in question.prompts
        ]
        return [Verdict(total > 0, round(float(expit(total)), DIGITS)) for total in sums]


class Nearest(Explainer):
    """Judges a prompt like the training prompt that ends most like it."""

    name = "nearest"

    def explain(self, case: Case) -> Explanation:
        """Keep the training prompts' ids and whether the head is active on each."""
        prompts, active = in_order(case)
        kept = [[list(one.ids), kind] for one, kind in zip(prompts, active, strict=True)]
        text = (
            f"The head is active when the most similar of {len(prompts)} training prompts is an "
            "active one: the one with the longest common end, and of these the one with most "
            "tokens in common."
        )
        return Explanation(self.name, text, _written({"prompts": kept}))

    def judge(self, question: Question) -> list[Verdict]:
        """Find each prompt's most similar training prompt; the first of equals, by its key.

        Raises:
            MeasurementError: the explanation has no rule of this explainer's.
        """
        kept = _read(question.explanation, "prompts")["prompts"]
        verdicts = []
        for one in question.prompts:
            alike = [likeness(one.ids, ids) for ids, _ in kept]
            verdicts.append(Verdict(bool(kept[alike.index(max(alike))][1])))
        return verdicts


def likeness(ids: Sequence[int], others: Sequence[int]) -> tuple[int, float]:
    """Return how many tokens two prompts' ends have in common, then the share of common tokens.

    The share is that of tokens in either that are in both (Jaccard), however often they occur.
    """
    end = 0
    while end < min(len(ids), len(others)) and ids[-1 - end] == others[-1 - end]:
        end += 1
    either = set(ids) | set(others)
    return end, len(set(ids) & set(others)) / len(either) if either else 0.0


def _written(rule: dict[str, Any]) -> str:
    """A rule as JSON, always the same for the same rule."""
    return json.dumps(rule, sort_keys=True, separators=(",", ":"))


def _read(explanation: Explanation, *parts: str) -> dict[str, Any]:
    try:
        rule = json.loads(explanation.rule)
    except ValueError:
        rule = None
    if not isinstance(rule, dict) or not set(parts) <= set(rule):
        raise MeasurementError(
            f"an explanation by {explanation.explainer!r} has no {' and '.join(parts)} to judge "
            "by: judge it with the explainer that made it"
        )
    return rule
