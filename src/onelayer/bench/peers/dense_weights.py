"""A work as one dense matrix, for the peers that people export a linear layer to."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Program, Shape, affine_part
from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.images.containers import spec_of
from onelayer.layer import compile as compile_transforms

MOST = 20_000_000
"""Weights of the largest matrix, 80 MB: larger ones would only be read from memory all the time."""

Weights = NDArray[np.float32]


def why_not(work: Work, images: Images) -> str | None:
    """Why the work on such images, one [3, H, W] or a batch, is not done as one matrix; None if it is."""
    channels, height, width = images.shape[-3:]
    weights = channels * height * width * math.prod(out_shape(work, height, width))
    if weights > MOST:
        return f"one matrix would have {weights:,} weights, and more than {MOST:,} are not tried"
    if affine_part(_program(work, (channels, height, width), images.dtype)) is None:
        return "the values are clamped between two steps, so that no single matrix does it"
    return None


def of(work: Work, shape: Shape, dtype: torch.dtype) -> tuple[Weights, Weights]:
    """The matrix.

    Args:
        work: Of which :func:`why_not` has nothing to say.
        shape: Channels, height and width of an image.
        dtype: Of the images, whose values the matrix takes as they are: 0 to 255 for uint8, 0 to 1 for float32.

    Returns:
        The weight, float32 [C'·H'·W', C·H·W], and what is added, float32 [C'·H'·W']. Where the images are uint8 and the
        work ends without scaling, the result is still to be clamped to 0 … 255 and rounded half to even.
    """
    part = affine_part(_program(work, shape, dtype))
    assert part is not None
    dense = part[0].to_dense()
    return dense.weight.astype(np.float32), dense.bias.astype(np.float32)


def out_shape(work: Work, height: int, width: int) -> Shape:
    """Channels, height and width of what becomes of an image of that height and width."""
    return (1 if work.grayscale else 3, *work.kept(height, width)[2:])


def _program(work: Work, shape: Shape, dtype: torch.dtype) -> Program:
    # A view of one value: nothing is computed with it.
    given = spec_of(torch.zeros(1, dtype=dtype).expand(shape))
    return compile_transforms(v2_transforms(work), rounding="fused").program(given).program
