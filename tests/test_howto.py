"""The snippets of the how-tos do what they show."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def assert_prints_what_it_shows(page: str, lines: int) -> None:
    """Run all snippets of a page, one after the other; it shows at least so many lines that they print."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page, "exec"), {"__name__": "__main__"})
    shown = re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert len(shown) >= lines
    for line in shown:
        assert line in printed.getvalue().splitlines(), line


def test_the_way_from_a_function_to_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_prints_what_it_shows("identification.md", 7)
    assert (tmp_path / "layer" / "model.safetensors").is_file()


def test_training_through_a_layer() -> None:
    for package in ("timm", "open_clip"):
        pytest.importorskip(package)
    assert_prints_what_it_shows("training.md", 3)
