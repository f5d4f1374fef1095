"""One spatial axis as a banded matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, final, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from onelayer.algebra import bands
from onelayer.algebra import filters as resampling
from onelayer.algebra.checks import FloatArray, IntArray, real_numbers, refuse_outside, whole_number, whole_numbers
from onelayer.algebra.filters import Padding, padded_places
from onelayer.algebra.operator import Arrays, part
from onelayer.errors import OnelayerError
from onelayer.memory_limits import bounded_cache, refuse_impossible

Interpolation = Literal["box", "bilinear", "hamming", "bicubic", "lanczos", "nearest", "nearest_exact"]


_BYTES_PER_SAMPLE = 16 * 8
"""Bytes that making a map takes for each sample of its output: about so many numbers."""


@final
@dataclass(frozen=True, eq=False)
class AxisMap:
    """``y[i] = Σ_k weights[i, k] · x[starts[i] + k]``.

    Every read is in bounds: ``0 ≤ starts[i]`` and ``starts[i] + taps ≤ n_in`` for every row, and 1 ≤ taps ≤ n_in. A row
    whose own band is narrower is padded with zero weights, at its front where it would otherwise leave the axis; a row
    of zeros only is zero padding. Every constructor and ``@`` give a map as narrow as possible (see :meth:`trim`).

    Args:
        n_in: Length of the input axis.
        starts: First sample read by each output sample, int64 [n_out]. They need not ascend: a flip's descend.
        weights: float64 [n_out, taps], finite.

    Raises:
        OnelayerError: If the arrays do not fit together, a weight is not finite or a read is out of bounds.
    """

    n_in: int
    starts: IntArray
    weights: FloatArray

    def __post_init__(self) -> None:
        n_in = whole_number("n_in", self.n_in)
        starts = whole_numbers("starts", self.starts, ("n_out",))
        weights = real_numbers("weights", self.weights, (len(starts), "taps"))
        if weights.shape[1] > n_in:
            raise OnelayerError(f"weights has {weights.shape[1]} taps", expected=f"at most n_in = {n_in}")
        refuse_outside("starts", starts, 0, n_in - weights.shape[1])
        object.__setattr__(self, "n_in", n_in)
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "weights", weights)

    @property
    def n_out(self) -> int:
        """Length of the output axis."""
        return len(self.starts)

    @property
    def taps(self) -> int:
        """Width of the band: samples read per output sample."""
        return int(self.weights.shape[1])

    @cached_property
    def row_sums(self) -> FloatArray:
        """Output samples of a constant axis of ones, [n_out]."""
        sums: FloatArray = self.weights.sum(axis=1)
        sums.setflags(write=False)
        return sums

    @cached_property
    def gain(self) -> float | None:
        """The factor that a constant axis is multiplied by; None where it depends on the place (zero padding)."""
        return bands.common_sum(self.row_sums)

    @cached_property
    def copies_values(self) -> bool:
        """Whether every output sample is a copy of one input sample, or zero."""
        return self.taps == 1 and bool(((self.weights == 1.0) | (self.weights == 0.0)).all())

    @cached_property
    def is_selection(self) -> bool:
        """Whether every output sample is a copy of one input sample: crop, flip, nearest, padding other than zero."""
        return self.copies_values and bool(self.weights.all())

    @cached_property
    def is_identity(self) -> bool:
        """Whether every output sample is a copy of the input sample at its place."""
        return self.is_selection and self.n_in == self.n_out and bool((np.diff(self.starts, prepend=-1) == 1).all())

    @property
    def is_flip(self) -> bool:
        """Whether it reverses the axis."""
        return self.is_selection and np.array_equal(self.starts, np.arange(self.n_in)[::-1])

    @property
    def keeps_integers(self) -> bool:
        """Whether all weights are integers."""
        return bool((self.weights == np.rint(self.weights)).all())

    @cached_property
    def multiplications(self) -> int:
        """Multiplications that a kernel does along one line. Copying samples and writing zeros takes none."""
        return 0 if self.copies_values else self.weights.size

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any sample to an output sample; a copy takes none."""
        return 0 if self.copies_values else self.taps

    @cached_property
    def reads(self) -> int:
        """Number of samples of the input axis that have a nonzero weight anywhere."""
        read = np.zeros(self.n_in, dtype=bool)
        read[(self.starts[:, None] + np.arange(self.taps))[self.weights != 0.0]] = True
        return int(np.count_nonzero(read))

    @cached_property
    def span(self) -> int:
        """Length of the part of the input axis that bands lie on, zeros in them included; quicker than ``reads``."""
        return int(self.starts.max() - self.starts.min()) + self.taps

    @cached_property
    def window(self) -> tuple[int, int]:
        """Start and length of the part of the input axis that is read with nonzero weights; (0, 1) where none is."""
        rows, columns = np.nonzero(self.weights)
        if len(rows) == 0:
            return 0, 1
        places = self.starts[rows] + columns
        first = int(places.min())
        return first, int(places.max()) - first + 1

    @property
    def verb(self) -> str:
        """Verb for people: crop, flip, resample …"""
        if self.multiplications > 0:
            return "filter" if self.n_in == self.n_out else "resample"
        copied = self.weights[:, 0] != 0.0
        if not copied.any():
            return "blank"
        if not copied.all():
            return "zero-pad" if self.reads == self.n_in else "crop and zero-pad"
        steps = np.diff(self.starts)
        if bool((steps == 1).all()):
            return "crop"
        if bool((steps == -1).all()):
            return "flip" if self.is_flip else "crop and flip"
        return "copy"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON."""
        return {"n_in": self.n_in}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds."""
        return {"starts": self.starts, "weights": self.weights}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> AxisMap:
        """Build a map from what a file holds.

        Raises:
            OnelayerError: If a part is missing or does not fit; the error names it.
        """
        return cls(part(parameters, "n_in"), part(arrays, "starts"), part(arrays, "weights"))

    @classmethod
    def from_taps(cls, n_in: int, indices: ArrayLike, weights: ArrayLike) -> AxisMap:
        """Make a map of a list of samples per output sample.

        Args:
            n_in: Length of the input axis.
            indices: Samples read, int64 [n_out, M], each in 0 … n_in − 1, in any order; the weights of a sample that
                comes up more than once in a row are added.
            weights: float64 [n_out, M].

        Raises:
            OnelayerError: If the arrays do not fit together or an index is out of bounds.
        """
        places = whole_numbers("indices", indices, ("n_out", "M"))
        factors = real_numbers("weights", weights, places.shape)
        selection = cls(n_in, places.ravel(), np.ones((places.size, 1)))
        return cls(places.size, np.arange(len(places)) * places.shape[1], factors) @ selection

    @classmethod
    def select(cls, n_in: int, indices: ArrayLike) -> AxisMap:
        """Make a map whose outputs are copies of the samples at ``indices``, int64 [n_out], each in 0 … n_in − 1."""
        places = whole_numbers("indices", indices, ("n_out",))
        return cls(n_in, places, np.ones((len(places), 1)))

    @classmethod
    def identity(cls, n: int) -> AxisMap:
        """Make the map that changes nothing, n ≥ 1."""
        return _identity(n)

    @classmethod
    def flip(cls, n: int) -> AxisMap:
        """Make the reversal of an axis of length n ≥ 1."""
        return cls.select(n, np.arange(n)[::-1])

    @classmethod
    def crop(cls, n: int, start: int, length: int) -> AxisMap:
        """Cut out ``length`` ≥ 1 samples from ``start`` on, which may be negative; zeros where they leave the axis."""
        if length < 1:
            raise OnelayerError(f"a crop to {length} samples was asked for", expected="at least 1 sample")
        refuse_impossible("an axis", (length,), _BYTES_PER_SAMPLE)
        places = np.arange(start, start + length)
        inside = (places >= 0) & (places < n)
        return cls(n, np.where(inside, places, 0), inside[:, None].astype(np.float64))

    @classmethod
    def pad(cls, n: int, before: int, after: int, mode: Padding) -> AxisMap:
        """Pad with torchvision's meaning of the modes; a negative amount crops.

        ``symmetric`` reflects as often as it takes, as ``numpy.pad`` does.

        Raises:
            OnelayerError: If ``reflect`` is to add as many samples as the axis has or more, which PyTorch refuses, if
                nothing is left, or for an unknown mode.
        """
        if mode == "zero":
            return cls.crop(n, -before, n + before + after)
        refuse_impossible("an axis", (n + before + after,), _BYTES_PER_SAMPLE)
        return cls.select(n, padded_places(n, before, after, mode))

    @classmethod
    def resample(
        cls,
        n_in: int,
        n_out: int,
        interpolation: Interpolation,
        antialias: bool,
        box: tuple[float, float] | None = None,
        precision: resampling.Precision = "float64",
        fused: bool = False,
    ) -> AxisMap:
        """Resize an axis.

        Args:
            n_in: Input samples, ≥ 1.
            n_out: Output samples, ≥ 1.
            interpolation: The filter. ``nearest`` is PyTorch's (``floor(i·scale)``), ``nearest_exact`` takes the sample
                under the centre.
            antialias: Whether the filter widens with the reduction, as in Pillow always. Without it the map is that
                of PyTorch: bilinear (``align_corners=False``) and bicubic (a = −0.75) only. No difference for nearest.
            box: Start and end of the part of the axis to resize, in samples, as in ``PIL.Image.resize``; with a
                filter that widens only.
            precision: Precision in which the library places its samples: float64 in Pillow; in PyTorch that of the
                image, and float64 for uint8. The two nearest ones are in float32 always.
            fused: Whether bilinear without antialiasing rounds a place in float32 once, as some builds of PyTorch do.

        Raises:
            OnelayerError: For a combination that neither Pillow nor PyTorch has, or sizes or a box out of range.
        """
        return _resampled(n_in, n_out, interpolation, antialias, box, precision, fused)

    @classmethod
    def convolve(cls, n: int, kernel: Sequence[float] | FloatArray, mode: Padding) -> AxisMap:
        """Filter with the same weights everywhere, on an axis padded so that its length stays.

        Args:
            n: Length of the axis.
            kernel: Weights from left to right (not reversed, as in ``torch.nn.functional.conv1d``), an odd number.
            mode: Kind of padding.

        Raises:
            OnelayerError: If the kernel's length is even or the padding is refused (see :meth:`pad`).
        """
        weights = np.asarray(kernel, dtype=np.float64)
        if weights.ndim != 1 or len(weights) % 2 == 0:
            raise OnelayerError(f"a kernel of shape {weights.shape} was given", expected="an odd number of weights")
        reach = len(weights) // 2
        sliding = cls(n + 2 * reach, np.arange(n), np.broadcast_to(weights, (n, len(weights))))
        return sliding @ cls.pad(n, reach, reach, mode)

    @classmethod
    def gaussian_blur(cls, n: int, kernel_size: int, sigma: float) -> AxisMap:
        """Blur as torchvision's Gaussian blur does along one axis, with its reflect padding.

        Args:
            n: Length of the axis.
            kernel_size: Taps, odd.
            sigma: Standard deviation in samples, > 0.

        Raises:
            OnelayerError: If either is out of range, or half the kernel is as long as the axis or longer.
        """
        if kernel_size < 1 or kernel_size % 2 == 0 or not sigma > 0:
            raise OnelayerError(
                f"a blur with kernel size {kernel_size} and sigma {sigma} was asked for",
                expected="an odd kernel size and a positive sigma",
            )
        limit = (kernel_size - 1) / (2.0 * np.sqrt(2.0))
        density = np.exp(-((np.linspace(-limit, limit, kernel_size) / sigma) ** 2))
        return cls.convolve(n, density / density.sum(), "reflect")

    def trim(self) -> AxisMap:
        """Make the same map with as few taps as its widest row has between its first and its last nonzero weight."""
        return AxisMap(self.n_in, *bands.trimmed(self.n_in, self.starts, self.weights))

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> AxisMap:
        """Make the map whose weights are changed one by one."""
        return replace(self, weights=change(self.weights))

    def split_selection(self) -> tuple[AxisMap, AxisMap]:
        """Split into a copy of some samples, no more than there are, and the rest; either may be the identity."""
        if self.is_selection and self.n_out <= self.n_in:
            return self, AxisMap.identity(self.n_out)
        start, length = self.window
        if length == self.n_in:
            return AxisMap.identity(self.n_in), self
        rest = AxisMap(length, *bands.trimmed(length, self.starts - start, self.weights))
        return AxisMap.crop(self.n_in, start, length), rest

    def read_by(self, outputs: slice) -> tuple[int, FloatArray]:
        """Find the first sample that some outputs read, and their weights from there on, [outputs, samples]."""
        starts = self.starts[outputs]
        first = int(starts.min())
        band = AxisMap(int(starts.max()) - first + self.taps, starts - first, self.weights[outputs])
        return first, band.to_dense()

    def __matmul__(self, first: AxisMap) -> AxisMap:
        """Make the map that applies ``first``, then this one.

        Raises:
            OnelayerError: If the lengths do not fit.
        """
        if self.n_in != first.n_out:
            raise OnelayerError(
                f"an axis map of {self.n_in} samples was put behind one that gives {first.n_out}",
                expected="equal lengths",
            )
        if first.is_identity:
            return self
        if self.is_identity:
            return first
        second_band, first_band = (self.starts, self.weights), (first.starts, first.weights)
        return AxisMap(first.n_in, *bands.product(first.n_in, second_band, first_band))

    def apply(self, x: ArrayLike, axis: int = -1) -> FloatArray:
        """Apply along one axis of an array whose length there is ``n_in``; the result is float64.

        Raises:
            OnelayerError: If that axis has another length.
        """
        lines = np.moveaxis(np.asarray(x, dtype=np.float64), axis, -1)
        if lines.shape[-1] != self.n_in:
            raise OnelayerError(f"an axis of {lines.shape[-1]} samples was given", expected=f"{self.n_in} samples")
        result = np.zeros((*lines.shape[:-1], self.n_out))
        for k in range(self.taps):
            result += self.weights[:, k] * lines[..., self.starts + k]
        return np.moveaxis(result, -1, axis)

    def apply_transposed(self, y: ArrayLike, axis: int = -1) -> FloatArray:
        """Apply the transposed matrix along one axis, whose length there is ``n_out``; the result is float64.

        Raises:
            OnelayerError: If that axis has another length.
        """
        lines = np.moveaxis(np.asarray(y, dtype=np.float64), axis, -1)
        if lines.shape[-1] != self.n_out:
            raise OnelayerError(f"an axis of {lines.shape[-1]} samples was given", expected=f"{self.n_out} samples")
        spread: FloatArray = (self.to_sparse().T @ lines.reshape(-1, self.n_out).T).T
        return np.moveaxis(spread.reshape(*lines.shape[:-1], self.n_in), -1, axis)

    def to_sparse(self) -> Any:
        """Convert to a ``scipy.sparse.csr_array`` [n_out, n_in] without stored zeros."""
        indices = (self.starts[:, None] + np.arange(self.taps)).ravel()
        pointers = np.arange(self.n_out + 1) * self.taps
        matrix = scipy.sparse.csr_array(
            (self.weights.ravel(), indices, pointers), shape=(self.n_out, self.n_in), copy=True
        )
        matrix.eliminate_zeros()
        return matrix

    def to_dense(self) -> FloatArray:
        """Convert to a matrix, float64 [n_out, n_in]."""
        dense = np.zeros((self.n_out, self.n_in))
        np.put_along_axis(dense, self.starts[:, None] + np.arange(self.taps), self.weights, axis=1)
        return dense

    def allclose(self, other: AxisMap, atol: float = 0.0) -> bool:
        """Whether both are the same matrix: no weight differs by more than ``atol``."""
        if (self.n_in, self.n_out) != (other.n_in, other.n_out):
            return False
        difference = self.to_sparse() - other.to_sparse()
        return bool(np.abs(difference.data).max(initial=0.0) <= atol)


