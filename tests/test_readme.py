"""The tour in the README does what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_tour_runs(tmp_path: Path) -> None:
    tour = re.search(r"^## A 60-second tour$(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    assert tour is not None
    blocks = re.findall(r"```(\w+)\n(.*?)```", tour[1], re.DOTALL)
    assert {language for language, _ in blocks} == {"bash", "python"}
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, code in blocks:
        command = ["bash", "-e", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{code}\n{ran.stderr}"
        # a comment behind a print shows what it prints
        for shown in re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE):
            assert shown in ran.stdout
    assert (tmp_path / "runs" / "tour" / "report.html").is_file()


def test_every_file_it_names_exists() -> None:
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 3
    for link in links:
        assert (root / link).exists(), link
