"""The letterbox and its parts, against arithmetic written out here."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors

import onelayer
from onelayer import OnelayerError, pipelines
from onelayer.frontends import ImageSpec, derive
from onelayer.pipelines import PadTo, ResizeLongSide


def letterbox_by_hand(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """What ultralytics' LetterBox does, from its source, with the resize in real arithmetic."""
    _, height, width = image.shape
    ratio = min(640 / height, 640 / width)
    rows, cols = round(height * ratio), round(width * ratio)
    resized = two_taps(height, rows) @ image @ two_taps(width, cols).T
    top, left = round((640 - rows) / 2 - 0.1), round((640 - cols) / 2 - 0.1)
    boxed = np.full((3, 640, 640), 114.0)
    boxed[:, top : top + rows, left : left + cols] = resized
    return boxed / 255


def two_taps(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Bilinear without antialiasing as a matrix; a sample beyond the edge is the edge's."""
    if n_in == n_out:
        return np.eye(n_in)
    matrix = np.zeros((n_out, n_in))
    for i in range(n_out):
        place = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
        first = int(place)
        matrix[i, first] += 1 - (place - first)
        matrix[i, min(first + 1, n_in - 1)] += place - first
    return matrix


MORE_SIZES = [pytest.param(size, marks=pytest.mark.exhaustive) for size in ((40, 23), (480, 640), (853, 1280), (1, 1))]


@pytest.mark.parametrize("size", [(17, 11), (641, 301), *MORE_SIZES])
def test_letterbox(size: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    transform = pipelines.named("yolo").transform
    expected = letterbox_by_hand(levels.astype(np.float64))
    bytes_ = torch.from_numpy(levels)
    # Torch places samples in float32, off by up to 2^-24 of the length, and noise changes by 1 from pixel to pixel.
    atol = 1e-6 + max(size) * 2**-23
    for image in (bytes_ / 255, bytes_.double() / 255):
        np.testing.assert_allclose(transform(image).numpy(), expected, rtol=0, atol=atol)
    # The program places them in exact arithmetic or as torch does; of bytes torch rounds it twice,
    # half a level each, and the weights to 15 bits.
    program = derive(transform, ImageSpec((3, *size), "float64", "tensor")).program
    np.testing.assert_allclose(program.apply(levels / 255), expected, rtol=0, atol=atol)
    for image in (bytes_, Image.fromarray(np.moveaxis(levels, 0, -1))):
        np.testing.assert_allclose(transform(image).numpy(), expected, rtol=0, atol=1.02 / 255)
        layer = onelayer.compile(transform, rounding="fused")
        np.testing.assert_allclose(layer(image).numpy(), expected, rtol=0, atol=atol)


def test_the_short_side_is_rounded() -> None:
    # to 426.5 × 640, 640 × 427.5 and a whole number
    for size, even, up in (
        ((853, 1280), (426, 640), (427, 640)),
        ((1280, 855), (640, 428), (640, 428)),
        ((1920, 1080), (640, 360), (640, 360)),
    ):
        image = torch.zeros(1, *size)
        assert ResizeLongSide(640)(image).shape[1:] == even
        assert ResizeLongSide(640, halves="up")(image).shape[1:] == up


def test_sam_pads_with_zeros_after_normalising() -> None:
    out = pipelines.named("sam").transform(torch.ones(3, 30, 20))
    assert out.shape == (3, 1024, 1024)
    assert not out[:, :, 683:].any()  # 1024 · 20 / 30 = 682.67
    torch.testing.assert_close(
        out[:, :, :683],
        ((1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))[:, None, None].expand(
            3, 1024, 683
        ),
    )


def test_padding_of_every_kind_of_image() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    channels_first = torch.from_numpy(np.moveaxis(levels, -1, 0).copy())
    images = {
        "tensor": channels_first / 255,
        "image": tv_tensors.Image(channels_first),
        "pil": Image.fromarray(levels),
        "bytes": channels_first,
    }
    for place, top, left in (("center", 1, 2), ("top-left", 0, 0)):
        expected = np.full((7, 8, 3), 114.0)
        expected[top : top + 4, left : left + 3] = levels
        transform = PadTo((7, 8), fill=114, place=place)  # type: ignore[arg-type]
        for kind, image in images.items():
            for padded in (transform(image), onelayer.compile(transform)(image)):
                assert type(padded) is type(image)
                pixels = np.asarray(padded) if kind == "pil" else np.moveaxis(padded.numpy(), 0, -1)
                scaled = pixels * (255 if kind == "tensor" else 1)
                np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-4, err_msg=f"{kind}, {place}")


@given(st.tuples(*[st.integers(1, 30)] * 2), st.tuples(*[st.integers(0, 9)] * 2), st.integers(0, 255), st.booleans())
def test_padding_of_every_size(size: tuple[int, int], more: tuple[int, int], fill: int, middle: bool) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    target = (size[0] + more[0], size[1] + more[1])
    transform = PadTo(target, fill, "center" if middle else "top-left")
    expected = torch.full((2, 3, *target), fill / 255)
    top, left = (more[0] // 2, more[1] // 2) if middle else (0, 0)
    expected[..., top : top + size[0], left : left + size[1]] = image
    torch.testing.assert_close(transform(image), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(onelayer.compile(transform)(image), expected, rtol=0, atol=1e-7)


def test_they_travel() -> None:
    for transform in (PadTo(9, 114), ResizeLongSide(9, antialias=False, halves="up")):
        copied = pickle.loads(pickle.dumps(transform))
        image = torch.rand(3, 5, 8)
        assert repr(copied) == repr(transform)
        assert copied(image).equal(transform(image))
    assert repr(PadTo(9, 114)) == "PadTo(size=(9, 9), fill=114, place='center')"


def test_an_image_that_is_too_large() -> None:
    transform = PadTo((5, 9))
    for call in (transform, onelayer.compile(transform)):
        with pytest.raises(OnelayerError, match=r"6×8 cannot be padded to 5×9.*ResizeLongSide"):
            call(torch.zeros(3, 6, 8))


def test_an_image_that_is_too_narrow() -> None:
    transform = ResizeLongSide(10)
    assert transform(torch.zeros(1, 15, 1)).shape == (1, 10, 1)
    for call in (transform, onelayer.compile(transform)):
        with pytest.raises(OnelayerError, match=r"20×1 would be resized to 10×0.*below 1:20"):
            call(torch.zeros(1, 20, 1))


def test_arguments_out_of_range() -> None:
    for make, problem in (
        (lambda: PadTo(0), "the size 0×0"),
        (lambda: PadTo((3, -1)), "the size 3×-1"),
        (lambda: PadTo(3, 256), "the fill 256"),
        (lambda: PadTo(3, 0, "left"), "the place 'left'"),  # type: ignore[arg-type]
        (lambda: ResizeLongSide(0), "the size 0"),
        (lambda: ResizeLongSide(3, halves="down"), "halves 'down'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(OnelayerError, match=problem):
            make()
