"""Read and write the memory of PIL images where it lies.

Pillow hands out its image structure as a capsule (``Image.getim()``, since 11.1). A table of the addresses of the rows
is in it, whatever blocks of memory they lie in. Where the table is in the structure, and the structure's address in the
capsule, is no part of any interface, so it is found out, once, with images that are known. Otherwise images are copied.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple

import numpy as np
import PIL.Image
import torch
from torchvision.transforms.v2 import functional as F

_STRUCTURES = ((16, 48), (20, 56))
"""Offsets in the structure of the width (the height follows) and of the table of rows: since Pillow 12, and before."""

_CAPSULES = (16, 32)
"""Offsets in a capsule of the address that it holds: with a global interpreter lock, and without."""

BYTES_PER_PIXEL = {"L": 1, "RGB": 4}
"""Bytes that a pixel takes, by the mode; of the three colors' four bytes the last one means nothing."""

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]

_address_at, _integer_at = ctypes.c_uint64.from_address, ctypes.c_int32.from_address


class Layout(NamedTuple):
    """Where the memory of PIL images is to be found.

    Args:
        structure_at: Offset in a capsule of the address of the structure.
        rows_at: Offset in the structure of the address of a table, uint64 [height], of the addresses of the rows.
    """

    structure_at: int
    rows_at: int


@cache
def layout() -> Layout | None:
    """Find the layout of what the installed Pillow and Python have; None if it is unknown."""
    if not hasattr(PIL.Image.Image, "getim"):
        return None
    found = (
        Layout(structure_at, rows_at)
        for width_at, rows_at in _STRUCTURES
        for structure_at in _CAPSULES
        if _describes(structure_at, width_at, rows_at)
    )
    return next(found, None)


def _describes(structure_at: int, width_at: int, rows_at: int) -> bool:
    """Whether images have their width, their height and their rows at these offsets."""
    for mode, size in (("L", (211, 5)), ("RGB", (113, 7))):
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)[: 2 + (mode == "RGB")], dtype=np.uint8)
        image = PIL.Image.fromarray(pixels)
        capsule = image.getim()
        structure = _pointer_of(capsule, _name_of(capsule))
        if _address_at(id(capsule) + structure_at).value != structure:
            return False
        if (_integer_at(structure + width_at).value, _integer_at(structure + width_at + 4).value) != size:
            return False
        table = _address_at(structure + rows_at).value
        step = BYTES_PER_PIXEL[mode]
        for row in range(size[1]):
            line = ctypes.string_at(_address_at(table + 8 * row).value, step * size[0])
            found = np.frombuffer(line, np.uint8).reshape(size[0], step)[:, : 3 if mode == "RGB" else 1]
            if (found.reshape(pixels[row].shape) != pixels[row]).any():
                return False
    return True


def load(image: PIL.Image.Image) -> object:
    """Load an image's pixels, if they are still in its file, and return the capsule that holds its structure.

    The structure is valid as long as the capsule and the image live, and the image is not changed in place.
    """
    # For the image of a file Pillow knows whether anything is left to be read; others are all there.
    if type(image) is not PIL.Image.Image:
        image.load()
    return image.im.ptr


def pillow_pixels(image: PIL.Image.Image) -> torch.Tensor:
    """Return the pixels of an image of mode L or RGB, uint8 [C, H, W].

    They share the image's memory, and must not be written to, where Pillow has it in one piece; pixels of three colors
    take four bytes there. An image in several pieces (of more than 16 MiB) is copied.
    """
    capsule, found = load(image), layout()
    width, height = image.size
    if found is not None and min(width, height) > 0:
        table = _address_at(_address_at(id(capsule) + found.structure_at).value + found.rows_at).value
        of_column = BYTES_PER_PIXEL[image.mode]
        rows = np.ctypeslib.as_array((ctypes.c_uint64 * height).from_address(table))
        of_row = int(rows[1] - rows[0]) if height > 1 else width * of_column
        if of_row >= width * of_column and bool((np.diff(rows) == of_row).all()):
            size = (height - 1) * of_row + width * of_column
            memory = (ctypes.c_uint8 * size).from_address(int(rows[0]))
            # PyTorch keeps NumPy's array, NumPy the bytes, and these the image.
            memory.owner = image.im  # type: ignore[attr-defined]
            pixels = torch.from_numpy(np.frombuffer(memoryview(memory), np.uint8))
            channels = 1 if image.mode == "L" else 3
            return pixels.as_strided((channels, height, width), (1, of_row, of_column))
    copied: torch.Tensor = F.pil_to_tensor(image)
    return copied
