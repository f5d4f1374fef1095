"""The command line: parses, calls, prints."""

from __future__ import annotations

# Imported for the commands that they add.
from onelayer.cli import benching, checking, derived, finding, runs  # noqa: F401
from onelayer.cli.app import main

__all__ = ["main"]
