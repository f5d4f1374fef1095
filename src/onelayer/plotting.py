"""Style figures alike, and encode them as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onelayer.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with any colour vision; yellow is left out as too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#666666"
DOTS_PER_INCH = 150


def new_figure(width: float, height: float, *, extra: str) -> Figure:
    """Make an empty figure whose parts are laid out without overlap.

    Without pyplot: no global state, no window system.

    Args:
        width: Width in inches.
        height: Height in inches.
        extra: Extra of ``onelayer`` to name where matplotlib is missing.

    Raises:
        OnelayerError: If matplotlib is not installed.
    """
    require("matplotlib", extra=extra, purpose="A chart")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def escape_dollars(text: str) -> str:
    """Escape text of a record for matplotlib, which would take what is between dollar signs for a formula."""
    return text.replace("$", r"\$")


def style_axes(axes: Axes) -> None:
    """Draw a light grid and no box, so that the lines stand out."""
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors="#333333", labelsize=9)


def label_steps(axis: Axis, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Label 1, 2, 5, 10 … on a logarithmic axis: similar values may not cross a power of ten.

    Args:
        axis: Horizontal or vertical axis.
        steps: Multiples of each power of ten to label.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def label_at(axis: Axis, values: Sequence[float]) -> None:
    """Label whole numbers on a logarithmic axis, and nothing between them; with a comma from five digits on."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10_000 else f"{value:.0f}"))


def encode_png(figure: Figure) -> bytes:
    """Encode a figure; the same figure gives the same bytes on any day."""
    buffer = io.BytesIO()
    # Matplotlib would write its own version into the file; the run records say that.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
