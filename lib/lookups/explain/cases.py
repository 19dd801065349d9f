"""The prompts of a case as an explainer that counts wants them: in one order, with labels.

An explanation must not depend on the order in which prompts come from a table, so the explainers of
chapter 7 that need no server all begin here.
"""

from lookups.errors import MeasurementError
from lookups.explain.explainer import Case, Example


def in_order(case: Case) -> tuple[list[Example], list[bool]]:
    """Return a case's prompts by key, and of each whether the head is active on it.

    Raises:
        MeasurementError: there is no prompt of one of the two kinds.
    """
    for kind, prompts in (("active", case.active), ("inactive", case.inactive)):
        if not prompts:
            raise MeasurementError(
                f"there is no {kind} prompt to explain from: choose a pair whose head is active "
                "on some of the neuron's training prompts and not on others"
            )
    pairs = [(one, True) for one in case.active] + [(one, False) for one in case.inactive]
    pairs.sort()
    return [one for one, _ in pairs], [kind for _, kind in pairs]
