"""Pointwise functions: what a program does to single values between its affine operators.

A scale or an offset per channel is affine and therefore a :class:`~onelayer.algebra.separable.Separable`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import ROUNDING, FloatArray
from onelayer.errors import OnelayerError

IntegerType = Literal["uint8", "int8", "uint16", "int16", "int32"]
Rounding = Literal["half_even", "half_up", "truncate"]

_ROUNDINGS: dict[Rounding, Callable[[FloatArray], FloatArray]] = {
    "half_even": np.rint,
    "half_up": lambda x: np.floor(x + 0.5),
    "truncate": np.trunc,
}


_HUGE = 1e300
"""Where the powers of a range are cut off, so that they stay finite."""


class Activation(ABC):
    """A function of single values, the same at every pixel."""

    @property
    @abstractmethod
    def is_identity(self) -> bool:
        """Whether it changes no value at all."""

    @abstractmethod
    def apply(self, x: ArrayLike) -> FloatArray:
        """The slow, obviously right reference: images [..., C, H, W] to float64 of the same shape.

        Raises:
            OnelayerError: If a value is outside of what the function is defined for.
        """

    @abstractmethod
    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The smallest and the largest value of each channel, [C], given those of the input, [C].

        Raises:
            OnelayerError: If the input range reaches beyond what the function is defined for.
        """


@final
@dataclass(frozen=True)
class Clamp(Activation):
    """``min(max(x, low), high)``; either bound may be infinite.

    Raises:
        OnelayerError: Unless low ≤ high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise OnelayerError(f"a clamp to {self.low} … {self.high} was asked for", expected="low ≤ high")

    @property
    def is_identity(self) -> bool:
        """Whether both bounds are infinite."""
        return self.low == -np.inf and self.high == np.inf

    def apply(self, x: ArrayLike) -> FloatArray:
        """Values of any shape, clamped."""
        return np.clip(np.asarray(x, dtype=np.float64), self.low, self.high)

    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both ends, clamped."""
        return self.apply(low), self.apply(high)


@final
@dataclass(frozen=True)
class Quantize(Activation):
    """Rounding to the integers of a dtype; values beyond them saturate.

    Args:
        rounding: ``half_even`` (``torch.round``), ``half_up`` (fixed point in Pillow and PyTorch: add a half, shift) or
            ``truncate`` (a cast: towards zero).
        dtype: Whose smallest and largest value the result saturates at.
    """

    rounding: Rounding
    dtype: IntegerType = "uint8"

    @property
    def low(self) -> float:
        """The smallest value of the dtype."""
        return float(np.iinfo(self.dtype).min)

    @property
    def high(self) -> float:
        """The largest value of the dtype."""
        return float(np.iinfo(self.dtype).max)

    @property
    def is_identity(self) -> bool:
        """Never: it acts on values between the integers."""
        return False

    def apply(self, x: ArrayLike) -> FloatArray:
        """Values of any shape, rounded and saturated, as float64."""
        values = np.asarray(x, dtype=np.float64)
        return np.clip(_ROUNDINGS[self.rounding](values), self.low, self.high)

    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both ends, rounded and saturated, since rounding is monotone."""
        return self.apply(low), self.apply(high)


@final
@dataclass(frozen=True, eq=False)
class Lookup(Activation):
    """``table[x]`` for integers x in 0 … 255.

    Args:
        table: float64 [256], or [C, 256] with one table per channel.

    Raises:
        OnelayerError: If the table has another shape or holds a value that is not finite.
    """

    table: FloatArray

    def __post_init__(self) -> None:
        table = np.array(self.table, dtype=np.float64, order="C")
        if table.ndim not in (1, 2) or table.shape[-1] != 256 or table.size == 0 or not np.isfinite(table).all():
            raise OnelayerError(f"a table of shape {table.shape} was given", expected="finite (256,) or (C, 256)")
        table.setflags(write=False)
        object.__setattr__(self, "table", table)

    @property
    def channels(self) -> int | None:
        """How many channels it needs; None if one table serves any number."""
        return self.table.shape[0] if self.table.ndim == 2 else None

    @cached_property
    def is_identity(self) -> bool:
        """Whether every entry is its own index."""
        return bool((self.table == np.arange(256)).all())

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] of integers 0 … 255, of any dtype, looked up."""
        values = np.asarray(x, dtype=np.float64)
        indices = np.rint(values)
        if not bool(((indices == values) & (indices >= 0) & (indices <= 255)).all()):
            raise OnelayerError(
                "a look-up was given a value that is no integer in 0 … 255",
                hint="Put a Quantize to uint8 before the look-up.",
            )
        places = indices.astype(np.int64)
        if self.table.ndim == 1:
            return self.table[places]
        return self.table[np.arange(len(self.table))[:, None, None], places]

    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The extremes of the entries that the range can reach."""
        first, last = np.ceil(low - ROUNDING * 256), np.floor(high + ROUNDING * 256)
        if bool((first < 0).any() or (last > 255).any() or (first > last).any()):
            raise OnelayerError(
                f"a look-up was given values from {low.min():g} to {high.max():g}",
                expected="a range with integers, within 0 … 255",
            )
        tables = np.broadcast_to(self.table, (len(low), 256))
        reached = [tables[c, int(first[c]) : int(last[c]) + 1] for c in range(len(low))]
        return np.array([entries.min() for entries in reached]), np.array([entries.max() for entries in reached])


@final
@dataclass(frozen=True)
class Gamma(Activation):
    """``gain · x ** gamma``: NaN for x < 0, unless gamma is a whole number.

    Raises:
        OnelayerError: If the exponent is negative or a parameter is not finite.
    """

    gain: float
    gamma: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and np.isfinite(self.gamma) and self.gamma >= 0):
            raise OnelayerError(
                f"gamma {self.gamma} with gain {self.gain} was asked for", expected="finite numbers, gamma ≥ 0"
            )

    @property
    def is_identity(self) -> bool:
        """Whether exponent and gain are one."""
        return self.gain == 1.0 and self.gamma == 1.0

    def apply(self, x: ArrayLike) -> FloatArray:
        """Values of any shape."""
        with np.errstate(invalid="ignore"):
            return self.gain * np.asarray(x, dtype=np.float64) ** self.gamma

    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The extremes of what is not NaN: the function at both ends and, between them, at zero."""
        if self.gamma != np.rint(self.gamma):
            low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
        ends = np.stack([low, high, np.clip(0.0, low, high)])
        with np.errstate(over="ignore"):
            values = np.clip(self.gain * ends**self.gamma, -_HUGE, _HUGE)
        return values.min(axis=0), values.max(axis=0)


