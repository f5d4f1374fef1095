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
from onelayer.images.containers import TORCH_DTYPES, check_memory, format_of, image_of, pixels_of
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
) -> AnySizePipeline | CopyPipeline | str:
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
    if structure.only_copies and backend == "auto" and spec.container != "numpy":
        return CopyPipeline(structure)
    target = LoweringTarget(device, torch.uint8, TORCH_DTYPES[structure.output_spec.dtype], threads)
    lowered = lower_any_size(backend, structure, target)
    return lowered if isinstance(lowered, str) else AnySizePipeline(structure, *lowered, target)


class _Sizes:
    """Places images of a structure, and remembers where the last one was placed."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._last: tuple[int, int, Placed | None] = (0, 0, None)

    def place(self, height: int, width: int) -> Placed | None:
        """Place an image; None where only a program for its size can say what becomes of it."""
        last = self._last
        if last[0] == height and last[1] == width:
            return last[2]
        try:
            placed = self._structure.place(height, width) if min(height, width) > 0 else None
        except OnelayerError:
            # Derived for this size, it says which transform refuses it.
            placed = None
        self._last = height, width, placed
        return placed


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
        self._sizes = _Sizes(structure)

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
        if (placed := self._sizes.place(height, width)) is None:
            return None
        threads = self._target.threads or torch.get_num_threads()
        size = placed.height, placed.width
        if self._output.container == "pil" and out is None:
            made = self._pillow_image(size, image if self._into == "pil" else None)
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
            written = out if in_place else out.copy_(result)
            return written if self._output.container == "tensor" else image_of(written, self._output)
        if result.dtype != self._target.result_dtype:
            result = result.to(self._target.result_dtype)
        if self._into == "tensor" and pixels is not None:
            result = result.contiguous(memory_format=format_of(pixels))
        return result if self._output.container == "tensor" else image_of(result, self._output)

    def _pillow_image(
        self, size: tuple[int, int], like: PIL.Image.Image | None
    ) -> tuple[PIL.Image.Image, ResultMemory] | None:
        """Make a PIL image of a height and a width that a kernel can write to, with the metadata of another."""
        height, width = size
        image = PIL.Image.new("L" if self._channels == 1 else "RGB", (width, height), None)
        if like is not None:
            image.info = like.info.copy()
        table = rows_of(image)
        return None if table is None else (image, ResultMemory(0, table, image))


class CopyPipeline:
    """A pipeline that only moves pixels: slices and flips of PyTorch and Pillow, which no kernel is faster than.

    Args:
        structure: The pipeline.
    """

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self._container, self._output = structure.input_spec.container, structure.output_spec
        self._sizes = _Sizes(structure)
        self._fills = dict(zip(map(id, structure.steps), structure.fills, strict=True))

    def __call__(self, image: Any, out: torch.Tensor | None) -> Any:
        """Compute the result of an image, or of a batch; see :class:`AnySizePipeline`."""
        if self._container == "pil":
            placed = self._sizes.place(image.height, image.width)
            return None if placed is None or out is not None else self._of_pillow(image, placed)
        pixels = pixels_of(image)
        placed = self._sizes.place(*pixels.shape[-2:])
        if placed is None:
            return None
        result = self._of_tensor(pixels, placed)
        if out is not None:
            check_memory(out, tuple(result.shape), self._output, pixels)
            result = out.copy_(result)
        elif result.shape == pixels.shape and result.data_ptr() == pixels.data_ptr():
            # Nothing to do for an image of this size.
            result = result.clone()
        return result if self._output.container == "tensor" else image_of(result, self._output)

    def _of_tensor(self, pixels: torch.Tensor, placed: Placed) -> torch.Tensor:
        (top, left), (height, width), flips = _copied(placed)
        kept = pixels[..., top : top + height, left : left + width]
        if any(flips):
            kept = kept.flip([axis for axis, flip in zip((-2, -1), flips, strict=True) if flip])
        if placed.height == height and placed.width == width:
            return kept
        shape = (*pixels.shape[:-2], placed.height, placed.width)
        framed = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=format_of(pixels))
        framed.copy_(torch.from_numpy(self._fills[id(placed.fill)])[:, None, None])
        framed[..., placed.top : placed.top + height, placed.left : placed.left + width] = kept
        return framed

    def _of_pillow(self, image: PIL.Image.Image, placed: Placed) -> PIL.Image.Image:
        (top, left), (height, width), flips = _copied(placed)
        kept = image.crop((left, top, left + width, top + height))
        if any(flips):
            kept = kept.transpose(_TRANSPOSES[flips])
        if placed.height == height and placed.width == width:
            return kept
        values = tuple(int(value) for value in self._fills[id(placed.fill)])
        framed = PIL.Image.new(image.mode, (placed.width, placed.height), values if len(values) > 1 else values[0])
        framed.paste(kept, (placed.left, placed.top))
        framed.info = image.info.copy()
        return framed


_TRANSPOSES = {
    (True, False): PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    (False, True): PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    (True, True): PIL.Image.Transpose.ROTATE_180,
}
"""Pillow's flips, by whether rows and columns are reversed."""


def _copied(placed: Placed) -> tuple[tuple[int, int], tuple[int, int], tuple[bool, bool]]:
    """Return the first row and column that are kept, the numbers of these, and whether they are reversed."""
    rows, cols = placed.rows, placed.cols
    return (rows[3], cols[3]), (rows[4], cols[4]), (bool(rows[5]), bool(cols[5]))
