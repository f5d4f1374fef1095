"""State moves whose numbers PyTorch's generator gives as rows of numbers, which compiled code draws by.

In Python these draws take several calls of PyTorch's and a hundred lines, which after an image lie in no cache.
"""

from __future__ import annotations

Code = tuple[float, ...]
"""A kind of step, and its arguments."""

(
    SAME,  # A move that is the same for all images: kind and four arguments, see :mod:`onelayer.frontends.placement`.
    FLIP_OR_NOT,  # Kind of the flip, probability.
    WINDOW,  # Height, width; padding: left, top, right, bottom; whether to pad if needed; both drawn; kind of the move.
    RESIZED_WINDOW,  # Smallest scale and length of its range; the same of the logarithms of ratios; both ratios; fused.
) = range(4)
"""Kinds of steps, with their arguments. Of a window of fixed size, both numbers are drawn unless there is but one, or
each unless there is but one. Sums of a drawn product are rounded once if they are fused."""

CODE = 10
"""Numbers of a step."""

TRIES = 10
"""Windows that a ``RandomResizedCrop`` draws before it takes one from the middle."""

UNCERTAIN, REFUSED = -1, -2
"""Results instead of a number of words: PyTorch's exponential decides; or a transform refuses the size."""
