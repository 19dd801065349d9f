"""How much more common a feature is among active prompts, and how surely (chapter 7).

The log-odds ratio with an informative Dirichlet prior of Monroe, Colaresi and Quinn ("Fightin'
Words", Political Analysis 16, 2008), and its z-score. There a word is drawn again and again from a
text; here a prompt has a feature or not, so that the prior of a feature is a beta distribution. It
is that of all prompts, active or not: on either side as many are added as there are in all.

Features that say the same are not evidence twice. So the second one is ranked by what it adds to
the first: among prompts for which the count so far is the same, the ratios are averaged, each with
the inverse of its variance as its weight.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class LogOdds(NamedTuple):
    """Of each feature; positive where it speaks for active."""

    delta: Float[np.ndarray, " feature"]
    """The log-odds ratio."""
    variance: Float[np.ndarray, " feature"]
    """Infinite where all prompts have the feature or none has, so that nothing is known."""

    @property
    def z(self) -> Float[np.ndarray, " feature"]:
        """The log-odds ratio in its own standard deviations."""
        return self.delta / np.sqrt(self.variance)


class Pick(NamedTuple):
    """A feature, by its row, and whether it speaks for active or against."""

    feature: int
    active: bool


def log_odds(
    active: Int[np.ndarray, " feature"],
    inactive: Int[np.ndarray, " feature"],
    *,
    of_active: int,
    of_inactive: int,
) -> LogOdds:
    """Return the log-odds ratios of features that so many active and inactive prompts have.

    Raises:
        ValueError: there is no prompt of one of the two kinds.
    """
    if min(of_active, of_inactive) < 1:
        raise ValueError("log-odds need 1 or more of both active and inactive prompts")
    have, size = active + inactive, of_active + of_inactive
    known = (have > 0) & (have < size)
    have = np.where(known, have, 1)  # any number: nothing is known of these
    delta, variance = np.zeros(have.shape), np.zeros(have.shape)
    for sign, count, of_kind in ((1, active, of_active), (-1, inactive, of_inactive)):
        has, lacks = count + have, of_kind - count + size - have
        delta += sign * np.log(has / lacks)
        # the second term may be dropped for rare words, but half of the prompts can have a feature
        variance += 1 / has + 1 / lacks
    return LogOdds(np.where(known, delta, 0.0), np.where(known, variance, np.inf))


def z_beyond(
    count: Int[np.ndarray, " prompt"],
    held: Bool[np.ndarray, "feature prompt"],
    active: Bool[np.ndarray, " prompt"],
) -> Float[np.ndarray, " feature"]:
    """Return z of each feature among prompts with the same count; 0 where nothing is known.

    With one count for all prompts it is the z of all. Rounded, so that equal evidence is equal on
    every machine.
    """
    total, weight = np.zeros(len(held)), np.zeros(len(held))
    for number in np.unique(count):
        kinds = [(count == number) & active, (count == number) & ~active]
        sizes = [int(kind.sum()) for kind in kinds]
        if min(sizes) > 0:
            have = [held[:, kind].sum(axis=1) for kind in kinds]
            found = log_odds(*have, of_active=sizes[0], of_inactive=sizes[1])
            total += found.delta / found.variance
            weight += 1 / found.variance
    return np.divide(total, np.sqrt(weight), out=np.zeros(len(held)), where=weight > 0).round(9)


def strongest(
    held: Bool[np.ndarray, "feature prompt"],
    active: Bool[np.ndarray, " prompt"],
    *,
    most: int,
    within: int = 500,
) -> list[Pick]:
    """Return features in the order in which each adds most to those before it, at most `most`.

    What is counted is how many features speak for active in a prompt, be it by standing in it or
    by lacking. Of equals the first is taken. Only the `within` features of largest |z| are looked
    at.
    """
    count = np.zeros(len(active), int)
    order = np.argsort(-np.abs(z_beyond(count, held, active)), kind="stable")
    left, picks = np.sort(order[:within]), []
    while len(picks) < most and len(left):
        z = z_beyond(count, held[left], active)
        best = int(np.argmax(np.abs(z)))
        if z[best] == 0:
            break
        picks.append(Pick(int(left[best]), bool(z[best] > 0)))
        count = count + (held[left[best]] == picks[-1].active)
        left = np.delete(left, best)
    return picks
