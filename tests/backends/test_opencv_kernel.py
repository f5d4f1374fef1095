"""The kernel with OpenCV's arithmetic gives what the stages give, and reads and writes nothing outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WIDTHS = 1, 4, 10, 30


def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Run the cases in a process of its own, which a read outside ends."""
    report = folder / "case.txt"
    command = [sys.executable, str(Path(__file__).with_name("opencv_pages.py")), str(report), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout, f"{report.read_text() if report.exists() else ''}\n{ran.stderr}"


def test_the_kernel_equals_the_stages_between_protected_pages(tmp_path: Path) -> None:
    status, calls, problem = run(tmp_path, *WIDTHS)
    assert status == 0, problem
    assert int(calls) > 3000


@pytest.mark.exhaustive
def test_the_kernel_equals_the_stages_at_every_width(tmp_path: Path) -> None:
    status, calls, problem = run(tmp_path)
    assert status == 0, problem
    assert int(calls) > 30_000
