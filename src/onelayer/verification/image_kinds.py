"""The images that a layer is verified on, grouped by size, container and device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import Image, image_of, is_image, spec_of

_EXPECTED = "a list of images, or a batch [N, C, H, W] (an array: [N, H, W, C]); None for adversarial images only"


@dataclass(frozen=True)
class ImageKind:
    """Images that both sides treat alike.

    Args:
        spec: Size, dtype and container of an image.
        batched: Whether images go in as one batch, a tensor [N, C, H, W] or an array [N, H, W, C], or one by one.
        device: Device of tensors.
    """

    spec: ImageSpec
    batched: bool
    device: torch.device

    def image_of(self, pixels: FloatArray) -> Image:
        """Make an image of this kind, or a batch of one, from pixels [C, H, W]."""
        tensor = torch.tensor(pixels[None] if self.batched else pixels, device=self.device)
        return image_of(tensor, self.spec)


class VerificationImages:
    """Images in order, each with its kind.

    Args:
        images: A list of images, which may differ in size, or one batch, a tensor [N, C, H, W] or an array
            [N, H, W, C].

    Raises:
        OnelayerError: If there are no images, one of them is no image, or they differ in dtype.
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
        dtypes = sorted({kind.spec.dtype for kind in self.kinds})
        if len(dtypes) > 1:
            raise OnelayerError(
                f"images of {' and '.join(dtypes)} were given",
                expected="one dtype, as errors are measured in its units",
                hint="Verify them one dtype at a time.",
            )

    def __len__(self) -> int:
        return len(self.images)

    def runs(self) -> Iterator[tuple[ImageKind, list[int]]]:
        """Yield the indices of consecutive images of one kind."""
        for kind, places in groupby(range(len(self.images)), key=self.kinds.__getitem__):
            yield kind, list(places)

    def most_frequent(self) -> list[ImageKind]:
        """List the kinds, the most frequent first; equally frequent ones stay in order."""
        return [kind for kind, _ in Counter(self.kinds).most_common()]


def _kind_of(image: Any, place: int, batched: bool) -> ImageKind:
    try:
        spec = spec_of(image)
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
    return ImageKind(spec, batched, image.device if isinstance(image, torch.Tensor) else torch.device("cpu"))
