"""Lower programs of a single separable stage to a fused kernel on NVIDIA GPUs, compiled by Triton."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Program, Separable
from onelayer.backends.kernel_memory import (
    as_batch,
    delivered,
    memory_for,
    only_for_pytorch,
    written_dtype,
)
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.segments import Segment, segments_of
from onelayer.backends.target import Apply, LoweringTarget
from onelayer.backends.triton.tiles import Tiles, tiles_of
from onelayer.images.containers import refuse_missing_storage

_CAPABILITY = 8, 0
"""Compute capability of the oldest GPUs that Triton's kernels are tried on: Ampere."""

_VALUES = 2048
"""Samples of the lines of a tile: sixteen registers of each of 128 threads."""

_SCATTERED_VALUES = 512
"""Samples of the lines of a tile where neighbours do not lie next to each other: each is read by itself, and its
address takes registers."""

_ROWS = 32
"""Maximum number of rows of a tile."""

_WARPS = 4

_ALIGN = 4
"""Maximum number of elements that a thread reads at once: sixteen bytes of float32."""

_FARTHEST = 2**31 - 1
"""Maximum number of elements from the first of an image to its last: offsets are of 32 bits."""

_UNROLLED = 1, 2, 3, 4, 6, 8
"""Numbers of taps that a kernel is compiled for, without a loop."""

_LOOPED = 4
"""Taps of a turn of a loop, where there are more."""

_MIXED = 8
"""Maximum number of channels that are mixed: the sum over them is no loop."""


def prepare(program: Program, target: LoweringTarget) -> Callable[[], Apply] | str:
    """Check that the kernel can run a program.

    Returns:
        A function that lowers the program, or the reason why the kernel cannot run it.
    """
    segment = _segment(program, target)
    return segment if isinstance(segment, str) else partial(_lower, program, segment, target)


def _segment(program: Program, target: LoweringTarget) -> Segment | str:
    """Return the only segment of a program, or the reason why the kernel cannot run it."""
    if target.device.type not in ("cuda", "cpu"):
        return f"the images are on {target.device.type}, not on an NVIDIA GPU"
    if target.dtype != torch.float32:
        return f"the kernel computes in float32, not in {str(target.dtype).removeprefix('torch.')}"
    segments = segments_of(program)
    if isinstance(segments, str):
        return segments
    if len(segments) > 1:
        return f"the program takes {len(segments)} kernels one after the other"
    (segment,) = segments
    operator = segment.operator
    if not isinstance(operator, Separable):
        return "the stage does not work on rows and columns one by one"
    if _is_mixed(segment) and segment.channel.shape[1] > _MIXED:
        return f"it mixes more than {_MIXED} channels"
    if max(math.prod(program.in_shape), math.prod(program.out_shape)) > _FARTHEST:
        return "an image has more than 2³¹ values"
    tiles = tiles_of(operator.cols, _ALIGN if operator.cols.n_in % _ALIGN == 0 else 1)
    if tiles is None or tiles.count > 64 + operator.cols.n_out // 4:
        return "columns of the output read columns of the image that lie far apart"
    return _why_not_here(target.device) or segment


