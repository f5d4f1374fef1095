"""The page on front ends does what it shows."""

from __future__ import annotations

import pytest
from page_snippets import DOCS, printed_by, shown_by, snippets

from onelayer.frontends import front_end

SNIPPETS = snippets(DOCS / "front-ends.md")


def test_a_front_end_in_forty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "FRONT_ENDS", list(front_end.FRONT_ENDS))
    _, *others = SNIPPETS
    written = next(code for code in others if "FRONT_ENDS" in code).strip().splitlines()
    assert len([line for line in written if line.strip()]) <= 40
    code = "\n".join(others)
    assert len(shown_by(code)) == 3
    assert printed_by(code, "front-ends.md").splitlines() == shown_by(code)


def test_the_line_that_changes() -> None:
    pytest.importorskip("timm")
    names: dict[str, object] = {}
    exec(compile(SNIPPETS[0], "front-ends.md", "exec"), names)
    assert "ToTensor" in repr(names["transform"])
