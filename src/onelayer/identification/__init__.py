"""From a function that cannot be read to an operator: by asking it, and nothing else."""

from __future__ import annotations

from onelayer.identification.evidence import Evidence
from onelayer.identification.identified import Identified
from onelayer.identification.identifying import identify
from onelayer.identification.refusals import NotAffineError, OverBudgetError

__all__ = ["Evidence", "Identified", "NotAffineError", "OverBudgetError", "identify"]
