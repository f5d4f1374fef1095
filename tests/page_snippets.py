"""Snippets of the documentation: found in a page, run, and compared with what they show."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def snippets(page: Path, language: str = "python") -> list[str]:
    """List the snippets of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shown_by(code: str) -> list[str]:
    """List the lines that a snippet shows: a comment behind a print shows what it prints."""
    return re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)


def printed_by(code: str, name: str) -> str:
    """Run a snippet here, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def assert_prints_what_it_shows(code: str, name: str, lines: int = 0) -> None:
    """Run a snippet; it shows at least so many lines, all of which it prints."""
    printed, shown = printed_by(code, name).splitlines(), shown_by(code)
    assert len(shown) >= lines, name
    # In order, with other lines between them.
    rest = iter(printed)
    for line in shown:
        assert line in rest, f"{name}: {line}"
