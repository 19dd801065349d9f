"""What a language model's reply says: yes, no, an explanation, or nothing that can be read.

Unknown is a value: what is neither a clear yes nor a clear no is no verdict, and a refusal is no
explanation. Nothing is sent here.
"""

import re
from collections.abc import Mapping
from math import exp

from lookups.explain.explainer import Verdict
from lookups.explain.replies import Reply

READABLE = 0.1
"""The least probability that yes and no must have together. Below it the model was about to say
something else, such as a refusal, and their ratio is the ratio of two accidents."""

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)

_HEDGE = re.compile(r"\W*(yes|no)\s*(,?\s*(and|or|but|also)\b|/|&)\s*(also\s+)?(yes|no)\b", re.I)

# A bare word may follow only if it begins a reason: "No idea" and "No one can say" are no verdicts.
_ANSWER = re.compile(
    r"[\W_]*(?P<word>yes|no)(?![^\W_]|['’-]\w)"
    r"(?=\s*$|\s*_|\s*[^\w\s]|\s*\n|\s+(because|since|as|for|it|its|this|that|the|there|these|they|i)\b)",
    re.I,
)

_REFUSAL = re.compile(
    r"\W*((i\s+am|i['’]?m)\s+(very\s+)?sorry|sorry\b|i\s+(can\s*not|can['’]t|won['’]t|will\s+not)\b"
    r"|(i\s+am|i['’]m)\s+(unable|not\s+able)\b|(unfortunately|apologies),?\s+(but\s+)?i\b|as\s+an\s+ai\b)",
    re.I,
)


def verdict_of(reply: Reply) -> Verdict:
    """Read whether a reply says yes or no.

    Log-probabilities of the first token decide where they are given, unless the text, which may be
    longer, takes its first word back ("Yes and no"); otherwise the text decides.
    """
    text = said(reply)
    if reply.refusal or _HEDGE.match(text):
        return Verdict(None)
    probability = probability_of_yes(reply.first or {})
    if probability is None:
        return Verdict(yes_or_no(text))
    return Verdict(None if probability == 0.5 else probability > 0.5, probability)


def yes_or_no(text: str) -> bool | None:
    """Return True for a text that begins with a clear yes, False for a no, None for all else."""
    if _HEDGE.match(text):
        return None
    match = _ANSWER.match(text)
    return None if match is None else match["word"].lower() == "yes"


def probability_of_yes(first: Mapping[str, float]) -> float | None:
    """Return p(yes) / (p(yes) + p(no)), each summed over its spellings, as candidates of one token.

    `first` holds log-probabilities. None if yes and no together have less than `READABLE`.
    """
    total = {"yes": 0.0, "no": 0.0}
    for token, logprob in first.items():
        # Some servers show a token's leading space as the mark that their vocabulary has for it.
        word = token.strip(" \t\n▁Ġ").lower()
        if word in total:
            total[word] += exp(logprob)
    both = total["yes"] + total["no"]
    return None if both < READABLE else total["yes"] / both


def explanation_of(reply: Reply) -> str:
    """Return the explanation on one line; empty if the model said nothing or would not explain."""
    text = " ".join(said(reply).split())
    return "" if reply.refusal or _REFUSAL.match(text) else text


def said(reply: Reply) -> str:
    """Return a reply's text without what a reasoning model thought aloud before it."""
    return _THOUGHT.sub("", reply.text).strip()
