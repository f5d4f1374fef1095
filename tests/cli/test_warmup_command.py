"""``onelayer warmup``"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import onelayer
from onelayer.backends.cpu.compilation import kernel_folder
from onelayer.errors import OnelayerError

Run = Callable[..., tuple[int, str]]


def test_where_the_kernels_are(
    run: Run, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warmup(*, progress: bool) -> Path:
        assert progress
        if not tmp_path.exists():
            raise OnelayerError("compiled kernels cannot be kept", hint="Set ONELAYER_CACHE.")
        return tmp_path

    monkeypatch.setattr(onelayer, "warmup", warmup, raising=False)
    assert run("warmup") == (0, f"The kernels: {tmp_path} ")
    tmp_path.rmdir()
    refused(("warmup",), "cannot be kept. Set ONELAYER_CACHE")


@pytest.mark.exhaustive
def test_everything_is_compiled_once(run: Run) -> None:
    code, text = run("warmup")
    assert code == 0, text
    assert "Compiling CPU kernels" in text
    assert f"The kernels: {kernel_folder()}" in text
    before = {path: path.stat().st_mtime for path in kernel_folder().iterdir()}
    # A process that finds them there compiles and writes nothing.
    again = subprocess.run(
        [sys.executable, "-c", "from onelayer.cli import main; main()", "warmup"],
        env={**os.environ, "ONELAYER_CACHE": str(kernel_folder().parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "once on this machine" not in again.stderr
    assert {path: path.stat().st_mtime for path in kernel_folder().iterdir()} == before
