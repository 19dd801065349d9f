"""What the paper prints: its models and their scores (chapters 8 and 14)."""

from typing import NamedTuple

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
