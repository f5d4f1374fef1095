"""Find the folder for what onelayer can make again: kernels, decoded data sets, self-checks that passed."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder(cache: Path | None = None) -> Path:
    """Return the folder given, or else that of the environment variable ONELAYER_CACHE, or else the user's."""
    if cache is not None:
        return cache
    named = os.environ.get("ONELAYER_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("onelayer")
