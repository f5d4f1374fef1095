"""Whether the rounding that onelayer promises is that of the libraries that are installed."""

from __future__ import annotations

from onelayer.selfcheck.checking import check
from onelayer.selfcheck.families import FAMILIES
from onelayer.selfcheck.results import FamilyResult, SelfcheckRecord, table

__all__ = ["FAMILIES", "FamilyResult", "SelfcheckRecord", "check", "table"]
