"""What an explainer is given, and what it has to do with it (chapters 6 to 9).

An explainer (paper, step 6) turns active and inactive training prompts into an explanation, and an
explanation and a prompt into a verdict. The rule that an explanation holds is text, so that it can
be stored, shown, and handed to judge the prompts of another pair.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import exp
from typing import Any, NamedTuple

import pandas as pd

from lookups.errors import LookupsError, ServerError

# the inputs by which a head is called active: a plain neuron's one, or a gated one's product
DECISIVE = ("in", "post")
_OF_HEADS = ["neuron", "split", "prompt", "head", "attribution", "effect", "active"]

READABLE = 0.1  # the least probability of yes and no: below it something else is about to be said
_MARKS = " \t\n▁ĠĊ"  # some servers show a token's white space as the marks of their vocabulary

# Thoughts stand between tags, of which the chat's template may write the first, or in a channel.
_TAG = r"(?:seed:)?(?i:think(?:ing)?|thought|reasoning)"
_OPENED = rf"<{_TAG}>|\[THINK\]|◁think▷|<\|channel\|>(?!\s*final)|\Aanalysis(?=[A-Z])"
_CLOSED = rf"</{_TAG}>|\[/THINK\]|◁/think▷|<\|channel\|>\s*final[^<]*<\|message\|>|assistantfinal"
_THOUGHT = re.compile(rf"(?s)(?:{_OPENED}).*?(?:{_CLOSED}|\Z)|(?:<\|\w+\|>\s*)+\Z")
_GOING_ON = re.compile(rf"(?s)\A.*(?:{_CLOSED})")

# What servers call the end of a reply; all else is a failure.
_END = re.compile(
    r"(?P<cut>(model_)?length|max_tok)|stop|end|eos|done|finish|complete|tool|function"
    r"|(?P<withheld>content|safety|filter|refus|sensitive|recitation|prohibited|block)",
    re.I,
)

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


class Reply(NamedTuple):
    """What a language model replied."""

    text: str  # empty where nothing was said
    refusal: str = ""  # why there is no answer, where it is told: "length" if no room was left
    first: dict[str, float] | None = None  # log-probabilities of the first token's candidates

    @property
    def said(self) -> str:
        """The text without what a reasoning model thought aloud before it."""
        return _GOING_ON.sub("", _THOUGHT.sub("", self.text.strip())).strip()


class Case(NamedTuple):
    """What one explanation is made from."""

    active: tuple[Example, ...]
    inactive: tuple[Example, ...]
    token: str

    def in_order(self) -> tuple[list[Example], list[bool]]:
        """Return the prompts by key and whether the head is active; `LookupsError` without both."""
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


class Explainer:
    """Says when a head is active, and judges prompts by what was said. One that waits for a server
    defines `explain_all` and `judge_all`, any other the first two."""

    name: str

    def explanation(self, text: str, rule: Any) -> Explanation:
        """Return an explanation of its own: words, and the rule, which can be written as JSON."""
        compact = {"sort_keys": True, "ensure_ascii": False, "separators": (",", ":")}
        return Explanation(self.name, text, json.dumps(rule, **compact))

    def explain(self, case: Case) -> Explanation:
        """Say in words when the head is active."""
        return self.explain_all([case])[0]

    def judge(self, question: Question) -> list[Verdict]:
        """Say of every prompt whether the head is active on it, by the explanation alone."""
        return self.judge_all([question])[0]

    def explain_all(self, cases: Sequence[Case]) -> list[Explanation]:
        """Explain many pairs, in order."""
        return [self.explain(case) for case in cases]

    def judge_all(self, questions: Sequence[Question]) -> list[list[Verdict]]:
        """Answer many questions, in order."""
        return [self.judge(question) for question in questions]


class Unfinished(ServerError):
    """A server says of its reply that something failed; another attempt may succeed."""


def reply_of(body: str) -> Reply:
    """Read what came with success; without any choice, as after some filters, it says nothing.
    Unfinished if it tells of a failure, whatever else it holds; ServerError if it is no reply."""
    unreadable = ValueError, TypeError, KeyError, AttributeError, IndexError
    try:
        content, first = json.loads(body), None
        choice = (content.get("choices") or [{}])[0]
        ended = choice.get("finish_reason") or "stop"
        failure, end = content.get("error") or choice.get("error"), _END.match(ended)
        if failure or not end:
            raise Unfinished(failure or ended)
        if content["choices"] == [] or end["withheld"]:
            return Reply("", ended if choice else "")
        text, refusal = (_text(choice["message"].get(key)) for key in ("content", "refusal"))
        with suppress(*unreadable):  # not every server gives these in OpenAI's form
            chosen = choice["logprobs"]["content"][0]  # it need not be among the likeliest
            candidates = [*(chosen.get("top_logprobs") or []), chosen]
            likely = {str(one["token"]): float(one["logprob"]) for one in candidates}
            if text.strip().lower().startswith(chosen["token"].strip(_MARKS).lower()):
                first = {token: value for token, value in likely.items() if value < 0.01}
        reply = Reply(text, refusal, first)
        spent = end["cut"] and not (reply.said or refusal)
        return reply._replace(refusal="length") if spent else reply
    except unreadable:
        raise ServerError(body) from None


def _text(content: Any) -> str:
    """Return what is said in a message: some servers send it in parts, and thoughts as others."""
    parts = content if isinstance(content, list) else [content or ""]
    parts = [{"type": "text", "text": one} if isinstance(one, str) else one for one in parts]
    said = [one["text"] for one in parts if one["type"] in ("text", "output_text")]
    return "".join(said).encode("utf-8", "replace").decode()  # half a character becomes `?`


def yes_or_no(text: str) -> bool | None:
    """Return True for a text that begins with a clear yes, False for a no, None for all else."""
    match = None if _HEDGE.match(text) else _ANSWER.match(text)
    return match and match["word"].lower() == "yes"


def verdict_of(reply: Reply) -> Verdict:
    """Read whether a reply says yes or no.

    Log-probabilities of the first token decide where they are given, each summed over its
    spellings, unless it is one of a thought or the text takes it back ("Yes and no"); otherwise the
    text decides.
    """
    said, total = reply.said, Counter()
    if reply.refusal or _HEDGE.match(said):
        return Verdict(None)
    for token, logprob in (reply.first or {}).items() if said == reply.text.strip() else ():
        total[token.strip(_MARKS).lower()] += exp(logprob)
    if total["yes"] + total["no"] < READABLE:
        return Verdict(yes_or_no(said))
    probability = total["yes"] / (total["yes"] + total["no"])
    return Verdict(None if probability == 0.5 else probability > 0.5, probability)


def explanation_of(reply: Reply) -> str:
    """Return the explanation on one line; empty if the model said nothing or would not explain."""
    text = " ".join(reply.said.split())
    return "" if reply.refusal or _REFUSAL.match(text) else text


def check_apart(case: Case, question: Question) -> None:
    """Raise a LookupsError if a prompt that was explained from is judged, by key or by ids."""
    learned = [*case.active, *case.inactive]
    keys, ids = {one.prompt for one in learned}, {one.ids for one in learned}
    for one in question.prompts:
        if one.prompt in keys or one.ids in ids:
            raise LookupsError(f"{one.prompt} was used to explain: leave it out of those to score")


class PairPrompts:
    """The prompts of every (neuron, head), looked up by name; followed pairs alone have test rows.
    Held-out prompts that read the same as a training prompt would test memory and are left out."""

    def __init__(
        self, suffixes: pd.DataFrame, heads: pd.DataFrame, *, tokens: Mapping[str, str] | pd.Series,
        decode: Callable[[Sequence[int]], str], vocabulary: Sequence[str] = (),
    ):  # fmt: skip
        """Take the tables, each neuron's token, a decoder, and a vocabulary for `next_token`."""
        known = (suffixes.split == "test") & suffixes.also_in_train
        # held-out prompts of each neuron that read the same as a training prompt
        self.left_out = known.groupby(suffixes.neuron).sum()
        self._prompts = dict(list(suffixes[~known].groupby("neuron", sort=False)))
        decisive = heads.loc[heads.input.isin(DECISIVE), _OF_HEADS]
        # a deep model has hundreds of heads: grouping by neuron and head would make 50,000 groups
        self._heads = dict(list(decisive.groupby("neuron", sort=False)))
        self._tokens, self._decode, self._vocabulary = tokens, decode, vocabulary
        self._joined = cache(self._join)

    def rows(self, neuron: str, head: str, split: str | None = None) -> pd.DataFrame:
        """Return a row a prompt, the strongest first: the columns of `suffixes` and of `heads`, and
        `text`, `token` and `next_token`, which is None where nothing is known."""
        rows = self._joined(neuron, head)
        return rows if split is None else rows[rows.split == split].reset_index(drop=True)

    def case(self, neuron: str, head: str) -> Case:
        """Return what an explanation of the pair may be made from: its training prompts."""
        rows = self.rows(neuron, head, "train")
        kinds = [tuple(examples(rows[rows.active == kind])) for kind in (True, False)]
        return Case(*kinds, token=self._tokens[neuron])

    def _join(self, neuron: str, head: str) -> pd.DataFrame:
        own = self._heads[neuron]
        own = own[own["head"] == head].drop(columns="neuron")
        rows = self._prompts[neuron].merge(own, on=["split", "prompt"])
        rows = rows.assign(text=rows.token_ids.map(self._decode), token=self._tokens[neuron])
        if len(self._vocabulary):
            followed = [self._vocabulary[i] if i >= 0 else None for i in rows.next_token_id]
            rows["next_token"] = pd.Series(followed, rows.index, dtype=object)
        return rows.sort_values(["activation", "prompt"], ascending=[False, True])


def examples(rows: pd.DataFrame) -> list[Example]:
    """Return rows of one pair as an explainer sees them."""
    columns = rows[["prompt", "token_ids", "text", "token"]].itertuples(index=False)
    return [Example(row.prompt, tuple(map(int, row.token_ids)), *row[2:]) for row in columns]


def follow_share(rows: pd.DataFrame) -> float:
    """Return how often the neuron's token followed the prompts; not-a-number if nothing did."""
    known = rows[rows.next_token.notna()]
    return float((known.next_token == known.token).mean())
