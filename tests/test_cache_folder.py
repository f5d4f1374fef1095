"""Where things are kept that are made once on a machine."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from onelayer.cache_folder import NOWHERE, cache_folder


def test_the_folder_that_is_named_or_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", "somewhere")
    assert cache_folder() == Path("somewhere")
    monkeypatch.setenv("ONELAYER_CACHE", "")
    assert cache_folder() == platformdirs.user_cache_path("onelayer")


def test_a_user_without_a_home_has_a_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONELAYER_CACHE")

    def raises(name: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    # As platformdirs does now, and as it did before.
    for user_cache_path in (raises, lambda name: Path("~/.cache") / name):
        monkeypatch.setattr(platformdirs, "user_cache_path", user_cache_path)
        assert cache_folder() == NOWHERE
    with pytest.raises(OSError, match="Not a directory"):
        NOWHERE.mkdir(parents=True)
