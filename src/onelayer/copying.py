"""Run pipelines that only copy pixels: slices and flips of PyTorch and Pillow, which no kernel is faster than."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch

from onelayer.backends.cpu.float_any_size import place_image
from onelayer.frontends.placement import PilResult, Placed
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
from onelayer.memory_limits import refuse_impossible
from onelayer.random_state import present_state, put_back

_SUSPICIOUS = 1 << 28
"""Pixels of a result beyond which it is compared with the machine's memory before it is made."""


def refuse_impossible_result(placed: Placed, spec: ImageSpec) -> None:
    """Refuse a result that does not fit into the machine's memory.

    Args:
        placed: The place of the image in the result.
        spec: The result; its height and width mean nothing.

    Raises:
        OnelayerError: If it does not.
    """
    if placed.height * placed.width > _SUSPICIOUS:
        shape = spec.shape[0], placed.height, placed.width
        refuse_impossible("a result", shape, TORCH_DTYPES[spec.dtype].itemsize)


class CopyPipeline:
    """A pipeline that only moves pixels.

    Args:
        structure: The pipeline.
    """

    def __init__(self, structure: Structure) -> None:
        self._container, self._output = structure.input_spec.container, structure.output_spec
        self._structure = structure
        self._by_rule, self.draws = structure.by_rule, structure.draws
        self._moves = np.array(structure.moves, np.int64)
        self._last: tuple[int, int, tuple[int, ...], Placed | None] = (0, 0, (), None)
        # Flips alone are the same for all sizes.
        self._flips: list[int] | None = None
        if structure.only_flips and (placed := structure.place(structure.moves, 1, 1)) is not None:
            self._flips = _flipped(placed)

    def __call__(self, image: Any, out: torch.Tensor | None) -> Any:
        """Compute the result of an image, or of a batch; see :class:`AnySizePipeline`."""
        if self._flips and self._container == "tensor" and out is None:
            refuse_missing_storage(image, "the image")
            return image.flip(self._flips)
        if not self._by_rule:
            return self._moved(image, out, self._structure.moves)

        state = present_state(of_python=self._structure.draws_from_python) if self.draws else None
        moves = self._structure.moves_for(*size_of(image))
        result = None if moves is None else self._moved(image, out, moves.numbers)
        if result is None and state is not None:
            put_back(state)
        return result

    def _moved(self, image: Any, out: torch.Tensor | None, moves: tuple[int, ...]) -> Any:
        if self._container == "pil":
            placed = self._place(image.height, image.width, moves)
            if placed is None or out is not None:
                return None
            refuse_impossible_result(placed, self._output)
            return self._of_pillow(image, placed, moves)
        pixels = pixels_of(image)
        height, width = pixels.shape[-2:]
        placed = self._place(height, width, moves)
        if placed is None:
            return None
        refuse_impossible_result(placed, self._output)
        result = self._of_tensor(pixels, placed)
        if out is not None:
            check_memory(out, tuple(result.shape), self._output, pixels)
            refuse_missing_storage(result, "the image")
            result = out.copy_(result)
        elif result.shape == pixels.shape and result.data_ptr() == pixels.data_ptr():
            # Nothing to do for an image of this size.
            refuse_missing_storage(pixels, "the image")
            result = result.clone()
        return result if self._output.container == "tensor" else image_of(result, self._output)

    def _place(self, height: int, width: int, moves: tuple[int, ...]) -> Placed | None:
        """Place an image; one of the size of the last is placed like that."""
        last = self._last
        if last[0] != height or last[1] != width or last[2] != moves:
            made = self._moves if moves is self._structure.moves else np.array(moves, np.int64)
            # Compiled, which takes less time than slicing.
            self._last = last = height, width, moves, place_image(made, height, width)
        return last[3]

    def _of_tensor(self, pixels: torch.Tensor, placed: Placed) -> torch.Tensor:
        top, left, height, width, flips = _copied(placed)
        kept = pixels
        if pixels.shape[-2:] != (height, width):
            try:
                kept = pixels.narrow(-2, top, height).narrow(-1, left, width)
            except RuntimeError:
                # No view is made of memory that is not there.
                refuse_missing_storage(pixels, "the image")
                raise
        below, right = placed.height - height - placed.top, placed.width - width - placed.left
        is_framed = placed.top or placed.left or below or right
        if any(flips) or is_framed:
            refuse_missing_storage(kept, "the image")
        if any(flips):
            kept = kept.flip(_flipped(placed))
        if not is_framed:
            return kept
        values = self._structure.fills[placed.frame]
        framed = torch.nn.functional.pad(kept, [placed.left, right, placed.top, below], value=float(values[0]))
        if (values != values[0]).any():
            fill = torch.from_numpy(values).to(pixels.device, pixels.dtype)[:, None, None]
            for rows, cols in (
                (slice(0, placed.top), slice(None)),
                (slice(placed.top + height, None), slice(None)),
                (slice(None), slice(0, placed.left)),
                (slice(None), slice(placed.left + width, None)),
            ):
                framed[..., rows, cols] = fill
        return framed.contiguous(memory_format=format_of(pixels))

    def _of_pillow(self, image: PIL.Image.Image, placed: Placed, moves: tuple[int, ...]) -> PIL.Image.Image:
        of_pil = self._structure.pil_result(placed, image.height, image.width, moves)
        if of_pil is PilResult.SAME:
            return image
        made = self._new_picture(image, placed)
        made.info = image.info.copy() if of_pil is PilResult.KEEPS_INFO else {}
        return made

    def _new_picture(self, image: PIL.Image.Image, placed: Placed) -> PIL.Image.Image:
        top, left, height, width, flips = _copied(placed)
        is_framed = placed.height != height or placed.width != width
        kept = image
        if (width, height) != image.size or not (any(flips) or is_framed):
            kept = kept.crop((left, top, left + width, top + height))
        if any(flips):
            kept = kept.transpose(_TRANSPOSES[flips])
        if not is_framed:
            return kept
        values = tuple(int(value) for value in self._structure.fills[placed.frame])
        framed = PIL.Image.new(image.mode, (placed.width, placed.height), values if len(values) > 1 else values[0])
        framed.paste(kept, (placed.left, placed.top))
        return framed


_TRANSPOSES = {
    (True, False): PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    (False, True): PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    (True, True): PIL.Image.Transpose.ROTATE_180,
}
"""Pillow's flips, by whether rows and columns are reversed."""


def _flipped(placed: Placed) -> list[int]:
    """Return the dimensions that are reversed."""
    return [dimension for dimension, axis in ((-2, placed.rows), (-1, placed.cols)) if axis[5]]


def _copied(placed: Placed) -> tuple[int, int, int, int, tuple[bool, bool]]:
    """Return the first row and column that are kept, their numbers, and whether rows and columns are reversed."""
    rows, cols = placed.rows, placed.cols
    return rows[3], cols[3], rows[4], cols[4], (bool(rows[5]), bool(cols[5]))
