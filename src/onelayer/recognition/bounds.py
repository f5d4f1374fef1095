"""How far apart a learned layer, what was recognised in it, and the truth can come on any image."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from rich import box
from rich.table import Table

from onelayer.algebra import Operator, Range, difference_range

_ROWS_AT_A_TIME = 256


def proved_bound(one: Operator, other: Operator, low: float = 0.0, high: float = 1.0) -> float:
    """The largest difference of any output value, over all images with values in a range, in real arithmetic.

    See :func:`onelayer.algebra.difference_range`: some image attains it.

    Args:
        one: A Separable, SpatialSparse or Dense.
        other: Another, between images of the same shapes.
        low: The smallest value of an image.
        high: The largest.

    Returns:
        In the units of the output.

    Raises:
        OnelayerError: If shapes differ, or the range is none.
        TooLargeError: If there are too many taps to compare.
    """
    smallest, largest = difference_range(one, other, Range.of(one.in_shape[0], low, high))
    return float(np.maximum(-smallest, largest).max())


def comparison_table(
    learned: Operator, recognised: Operator, true: Operator, low: float = 0.0, high: float = 1.0
) -> Table:
    """What recognising was good for: each two of the three, their weights and the proved bound of their outputs.

    Args:
        learned: The layer as it was learned.
        recognised: The operator that was recognised in it.
        true: The pipeline, derived.
        low: The smallest value of an image.
        high: The largest. A grey level of the output is 1/255 of the range's length.

    Raises:
        OnelayerError: If shapes differ, or the range is none.
        TooLargeError: If there are too many taps to compare.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Difference", no_wrap=True)
    for name in ("Largest\nweight", "RMS\nweight", "Proved bound\n(units)", "Proved bound\n(levels)"):
        table.add_column(name, justify="right", no_wrap=True)
    named = {"learned": learned, "recognised": recognised, "true": true}
    for (first, one), (second, other) in combinations(named.items(), 2):
        largest, rms = _weight_difference(one, other)
        bound = proved_bound(one, other, low, high)
        levels = bound * 255.0 / (high - low) if high > low else 0.0
        table.add_row(f"{first} – {second}", f"{largest:.3g}", f"{rms:.3g}", f"{bound:.3g}", f"{levels:.3g}")
    return table


def _weight_difference(one: Operator, other: Operator) -> tuple[float, float]:
    outputs = int(np.prod(one.out_shape))
    largest, squares, count = 0.0, 0.0, 0
    for begin in range(0, outputs, _ROWS_AT_A_TIME):
        part = np.arange(begin, min(begin + _ROWS_AT_A_TIME, outputs))
        difference = one.weight_rows(part) - other.weight_rows(part)
        largest = max(largest, float(np.abs(difference).max()))
        squares += float((difference**2).sum())
        count += difference.size
    return largest, float(np.sqrt(squares / count))
