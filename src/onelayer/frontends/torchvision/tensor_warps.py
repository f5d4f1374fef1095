"""Rotate, shear and warp tensors of bytes as torchvision's functions and transforms do, bit for bit, with a kernel.

Where a pixel comes from is torchvision's and PyTorch's business: they are given a tensor that has a shape and no
pixels, until they ask for samples at the points of a grid. So arguments, random numbers and points are theirs in every
bit. The kernel does what takes the time: sampling, the fill, and the rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import _functional_tensor as v1_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional import _geometry as v2_tensors

from onelayer.backends.cpu import memory
from onelayer.frontends.base import Function, function_of
from onelayer.frontends.torchvision.color_functions import wrapped
from onelayer.image_spec import ImageSpec
from onelayer.random_state import present_state, put_back

_WHITE = 255

SMALL, SMALL_WITHOUT_FILL = 1 << 13, 1 << 15
"""Pixels of an image, or of a batch, below which torchvision is as quick: what is around the kernel takes as long.
With a fill it samples a mask too."""

# Imported when it is needed: Numba takes half a second.
_kernels = cache(lambda: import_module("onelayer.backends.cpu.grid_kernel"))


def warp_of(transform: Any, spec: ImageSpec, fill: Any) -> Function | None:
    """Make a quicker function of a warp of tensors of bytes.

    Args:
        transform: One of torchvision's geometric transforms, or a function, with its arguments.
        spec: The image that arrives.
        fill: Fill of the transform.
    """
    if spec.dtype != "uint8" or isinstance(fill, dict):
        return None
    is_v2 = isinstance(transform, v2.Transform) or function_of(transform) in (f2.affine, f2.perspective, f2.rotate)
    return lambda image: warped(image, transform, fill, is_v1=not is_v2)


class _Asked(Exception):  # noqa: N818 - it is no error
    """What torchvision would do with a tensor at last.

    Args:
        function: Function of PyTorch's.
        others: Its arguments behind the tensor.
        keywords: More of them.
    """

    def __init__(self, function: Callable[..., Any], others: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.others, self.keywords = function, others, keywords


class _Recorder(torch.Tensor):
    """A tensor of which only the shape is of interest, and what is to be done with it."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Raise what is asked for at last, skip what only prepares for it, and do all else."""
        if function in _LAST:
            raise _Asked(function, args[1:], kwargs or {})
        if function is torch.Tensor.to:
            return args[0]
        if function is torch.cat:
            return args[0][0]
        return super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]


_LAST = (torch.nn.functional.grid_sample, torch.rot90, torch.Tensor.clone)
"""Functions of PyTorch's that a warp ends with, but for fill and rounding."""


def warped(image: Any, function: Callable[..., Any], fill: Any, is_v1: bool) -> Any:
    """Apply one of torchvision's geometric functions or transforms, which makes one new image or none.

    Args:
        image: The image.
        function: The function, of the image alone.
        fill: Fill that the function takes for the image: None, a number, or numbers.
        is_v1: Whether the function is of v1.
    """
    if not _is_known(image, is_v1) or not _is_byte(fill, image.shape[-3]) or _is_small(image, fill):
        return function(image)
    state = present_state(of_python=False)
    recorder = _NOTHING.expand(image.shape).as_subclass(_Recorder)
    pixels = image.as_subclass(torch.Tensor)
    try:
        if function(recorder) is recorder:
            return image
    except _Asked as asked:
        if asked.function is torch.nn.functional.grid_sample:
            grid, mode = asked.others[0], asked.keywords["mode"]
            return wrapped(_sampled(pixels, grid, mode, fill, is_v1), image)
        return wrapped(asked.function(pixels, *asked.others, **asked.keywords), image)
    except Exception:  # noqa: BLE001, S110 - the original raises it, or has to do with what is unknown here
        pass
    put_back(state)
    return function(image)


# Tensors of inference mode could take no part in training.
with torch.inference_mode(mode=False):
    _NOTHING = torch.zeros(1, dtype=torch.uint8, device="cpu")


