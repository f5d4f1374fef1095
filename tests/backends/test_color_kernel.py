"""The kernels for colors neither read nor write outside of an image."""

from __future__ import annotations

from pathlib import Path

import pytest
from guarded_memory import run_guarded

CASES = Path(__file__).with_name("color_pages.py")


def test_kernels_for_colors_stay_inside(tmp_path: Path) -> None:
    # Around the lengths of vectors.
    status, calls, problem = run_guarded(CASES, tmp_path, 1, 3, 15, 17, 31, 33, 65)
    assert status == 0, problem
    assert int(calls) > 1500


@pytest.mark.exhaustive
def test_kernels_for_colors_stay_inside_at_every_width(tmp_path: Path) -> None:
    status, calls, problem = run_guarded(CASES, tmp_path)
    assert status == 0, problem
    assert int(calls) > 20_000
