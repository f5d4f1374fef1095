"""How far a layer is from the pipeline it replaces: measured on given and on nasty images, and proved for all."""

from __future__ import annotations

from onelayer.verification.bound import Bound, NoBoundError, proved_bound
from onelayer.verification.verifying import verify

__all__ = ["Bound", "NoBoundError", "proved_bound", "verify"]
