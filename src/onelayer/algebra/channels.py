"""Channels: the mixing matrix and the bias that operators over images share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.checks import FloatArray, IntArray, real_numbers
from onelayer.algebra.operator import Shape


@final
@dataclass(frozen=True, eq=False)
class ChannelMap:
    """``y[d] = Σ_c matrix[d, c] · x[c]`` at every pixel.

    Args:
        matrix: Mixing weights, float64 [n_out, n_in], finite.

    Raises:
        OnelayerError: If it is no matrix, is empty or holds a value that is not finite.
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", real_numbers("channel matrix", self.matrix, ("n_out", "n_in")))

    @classmethod
    def of(cls, channel: ChannelMap | ArrayLike) -> ChannelMap:
        """Make a map of a matrix; a map stays what it is."""
        return channel if isinstance(channel, ChannelMap) else cls(np.asarray(channel))

    @classmethod
    def identity(cls, n: int) -> ChannelMap:
        """Make the map that changes nothing, n ≥ 1."""
        return _identity(n)

    @property
    def n_in(self) -> int:
        """Channels of the input."""
        return int(self.matrix.shape[1])

    @property
    def n_out(self) -> int:
        """Channels of the output."""
        return int(self.matrix.shape[0])

    @cached_property
    def is_identity(self) -> bool:
        """Whether every channel stays as and where it is."""
        return np.array_equal(self.matrix, np.eye(self.n_out))

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether every channel is only multiplied by a number."""
        return self.n_in == self.n_out and np.count_nonzero(self.matrix) == np.count_nonzero(self.matrix.diagonal())

    @cached_property
    def copies_values(self) -> bool:
        """Whether every output channel is a copy of an input channel, or zero."""
        rows = self.matrix.tolist()
        return all([weight for weight in row if weight] in ([], [1.0]) for row in rows)

    @cached_property
    def is_selection(self) -> bool:
        """Whether every output channel is a copy of one input channel."""
        return self.copies_values and bool(self.matrix.any(axis=1).all())

    @property
    def keeps_integers(self) -> bool:
        """Whether all weights are integers."""
        return bool((self.matrix == np.rint(self.matrix)).all())

    @property
    def sources(self) -> IntArray:
        """The input channel with the largest weight in each output channel, [n_out]: what a selection copies."""
        sources: IntArray = self.matrix.argmax(axis=1)
        return sources

    @cached_property
    def multiplications(self) -> int:
        """Multiplications per pixel: the nonzero weights of every row that is no mere copy of one channel."""
        count = 0
        for row in self.matrix.tolist():
            nonzero = [weight for weight in row if weight]
            if nonzero != [1.0]:
                count += len(nonzero)
        return count

    @cached_property
    def reads(self) -> int:
        """Number of input channels that have a nonzero weight anywhere."""
        return int(np.count_nonzero(self.matrix.any(axis=0)))

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any channel to an output channel; a copy takes none."""
        return 0 if self.copies_values else int(np.count_nonzero(self.matrix, axis=1).max())

    @property
    def description(self) -> str:
        """Description for people, as a phrase; empty for the identity."""
        if self.is_diagonal:
            factors = set(self.matrix.diagonal().tolist())
            if factors == {1.0}:
                return ""
            return f"scale by {factors.pop():.4g}" if len(factors) == 1 else "scale per channel"
        if self.is_selection:
            return "take channels " + " ".join(map(str, self.sources.tolist()))
        return f"mix channels {self.n_in}→{self.n_out}"

    def apply(self, x: FloatArray) -> FloatArray:
        """Mix the channels of [..., n_in, H, W] to [..., n_out, H, W]."""
        result: FloatArray = np.einsum("dc,...chw->...dhw", self.matrix, x)
        return result

    def apply_transposed(self, y: FloatArray) -> FloatArray:
        """Mix the channels of [..., n_out, H, W] to [..., n_in, H, W] by the transposed matrix."""
        result: FloatArray = np.einsum("dc,...dhw->...chw", self.matrix, y)
        return result

    def __matmul__(self, first: ChannelMap) -> ChannelMap:
        """Make the map that applies ``first``, then this one."""
        return ChannelMap(self.matrix @ first.matrix)

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> ChannelMap:
        """Make the map whose weights are changed one by one."""
        return ChannelMap(change(self.matrix))

    def scaled(self, factors: FloatArray) -> ChannelMap:
        """Make the map whose outputs are multiplied by a factor each, [n_out]."""
        return ChannelMap(self.matrix * factors[:, None])


# Most operators leave channels alone: one object per number of channels, and what is derived from it is derived once.
@lru_cache(maxsize=64)
def _identity(n: int) -> ChannelMap:
    return ChannelMap(np.eye(n))


def settled_bias(bias: ArrayLike, out_shape: Shape) -> FloatArray:
    """Make a read-only copy of a bias: [C'], or an image [C', H', W'] where it differs within a channel.

    Raises:
        OnelayerError: If it has another shape or holds a value that is not finite.
    """
    values = real_numbers("bias", bias, out_shape[:1], out_shape)
    if values.ndim == 3 and bool((values == values[:, :1, :1]).all()):
        values = values[:, 0, 0].copy()
        values.setflags(write=False)
    return values


def bias_image(bias: FloatArray) -> FloatArray:
    """View a bias in the form that broadcasts over images: [C', 1, 1] or [C', H', W']."""
    return bias if bias.ndim == 3 else bias[:, None, None]


def bias_description(bias: FloatArray) -> str:
    """Describe what a bias adds, as a phrase for people; empty for zero."""
    if not bias.any():
        return ""
    if bias.ndim == 3:
        return "add an image"
    values = set(bias.tolist())
    return f"add {values.pop():.4g}" if len(values) == 1 else "add per channel"
