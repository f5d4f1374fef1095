"""Make programs and images for the tests of what computes in floating point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from onelayer.algebra import AxisMap, Program, Separable
from onelayer.backends import LoweringTarget

CPU = torch.device("cpu")
FLOAT32 = LoweringTarget(CPU, torch.float32, torch.float32)
BYTES = LoweringTarget(CPU, torch.float32, torch.uint8)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def resize(n_in: int, n_out: int, kind: Any = "bilinear") -> AxisMap:
    return AxisMap.resample(n_in, n_out, kind, True)


@st.composite
def separable_programs(
    draw: Callable[..., Any],
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    channels: tuple[int, int],
    kinds: Sequence[str],
) -> Program:
    """Resizes, flips and mixes of channels and a bias, up to sizes and numbers of channels, in and out."""
    (height, width), (rows, cols), (n_in, n_out) = (
        [draw(st.integers(1, most)) for most in limits] for limits in (in_size, out_size, channels)
    )
    kind = draw(st.sampled_from(kinds))
    axes = resize(height, rows, kind), resize(width, cols, kind)
    if draw(st.booleans()):
        axes = AxisMap.flip(rows) @ axes[0], axes[1] @ AxisMap.flip(width)
    return Program((n_in, height, width), (Separable(normal(n_out, n_in), *axes, normal(n_out)),))


def interleaved(images: torch.Tensor) -> torch.Tensor:
    """The same images, [N, C, H, W], with the channels of a pixel side by side in memory."""
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def memories(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same images in every layout that memory has them in."""
    strided = torch.zeros(*(2 * size for size in images.shape), dtype=images.dtype)[tuple([slice(None, None, 2)] * 4)]
    strided.copy_(images)
    return {
        "CHW": images,
        "HWC": interleaved(images),
        "WHC": images.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1),
        "every second": strided,
        "a window": torch.nn.functional.pad(images, (1, 2, 3, 0))[..., 3:, 1:-2],
        "one for all": images[:1].expand(len(images), -1, -1, -1),
    }


def check_gradients_are_pytorchs(kernel: Callable[[torch.Tensor], torch.Tensor], program: Program) -> None:
    """Compare the gradient of the sum of outputs with the transposed map of a program of one stage."""
    (stage,) = program.stages
    images = torch.rand(*program.in_shape, requires_grad=True)
    kernel(images).sum().backward()
    assert images.grad is not None
    expected = stage.apply_transposed(np.ones(program.out_shape))  # type: ignore[union-attr]
    np.testing.assert_allclose(images.grad.numpy(), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not kernel(images).requires_grad
