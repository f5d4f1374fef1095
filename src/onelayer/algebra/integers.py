"""Which stages give whole numbers for whole numbers."""

from __future__ import annotations

import numpy as np

from onelayer.algebra.activations import Clamp, Lookup, Quantize
from onelayer.algebra.program import Stage
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse


def keeps_integers(stage: Stage) -> bool:
    """Whether whole numbers stay whole: copies of pixels, inversions, integer tables."""
    match stage:
        case Separable():
            numbers = [stage.channel, stage.rows.weights, stage.cols.weights, stage.bias]
        case SpatialSparse():
            numbers = [stage.channel, stage.matrix.data, stage.bias]
        case Lookup():
            numbers = [stage.table]
        case Clamp():
            numbers = [np.array([stage.low, stage.high])]
        case _:
            return isinstance(stage, Quantize)
    return all(bool((values == np.rint(values)).all()) for values in numbers)
