"""Lay bytes out as patches of float32, as vision transformers for images of any size take them, with a table of values.

Every value is written once, where it stays: patch after patch, so that what is written lies side by side.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.backends.cpu.affine import FACTORS, affine_of, affine_values
from onelayer.backends.cpu.compilation import exact_kernel
from onelayer.backends.cpu.tables import LANES
from onelayer.backends.cpu.threads import for_each

_uint = np.uint64

_PIECES = 4
"""Pieces of an image per thread."""

_VALUES_PER_THREAD = 100_000
"""Values below which another thread costs more than it saves."""


@exact_kernel
def patches_of(image, table, affine, has_affine, side, merge, copies, begin, end, out):
    """Lay a part of an image out as patches.

    Args:
        image: uint8 [C, H, W], contiguous.
        table: float32 [C · 256], values of the bytes.
        affine: float32 [C · 5], see :mod:`onelayer.backends.cpu.affine`.
        has_affine: Whether ``affine`` gives the values of the table.
        side: Height and width of a patch, uint64 as all integers here.
        merge: Patches side by side, along rows and along columns, that follow each other.
        copies: Times that each patch comes.
        begin: First of the rows of merged patches to lay out.
        end: End of these.
        out: float32 [H · W · C · copies].
    """
    channels, height, width = _uint(image.shape[0]), _uint(image.shape[1]), _uint(image.shape[2])
    values = image.reshape(image.size)
    cols = width // (side * merge)
    of_patch = channels * copies * side * side
    # The last eight of a row of a patch begin at the eighth from its end.
    blocks, last = (side + _uint(LANES - 1)) // _uint(LANES), side - min(side, _uint(LANES))
    is_computed = has_affine and side >= _uint(LANES)
    for row in range(begin, end):
        for col in range(cols):
            for part in range(merge * merge):
                top, left = (row * merge + part // merge) * side, (col * merge + part % merge) * side
                to = ((row * cols + col) * merge * merge + part) * of_patch
                for c in range(channels):
                    for _ in range(copies):
                        for r in range(side):
                            at = (c * height + top + r) * width + left
                            if is_computed:
                                for block in range(blocks):
                                    j = min(block * _uint(LANES), last)
                                    affine_values(values, at + j, affine, _uint(FACTORS) * c, out, to + j)
                            else:
                                for j in range(side):
                                    out[to + j] = table[c * _uint(256) + _uint(values[at + j])]
                            to += side


class PatchLayout:
    """A layout of patches, with the values of bytes.

    A patch is a row of the result, [C, T, p, p]. Patches follow each other in squares of m by m, square after square
    along a row of these.

    Args:
        table: Values of the bytes, float32 [C, 256].
        side: Height and width of a patch, p.
        merge: Patches side by side that follow each other, m.
        copies: Times that each patch comes in a row, T.
    """

    def __init__(self, table: NDArray[np.float32], side: int, merge: int, copies: int) -> None:
        self._side, self._merge, self._copies = side, merge, copies
        factors = affine_of(table)
        self._table = np.ascontiguousarray(table).ravel()
        self._has_affine = factors is not None
        self._affine = np.zeros(len(table) * FACTORS, np.float32) if factors is None else factors.ravel()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the number of patches along rows and along columns."""
        return height // self._side, width // self._side

    def length(self, channels: int) -> int:
        """Return the number of values of a patch."""
        return channels * self._copies * self._side**2

    def __call__(self, image: torch.Tensor, out: torch.Tensor, threads: int) -> None:
        """Lay an image out.

        Args:
            image: uint8 [C, H, W], contiguous; H and W are multiples of p · m.
            out: float32 [H / p · W / p, C · T · p · p], contiguous.
            threads: Maximum number of threads.
        """
        rows = image.shape[1] // (self._side * self._merge)
        pixels, values = image.numpy(), out.numpy().reshape(-1)
        threads = min(threads, 1 + out.numel() // _VALUES_PER_THREAD)
        pieces = 1 if threads == 1 else min(rows, _PIECES * threads)

        def lay_out(piece: int) -> None:
            begin, end = piece * rows // pieces, (piece + 1) * rows // pieces
            patches_of(
                pixels, self._table, self._affine, self._has_affine,
                *map(_uint, (self._side, self._merge, self._copies, begin, end)), values,
            )  # fmt: skip

        for_each(lay_out, pieces, threads)
