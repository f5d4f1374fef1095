"""A dense layer as an operator, and back."""

from __future__ import annotations

import torch

from onelayer.algebra import Dense
from onelayer.dense_layer import DenseLayer


def operator_of(layer: DenseLayer) -> Dense:
    """A layer as an operator in float64."""
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    return Dense(weight, bias, layer.input_shape, layer.output_shape)


def layer_of(operator: Dense, dtype: torch.dtype) -> DenseLayer:
    """An operator as a layer on the CPU, in evaluation mode."""
    layer = DenseLayer(operator.in_shape, operator.out_shape).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(operator.weight.copy()))
        layer.bias.copy_(torch.from_numpy(operator.bias.copy()))
    return layer.eval()
