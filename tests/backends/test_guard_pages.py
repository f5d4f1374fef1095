"""No kernel reads outside of an image, or writes outside of a result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from guarded_memory import GuardedMemory, run_guarded

# Around the sizes of registers, and of the blocks of outputs.
WIDTHS = 1, 9, 15, 17, 33
CASES = Path(__file__).with_name("guard_pages.py")


def test_kernels_stay_inside(tmp_path: Path) -> None:
    status, calls, problem = run_guarded(CASES, tmp_path, *WIDTHS)
    assert status == 0, problem
    assert int(calls) > 6000


@pytest.mark.exhaustive
def test_kernels_stay_inside_at_every_width(tmp_path: Path) -> None:
    status, calls, problem = run_guarded(CASES, tmp_path)
    assert status == 0, problem
    assert int(calls) > 90_000


def test_pages_are_guarded() -> None:
    """A process that touches one ends."""
    code = """
import ctypes, torch
from guarded_memory import GuardedMemory, run_guarded
memory = GuardedMemory(5000)
assert memory.flat(70, torch.float32, "begin").add_(1).sum() == 70
end = memory.flat(70, torch.float32, "end").add_(1)
assert end.sum() == 70
print("before", flush=True)
ctypes.c_uint8.from_address(end.data_ptr() + 4 * 70).value
print("after", flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "before\n"
    assert ran.returncode < 0


def test_values_lie_at_the_ends() -> None:
    values = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    memory = GuardedMemory(4096)
    for end in ("begin", "end"):
        placed = memory.tensor(values, (1, 16, 3), end)  # type: ignore[arg-type]
        assert torch.equal(placed, values)
    assert (placed.data_ptr() + 1 + 2 * 16 + 3 * 3 + 1) % 4096 == 0
