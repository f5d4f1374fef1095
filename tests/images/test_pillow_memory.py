"""Pixels of PIL images, without a copy."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from onelayer.images.pillow_memory import pillow_pixels


def picture(mode: str, width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


# The last has rows of 12 kB, and Pillow keeps it in pieces of 16 MiB.
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 11), (500, 375), (4000, 1500)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_are_the_pixels(mode: str, size: tuple[int, int]) -> None:
    image = picture(mode, *size)
    pixels = pillow_pixels(image)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (len(mode), *size[::-1]))
    assert torch.equal(pixels, F.pil_to_tensor(image))


def test_are_the_memory_of_the_image() -> None:
    image = picture("RGB", 17, 11)
    pixels = pillow_pixels(image)
    assert pillow_pixels(image).data_ptr() == pixels.data_ptr()
    assert pixels.stride() == (1, 4 * 17, 4)


def test_outlive_the_image() -> None:
    image = picture("RGB", 170, 110)
    expected = F.pil_to_tensor(image)
    pixels = pillow_pixels(image)
    del image
    gc.collect()
    # Memory that was given back would be theirs now.
    others = [PIL.Image.new("RGB", (170, 110), (n, n, n)) for n in range(50)]
    assert torch.equal(pixels, expected)
    assert len(others) == 50


def test_of_a_file_that_is_opened_only(tmp_path: Path) -> None:
    picture("RGB", 17, 11).save(tmp_path / "image.png")
    with PIL.Image.open(tmp_path / "image.png") as image:
        assert torch.equal(pillow_pixels(image), F.pil_to_tensor(picture("RGB", 17, 11)))
