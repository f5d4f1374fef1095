"""Read and write the memory of PIL images where it lies.

Pillow hands out its image structure as a capsule (``Image.getim()``, since 11.1). A table of the addresses of the rows
is in it, whatever blocks of memory they lie in. Where the table is in the structure is no part of Pillow's interface,
so it is found out, once, with images that are known; where it is not found, images are copied.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import PIL.Image
import torch
from torchvision.transforms.v2 import functional as F

_LAYOUTS = ((16, 48), (20, 56))
"""Offsets in the structure of the width (the height follows) and of the table of rows: since Pillow 12, and before."""

BYTES_PER_PIXEL = {"L": 1, "RGB": 4}
"""Bytes that a pixel takes, by the mode; of the three colors' four bytes the last one means nothing."""

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]

_address_at, _integer_at = ctypes.c_uint64.from_address, ctypes.c_int32.from_address


def rows_of(image: PIL.Image.Image) -> int | None:
    """Return the address of the table of the addresses of an image's rows, uint64 [height].

    It is valid as long as the image lives and is not changed in place. None where it cannot be found.

    Args:
        image: Image whose pixels are loaded.
    """
    if (layout := _layout()) is None:
        return None
    _, rows_at, name = layout
    address: int = _address_at(_pointer_of(image.im.ptr, name) + rows_at).value
    return address


@cache
def _layout() -> tuple[int, int, bytes] | None:
    """Find the layout of the structure of the installed Pillow, and the name of its capsule; None if it is unknown."""
    if not hasattr(PIL.Image.Image, "getim"):
        return None
    name: bytes = _name_of(PIL.Image.new("L", (1, 1)).getim())
    return next(((*layout, name) for layout in _LAYOUTS if _describes(*layout, name)), None)


def _describes(width_at: int, rows_at: int, name: bytes) -> bool:
    """Whether the structure of images has their width, their height and their rows at these offsets."""
    for mode, size in (("L", (211, 5)), ("RGB", (113, 7))):
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)[: 2 + (mode == "RGB")], dtype=np.uint8)
        image = PIL.Image.fromarray(pixels)
        structure: int = _pointer_of(image.getim(), name)
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


def pillow_pixels(image: PIL.Image.Image) -> torch.Tensor:
    """Return the pixels of an image of mode L or RGB, uint8 [C, H, W].

    They share the image's memory, and must not be written to, where Pillow has it in one piece; pixels of three colors
    take four bytes there. An image in several pieces (of more than 16 MiB) is copied.
    """
    image.load()
    table = rows_of(image)
    width, height = image.size
    if table is not None and min(width, height) > 0:
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
