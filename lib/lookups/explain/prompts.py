"""A neuron's cut prompts with what one of its heads does on each (chapters 6, 7, 8 and 9).

Held-out prompts that read the same as a training prompt are left out, since they would test memory.
A gated neuron is read through the product of its two inputs. Followed pairs alone have test rows.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import pandas as pd

from lookups.explain.explainer import Case, Example

# the inputs by which a head is called active: a plain neuron's one, or a gated one's product
DECISIVE = ("in", "post")
_OF_HEADS = ["neuron", "split", "prompt", "head", "attribution", "effect", "active"]

Key = TypeVar("Key", bound=Hashable)


class PairPrompts:
    """The prompts of every (neuron, head), looked up by name."""

    def __init__(
        self,
        suffixes: pd.DataFrame,
        heads: pd.DataFrame,
        *,
        tokens: Mapping[str, str] | pd.Series,
        decode: Callable[[Sequence[int]], str],
        vocabulary: Sequence[str] = (),
    ):
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
        """Return a row a prompt, the strongest first: those of `suffixes`, and `text`, `token`,
        `head`, `attribution`, `effect`, `active`; `next_token` is None where nothing is known.
        """
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
    return float((known.next_token == known.token).mean()) if len(known) else float("nan")


def widest(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return pairs (`pairs`), the head that brings most on active over other prompts first."""
    order = ["gap", "neuron", "head"]
    return pairs.sort_values(order, ascending=[False, True, True], kind="stable")


def first_that(holds: Callable[[Key], bool], keys: Iterable[Key]) -> Key | None:
    """Return the first key of which something holds, else the first of all; None of none."""
    keys = list(keys)
    return next(filter(holds, keys), keys[0] if keys else None)


def apart(rows: pd.DataFrame, measure: str) -> float:
    """Return how far the two kinds of a pair's prompts lie apart, in standard deviations in a kind.

    `measure` is the column that the run's active rule looks at. Not-a-number with fewer than two
    prompts of a kind, or without any spread.
    """
    kinds = [rows[measure][rows.active == kind] for kind in (True, False)]
    within = np.sqrt(np.mean([kind.var() for kind in kinds]))
    return float((kinds[0].mean() - kinds[1].mean()) / within) if within > 0 else float("nan")
