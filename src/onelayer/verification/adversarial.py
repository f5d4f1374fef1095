"""Images on which a layer that is wrong somewhere shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from onelayer.algebra import Operator, Program, Shape, weight_rows
from onelayer.algebra.operator import FloatArray, IntArray, samples_of

ALL_PIXELS = 1024
"""Output pixels up to which every one has its extreme images."""

MANY_PIXELS = 256
"""How many have them where there are more; besides the corners."""

BLACK, WHITE = "black", "white"

_SAMPLES_PER_BLOCK = 4_000_000
_MOST_SAMPLES = 2**29
"""Of all extreme images together, so that large photographs do not take hours."""


@dataclass(frozen=True)
class Known:
    """The programs of the two sides, as far as they are known; one at least is.

    Args:
        original: Of the pipeline.
        layer: Of the layer.
    """

    original: Program | None
    layer: Program | None

    @property
    def out_shape(self) -> Shape:
        """Of the original, or else of the layer."""
        return self._first.out_shape

    @property
    def in_shape(self) -> Shape:
        """Likewise."""
        return self._first.in_shape

    @property
    def images_per_pixel(self) -> int:
        """Extreme images of one output pixel."""
        return 2 if self.original is None or self.layer is None else 4

    def extremes(self, outputs: IntArray) -> list[tuple[tuple[str, str], FloatArray]]:
        """Weights [n, C, H, W] whose signs are the extreme images of some outputs, and what to call the two."""
        rows = linear_rows(self._first, outputs)
        found = [(("highest value", "lowest value"), rows)]
        if self.original is not None and self.layer is not None:
            found.append((("largest difference", "smallest difference"), linear_rows(self.layer, outputs) - rows))
        return found

    @property
    def _first(self) -> Program:
        known = self.original or self.layer
        assert known is not None
        return known


def plain_images(shape: Shape, low: float, high: float, seed: int) -> Iterator[tuple[str, FloatArray]]:
    """Black, white, checkerboards, stripes, an impulse, and noise.

    Args:
        shape: Of an image.
        low: Black.
        high: White.
        seed: Of the noise, which is uniform.

    Yields:
        A description and an image, float64 [C, H, W].
    """
    _, height, width = shape
    rows, cols = np.arange(height)[:, None], np.arange(width)
    nowhere = np.zeros((height, width), dtype=bool)
    small, large = ((rows // period + cols // period) % 2 == 1 for period in (1, 2))
    patterns = {
        BLACK: nowhere,
        WHITE: ~nowhere,
        "checkerboard": small,
        "checkerboard, inverted": ~small,
        "checkerboard of 2×2": large,
        "checkerboard of 2×2, inverted": ~large,
        "horizontal stripes": nowhere | (rows % 2 == 1),
        "vertical stripes": nowhere | (cols % 2 == 1),
        "impulse": (rows == height // 2) & (cols == width // 2),
    }
    for name, pattern in patterns.items():
        yield name, np.broadcast_to(np.where(pattern, high, low), shape)
    yield "noise", np.random.default_rng(seed).uniform(low, high, shape)


def chosen_pixels(known: Known, most: int | None, sizes: int) -> IntArray:
    """Which output pixels have their extreme images.

    Args:
        known: The programs.
        most: How many besides the corners; None for all of up to :data:`ALL_PIXELS`, or else :data:`MANY_PIXELS`,
            shared between the sizes of images.
        sizes: How many sizes of images there are.

    Returns:
        Indices into the flattened output, ascending: evenly spread, and the corners of each channel. Fewer, and no
        corners, where the images are so large that these would take too long.
    """
    shape = known.out_shape
    outputs = samples_of(shape)
    affordable = max(1, _MOST_SAMPLES // (sizes * known.images_per_pixel * samples_of(known.in_shape)))
    if most is None:
        most = outputs if outputs <= ALL_PIXELS else MANY_PIXELS // sizes
    most = min(most, affordable, outputs)
    spread = np.linspace(0, outputs - 1, most).round().astype(np.int64)
    channels, height, width = shape
    corners = product(range(channels), (0, height - 1), (0, width - 1))
    both = np.unique([*spread, *(np.ravel_multi_index(corner, shape) for corner in corners)])
    return both if most > 0 and len(both) <= affordable else spread


def extreme_images(known: Known, outputs: IntArray, low: float, high: float) -> Iterator[tuple[str, FloatArray]]:
    """The images on which some output pixels are highest and lowest; activations are passed over.

    They are ``high`` where the pixel's weight is positive and ``low`` elsewhere, and the opposite. Weights are those of
    the original, or of the layer where only that is known. Where both are known, their difference has such images too.

    Args:
        known: The programs.
        outputs: Indices into the flattened output.
        low: An image's lowest value.
        high: Its highest value.

    Yields:
        A description and an image, float64 [C, H, W].
    """
    block = max(1, _SAMPLES_PER_BLOCK // samples_of(known.in_shape))
    for begin in range(0, len(outputs), block):
        part = outputs[begin : begin + block]
        for (highest, lowest), rows in known.extremes(part):
            for row, output in zip(rows, part.tolist(), strict=True):
                pixel = tuple(map(int, np.unravel_index(output, known.out_shape)))
                yield f"{highest} of output pixel {pixel}", np.where(row > 0, high, low)
                yield f"{lowest} of output pixel {pixel}", np.where(row > 0, low, high)


def linear_rows(program: Program, outputs: IntArray) -> FloatArray:
    """The weights of some output samples on the program's input, [n, C, H, W], as if it had no activations."""
    operators = [stage for stage in program.stages if isinstance(stage, Operator)]
    if not operators:
        rows = np.zeros((len(outputs), samples_of(program.in_shape)))
        rows[np.arange(len(outputs)), outputs] = 1.0
        return rows.reshape(len(outputs), *program.in_shape)
    rows = weight_rows(operators[-1], outputs)
    for operator in reversed(operators[:-1]):
        rows = operator.apply_transposed(rows)
    return rows
