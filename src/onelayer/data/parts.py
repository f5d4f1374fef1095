"""The three parts of a data set: arrays of uint8 images, and what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import OnelayerError
from onelayer.records import DataSummary, Shape

Images = NDArray[np.uint8]
"""Images of one shape: [N, C, H, W], uint8."""

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

MAX_BYTES = 4 * 2**30
"""Most that the pixels of one data set may take. They are decoded in memory, so this is what keeps a folder of
millions of images from taking the machine down; CIFAR-10 takes 0.17 GiB and 1.4 million images of 3×32×32 still fit."""


@dataclass(frozen=True, eq=False)
class ImageParts:
    """Images to learn from, to stop by and to compare on.

    Attributes:
        train: [N, C, H, W], uint8, read-only, C-contiguous; may be a memory map.
        validation: Likewise.
        test: Likewise.
        summary: Where they come from, and how many there are of each.
    """

    train: Images
    validation: Images
    test: Images
    summary: DataSummary

    def thinned(self, train: int, validation: int, test: int) -> ImageParts:
        """At most so many images of each part, evenly spaced, because parts may be sorted by class.

        Raises:
            ValueError: If a count is below 1.
        """
        if min(train, validation, test) < 1:
            raise ValueError(f"counts must be at least 1, not {(train, validation, test)}")
        counts = {
            "train": min(train, len(self.train)),
            "validation": min(validation, len(self.validation)),
            "test": min(test, len(self.test)),
        }
        return ImageParts(
            train=_thinned(self.train, counts["train"]),
            validation=_thinned(self.validation, counts["validation"]),
            test=_thinned(self.test, counts["test"]),
            summary=self.summary.model_copy(update=counts),
        )


def _thinned(images: Images, count: int) -> Images:
    return images if count == len(images) else images[np.linspace(0, len(images) - 1, count).round().astype(int)]


def image_parts(
    arrays: Mapping[Part, Images], *, source: str, description: str, key: str, skipped: int = 0
) -> ImageParts:
    """Put the parts together with their summary."""
    train, validation, test = (_read_only(arrays[part]) for part in PARTS)
    return ImageParts(
        train=train,
        validation=validation,
        test=test,
        summary=DataSummary(
            source=source,
            description=description,
            key=key,
            train=len(train),
            validation=len(validation),
            test=len(test),
            skipped=skipped,
        ),
    )


def refuse_too_many(images: int, shape: Shape, *, source: str) -> None:
    """Check the size of a data set before anything of it is decoded.

    Raises:
        OnelayerError: If its pixels would take more than ``MAX_BYTES``.
    """
    channels, height, width = shape
    size = images * channels * height * width
    if size > MAX_BYTES:
        raise OnelayerError(
            f"{source} has {images:,} images of {shape_text(shape)}, {size / 2**30:,.1f} GiB of pixels",
            expected=f"at most {MAX_BYTES / 2**30:.0f} GiB",
            hint="Give --data fewer images, or a pipeline of a smaller input.",
        )


def content_key(*facts: str) -> str:
    """A hash of all that a set of images depends on, as 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as it is written in messages, such as 3×32×32."""
    return "×".join(map(str, shape))


def _read_only(images: Images) -> Images:
    # Memory maps are read-only; the others are made so too, so that code which writes by mistake fails at once and
    # not only on the second run, when the cache is there.
    view = np.ascontiguousarray(images).view(np.ndarray)
    view.flags.writeable = False
    return view
