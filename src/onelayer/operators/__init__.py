"""The operator algebra: affine layers, activations between them, and programs of both, in float64."""

from __future__ import annotations

from onelayer.operators.activations import Activation, Clamp, FloatStep, Gamma, Lookup, Quantize
from onelayer.operators.affine_part import affine_part
from onelayer.operators.axis import AxisMap
from onelayer.operators.compose import compose
from onelayer.operators.contract import Cost, Operator, Shape, TooLargeError
from onelayer.operators.dense import Dense
from onelayer.operators.difference import difference_range, weight_rows
from onelayer.operators.program import Program, Stage
from onelayer.operators.ranges import Range, operator_range, ranges_of
from onelayer.operators.rules import RuleApplication, Simplified, simplify
from onelayer.operators.separable import Separable
from onelayer.operators.single_sums import SingleSums, Taps
from onelayer.operators.spatial_sparse import SpatialSparse

__all__ = [
    "Activation",
    "AxisMap",
    "Clamp",
    "Cost",
    "Dense",
    "FloatStep",
    "Gamma",
    "Lookup",
    "Operator",
    "Program",
    "Quantize",
    "Range",
    "RuleApplication",
    "Separable",
    "Shape",
    "Simplified",
    "SingleSums",
    "SpatialSparse",
    "Stage",
    "Taps",
    "TooLargeError",
    "affine_part",
    "compose",
    "difference_range",
    "operator_range",
    "ranges_of",
    "simplify",
    "weight_rows",
]
