"""Could the difference between active and inactive prompts be luck? Labels permuted within pairs.

Beside the paper's test in chapter 9. If a head's being active had nothing to do with what silencing
it does, every way to call as many of the pair's prompts active would be as likely. So the labels
are assigned anew at random among the prompts of each pair; how many are active stays as it is. One
relabeling permutes the prompts of a *neuron*, for all its heads alike, so that heads that exclude
each other, or are active together, do so in every one.

With d relabelings, p is (1 + those at least as far out) / (1 + d): the observed labels are one of
those that could have been, so p is never 0 (Phipson and Smyth, "Permutation P-values should never
be zero", 2010).
"""

from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from lookups.statistics.differences import PAIR
from lookups.statistics.lots import lots_of

_ROUNDING = 1e-9
"""Share of the size of the changes below which two differences are equal: sums round."""


class Permutation(NamedTuple):
    """The mean difference over all pairs, its p values, and those of every pair."""

    difference: float
    """Mean over pairs of (mean change when active - mean change when inactive)."""
    p_greater: float
    """One-sided: active prompts change more."""
    p_two_sided: float
    pairs: pd.DataFrame
    """A row a pair with prompts of both kinds: `neuron`, `head`, `difference`, `p_greater` and
    `p_two_sided`, in the order of the names."""
    left_out: int
    """Pairs with prompts of one kind only."""


def permuted_within_pairs(
    rows: pd.DataFrame, change: str, *, seed: int, draws: int = 2000
) -> Permutation:
    """Test whether a column differs between the active and the inactive prompts of pairs.

    `rows` has a row a prompt of a pair, with `neuron`, `head`, `prompt`, `active` and the column;
    not-a-number is left out. How a neuron's prompts are relabeled depends on the seed and its name:
    neither the order of rows nor other neurons change a pair's p.

    Raises:
        ValueError: a pair has a prompt twice.
    """
    rows = rows.dropna(subset=[change])
    if rows.duplicated([*PAIR, "prompt"]).any():
        raise ValueError("a pair has a prompt twice; give one kind of ablation and one split")
    found, relabeled, slack, left_out = [], np.zeros(draws), 0.0, 0
    for neuron, own in rows.groupby("neuron", sort=True):
        prompts = np.unique(own.prompt.astype(str))
        # a random number a prompt and relabeling: their order permutes all heads' labels alike
        keys = lots_of(seed, "permutation", str(neuron)).random((draws, len(prompts)))
        for head, some in own.groupby("head", sort=True):
            active, changes = some.active.to_numpy(bool), some[change].to_numpy(float)
            if active.all() or not active.any():
                left_out += 1
                continue
            place = np.searchsorted(prompts, some.prompt.to_numpy(str))
            by_prompt = np.argsort(place)
            active, changes, place = active[by_prompt], changes[by_prompt], place[by_prompt]
            drawn = _differences(changes, active, keys[:, place].argsort(axis=1))
            seen = float(changes[active].mean() - changes[~active].mean())
            equal = _ROUNDING * float(np.abs(changes).max())
            found.append((neuron, head, seen, *_p_values(drawn, seen, equal)))
            relabeled += drawn
            slack += equal
    columns = [*PAIR, "difference", "p_greater", "p_two_sided"]
    pairs = pd.DataFrame(found, columns=columns).astype(dict.fromkeys(columns[2:], float))
    if not found:
        return Permutation(nan, nan, nan, pairs, left_out)
    seen = float(pairs.difference.sum())
    return Permutation(seen / len(found), *_p_values(relabeled, seen, slack), pairs, left_out)


def _differences(
    changes: Float[np.ndarray, " prompt"],
    active: Bool[np.ndarray, " prompt"],
    order: Int[np.ndarray, "draw prompt"],
) -> Float[np.ndarray, " draw"]:
    """Return the difference of the two means under every relabeling."""
    n, k = len(active), int(active.sum())
    of_active = active[order] @ changes
    return of_active / k - (changes.sum() - of_active) / (n - k)


def _p_values(drawn: Float[np.ndarray, " draw"], seen: float, equal: float) -> tuple[float, float]:
    """Return one- and two-sided p; what is equal but for rounding counts as equal."""
    greater = int((drawn >= seen - equal).sum())
    farther = int((np.abs(drawn) >= abs(seen) - equal).sum())
    return (1 + greater) / (1 + len(drawn)), (1 + farther) / (1 + len(drawn))
