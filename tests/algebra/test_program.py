from __future__ import annotations

import numpy as np
import pytest

from onelayer.algebra import AxisMap, Clamp, Lookup, Program, Quantize, Range, Separable, Stage, ranges_of
from onelayer.errors import OnelayerError


def resized(size: tuple[int, int], to: tuple[int, int], interpolation: str = "bilinear") -> Separable:
    maps = (AxisMap.resample(n, m, interpolation, antialias=True) for n, m in zip(size, to, strict=True))
    return Separable.of_axes(3, *maps)


STAGES: tuple[Stage, ...] = (
    resized((17, 11), (8, 5), "bicubic"),
    Quantize("half_even"),
    Lookup(np.arange(256)[::-1]),
    Separable.of_channels(np.full((1, 3), 1 / 3), [0.0], (8, 5)),
)


def test_a_program_runs_its_stages_in_turn() -> None:
    program = Program((3, 17, 11), STAGES)
    assert program.out_shape == (1, 8, 5)
    x = np.random.default_rng(0).integers(0, 256, size=(2, 3, 17, 11)).astype(np.uint8)
    expected = x
    for stage in STAGES:
        expected = stage.apply(expected)
    np.testing.assert_array_equal(program.apply(x), expected)
    assert program.apply(x[:0]).shape == (0, 1, 8, 5)
    assert program.cost == STAGES[0].cost + STAGES[3].cost


def test_no_stages_are_the_identity() -> None:
    program = Program((3, 1, 1), ())
    x = np.random.default_rng(0).normal(size=(3, 1, 1))
    result = program.apply(x)
    np.testing.assert_array_equal(result, x)
    assert result is not x
    assert program.out_shape == (3, 1, 1)
    assert program.cost.total == 0


def test_ranges_follow_the_stages() -> None:
    ranges = ranges_of(STAGES, Range.of(3, 0, 255))
    assert len(ranges) == len(STAGES)
    assert ranges[0].low.max() < 0
    for behind in ranges[1:3]:
        np.testing.assert_array_equal(behind.low, [0.0, 0.0, 0.0])
        np.testing.assert_array_equal(behind.high, [255.0, 255.0, 255.0])
    np.testing.assert_allclose([ranges[3].low, ranges[3].high], [[0.0], [255.0]], rtol=1e-14)


def test_stages_that_do_not_fit_are_named() -> None:
    with pytest.raises(OnelayerError, match=r"stage 2 takes images \(3, 17, 11\), but those before it give") as caught:
        Program((3, 17, 11), (STAGES[0], Clamp(0, 1), STAGES[0]))
    assert caught.value.stage == 2
    assert caught.value.shape == (3, 8, 5)
    with pytest.raises(OnelayerError, match="stage 0 is for 3 channels, but the image has 1"):
        Program((1, 2, 2), (Lookup(np.zeros((3, 256))),))


def test_values_outside_of_what_a_stage_takes_are_refused() -> None:
    with pytest.raises(OnelayerError, match="no integer in 0"):
        Program((1, 1, 1), (Lookup(np.arange(256)),)).apply(np.full((1, 1, 1), -1.0))
    with pytest.raises(OnelayerError, match="images of shape"):
        Program((1, 1, 1), ()).apply(np.zeros((1, 1)))
