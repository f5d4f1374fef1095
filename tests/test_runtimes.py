"""Exported files, and peers of the benchmarks, in ONNX Runtime and OpenVINO.

The checks run in a process of their own, so that no threads, signal stacks or memory of these runtimes are in the one
that runs all the other tests, some of which fork. See :func:`onelayer.exports.runtimes.openvino_core`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CHECKS = [
    "export/checks_of_files.py",
    "export/checks_of_any_size.py",
    "export/checks_of_export_page.py",
    "cli/checks_of_export_command.py",
    "bench/checks_of_dense_peers.py",
]

MISSING = [name for name in ("onnx", "onnxruntime", "openvino") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; see the extra `export`")


def passed(*options: str) -> int:
    """Run the checks in another process, and return how many passed; none may fail or be skipped."""
    files = [str(FOLDER / file) for file in CHECKS]
    command = [sys.executable, "-m", "pytest", "-c", str(FOLDER.parent / "pyproject.toml"), "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-n", "0", *options, *files], cwd=FOLDER.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{ran.returncode}: {ran.stdout[-8000:]}{ran.stderr[-2000:]}"
    count = re.search(r"^(\d+) passed(?:, \d+ deselected)? in", ran.stdout, re.MULTILINE)
    assert count is not None, ran.stdout[-2000:]
    return int(count[1])


def test_all_checks_in_a_process_without_forks() -> None:
    assert passed() >= 41


@pytest.mark.exhaustive
def test_many_sizes(request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--hypothesis-seed")
    assert passed("-m", "exhaustive", *([] if seed is None else [f"--hypothesis-seed={seed}"])) > 0