def _sampled(image: torch.Tensor, grid: torch.Tensor, mode: str, fill: Any, is_v1: bool) -> torch.Tensor:
    """Sample a tensor at the points of a grid, float32 [1 or N, H', W', 2]."""
    kernels = _kernels()
    *batch, channels, height, width = image.shape
    # All images of a batch have the same points.
    points = grid[0].contiguous()
    result = memory.empty((*batch, channels, *points.shape[:2]), torch.uint8)
    fills = np.empty(channels, np.float32)
    if fill is not None:
        fills[:] = fill
    call = np.array(
        (
            points.data_ptr(), image.data_ptr(), image.stride(0) if batch else 0, *image.stride()[-3:],
            batch[0] if batch else 1, channels, height, width, result.data_ptr(), *points.shape[:2],
            0 if fill is None else fills.ctypes.data, kernels.MIX_V1 if is_v1 else kernels.MIX_V2,
        ), np.uint64,
    )  # fmt: skip
    if mode == "nearest":
        kernels.sampled_nearest(call)
    elif points.shape[1] < kernels.MIN_COLUMNS or not kernels.sampled_bilinear(call):
        original: Any = v1_tensors if is_v1 else v2_tensors
        result = original._apply_grid_transform(image, grid[:1], mode, fill)
    return result


def _is_known(image: Any, is_v1: bool) -> bool:
    """Whether the kernel takes an image, and gives torchvision's bits."""
    if type(image) is not torch.Tensor and (is_v1 or type(image) is not tv_tensors.Image):
        return False
    if (
        not _is_compiled_as_known()
        or image.dtype != torch.uint8
        or not image.is_cpu
        or image.layout != torch.strided
        or not 3 <= image.ndim <= 4
        or min(image.shape) == 0
        or torch._C._functorch.is_functorch_wrapped_tensor(image)
    ):
        return False
    kernels = _kernels()
    last = sum((length - 1) * stride for length, stride in zip(image.shape, image.stride(), strict=True))
    if image.untyped_storage().nbytes() <= image.storage_offset() + last:
        return False
    return bool(last < kernels.MAX_MEMORY and max(image.shape[-2:]) <= kernels.MAX_LENGTH)


def _is_small(image: torch.Tensor, fill: Any) -> bool:
    return image.numel() // image.shape[-3] < (SMALL_WITHOUT_FILL if fill is None else SMALL)


def _is_byte(fill: Any, channels: int) -> bool:
    """Whether a fill is none, a byte, or one for each channel, which may have a fraction."""
    numbers = fill if isinstance(fill, list | tuple) else [0.0 if fill is None else fill]
    return len(numbers) in (1, channels) and all(
        isinstance(each, int | float) and 0 <= each <= _WHITE for each in numbers
    )


@cache
def _is_compiled_as_known() -> bool:
    """Whether the installed PyTorch rounds places and sums as the kernel does: its compiler decides."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (41, 67)).astype(np.float32)
    points = rng.uniform(-1.1, 1.1, (40, 50, 2)).astype(np.float32)
    keywords: Any = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
    theirs = torch.nn.functional.grid_sample(
        torch.from_numpy(image)[None, None], torch.from_numpy(points)[None], **keywords
    )
    return np.array_equal(_weighed(np.pad(image, 9), points, image.shape), theirs[0, 0].numpy())


def _weighed(padded: NDArray[np.float32], points: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Sample an image with 9 pixels of zeros around it, as the kernel does: the product of two float32 is a float64."""

    def fused(x: Any, y: Any, z: Any) -> NDArray[np.float32]:
        total: NDArray[np.float32] = (x.astype(float) * y + z).astype(np.float32)
        return total

    across, down = (fused(points[..., axis] + np.float32(1), size[1 - axis] / 2, -0.5) for axis in (0, 1))
    left, top = np.floor(across), np.floor(down)
    right, below = across - left, down - top
    before, above = np.float32(1) - right, np.float32(1) - below
    cols, rows = left.astype(int) + 9, top.astype(int) + 9
    total = padded[rows, cols] * (above * before)
    for row, col, weight in ((rows, cols + 1, above * right), (rows + 1, cols, below * before)):
        total = fused(padded[row, col], weight, total)
    return fused(padded[rows + 1, cols + 1], below * right, total)
