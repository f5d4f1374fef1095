"""Read the memory of PIL images as tensors, without a copy."""

from __future__ import annotations

import ctypes

import numpy as np
import PIL.Image
import torch
from torchvision.transforms.v2 import functional as F


class _ArrowArray(ctypes.Structure):
    """Arrow's C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), which Pillow exports."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]

_EXPORTS = int(PIL.__version__.partition(".")[0]) >= 13

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def pillow_pixels(image: PIL.Image.Image) -> torch.Tensor:
    """Return the pixels of an image of mode L or RGB, uint8 [C, H, W].

    They share the image's memory, and must not be written to, where Pillow has it in one piece; pixels of three colors
    take four bytes there. An image in several pieces (of more than 16 MiB) is copied, and every image before Pillow 13.
    """
    image.load()
    capsule = _exported(image)
    if capsule is None:
        copied: torch.Tensor = F.pil_to_tensor(image)
        return copied
    array = _ArrowArray.from_address(_pointer_of(capsule, b"arrow_array"))
    values = array.children[0].contents if array.n_children else array
    channels, of_column = (1, 1) if image.mode == "L" else (3, 4)
    bytes_ = (ctypes.c_uint8 * (image.height * image.width * of_column)).from_address(values.buffers[1])
    # Pillow keeps the memory as long as the capsule lives, NumPy keeps the bytes, and PyTorch keeps NumPy's array.
    bytes_.capsule = capsule  # type: ignore[attr-defined]
    pixels = torch.from_numpy(np.frombuffer(memoryview(bytes_), np.uint8).reshape(image.height, image.width, of_column))
    return pixels.movedim(-1, 0)[:channels]


def _exported(image: PIL.Image.Image) -> object | None:
    # Before 13 Pillow crashes where an image lies in foreign memory, and takes rows with gaps for rows without.
    if not _EXPORTS:
        return None
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:
        return None
    return capsule
