"""Draw the moves of a pipeline for images with PyTorch's generator, in one call whatever there is to draw.

The call reads the generator's state where it lies in memory, and moves it on there. After an image each of PyTorch's
own calls, for the state or for numbers, takes 30 to 50 µs, because nothing of it is in a cache. Where the state lies is
no part of any interface, so it is found out, once, by what the generator says of itself; where that fails, and for
pipelines for which other numbers come out than the transforms draw, the transforms draw.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from struct import Struct
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.backends.cpu.draw_kernel import (
    LEFT,
    LENGTH,
    MOST_WORDS,
    MOST_WORDS_OF_STEP,
    NEXT,
    STATE,
    WORDS,
    draw,
    take_words,
)
from onelayer.frontends.drawn_moves import CODE, FLIP_OR_NOT, SAME, WINDOW
from onelayer.frontends.placement import MOVE, NUMBERS, Moves
from onelayer.frontends.structure import Structure
from onelayer.random_state import unchanged_random_state

_MOST_STEPS = 32
"""Maximum number of steps, whose moves a thread has memory for."""

_MOST_NUMBERS = 32 * (2 + MOVE * _MOST_STEPS)
"""Number of numbers that a thread has memory for, of one image or several."""

_WORDS = {SAME: 0, FLIP_OR_NOT: 1, WINDOW: 2}
"""Maximum number of words of each kind of step; of all others :data:`MOST_WORDS_OF_STEP`."""

_PROBES = 12
_PROBED_SIZES = (32, 32), (53, 37), (300, 400), (641, 480), (90, 1000)
"""Number of draws, at each of several sizes, that are compared with the transforms'."""


_SEARCHED = 128
"""Bytes of a generator that are looked through for the first of the words of its state; 100 in PyTorch 2.14."""


@cache
def _state_address() -> int | None:
    """Return where the state of PyTorch's generator for the CPU lies, uint32 [STATE]; None if it is not found."""
    generator = getattr(torch.default_generator, "_cdata", None)
    if not isinstance(generator, int):
        return None
    with unchanged_random_state():
        torch.manual_seed(1)
        torch.rand(LENGTH + 5)
        words, _, _ = _state_of_generator()
        at = ctypes.string_at(generator, _SEARCHED + words.nbytes).find(words.tobytes()) - words.itemsize * WORDS
        if at < 0:
            return None
        address = generator + at
        for seed, draws in ((2, 0), (3, 1), (4, LENGTH), (5, 3 * LENGTH - 1)):
            torch.manual_seed(seed)
            torch.rand(draws)
            words, left, following = _state_of_generator()
            found = np.frombuffer(ctypes.string_at(address, words.itemsize * STATE), np.uint32)
            if (found[LEFT], found[NEXT]) != (left, following) or (found[WORDS:] != words).any():
                return None
    return address


def _state_of_generator() -> tuple[NDArray[np.uint32], int, int]:
    """Return the words of the generator's state, one more than are left of them, and the index of the next.

    As ``torch.Generator.get_state`` lays them out: uint64 numbers, of which the second holds two; others follow.
    """
    numbers = torch.default_generator.get_state().numpy()[: 8 * (3 + LENGTH)].view(np.uint64)
    return numbers[3:].astype(np.uint32), int(numbers[1]) & 0xFFFFFFFF, int(numbers[2])


class _OfThread(local):
    """Memory that moves and the state of the generator before them are written to."""

    def __init__(self) -> None:
        moves, before = np.zeros(_MOST_NUMBERS + NUMBERS, np.int64), np.zeros(STATE, np.uint32)
        self.moves: Any = memoryview(moves)  # type: ignore[arg-type]  # NumPy's arrays are buffers
        self.moves_at, self.before, self.before_at = moves.ctypes.data, before, before.ctypes.data


_OF_THREAD = _OfThread()


def drawn_words(count: int) -> tuple[int, ...] | None:
    """Take words of 32 bits from PyTorch's generator; None where its state is not found, and then none is taken.

    Args:
        count: Number of words, at most :data:`MOST_WORDS`.
    """
    here, state_at = _OF_THREAD, _state_address()
    if state_at is None or take_words(state_at, count, here.moves_at) < 0:
        return None
    return _words_of(count)(here.moves)


@cache
def _words_of(count: int) -> Callable[[Any], tuple[int, ...]]:
    assert count <= MOST_WORDS, "a call takes no more"
    return Struct(f"{count}q").unpack_from


