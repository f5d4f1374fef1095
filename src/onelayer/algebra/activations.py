"""Pointwise functions: what a program does to single values between its affine operators.

A scale or an offset per channel is affine and therefore a :class:`~onelayer.algebra.separable.Separable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, final, get_args

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra import checks
from onelayer.algebra.checks import FloatArray
from onelayer.algebra.operator import ROUNDING, Arrays, Stage, part
from onelayer.algebra.ranges import Range
from onelayer.errors import OnelayerError

IntegerType = Literal["uint8", "int8", "uint16", "int16", "int32"]
Rounding = Literal["half_even", "half_up", "truncate"]

_ROUNDINGS: dict[Rounding, Callable[[FloatArray], FloatArray]] = {
    "half_even": np.rint,
    "half_up": lambda x: np.floor(x + 0.5),
    "truncate": np.trunc,
}
_ROUNDING_PHRASES: dict[Rounding, str] = {
    "half_even": "round",
    "half_up": "round half up",
    "truncate": "cut the fraction off",
}

_HUGE = 1e300
"""Limit of the powers of a range, so that they stay finite."""


class Activation(Stage):
    """A function of single values, the same at every pixel."""

    @property
    def channels(self) -> int | None:
        """Number of channels that it needs; None if it serves any number of them."""
        return None

    def error_of_parameters(self, roundoff: float) -> float | None:  # noqa: ARG002 - of those that know
        """Bound how far a result is off because the function's own parameters are rounded.

        Args:
            roundoff: Relative error of one rounding.

        Returns:
            The bound; None where the function may also take two values further apart, so that nothing is known of the
            errors that arrive at it.
        """
        return None


@final
@dataclass(frozen=True)
class Clamp(Activation, kind="clamp"):
    """``min(max(x, low), high)``; either bound may be infinite.

    Args:
        low: Lower bound; −∞ for none.
        high: Upper bound; ∞ for none.

    Raises:
        OnelayerError: Unless low ≤ high, and both leave a finite value.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        low, high = checks.real_number("low", self.low), checks.real_number("high", self.high)
        if not low <= high or low == np.inf or high == -np.inf:
            raise OnelayerError(f"low is {low} and high is {high}", expected="low ≤ high, and finite values in between")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def is_identity(self) -> bool:
        """Whether both bounds are infinite."""
        return self.low == -np.inf and self.high == np.inf

    @property
    def keeps_integers(self) -> bool:
        """Whether both bounds are integers, or infinite."""
        return bool(np.rint(self.low) == self.low and np.rint(self.high) == self.high)

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return f"clamp to {self.low:g} … {self.high:g}"

    def apply(self, x: ArrayLike) -> FloatArray:
        """Clamp values of any shape."""
        return np.clip(np.asarray(x, dtype=np.float64), self.low, self.high)

    def output_range(self, input_range: Range) -> Range:
        """Clamp both ends."""
        return Range(self.apply(input_range.low), self.apply(input_range.high))

    def error_of_parameters(self, roundoff: float) -> float:
        """Bound the rounding of the bounds; two values are never taken further apart."""
        return roundoff * max((abs(bound) for bound in (self.low, self.high) if np.isfinite(bound)), default=0.0)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON, in which an infinite bound is null."""
        return {name: bound if np.isfinite(bound) else None for name, bound in (("low", self.low), ("high", self.high))}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003 - there are none
        """Build the clamp from what a file holds.

        Raises:
            OnelayerError: If a bound is missing or is no number.
        """
        low, high = part(parameters, "low"), part(parameters, "high")
        return cls(-np.inf if low is None else low, np.inf if high is None else high)


@final
@dataclass(frozen=True)
class Quantize(Activation, kind="quantize"):
    """Rounding to the integers of a dtype; values beyond them saturate.

    Args:
        rounding: ``half_even`` (``torch.round``), ``half_up`` (fixed point in Pillow and PyTorch: add a half, shift) or
            ``truncate`` (a cast: towards zero).
        dtype: Integer dtype at whose smallest and largest value the result saturates.

    Raises:
        OnelayerError: If there is no such rounding or dtype.
    """

    rounding: Rounding
    dtype: IntegerType = "uint8"

    def __post_init__(self) -> None:
        checks.option("rounding", self.rounding, get_args(Rounding))
        checks.option("dtype", self.dtype, get_args(IntegerType))

    @property
    def low(self) -> float:
        """The smallest value of the dtype."""
        return float(np.iinfo(self.dtype).min)

    @property
    def high(self) -> float:
        """The largest value of the dtype."""
        return float(np.iinfo(self.dtype).max)

    @property
    def keeps_integers(self) -> bool:
        """Whether integers stay integers: always."""
        return True

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return f"{_ROUNDING_PHRASES[self.rounding]}, to {self.dtype}"

    def apply(self, x: ArrayLike) -> FloatArray:
        """Round and saturate values of any shape, as float64."""
        values = np.asarray(x, dtype=np.float64)
        return np.clip(_ROUNDINGS[self.rounding](values), self.low, self.high)

    def output_range(self, input_range: Range) -> Range:
        """Round and saturate both ends, since rounding is monotone."""
        return Range(self.apply(input_range.low), self.apply(input_range.high))


@final
@dataclass(frozen=True, eq=False)
class Lookup(Activation, kind="lookup"):
    """``table[x]`` for integers x in 0 … 255.

    Args:
        table: float64 [256], or [C, 256] with one table per channel.

    Raises:
        OnelayerError: If the table has another shape or holds a value that is not finite.
    """

    table: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", checks.real_numbers("table", self.table, (256,), ("C", 256)))

    @property
    def channels(self) -> int | None:
        """Number of channels that it needs; None if one table serves any number."""
        return self.table.shape[0] if self.table.ndim == 2 else None

    @cached_property
    def is_identity(self) -> bool:
        """Whether every entry is its own index."""
        return bool((self.table == np.arange(256)).all())

    @property
    def copies_values(self) -> bool:
        """Whether values are copied: always, from the table."""
        return True

    @property
    def keeps_integers(self) -> bool:
        """Whether all entries are integers."""
        return np.array_equal(self.table, np.rint(self.table))

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return "look up in a table" + ("" if self.channels is None else " per channel")

    def apply(self, x: ArrayLike) -> FloatArray:
        """Look up images [..., C, H, W] of integers 0 … 255, of any dtype."""
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

    def output_range(self, input_range: Range) -> Range:
        """Find the extremes of the entries that the range can reach."""
        low, high = input_range.low, input_range.high
        first, last = np.ceil(low - ROUNDING * 256), np.floor(high + ROUNDING * 256)
        if bool((first < 0).any() or (last > 255).any() or (first > last).any()):
            raise OnelayerError(
                f"a look-up was given values from {low.min():g} to {high.max():g}",
                expected="a range with integers, within 0 … 255",
            )
        tables = np.broadcast_to(self.table, (len(low), 256))
        reached = [tables[c, int(first[c]) : int(last[c]) + 1] for c in range(len(low))]
        return Range(np.array([entries.min() for entries in reached]), np.array([entries.max() for entries in reached]))


@final
@dataclass(frozen=True)
class Gamma(Activation, kind="gamma"):
    """``gain · x ** gamma``: NaN for x < 0, unless gamma is a whole number.

    Args:
        gain: Factor of the power.
        gamma: Exponent.

    Raises:
        OnelayerError: If the exponent is negative or a parameter is not finite.
    """

    gain: float
    gamma: float

    def __post_init__(self) -> None:
        gain, gamma = checks.real_number("gain", self.gain), checks.real_number("gamma", self.gamma)
        if not (np.isfinite(gain) and np.isfinite(gamma) and gamma >= 0):
            raise OnelayerError(f"gain is {gain} and gamma is {gamma}", expected="finite numbers, gamma ≥ 0")
        object.__setattr__(self, "gain", gain)
        object.__setattr__(self, "gamma", gamma)

    @property
    def is_identity(self) -> bool:
        """Whether exponent and gain are one."""
        return self.gain == 1.0 and self.gamma == 1.0

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return f"{self.gain:g} · x^{self.gamma:g}"

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute the power of values of any shape."""
        with np.errstate(invalid="ignore"):
            return self.gain * np.asarray(x, dtype=np.float64) ** self.gamma

    def output_range(self, input_range: Range) -> Range:
        """Find the extremes of what is not NaN: the function at both ends and, between them, at zero."""
        low, high = input_range.low, input_range.high
        if self.gamma != np.rint(self.gamma):
            low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
        ends = np.stack([low, high, np.clip(0.0, low, high)])
        with np.errstate(over="ignore"):
            values = np.clip(self.gain * ends**self.gamma, -_HUGE, _HUGE)
        return Range(values.min(axis=0), values.max(axis=0))


