"""Compare the rounding that onelayer guarantees with that of the installed libraries."""

from __future__ import annotations

from onelayer.selfcheck.checking import FamilyResult, SelfcheckRecord, check, table
from onelayer.selfcheck.pieces import FAMILIES

__all__ = ["FAMILIES", "FamilyResult", "SelfcheckRecord", "check", "table"]
