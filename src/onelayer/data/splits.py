"""Split data sets into training, validation and test images."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as F

from onelayer.errors import OnelayerError
from onelayer.formats import shape as shape_text
from onelayer.records import DataSummary, Shape

Pixels = NDArray[np.uint8]
"""Images of one shape: [N, C, H, W], uint8."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SPLIT_VERSION = 1
"""Version of the random split, part of a data set's key. Raise it when the same seed comes to give another split."""

MAX_BYTES = 4 * 2**30
"""Largest total size of a data set's pixels, which are decoded in memory: 1.4 million images of 3×32×32. CIFAR-10 takes
0.17 GiB."""

_VALIDATION_DIVISOR = 10
_TEST_DIVISOR = 5


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """Images to learn from, to stop by and to compare on.

    Attributes:
        train: [N, C, H, W], uint8, read-only, C-contiguous; possibly a memory map.
        validation: [M, C, H, W], as ``train``.
        test: [K, C, H, W], as ``train``.
        summary: Source and number of the images.
    """

    train: Pixels
    validation: Pixels
    test: Pixels
    summary: DataSummary

    def thinned(self, train: int, validation: int, test: int) -> ImageSplits:
        """Take at most so many images of each split, evenly spaced, because files may be sorted by class.

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
        return ImageSplits(
            train=_thinned(self.train, counts["train"]),
            validation=_thinned(self.validation, counts["validation"]),
            test=_thinned(self.test, counts["test"]),
            summary=self.summary.model_copy(update=counts),
        )


def _thinned(images: Pixels, count: int) -> Pixels:
    return images if count == len(images) else images[np.linspace(0, len(images) - 1, count).round().astype(int)]


def image_splits(
    arrays: Mapping[Split, Pixels], *, source: str, description: str, key: str, skipped: int = 0
) -> ImageSplits:
    """Put the splits together with their summary."""
    train, validation, test = (_read_only(arrays[split]) for split in SPLITS)
    return ImageSplits(
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


def carve_missing(existing: Mapping[Split, Pixels], *, seed: int, source: str) -> dict[Split, Pixels]:
    """Draw the splits that a data set lacks at random from its training images.

    A tenth of them becomes validation and a fifth becomes test, so that a data set without any splits, which is to
    be passed as train, is split 70 : 10 : 20. Each gets at least one image. Existing splits are left as they are.

    Args:
        existing: Splits of the data set, at least train.
        seed: Seed of the draw.
        source: Name of the data set in errors.

    Returns:
        Train and the splits carved from it in random order, so that their first images are a fair sample even where
        files are sorted by class. They are copies; where nothing is missing nothing is copied.

    Raises:
        OnelayerError: If an existing split is empty, or train has too few images to carve from.
    """
    for split, images in existing.items():
        if len(images) == 0:
            raise OnelayerError(f"{source} has no images in its {split} part", expected="at least one image per part")
    missing = [split for split in SPLITS if split not in existing]
    if not missing:
        return dict(existing)
    pool = existing["train"]
    if len(pool) < 1 + len(missing):
        raise OnelayerError(
            f"{source} has too few images to split: {len(pool)}",
            expected=f"at least {1 + len(missing)}, one per part",
            hint="Give --data more images.",
        )
    order = np.random.default_rng(seed).permutation(len(pool))
    splits = dict(existing)
    taken = 0
    for split in missing:
        count = max(1, len(pool) // (_VALIDATION_DIVISOR if split == "validation" else _TEST_DIVISOR))
        splits[split] = pool[order[taken : taken + count]]
        taken += count
    splits["train"] = pool[order[taken:]]
    return splits


def describe_splits(existing: Collection[Split]) -> str:
    """Describe where the splits come from, as the end of a sentence."""
    if set(existing) == {"train"}:
        return "split at random into 70% train, 10% validation and 20% test"
    if "validation" not in existing:
        return "with their own train and test parts, a random tenth of train being validation"
    if "test" not in existing:
        return "with their own train and validation parts, a random fifth of train being test"
    return "with their own train, validation and test parts"


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
    """Hash all that a set of images depends on, to 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]


def unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """Convert uint8 pixels, 0…255, of any shape to the float32 values in [0, 1] that pipelines take."""
    return F.to_dtype(pixels, torch.float32, scale=True)  # type: ignore[no-any-return]


def float_images(pixels: Pixels) -> torch.Tensor:
    """Copy an array of uint8 pixels, which may be a read-only memory map, to a float32 tensor in [0, 1]."""
    return unit_range(torch.from_numpy(np.array(pixels)))


def _read_only(images: Pixels) -> Pixels:
    # Memory maps are read-only; the others are made so too, so that code which writes by mistake fails at once and
    # not only on the second run, when the cache is there.
    view = np.ascontiguousarray(images).view(np.ndarray)
    view.flags.writeable = False
    return view
