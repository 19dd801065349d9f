"""Did two runs take the same prompts, and keep the same part of them? (chapter 14)

The prompts' part of `lookups.record.compare`, with its rows and reasons. Texts, not ids, say which
prompt is which, since two runs number their documents differently. Nothing is tokenised here.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from lookups.record.compare import KEYS, Reason, compared


def match_texts(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Find, for each neuron and split, which of our texts is which of the record's.

    Equal texts first. Of the rest, two belong together when one is the end of the other and they
    share two words or more. Both tables hold neuron, split, prompt and text; a text that stands
    twice counts once, as in the record. The answer has a row a text: `prompt` and `text` of the
    record, `our_prompt` and `our_text`, missing on the side that has none.
    """
    at = ["neuron", "split"]
    mine, yours = (one.drop_duplicates([*at, "text"]) for one in (ours, theirs))
    mine = mine[[*KEYS, "text"]].rename(columns={"prompt": "our_prompt", "text": "our_text"})
    yours = yours[[*KEYS, "text"]]
    same = yours.merge(mine, left_on=[*at, "text"], right_on=[*at, "our_text"])
    left = _without(yours, same, [*at, "prompt"], [*at, "prompt"])
    ours_left = _without(mine, same, [*at, "our_prompt"], [*at, "our_prompt"])
    waiting = {key: list(rows.itertuples()) for key, rows in ours_left.groupby(at, sort=False)}
    ends = pd.DataFrame(_by_ends(left, waiting), columns=[*KEYS, "text", "our_prompt", "our_text"])
    paired = pd.concat([same, ends], ignore_index=True) if len(ends) else same
    rest = [_without(yours, paired, [*at, "prompt"], [*at, "prompt"]),
            _without(mine, paired, [*at, "our_prompt"], [*at, "our_prompt"])]  # fmt: skip
    return pd.concat([paired, *(one for one in rest if len(one))], ignore_index=True)


def _by_ends(theirs: pd.DataFrame, waiting: dict[tuple, list]) -> list[tuple]:
    """Give each of the record's texts, longest first, the one of ours that shares most with it."""
    found = []
    order = theirs.text.str.len().sort_values(ascending=False, kind="stable").index
    for row in theirs.loc[order].itertuples():
        others = waiting.get((row.neuron, row.split), [])
        best = max(others, key=lambda one: _shared(one.our_text, row.text), default=None)
        if best is not None and _shared(best.our_text, row.text):
            others.remove(best)
            mine = (best.our_prompt, best.our_text)
            found.append((row.neuron, row.split, row.prompt, row.text, *mine))
    return found


def _without(table: pd.DataFrame, other: pd.DataFrame, keys: list[str], others: list[str]):
    """Rows of a table whose key does not stand in another."""
    taken = pd.MultiIndex.from_frame(other[others])
    return table[~pd.MultiIndex.from_frame(table[keys]).isin(taken)]


def _shared(one: str, other: str) -> int:
    """How many characters two texts share when one ends the other; 0 below two words."""
    short, long = sorted((one, other), key=len)
    return len(short) if long.endswith(short) and len(short.split()) >= 2 else 0


def compare_prompts(
    matches: pd.DataFrame,
    *,
    in_our_corpus: Callable[[str, str], bool],
    below_share: Callable[[tuple[str, str, str]], bool] = lambda key: False,
    same_protocol: bool = True,
) -> pd.DataFrame:
    """Compare which prompts were taken, and how much of those in both was kept.

    `in_our_corpus` says of a split and a text whether the text stands in a document that our run
    read there; `below_share` of a record's (neuron, split, prompt) whether it keeps less of the
    activation than the record's own rule asks for.
    """
    rows = []
    for _, group in matches.groupby(["neuron", "split"], sort=False):
        rows += _prompts_of(group, in_our_corpus, same_protocol)
    for row in matches.dropna(subset=["text", "our_text"]).itertuples():
        ok = row.text == row.our_text
        why: Reason = "not explained"
        if below_share((row.neuron, row.split, row.prompt)):
            why = "the record keeps less than its share"
        elif not same_protocol:
            why = "other protocol of the run"
        rows.append({"what": "text kept", **_at(row), "ours": row.our_text, "theirs": row.text,
                     "agrees": ok, "reason": None if ok else why})  # fmt: skip
    return compared(rows)


def _prompts_of(
    group: pd.DataFrame, in_our_corpus: Callable[[str, str], bool], same_protocol: bool
) -> list[dict]:
    """Which prompts of one neuron and split both have, and why one side lacks the others."""
    more = int(group.text.notna().sum()) - int(group.our_text.notna().sum())
    rows, elsewhere, extra = [], 0, 0
    left: Reason = "not explained" if same_protocol else "other protocol of the run"
    for row in group.itertuples():
        mine, yours = isinstance(row.our_text, str), isinstance(row.text, str)
        why: Reason | None = None
        if not mine:
            known = in_our_corpus(row.split, row.text)
            elsewhere += not known
            beyond = "beyond our number of prompts" if more > 0 else left
            why = beyond if known else "prompt not in our corpus"
        elif not yours:
            extra += 1
            beyond = "beyond the record's number of prompts" if more < 0 else left
            why = "in the place of another prompt" if extra <= elsewhere else beyond
        rows.append({"what": "prompt", **_at(row), "ours": row.our_text, "theirs": row.text,
                     "agrees": mine and yours, "reason": why})  # fmt: skip
    return rows


def _at(row: Any) -> dict[str, Any]:
    prompt = row.prompt if isinstance(row.prompt, str) else row.our_prompt
    return {"neuron": row.neuron, "split": row.split, "prompt": prompt}
