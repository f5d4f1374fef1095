"""Affine maps of images whose axes do not separate: rotation, shear, perspective, elastic deformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, final

import numpy as np
import scipy
from numpy.typing import NDArray

from onelayer.algebra import checks
from onelayer.algebra.bands import common_sum
from onelayer.algebra.channels import ChannelMap, settled_bias
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import Arrays, Cost, Footprint, Shape, ends, part, samples_of
from onelayer.algebra.spatial import SpatialOperator
from onelayer.errors import OnelayerError


@final
@dataclass(frozen=True, eq=False)
class SpatialSparse(SpatialOperator, kind="spatial sparse"):
    """``y = channel · (matrix · x) + bias``, the matrix taking all pixels of one channel to all pixels of the output.

    Args:
        channel: Mixing of channels; a matrix [C', C] will do.
        matrix: Any scipy sparse matrix [H'·W', H·W]; kept as a ``csr_array`` of float64 without stored zeros.
        in_size: Height and width of the input.
        out_size: Height and width of the output.
        bias: float64 [C'], or an image [C', H', W']; an image that is constant in each channel becomes [C'].

    Raises:
        OnelayerError: If anything has another shape or is not finite, or the matrix reads a pixel that is not there.
    """

    channel: ChannelMap
    matrix: Any
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    bias: FloatArray
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        channel = ChannelMap.of(self.channel)
        in_size, out_size = (checks.lengths(name, getattr(self, name), 2) for name in ("in_size", "out_size"))
        matrix = scipy.sparse.csr_array(self.matrix, dtype=np.float64, copy=True)
        expected = (out_size[0] * out_size[1], in_size[0] * in_size[1])
        if matrix.shape != expected:
            raise OnelayerError(
                f"a pixel matrix of shape {matrix.shape} was given",
                expected=f"{expected} for images from {in_size} to {out_size}",
            )
        _check_rows(matrix.data, matrix.indices, matrix.indptr, expected)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.setflags(write=False)
        out_shape, in_shape = (channel.n_out, *out_size), (channel.n_in, *in_size)
        for name, value in (
            ("channel", channel),
            ("matrix", matrix),
            ("in_size", in_size),
            ("out_size", out_size),
            ("in_shape", in_shape),
            ("out_shape", out_shape),
            ("bias", settled_bias(self.bias, out_shape)),
        ):
            object.__setattr__(self, name, value)

    @cached_property
    def row_sums(self) -> FloatArray:
        """Output pixels of a constant image of ones, [H'·W']."""
        return np.asarray(self.matrix.sum(axis=1), dtype=np.float64)

    @cached_property
    def gain(self) -> float | None:
        """The factor that constant images are multiplied by in space; None where it depends on the place."""
        return common_sum(self.row_sums)

    @cached_property
    def _copies_pixels(self) -> bool:
        return bool((np.diff(self.matrix.indptr) <= 1).all() and (self.matrix.data == 1.0).all())

    @cached_property
    def cost(self) -> Cost:
        """One multiplication per stored weight and channel, mixing on the cheaper side; a pure selection takes none."""
        taps = 0 if self._copies_pixels else int(self.matrix.nnz)
        pixels_out, pixels_in = self.matrix.shape
        pixels_read = int(np.count_nonzero(np.bincount(self.matrix.indices, minlength=pixels_in)))
        mixing, channels = self.channel.multiplications, self.channel.reads
        mix_last = taps * channels + mixing * pixels_out
        mix_first = mixing * pixels_read + taps * self.channel.n_out
        samples = channels * pixels_read + samples_of(self.out_shape) + self.bias_samples
        return Cost(min(mix_last, mix_first), samples)

    @cached_property
    def is_identity(self) -> bool:
        """Whether both factors are unit matrices and the bias is zero."""
        pixels = self.in_size[0] * self.in_size[1]
        return (
            self.in_shape == self.out_shape
            and not self.bias.any()
            and self.channel.is_identity
            and np.array_equal(self.matrix.indptr, np.arange(pixels + 1))
            and np.array_equal(self.matrix.indices, np.arange(pixels))
            and bool((self.matrix.data == 1.0).all())
        )

    @property
    def copies_values(self) -> bool:
        """Whether every output value is an input value or a constant."""
        return self._copies_pixels and self.channel.copies_values

    @property
    def keeps_integers(self) -> bool:
        """Whether all weights and the bias are integers."""
        return self.channel.keeps_integers and all(
            np.array_equal(numbers, np.rint(numbers)) for numbers in (self.matrix.data, self.bias)
        )

    @property
    def footprint(self) -> Footprint:
        """Pixels that an output value reads on average."""
        return float(self.matrix.nnz / self.matrix.shape[0])

    @property
    def pixel_description(self) -> str:
        """Description of what happens to pixels, for people."""
        (height, width), (new_height, new_width) = self.in_size, self.out_size
        return f"warp {height}×{width} → {new_height}×{new_width}"

    @property
    def pixel_roundings(self) -> int:
        """Rounded operations on the way of any pixel to an output pixel; a copy takes none."""
        return 0 if self._copies_pixels else int(np.diff(self.matrix.indptr).max())

    @property
    def taps_per_row(self) -> IntArray:
        """Stored weights of each row of the output, int64 [H']."""
        pointers: IntArray = self.matrix.indptr.astype(np.int64)
        return np.diff(pointers[:: self.out_size[1]])

    def pixel_matrix(self, first: int = 0, last: int | None = None) -> Any:
        """Write the taps of the output's rows ``first`` … ``last`` − 1 as a ``csr_array`` [rows·W', H·W]."""
        rows, width = range(self.out_size[0])[first:last], self.out_size[1]
        return self.matrix[rows.start * width : rows.stop * width]

    def apply_to_pixels(self, x: FloatArray) -> FloatArray:
        """Apply the map of pixels alone: [..., H, W] to [..., H', W']."""
        return _per_channel(self.matrix, x, self.out_size)

    def apply_to_pixels_transposed(self, y: FloatArray) -> FloatArray:
        """Apply the adjoint of the map of pixels alone: [..., H', W'] to [..., H, W]."""
        return _per_channel(self.matrix.T, y, self.in_size)

    def pixels_of(self, row: IntArray, col: IntArray) -> FloatArray:
        """Find the weights that the output pixels at these rows and columns, [n] each, have on pixels, [n, H, W]."""
        weights: FloatArray = self.matrix[row * self.out_size[1] + col].toarray()
        return weights.reshape(len(row), *self.in_size)

    def pixels_read_by(self, weights: FloatArray, rows: slice, cols: slice) -> tuple[FloatArray, int, int]:
        """Follow weights [C, h, w] on a part of the output back to the input, without mixing channels."""
        taken = self.matrix[np.arange(self.matrix.shape[0]).reshape(self.out_size)[rows, cols].ravel()]
        ys, xs = np.divmod(taken.indices, self.in_size[1])
        (top, bottom), (left, right) = ends(ys), ends(xs)
        outputs = np.repeat(np.arange(taken.shape[0]), np.diff(taken.indptr))
        gathered = np.zeros((len(weights), bottom - top, right - left))
        for values, own in zip(gathered, weights.reshape(len(weights), -1), strict=True):
            np.add.at(values, (ys - top, xs - left), own[outputs] * taken.data)
        return gathered, top, left

    def pixel_sums(self) -> tuple[FloatArray, FloatArray]:
        """Add up the positive and the negative weights of each output pixel, both [pixels]."""
        positive, negative = self.matrix.maximum(0).sum(axis=1), self.matrix.minimum(0).sum(axis=1)
        return np.asarray(positive), np.asarray(negative)

    def _pixels_with_weights(self, change: Callable[[FloatArray], FloatArray]) -> dict[str, Any]:
        parts = change(self.matrix.data), self.matrix.indices, self.matrix.indptr
        return {"matrix": scipy.sparse.csr_array(parts, shape=self.matrix.shape)}

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON."""
        return {"in_size": self.in_size, "out_size": self.out_size}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds; the matrix is in CSR."""
        return {
            "channel": self.channel.matrix,
            "bias": self.bias,
            "data": self.matrix.data,
            "indices": self.matrix.indices,
            "indptr": self.matrix.indptr,
        }

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> Self:
        """Build the operator from what a file holds.

        Raises:
            OnelayerError: If a part is missing or does not fit; the error names the field.
        """
        in_size, out_size = (checks.lengths(name, part(parameters, name), 2) for name in ("in_size", "out_size"))
        shape = out_size[0] * out_size[1], in_size[0] * in_size[1]
        data, indices, indptr = (part(arrays, name) for name in ("data", "indices", "indptr"))
        # Before scipy sees them: it does not look at every index.
        _check_rows(data, indices, indptr, shape)
        channel = checks.field("channel", lambda: ChannelMap(part(arrays, "channel")))
        matrix = scipy.sparse.csr_array((data, indices, indptr), shape=shape)
        return cls(channel, matrix, in_size, out_size, part(arrays, "bias"))


def _check_rows(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, int]) -> None:
    """Refuse arrays that are no CSR matrix of this shape, and indices that would read foreign memory."""
    outputs, inputs = shape
    for name, array, kinds in (("data", data, "fiu"), ("indices", indices, "iu"), ("indptr", indptr, "iu")):
        if array.ndim != 1 or array.dtype.kind not in kinds:
            raise OnelayerError(
                f"{name} is an array of shape {list(array.shape)} and dtype {array.dtype}",
                expected="one dimension of numbers" if name == "data" else "one dimension of integers",
            )
    if len(indices) != len(data) or len(indptr) != outputs + 1:
        raise OnelayerError(
            f"data has {len(data):,} weights, indices {len(indices):,} and indptr {len(indptr):,} numbers",
            expected=f"as many weights as indices, and {outputs + 1:,} pointers",
        )
    if not np.isfinite(data).all():
        raise OnelayerError("data has a value that is not finite", expected="finite numbers")
    checks.refuse_outside("indices", indices, 0, inputs - 1)
    checks.refuse_outside("indptr", indptr, 0, len(data))
    if indptr[0] != 0 or indptr[-1] != len(data) or bool((indptr[1:] < indptr[:-1]).any()):
        raise OnelayerError("indptr does not divide the weights into rows", expected=f"ascending from 0 to {len(data)}")


def _per_channel(matrix: Any, x: FloatArray, size: tuple[int, int]) -> FloatArray:
    pixels = matrix.shape[1]
    flat: FloatArray = (matrix @ x.reshape(-1, pixels).T).T
    return flat.reshape(*x.shape[:-2], *size)
