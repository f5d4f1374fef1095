"""Style figures alike, and encode them as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision; yellow is left out as too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#666666"
DOTS_PER_INCH = 150


def plain(text: str) -> str:
    """Text of a record as it stands: matplotlib would take what is between dollar signs for a formula."""
    return text.replace("$", r"\$")


def quiet(axes: Axes) -> None:
    """A light grid and no box, so that the lines stand out."""
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors="#333333", labelsize=9)


def encode_png(figure: Figure) -> bytes:
    """Encode a figure; the same figure gives the same bytes on any day."""
    buffer = io.BytesIO()
    # Matplotlib would write its own version into the file; the run records say that.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