FloatType = Literal["float32", "float64"]
Arithmetic = Literal["multiply", "subtract", "divide"]

_ARITHMETIC: dict[Arithmetic, Callable[[Any, Any], Any]] = {
    "multiply": np.multiply,
    "subtract": np.subtract,
    "divide": np.divide,
}


@final
@dataclass(frozen=True, eq=False)
class FloatOp(Activation):
    """One operation of arithmetic with a number per channel, rounded to a dtype, as a library does it.

    In real arithmetic a scale or an offset is a :class:`~onelayer.algebra.separable.Separable`; this is for results
    that have to agree with a library's in every bit.

    Args:
        operation: ``multiply`` by the number, ``subtract`` it, or ``divide`` by it.
        numbers: [C], or [1] for all channels; rounded to the dtype first.
        dtype: Of the values, before and after.

    Raises:
        OnelayerError: If the numbers have another shape, are not finite in the dtype, or zero where they divide.
    """

    operation: Arithmetic
    numbers: FloatArray
    dtype: FloatType = "float32"

    def __post_init__(self) -> None:
        numbers = np.array(self.numbers, dtype=np.float64).astype(self.dtype)
        if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
            raise OnelayerError(f"the numbers {self.numbers} were given", expected="one, or one per channel, finite")
        if self.operation == "divide" and not numbers.all():
            raise OnelayerError("a division by zero was asked for", expected="numbers other than 0")
        kept = numbers.astype(np.float64)
        kept.setflags(write=False)
        object.__setattr__(self, "numbers", kept)

    @property
    def channels(self) -> int | None:
        """How many channels it needs; None if one number serves any number of them."""
        return len(self.numbers) if len(self.numbers) > 1 else None

    @property
    def is_identity(self) -> bool:
        """Whether it multiplies or divides by one, or subtracts zero."""
        return bool((self.numbers == (0.0 if self.operation == "subtract" else 1.0)).all())

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] of values of the dtype, as float64."""
        return self._applied(np.asarray(x, dtype=np.float64), self.numbers[:, None, None])

    def out_range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both ends, since rounding is monotone; exchanged where a number is negative."""
        ends = np.stack([self._applied(end, self.numbers) for end in (low, high)])
        return ends.min(axis=0), ends.max(axis=0)

    def _applied(self, values: FloatArray, numbers: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            result = _ARITHMETIC[self.operation](values.astype(self.dtype), numbers.astype(self.dtype))
        finite: FloatArray = np.clip(result.astype(np.float64), -_HUGE, _HUGE)
        return finite
