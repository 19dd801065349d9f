"""A prompt of a look-up view that is hard to show, for tests with and without a browser."""

from lookups.show.look_ups import LookUpPrompt
from lookups.show.views import BOS

HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<!--",
    "<img src=x onerror=alert(1)>",
)


def made(**other) -> LookUpPrompt:
    """A prompt whose tokens, numbers and sides are hard to show."""
    tokens = [BOS, " is", HOSTILE[0], "\n", " שלום", "中文字", " as"]
    numbers = [0.4, 0.0, 0.125, 0.2, 0.05, 0.1, 0.125]
    usual = {
        "tokens": tokens, "attention": numbers, "brought": [0.0, -2.125, 0.5, 12.5, 0.001, 0, -0.1],
        "activation": [0.0, -1.5, 3.25, 0, 120.4, 0, 22.5],
        "with_head": [(HOSTILE[2], 0.625), ("\n", 0.004)],
        "without_head": [(" so", 0.5), (" result", 0.125)], "token": " result", "p": (0.0, 0.125),
        "next": "\n", "active": True, "source": HOSTILE[1], "pattern": [],
    }  # fmt: skip
    return LookUpPrompt(**usual | other)
