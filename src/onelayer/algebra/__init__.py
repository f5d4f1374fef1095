"""The operator algebra: affine layers, activations between them, and programs of both, in float64."""

from __future__ import annotations

from onelayer.algebra.activations import Activation, Clamp, FloatOp, Gamma, Lookup, Quantize
from onelayer.algebra.axis import AxisMap
from onelayer.algebra.channels import ChannelMap
from onelayer.algebra.compose import affine_part, compose
from onelayer.algebra.dense import Dense
from onelayer.algebra.difference import difference_range
from onelayer.algebra.float32_sum import Float32Sum, Taps
from onelayer.algebra.operator import Cost, Operator, Shape, Stage, TooLargeError
from onelayer.algebra.program import Program
from onelayer.algebra.ranges import Range, ranges_of
from onelayer.algebra.rewrite import RuleApplication, Simplified, simplify
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse

__all__ = [
    "Activation",
    "AxisMap",
    "ChannelMap",
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
    "ranges_of",
    "simplify",
]
