"""Whether the packages of a peer are here."""

from __future__ import annotations

import importlib.util


def missing(*modules: str) -> str | None:
    """Why a peer cannot run if one of these modules is missing; None if all are here. Imports none of them."""
    for module in modules:
        if not _is_here(module):
            return f"{module} is not installed; install it: pip install 'onelayer[peers]'"
    return None


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
