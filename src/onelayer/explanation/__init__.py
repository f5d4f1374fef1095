"""What became of each transform of a pipeline, as tables and as pictures."""

from __future__ import annotations

from onelayer.explanation.explained import Explanation, Part, Rewrite, StageRow, TransformRow
from onelayer.explanation.explaining import explain
from onelayer.explanation.totals import Totals

__all__ = ["Explanation", "Part", "Rewrite", "StageRow", "Totals", "TransformRow", "explain"]
