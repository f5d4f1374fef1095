"""Find the operator behind a function that can only be called."""

from __future__ import annotations

from onelayer.identification.every_size import IdentifiedPipeline
from onelayer.identification.evidence import Evidence, NotAffineError, OverBudgetError
from onelayer.identification.identified import Identified
from onelayer.identification.identifying import identify

__all__ = ["Evidence", "Identified", "IdentifiedPipeline", "NotAffineError", "OverBudgetError", "identify"]
