"""Requests and replies of the authors' record as rows: explanations, and verdicts on prompts.

Used by `lookups.record.read`. A request is known by its text alone, and so is its reply: pairs that
make the same request share one. Of several replies to a request the last one counts, as it did for
the authors, whose questions quote it. Whether a reply says yes is the rule of
`lookups.explain.language_model`.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lookups.explain.language_model import yes_or_no
from lookups.record.files import RecordFile, pair_of, part, read_lines, read_object
from lookups.record.rows import OTHER, Ledger, Texts


class Asked(NamedTuple):
    """One question of an evaluation."""

    pair: str
    question: str
    shown: str
    """The prompt with the token appended."""
    prior: Any
    """The file of active heads that the evaluation was made from, as it says."""


def explained(
    files: Sequence[RecordFile], texts: Texts, n_heads: int, ledger: Ledger
) -> pd.DataFrame:
    """Return each pair's request and what was replied to it.

    Raises:
        PublishedError: an entry is not what it should be.
    """
    asked: dict[tuple[str, str], str] = {}
    for file in reversed([file for file in files if file.path.suffix == ".json"]):
        requests = read_object(file)
        ledger.read(file, len(requests))
        for key in requests:
            pair = pair_of(key, n_heads, file.name)
            request = part(requests, key, str, file.name)
            if pair[0] not in texts.tokens:
                ledger.leave("explanations", file, 1, OTHER)
            elif pair in asked:
                ledger.leave("explanations", file, 1, "a later file has a request for its pair")
            else:
                asked[pair] = request
    replies = _replies("explanations", files, set(asked.values()), ledger)
    rows = [(*pair, text, replies.get(text, (None,))[0]) for pair, text in asked.items()]
    return pd.DataFrame(rows, columns=["neuron", "head", "prompt_text", "explanation"])


def evaluated(
    files: Sequence[RecordFile],
    about: RecordFile | None,
    texts: Texts,
    n_heads: int,
    ledger: Ledger,
) -> pd.DataFrame:
    """Return a row for every question about a prompt of the file `about`, with its answer.

    Raises:
        PublishedError: an entry is not what it should be.
    """
    evaluations = [file for file in files if file.path.suffix == ".json"]
    questions = {file: _questions(file) for file in evaluations}
    found: dict[tuple[str, str, str], tuple] = {}
    for file in sorted(evaluations, key=lambda file: -len(questions[file])):
        ledger.read(file, len(questions[file]))
        for one in questions[file]:
            neuron, head = pair_of(one.pair, n_heads, file.name)
            at = (neuron, "test", one.shown.removesuffix(texts.tokens.get(neuron, "")))
            if neuron not in texts.tokens:
                reason = OTHER
            elif about is None or one.prior != about.path.stem:
                reason = f"it is about the prompts of {one.prior}, another run of the step"
            elif at not in texts.keys:
                reason = f"its prompt is not in {about.name}"
            elif (neuron, head, one.question) in found:
                reason = f"{found[neuron, head, one.question][2].path.name} has the same question"
            else:
                key = (neuron, head, one.question)
                found[key] = texts.keys[at], head in texts.heads[at], file
                continue
            ledger.leave("verdicts", file, 1, reason)
    return _answered(found, _replies("verdicts", files, {key[2] for key in found}, ledger))


def _answered(
    found: dict[tuple[str, str, str], tuple], replies: dict[str, tuple[str, str]]
) -> pd.DataFrame:
    rows, verdicts = [], []
    for (neuron, head, question), (prompt, active, file) in found.items():
        reply, source = replies.get(question, ("", ""))
        rows.append((neuron, head, prompt, active, file.name, source))
        verdicts.append(yes_or_no(reply))
    columns = ["neuron", "head", "prompt", "active", "file", "reply_file"]
    table = pd.DataFrame(rows, columns=columns).astype({"active": bool})
    # of type object, so that None stays None
    table.insert(4, "verdict", pd.Series(verdicts, dtype=object))
    return table


def _questions(file: RecordFile) -> list[Asked]:
    content, questions = read_object(file), []
    pairs, prior = part(content, "classify_prompts", dict, file.name), content.get("prior_filename")
    for pair in pairs:
        own, where = part(pairs, pair, dict, file.name), f"{file.name}, {pair}"
        questions += [Asked(pair, one, part(own, one, str, where), prior) for one in own]
    return questions


def _replies(
    table: str, files: Sequence[RecordFile], asked: Collection[str], ledger: Ledger
) -> dict[str, tuple[str, str]]:
    """What was said to each request that is asked, and the file that says it.

    The lines of a file of requests alone are used where some pair makes the request.
    """
    last: dict[str, tuple[str, RecordFile]] = {}
    for file in (file for file in files if file.path.suffix == ".jsonl"):
        answered = "results" in file.marks
        lines = read_lines(file)
        ledger.read(file, len(lines))
        for number, line in enumerate(lines, start=1):
            where = f"{file.name}, line {number}"
            request = part(line, 0, dict, where) if answered else line
            message = part(part(request, "messages", list, where), 0, dict, where)
            question = part(message, "content", str, where)
            if question not in asked:
                ledger.leave(table, file, 1, "no pair makes this request")
            elif answered:
                if question in last:
                    ledger.leave(table, last[question][1], 1, "replied to again: the last counts")
                last[question] = _said(part(line, 1, (dict, list), where), where), file
    return {question: (said, file.name) for question, (said, file) in last.items()}


def _said(response: Any, where: str) -> str:
    """The text of a reply; empty where a list of errors was kept in its place."""
    if isinstance(response, list):
        return ""
    choice = part(part(response, "choices", list, where), 0, dict, where)
    return part(part(choice, "message", dict, where), "content", str, where)
