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


def assert_same_for_seed(original: Any, function: Any, image: Any, seed: int) -> None:
    """Compare the two outcomes for an image from a seed, and the state of PyTorch's generator after them."""
    outcomes = []
    for call in (original, function):
        torch.manual_seed(seed)
        outcomes.append((outcome(call, image), torch.get_rng_state()))
    (theirs, their_state), (ours, our_state) = outcomes
    is_tensor = isinstance(image, torch.Tensor)
    case = original, type(image), (tuple(image.shape), image.stride()) if is_tensor else image.mode, seed
    assert torch.equal(our_state, their_state), case
    if isinstance(theirs, type):
        assert ours is theirs, case
        return
    assert same(ours, theirs), case
    assert (ours is image) == (theirs is image), case
    if isinstance(theirs, torch.Tensor):
        assert ours.stride() == theirs.stride(), case


def assert_equal(layer: Any, original: Any, image: Any) -> None:
    """Compare the two outcomes for an image."""
    theirs, ours = outcome(original, image), outcome(layer, image)
    assert ours is theirs if isinstance(theirs, type) else same(ours, theirs), (original, image)
