"""A figure as PNG bytes that depend on nothing but the figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150


def encode_png(figure: Figure) -> bytes:
    """Encode a figure; the same figure gives the same bytes on any day."""
    buffer = io.BytesIO()
    # Matplotlib would write its own version into the file; the run records say that.
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
