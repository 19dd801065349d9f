"""The look of every matplotlib figure in the book; figures themselves are drawn in the chapters.

Colours are Okabe and Ito's, told apart with any colour vision and on paper. A figure carries its
own white ground, so it reads the same on a light and on a dark page. The same numbers give the
same file: no version, no date and no random salt is written into it.
"""

from cycler import cycler
from matplotlib import rcParams
from matplotlib_inline.config import InlineBackend

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

_STYLE = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 130,
    "savefig.facecolor": "white",
    "savefig.edgecolor": "white",
    "svg.hashsalt": "lookups",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.facecolor": "white",
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "text.color": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "image.cmap": "viridis",
}


def house_style() -> None:
    """Set matplotlib, and the notebook's way of storing figures, to the book's style."""
    rcParams.update(_STYLE)
    rcParams["axes.prop_cycle"] = cycler(color=list(COLOURS.values()))
    if InlineBackend.initialized():
        stored = {"bbox_inches": "tight", "metadata": {"Software": None}}
        InlineBackend.instance().print_figure_kwargs = stored
