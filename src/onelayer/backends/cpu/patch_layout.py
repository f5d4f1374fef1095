"""Lay images out as patches, in several threads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.backends.cpu.affine import FACTORS, affine_of
from onelayer.backends.cpu.patch_kernel import patches_of
from onelayer.backends.cpu.threads import for_each

_uint = np.uint64

_PIECES = 4
"""Pieces of an image per thread."""

_VALUES_PER_THREAD = 100_000
"""Values below which another thread costs more than it saves."""


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


def lay_one_pixel_out() -> None:
    """Have the kernel compiled."""
    layout = PatchLayout(np.zeros((1, 256), np.float32), 1, 1, 1)
    layout(torch.zeros(1, 1, 1, dtype=torch.uint8), torch.empty(1, 1), 1)
