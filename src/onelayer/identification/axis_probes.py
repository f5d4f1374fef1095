"""Finds the taps of one axis of a function whose axes separate, with images profile × pattern.

If the function works on rows independently of columns and channels, the image ``profile[h] · pattern[c, w]`` comes out
as ``(rows · profile)[h'] · response[c', w']`` with the same response for every profile. So a single number per output
row is read from a whole image of outputs, which averages rounding away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np

from onelayer.algebra.operator import FloatArray
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.evidence import Evidence
from onelayer.identification.observed_outputs import ObservedOutputs
from onelayer.recognition.kronecker import leading

_SAMPLES = 64
"""Least number of outputs to read a rounded row from, over several patterns if one gives fewer."""
_MOST_PATTERNS = 16
_CERTAIN = 6.0
"""Number of standard deviations of rounding beyond which a response is real."""
_NONE_AT_ALL = 1e-6
"""Response that float32 can make of nothing, relative to the largest."""
_TYPICAL_ROUNDINGS = 0.9
"""Root mean square, in steps, of what two roundings of each of two values leave."""
_AT_ONCE = 32
"""Number of images whose outputs are held at a time."""

AXES = {1: "rows", 2: "columns"}


@final
@dataclass(frozen=True, eq=False)
class AxisFound:
    """Map from one axis of the input to one axis of the output.

    Attributes:
        matrix: Taps, float64 [n_out, n_in], up to a factor.
        noise: Standard deviation of the taps that rounding causes.
        evidence: Distance of the outputs from a product.
    """

    matrix: FloatArray
    noise: float
    evidence: Evidence


@final
@dataclass(eq=False)
class _Patterns:
    """Patterns along the other axes, and the response to them.

    Attributes:
        images: Patterns in levels, to be added to the base.
        response: Outputs for all of them, one after the other, of unit length.
    """

    images: list[Levels]
    response: FloatArray = field(default_factory=lambda: np.zeros(0))


class AxisProbes:
    """Asks a function about one axis.

    Args:
        box: The function.
        point: An image around which it is affine.
        observed: Its outputs.
        along: Axis of the input: 1 for rows, 2 for columns.
        onto: Axis of the output that it becomes: another one if height and width are swapped.
        seed: Seed of the patterns.
    """

    def __init__(
        self, box: BlackBox, point: WorkingPoint, observed: ObservedOutputs, along: int, onto: int, seed: int
    ) -> None:
        self.box, self.point, self.observed, self.along, self.onto = box, point, observed, along, onto
        self.length = box.input_spec.shape[along]
        self._generator = np.random.default_rng([seed, along, onto])
        others = np.array(box.output_spec.shape)[[axis for axis in range(3) if axis != onto]]
        rounded = observed.quantized
        count = min(_MOST_PATTERNS, -(-_SAMPLES // int(others.prod()))) if rounded else 1
        self._count = count
        self._coarse = _Patterns([pattern_of(self._generator, point.reach, self._across) for _ in range(count)])
        self._fine = _Patterns([self._fine_pattern() for _ in range(count)])

    def product_error(self) -> Evidence:
        """Measure the distance of the outputs for a generic profile from a product, and the response."""
        # Two profiles: of one alone, images of one channel are products along both axes, whatever becomes of which.
        rest = self._respond(self._coarse, self._texture(), self._texture())
        allowed = _TYPICAL_ROUNDINGS * self.observed.quantization_step + self.observed.tolerance
        name = f"{AXES[self.along]} apart from the rest, typical violation"
        return Evidence(name, float(np.sqrt(np.mean(rest**2))), allowed)

    def found(self, evidence: Evidence) -> AxisFound:
        """Find all taps.

        Blocks of the axis say roughly which inputs an output depends on; then every input is asked about alone, many at
        once, as far apart as no output reaches.

        Args:
            evidence: Result of :meth:`product_error`.

        Raises:
            OverBudgetError: If the budget does not allow it.
        """
        block = max(1, round(np.sqrt(self.length / 2)))
        count = -(-self.length // block)
        blocks = np.zeros((count, self.length))
        # Not in steps that two inputs may share: their difference would be missed.
        texture = self._generator.uniform(0.25, 1.0, self.length)
        blocks[np.arange(self.length) // block, np.arange(self.length)] = texture
        self.box.reserve(count * self._count, f"finding where {AXES[self.along]} go")
        coarse = self._read(blocks, self._coarse)
        # The response is of unit length: what is read from it has the noise of one output.
        noise = self.observed.noise
        threshold = max(_CERTAIN * noise, _NONE_AT_ALL * float(np.abs(coarse).max(initial=0.0)))
        clear: np.ndarray = np.abs(coarse) > threshold
        # In steps, small taps next to a block that an output clearly depends on are not clear.
        margin = block if self.observed.quantized else 1
        starts, width = windows(clear, block, self.length, margin)
        self.box.reserve((width + 3) * self._count, f"finding the taps of {AXES[self.along]}")
        combs = (np.arange(self.length) % width == np.arange(width)[:, None]).astype(float)
        # One of these becomes something, whatever the weights add up to.
        ones, signs = np.ones(self.length), self._generator.choice([-1.0, 1.0], self.length)
        self._respond(self._fine, ones, signs, np.maximum(signs, 0.0))
        fine = self._read(combs, self._fine)
        return AxisFound(spread(fine, starts, np.any(clear, axis=1, keepdims=True), self.length), noise, evidence)

    @property
    def _across(self) -> tuple[int, ...]:
        """Lengths of the axes that are not asked about."""
        return tuple(length for axis, length in enumerate(self.box.input_spec.shape) if axis != self.along)

    def _fine_pattern(self) -> Levels:
        """Draw a pattern of as many different levels as there are, each of which is rounded differently."""
        reach = max(self.point.reach, 1)
        return self._generator.integers(max(reach // 4, 1), reach + 1, self._across).astype(np.int16)

    def _texture(self) -> FloatArray:
        """Draw quarters, whose products with a coarse pattern are whole levels."""
        texture: FloatArray = self._generator.integers(1, 5, self.length) / 4
        return texture

    def _images(self, profiles: FloatArray, pattern: Levels) -> Levels:
        images = np.repeat(self.point.base[None], len(profiles), axis=0)
        # Most of most profiles is zero.
        for image, profile in zip(np.moveaxis(images, self.along + 1, 1), profiles, strict=True):
            for place in np.flatnonzero(profile):
                image[place] += np.rint(profile[place] * pattern).astype(np.int16)
        return images

    def _asked(self, profiles: FloatArray, pattern: Levels) -> FloatArray:
        """Ask for outputs less those of the base, [K, n_out, all others]."""
        outputs = self.box(self._images(profiles, pattern)) - self.point.output
        return np.moveaxis(outputs, self.onto + 1, 1).reshape(len(profiles), self.box.output_spec.shape[self.onto], -1)

    def _respond(self, patterns: _Patterns, *profiles: FloatArray) -> FloatArray:
        """Find the response to patterns, whatever the profile, and the rest of the outputs, which is no product."""
        each = np.concatenate([self._asked(np.stack(profiles), pattern) for pattern in patterns.images], axis=2)
        outputs = each.reshape(-1, each.shape[2])
        profile_out = leading(outputs)[1]
        across = profile_out @ outputs
        patterns.response = across / max(float(np.linalg.norm(across)), 1e-300)
        rest: FloatArray = outputs - np.outer(profile_out, across)
        return rest

    def _read(self, profiles: FloatArray, patterns: _Patterns) -> FloatArray:
        """Apply the axis to profiles [K, n_in]; [n_out, K]."""
        read = np.zeros((self.box.output_spec.shape[self.onto], len(profiles)))
        responses = np.split(patterns.response, self._count)
        for begin in range(0, len(profiles), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            for pattern, response in zip(patterns.images, responses, strict=True):
                read[:, part] += (self._asked(profiles[part], pattern) @ response).T
        return read


def pattern_of(generator: np.random.Generator, reach: int, shape: tuple[int, ...]) -> Levels:
    """Draw levels from a quarter of the reach up to all of it, int16; multiples of four, whose quarters are whole."""
    most = max(reach // 4, 1)
    return (4 * generator.integers(max(most // 4, 1), most + 1, shape)).astype(np.int16)


def windows(clear: np.ndarray, block: int, length: int, margin: int) -> tuple[np.ndarray, int]:
    """Find windows of inputs that hold the taps of each output.

    Args:
        clear: Whether an output depends on a block of the input, bool [n_out, blocks].
        block: Number of inputs of a block.
        length: Number of inputs.
        margin: Number of inputs next to these blocks that may have a small tap.

    Returns:
        Start of each window, int64 [n_out], and their common width; every window lies within the axis.
    """
    first = clear.argmax(axis=1) * block - margin
    last = (clear.shape[1] - clear[:, ::-1].argmax(axis=1)) * block + margin
    reaching = clear.any(axis=1)
    width = min(int((last - first)[reaching].max(initial=1)), length)
    starts: np.ndarray = np.where(reaching, np.clip(first, 0, length - width), 0)
    return starts, width


def spread(fine: FloatArray, starts: np.ndarray, reaching: np.ndarray, length: int) -> FloatArray:
    """Spread the outputs for combs to taps: input i is in comb ``i mod width``, and a window has one input of each.

    Args:
        fine: Outputs for combs, [n_out, width].
        starts: Starts of the windows, [n_out].
        reaching: Whether an output depends on any input, bool [n_out, 1].
        length: Number of inputs.

    Returns:
        float64 [n_out, n_in].
    """
    n_out, width = fine.shape
    places = starts[:, None] + np.arange(width)
    matrix = np.zeros((n_out, length))
    rows = np.arange(n_out)[:, None]
    matrix[rows, places] = np.where(reaching, fine[rows, places % width], 0.0)
    return matrix
