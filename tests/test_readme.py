"""The README's snippets do what they show, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_snippets import printed_by, shown_by

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
# Learning from the sample photographs takes minutes. What installs is run by .ci/run.
COMMANDS = [code for language, code in SNIPPETS if language == "bash" and "pip install" not in code]
LEARNS = [code for code in COMMANDS if "onelayer learn" in code]


def test_the_python_snippets_print_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippets = [code for language, code in SNIPPETS if language == "python"]
    assert len(snippets) >= 3
    for code in snippets:
        printed = printed_elsewhere(code) if "onnxruntime" in code else printed_by(code, "README.md")
        for shown in shown_by(code):
            assert shown in printed.splitlines(), code


def printed_elsewhere(code: str) -> str:
    """Run a snippet in a process of its own, see ``test_runtimes.py``."""
    if any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxruntime")):
        pytest.skip("the extra `export` is not installed")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str]]) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for code in COMMANDS if code not in LEARNS for line in code.strip().splitlines()]
    assert len(lines) >= 4
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "onelayer"
        code, text = run(*arguments)
        assert code == 0, f"{line}\n{text}"


@pytest.mark.exhaustive
def test_the_parts_of_the_report_run(tmp_path: Path) -> None:
    assert LEARNS
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for code in LEARNS:
        command = ["bash", "-e", "-c", code]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{code}\n{ran.stderr}"
    assert (tmp_path / "runs" / "parts" / "report.html").is_file()


def test_every_file_it_names_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 3
    for link in links:
        assert (REPOSITORY / link).exists(), link
