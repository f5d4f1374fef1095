"""Cut the columns of an image into tiles of neighbouring outputs, and what they read into cells.

For tiles and cells see :mod:`onelayer.backends.triton.kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap
from onelayer.backends.cpu.tables import with_nearby_starts

WARP = 32
"""Threads of a warp: maximum number of outputs of a tile, and number of cells that are longer than a sample."""

_LONGEST = 64
"""Maximum number of samples of a cell: beyond, a line would fill the registers of all warps of a program."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tables of the columns for the kernel.

    Args:
        cells: Cells of a tile.
        cell: Maximum number of samples of a cell.
        outputs: The kernel's ``tile_outputs``, int32 [tiles + 1].
        starts: The kernel's ``cell_starts``, int32 [tiles, cells], or [tiles] where cells are single samples.
        ends: The kernel's ``cell_ends``, int32 of the same shape.
        bases: The kernel's ``bases``, int32 [W'].
        weights: The kernel's ``column_weights``, float32 [steps, tiles, cells, cell], or [steps, W'] where cells are
            single samples.
    """

    cells: int
    cell: int
    outputs: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    bases: NDArray[np.int32]
    weights: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.starts)


def tiles_of(columns: AxisMap, align: int) -> Tiles | None:
    """Cut columns into tiles so that lanes are busiest; return None if an output reads more than a tile can hold.

    Args:
        columns: Map of the columns.
        align: Number that cells begin and end at multiples of: a power of two that divides the width of the image.
    """
    columns = with_nearby_starts(columns)
    sizes = WARP, 2 * WARP
    single = [(cells, cut) for cells in sizes if (cut := _cut_by_samples(columns, cells, align)) is not None]
    lengths = [2**power for power in range(1, _LONGEST.bit_length()) if 2**power >= align]
    several = [(length, cut) for length in lengths if (cut := _cut_by_cells(columns, length, align)) is not None]
    if several:
        # Lanes hold several samples only where that halves the tiles: such sums take more registers.
        length, cut = min(several, key=_samples_held)
        if all(2 * (len(cut) - 1) <= len(other) - 1 for _, other in single):
            return _of_cells(columns, length, align, cut)
    if single:
        cells, cut = min(single, key=_samples_held)
        return _of_samples(columns, cells, align, cut)
    return None


def _samples_held(candidate: tuple[int, list[int]]) -> int:
    """Return the number of samples that all tiles hold, used or not, for a size of tiles and a cut of the outputs."""
    size, cut = candidate
    return size * (len(cut) - 1)


def _cut_by_samples(columns: AxisMap, cells: int, align: int) -> list[int] | None:
    """Return the first outputs of tiles of so many samples, and the end; None if an output reads more."""
    begins, ends = (columns.starts // align * align).tolist(), (columns.starts + columns.taps).tolist()
    if max(end - begin for begin, end in zip(begins, ends, strict=True)) > cells:
        return None
    cut, low, high = [0], begins[0], ends[0]
    for j in range(1, columns.n_out):
        low, high = min(low, begins[j]), max(high, ends[j])
        if high - low > cells or j - cut[-1] == WARP:
            cut.append(j)
            low, high = begins[j], ends[j]
    return [*cut, columns.n_out]


def _cut_by_cells(columns: AxisMap, length: int, align: int) -> list[int] | None:
    """Return the first outputs of tiles with a cell of up to so many samples for each output, and the end."""
    begins = (columns.starts // align * align).tolist()
    ends = (columns.starts + columns.taps).tolist()
    needed = [_behind(begin, end, length) for begin, end in zip(begins, ends, strict=True)]
    if max(needed) > WARP:
        return None
    cut, direction = [0], 0
    for j in range(1, columns.n_out):
        step = begins[j] - begins[j - 1]
        turns = direction * step < 0
        # Outputs that go down are numbered from the last: the band of the first is then the tile's end.
        last = j if step > 0 or direction > 0 else cut[-1]
        if turns or abs(step) > length or j - cut[-1] + max(needed[last], needed[j]) > WARP:
            cut.append(j)
            direction = 0
        elif step:
            direction = 1 if step > 0 else -1
    return [*cut, columns.n_out]


def _behind(begin: int, end: int, length: int) -> int:
    """Return the number of cells of so many samples that a band takes."""
    return -(-(end - begin) // length)


def _of_samples(columns: AxisMap, cells: int, align: int, cut: list[int]) -> Tiles:
    begins = np.minimum.reduceat(columns.starts, cut[:-1]) // align * align
    ends = np.maximum.reduceat(columns.starts, cut[:-1]) + columns.taps
    return Tiles(
        cells,
        1,
        np.array(cut, np.int32),
        begins.astype(np.int32),
        (-(-ends // align) * align).astype(np.int32),
        (columns.starts - np.repeat(begins, np.diff(cut))).astype(np.int32),
        np.array(columns.weights.T, np.float32, order="C"),
    )


def _of_cells(columns: AxisMap, length: int, align: int, cut: list[int]) -> Tiles:
    tiles = [_bounds(columns, length, align, first, end) for first, end in pairwise(cut)]
    bases = np.empty(columns.n_out, np.int32)
    for (first, end), (_, of_output) in zip(pairwise(cut), tiles, strict=True):
        bases[first:end] = of_output
    bounds = np.stack([bound for bound, _ in tiles])
    tile = np.repeat(np.arange(len(tiles)), np.diff(cut))
    places = columns.starts[:, None] + np.arange(columns.taps)
    # The cell of each tap: the last that does not begin behind it, empty ones before it left out.
    cell = np.stack([np.searchsorted(bounds[t], places[j], side="right") - 1 for j, t in enumerate(tile)])
    step = cell - bases[:, None]
    weights = np.zeros((int(step.max()) + 1, len(tiles), WARP, length), np.float32)
    within = places - bounds[tile[:, None], cell]
    # No two outputs share a cell at the same step, so nothing is written twice.
    weights[step, tile[:, None], cell, within] = columns.weights
    starts, ends = bounds[:, :-1], bounds[:, 1:]
    outputs = np.array(cut, np.int32)
    return Tiles(WARP, length, outputs, starts.astype(np.int32), ends.astype(np.int32), bases, weights)


def _bounds(
    columns: AxisMap, length: int, align: int, first: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the cells of a tile begin and the last ends, [WARP + 1], and the cell of each of its outputs."""
    begins = columns.starts[first:end] // align * align
    behind = -(-int(columns.starts[first:end].max() + columns.taps) // align) * align
    down = begins[0] > begins[-1]
    ordered = begins[::-1] if down else begins
    further = np.arange(ordered[-1] + length, behind, length)
    bounds = np.concatenate([ordered, further, [behind]])
    filled = np.concatenate([bounds, np.full(WARP + 1 - len(bounds), behind)])
    numbers = np.arange(end - first)
    return filled, numbers[::-1] if down else numbers
