"""The explainer `llm`: a language model says when a head is active, and judges by what it said.

Any server that speaks OpenAI's chat completions (paper, step 6). What would be sent and what it
would cost is told before anything is sent. Every reply is stored as it comes in: a run that was
stopped goes on where it stood, and one that was finished needs neither key nor network again. Its
words are `lookups.explain.instructions`, how replies are read is `lookups.explain.answers`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lookups.errors import NotConfirmed, ServerError
from lookups.explain.answers import explanation_of, verdict_of
from lookups.explain.explainer import Case, Example, Explainer, Explanation, Question, Verdict
from lookups.explain.instructions import explaining, judging
from lookups.explain.replies import Replies, Reply, Request
from lookups.explain.sending import run_apart, send_all
from lookups.explain.server import Server, key_for
from lookups.llm_settings import LlmSettings

BYTES_A_TOKEN = 3.5
"""English has about four bytes a token; what is cut from web texts has fewer."""


class Plan(NamedTuple):
    """What a call would send; nothing has been sent."""

    requests: int
    """To be sent, each different one counted once."""
    stored: int
    """Already answered, which cost nothing."""
    prompt_tokens: int
    """Estimated from the number of bytes (`BYTES_A_TOKEN`); no discount for cached prefixes."""
    reply_tokens: int
    """At most."""
    cost: float | None
    """In dollars; None if the settings give no prices."""

    def __str__(self) -> str:
        cost = "no prices given" if self.cost is None else f"about ${self.cost:.2f}"
        return (
            f"{self.requests:,} requests to send ({self.stored:,} more are stored), about "
            f"{self.prompt_tokens:,} prompt tokens and at most {self.reply_tokens:,} reply tokens, "
            f"{cost}"
        )


def plan(requests: Iterable[Request], replies: Replies, settings: LlmSettings) -> Plan:
    """Count what of some requests would have to be sent, and estimate what that costs."""
    different = {request.digest: request for request in requests}
    missing = [request for request in different.values() if request not in replies]
    size = sum(len(one["content"].encode()) for request in missing for one in request.messages)
    tokens = round(size / BYTES_A_TOKEN)
    longest = sum(request.settings[settings.limit_key] for request in missing)
    cost = None
    if settings.price_in is not None and settings.price_out is not None:
        cost = (tokens * settings.price_in + longest * settings.price_out) / 1e6
    return Plan(len(missing), len(different) - len(missing), tokens, longest, cost)


class Llm(Explainer):
    """Asks a language model, or hands out what it answered before.

    A reply that is empty or a refusal is no explanation: its text is '', its rule holds what came
    instead, and every prompt that is judged by it is unread, without anything being sent. Only the
    text of an explanation is read, so that it can be any explainer's.
    """

    name = "llm"

    def __init__(
        self,
        settings: LlmSettings,
        store: Path,
        *,
        confirmed: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Set up; nothing is opened or sent yet.

        `store` is the file of replies, made if need be. `confirmed` is the reader's consent to the
        requests. `progress` is told how many replies came in since it was last told, from another
        thread.
        """
        self.settings, self.store = settings, store
        self._confirmed, self._progress = confirmed, progress or (lambda _: None)

    def plan(
        self, cases: Sequence[Case], held_out: Sequence[Sequence[Example]] | None = None
    ) -> Plan:
        """Count all requests of a run before its first one: explanations, and verdicts by them.

        `held_out` has, for every case, the prompts that are to be judged by its explanation. One
        that is not there yet is taken to be as long as it may be.
        """
        with Replies(self.store) as replies:
            requests = []
            judged = held_out if held_out is not None else [()] * len(cases)
            for case, prompts in zip(cases, judged, strict=True):
                asked = self._explaining(case)
                reply = replies.find(asked)
                size = round(self.settings.explain_tokens * BYTES_A_TOKEN)
                text = asked.digest.ljust(size, "-") if reply is None else explanation_of(reply)
                requests += [asked, *(self._judging(text, one) for one in prompts if text)]
            return plan(requests, replies, self.settings)

    def confirm(self, what: Plan) -> None:
        """Check that what would be sent may be sent; a plan without requests always may.

        Raises:
            NotConfirmed: telling how much it is and what it costs.
        """
        if what.requests and not self._confirmed:
            raise NotConfirmed(
                f"{what}, by {self.settings.model} at {self.settings.address}: nothing was sent; "
                "pass --yes to send them"
            )

    def explain(self, case: Case) -> Explanation:
        """Say in words when the head is active."""
        return self.explain_all([case])[0]

    def judge(self, question: Question) -> list[Verdict]:
        """Say of every prompt whether the head is active on it, by the explanation alone."""
        return self.judge_all([question])[0]

    def explain_all(self, cases: Sequence[Case]) -> list[Explanation]:
        """Explain many pairs at once.

        Raises:
            NotConfirmed: something would have to be sent.
            ServerError: no key, no model, no server, or one that keeps failing; what was answered
                is stored.
        """
        replies = self._replies_to([self._explaining(case) for case in cases])
        return [self._explanation(reply) for reply in replies]

    def judge_all(self, questions: Sequence[Question]) -> list[list[Verdict]]:
        """Answer many questions at once, one prompt a request; raises what `explain_all` raises."""
        texts = [question.explanation.text.strip() for question in questions]
        requests = [
            self._judging(text, prompt)
            for text, question in zip(texts, questions, strict=True)
            for prompt in question.prompts
            if text
        ]
        verdicts = iter([verdict_of(reply) for reply in self._replies_to(requests)])
        return [
            [next(verdicts) if text else Verdict(None) for _ in question.prompts]
            for text, question in zip(texts, questions, strict=True)
        ]

    def _explaining(self, case: Case) -> Request:
        sampling = self.settings.sampling(self.settings.explain_tokens)
        return Request(self.settings.model, explaining(case), sampling)

    def _judging(self, text: str, prompt: Example) -> Request:
        sampling = self.settings.sampling(self.settings.judge_tokens, logprobs=True)
        return Request(self.settings.model, judging(text, prompt), sampling)

    def _explanation(self, reply: Reply) -> Explanation:
        if text := explanation_of(reply):
            return Explanation(self.name, text)
        instead = {"reply": reply.text, "refusal": reply.refusal, "finish": reply.finish}
        return Explanation(self.name, "", json.dumps({"unexplained": instead}, sort_keys=True))

    def _replies_to(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the reply to every request, in order, after sending those that are not stored."""
        with Replies(self.store) as replies:
            self.confirm(plan(requests, replies, self.settings))
            missing = {one.digest: one for one in requests if one not in replies}
            if missing:
                key = key_for(self.settings)
                run_apart(self._send(list(missing.values()), replies, key))
            return [replies.find(request) for request in requests]

    async def _send(self, requests: list[Request], replies: Replies, key: str | None) -> None:
        done = 0

        def keep(request: Request, reply: Reply) -> None:
            nonlocal done
            replies.keep(request, reply)
            done += 1
            self._progress(1)

        failure = None
        async with Server(self.settings, key) as server:
            try:
                await send_all(requests, server.ask, keep, self.settings)
            except ServerError as error:
                failure = str(error)
        if failure is not None:
            raise ServerError(
                f"{failure}; {done} of {len(requests)} replies came in and are stored, run again "
                "for the rest"
            )
