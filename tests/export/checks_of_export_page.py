"""The pages on export do what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_snippets import DOCS, assert_prints_what_it_shows, printed_by, snippets


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_snippet_prints_what_it_says() -> None:
    (code,) = snippets(DOCS / "export.md")
    printed = printed_by(code, "export.md")
    assert printed.count("no value differs") == 2
    assert printed.endswith("True\n")


# PyTorch says so of its exporter with ``dynamo=False``.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tutorial() -> None:
    page = DOCS / "tutorials" / "export-into-the-model.md"
    assert_prints_what_it_shows("\n".join(snippets(page)), page.name, 2)


def test_the_recipe() -> None:
    (code,) = (code for code in snippets(DOCS / "recipes.md") if "onnxruntime" in code)
    assert_prints_what_it_shows(code, "recipes.md", 1)
