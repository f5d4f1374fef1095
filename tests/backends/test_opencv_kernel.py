"""The kernel with OpenCV's arithmetic gives what the stages give, and reads and writes nothing outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from guarded_memory import run_guarded

WIDTHS = 1, 4, 10, 30
CASES = Path(__file__).with_name("opencv_pages.py")


def test_the_kernel_equals_the_stages_between_protected_pages(tmp_path: Path) -> None:
    status, calls, problem = run_guarded(CASES, tmp_path, *WIDTHS)
    assert status == 0, problem
    assert int(calls) > 3000


@pytest.mark.exhaustive
def test_the_kernel_equals_the_stages_at_every_width(tmp_path: Path) -> None:
    status, calls, problem = run_guarded(CASES, tmp_path)
    assert status == 0, problem
    assert int(calls) > 30_000
