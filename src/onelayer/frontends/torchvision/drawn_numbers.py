"""Draw numbers from PyTorch's generator as torchvision's transforms draw them, in less time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from threading import local

import torch

_NOTHING = torch.empty(1, device="cpu")


def image_of_size(height: int, width: int) -> torch.Tensor:
    """Return what stands for an image where only its size is asked for."""
    return _NOTHING.expand(1, height, width)


class _OfThread(local):
    """Tensors of one number each, which are drawn into: making one takes as long as drawing it."""

    def __init__(self) -> None:
        # Those of inference mode cannot be written to outside of it.
        with torch.inference_mode(False):
            self.place = torch.empty(1, dtype=torch.int64, device="cpu")
            self.numbers = {
                dtype: torch.empty(1, dtype=dtype, device="cpu")
                for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
            }


_OF_THREAD = _OfThread()


def place_below(count: int) -> int:
    """Draw a whole number from 0 to below ``count``, as ``torch.randint`` does."""
    return int(_OF_THREAD.place.random_(0, count).item())


def number_between(low: float = 0.0, high: float = 1.0) -> float:
    """Draw a number in PyTorch's default precision, as ``torch.rand`` and ``torch.empty(1).uniform_`` do."""
    return _OF_THREAD.numbers[torch.get_default_dtype()].uniform_(low, high).item()


def in_default_precision(value: float) -> float:
    """Round a number to PyTorch's default precision, in which a tensor is compared with it."""
    return rounded(value, torch.get_default_dtype())


def sides_of_window(area: float, scale: Sequence[float], log_ratio: Sequence[float]) -> tuple[int, int]:
    """Draw the sides of a window of random size and shape.

    Args:
        area: Pixels of the image.
        scale: Smallest and largest part of these in the window.
        log_ratio: Smallest and largest logarithm of the quotient of its sides.

    Returns:
        The two sides; the first is the longer one where the quotient is above 1.
    """
    number = _OF_THREAD.numbers[torch.get_default_dtype()]
    target = area * number.uniform_(scale[0], scale[1]).item()
    aspect = number.uniform_(log_ratio[0], log_ratio[1]).exp_().item()
    return round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))


@lru_cache(maxsize=256)
def rounded(value: float, dtype: torch.dtype) -> float:
    """Round a number to the precision of a dtype."""
    return torch.tensor(value, dtype=dtype, device="cpu").item()
