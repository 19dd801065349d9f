"""What the paper prints: its models, their scores, and what follows from these alone (chapter 14).

The paper gives mean, sd, skew and the p of a test of the skew for each run, but not how many pairs
stand behind them. The test depends on skew and number alone, so the two together give the number.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

MODELS = {
    "gpt2-small": ("openai-community/gpt2", 12),
    "gpt2-medium": ("openai-community/gpt2-medium", 16),
    "gpt2-large": ("openai-community/gpt2-large", 20),
    "gpt2-xl": ("openai-community/gpt2-xl", 25),
    "pythia-160m": ("EleutherAI/pythia-160m", 12),
    "pythia-410m": ("EleutherAI/pythia-410m", 16),
    "pythia-1.4b": ("EleutherAI/pythia-1.4b", 16),
}
"""The record's names of the paper's models, with their Hugging Face ids and heads a layer."""


def recorded_as(model: str) -> str | None:
    """Return the record's name of a model, with or without its owner; None if it has none."""
    names = (name for name, (id_, _) in MODELS.items() if model in (id_, id_.split("/")[1]))
    return next(names, None)


class Reported(NamedTuple):
    """One run's scores as the paper has them (GPT-4 explains and judges)."""

    run: str
    mean: float
    sd: float  # with n
    skew: float
    p_skew: float  # of D'Agostino's test that the skew is above 0
    p_digit: float  # what its last printed digit is worth


REPORTED = (
    Reported("GPT-2 small", 0.650, 0.194, -0.122, 0.789, 1e-3),
    Reported("GPT-2 medium", 0.610, 0.201, 0.113, 0.097, 1e-3),
    Reported("GPT-2 large", 0.575, 0.227, -0.132, 0.960, 1e-3),
    Reported("Pythia-160m", 0.621, 0.206, -0.038, 0.602, 1e-3),
    Reported("Pythia-1.4b", 0.574, 0.176, -0.098, 0.832, 1e-3),
    Reported("GPT-2 large, random neurons", 0.558, 0.191, 0.230, 4.0e-5, 1e-6),
)
"""The camera-ready paper, heads being active above mean + 2 sd."""

EARLIER = {
    "GPT-2 small": (0.639, 0.178),
    "GPT-2 medium": (0.616, 0.159),
    "GPT-2 large": (0.602, 0.171),
    "GPT-2 large, middle layers": (0.560, 0.158),
}
"""Mean and sd in the first version of the paper, three heads being active on every prompt."""


class Pairs(NamedTuple):
    """How many pairs a skew and its p imply; from `fewest` to `most` the same would be printed."""

    likely: int
    fewest: int
    most: int


def pairs_behind(skew: float, p_skew: float, *, skew_digit: float, p_digit: float) -> Pairs:
    """Return the number of scores (8 to 20,000) with that skew for which the test has that p. A
    digit is what the last printed place is worth; the printed figure is within half of it."""
    numbers = np.arange(8, 20_001)
    found = [
        int(numbers[np.abs(skew_statistic(skew + a, numbers) - norm.isf(p_skew + b)).argmin()])
        for a in (-skew_digit / 2, 0.0, skew_digit / 2)
        for b in (-p_digit / 2, 0.0, p_digit / 2)
    ]
    return Pairs(found[4], min(found), max(found))


def skew_statistic(skew: float, number: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the z of D'Agostino's test for a skew of so many scores, as `scipy.stats.skewtest`."""
    n = number.astype(float)
    y = skew * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    kurtosis = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3)
    kurtosis /= (n - 2) * (n + 5) * (n + 7) * (n + 9)
    w2 = np.sqrt(2 * (kurtosis - 1)) - 1
    return np.arcsinh(y / np.sqrt(2 / (w2 - 1))) / np.sqrt(np.log(w2) / 2)
