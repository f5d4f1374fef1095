"""Format numbers, names and times for the page, the figures and the terminal."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

ABSENT = "–"
"""Text of an empty cell of a table."""

DEVICES = {"cpu": "CPU", "cuda": "CUDA"}
"""Names of devices in running text."""

GREY_LEVELS = 255
"""Steps of an 8-bit image: an error of 1/255 of the range is one grey level."""


def psnr(mse: float) -> float | None:
    """Compute the peak signal-to-noise ratio in dB, ``10·log10(1 / mse)``, for a peak of 1; None for no error."""
    # Not 1 / mse: a subnormal error would overflow.
    return -10.0 * math.log10(mse) if mse > 0 else None


def scientific(value: float) -> str:
    """Format three significant digits and a power of ten: ``1.93×10⁻⁵``."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def decibels(value: float | None) -> str:
    """Format a PSNR: ``47.2 dB``, or ``∞ dB`` for None (no error at all)."""
    return "∞ dB" if value is None else f"{value:.1f} dB"


def mse_with_psnr(mse: float) -> str:
    """Format a mean squared error with its PSNR: ``1.93×10⁻⁵ (47.1 dB)``."""
    return f"{scientific(mse)} ({decibels(psnr(mse))})"


def grey_levels(value: float) -> str:
    """Format an error in grey levels, fine enough for almost exact layers too."""
    if value == 0:
        return "0"
    if value < 0.01:
        return scientific(value)
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def grey_levels_at_most(value: float) -> str:
    """Format a proved bound in grey levels, two digits, rounded up: what is printed is proved as well."""
    rounded = Context(prec=2, rounding=ROUND_CEILING).create_decimal(value)
    return scientific(float(rounded)) if 0 < value < 0.01 else f"{rounded.normalize():f}"


def percent(share: float) -> str:
    """Format a share in whole percent; 0% and 100% only where they are exact."""
    if 0 < share < 0.005:
        return "less than 1%"
    return "more than 99%" if 0.995 <= share < 1 else f"{100 * share:.0f}%"


def similarity(value: float | None) -> str:
    """Format an SSIM to four digits; 1 only where it is exact."""
    if value is None:
        return "not defined"
    return "> 0.9999" if 0.99995 <= value < 1 else f"{value:.4f}"


def milliseconds(seconds: float) -> str:
    """Format a time in ms, without its unit: ``1,234``, ``56.7``, ``8.90``, ``0.0123``."""
    value = seconds * 1000
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def factor(value: float) -> str:
    """Format a ratio of times, without the sign ×: ``123``, ``31.2``, ``1.42``, ``0.057``."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def factors(values: Sequence[float]) -> str:
    """Format the range of some ratios: ``1.42 to 3.10``, or a single number where both ends print alike."""
    low, high = factor(min(values)), factor(max(values))
    return low if low == high else f"{low} to {high}"


def duration(seconds: float) -> str:
    """Format a wall time: ``8.2 s``, ``12 min 3 s``, ``1 h 2 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shape(channels_height_width: tuple[int, ...]) -> str:
    """Format a shape: ``3×32×32``."""
    return "×".join(str(size) for size in channels_height_width)


def moment(iso: str) -> str:
    """Format an ISO 8601 time to the minute, in UTC; a text that is no such time stays as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    # A record's times are UTC; one without an offset says so by its format alone.
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def source(path: str) -> str:
    """Drop the folders above the value of ``--data``: a page is passed on, a machine's paths are not."""
    # This flavour knows both separators, and so reads the records of any machine.
    return PureWindowsPath(path).name or "a folder"


def enumeration(parts: Sequence[str]) -> str:
    """Join parts of a sentence: ``a``, ``a and b``, ``a, b and c``."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def without_addresses(text: str) -> str:
    """Take the addresses of objects out of a text: they are others in each process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