def _bytes_of(axis: AxisMap) -> int:
    return axis.starts.nbytes + axis.weights.nbytes


# Most operators leave an axis alone: one object per length, and what is derived from it is derived once.
@bounded_cache(_bytes_of, 16 << 20, 256)
def _identity(n: int) -> AxisMap:
    return AxisMap.select(n, np.arange(n))


# The images of a data set share many lengths of an axis, such as a long side of 500.
@bounded_cache(_bytes_of, 32 << 20, 128)
def _resampled(
    n_in: int,
    n_out: int,
    interpolation: Interpolation,
    antialias: bool,
    box: tuple[float, float] | None,
    precision: resampling.Precision,
    fused: bool,
) -> AxisMap:
    if n_in < 1 or n_out < 1:
        raise OnelayerError(f"a resize from {n_in} to {n_out} samples was asked for", expected="at least 1 sample")
    refuse_impossible("an axis", (n_out,), _BYTES_PER_SAMPLE)
    widens = antialias and interpolation in resampling.ANTIALIASING
    if box is not None and not (widens and 0 <= box[0] < box[1] <= n_in):
        raise OnelayerError(
            f"the box {box} was given for an axis of {n_in} samples",
            expected="0 ≤ start < end ≤ length, and a filter with antialiasing",
        )
    # As both libraries do; the sinc of Lanczos would leave rounding errors instead of zeros.
    if n_in == n_out and box in (None, (0, n_in)):
        return AxisMap.identity(n_in)
    if widens:
        kind = resampling.ANTIALIASING[interpolation]
        return AxisMap(n_in, *bands.trimmed(n_in, *resampling.widened(n_in, n_out, kind, box or (0, n_in), precision)))
    match interpolation:
        case "bilinear":
            return AxisMap.from_taps(n_in, *resampling.two_taps(n_in, n_out, precision, fused))
        case "bicubic":
            return AxisMap.from_taps(n_in, *resampling.four_taps(n_in, n_out, precision))
        case "nearest":
            return AxisMap.select(n_in, resampling.nearest(n_in, n_out, 0.0))
        case "nearest_exact":
            return AxisMap.select(n_in, resampling.nearest(n_in, n_out, 0.5))
        case _:
            raise OnelayerError(
                f"there is no interpolation {interpolation!r} {'with' if antialias else 'without'} antialiasing",
                expected="one of " + ", ".join(get_args(Interpolation))
                if antialias
                else "bilinear, bicubic, nearest or nearest_exact",
            )
