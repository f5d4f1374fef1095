"""The images that a layer is verified on, sorted by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
import torch

from onelayer.errors import OnelayerError
from onelayer.images.containers import Image, is_image, spec_of
from onelayer.pipelines import Pipeline
from onelayer.verification.applying import Kind, Side

_EXPECTED = "a list of images, or a batch [N, C, H, W] (an array: [N, H, W, C]); None for nasty images only"


class GivenImages:
    """Images in order, each with its kind.

    Args:
        images: A list of images, which may differ in size, or one batch, a tensor [N, C, H, W] or an array
            [N, H, W, C].

    Raises:
        OnelayerError: If there are none, or one is no image.
    """

    def __init__(self, images: Any) -> None:
        batched = isinstance(images, torch.Tensor | np.ndarray) and images.ndim == 4
        if not batched and (is_image(images) or not isinstance(images, Iterable)):
            raise OnelayerError(
                f"{type(images).__name__} was given as images", expected=_EXPECTED, hint="Put one image into a list."
            )
        # The parts of a batch stay batches, since what takes batches may take nothing else.
        self.images: list[Image] = [images[i : i + 1] for i in range(len(images))] if batched else list(images)
        if not self.images:
            raise OnelayerError("no images were given", expected=_EXPECTED)
        self.kinds = [_kind_of(image, place, batched) for place, image in enumerate(self.images)]
        dtypes = sorted({kind.given.dtype for kind in self.kinds})
        if len(dtypes) > 1:
            raise OnelayerError(
                f"images of {' and '.join(dtypes)} were given",
                expected="one dtype, as errors are measured in its units",
                hint="Verify them one dtype at a time.",
            )

    def __len__(self) -> int:
        return len(self.images)

    def runs(self) -> Iterator[tuple[Kind, list[int]]]:
        """Places of images of one kind that follow each other."""
        for kind, places in groupby(range(len(self.images)), key=self.kinds.__getitem__):
            yield kind, list(places)

    def most_frequent(self) -> list[Kind]:
        """Their kinds, the most frequent first, and those that are as frequent in the order in which they come."""
        return [kind for kind, _ in Counter(self.kinds).most_common()]


def _kind_of(image: Any, place: int, batched: bool) -> Kind:
    try:
        given = spec_of(image)
    except OnelayerError as error:
        raise OnelayerError(
            f"image {place}: {error.problem}",
            expected=error.expected,
            hint=error.hint,
            shape=error.shape,
            dtype=error.dtype,
        ) from None
    dimensions = getattr(image, "ndim", 3)
    if not batched and dimensions > 3:
        raise OnelayerError(
            f"image {place} of the list has {dimensions} dimensions",
            expected="a tensor [C, H, W], a PIL image, or an array [H, W, C]",
            hint="Give the batch itself, or a list of its images.",
            shape=tuple(image.shape),
        )
    return Kind(given, batched, image.device if isinstance(image, torch.Tensor) else torch.device("cpu"))


def name_of(side: Side) -> str:
    """What a layer or a pipeline calls itself; a function by its name, and nothing by its place in memory."""
    if isinstance(side, Pipeline):
        return f"{side.name}: {side.transform!r}"
    name = getattr(side, "__qualname__", None)
    return name if isinstance(name, str) else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(side))
