"""A weight that is off by one in its last bit is found out by the first case that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from onelayer.algebra import AxisMap, Taps, fixed_point, float32_sum
from onelayer.frontends.torchvision import resize
from onelayer.selfcheck import checking, families
from onelayer.selfcheck.checking import _compared
from onelayer.selfcheck.thresholds import lines_at_thresholds

CASES = 30


def off_by_one(rng: Generator, made: Callable[..., AxisMap]) -> Callable[..., AxisMap]:
    """Add one to a single weight in fixed point, or take it away."""

    def make(axis: AxisMap, limit: int | None) -> AxisMap:
        right = made(axis, limit)
        if axis.taps == 1:
            return right
        weights = right.weights.copy()
        used = np.argwhere(weights)
        weights[tuple(used[rng.integers(len(used))])] += rng.choice([-1.0, 1.0]) / (
            1 << fixed_point.bits_of(axis, limit)
        )
        return replace(right, weights=weights)

    return make


def found(monkeypatch: pytest.MonkeyPatch, family: Callable[[Generator], Any]) -> float:
    """Plant another weight for each case, and return the share of the cases that find it."""
    notices = []
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        monkeypatch.setattr(resize, "in_fixed_point", off_by_one(rng, fixed_point.in_fixed_point))
        notices.append(_compared(family(np.random.default_rng((1, seed)))) is not None)
    return float(np.mean(notices))


@pytest.mark.parametrize("name", ["pillow_threshold", "torch_threshold"])
def test_one_weight_off_by_one_is_found_in_a_single_case(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for filters in ("_OF_PILLOW", "_OF_TENSORS", "_SELECTED"):
        monkeypatch.setattr(families, filters, ("bicubic", "lanczos") if filters == "_OF_PILLOW" else ("bicubic",))
    # Two bytes, where there are no more, cannot always bring a sum close enough.
    assert found(monkeypatch, getattr(families, name)) >= 0.7


def test_noise_does_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, families.pillow_resize) <= 0.2


def test_sums_lie_on_both_sides_of_a_threshold() -> None:
    for kind, limit in (("bicubic", None), ("lanczos", None), ("bicubic", 1 << 15)):
        axis = AxisMap.resample(61, 23, kind, True)  # type: ignore[arg-type]
        lines = lines_at_thresholds(np.random.default_rng(0), axis, limit)
        unit = 1 << fixed_point.bits_of(axis, limit)
        weights, distances = np.rint(fixed_point.in_fixed_point(axis, limit).weights * unit).astype(np.int64), []
        for output, (start, row) in enumerate(zip(axis.starts, weights, strict=True)):
            beyond, before = (
                int(line[start : start + axis.taps].astype(np.int64) @ row) + unit // 2
                for line in lines[2 * output : 2 * output + 2]
            )
            # A few outputs at the ends of the axis have two taps.
            distances.append(max(beyond % unit, unit - 1 - before % unit))
            assert all(unit <= total < 255 * unit for total in (beyond, before))
        assert np.quantile(distances, 0.9) < 64


def test_a_last_bit_of_a_weight_in_float32_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = float32_sum.resized_in_float32
    for seed in range(10):
        rng = np.random.default_rng(seed)

        def make(*arguments: Any, rng: Generator = rng) -> Taps:
            right = made(*arguments)
            weights = right.weights.copy()
            place = int(rng.integers(right.n_out))
            weights[place, 0] = np.nextafter(weights[place, 0], np.float32(2))
            return replace(right, weights=weights)

        monkeypatch.setattr(resize, "resized_in_float32", make)
        assert _compared(families.float32_weights(np.random.default_rng((2, seed)))) is not None


def test_they_are_part_of_the_check() -> None:
    record = checking.check(1, seed=4)
    names = [family.name for family in record.families]
    assert len([name for name in names if "thresholds" in name or "weights" in name]) == 4
    assert record.mismatches == 0
