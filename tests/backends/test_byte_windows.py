"""Windows of bytes, read as the kernel reads them, give the map back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onelayer.algebra import AxisMap
from onelayer.algebra.fixed_point import in_fixed_point, whole_weights
from onelayer.algebra.operator import IntArray
from onelayer.backends.cpu.byte_windows import BYTES, FAR_OUTPUTS, NEAR_OUTPUTS, Windows, blocks_of, windows_of


def read(windows: Windows, n_in: int, n_out: int) -> IntArray:
    """The dense matrix [n_out, n_in] of windows; columns beyond the line are those that only zeros lie on."""
    dense = np.zeros((n_out, n_in + 2 * BYTES), np.int64)
    outputs = blocks_of(n_out, NEAR_OUTPUTS if windows.near else FAR_OUTPUTS)
    for block, own in enumerate(outputs):
        for step in range(windows.starts.shape[1]):
            for place, output in enumerate(own):
                if output >= n_out:
                    continue
                for sample, weight in samples(windows, block, step, place):
                    dense[output, windows.first + sample] += weight
        # The last block has outputs that the one before it has too.
        if block + 1 < len(outputs):
            dense[[one for one in own if one in outputs[block + 1]]] = 0
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
        assert windows.places[block, step, 2 * at + 1] == 128, "the upper bytes are zeros"
        assert order != 128 or weight == 0
        if order != 128:
            found.append((start + order, weight))
    return found


def check(axis: AxisMap) -> Windows:
    found = whole_weights(axis)
    assert found is not None
    windows = windows_of(axis, found[0])
    dense = read(windows, axis.n_in, axis.n_out)
    expected = np.zeros_like(dense)
    for output, (start, weights) in enumerate(zip(axis.starts, found[0], strict=True)):
        expected[output, start : start + axis.taps] += weights
    np.testing.assert_array_equal(dense, expected)
    # Sixteen bytes from every start on are the line's, unless it has fewer.
    assert int(windows.starts.max()) + BYTES <= max(windows.length, BYTES)
    return windows


@pytest.mark.parametrize(
    ("n_in", "n_out", "near"), [(32, 28, True), (500, 256, True), (4000, 256, False), (3, 40, True), (1000, 3, False)]
)
def test_resizes(n_in: int, n_out: int, near: bool) -> None:
    assert check(in_fixed_point(AxisMap.resample(n_in, n_out, "bilinear", True), 1 << 15)).near == near


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["bilinear", "lanczos", "box"]), st.booleans())
def test_anything(n_in: int, n_out: int, kind: str, flipped: bool) -> None:
    axis = in_fixed_point(AxisMap.resample(n_in, n_out, kind, True), None)
    check(AxisMap.flip(n_out) @ axis if flipped else axis)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.lists(st.integers(0, 69), min_size=1, max_size=50))
def test_any_copies(n_in: int, places: list[int]) -> None:
    check(AxisMap.select(n_in, [place % n_in for place in places]))


def test_outputs_that_read_nothing() -> None:
    check(AxisMap.pad(9, 20, 30, "zero"))
