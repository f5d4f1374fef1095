"""Run a pipeline on images of any size: read an image, place it, compute, and make the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from onelayer.algebra import SpatialSparse
from onelayer.backends import BackendName, LoweringTarget, lower_any_size, lower_drawing
from onelayer.backends.cpu import memory
from onelayer.backends.cpu.threads import for_each
from onelayer.backends.kernel_memory import (
    as_batch,
    delivered,
    memory_for,
    only_for_pytorch,
    read_dtype,
    readable,
)
from onelayer.backends.target import ComputeAnySize, PixelMemory, ResultMemory, computes_in
from onelayer.copying import CopyPipeline, refuse_impossible_result
from onelayer.errors import OnelayerError
from onelayer.frontends import Transform
from onelayer.frontends.placement import (
    COLUMNS_FIRST,
    MOVE,
    RESIZE_TO,
    Moves,
    PilResult,
    RealSums,
    Sums,
    rows_first,
)
from onelayer.frontends.structure import Structure
from onelayer.image_spec import ImageSpec
from onelayer.images.containers import (
    TORCH_DTYPES,
    check_memory,
    format_of,
    image_of,
    pixels_of,
    refuse_missing_storage,
    size_of,
)
from onelayer.images.pillow_memory import BYTES_PER_PIXEL, layout, load
from onelayer.programs import Source, Transforms
from onelayer.random_state import present_state, put_back

LARGE = 1 << 19
"""Pixels of a tensor from which on the rule of :data:`REDUCTION` holds."""

REDUCTION = 4
"""Input columns per output column from which on PyTorch is as fast or faster at float tensors of which two samples are
read, whatever the reduction, where the colors of a pixel lie side by side: it leaves out the columns between, which the
kernel adds up along rows."""

LARGE_PLANES = 1 << 16
"""Pixels of a float tensor from which on PyTorch is faster where colors lie in planes and nearest samples are all that
is taken: the kernel writes them as sums."""

SMALL = 6000
"""Pixels of a PIL image up to which Pillow resizes rows first, and then columns, before two calls of a kernel have."""

WARPED = 1 << 20
"""Pixels of floating point images from which on a warp's taps, which lie in memory one by one, take longer to derive
than a hundred images take the original."""

_SHARED = 1 << 14
"""Values of a result from which on the images of a batch are shared between threads."""

_SMALL_SIZE = 31, 37
"""Height and width of an image that shows at once which kinds of stages a pipeline has."""


def kind_of_image(image: Any) -> object:
    """Return a key that images share for which a pipeline has the same structure, whatever their sizes."""
    if isinstance(image, torch.Tensor):
        shape = image.shape
        kind = type(image), image.dtype, shape[-3] if len(shape) > 2 else 0
        return kind if image.is_cpu else (*kind, image.device)
    if isinstance(image, PIL.Image.Image):
        return image.mode
    if isinstance(image, np.ndarray):
        return type(image), image.dtype, image.shape[2:][-1:]
    return type(image)


def any_size_pipeline(
    source: Source, spec: ImageSpec, device: torch.device, backend: BackendName, threads: int | None
) -> AnySizePipeline | CopyPipeline | OriginalPipeline | str:
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
        smallest = pixels_left_to_original(source, spec, backend) if device.type == "cpu" else None
        if smallest is None or not isinstance(source, Transforms):
            return structure
        return OriginalPipeline(source.transform, smallest)
    is_copied = structure.only_copies and not structure.makes_borders
    if is_copied and backend == "auto" and spec.container != "numpy":
        return CopyPipeline(structure)
    target = target_of(structure, device, threads)
    # The original would draw its numbers, and the layer once more.
    may_leave = backend == "auto" and not structure.draws and not source.draws(spec)
    original = source.transform if isinstance(source, Transforms) and may_leave else None
    each = []
    for sums in structure.choices:
        one = structure if sums is structure.sums else replace(structure, sums=sums)
        lowered = lower_any_size(backend, one, target)
        if isinstance(lowered, str):
            return lowered
        each.append(AnySizePipeline(one, *lowered, target, original))
    return each[0] if len(each) == 1 else ChoosingPipeline(each, structure)


def target_of(structure: Structure, device: torch.device, threads: int | None = None) -> LoweringTarget:
    """Return what a structure is lowered for, where the images lie on a device."""
    dtype = computes_in(structure.input_spec, structure.output_spec, structure.rounding)
    return LoweringTarget(device, dtype, TORCH_DTYPES[structure.output_spec.dtype], threads)


def leaves_small(structure: Structure) -> bool:
    """Whether a pipeline is a resize of PIL images to one size, which Pillow may begin with rows."""
    stays_pil = structure.input_spec.container == structure.output_spec.container == "pil" and not structure.by_rule
    return stays_pil and structure.moves[::MOVE] == (RESIZE_TO,) and not structure.pixels.stages


def leaves_reductions(structure: Structure) -> bool:
    """Whether a pipeline reads few samples of float tensors, which PyTorch is quick at where columns shrink much."""
    return _reads_floats(structure, "bilinear_without_antialiasing", "nearest", "nearest_exact")


def leaves_planes(structure: Structure) -> bool:
    """Whether a pipeline only copies samples of float tensors, which PyTorch is quick at where they lie in planes."""
    is_unchanged = structure.input_spec == structure.output_spec and not structure.pixels.stages
    return is_unchanged and _reads_floats(structure, "nearest", "nearest_exact")


def _reads_floats(structure: Structure, *names: str) -> bool:
    sums, spec = structure.sums, structure.input_spec
    return isinstance(sums, RealSums) and sums.name in names and spec.is_float and spec.container != "numpy"


def pixels_left_to_original(source: Source, spec: ImageSpec, backend: BackendName) -> int | None:
    """Return the pixels from which on images are left to the transforms themselves; None where none are.

    These are rotations and other warps. Pillow and PyTorch compute where each sample lies and read it, in less time
    than it takes to read where it lies from memory. Only where PyTorch's places are computed for floating point images,
    in several passes, are taps quicker, as long as sizes repeat.

    Args:
        source: Source of the pipeline.
        spec: An image; its height and width mean nothing.
        backend: Backend that was asked for.
    """
    if backend != "auto" or not isinstance(source, Transforms) or spec.container == "numpy":
        return None
    if not spec.is_float and source.rounding_for(spec) == "fused":
        # Other results were asked for than the transforms give.
        return None
    try:
        outputs = source.outputs(replace(spec, shape=(spec.shape[0], *_SMALL_SIZE)))
    except OnelayerError:
        return None
    programs = (output.simplified.program for output in outputs.each)
    is_warp = any(isinstance(stage, SpatialSparse) for program in programs for stage in program.stages)
    return (WARPED if spec.is_float else 1) if is_warp else None


class OriginalPipeline:
    """A pipeline whose images are left to the transforms themselves, from a size on.

    Args:
        original: The transforms.
        smallest: Pixels from which on they are.
    """

    def __init__(self, original: Transform, smallest: int) -> None:
        self._original = original
        self._smallest = smallest

    def __call__(self, image: Any, out: torch.Tensor | None) -> Any:
        """Compute the result of an image, or of a batch; None where a program for its size does."""
        height, width = size_of(image)
        return None if out is not None or not height * width >= self._smallest else self._original(image)


_Read = Callable[[Any, torch.Tensor | None, int, Moves | None], Any]
"""Computes the result of an image, with memory for it or None, in at most so many threads, by moves or None."""


class AnySizePipeline:
    """A pipeline that is prepared for images of every size of one container, dtype and number of channels.

    Args:
        structure: The pipeline.
        compute: Function that it was lowered to.
        written: Dtype that the function writes.
        target: Target of the lowering.
        original: The transforms themselves, which images are left to that they are faster for; None for none.
    """

    def __init__(
        self,
        structure: Structure,
        compute: ComputeAnySize,
        written: torch.dtype,
        target: LoweringTarget,
        original: Transform | None = None,
    ) -> None:
        self._structure = structure
        self._compute = compute
        self._written = written
        self._target = target
        self._for_reductions = original if leaves_reductions(structure) else None
        self._for_small = original if leaves_small(structure) else None
        self._first_pass = structure.sums.first if isinstance(structure.sums, Sums) else COLUMNS_FIRST
        self._new_height, self._new_width = structure.size or (0, 0)
        self._for_planes = original if leaves_planes(structure) else None
        self._in_real_numbers = structure.rounding == "fused"
        self._container, self._output = structure.input_spec.container, structure.output_spec
        self._channels = structure.output_spec.shape[0]
        self._layout = layout() if self._container == "pil" else None
        # With padding, it depends on the size whether information about a PIL image is kept.
        self._size = None if self._output.container == "pil" else structure.size
        self._by_rule, self.draws = structure.by_rule, structure.draws
        self.draws_from_python = structure.draws_from_python
        self._draw = lower_drawing(structure) if structure.draws else None
        self._itemsize = TORCH_DTYPES[structure.input_spec.dtype].itemsize
        self._read: _Read = self._of_tensor
        if not self._in_real_numbers and self._container == "pil":
            self._read = self._of_pillow
        elif not self._in_real_numbers and self._container == "numpy" and structure.input_spec.dtype == "uint8":
            self._read = self._of_array_or_tensor
        self._writes_result = written == target.result_dtype
        self._writes_arrays = compute.writes_pixels and written == TORCH_DTYPES[self._output.dtype]

    def moves_for(self, image: Any) -> Moves | None:
        """Return the moves for an image, where these follow from rules; see :meth:`Structure.moves_for`.

        Args:
            image: Image of the container, dtype and number of channels.
        """
        if not self._by_rule:
            return None
        height, width = size_of(image)
        drawn = None if self._draw is None else self._draw(height, width)
        return self._structure.moves_for(height, width) if drawn is None else drawn

    def kind_of_result(self, moves: Moves | None) -> tuple[tuple[int, ...], torch.dtype] | None:
        """Return the shape and the dtype of the result of an image, if it is a tensor and its shape follows from moves.

        Args:
            moves: Moves that :meth:`moves_for` gave.
        """
        size = self._size if moves is None else moves.size
        is_tensor = self._output.container in ("tensor", "image")
        return ((self._channels, *size), self._target.result_dtype) if is_tensor and size is not None else None

    def __call__(
        self,
        image: Any,
        out: torch.Tensor | None,
        threads: int | None = None,
        moves: Moves | None = None,
    ) -> Any:
        """Compute the result of an image, or of a batch; None where only a program for its size can.

        What is done here is done for every image, in caches that the image before has emptied: each call of PyTorch's
        takes some 20 µs then.

        Args:
            image: Image of the container, dtype and number of channels.
            out: Memory for the result, or None.
            threads: Maximum number of threads; None for that of the target.
            moves: Moves for this image; None for those that :meth:`moves_for` gives.

        Raises:
            OnelayerError: If ``out`` cannot hold the result.
        """
        threads = threads or self._target.threads or torch.get_num_threads()
        if not self._by_rule or moves is not None:
            return self._read(image, out, threads, moves)
        height, width = size_of(image)
        # Whoever computes what is not computed here draws the same numbers once more.
        if (draw := self._draw) is not None and (moves := draw(height, width)) is not None:
            result = self._read(image, out, threads, moves)
            if result is None:
                draw.undo()
            return result
        state = present_state(of_python=self.draws_from_python) if self.draws else None
        moves = self._structure.moves_for(height, width)
        result = None if moves is None else self._read(image, out, threads, moves)
        if result is None and state is not None:
            put_back(state)
        return result

    def of_each(self, images: torch.Tensor, out: torch.Tensor | None, threads: int) -> Any:
        """Compute the results of the images of a batch, by numbers that are drawn for each in its turn.

        None where they are to be computed one after the other: results of several sizes, NaN, derivatives.

        Args:
            images: Batch [N, C, H, W] of at least one image, of the dtype and number of channels.
            out: Memory for the results, or None.
            threads: Maximum number of threads.

        Raises:
            OnelayerError: If ``out`` cannot hold the results.
        """
        count, _, height, width = images.shape
        is_known = self._output.container in ("tensor", "image") and not self._compute.writes_pixels
        if not is_known or only_for_pytorch(images):
            return None
        if not self.draws:
            return self(images, out, threads)
        if self._draw is None:
            return None
        refuse_missing_storage(images, "the image")
        pixels = _for_float_kernel(images) if self._in_real_numbers else images
        before = present_state(of_python=self.draws_from_python)
        if (moves := self._moves_of_each(count, height, width)) is None:
            put_back(before)
            return None
        size = moves[0].size
        shape = count, self._channels, *size
        if out is not None:
            check_memory(out, shape, self._output, images)
            results = memory_for(shape, self._written, out, memory.empty)
        else:
            results = memory.empty(shape, self._written)
        address, into = pixels.data_ptr(), results.data_ptr()
        of_image, of_channel, of_row, of_column = pixels.stride()
        to_next, of_result = of_image * pixels.itemsize, results[0].nbytes
        are_computed = [False] * count

        def compute(number: int) -> None:
            image = PixelMemory(address + number * to_next, 0, of_channel, of_row, of_column, 0, 1, pixels)
            result = ResultMemory(into + number * of_result, 0, results)
            are_computed[number] = self._compute(image, height, width, result, 1, moves[number].numbers)

        # Of small images, most of the time is Python's, which threads take in turn.
        for_each(compute, count, threads if self._channels * size[0] * size[1] >= _SHARED else 1)
        if not all(are_computed):
            put_back(before)
            return None
        result = results if out is None and self._writes_result else delivered(results, out, self._target)
        return result if self._output.container == "tensor" or out is not None else image_of(result, self._output)

    def _moves_of_each(self, images: int, height: int, width: int) -> list[Moves] | None:
        """Draw the moves of each of several images; None where their results are of several sizes."""
        assert self._draw is not None, "they are drawn in compiled code"
        moves: list[Moves] = []
        while len(moves) < images:
            if drawn := self._draw.of_each(images - len(moves), height, width):
                moves += drawn
            elif (of_transforms := self._structure.moves_for(height, width)) is not None:
                moves.append(of_transforms)
            else:
                return None
        return moves if all(each.size == moves[0].size for each in moves) else None

    def _of_array_or_tensor(self, image: Any, out: torch.Tensor | None, threads: int, moves: Moves | None) -> Any:
        is_readable = image.ndim == 3 and image.size and min(image.strides) >= 0
        return (self._of_array if is_readable else self._of_tensor)(image, out, threads, moves)

    def _of_array(self, image: NDArray[np.uint8], out: torch.Tensor | None, threads: int, moves: Moves | None) -> Any:
        height, width, _ = image.shape
        of_row, of_column, of_channel = image.strides
        address = image.__array_interface__["data"][0]
        images = PixelMemory(address, 0, of_channel, of_row, of_column, 0, 1, image)
        return self._computed(images, height, width, (), out, _NO_PIXELS, threads, moves)

    def _of_pillow(self, image: PIL.Image.Image, out: torch.Tensor | None, threads: int, moves: Moves | None) -> Any:
        width, height = image.size
        if (memory_of := self._layout) is None:
            return None
        if self._for_small is not None and width * height < SMALL and out is None and self._begins_with_rows(image):
            return self._for_small(image)
        capsule = load(image)
        structure = id(capsule) + memory_of.structure_at
        images = PixelMemory(0, 0, 1, 0, BYTES_PER_PIXEL[image.mode], structure, 1, (image, capsule))
        if self._output.container == "pil" and out is None:
            numbers = None if moves is None else moves.numbers
            if (placed := self._compute.place(height, width, numbers)) is None:
                return None
            of_pil = self._structure.pil_result(placed, height, width, numbers or self._structure.moves)
            if of_pil is PilResult.SAME:
                return image
            refuse_impossible_result(placed, self._output)
            made = PIL.Image.new("L" if self._channels == 1 else "RGB", (placed.width, placed.height), None)
            if of_pil is PilResult.KEEPS_INFO:
                made.info = image.info.copy()
            capsule = load(made)
            results = ResultMemory(0, id(capsule) + memory_of.structure_at, (made, capsule))
            return made if self._compute(images, height, width, results, threads, numbers) else None
        return self._computed(images, height, width, (), out, _NO_PIXELS, threads, moves)

    def _of_tensor(self, image: Any, out: torch.Tensor | None, threads: int, moves: Moves | None) -> Any:
        pixels = image if self._container == "tensor" else pixels_of(image)
        if self._in_real_numbers:
            if only_for_pytorch(pixels):
                return None
            refuse_missing_storage(pixels, "the image")
            pixels = _for_float_kernel(pixels)
        try:
            address, strides = pixels.data_ptr(), pixels.stride()
        except RuntimeError:
            # Under torch.func.vmap, or sparse: no numbers in memory.
            return None
        *batch, channels, height, width = pixels.shape
        if out is None and (original := self._quicker(height, width, strides[-1], moves)) is not None:
            return original(image)
        count, of_image = 1, 0
        if batch:
            refuse_missing_storage(pixels, "the image")
            flat = as_batch(pixels)
            count, address, pixels = len(flat), flat.data_ptr(), flat
            of_image, *strides = flat.stride()
        of_channel, of_row, of_column = strides
        if not batch and not self._in_real_numbers:
            last = (channels - 1) * of_channel + (height - 1) * of_row + (width - 1) * of_column
            # Asked for here once more, because a call of the function takes as long as all else about a small image.
            if pixels.untyped_storage().nbytes() < (pixels.storage_offset() + last + 1) * self._itemsize:
                refuse_missing_storage(pixels, "the image")
        images = PixelMemory(address, of_image, of_channel, of_row, of_column, 0, count, pixels)
        return self._computed(images, height, width, batch, out, image, threads, moves)

    def _begins_with_rows(self, image: PIL.Image.Image) -> bool:
        return rows_first(self._first_pass, image.height, image.width, self._new_height, self._new_width)

    def _quicker(self, height: int, width: int, of_column: int, moves: Moves | None) -> Transform | None:
        """Return the original where it is quicker at images of a size than the kernel."""
        if self._for_planes is not None and of_column == 1 and height * width >= LARGE_PLANES:
            return self._for_planes
        if self._for_reductions is not None and of_column > 1 and height * width >= LARGE:
            placed = self._compute.place(height, width, None if moves is None else moves.numbers)
            if placed is not None and placed.cols[1] >= REDUCTION * placed.cols[2]:
                return self._for_reductions
        return None

    def _computed(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        batch: Sequence[int],
        out: torch.Tensor | None,
        image: Any,
        threads: int,
        moves: Moves | None,
    ) -> Any:
        """Compute the results of a batch; see :meth:`__call__`."""
        size, numbers = (self._size, None) if moves is None else (moves.size, moves.numbers)
        if size is None:
            if (placed := self._compute.place(height, width)) is None:
                return None
            size = placed.height, placed.width
        shape = *batch, self._channels, *size
        if out is None and self._writes_arrays and images.images:
            array = memory.empty_array((*batch, *size, self._channels), self._written)
            results = ResultMemory(array.__array_interface__["data"][0], 0, array)
            return array if self._compute(images, height, width, results, threads, numbers) else None
        if out is None and self._compute.writes_pixels:
            written = memory.empty((*batch, *size, self._channels), self._written).movedim(-1, -3)
        elif out is None:
            written = memory.empty(shape, self._written)
        else:
            check_memory(out, shape, self._output, image if isinstance(image, torch.Tensor) else _NO_PIXELS)
            written = memory_for(shape, self._written, out, memory.empty)
        results = ResultMemory(written.data_ptr(), 0, written)
        if images.images and not self._compute(images, height, width, results, threads, numbers):
            return None
        result = written if out is None and self._writes_result else delivered(written, out, self._target)
        if out is None and self._container == "tensor" and len(shape) == 4:
            result = result.contiguous(memory_format=format_of(image))
        return result if self._output.container == "tensor" else image_of(result, self._output)


class ChoosingPipeline(AnySizePipeline):
    """A pipeline with several resizes, one of which is drawn for each image.

    Args:
        each: Pipelines, which differ in their resizes.
        structure: The pipeline.
    """

    def __init__(self, each: Sequence[AnySizePipeline], structure: Structure) -> None:
        # All but the sums is that of any of them.
        self.__dict__.update(each[0].__dict__)
        self._read = self._of_choice
        assert structure.place_of_choice is not None, "there are several resizes"
        self._each, self._place_of_choice = each, structure.place_of_choice

    def _of_choice(self, image: Any, out: torch.Tensor | None, threads: int, moves: Moves | None) -> Any:
        assert moves is not None, "the choice is one of them"
        return self._each[moves.numbers[self._place_of_choice]]._read(image, out, threads, moves)


_NO_PIXELS = torch.empty(0, device="cpu")


def _for_float_kernel(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels in a dtype and a layout that the float kernel reads; copied only where they must be."""
    dtype = pixels.dtype
    if (read := read_dtype(dtype)) is not dtype:
        pixels = pixels.to(read)
    return readable(pixels)
