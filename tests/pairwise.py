"""Few rows of a product in place of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*choices: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Choose rows of a product so that any two choices from different columns meet in some row.

    Args:
        choices: Choices of each column.
    """
    rows = list(product(*(range(len(column)) for column in choices)))
    pairs = {row: set(combinations(enumerate(row), 2)) for row in rows}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(pairs[row] & missing))
        missing -= pairs[best]
        chosen.append(tuple(column[index] for column, index in zip(choices, best, strict=True)))
    return chosen
