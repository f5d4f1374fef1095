"""Random transforms with nothing left to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from onelayer.frontends.base import Derivation, H, UnsupportedTransformError
from onelayer.image_spec import ImageSpec


def is_random(problem: str, hint: str) -> UnsupportedTransformError:
    """Make the error for a transform that draws random numbers."""
    return UnsupportedTransformError(f"it is random: {problem}", expected="a deterministic transform", hint=hint)


def deterministic(handler: H) -> H:
    """Decorate the handler of a transform with a probability: nothing happens at ``p=0``, other than 1 is refused."""
    call: Callable[..., Derivation] = handler

    @wraps(handler)
    def handle(transform: Any, spec: ImageSpec, *rounding: Any) -> Derivation:
        return call(transform, spec, *rounding) if happens(transform) else ([], spec)

    return handle  # type: ignore[return-value]  # it takes what the handler takes


def acts_now_and_then(transform: Any) -> UnsupportedTransformError:
    """Make the error for a transform with a probability between 0 and 1."""
    return is_random(f"it acts with probability {transform.p}", "Use p of 0 or 1, or leave it out of what is derived.")


def happens(transform: Any) -> bool:
    """Whether a transform with a probability always acts; it never does at ``p=0``.

    Raises:
        UnsupportedTransformError: If it acts now and then.
    """
    if transform.p not in (0, 1):
        raise acts_now_and_then(transform)
    return bool(transform.p)


def single_value(name: str, ends: Sequence[float], hint: str) -> float:
    """Return the value that is drawn from a range of only one.

    Args:
        name: Name of the parameter.
        ends: Smallest and largest value.
        hint: Advice for a range of several values.

    Raises:
        UnsupportedTransformError: If the ends differ.
    """
    low, high = ends
    if low != high:
        raise is_random(f"its {name} is drawn from {low} … {high}", hint)
    # Torchvision draws float32 even where there is nothing to draw.
    return float(np.float32(low))
