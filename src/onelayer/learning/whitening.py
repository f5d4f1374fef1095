"""Adam on whitened images: the cure that explains why it creeps on images as they are.

Neighbouring pixels are nearly equal, so a few directions hold almost all the variance, and the error left in the others
gives gradients thousands of times smaller. In coordinates of equal variance all directions are learned alike.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import nn

from onelayer.learning.dense_layer import DenseLayer
from onelayer.operators import Dense, Shape
from onelayer.operators.contract import FloatArray


class WhitenedLayer(nn.Module):
    """A dense layer whose inputs are whitened first.

    Args:
        input_shape: (C, H, W) of the images taken.
        output_shape: (C', H', W') of the images given.
        mean: Of the inputs, [C·H·W].
        factor: Lower triangular Cholesky factor of their covariance, [C·H·W, C·H·W], none of its diagonal zero.
        start: Of the outputs, [C'·H'·W']; the mean, say, which a step of Adam at a time takes an epoch to reach.
        generator: Draws the initial weights.

    Attributes:
        dense: Takes whitened images: each value has mean 0 and variance 1, and no two are correlated.
    """

    mean: torch.Tensor
    whitener: torch.Tensor

    def __init__(
        self,
        input_shape: Shape,
        output_shape: Shape,
        mean: FloatArray,
        factor: FloatArray,
        start: FloatArray,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dense = DenseLayer(input_shape, output_shape, generator)
        with torch.no_grad():
            self.dense.bias.copy_(torch.from_numpy(start))
        whitener = solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
        self.register_buffer("mean", torch.from_numpy(mean).float(), persistent=False)
        self.register_buffer("whitener", torch.from_numpy(whitener).float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Floating point [N, C, H, W] to [N, C', H', W']."""
        flat = images.reshape(len(images), -1) - self.mean
        return self.dense((flat @ self.whitener.T).reshape(images.shape))  # type: ignore[no-any-return]

    @torch.no_grad()
    def unwhitened(self) -> Dense:
        """The same map for images as they are, in float64."""
        weight = self.dense.weight.double() @ self.whitener.double()
        bias = self.dense.bias.double() - weight @ self.mean.double()
        return Dense(weight.numpy(), bias.numpy(), self.dense.input_shape, self.dense.output_shape)
