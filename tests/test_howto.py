"""The snippets of the how-tos do what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_snippets import DOCS, assert_prints_what_it_shows, snippets


def test_the_way_from_a_function_to_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_prints_what_it_shows("\n".join(snippets(DOCS / "identification.md")), "identification.md", 7)
    assert (tmp_path / "layer" / "model.safetensors").is_file()


def test_training_through_a_layer() -> None:
    for package in ("timm", "open_clip"):
        pytest.importorskip(package)
    assert_prints_what_it_shows("\n".join(snippets(DOCS / "training.md")), "training.md", 3)
