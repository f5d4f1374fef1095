"""Random and other transforms that are refused, and the hints that go with them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends import ImageSpec

BYTES = ImageSpec((3, 17, 11), "uint8", "tensor")


def test_random_transforms(assert_refused: Any) -> None:
    for transform in (
        v1.ColorJitter(0.1),
        v2.RandomCrop(3),
        v1.RandomResizedCrop(3),
        v2.RandomChannelPermutation(),
        v2.RandomApply([v2.Identity()]),
        v2.RandAugment(),
        v2.RandomErasing(),
        v2.GaussianBlur(3),
        v1.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(0.999),
        v2.RandomGrayscale(),
        v2.RandomInvert(),
        v1.RandomSolarize(3),
        v1.RandomPosterize(3, p=0.2),
    ):
        for rounding in ("fused", "exact"):
            error = assert_refused(transform, BYTES, "it is random", rounding)
            assert error.transform == type(transform).__name__
    assert "Use p of 0 or 1" in assert_refused(v2.RandomHorizontalFlip(), BYTES, "with probability 0.5").hint


def black_box(image: torch.Tensor) -> torch.Tensor:
    return image


def test_unknown_transforms_can_be_registered_or_left(assert_refused: Any) -> None:
    for transform, name in ((black_box, "black_box"), (v2.Lambda(black_box), "Lambda"), (nn.Sigmoid(), "Sigmoid")):
        error = assert_refused(transform, BYTES, "is not a transform that onelayer knows")
        assert error.transform == name
        assert "onelayer.register" in error.hint
        assert "without fullgraph=True" in error.hint


def test_what_is_not_affine_can_be_left_only(assert_refused: Any) -> None:
    for transform in (
        v2.JPEG(50),
        v2.RandomAutocontrast(p=1),
        partial(f2.adjust_contrast, contrast_factor=2),
    ):
        hint = assert_refused(transform, BYTES, "not affine").hint
        assert "without fullgraph=True" in hint
        assert "register" not in hint