def _why_not_here(device: torch.device) -> str | None:
    """Return the reason why the kernel cannot run on a device; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return f"the images are on {device.type}, and Triton is not installed"
    if device.type == "cpu":
        return None if _is_interpreted() else "the images are on the CPU"
    if torch.version.hip is not None or not torch.cuda.is_available():
        return "the images are on cuda, but there is no NVIDIA GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, older than 8.0"
    return None


def _is_interpreted() -> bool:
    # Only here, because Triton is not on every system and takes a second to import.
    from onelayer.backends.triton import kernels

    return kernels.IS_INTERPRETED


def _lower(program: Program, segment: Segment, target: LoweringTarget) -> Apply:
    """Turn a program into a function on tensors.

    Weights of zero, which fill up bands, are kept from touching what is no number, so nothing has to be looked at
    after the launch and no call waits for the GPU. Where a gradient is wanted, plain PyTorch computes instead
    (:func:`onelayer.backends.pytorch.lowering.lower`).
    """
    kernel = _Kernel(segment, target)
    plain = cache(partial(pytorch.lower, program, target))

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        if only_for_pytorch(images):
            return plain()(images, out)
        return kernel(images, out)

    return run


class _Group:
    """Taps in groups of a few sizes, filled up: the kernel is compiled for each size, and loops over larger numbers.

    Args:
        weights: [taps, …].
    """

    def __init__(self, weights: NDArray[np.float32 | np.float64]) -> None:
        taps = len(weights)
        self.size = next((size for size in _UNROLLED if size >= taps), _LOOPED)
        self.are_many = taps > self.size
        missing = -taps % self.size
        self.weights = np.concatenate([weights, np.zeros((missing, *weights.shape[1:]), weights.dtype)])
        self.has_zeros = not self.weights.all()


@dataclass(frozen=True, eq=False)
class _Columns:
    """Tiles, and their tables on the device."""

    tiles: Tiles
    group: _Group
    tables: tuple[torch.Tensor, ...]


class _Kernel:
    """The kernel with the taps of a program."""

    def __init__(self, segment: Segment, target: LoweringTarget) -> None:
        from onelayer.backends.triton import kernels

        assert isinstance(segment.operator, Separable)
        self._launcher = kernels.separable
        self._segment = segment
        self._operator = segment.operator
        self._target = target
        self._out_shape = segment.operator.out_shape
        self._written = written_dtype(target, segment.rounding is not None)
        self._is_mixed = _is_mixed(segment)
        roundings = {
            None: kernels.NO_ROUNDING,
            "half_even": kernels.HALF_EVEN,
            "half_up": kernels.HALF_UP,
            "truncate": kernels.TRUNCATE,
        }
        self._rounding = roundings[segment.rounding]
        self._rows = _Group(self._operator.rows.weights.T)
        self._row_tables = self._ints(self._operator.rows.starts), self._float32(self._rows.weights)
        self._channel_tables = (
            self._float32(segment.channel),
            self._ints((segment.channel != 0).argmax(axis=1)),
            *(self._float32(values) for values in (segment.bias, segment.low, segment.high)),
        )
        self._columns = cache(self._new_columns)

    def __call__(self, images: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        """Compute [..., C', H', W'] from images [..., C, H, W]."""
        memory = memory_for((*images.shape[:-3], *self._out_shape), self._written, out, self._empty)
        if memory.numel():
            self._launch(_readable(images.transpose(-1, -2) if self._operator.transpose else images), memory)
        return delivered(memory, out, self._target)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self._target.device)

    def _launch(self, images: torch.Tensor, memory: torch.Tensor) -> None:
        segment, (channels_out, height, width) = self._segment, self._out_shape
        steps = _steps(images)
        align = _alignment(images, steps)
        of_image, of_channel, of_row, of_column = steps
        columns = self._columns(align)
        tiles = columns.tiles
        values = _VALUES if of_column == 1 else _SCATTERED_VALUES
        rows = min(_ROWS, max(1, values // (tiles.cells * tiles.cell)), _power_of_two(height))
        tiles_down = -(-height // rows)
        # Channels that lie next to each other, or are mixed, are computed while their lines are near.
        each = channels_out if self._is_mixed or of_column != 1 else 1
        is_float = images.is_floating_point()
        grid = len(images) * (channels_out // each) * tiles_down * tiles.count
        with torch.cuda.device(images.device) if images.is_cuda else nullcontext():
            self._launcher[(grid,)](
                images, of_image // align, of_channel // align, of_row // align, of_column, memory,
                *self._row_tables, len(self._rows.weights), self._operator.rows.n_in - 1,
                *columns.tables, len(columns.group.weights), *self._channel_tables,
                channels_out, height, width, tiles_down, tiles.count,
                ROWS=rows, COLUMNS=_power_of_two(int(np.diff(tiles.outputs).max())), CELLS=tiles.cells, CELL=tiles.cell,
                ROW_GROUP=self._rows.size, ROW_GROUPS=self._rows.are_many,
                COLUMN_GROUP=columns.group.size, COLUMN_GROUPS=columns.group.are_many,
                CHANNELS=segment.channel.shape[1], EACH=each, MIXED=self._is_mixed, BIAS_IMAGE=segment.bias.ndim == 3,
                ALIGN=align,
                KEEPS_ROWS=is_float and (self._rows.has_zeros or (self._is_mixed and not segment.channel.all())),
                KEEPS_COLUMNS=is_float and columns.group.has_zeros,
                ROUNDING=self._rounding, num_warps=_WARPS, num_stages=1, enable_fp_fusion=True,
            )  # fmt: skip

    def _new_columns(self, align: int) -> _Columns:
        tiles = tiles_of(self._operator.cols, align)
        assert tiles is not None
        group = _Group(tiles.weights)
        places = tiles.outputs, tiles.starts, tiles.ends, tiles.bases
        return _Columns(tiles, group, (*(self._ints(values) for values in places), self._float32(group.weights)))

    def _ints(self, values: NDArray[np.int32 | np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.array(values, np.int32, order="C")).to(self._target.device)

    def _float32(self, values: NDArray[np.float32 | np.float64]) -> torch.Tensor:
        return torch.from_numpy(np.array(values, np.float32, order="C")).to(self._target.device)


def _is_mixed(segment: Segment) -> bool:
    """Whether an output channel is made of several."""
    return bool((np.count_nonzero(segment.channel, axis=1) > 1).any())


def _readable(images: torch.Tensor) -> torch.Tensor:
    """Return images as [N, C, H, W] that the kernel can read, copied only if it cannot read them where they are."""
    refuse_missing_storage(images, "the image")
    images = as_batch(images)
    _, *sizes = images.shape
    farthest = sum((size - 1) * step for size, step in zip(sizes, images.stride()[1:], strict=True))
    return images if farthest <= _FARTHEST else images.contiguous()


def _steps(images: torch.Tensor) -> list[int]:
    """Return the elements from one image, channel, row and column to the next, as if axes of length 1 had no gaps."""
    of_image, of_channel, of_row, of_column = (
        0 if size == 1 else step for size, step in zip(images.shape, images.stride(), strict=True)
    )
    return [of_image, of_channel, of_row, of_column or 1]


def _alignment(images: torch.Tensor, steps: list[int]) -> int:
    """Return the number of elements that rows begin and end at multiples of, up to what a thread reads at once."""
    *outer, of_column = steps
    address, remainder = divmod(images.data_ptr(), images.element_size())
    if of_column != 1 or remainder:
        return 1
    return math.gcd(_ALIGN, *outer, images.shape[-1], address)


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is not less than a number."""
    return 1 << (number - 1).bit_length()
