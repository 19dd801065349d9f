"""The look of every matplotlib figure in the book; figures themselves are drawn in the chapters.

Colours are Okabe and Ito's, but for the purple (Tol's) and the grey; they are told apart with any
colour vision and on paper. A figure carries its own white ground, so it reads the same on a light
and on a dark page. The same numbers give the same file: no version is written into it.
"""

from pathlib import Path

from cycler import cycler
from matplotlib import rcParams, style

COLOURS = {
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#aa4499",
    "sky": "#56b4e9",
    "amber": "#e69f00",
    "grey": "#767676",
}
"""Names for colours with a meaning that stays the same in a chapter; grey is for controls."""


def house_style() -> None:
    """Set matplotlib, and the notebook's way of storing figures, to the book's style."""
    # registers itself with the kernel that imports it, so not where kernels are forked from
    from matplotlib_inline.config import InlineBackend

    style.use(Path(__file__).parent / "page" / "book.mplstyle")
    rcParams["axes.prop_cycle"] = cycler(color=list(COLOURS.values()))
    if InlineBackend.initialized():
        stored = {"bbox_inches": "tight", "metadata": {"Software": None}}
        InlineBackend.instance().print_figure_kwargs = stored
