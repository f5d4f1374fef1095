"""Run pipelines with OpenCV's resizes, or of arrays, on images of any size."""

from __future__ import annotations

import numpy as np
import torch

from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu.any_size import AnySize, PlacedKernel, segment_of
from onelayer.backends.cpu.compilation import address_of
from onelayer.backends.cpu.fill import CALL
from onelayer.backends.cpu.opencv_kernel import filled_as_opencv, resized_as_opencv
from onelayer.backends.cpu.split import ByteSegment
from onelayer.backends.target import ComputeAnySize, LoweringTarget, PixelMemory, ResultMemory
from onelayer.frontends.placement import Placed, RealSums
from onelayer.frontends.structure import Structure


class OpenCVAnySize:
    """A pipeline of bytes on the CPU with OpenCV's arithmetic, for images of any size.

    Args:
        structure: The pipeline.
        segment: What it does to each pixel, as a segment for images of 1×1.
        out: Dtype of the results: uint8, float16 or float32.
    """

    def __init__(self, structure: Structure, segment: ByteSegment, out: torch.dtype) -> None:
        sums = structure.sums
        assert not isinstance(sums, RealSums), "bytes are rounded"
        self.writes_pixels = structure.output_spec.container == "numpy"
        frames = np.array(structure.fills).reshape(-1, structure.output_spec.shape[0])
        constants = {
            field.FILL_WITH: address_of(filled_as_opencv, CALL),
            field.RESULT_PIXELS: int(self.writes_pixels),
            field.IMAGE_CHANNELS: structure.input_spec.shape[0],
        }
        self._kernel = PlacedKernel(
            segment, sums, structure.moves, frames, out, kernel=resized_as_opencv, constants=constants
        )

    def place(self, height: int, width: int, moves: tuple[int, ...] | None = None) -> Placed | None:
        """Place images; see :meth:`onelayer.backends.target.ComputeAnySize.place`."""
        numbers = self._kernel.place(height, width, moves)
        return None if numbers is None else Placed.of(numbers)

    def __call__(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        moves: tuple[int, ...] | None = None,
    ) -> bool:
        """Compute; see :class:`onelayer.backends.target.ComputeAnySize`."""
        return self._kernel(images, height, width, results, threads, None, moves) == field.COMPLETE


def lower_any_size(structure: Structure, target: LoweringTarget) -> tuple[ComputeAnySize, torch.dtype] | str:
    """Lower a structure to the kernel with OpenCV's arithmetic.

    Returns:
        A function that computes, and the dtype that it writes; or the reason why the kernel cannot run it.
    """
    found = segment_of(structure, target)
    if isinstance(found, str):
        return found
    segment, written = found
    if structure.input_spec.container == "pil" or segment.mix is not None:
        # The other kernel reads and mixes them.
        return (AnySize(structure, segment, written), written) if structure.sums is None else "its channels are mixed"
    return OpenCVAnySize(structure, segment, written), written
