"""Tiles and cells of the Triton kernel, which needs no Triton."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import AxisMap
from onelayer.backends.triton import launch
from onelayer.backends.triton.tiles import tiles_of


@given(
    st.integers(1, 600), st.integers(1, 300), st.sampled_from(["box", "bilinear", "bicubic", "lanczos", "nearest"]),
    st.booleans(), st.integers(0, 9), st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_tiles_are_the_map(n_in: int, n_out: int, kind: Any, flip: bool, pad: int, align: int) -> None:
    n_in = -(-n_in // align) * align
    columns = AxisMap.resample(n_in, n_out, kind, kind != "nearest")
    columns = AxisMap.pad(n_out, min(pad, n_out - 1), 0, "reflect") @ columns
    columns = AxisMap.flip(columns.n_out) @ columns if flip else columns
    tiles = tiles_of(columns, align)
    if tiles is None:
        # More than 32 cells of 64 samples: a filter over nearly the whole line, at the least.
        assert columns.taps > 500
        return
    dense = np.zeros((columns.n_out, n_in))
    for tile, (first, end) in enumerate(zip(tiles.outputs[:-1], tiles.outputs[1:], strict=True)):
        assert 0 < end - first <= 32
        for j in range(first, end):
            for step, weights in enumerate(tiles.weights):
                cell = tiles.bases[j] + step
                if tiles.cell == 1:
                    begin, values = tiles.starts[tile] + cell, weights[j : j + 1]
                elif cell < tiles.cells:
                    begin, values = tiles.starts[tile, cell], weights[tile, cell]
                    length = tiles.ends[tile, cell] - begin
                    assert 0 <= length <= tiles.cell
                    assert begin % align == length % align == 0
                    assert not values[length:].any()
                    values = values[:length]
                else:
                    continue
                dense[j, begin : begin + len(values)] += values
    np.testing.assert_array_equal(dense, columns.to_dense().astype(np.float32))


def test_alignment_of_what_is_read() -> None:
    images = torch.zeros(2, 3, 8, 12)
    aligned = [
        (images, 4), (images[..., 2:], 2), (images[..., 1:], 1), (images[..., :-1], 1), (images[:, :, 1:], 4),
        (images.permute(0, 1, 3, 2), 1), (torch.zeros(97)[1:].view(1, 3, 8, 4), 1), (torch.zeros(1, 1, 1, 8), 4),
    ]  # fmt: skip
    for memory, expected in aligned:
        assert launch._alignment(memory, launch._steps(memory)) == expected