FloatType = Literal["float32", "float64"]
FloatOperation = Literal["multiply", "subtract", "divide"]

_ARITHMETIC: dict[FloatOperation, Callable[[Any, Any], Any]] = {
    "multiply": np.multiply,
    "subtract": np.subtract,
    "divide": np.divide,
}
_ARITHMETIC_PHRASES: dict[FloatOperation, str] = {
    "multiply": "multiply by",
    "subtract": "subtract",
    "divide": "divide by",
}


@final
@dataclass(frozen=True, eq=False)
class FloatOp(Activation, kind="float op"):
    """One operation of arithmetic with a number per channel, rounded to a dtype, as a library does it.

    In real arithmetic a scale or an offset is a :class:`~onelayer.algebra.separable.Separable`; this is for results
    that have to agree with a library's in every bit.

    Args:
        operation: ``multiply`` by the number, ``subtract`` it, or ``divide`` by it.
        numbers: Operands, [C], or [1] for all channels; rounded to the dtype first.
        dtype: Dtype of the values, before and after.

    Raises:
        OnelayerError: If the numbers have another shape, are not finite in the dtype, or zero where they divide.
    """

    operation: FloatOperation
    numbers: FloatArray
    dtype: FloatType = "float32"

    def __post_init__(self) -> None:
        checks.option("operation", self.operation, get_args(FloatOperation))
        checks.option("dtype", self.dtype, get_args(FloatType))
        with np.errstate(over="ignore"):
            rounded = checks.real_numbers("numbers", self.numbers, ("C",)).astype(self.dtype)
        numbers = checks.real_numbers("numbers", rounded, ("C",))
        if self.operation == "divide" and not numbers.all():
            raise OnelayerError("numbers has a zero to divide by", expected="numbers other than 0")
        object.__setattr__(self, "numbers", numbers)

    @property
    def channels(self) -> int | None:
        """Number of channels that it needs; None if one number serves any number of them."""
        return len(self.numbers) if len(self.numbers) > 1 else None

    @property
    def is_identity(self) -> bool:
        """Whether it multiplies or divides by one, or subtracts zero."""
        return bool((self.numbers == (0.0 if self.operation == "subtract" else 1.0)).all())

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        number = "a number per channel" if self.channels else f"{self.numbers[0]:.4g}"
        return f"{_ARITHMETIC_PHRASES[self.operation]} {number}, in {self.dtype}"

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute images [..., C, H, W] of values of the dtype, as float64."""
        return self._computed(np.asarray(x, dtype=np.float64), self.numbers[:, None, None])

    def output_range(self, input_range: Range) -> Range:
        """Compute both ends, since rounding is monotone; they change places where a number is negative."""
        ends = np.stack([self._computed(end, self.numbers) for end in (input_range.low, input_range.high)])
        return Range(ends.min(axis=0), ends.max(axis=0))

    def _computed(self, values: FloatArray, numbers: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            result = _ARITHMETIC[self.operation](values.astype(self.dtype), numbers.astype(self.dtype))
        finite: FloatArray = np.clip(result.astype(np.float64), -_HUGE, _HUGE)
        return finite
