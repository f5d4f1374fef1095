"""Change the colors of images as torchvision's functions of the same names do, bit for bit, with kernels of our own.

They take PIL images of modes RGB and L, and uint8 tensors [..., 1 or 3, H, W] on the CPU. Whatever else comes goes to
torchvision's function. Their arguments are torchvision's, and its module of functions, because v1 and v2 round tensors
in different ways.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from struct import Struct
from threading import local
from types import ModuleType
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms.v2 import functional as f2

from onelayer.backends.cpu import memory
from onelayer.frontends.torchvision.rounding_rules import torch_float32
from onelayer.images.pillow_memory import BYTES_PER_PIXEL, layout, load

BRIGHTNESS, CONTRAST, SATURATION, HUE, LUMA = range(5)
"""Steps of :mod:`onelayer.backends.cpu.color_kernel`, which is imported when it is needed: it takes half a second."""

_EXACT_SUM = (1 << 24) // 255
"""Pixels up to which PyTorch's sum of bytes in float32 is exact, in whatever order it adds."""

_STRIDE, _GRAIN = 32, 32768
"""Numbers that PyTorch takes at a time at most, in a loop over floats, and numbers from which on it uses threads."""

_IS_X86 = platform.machine() in ("x86_64", "AMD64")
"""Whether the libraries round as they were seen to: compilers for others multiply and add with one rounding."""

_PILLOW = 0
"""Pillow's arithmetic, as a number of the kernel's."""

_CALL, _STEP, _MAX_STEPS = Struct("18Q"), Struct("Qdd"), 4

_kernels = cache(lambda: import_module("onelayer.backends.cpu.color_kernel"))
_tones = cache(lambda: import_module("onelayer.backends.cpu.tone_kernel"))

Layout = Literal["same", "planes", "pixels"]
"""How a result lies in memory: as the image, in planes, or with the colors of a pixel side by side."""


