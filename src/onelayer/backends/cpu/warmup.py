"""Compile all CPU kernels ahead of the first image, for example while a container image is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch

from onelayer.algebra import ChannelMap, Lookup, Program, Separable, SpatialSparse, Stage, Taps
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.backends.cpu.launch import KernelLaunch

_SHAPE = 1, 1, 1
_DTYPES = torch.uint8, torch.float16, torch.float32


@dataclass(frozen=True)
class Compilation:
    """A kernel for certain dtypes.

    Args:
        kernel: Name of the kernel.
        dtypes: Dtypes of the images and of the results, as a phrase for users.
        compile: Compiles the kernel, or loads its machine code if that is on disk.
    """

    kernel: str
    dtypes: str
    compile: Callable[[], object]

    def __str__(self) -> str:
        return f"{self.kernel}, {self.dtypes}"


def compilations() -> list[Compilation]:
    """List what :func:`warmup` compiles: every kernel that a layer may use on the CPU, for all dtypes."""
    # Only here, because it takes half a second to import Numba.
    from onelayer.backends.cpu import (
        byte_call,
        color_call,
        color_kernel,
        cubic_warp_kernel,
        fill,
        grid_kernel,
        nearest_warp_kernel,
        opencv_kernel,
        tone_kernel,
        warp_kernel,
    )
    from onelayer.backends.cpu.compilation import address_of
    from onelayer.backends.cpu.counters import wait_a_little
    from onelayer.backends.cpu.drawing import draw_nothing
    from onelayer.backends.cpu.float32_sum_kernel import sums_of_columns, sums_of_rows
    from onelayer.backends.cpu.float_any_size import fill_tables_of_one_pixel
    from onelayer.backends.cpu.launch import SAMPLE
    from onelayer.backends.cpu.patch_kernel import patches_of
    from onelayer.backends.cpu.patch_layout import lay_one_pixel_out

    launches: list[tuple[KernelLaunch, tuple[torch.dtype, ...]]] = [
        (_byte_launch(), (torch.uint8,)),
        (_float_launch(Separable.identity(_SHAPE)), _DTYPES),
        (_float_launch(_any_pixels()), _DTYPES),
    ]
    found = [
        Compilation(
            launch.kernel.__name__, f"{_name(images)} → {_name(results)}", partial(_run, launch, images, results)
        )
        for launch, inputs in launches
        for images, results in product(inputs, _DTYPES)
    ]
    found += [
        Compilation(function.__name__, "tables of a size", partial(address_of, function, fill.CALL))
        for function in (fill.placed, fill.filled_with_bytes, fill.filled_with_float32, opencv_kernel.filled_as_opencv)
    ]
    for results in _DTYPES:
        # A call without anything to do.
        run = partial(opencv_kernel.resized_as_opencv, np.zeros(byte_call.FIELDS, np.uint64), SAMPLE[results])
        found.append(Compilation("resized_as_opencv", f"uint8 → {_name(results)}", run))
    # Images without rows.
    call, tables = np.zeros(color_call.FIELDS, np.uint64), np.zeros(3 * 256, np.uint8)
    for of_colors, numbers in (
        (color_kernel.adjusted_as_pillow, ()),
        (color_kernel.adjusted_as_tensors, ()),
        (tone_kernel.inverted_and_masked, (0, 0)),
        (tone_kernel.looked_up, (0, tables)),
        (tone_kernel.sharpened, (0.0, 0.0)),
    ):
        found.append(Compilation(of_colors.__name__, "uint8 → uint8", partial(of_colors, call, *numbers)))
    for of_grids in (grid_kernel.sampled_nearest, grid_kernel.sampled_bilinear):
        run = partial(of_grids, np.zeros(grid_kernel.FIELDS, np.uint64))
        found.append(Compilation(of_grids.__name__, "uint8 → uint8", run))
    taps = Taps(1, np.zeros(1, np.int64), np.ones(1, np.int64), np.ones((1, 1), np.float32))
    images = np.zeros((1, 1, 1), np.float32)
    for kernel, values in ((sums_of_columns, images[0]), (sums_of_rows, images)):
        run = partial(kernel, values, taps.starts, taps.counts, taps.weights, 0, values.copy())
        found.append(Compilation(kernel.__name__, "float32 → float32", run))
    found.append(Compilation(wait_a_little.__name__, "counters", partial(wait_a_little, np.zeros(3, np.uint64), 0)))
    found.append(Compilation("draw", "random numbers", draw_nothing))
    found.append(Compilation("filled", "tables of a size, float32", fill_tables_of_one_pixel))
    found.append(Compilation(patches_of.__name__, "uint8 → float32", lay_one_pixel_out))
    # Its own address stands for a structure, its rows, and a row. The result has none.
    itself = np.zeros(1, np.uint64)
    itself[0] = address = np.uint64(itself.ctypes.data)
    call = np.array([address, address, 0, 1, 2, 0, 0, 1, 0, 0], np.uint64)
    for warped in (
        warp_kernel.warped_bilinear, cubic_warp_kernel.warped_cubic, nearest_warp_kernel.warped_nearest,
    ):  # fmt: skip
        run = partial(warped, call, np.zeros(8))
        found.append(
            Compilation(warped.__name__, "uint8 → uint8", lambda run=run: run() if itself.any() else None)  # type: ignore[misc]
        )
    return found


def warmup(*, progress: bool = False) -> Path:
    """Compile all CPU kernels, for all dtypes, and keep the machine code on disk.

    It is kept in ``$ONELAYER_CACHE/kernels``, or in the user's cache folder, for this kind of processor and for this
    version of onelayer and Numba. What is there already is not compiled again. It takes about four minutes.

    Args:
        progress: Whether to show progress on standard error.

    Returns:
        Folder of the machine code.

    Raises:
        OnelayerError: If the folder cannot be written.
    """
    from onelayer.backends.cpu.compilation import WRITE_ERRORS, kernel_folder

    each = compilations()
    for compilation in _shown(each) if progress else each:
        compilation.compile()
    folder = kernel_folder()
    if folder in WRITE_ERRORS:
        raise OnelayerError(
            f"compiled kernels cannot be kept in {folder}: {WRITE_ERRORS[folder]}",
            hint="Set ONELAYER_CACHE to a folder that can be written.",
        )
    return folder


def _shown(each: list[Compilation]) -> Iterator[Compilation]:
    from onelayer.console import progress, visible_progress

    with visible_progress(), progress() as display:
        yield from display.track(each, description="Compiling CPU kernels")


def _byte_launch() -> KernelLaunch:
    from onelayer.backends.cpu.launch import launch_of
    from onelayer.backends.cpu.split import byte_segments_of

    segments = byte_segments_of(Program(_SHAPE, (Lookup(np.arange(256.0)),)))
    assert not isinstance(segments, str)
    return launch_of(segments[0])


def _float_launch(stage: Stage) -> KernelLaunch:
    from onelayer.backends.cpu.launch import launch_of
    from onelayer.backends.segments import segments_of

    segments = segments_of(Program(_SHAPE, (stage,)))
    assert not isinstance(segments, str)
    return launch_of(segments[0])


def _any_pixels() -> SpatialSparse:
    return SpatialSparse(ChannelMap.identity(1), scipy.sparse.eye_array(1, format="csr"), (1, 1), (1, 1), np.zeros(1))


def _run(launch: KernelLaunch, images: torch.dtype, results: torch.dtype) -> None:
    launch(torch.zeros(1, *_SHAPE, dtype=images), torch.empty(1, *_SHAPE, dtype=results), 1)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
