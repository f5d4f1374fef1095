"""Layers of which it is known how wrong they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from onelayer import DenseLayer, Pipeline
from onelayer.algebra import affine_part
from onelayer.frontends import ImageSpec, derive


@pytest.fixture
def exactly() -> Callable[[Pipeline], DenseLayer]:
    """Makes the dense layer whose weights are those of a pipeline."""

    def make(pipeline: Pipeline) -> DenseLayer:
        parts = affine_part(derive(pipeline.transform, ImageSpec(pipeline.input_shape, "float32", "tensor")).program)
        assert parts is not None
        dense = parts[0].to_dense()
        layer = DenseLayer(dense.in_shape, dense.out_shape)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(dense.weight))
            layer.bias.copy_(torch.tensor(dense.bias))
        return layer

    return make
