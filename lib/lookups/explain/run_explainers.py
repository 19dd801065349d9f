"""The explainers that a run asks (chapters 7 and 8)."""

import os
from collections.abc import Callable

from lookups.explain.baselines import BagOfWords, Nearest
from lookups.explain.contrast import Contrast
from lookups.explain.explainer import Explainer
from lookups.explain.language_model import Llm
from lookups.settings import Run

CONSENT = "LOOKUPS_SEND"
"""The environment variable that `lookups run --yes` sets: requests may be sent, and paid for."""


def run_explainers(
    settings: Run, *, progress: Callable[[int], None] | None = None
) -> dict[str, Explainer]:
    """Return a run's explainers by name, those that explain in words first.

    A language model is among them where the run names one; its replies are kept with the run's
    data, where `lookups clean` does not reach.
    """
    found: list[Explainer] = [Contrast()]
    if settings.llm is not None:
        store = settings.folder("data") / "replies.sqlite"
        sent = os.environ.get(CONSENT) == "yes"
        found.append(Llm(settings.llm, store, confirmed=sent, progress=progress))
    found += [BagOfWords(), Nearest()]
    return {explainer.name: explainer for explainer in found}
