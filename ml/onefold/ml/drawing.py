"""How plots look, wherever they are shown. They need matplotlib, which Onefold does not need to run:
``pip install 'onefold[plots]'``.

The same data make the same bytes, on any day.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

from onefold.graph.errors import NotReady

BLUE: Final = "#2b6ca3"
GREY: Final = "#8a8f98"

_STYLE: Final[Any] = {
    "svg.hashsalt": "onefold",  # else ids of clip paths differ from run to run
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same widths everywhere
    "text.parse_math": False,  # a price in dollars is no formula
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
}


def svg(draw: Callable[[], Any], fonts: Sequence[str] = ()) -> str:
    """The figure that is drawn, as the text of an SVG. Raises :class:`NotReady` where matplotlib is not installed.

    ``fonts`` are families for what the usual one has no letters for.
    """
    return _saved(draw, fonts, format="svg", metadata={"Date": None, "Creator": None}).decode()


def png(draw: Callable[[], Any], fonts: Sequence[str] = ()) -> bytes:
    """The figure that is drawn, as a PNG. Raises :class:`NotReady` where matplotlib is not installed."""
    return _saved(draw, fonts, format="png", dpi=150, metadata={"Software": None})


def canvas(width: float, height: float) -> Any:
    """A figure to draw on; both sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def percent(axis: Any) -> None:
    """Ticks an axis of shares in whole percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _saved(draw: Callable[[], Any], fonts: Sequence[str], **how: Any) -> bytes:
    try:
        import matplotlib as mpl
    except ImportError as err:
        raise NotReady("plots", "matplotlib is not installed; pip install 'onefold[plots]'") from err
    with mpl.rc_context(), warnings.catch_warnings():
        # It is drawn as a box in a PNG; in an SVG a browser finds the letter.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["font.sans-serif"] = [*_STYLE["font.sans-serif"], *fonts]
        file = io.BytesIO()
        draw().savefig(file, **how)
    return file.getvalue()
