"""The work as one dense matrix, for the peers that are a linear layer: PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Program, Shape, affine_part
from onelayer.bench.peers.base import Images
from onelayer.bench.workloads import Work
from onelayer.images.containers import spec_of
from onelayer.layer import OneLayer
from onelayer.layer import compile as compile_transforms

MOST = 20_000_000
"""Weights of the largest matrix, 80 MB: larger ones would only be read from memory all the time."""

Weights = NDArray[np.float32]


def refuse(work: Work, images: Images) -> str | None:
    """Refuse work whose matrix is too large, or that no single matrix does."""
    channels, height, width = images.shape[-3:]
    weights = channels * height * width * math.prod(output_shape(work, height, width))
    if weights > MOST:
        return f"one matrix would have {weights:,} weights, and more than {MOST:,} are not tried"
    if affine_part(_program(work, (channels, height, width), images.dtype)) is None:
        return "the values are clamped between two steps, so that no single matrix does it"
    return None


def dense_weights(work: Work, shape: Shape, dtype: torch.dtype) -> tuple[Weights, Weights]:
    """Compute the matrix.

    Args:
        work: Work that :func:`refuse` accepts.
        shape: Channels, height and width of an image.
        dtype: Dtype of the images. The matrix takes their values as they are: 0 to 255 for uint8, 0 to 1 for float32.

    Returns:
        The weight, float32 [C'·H'·W', C·H·W], and the bias, float32 [C'·H'·W']. Where the images are uint8 and the work
        ends without scaling, the result is still to be clamped to 0 … 255 and rounded half to even.
    """
    part = affine_part(_program(work, shape, dtype))
    assert part is not None
    dense = part[0].to_dense()
    return dense.weight.astype(np.float32), dense.bias.astype(np.float32)


def output_shape(work: Work, height: int, width: int) -> Shape:
    """Compute channels, height and width of the result for an image of that height and width."""
    rows, columns = work.crop_slices(height, width)
    return 1 if work.grayscale else 3, rows.stop - rows.start, columns.stop - columns.start


def ends_in_bytes(work: Work, dtype: torch.dtype) -> bool:
    """Return whether the result is uint8, so that what the matrix gives is to be clamped and rounded."""
    return dtype == torch.uint8 and work.mean is None


def _program(work: Work, shape: Shape, dtype: torch.dtype) -> Program:
    # A view of one value: nothing is computed with it.
    spec = spec_of(torch.zeros(1, dtype=dtype).expand(shape))
    layer: OneLayer = compile_transforms(work.transform, fullgraph=True, rounding="fused")
    return layer.program(spec).program
