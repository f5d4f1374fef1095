"""Layer files with hostile content are refused by the name of the field, or run without a read outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def tried(folder: Path, share: float) -> dict[str, int]:
    """Try a share of the variants in a process of its own; count what became of them."""
    report = folder / "variant.txt"
    command = [sys.executable, str(Path(__file__).with_name("hostile_layers.py")), str(report), str(share)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{report.read_text()}\n{ran.stderr}"
    counts: dict[str, int] = json.loads(ran.stdout)
    return counts


def test_some_variants(tmp_path: Path) -> None:
    counts = tried(tmp_path, 0.04)
    assert counts["refused"] > 250
    # Zeros and shuffled places are as good as any.
    assert counts["taken"] > 60


@pytest.mark.exhaustive
def test_all_variants(tmp_path: Path) -> None:
    counts = tried(tmp_path, 1)
    assert counts["refused"] > 7000
    assert counts["taken"] > 2000
