"""The operator algebra: affine layers, activations between them, and programs of both, in float64."""

from __future__ import annotations

from onelayer.algebra.activations import Activation, Clamp, FloatOp, Gamma, Lookup, Quantize
from onelayer.algebra.affine_part import affine_part
from onelayer.algebra.axis import AxisMap
from onelayer.algebra.compose import compose
from onelayer.algebra.dense import Dense
from onelayer.algebra.difference import difference_range, weight_rows
from onelayer.algebra.float32_sum import Float32Sum, Taps
from onelayer.algebra.operator import Cost, Operator, Shape, TooLargeError
from onelayer.algebra.program import Program, Stage
from onelayer.algebra.ranges import Range, operator_range, ranges_of
from onelayer.algebra.rewrite import RuleApplication, Simplified, simplify
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse

__all__ = [
    "Activation",
    "AxisMap",
    "Clamp",
    "Cost",
    "Dense",
    "Float32Sum",
    "FloatOp",
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
