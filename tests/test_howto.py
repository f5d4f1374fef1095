"""The how-to of identification does what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

HOWTO = (Path(__file__).parent.parent / "docs" / "identification.md").read_text(encoding="utf-8")


def test_the_way_from_a_function_to_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", HOWTO, re.DOTALL))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "identification.md", "exec"), {"__name__": "__main__"})
    shown = re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert len(shown) > 6
    for line in shown:
        assert line in printed.getvalue().splitlines(), line
    assert (tmp_path / "layer" / "model.safetensors").is_file()
