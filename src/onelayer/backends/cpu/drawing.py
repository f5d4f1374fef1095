"""Draw the moves of a pipeline for images with PyTorch's generator, in three calls whatever there is to draw."""

from __future__ import annotations

from struct import Struct
from threading import Lock, local
from typing import Any

import numpy as np
import torch

from onelayer.backends.cpu.draw_kernel import MOST_WORDS, MOST_WORDS_OF_STEP, draw
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


class _OfThread(local):
    """Memory that moves are written to, and tensors that as many words of PyTorch's generator are drawn into."""

    def __init__(self) -> None:
        moves = np.zeros(_MOST_NUMBERS + NUMBERS, np.int64)
        self.moves: Any = memoryview(moves)  # type: ignore[arg-type]  # NumPy's arrays are buffers
        self.moves_at = moves.ctypes.data
        # Tensors of inference mode cannot be written to outside of it.
        with torch.inference_mode(mode=False):
            words = torch.empty(MOST_WORDS, dtype=torch.int32, device="cpu")
            self.words = [words[:count] for count in range(MOST_WORDS + 1)]


_OF_THREAD = _OfThread()

_DRAWING = Lock()
"""Held from the words to their use, so that two threads do not use the same."""


class Drawing:
    """A function that draws the moves of an image.

    Args:
        codes: Code of each step, see :mod:`onelayer.frontends.drawn_moves`; at most :data:`_MOST_STEPS`.
    """

    def __init__(self, codes: list[tuple[float, ...]]) -> None:
        assert len(codes) <= _MOST_STEPS, "a thread has memory for no more"
        self._codes = np.zeros((len(codes), CODE))
        for row, code in zip(self._codes, codes, strict=True):
            row[: len(code)] = code
        self._codes_at, self._steps = self._codes.ctypes.data, len(codes)
        of_image = Struct(f"{2 + MOVE * len(codes)}q")
        self._unpack, self._nbytes = of_image.unpack_from, of_image.size
        words = sum(_WORDS.get(int(code[0]), MOST_WORDS_OF_STEP) for code in codes)
        # The last step is only begun where there are words for any.
        fitting = (MOST_WORDS - MOST_WORDS_OF_STEP) // max(words, 1)
        self._at_once = max(1, min(fitting, 8 * _MOST_NUMBERS // self._nbytes))

    def __call__(self, height: int, width: int) -> tuple[Moves, torch.Tensor] | None:
        """Draw the moves, and return them with the state of the generator before.

        None where that is left to the transforms; then nothing was drawn.

        Args:
            height: Rows of the image.
            width: Columns of the image.
        """
        if torch.get_default_dtype() is not torch.float32:
            return None
        here = _OF_THREAD
        with _DRAWING:
            state = torch.default_generator.get_state()
            words = draw(state.data_ptr(), self._codes_at, self._steps, height, width, 1, here.moves_at)
            if words < 0:
                return None
            # As many words are left behind.
            here.words[words].random_()
        numbers = self._unpack(here.moves)
        return Moves(numbers[2:], numbers[:2]), state

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
        with _DRAWING:
            state = torch.default_generator.get_state()
            words = draw(state.data_ptr(), self._codes_at, self._steps, height, width, count, here.moves_at)
            if words < 0:
                return []
            here.words[words].random_()
        of_images = (self._unpack(here.moves, at) for at in range(0, count * self._nbytes, self._nbytes))
        return [Moves(numbers[2:], numbers[:2]) for numbers in of_images]


def lower_drawing(structure: Structure) -> Drawing | None:
    """Return a function that draws the moves of a pipeline; None where only the pipeline can."""
    codes = [code for step in structure.steps if (code := step.code()) is not None]
    if not structure.draws or len(codes) < len(structure.steps) or len(codes) > _MOST_STEPS:
        return None
    drawing = Drawing(codes)
    with unchanged_random_state():
        return drawing if all(_is_equal(structure, drawing, *size) for size in _PROBED_SIZES) else None


def _is_equal(structure: Structure, drawing: Drawing, height: int, width: int) -> bool:
    """Whether the same moves are drawn, and the generator is left in the same state, for images of a size."""
    torch.manual_seed(height)
    for _ in range(_PROBES):
        if (drawn := drawing(height, width)) is None:
            return True
        moves, before = drawn
        after = torch.default_generator.get_state()
        torch.default_generator.set_state(before)
        if structure.moves_for(height, width) != moves or not torch.equal(torch.default_generator.get_state(), after):
            return False
        # Elsewhere in the state, and where it ends.
        torch.rand(61)
    return True


def draw_nothing() -> None:
    """Draw no moves, which compiles the kernel or loads its machine code."""
    draw(_OF_THREAD.moves_at, _OF_THREAD.moves_at, 0, 1, 1, 0, _OF_THREAD.moves_at)
