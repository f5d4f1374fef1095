"""Find the folder for what can be made again: compiled kernels, downloads, decoded images, self-checks that passed."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

NOWHERE = Path(os.devnull) / "onelayer"
"""Folder that cannot be made, for a user without a home."""


def cache_folder(named: Path | None = None) -> Path:
    """Return the folder named, or that of the environment variable ``ONELAYER_CACHE``, or else the user's cache folder.

    The folder need not exist, and it may be that it cannot be made: a user of a container often has no home.
    """
    if named is not None:
        return named
    if variable := os.environ.get("ONELAYER_CACHE"):
        return Path(variable)
    try:
        folder = platformdirs.user_cache_path("onelayer")
    except RuntimeError:
        return NOWHERE
    # Older versions of platformdirs return "~/.cache" in place of an error.
    return folder if folder.is_absolute() else NOWHERE
