"""The list of planted faults fits the source, and the fast tests notice every one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from planted_faults import REPOSITORY, faults

TESTS = Path(__file__).parent


def test_every_fault_can_be_planted() -> None:
    listed = faults()
    assert len(listed) >= 25
    assert len({fault.what for fault in listed}) == len(listed)
    for fault in listed:
        text = (REPOSITORY / "src" / "onelayer" / fault.file).read_text(encoding="utf-8")
        assert text.count(fault.find) == 1, fault
        assert fault.replace != fault.find, fault
        file, _, test = fault.test.partition("::")
        assert f"def {test.partition('[')[0].rpartition('::')[2]}(" in (TESTS / file).read_text(encoding="utf-8"), fault


@pytest.mark.exhaustive
def test_every_fault_is_noticed() -> None:
    ran = subprocess.run(
        [sys.executable, str(TESTS / "planted_faults.py")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
