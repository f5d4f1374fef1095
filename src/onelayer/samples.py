"""Find the image in a sample: a tuple, list or dictionary of images, labels and whatever else a data set gives.

The rule is that of torchvision's v2 transforms: they change every ``tv_tensors`` and PIL image of a sample, or else the
first plain tensor, and return the rest, in the same containers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import PIL.Image
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms import v2

from onelayer.errors import OnelayerError

CONTAINERS = (list, tuple, dict, deque)
"""Types that hold several parts."""

_UNCHANGED = (type(None), bool, int, float, complex, str, bytes)
"""Types that no transform of torchvision changes, but for a ``Lambda``."""


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
    if place is None:
        return None

    def with_image(image: Any) -> Any:
        return tree_unflatten([*leaves[:place], image, *leaves[place + 1 :]], tree)

    return leaves[place], with_image


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
