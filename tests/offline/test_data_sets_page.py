"""The snippets of the page about data sets do what they show."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "data-sets.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))

NEEDS = {
    "`onelayer apply`": ["ray", "pyarrow", "pandas"],
    "Ray Data": ["ray", "pyarrow", "pandas"],
    "Hugging Face `datasets`": ["datasets"],
    "PyTorch's `DataLoader`": [],
    "WebDataset": ["webdataset"],
    "Lightning": ["lightning"],
    "Daft": ["daft"],
    "Spark": ["pyspark", "pandas"],
}
"""Packages that a section takes."""

SLOW = ("Ray Data", "Lightning", "Daft", "Spark")
"""Sections that take seconds; `onelayer apply` does so, too, unless it stays in this process."""


def missing(section: str) -> list[str]:
    return [package for package in NEEDS[section] if importlib.util.find_spec(package) is None]


def code_of(section: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL))


def assert_prints_what_it_shows(code: str, printed: str) -> None:
    shown = re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert shown, code
    for line in shown:
        assert line in printed.splitlines(), f"{line!r} is not in {printed!r}"


def run_here(section: str) -> None:
    code = code_of(section)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, section, "exec"), {"__name__": "__main__"})
    assert_prints_what_it_shows(code, printed.getvalue())


def test_every_section_is_run() -> None:
    assert [section for section in SECTIONS if code_of(section)] == list(NEEDS)


# WebDataset leaves files open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("here")
def test_sections_that_start_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str]]
) -> None:
    if missing("`onelayer apply`"):
        pytest.skip("the extra `ray` is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    in_a_process = subprocess.run

    def run_command(command: list[str], **options: Any) -> Any:
        if command[0] != "onelayer":
            return in_a_process(command, **options)
        code, text = run(*command[1:])
        assert code == 0, text
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", run_command)
        run_here("`onelayer apply`")
    left_out = [section for section in NEEDS if section not in SLOW and missing(section)]
    for section in NEEDS:
        if section not in SLOW and section not in left_out and section != "`onelayer apply`":
            run_here(section)
    if left_out:
        pytest.skip(f"run without {', '.join(left_out)}: the extra `data-sets` is not installed")


def run_in_a_process(section: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "PATH": path,
        "PYSPARK_PYTHON": sys.executable,
    }
    command = [sys.executable, "-c", code_of(section)]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert_prints_what_it_shows(code_of(section), ran.stdout)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first section has made its data sets, with Ray."""
    if missing("`onelayer apply`"):
        pytest.skip("the extra `ray` is not installed")
    folder = tmp_path_factory.mktemp("page")
    run_in_a_process("`onelayer apply`", folder)
    return folder


@pytest.mark.exhaustive
@pytest.mark.parametrize("section", list(NEEDS)[1:])
def test_each_section_by_itself(section: str, prepared: Path) -> None:
    if absent := missing(section):
        pytest.skip(f"{', '.join(absent)} is not installed")
    if section == "Spark" and shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    run_in_a_process(section, prepared)
