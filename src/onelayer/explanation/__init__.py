"""Explain what became of each transform of a pipeline, as tables and as a figure."""

from __future__ import annotations

from onelayer.explanation.build import explain
from onelayer.explanation.cost import CostPerImage
from onelayer.explanation.explanation import Explanation, Rewrite, StageRow, TransformRow, TransformStage
from onelayer.explanation.pieces import ExplainedPiece, PiecewiseExplanation

__all__ = [
    "CostPerImage",
    "ExplainedPiece",
    "Explanation",
    "PiecewiseExplanation",
    "Rewrite",
    "StageRow",
    "TransformRow",
    "TransformStage",
    "explain",
]
