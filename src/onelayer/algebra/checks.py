"""Check what stages are built from, so that an error names the field and nothing is read out of bounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import OnelayerError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LONGEST = 2**31 - 1
"""Samples of the longest axis, channels included; sums of two places never leave int64."""

T = TypeVar("T")
Lengths = tuple[int | str, ...]
"""The shape of an array: a number where the length is known, a name where any length from 1 on will do."""


def real_numbers(name: str, values: ArrayLike, *shapes: Lengths, finite: bool = True) -> FloatArray:
    """Copy numbers into a read-only float64 array.

    Args:
        name: Name of the field, for errors.
        values: Integers or floating point numbers.
        shapes: Shapes that are accepted.
        finite: Whether NaN and infinities are refused.

    Raises:
        OnelayerError: If the values are no real numbers, have another shape or are not finite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not any(_fits(array.shape, shape) for shape in shapes):
        raise _other_array(name, array, "real numbers", shapes)
    copy = np.array(array, dtype=np.float64, order="C")
    if finite and not np.isfinite(copy).all():
        raise OnelayerError(f"{name} has a value that is not finite", expected="finite numbers")
    copy.setflags(write=False)
    return copy


def whole_numbers(name: str, values: ArrayLike, *shapes: Lengths) -> IntArray:
    """Copy integers into a read-only int64 array.

    Args:
        name: Name of the field, for errors.
        values: Integers of any integer dtype.
        shapes: Shapes that are accepted.

    Raises:
        OnelayerError: If the values are no integers, do not fit into int64 or have another shape.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or not any(_fits(array.shape, shape) for shape in shapes):
        raise _other_array(name, array, "integers", shapes)
    if array.dtype == np.uint64 and bool((array > np.uint64(np.iinfo(np.int64).max)).any()):
        raise OnelayerError(f"{name} has a value of {array.max()}", expected="integers below 2⁶³")
    copy = np.array(array, dtype=np.int64, order="C")
    copy.setflags(write=False)
    return copy


def refuse_outside(name: str, values: NDArray[Any], least: int, most: int) -> None:
    """Raise OnelayerError if an integer is below ``least`` or above ``most``."""
    if values.size and (int(values.min()) < least or int(values.max()) > most):
        raise OnelayerError(
            f"{name} has values from {values.min()} to {values.max()}", expected=f"values within {least} … {most}"
        )


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Check that a value is an integer from ``least`` to :data:`LONGEST`.

    Raises:
        OnelayerError: If the value is no integer or out of range.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= LONGEST:
        raise OnelayerError(f"{name} is {value!r}", expected=f"an integer within {least} … {LONGEST}")
    return int(value)


def lengths(name: str, values: object, count: int) -> tuple[Any, ...]:
    """Check that values are so many integers from 1 to :data:`LONGEST`, and make a tuple of them.

    Raises:
        OnelayerError: If there are more or fewer, or one is no integer or out of range.
    """
    if not isinstance(values, list | tuple) or len(values) != count:
        raise OnelayerError(f"{name} is {values!r}", expected=f"{count} integers of at least 1")
    return tuple(whole_number(name, value) for value in values)


def real_number(name: str, value: object) -> float:
    """Check that a value is a number other than NaN; it may be infinite.

    Raises:
        OnelayerError: If the value is no such number.
    """
    number = np.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if np.isnan(number):
        raise OnelayerError(f"{name} is {value!r}", expected="a number")
    return number


def truth(name: str, value: object) -> bool:
    """Check that a value is true or false, and no number in its place.

    Raises:
        OnelayerError: If the value is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise OnelayerError(f"{name} is {value!r}", expected="true or false")
    return bool(value)


def option(name: str, value: object, options: tuple[str, ...]) -> Any:
    """Check that a value is one of some texts.

    Raises:
        OnelayerError: If the value is none of them.
    """
    if not isinstance(value, str) or value not in options:
        raise OnelayerError(f"{name} is {value!r}", expected=f"one of {', '.join(options)}")
    return value


def field(name: str, make: Callable[[], T]) -> T:
    """Make a part of a stage, and put the name of its field in front of any error.

    Raises:
        OnelayerError: If the part cannot be made.
    """
    try:
        return make()
    except OnelayerError as error:
        raise OnelayerError(f"{name}: {error.problem}", expected=error.expected, hint=error.hint) from error


def _fits(found: tuple[int, ...], wanted: Lengths) -> bool:
    return len(found) == len(wanted) and all(
        length >= 1 if isinstance(known, str) else length == known for length, known in zip(found, wanted, strict=True)
    )


def _other_array(name: str, array: NDArray[Any], kind: str, shapes: tuple[Lengths, ...]) -> OnelayerError:
    texts = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes)
    return OnelayerError(
        f"{name} is an array of shape {list(array.shape)} and dtype {array.dtype}", expected=f"{kind} {texts}"
    )
