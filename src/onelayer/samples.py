"""Find the image in a sample: a tuple, list or dictionary of images, labels and whatever else a data set gives.

The rule is that of torchvision's v2 transforms: they change every ``tv_tensors`` and PIL image of a sample, or else the
first plain tensor, and return the rest, in the same containers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import get_size

from onelayer.errors import OnelayerError

CONTAINERS = (list, tuple, dict, deque)
"""Types that hold several parts."""

_UNCHANGED = (type(None), bool, int, float, complex, str, bytes)
"""Types that no transform of torchvision changes, but for a ``Lambda``."""

_MOVING = tuple(
    getattr(tv_tensors, name) for name in ("BoundingBoxes", "Mask", "KeyPoints") if hasattr(tv_tensors, name)
)
"""Types of what moves with an image: older versions of torchvision have no key points."""


def takes_samples(transform: Any) -> bool:
    """Whether a transform changes the image of a sample as it changes an image alone, and nothing without pixels."""
    module = type(transform).__module__
    is_known = isinstance(transform, v2.Transform) and module.startswith("torchvision.transforms.v2.")
    return is_known and not isinstance(transform, v2.Lambda)


def lone_image(sample: Any) -> tuple[Any, Callable[[Any], Any]] | None:
    """Find the one part of a sample that transforms change.

    Args:
        sample: A container.

    Returns:
        The image, and a function that puts another into its place in the same container; None where transforms may
        change several parts, or parts of other types: boxes, masks, videos, arrays.
    """
    leaves, tree = tree_flatten(sample)
    place = _place_of_image(leaves)
    return None if place is None else _taken_out(leaves, tree, place)


def image_among_labels(sample: Any) -> tuple[Any, Callable[[Any], Any]] | None:
    """Find the image in a sample of a data set, of which it is the only part that is preprocessed.

    Args:
        sample: A container.

    Returns:
        The image: the only ``tv_tensors`` or PIL image; or else the only tensor or array that can be one, which has
        three dimensions, or is of bytes and has two. And a function that puts another into its place in the same
        container. None where there is none, or several, and for samples with boxes, masks and videos.
    """
    leaves, tree = tree_flatten(sample)
    images = [at for at, leaf in enumerate(leaves) if isinstance(leaf, tv_tensors.Image | PIL.Image.Image)]
    places = images or [at for at, leaf in enumerate(leaves) if _may_be_pixels(leaf)]
    moves = any(isinstance(leaf, tv_tensors.TVTensor) and not isinstance(leaf, tv_tensors.Image) for leaf in leaves)
    if len(places) != 1 or moves:
        return None
    return _taken_out(leaves, tree, places[0])


def _taken_out(leaves: Sequence[Any], tree: TreeSpec, place: int) -> tuple[Any, Callable[[Any], Any]]:
    """Return a part of a sample, and a function that puts another into its place."""
    return leaves[place], lambda image: tree_unflatten([*leaves[:place], image, *leaves[place + 1 :]], tree)


def _may_be_pixels(leaf: Any) -> bool:
    if not isinstance(leaf, torch.Tensor | np.ndarray):
        return False
    return leaf.ndim >= 3 or (leaf.ndim == 2 and leaf.dtype in (torch.uint8, np.uint8))


def image_and_others(sample: Any) -> tuple[Any, Any, Callable[[Any, Any], Any]] | None:
    """Take the image out of a sample with boxes, masks and the like, which move as it does.

    Args:
        sample: A container.

    Returns:
        The image; the sample without it and without plain tensors, which stay as they are; and a function that takes
        what became of both, and puts them together. None for samples of other kinds: with several images, without boxes
        or masks, with parts of other sizes, which transforms refuse.
    """
    leaves, tree = tree_flatten(sample)
    if not (moving := [leaf for leaf in leaves if isinstance(leaf, _MOVING)]):
        return None
    images = [at for at, leaf in enumerate(leaves) if isinstance(leaf, tv_tensors.Image | PIL.Image.Image)]
    tensors = [at for at, leaf in enumerate(leaves) if type(leaf) is torch.Tensor]
    # A tensor before the image would be the one that changes as soon as the image is a plain tensor, too.
    if len(images) != 1 or (tensors and tensors[0] < images[0]):
        return None
    place = images[0]
    known = (type(leaf) is torch.Tensor or isinstance(leaf, (*_MOVING, *_UNCHANGED)) for leaf in leaves)
    if sum(known) != len(leaves) - 1 or {tuple(get_size(leaf)) for leaf in (leaves[place], *moving)} != {
        tuple(get_size(leaves[place]))
    }:
        return None
    taken = {place, *tensors}

    def together(image: Any, others: Any) -> Any:
        made, made_tree = tree_flatten(others)
        kept = (leaves[at] if at in taken else each for at, each in enumerate(made))
        return tree_unflatten([image if at == place else each for at, each in enumerate(kept)], made_tree)

    others = tree_unflatten([None if at in taken else leaf for at, leaf in enumerate(leaves)], tree)
    return leaves[place], others, together


def no_lone_image(hint: str) -> OnelayerError:
    """Make the error for a sample of which more than one image would change."""
    return OnelayerError(
        "the sample has no image, or other parts that transforms may change: several images, boxes, masks, arrays",
        expected="one image, with labels",
        hint=hint,
    )


def _place_of_image(leaves: Sequence[Any]) -> int | None:
    images = [at for at, leaf in enumerate(leaves) if isinstance(leaf, tv_tensors.Image | PIL.Image.Image)]
    tensors = [at for at, leaf in enumerate(leaves) if type(leaf) is torch.Tensor]
    if len(images) > 1 or not (images or tensors):
        return None
    place = images[0] if images else tensors[0]
    # A tensor before the image would be the one that changes as soon as the image is a plain tensor, too.
    if tensors and tensors[0] < place:
        return None
    others = (leaf for at, leaf in enumerate(leaves) if at != place)
    return place if all(type(leaf) is torch.Tensor or isinstance(leaf, _UNCHANGED) for leaf in others) else None