class _Call(local):
    """The call of a thread, uint64."""

    def __init__(self) -> None:
        self.array = np.zeros(_CALL.size // 8 + _MAX_STEPS * _STEP.size // 8, np.uint64)
        self.memory: Any = memoryview(self.array)  # type: ignore[arg-type]  # NumPy's arrays are buffers


_CALL_OF_THREAD = _Call()


@dataclass(frozen=True)
class Adjustment:
    """A step of the kernel for colors.

    Args:
        step: What it does.
        first: First number of the step.
        second: Second number of the step.
    """

    step: int
    first: float = 0.0
    second: float = 0.0

    @classmethod
    def blend(cls, step: int, factor: float) -> Adjustment:
        """Make a blend with black, the mean luma, or the luma."""
        factor = float(factor)
        return cls(step, factor, 1.0 - factor)

    @classmethod
    def turn(cls, image: Any, factor: float) -> Adjustment:
        """Make a turn of the hue; Pillow's is a whole number of 256ths."""
        is_pil = isinstance(image, PIL.Image.Image)
        return cls(HUE, float(np.int32(factor * 255).astype(np.uint8)) if is_pil else float(factor))


def adjust_brightness(image: Any, factor: float, functional: ModuleType = f2) -> Any:
    """Blend an image with black; see torchvision's ``adjust_brightness``."""
    # Of a small tensor v2's two operations are as quick as what is around a kernel.
    if is_known(image, functional) and _is_factor(image, factor) and not _is_small(image, 64, functional):
        return adjusted(image, [Adjustment.blend(BRIGHTNESS, factor)], functional)
    return functional.adjust_brightness(image, factor)


def adjust_contrast(image: Any, factor: float, functional: ModuleType = f2) -> Any:
    """Blend an image with its mean luma; see torchvision's ``adjust_contrast``."""
    if is_known(image, functional) and _is_factor(image, factor) and is_exact(CONTRAST, image, functional):
        return adjusted(image, [Adjustment.blend(CONTRAST, factor)], functional)
    return functional.adjust_contrast(image, factor)


def adjust_saturation(image: Any, factor: float, functional: ModuleType = f2) -> Any:
    """Blend an image with its luma; see torchvision's ``adjust_saturation``."""
    is_known_blend = is_known(image, functional) and _is_factor(image, factor) and channels_of(image) == 3
    if is_known_blend and is_exact(SATURATION, image, functional):
        return adjusted(image, [Adjustment.blend(SATURATION, factor)], functional)
    return functional.adjust_saturation(image, factor)


def adjust_hue(image: Any, factor: float, functional: ModuleType = f2) -> Any:
    """Turn the hue of an image; see torchvision's ``adjust_hue``."""
    if is_known(image, functional) and -0.5 <= factor <= 0.5 and channels_of(image) == 3:
        return adjusted(image, [Adjustment.turn(image, factor)], functional)
    return functional.adjust_hue(image, factor)


def adjust_sharpness(image: Any, factor: float, functional: ModuleType = f2) -> Any:
    """Blend an image with its smoothed one; see torchvision's ``adjust_sharpness``."""
    if not (is_known(image, functional) and _is_factor(image, factor)):
        return functional.adjust_sharpness(image, factor)
    is_pil = isinstance(image, PIL.Image.Image)
    if not is_pil and (min(image.shape[-2:]) < 3 or torch.get_float32_matmul_precision() != "highest"):
        # PyTorch may convolve in half precision.
        return functional.adjust_sharpness(image, factor)
    if is_pil or functional is f1:
        return _sharpened(image, factor, functional)
    rest = (image.shape[-1] - 2) % _STRIDE
    if not _is_one_part(image[..., 1:-1, 1:-1].numel()) or (rest and _is_small(image, 128, functional)):
        return functional.adjust_sharpness(image, factor)
    result = _sharpened(image, factor, functional)
    if rest:
        # PyTorch rounds the last columns in its own way.
        last = functional.adjust_sharpness(image[..., -rest - 2 :], factor)
        result[..., -rest - 1 : -1] = last[..., 1:-1]
    return result


def _sharpened(image: Any, factor: float, functional: ModuleType) -> Any:
    factor = float(factor)
    return _made(image, functional, lambda call: _tones().sharpened(call, factor, 1.0 - factor))


def to_luma(image: Any, functional: ModuleType = f2) -> Any:
    """Convert an image to luma in as many channels as it has; see torchvision's ``rgb_to_grayscale``."""
    channels = channels_of(image)
    if not (is_known(image, functional) and channels == 3 and is_exact(LUMA, image, functional)):
        return functional.rgb_to_grayscale(image, num_output_channels=channels)
    if isinstance(image, PIL.Image.Image):
        return adjusted(image, [Adjustment(LUMA)], functional)
    shape = *image.shape[:-3], 1, *image.shape[-2:]
    luma = adjusted(image, [Adjustment(LUMA)], functional, memory.empty(shape, torch.uint8))
    return wrapped(luma.expand(image.shape), image)


def invert(image: Any, functional: ModuleType = f2) -> Any:
    """Invert all values; see torchvision's ``invert``."""
    # PyTorch's own is as quick.
    if not (isinstance(image, PIL.Image.Image) and is_known(image, functional)):
        return functional.invert(image)
    return _made(image, functional, lambda call: _tones().inverted_and_masked(call, 0, 255))


def posterize(image: Any, bits: int, functional: ModuleType = f2) -> Any:
    """Keep the highest bits of all values; see torchvision's ``posterize``."""
    is_pil = isinstance(image, PIL.Image.Image)
    if not (is_pil and type(bits) is int and 1 <= bits <= 8 and is_known(image, functional)):
        return functional.posterize(image, bits)
    mask = 256 - (1 << (8 - bits))
    return _made(image, functional, lambda call: _tones().inverted_and_masked(call, 256, mask))


def solarize(image: Any, threshold: float, functional: ModuleType = f2) -> Any:
    """Invert the values from a threshold on; see torchvision's ``solarize``."""
    is_pil = isinstance(image, PIL.Image.Image)
    if _is_small(image, 40, functional) or not (
        is_known(image, functional) and type(threshold) in (int, float) and 0 <= threshold <= 255
    ):
        return functional.solarize(image, threshold)
    # PyTorch compares in float32.
    smallest = math.ceil(threshold if is_pil else float(np.float32(threshold)))
    return _made(image, functional, lambda call: _tones().inverted_and_masked(call, smallest, 255))


def autocontrast(image: Any, functional: ModuleType = f2) -> Any:
    """Spread the values of each channel over all that there are; see torchvision's ``autocontrast``."""
    if not is_known(image, functional):
        return functional.autocontrast(image)
    kernels = _tones()
    is_pil = isinstance(image, PIL.Image.Image)
    kind = kernels.SPREAD_AS_PILLOW if is_pil else kernels.SPREAD_AS_V1 if functional is f1 else kernels.SPREAD_AS_V2
    return _made(image, functional, lambda call: kernels.looked_up(call, kind, np.empty(3 * 256, np.uint8)))


def equalize(image: Any, functional: ModuleType = f2) -> Any:
    """Make the values of each channel as frequent as each other; see torchvision's ``equalize``."""
    if not is_known(image, functional):
        return functional.equalize(image)
    kernels = _tones()
    made = _made(image, functional, lambda call: kernels.looked_up(call, kernels.EQUALIZED, np.empty(768, np.uint8)))
    if isinstance(made, torch.Tensor) and not made.is_contiguous():
        return wrapped(made.contiguous(), image)
    return made


def looked_up(image: PIL.Image.Image, table: NDArray[np.uint8]) -> PIL.Image.Image:
    """Look the values of all channels of an image up in a table; see Pillow's ``Image.point``.

    Args:
        image: An image for which :func:`is_known` holds.
        table: The table, uint8 [256].
    """
    kernels, tables = _tones(), np.tile(table, 3)
    made: PIL.Image.Image = _made(image, f1, lambda call: kernels.looked_up(call, kernels.TABLES, tables))
    return made


def channels_of(image: Any) -> int:
    """Return the number of channels of an image."""
    return len(image.getbands()) if isinstance(image, PIL.Image.Image) else image.shape[-3]


def is_exact(step: int, image: Any, functional: ModuleType) -> bool:
    """Whether the bits of a step are known for an image for which :func:`is_known`.

    PyTorch's mean of a large image depends on the order in which it adds. v2 multiplies and adds by an operation that
    PyTorch does with one rounding for whole groups of numbers, and for the numbers that are left over with one or two.
    """
    if isinstance(image, PIL.Image.Image) or step in (BRIGHTNESS, HUE):
        return True
    pixels = image.shape[-2] * image.shape[-1]
    if step == CONTRAST and pixels > _EXACT_SUM:
        return False
    return functional is f1 or (
        pixels % _STRIDE == 0 and _is_even(image.numel() // image.shape[-3]) and _is_even(image.numel())
    )


def _is_even(count: int) -> bool:
    """Whether each thread of PyTorch's gets whole groups of so many numbers."""
    threads = min(torch.get_num_threads(), -(-count // _GRAIN))
    return threads < 2 or -(-count // threads) % _STRIDE == 0


def _is_one_part(count: int) -> bool:
    """Whether one thread of PyTorch's gets all of so many numbers."""
    return count < _GRAIN or torch.get_num_threads() == 1


def _is_small(image: Any, side: int, functional: ModuleType) -> bool:
    """Whether an image is a tensor for v2 with less pixels than a square."""
    is_tensor = functional is f2 and isinstance(image, torch.Tensor) and image.ndim > 2
    return is_tensor and image.shape[-1] * image.shape[-2] < side * side


def _is_factor(image: Any, factor: float) -> bool:
    """Whether a factor of a blend is one that torchvision takes."""
    return math.isfinite(factor) and (factor >= 0 or isinstance(image, PIL.Image.Image))


def is_known(image: Any, functional: ModuleType) -> bool:
    """Whether the kernels take an image, and give torchvision's bits."""
    if not _IS_X86:
        return False
    if isinstance(image, PIL.Image.Image):
        is_known = image.mode in BYTES_PER_PIXEL and layout() is not None and min(image.size) > 0
        # Pillow converts the color that is transparent too.
        return is_known and "transparency" not in image.info
    if type(image) is not torch.Tensor and (type(image) is not tv_tensors.Image or functional is f1):
        return False
    return (
        image.dtype == torch.uint8
        and image.is_cpu
        and torch.get_default_dtype() == torch.float32
        and _lies_as_known(image)
        and not torch._C._functorch.is_functorch_wrapped_tensor(image)
    )


def _lies_as_known(image: torch.Tensor) -> bool:
    """Whether a tensor is in planes or in pixels, or a part of such a one, or a batch of them.

    Where a dimension is 1, its stride does not say how a result of PyTorch's lies.
    """
    if image.layout != torch.strided or not 3 <= image.ndim <= 4 or min(image.shape) == 0:
        return False
    *batch, channels, height, width = image.shape
    *of_batch, of_channel, of_row, of_column = image.stride()
    if channels not in (1, 3) or height < 2 or width < 2:
        return False
    in_planes = of_column == 1 and of_row >= width and of_channel >= height * of_row
    in_pixels = of_channel == 1 and of_column == channels == 3 and of_row >= 3 * width
    size = channels * of_channel if in_planes else height * of_row
    if not (in_planes or in_pixels) or (batch and (batch[0] < 2 or of_batch[0] < size)):
        return False
    last = (channels - 1) * of_channel + (height - 1) * of_row + (width - 1) * of_column
    last += (batch[0] - 1) * of_batch[0] if batch else 0
    return image.untyped_storage().nbytes() > image.storage_offset() + last


def adjusted(
    image: Any, adjustments: Sequence[Adjustment], functional: ModuleType, out: torch.Tensor | None = None
) -> Any:
    """Apply several adjustments, one after another, without an image in between.

    Args:
        image: An image for which :func:`is_known` and, for each step, :func:`is_exact` hold.
        adjustments: The adjustments, four at most; of an image of one channel no saturation, hue or luma.
        functional: Torchvision's module of functions.
        out: Memory for the result; None for memory that lies as torchvision's.
    """
    call = _CALL_OF_THREAD.memory
    for number, each in enumerate(adjustments):
        _STEP.pack_into(call, _CALL.size + number * _STEP.size, each.step, each.first, each.second)
    steps = {each.step for each in adjustments}
    if isinstance(image, PIL.Image.Image):
        run, keeps_info = _kernels().adjusted_as_pillow, steps == {SATURATION}
        return _made(image, functional, run, len(adjustments), keeps_info)
    turned: Layout = "pixels" if functional is f1 else "planes"
    order: Layout = turned if HUE in steps else "same"
    return _made(image, functional, _kernels().adjusted_as_tensors, len(adjustments), order=order, out=out)


def _made(
    image: Any,
    functional: ModuleType,
    run: Callable[[NDArray[np.uint64]], object],
    steps: int = 0,
    keeps_info: bool = True,
    order: Layout = "same",
    out: torch.Tensor | None = None,
) -> Any:
    """Make a new image of an image with a kernel.

    Args:
        image: The image.
        functional: Torchvision's module of functions.
        run: Kernel, which takes the call.
        steps: Steps of the call.
        keeps_info: Whether Pillow keeps the information about the image.
        order: How the result lies in memory.
        out: Memory for the result; or None.
    """
    call = _CALL_OF_THREAD
    if isinstance(image, PIL.Image.Image):
        return _made_by_pillow(image, run, steps, keeps_info)
    *batch, channels, height, width = image.shape
    arithmetic = _arithmetic(functional)
    result = out if out is not None else _empty(image, order)
    of_batch, of_source = _strides(image)
    of_results, of_result = _strides(result)
    address, result_address = image.data_ptr(), result.data_ptr()
    for number in range(batch[0] if batch else 1):
        _CALL.pack_into(
            call.memory, 0, height, width, channels, result.shape[-3], steps, arithmetic,
            0, 0, address + number * of_batch, *of_source, 0, 0, result_address + number * of_results, *of_result,
        )  # fmt: skip
        run(call.array)
    return wrapped(result, image)


def wrapped(result: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return a result as a tensor of the type of the image."""
    return tv_tensors.wrap(result, like=image) if isinstance(image, tv_tensors.Image) else result


def _made_by_pillow(
    image: PIL.Image.Image, run: Callable[[NDArray[np.uint64]], object], steps: int, keeps_info: bool
) -> PIL.Image.Image:
    found = layout()
    assert found is not None, "images are left to Pillow without it"
    call = _CALL_OF_THREAD
    mode, (width, height) = image.mode, image.size
    made = PIL.Image.new(mode, (width, height), None)
    if keeps_info and image.info:
        made.info = {key: value.copy() if isinstance(value, list) else value for key, value in image.info.items()}
    source, result = load(image), load(made)
    channels, of_column = len(mode), BYTES_PER_PIXEL[mode]
    _CALL.pack_into(
        call.memory, 0, height, width, channels, channels, steps, _PILLOW,
        id(source) + found.structure_at, found.rows_at, 0, 0, of_column, 1,
        id(result) + found.structure_at, found.rows_at, 0, 0, of_column, 1,
    )  # fmt: skip
    run(call.array)
    return made


def _strides(image: torch.Tensor) -> tuple[int, tuple[int, int, int]]:
    """Return the stride of a batch, and those of rows, columns and channels."""
    *of_batch, of_channel, of_row, of_column = image.stride()
    return of_batch[0] if of_batch else 0, (of_row, of_column, of_channel)


def _empty(image: torch.Tensor, order: Layout) -> torch.Tensor:
    """Return memory for a result of an image's shape."""
    *batch, channels, height, width = image.shape
    if order == "pixels" or (order == "same" and image.stride(-1) != 1):
        return memory.empty((*batch, height, width, channels), torch.uint8).movedim(-1, -3)
    return memory.empty(tuple(image.shape), torch.uint8)


def _arithmetic(functional: ModuleType) -> int:
    kernels: Any = _kernels()
    if functional is f1:
        return int(kernels.TENSORS_V1)
    return int(kernels.TENSORS_V2_UNFUSED if torch_float32().luma_unfused else kernels.TENSORS_V2)
