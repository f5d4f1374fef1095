"""Transforms that torchvision applies with a probability."""

from __future__ import annotations

from functools import wraps
from typing import Any

from onelayer.algebra import Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Handler
from onelayer.image_spec import ImageSpec


def always(handler: Handler) -> Handler:
    """The handler of a transform that is applied with probability ``p``: the given one for p = 1, nothing for p = 0."""

    @wraps(handler)
    def handle(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
        if transform.p == 0:
            return [], given
        if transform.p != 1:
            raise OnelayerError(
                f"it is random: it acts with probability {transform.p}",
                expected="a deterministic transform",
                hint="Use p of 0 or 1, or leave it out of what is derived.",
            )
        return handler(transform, given)

    return handle
