"""Tap tables, read as the kernels read them, against the map that they were filled from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import AxisMap
from onelayer.algebra.fixed_point import in_fixed_point, whole_weights
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu.tables import (
    BYTES,
    FAR_OUTPUTS,
    LANES,
    NEAR_OUTPUTS,
    ZERO,
    Windows,
    blocks_of,
    byte_windows,
    dense_blocks,
)


def read(windows: Windows, n_in: int, n_out: int) -> IntArray:
    """The dense matrix [n_out, n_in] of windows; columns beyond the line are those that only zeros lie on."""
    dense = np.zeros((n_out, n_in + 2 * BYTES), np.int64)
    outputs = blocks_of(n_out, NEAR_OUTPUTS if windows.near else FAR_OUTPUTS)
    for block, of_block in enumerate(outputs):
        for step in range(windows.starts.shape[1]):
            for place, output in enumerate(of_block):
                if output >= n_out:
                    continue
                for sample, weight in samples(windows, block, step, place):
                    dense[output, windows.first + sample] += weight
        # The last block has outputs that the one before it has too.
        if block + 1 < len(outputs):
            dense[[output for output in of_block if output in outputs[block + 1]]] = 0
    return dense


def samples(windows: Windows, block: int, step: int, place: int) -> list[tuple[int, int]]:
    if not windows.near:
        start = int(windows.starts[block, step, place])
        return [(start + k, int(windows.weights[block, step, place, k])) for k in range(BYTES)]
    # Registers hold the first and third, and the second and fourth, four outputs.
    half = [0, 2, 1, 3][place // 4]
    start = int(windows.starts[block, step, half])
    found = []
    for k in range(2):
        at = 8 * half + 2 * (place % 4) + k
        order = int(windows.places[block, step, 2 * at])
        weight = int(windows.weights[block, step, at])
        assert windows.places[block, step, 2 * at + 1] == ZERO, "the upper bytes are zeros"
        assert order != ZERO or weight == 0
        if order != ZERO:
            found.append((start + order, weight))
    return found


def check(axis: AxisMap) -> Windows:
    found = whole_weights(axis)
    assert found is not None
    windows = byte_windows(axis, found[0])
    dense = read(windows, axis.n_in, axis.n_out)
    expected = np.zeros_like(dense)
    for output, (start, weights) in enumerate(zip(axis.starts, found[0], strict=True)):
        expected[output, start : start + axis.taps] += weights
    np.testing.assert_array_equal(dense, expected)
    # Sixteen bytes from every start on are the line's, unless it has fewer.
    assert int(windows.starts.max()) + BYTES <= max(windows.length, BYTES)
    return windows


def test_the_layout_of_resizes() -> None:
    for n_in, n_out, near in ((32, 28, True), (500, 256, True), (4000, 256, False), (3, 40, True), (1000, 3, False)):
        assert check(in_fixed_point(AxisMap.resample(n_in, n_out, "bilinear", True), 1 << 15)).near == near


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["bilinear", "lanczos", "box"]), st.booleans())
def test_windows_of_resizes_are_the_map(n_in: int, n_out: int, kind: str, flipped: bool) -> None:
    axis = in_fixed_point(AxisMap.resample(n_in, n_out, kind, True), None)
    check(AxisMap.flip(n_out) @ axis if flipped else axis)


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["bilinear", "lanczos", "box"]), st.booleans())
def test_dense_blocks_are_the_map(n_in: int, n_out: int, kind: str, flipped: bool) -> None:
    axis = AxisMap.resample(n_in, n_out, kind, True)
    axis = AxisMap.flip(n_out) @ axis if flipped else axis
    first, begins, weights = dense_blocks(axis)
    dense = np.zeros((max(n_out, LANES), n_in))
    for outputs, begin, block in zip(blocks_of(n_out, LANES), begins.astype(int), weights, strict=True):
        dense[outputs] = 0
        dense[outputs, first + begin : first + begin + len(block)] = block.T
    np.testing.assert_allclose(dense[:n_out], axis.to_dense(), rtol=0, atol=1e-7)
    assert not dense[n_out:].any()


@given(st.integers(1, 70), st.lists(st.integers(0, 69), min_size=1, max_size=50))
def test_windows_of_copies_are_the_map(n_in: int, places: list[int]) -> None:
    check(AxisMap.select(n_in, [place % n_in for place in places]))


def test_outputs_that_read_nothing() -> None:
    check(AxisMap.pad(9, 20, 30, "zero"))
