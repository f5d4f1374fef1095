"""Compare what a layer makes of an image with what the original makes of it, an error for an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import PIL.Image
import torch


def outcome(function: Callable[[Any], Any], image: Any) -> Any:
    """Return the result of a function, or the type of its error."""
    try:
        return function(image)
    except Exception as error:  # noqa: BLE001 - that of the original is what is expected
        return type(error)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two results are the same in every bit; PIL images with mode and ``info``."""
    if isinstance(theirs, PIL.Image.Image):
        is_image = isinstance(ours, PIL.Image.Image)
        return is_image and (ours.mode, ours.info, ours.tobytes()) == (theirs.mode, theirs.info, theirs.tobytes())
    return type(ours) is type(theirs) and ours.dtype is theirs.dtype and torch.equal(ours, theirs)


def assert_equal(layer: Any, original: Any, image: Any) -> None:
    """Compare the two outcomes for an image."""
    theirs, ours = outcome(original, image), outcome(layer, image)
    assert ours is theirs if isinstance(theirs, type) else same(ours, theirs), (original, image)
