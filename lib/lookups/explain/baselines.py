"""Two explainers for others to beat: a bag of words, and the nearest prompt (chapter 7).

Both look at token ids alone and explain next to nothing: they tell how much can be had without
saying when a head is active. Nothing is random.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lookups.errors import LookupsError
from lookups.explain.explainer import Case, Explainer, Explanation, Question, Verdict

DIGITS = 6  # decimal places of a stored weight, so that two machines write the same


class BagOfWords(Explainer):
    """Judges by weights of tokens, wherever they stand; both kinds of prompt weigh the same.

    The weights are a logistic regression's on how often each token occurs, with scikit-learn's own
    penalty (L2 with C = 1). A token never seen has none.
    """

    name = "bag-of-words"

    def explain(self, case: Case) -> Explanation:
        """Fit a weight for every token of the training prompts."""
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
        return _explanation(self, text, rule | {"weights": [*zip(tokens, weights, strict=True)]})

    def judge(self, question: Question) -> list[Verdict]:
        """Add up the weights of each prompt's tokens."""
        intercept, weights = _rule_of(question.explanation, "intercept", "weights")
        weights = dict(weights)
        added = (sum(weights.get(token, 0.0) for token in one.ids) for one in question.prompts)
        sums = [intercept + some for some in added]
        return [Verdict(total > 0, round(float(expit(total)), DIGITS)) for total in sums]


class Nearest(Explainer):
    """Judges a prompt like the training prompt that ends most like it; the first of equals."""

    name = "nearest"

    def explain(self, case: Case) -> Explanation:
        """Keep the training prompts' ids and whether the head is active on each."""
        prompts, active = case.in_order()
        kept = [[list(one.ids), kind] for one, kind in zip(prompts, active, strict=True)]
        text = (
            f"The head is active when the most similar of {len(prompts)} training prompts is an "
            "active one: the one with the longest common end, and of these the one with most "
            "tokens in common."
        )
        return _explanation(self, text, {"prompts": kept})

    def judge(self, question: Question) -> list[Verdict]:
        """Find each prompt's most similar training prompt."""
        (kept,) = _rule_of(question.explanation, "prompts")
        nearest = [max(kept, key=lambda one: likeness(new.ids, one[0])) for new in question.prompts]
        return [Verdict(bool(active)) for _, active in nearest]


def likeness(ids: Sequence[int], others: Sequence[int]) -> tuple[int, float]:
    """Return how many tokens two prompts' ends have in common, then the share of common tokens.

    The share is that of tokens in either that are in both (Jaccard), however often they occur.
    """
    end = 0
    while end < min(len(ids), len(others)) and ids[-1 - end] == others[-1 - end]:
        end += 1
    either = set(ids) | set(others)
    return end, len(set(ids) & set(others)) / len(either) if either else 0.0


def _explanation(by: Explainer, text: str, rule: dict[str, Any]) -> Explanation:
    return Explanation(by.name, text, json.dumps(rule, sort_keys=True, separators=(",", ":")))


def _rule_of(explanation: Explanation, *parts: str) -> list[Any]:
    try:
        rule = json.loads(explanation.rule)
        return [rule[part] for part in parts]
    except (ValueError, KeyError, TypeError):
        raise LookupsError(
            f"{explanation.explainer!r} made this explanation: judge it with the same explainer"
        ) from None
