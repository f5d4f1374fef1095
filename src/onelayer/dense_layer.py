"""The report's model: one fully connected layer with bias."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import nn

from onelayer.algebra import Dense
from onelayer.errors import OnelayerError
from onelayer.records import Shape


class DenseLayer(nn.Module):
    """Apply one affine map to flattened images: every output value reads every input value.

    Args:
        input_shape: (C, H, W) of the input images.
        output_shape: (C', H', W') of the output images.
        generator: Source of the initial weights, uniform within ±1/√(C·H·W), the initialization of ``nn.Linear``.
            None for PyTorch's global state.

    Attributes:
        weight: [C'·H'·W', C·H·W].
        bias: [C'·H'·W'].

    Raises:
        OnelayerError: If a shape is not three positive sizes, or the layer would have more than 2²⁹ weights: at
            224×224 a dense layer has 22 billion, which no memory holds.
    """

    MOST_WEIGHTS = 2**29

    def __init__(self, input_shape: Shape, output_shape: Shape, generator: torch.Generator | None = None) -> None:
        super().__init__()
        for name, shape in (("input", input_shape), ("output", output_shape)):
            if len(shape) != 3 or any(size < 1 for size in shape):
                raise OnelayerError(f"{name} shape {shape} given for a layer", expected="three sizes of at least 1")
        inputs, outputs = math.prod(input_shape), math.prod(output_shape)
        if inputs * outputs > self.MOST_WEIGHTS:
            raise OnelayerError(
                f"a dense layer from {input_shape} to {output_shape} would have {inputs * outputs:,} weights",
                expected=f"at most {self.MOST_WEIGHTS:,}",
                hint="Learn on smaller images.",
            )
        self.input_shape: Shape = input_shape
        self.output_shape: Shape = output_shape
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound, generator=generator))

    @classmethod
    def from_operator(cls, operator: Dense, dtype: torch.dtype) -> Self:
        """Make a layer of an operator, on the CPU and in evaluation mode."""
        layer = cls(operator.in_shape, operator.out_shape).to(dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(operator.weight.copy()))
            layer.bias.copy_(torch.from_numpy(operator.bias.copy()))
        return layer.eval()

    def to_operator(self) -> Dense:
        """Convert the layer to an operator in float64."""
        weight, bias = (parameter.detach().cpu().double().numpy() for parameter in (self.weight, self.bias))
        return Dense(weight, bias, self.input_shape, self.output_shape)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the layer.

        Args:
            images: Floating point [C, H, W] or [N, C, H, W], values in [0, 1]; N may be 0.

        Returns:
            [C', H', W'] or [N, C', H', W'], of the dtype of the weights. Values are not clamped.

        Raises:
            OnelayerError: If the images have another shape or an integer dtype.
        """
        batched = images.dim() == 4
        if images.dim() not in (3, 4) or tuple(images.shape[-3:]) != self.input_shape:
            c, h, w = self.input_shape
            raise OnelayerError(
                "the images do not fit the layer",
                expected=f"[{c}, {h}, {w}] or [N, {c}, {h}, {w}]",
                shape=tuple(images.shape),
            )
        if not images.is_floating_point():
            raise OnelayerError(
                "the layer does not take integer images",
                expected="floating point values in [0, 1]",
                hint="Divide uint8 images by 255 first.",
                dtype=str(images.dtype),
            )
        # The batch size is named, never -1, so that an empty batch has a shape too.
        flat = images.reshape(images.shape[0] if batched else 1, math.prod(self.input_shape))
        outputs = nn.functional.linear(flat, self.weight, self.bias)
        return outputs.reshape(*images.shape[:-3], *self.output_shape)

    def extra_repr(self) -> str:
        """Name the shapes, for ``print(layer)``."""
        return f"{self.input_shape} → {self.output_shape}"
