"""The page on front ends does what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from onelayer.frontends import front_end

PAGE = (Path(__file__).parent.parent / "docs" / "front-ends.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_a_front_end_in_forty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "FRONT_ENDS", list(front_end.FRONT_ENDS))
    _, *snippets = SNIPPETS
    written = next(code for code in snippets if "FRONT_ENDS" in code).strip().splitlines()
    assert len([line for line in written if line.strip()]) <= 40
    code, printed = "\n".join(snippets), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "front-ends.md", "exec"), {"__name__": "__main__"})
    shown = re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert len(shown) == 3
    assert printed.getvalue().splitlines() == shown


def test_the_line_that_changes() -> None:
    pytest.importorskip("timm")
    names: dict[str, object] = {}
    exec(compile(SNIPPETS[0], "front-ends.md", "exec"), names)
    assert "ToTensor" in repr(names["transform"])
