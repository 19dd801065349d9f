"""Which model of the released record is a run's model? One table of names (chapters 13 and 14).

The authors call their models by TransformerLens' names, run files by Hugging Face ids. Nothing is
read here: `lookups.record.read` reads the record.
"""

from collections.abc import Mapping

from lookups.errors import RunError

RECORDED_AS: Mapping[str, str] = {
    "openai-community/gpt2": "gpt2-small",
    "openai-community/gpt2-medium": "gpt2-medium",
    "openai-community/gpt2-large": "gpt2-large",
    "openai-community/gpt2-xl": "gpt2-xl",
    "EleutherAI/pythia-160m": "pythia-160m",
    "EleutherAI/pythia-410m": "pythia-410m",
    "EleutherAI/pythia-1.4b": "pythia-1.4b",
}
"""Hugging Face ids of the paper's models, and what the record calls them."""


def recorded_as(model: str, asked: str = "") -> str | None:
    """Return the record's name of a run's model; `asked`, where it is given, decides.

    Older ids without an owner (`gpt2`) count, too, and where the record has a second set of layers
    `asked` may name it (`gpt2-large_mid`). None: the paper has no such model.

    Raises:
        RunError: `asked` is none of the record's names.
    """
    if asked:
        if asked.split("_")[0] not in RECORDED_AS.values():
            raise RunError(
                f"the record has no model {asked!r}; it may have {', '.join(RECORDED_AS.values())}"
            )
        return asked
    by_id = RECORDED_AS | {key.split("/")[1]: name for key, name in RECORDED_AS.items()}
    return by_id.get(model)
