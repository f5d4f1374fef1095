"""Images on which a layer that is wrong somewhere shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from onelayer.algebra import Operator, Program, Shape
from onelayer.algebra.operator import FloatArray, IntArray, samples_of

ALL_PIXELS = 1024
"""Number of output pixels up to which all of them get extreme images by default."""

MANY_PIXELS = 256
"""Default number of pixels, besides the corners, of outputs that have more; the sizes of images share them."""

BLACK, WHITE = "black", "white"

_SAMPLES_PER_BLOCK = 4_000_000
_DEFAULT_SAMPLES = 2**25
"""Input values of all extreme images by default: some seconds of work."""
_MOST_SAMPLES = 2**29
"""Input values of all extreme images that are asked for, so that large photographs do not take hours."""


@dataclass(frozen=True)
class KnownPrograms:
    """The programs of the two sides, at least one of which is known.

    Args:
        original: Program of the pipeline.
        layer: Program of the layer.
    """

    original: Program | None
    layer: Program | None

    @property
    def out_shape(self) -> Shape:
        """Shape of the outputs."""
        return self._first.out_shape

    @property
    def in_shape(self) -> Shape:
        """Shape of the images."""
        return self._first.in_shape

    @property
    def images_per_pixel(self) -> int:
        """Number of extreme images of one output pixel."""
        return 2 if self.original is None or self.layer is None else 4

    def extremes(self, outputs: IntArray) -> list[tuple[tuple[str, str], FloatArray]]:
        """Compute the weights [n, C, H, W] whose signs are the extreme images of some outputs, and name the two."""
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
    """Yield black, white, checkerboards, stripes, an impulse, and noise.

    Args:
        shape: Shape of an image.
        low: Black.
        high: White.
        seed: Seed of the noise, which is uniform.

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


def chosen_pixels(known: KnownPrograms, count: int | None, sizes: int) -> IntArray:
    """Choose the output pixels that get extreme images.

    Args:
        known: The programs.
        count: Number of pixels besides the corners; None for all of up to :data:`ALL_PIXELS`, or else
            :data:`MANY_PIXELS`, shared between the sizes of images, as far as these take some seconds only.
        sizes: Number of sizes of images.

    Returns:
        Indices into the flattened output, ascending: evenly spread, and the corners of each channel. Fewer, and no
        corners, where the images are so large that these would take too long.
    """
    shape = known.out_shape
    outputs = samples_of(shape)
    samples = _DEFAULT_SAMPLES if count is None else _MOST_SAMPLES
    affordable = max(1, samples // (sizes * known.images_per_pixel * samples_of(known.in_shape)))
    if count is None:
        count = outputs if outputs <= ALL_PIXELS else MANY_PIXELS // sizes
    count = min(count, affordable, outputs)
    spread = np.linspace(0, outputs - 1, count).round().astype(np.int64)
    channels, height, width = shape
    corners = product(range(channels), (0, height - 1), (0, width - 1))
    with_corners = np.unique([*spread, *(np.ravel_multi_index(corner, shape) for corner in corners)])
    return with_corners if count > 0 and len(with_corners) <= affordable else spread


def extreme_images(
    known: KnownPrograms, outputs: IntArray, low: float, high: float
) -> Iterator[tuple[str, FloatArray]]:
    """Yield the images on which some output pixels are highest and lowest, activations being passed over.

    They are ``high`` where the pixel's weight is positive and ``low`` elsewhere, and the opposite. Weights are those of
    the original, or of the layer where only that is known. If both are known, their difference has such images too.

    Args:
        known: The programs.
        outputs: Indices into the flattened output.
        low: Lowest value of an image.
        high: Highest value of an image.

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
    """Compute the weights of some output samples on a program's input, [n, C, H, W], as if it had no activations."""
    operators = [stage for stage in program.stages if isinstance(stage, Operator)]
    if not operators:
        rows = np.zeros((len(outputs), samples_of(program.in_shape)))
        rows[np.arange(len(outputs)), outputs] = 1.0
        return rows.reshape(len(outputs), *program.in_shape)
    rows = operators[-1].weight_rows(outputs)
    for operator in reversed(operators[:-1]):
        rows = operator.apply_transposed(rows)
    return rows