class Drawing:
    """A function that draws the moves of an image.

    Args:
        codes: Code of each step, see :mod:`onelayer.frontends.drawn_moves`; at most :data:`_MOST_STEPS`.
        state_at: Address of the generator's state.
    """

    def __init__(self, codes: list[tuple[float, ...]], state_at: int) -> None:
        assert len(codes) <= _MOST_STEPS, "a thread has memory for no more"
        self._codes = np.zeros((len(codes), CODE))
        for row, code in zip(self._codes, codes, strict=True):
            row[: len(code)] = code
        self._codes_at, self._steps, self._state_at = self._codes.ctypes.data, len(codes), state_at
        of_image = Struct(f"{2 + MOVE * len(codes)}q")
        self._unpack, self._nbytes = of_image.unpack_from, of_image.size
        words = sum(_WORDS.get(int(code[0]), MOST_WORDS_OF_STEP) for code in codes)
        # The last step is only begun where there are words for any.
        fitting = (MOST_WORDS - MOST_WORDS_OF_STEP) // max(words, 1)
        self._at_once = max(1, min(fitting, 8 * _MOST_NUMBERS // self._nbytes))

    def __call__(self, height: int, width: int) -> Moves | None:
        """Draw the moves; None where that is left to the transforms, and then nothing was drawn.

        Args:
            height: Rows of the image.
            width: Columns of the image.
        """
        if torch.get_default_dtype() is not torch.float32:
            return None
        here = _OF_THREAD
        words = draw(self._state_at, here.before_at, self._codes_at, self._steps, height, width, 1, here.moves_at)
        if words < 0:
            return None
        numbers = self._unpack(here.moves)
        return Moves(numbers[2:], numbers[:2])

    def undo(self) -> None:
        """Put the generator back to where it was before this thread's last call."""
        ctypes.memmove(self._state_at, _OF_THREAD.before_at, 4 * STATE)

    def of_each(self, images: int, height: int, width: int) -> list[Moves]:
        """Draw the moves of each of several images: as many as one call can, none where that is left to the transforms.

        Args:
            images: Maximum number of images.
            height: Rows of each.
            width: Columns of each.
        """
        if torch.get_default_dtype() is not torch.float32:
            return []
        here, count = _OF_THREAD, min(images, self._at_once)
        words = draw(self._state_at, here.before_at, self._codes_at, self._steps, height, width, count, here.moves_at)
        if words < 0:
            return []
        of_images = (self._unpack(here.moves, at) for at in range(0, count * self._nbytes, self._nbytes))
        return [Moves(numbers[2:], numbers[:2]) for numbers in of_images]


def lower_drawing(structure: Structure) -> Drawing | None:
    """Return a function that draws the moves of a pipeline; None where only the pipeline can."""
    codes = [code for step in structure.steps if (code := step.code()) is not None]
    if not structure.draws or len(codes) < len(structure.steps) or len(codes) > _MOST_STEPS:
        return None
    if (state_at := _state_address()) is None:
        return None
    drawing = Drawing(codes, state_at)
    with unchanged_random_state():
        return drawing if all(_is_equal(structure, drawing, *size) for size in _PROBED_SIZES) else None


def _is_equal(structure: Structure, drawing: Drawing, height: int, width: int) -> bool:
    """Whether the same moves are drawn, and the generator is left in the same state, for images of a size."""
    torch.manual_seed(height)
    for _ in range(_PROBES):
        before = torch.default_generator.get_state()
        if (moves := drawing(height, width)) is None:
            return torch.equal(torch.default_generator.get_state(), before)
        after = torch.default_generator.get_state()
        drawing.undo()
        if not torch.equal(torch.default_generator.get_state(), before):
            return False
        if structure.moves_for(height, width) != moves or not torch.equal(torch.default_generator.get_state(), after):
            return False
        # Elsewhere in the state, and where it ends.
        torch.rand(61)
    return True


def draw_nothing() -> None:
    """Draw no moves, which compiles the kernel or loads its machine code."""
    state = np.ones(STATE, np.uint32)
    draw(state.ctypes.data, _OF_THREAD.before_at, _OF_THREAD.moves_at, 0, 1, 1, 0, _OF_THREAD.moves_at)
    take_words(state.ctypes.data, 0, _OF_THREAD.moves_at)
    state[0] = 1
