"""What happens to channels: the mixing matrix and the bias that operators over images share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import FloatArray, Shape
from onelayer.errors import OnelayerError


def channel_matrix(channel: ArrayLike) -> FloatArray:
    """A read-only copy of a mixing matrix [C', C].

    Raises:
        OnelayerError: If it is no matrix, is empty or holds a value that is not finite.
    """
    matrix = np.array(channel, dtype=np.float64, order="C")
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise OnelayerError(
            f"a channel matrix of shape {matrix.shape} was given", expected="finite weights [channels out, channels in]"
        )
    matrix.setflags(write=False)
    return matrix


def settled_bias(bias: ArrayLike, out_shape: Shape) -> FloatArray:
    """A read-only copy of a bias: [C'], or an image [C', H', W'] where it differs within a channel.

    Raises:
        OnelayerError: If it has another shape or holds a value that is not finite.
    """
    values = np.array(bias, dtype=np.float64, order="C")
    if values.shape not in (out_shape, out_shape[:1]) or not np.isfinite(values).all():
        raise OnelayerError(
            f"a bias of shape {values.shape} was given", expected=f"finite numbers {out_shape[:1]} or {out_shape}"
        )
    if values.ndim == 3 and bool((values == values[:, :1, :1]).all()):
        values = values[:, 0, 0].copy()
    values.setflags(write=False)
    return values


def bias_image(bias: FloatArray) -> FloatArray:
    """A bias in the form that broadcasts over images: [C', 1, 1] or [C', H', W']."""
    return bias if bias.ndim == 3 else bias[:, None, None]


def mixing_multiplications(channel: FloatArray) -> int:
    """Multiplications per pixel: the nonzero weights of every row that is no mere copy of one channel."""
    count = 0
    for row in channel.tolist():
        nonzero = [weight for weight in row if weight]
        if nonzero != [1.0]:
            count += len(nonzero)
    return count


def channels_read(channel: FloatArray) -> int:
    """How many input channels have a nonzero weight anywhere."""
    return sum(any(weights) for weights in zip(*channel.tolist(), strict=True))


def mixed(channel: FloatArray, x: FloatArray) -> FloatArray:
    """Channels of [..., C, H, W] mixed to [..., C', H, W]."""
    result: FloatArray = np.einsum("dc,...chw->...dhw", channel, x)
    return result
