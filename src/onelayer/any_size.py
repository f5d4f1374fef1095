"""Run a pipeline on images of any size: read an image, place it, compute, and make the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch

from onelayer.backends import BackendName, LoweringTarget, lower_any_size
from onelayer.backends.cpu import memory
from onelayer.backends.kernel_memory import as_batch, only_for_pytorch
from onelayer.backends.target import ComputeAnySize, PixelMemory, ResultMemory
from onelayer.errors import OnelayerError
from onelayer.frontends.placement import Placed
from onelayer.frontends.structure import Structure
from onelayer.image_spec import ImageSpec
from onelayer.images.containers import TORCH_DTYPES, check_memory, image_of, in_format_of, pixels_of
from onelayer.images.pillow_memory import BYTES_PER_PIXEL, rows_of
from onelayer.programs import Source


def kind_of_image(image: Any) -> object:
    """Return a key that images share for which a pipeline has the same structure, whatever their sizes."""
    if isinstance(image, PIL.Image.Image):
        return image.mode
    if isinstance(image, torch.Tensor):
        return type(image), image.dtype, image.device, image.shape[-3:-2]
    if isinstance(image, np.ndarray):
        return type(image), image.dtype, image.shape[2:][-1:]
    return type(image)


def any_size_pipeline(
    source: Source, spec: ImageSpec, device: torch.device, backend: BackendName, threads: int | None
) -> AnySizePipeline | str:
    """Prepare a pipeline for images of every size, or return the reason why each takes a plan of its own.

    Args:
        source: Source of the pipeline.
        spec: An image; its height and width mean nothing.
        device: Device of the images.
        backend: Backend that was asked for.
        threads: Maximum number of CPU threads per call; None for PyTorch's number.
    """
    structure = source.structure(spec)
    if isinstance(structure, str):
        return structure
    target = LoweringTarget(device, torch.uint8, TORCH_DTYPES[structure.output_spec.dtype], threads)
    lowered = lower_any_size(backend, structure, target)
    return lowered if isinstance(lowered, str) else AnySizePipeline(structure, *lowered, target)


class AnySizePipeline:
    """A pipeline that is prepared for images of every size of one container, dtype and number of channels.

    Args:
        structure: The pipeline.
        compute: Function that it was lowered to.
        written: Dtype that the function writes.
        target: Target of the lowering.
    """

    def __init__(
        self, structure: Structure, compute: ComputeAnySize, written: torch.dtype, target: LoweringTarget
    ) -> None:
        self.structure = structure
        self._compute = compute
        self._written = written
        self._target = target
        self._into, self._output = structure.input_spec.container, structure.output_spec
        self._channels = structure.output_spec.shape[0]
        self._last: tuple[int, int, Placed | None] = (0, 0, None)

    def __call__(self, image: Any, out: torch.Tensor | None) -> Any:
        """Compute the result of an image, or of a batch; None where only a program for its size can.

        Args:
            image: Image of the container, dtype and number of channels.
            out: Memory for the result, or None.

        Raises:
            OnelayerError: If ``out`` cannot hold the result.
        """
        batch: tuple[int, ...] = ()
        if self._into == "pil":
            image.load()
            width, height = image.size
            table = rows_of(image)
            if table is None:
                return None
            pixels = None
            images = PixelMemory(0, 0, 1, 0, BYTES_PER_PIXEL[image.mode], table, 1, image)
        else:
            pixels = pixels_of(image)
            if only_for_pytorch(pixels):
                return None
            *batch, _, height, width = pixels.shape  # type: ignore[assignment]  # a list will do
            if batch:
                flat = as_batch(pixels)
                images = PixelMemory(flat.data_ptr(), *flat.stride(), 0, len(flat), flat)  # type: ignore[call-arg]  # four
            else:
                images = PixelMemory(pixels.data_ptr(), 0, *pixels.stride(), 0, 1, pixels)  # type: ignore[call-arg]  # three
        if height < 1 or width < 1 or (placed := self._placed(height, width)) is None:
            return None
        threads = self._target.threads or torch.get_num_threads()
        size = placed.height, placed.width
        if self._output.container == "pil" and out is None:
            made = self._pillow_image(size)
            if made is not None:
                return made[0] if self._compute(images, placed, made[1], threads) else None
        shape = (*batch, self._channels, *size)
        if out is not None:
            check_memory(out, shape, self._output, torch.empty(0) if pixels is None else pixels)
        in_place = out is not None and out.dtype == self._written and out.is_contiguous()
        result = out if out is not None and in_place else memory.empty(shape, self._written)
        if result.numel() and not self._compute(images, placed, ResultMemory(result.data_ptr(), 0, result), threads):
            return None
        if out is not None:
            return out if in_place else out.copy_(result)
        if result.dtype != self._target.result_dtype:
            result = result.to(self._target.result_dtype)
        if self._into == "tensor" and pixels is not None:
            result = in_format_of(pixels, result)
        return result if self._output.container == "tensor" else image_of(result, self._output)

    def _placed(self, height: int, width: int) -> Placed | None:
        last = self._last
        if last[:2] == (height, width):
            return last[2]
        try:
            placed = self.structure.place(height, width)
        except OnelayerError:
            # Derived for this size, it says which transform refuses it.
            placed = None
        self._last = height, width, placed
        return placed

    def _pillow_image(self, size: tuple[int, int]) -> tuple[PIL.Image.Image, ResultMemory] | None:
        """Make a PIL image of a height and a width that a kernel can write to."""
        height, width = size
        image = PIL.Image.new("L" if self._channels == 1 else "RGB", (width, height), None)
        table = rows_of(image)
        return None if table is None else (image, ResultMemory(0, table, image))
