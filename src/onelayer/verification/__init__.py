"""Certify a layer against the pipeline it replaces: errors measured on images, and a bound proved for all of them."""

from __future__ import annotations

from onelayer.verification.bound import Bound, NoBoundError, proved_bound
from onelayer.verification.verifying import verify

__all__ = ["Bound", "NoBoundError", "proved_bound", "verify"]
