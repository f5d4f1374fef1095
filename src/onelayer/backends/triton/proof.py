"""Prove the kernel on the device at hand before anybody's pixels depend on it: small images, compared with PyTorch."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from onelayer.algebra import AxisMap, ChannelMap, Clamp, Program, Quantize, Separable
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.target import LoweringTarget
from onelayer.backends.triton import launch

_SHAPE = 3, 37, 53
_LARGEST = 2e-4
"""Difference of float32 sums of values up to 1, in another order and with other instructions, that is no mistake."""


def _programs() -> list[tuple[Program, torch.dtype, torch.dtype]]:
    """List programs with the dtypes of their images and of their results."""
    _, height, width = _SHAPE
    rows = AxisMap.crop(19, 2, 15) @ AxisMap.resample(height, 19, "bilinear", True)
    cols = AxisMap.flip(80) @ AxisMap.resample(width, 80, "bicubic", True)
    resized = Separable.of_axes(3, rows, cols)
    luma = Separable(ChannelMap(np.array([[0.3, 0.6, 0.1]])), rows, cols, np.array([0.25]))
    normalized = Separable(ChannelMap(np.diag([4.0, 5.0, 6.0])), rows, cols, np.array([-2.0, 0.0, 2.0]))
    return [
        (Program(_SHAPE, (luma,)), torch.float32, torch.float32),
        (Program(_SHAPE, (normalized, Clamp(-1.0, 3.0))), torch.float16, torch.float16),
        (Program(_SHAPE, (resized, Quantize("half_even"))), torch.uint8, torch.uint8),
    ]


def differs(program: Program, images: torch.Tensor, result: torch.dtype) -> str | None:
    """Compare the kernel's results with PyTorch's; return what is wrong, or None."""
    target = LoweringTarget(images.device, torch.float32, result)
    lower = launch.prepare(program, target)
    if isinstance(lower, str):
        return None
    found, expected = (apply(images).cpu().double() for apply in (lower(), pytorch.lower(program, target)))
    # A rounding to bytes, or to half precision, may fall on either side.
    allowed = {torch.float32: _LARGEST, torch.float16: 0.02, torch.uint8: 1.0}[result]
    furthest = float((found - expected).abs().max())
    if furthest <= allowed:
        return None
    return f"its values are up to {furthest:.3g} from PyTorch's, where {allowed:.3g} is rounding"


@cache
def problem_on(device: torch.device) -> str | None:
    """Find out, once for each device, why the kernel must not be used there, and warn; None if it may.

    Args:
        device: Device of the images.
    """
    try:
        random = torch.Generator().manual_seed(0)
        for program, dtype, result in _programs():
            levels = torch.randint(0, 256, (2, *_SHAPE), generator=random)
            images = (levels if dtype == torch.uint8 else levels / 255).to(device, dtype)
            for layout in (torch.contiguous_format, torch.channels_last):
                problem = differs(program, images.contiguous(memory_format=layout), result)
                if problem is not None:
                    break
            if problem is not None:
                break
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a compiler or a driver, PyTorch computes instead
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if problem is not None:
        warnings.warn(
            f"onelayer's kernel for NVIDIA GPUs is not used on {device}: {problem}. PyTorch computes there instead. "
            f"Please report this, with torch {torch.__version__} and triton {_triton_version()}.",
            stacklevel=2,
        )
    return problem


def _triton_version() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return "not installed"
