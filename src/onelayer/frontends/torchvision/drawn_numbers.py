"""Draw numbers from PyTorch's generator as torchvision's transforms draw them, in less time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from itertools import product
from threading import local

import torch

from onelayer.frontends.torchvision.uniform_range import uniform_range
from onelayer.random_state import unchanged_random_state

_LARGEST_COUNT, _LARGEST_ORDER = 1 << 16, 16
"""Numbers up to which PyTorch's are made of a word each, whatever its version."""

_PROBES = 8
"""States of the generator from which numbers are compared with PyTorch's."""

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


# Imported when it is needed: Numba takes half a second.
_drawing = cache(lambda: import_module("onelayer.backends.cpu.drawing"))

_range = lru_cache(maxsize=256)(uniform_range)


def place_below(count: int) -> int:
    """Draw a whole number from 0 to below ``count``, as ``torch.randint`` does."""
    if 0 < count <= _LARGEST_COUNT and (words := _words(1)) is not None:
        return words[0] % count
    return int(_OF_THREAD.place.random_(0, count).item())


def number_between(low: float = 0.0, high: float = 1.0) -> float:
    """Draw a number in PyTorch's default precision, as ``torch.rand`` and ``torch.empty(1).uniform_`` do."""
    dtype = torch.get_default_dtype()
    if dtype is torch.float32 and (found := _range(low, high)) is not None and (words := _words(1)) is not None:
        return found.number(words[0])
    return _OF_THREAD.numbers[dtype].uniform_(low, high).item()


def order_of(count: int) -> list[int]:
    """Draw an order of so many places, as ``torch.randperm`` does."""
    if 0 < count <= _LARGEST_ORDER and (words := _words(count - 1)) is not None:
        return _ordered(words)
    order: list[int] = torch.randperm(count, device="cpu").tolist()
    return order


def _ordered(words: Sequence[int]) -> list[int]:
    """Return the order of one place more than there are words."""
    order = list(range(len(words) + 1))
    for place, word in enumerate(words):
        other = place + word % (len(order) - place)
        order[place], order[other] = order[other], order[place]
    return order


def _words(count: int) -> tuple[int, ...] | None:
    """Take words of 32 bits from the generator; None where PyTorch's functions have to draw."""
    words: tuple[int, ...] | None = _drawing().drawn_words(count) if _are_known() else None
    return words


@cache
def _are_known() -> bool:
    """Whether the installed PyTorch makes numbers of words as it is done here, and leaves the generator there."""
    drawn_words, unit = _drawing().drawn_words, uniform_range(0.0, 1.0)
    with unchanged_random_state(), torch.inference_mode(mode=False):
        for seed, count in product(range(_PROBES), (1, 2, 4, _LARGEST_ORDER)):
            torch.manual_seed(seed)
            torch.rand(156 * seed)
            before = torch.default_generator.get_state()
            place = torch.randint(_LARGEST_COUNT - seed, (1,), device="cpu").item()
            number = torch.rand(1, dtype=torch.float32, device="cpu").item()
            order = torch.randperm(count, device="cpu").tolist()
            after = torch.default_generator.get_state()
            torch.default_generator.set_state(before)
            if unit is None or (words := drawn_words(count + 1)) is None:
                return False
            if [place, number, *order] != [
                words[0] % (_LARGEST_COUNT - seed), unit.number(words[1]), *_ordered(words[2:]),
            ] or not torch.equal(torch.default_generator.get_state(), after):  # fmt: skip
                return False
    return True


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
