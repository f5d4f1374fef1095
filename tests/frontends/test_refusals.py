"""What is refused, where it stands and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive

FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")
PICTURE = replace(BYTES, container="pil")


def refusal(transform: Callable[..., Any], given: ImageSpec) -> UnsupportedTransformError:
    with pytest.raises(UnsupportedTransformError) as caught:
        derive(v2.Compose([v2.Identity(), v2.Compose([v2.RandomHorizontalFlip(p=1), transform])]), given)
    error = caught.value
    assert error.stage == 2
    assert (error.shape, error.dtype) == (given.shape, given.dtype)
    assert error.hint
    assert f"in {error.transform} (step 2)" in str(error)
    return error


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (v1.ColorJitter(0.1), "ColorJitter"),
        (v2.RandomCrop(3), "RandomCrop"),
        (v1.RandomResizedCrop(3), "RandomResizedCrop"),
        (v2.RandomChannelPermutation(), "RandomChannelPermutation"),
        (v2.RandomApply([v2.Identity()]), "RandomApply"),
        (v2.RandAugment(), "RandAugment"),
        (v2.RandomErasing(), "RandomErasing"),
        (v2.GaussianBlur(3), "GaussianBlur"),
        (v1.GaussianBlur(3, (1.0, 1.5)), "GaussianBlur"),
        (v1.RandomHorizontalFlip(), "RandomHorizontalFlip"),
        (v2.RandomVerticalFlip(0.999), "RandomVerticalFlip"),
        (v2.RandomGrayscale(), "RandomGrayscale"),
        (v2.RandomInvert(), "RandomInvert"),
        (v1.RandomSolarize(3), "RandomSolarize"),
        (v1.RandomPosterize(3, p=0.2), "RandomPosterize"),
    ],
    ids=repr,
)
def test_random_transforms(transform: Callable[..., Any], name: str) -> None:
    error = refusal(transform, BYTES)
    assert error.transform == name
    assert "random" in error.problem


def test_a_probability_says_what_to_do() -> None:
    assert "Use p of 0 or 1" in str(refusal(v2.RandomHorizontalFlip(), BYTES))


def black_box(image: torch.Tensor) -> torch.Tensor:
    return image


@pytest.mark.parametrize(
    ("transform", "name"),
    [(black_box, "black_box"), (v2.Lambda(black_box), "Lambda"), (nn.Sigmoid(), "Sigmoid"), (v2.JPEG(50), "JPEG")],
    ids=repr,
)
def test_unknown_and_not_affine(transform: Callable[..., Any], name: str) -> None:
    error = refusal(transform, BYTES)
    assert error.transform == name
    assert error.hint == "Register a handler for it with onelayer.register."


@pytest.mark.parametrize(
    ("transform", "given", "said"),
    [
        (v2.FiveCrop(3), BYTES, "several images"),
        (v1.TenCrop(3), BYTES, "several images"),
        (v2.RandomAutocontrast(p=1), BYTES, "not affine"),
        (partial(f2.adjust_contrast, contrast_factor=2), BYTES, "not affine"),
        (v2.Normalize([0.5], [0.5]), BYTES, "a tensor of uint8 cannot be normalised; expected a float tensor"),
        (v1.Normalize([0.5], [0.5]), PICTURE, "a pil of uint8 cannot be normalised"),
        (v2.Normalize([0.5] * 2, [0.5]), FLOATS, "mean of 2 numbers for 3 channels"),
        (v2.Normalize([0.5], [0.5, 0.5, 0]), FLOATS, "has a zero"),
        (v2.Resize(5, "box"), FLOATS, "no interpolation box; expected a PIL image"),
        (v2.Resize(5, "hamming"), BYTES, "no interpolation hamming"),
        (v2.Resize(5, "lanczos", antialias=False), BYTES, "no interpolation 'lanczos' without antialiasing"),
        (v1.Resize(5, v2.InterpolationMode.LANCZOS), FLOATS, "v1 Resize"),
        (v2.Resize(5, "cubic"), FLOATS, "no interpolation 'cubic'"),
        (v2.Resize((5, 1)), FLOATS, "to a width of 1 wrongly"),
        (v2.Resize((5, 6), max_size=8), FLOATS, "max_size 8"),
        (v2.Resize(8, max_size=8), FLOATS, "must be strictly greater"),
        (v2.Resize(0), PICTURE, "a resize from 17 to 0 samples"),
        (v2.CenterCrop(0), FLOATS, "a crop to 0 samples"),
        (v2.Pad(11, padding_mode="reflect"), FLOATS, "reflect padding of 11"),
        (v2.Pad(12, padding_mode="symmetric"), FLOATS, "longer than the image"),
        (v2.Pad(-1, padding_mode="edge"), FLOATS, "negative padding"),
        (v2.Pad(-1), PICTURE, "negative padding of a PIL image"),
        (v1.Pad(1, fill=(1, 2, 3)), FLOATS, "v1 Pad of tensors"),
        (v2.Pad(1, fill=(1, 2)), FLOATS, "a fill of 2 numbers"),
        (v2.Pad(1, fill=(1, 2, 3), padding_mode="edge"), FLOATS, "a fill of 3 numbers with mode 'edge'"),
        (v2.Pad(1, fill=256), BYTES, "the fill 256 for a uint8 image"),
        (v2.Pad(1, fill={"others": 3}), BYTES, "a dictionary of types"),
        (partial(f1.pad, padding=[1, 2, 3]), BYTES, "padding [1, 2, 3]"),
        (partial(f2.crop, top=17, left=0, height=3, width=3), BYTES, "beside the image"),
        (v2.Grayscale(), replace(FLOATS, shape=(4, 17, 11)), "1 gray channels of 4 channels"),
        (v2.RandomPosterize(3, p=1), FLOATS, "no look-up table for float values"),
        (partial(f2.posterize, bits=9), BYTES, "9 bits"),
        (v2.RandomSolarize(256, p=1), BYTES, "threshold 256"),
        (v2.ToDtype(torch.int64, scale=True), BYTES, "from uint8 to torch.int64"),
        (v1.ConvertImageDtype(torch.int16), FLOATS, "from float32 to torch.int16"),
        (v1.ConvertImageDtype(torch.float32), PICTURE, "it was given a pil"),
        (partial(f2.permute_channels, permutation=[0, 0, 1]), BYTES, "permutation [0, 0, 1]"),
        (partial(f2.adjust_brightness, brightness_factor=-1), BYTES, "brightness_factor -1"),
        (partial(f2.adjust_gamma, gamma=-1), BYTES, "gamma -1"),
        (partial(f2.to_dtype, dtype=torch.float32), PICTURE, "it was given a pil"),
        (v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}), BYTES, "its dictionary"),
        (v2.ToDtype({tv_tensors.Mask: torch.float32}), BYTES, "its dictionary"),
        (v1.ToTensor(), BYTES, "it was given a tensor"),
        (v1.PILToTensor(), FLOATS, "it was given a tensor"),
        (v1.ToPILImage(), PICTURE, "it was given a pil"),
        (v2.ToPILImage(), FLOATS, "a uint8 tensor"),
        (v2.ToPILImage("HSV"), BYTES, "mode HSV"),
        (v2.GaussianBlur(35, 1.0), FLOATS, "reflect padding"),
        (partial(f2.gaussian_blur, kernel_size=[3], sigma=1.0), FLOATS, "two numbers of each"),
        (v2.Lambda(f2.hflip, torch.Tensor), FLOATS, "some types only"),
        (partial(f2.resize, [5]), FLOATS, "positional arguments"),
        (partial(f2.resize, sizes=[5]), FLOATS, "cannot be called with {'sizes': [5]}"),
        (f2.resize, FLOATS, "missing a required argument: 'size'"),
        (v2.LinearTransformation(torch.eye(4), torch.zeros(4)), FLOATS, "561 values for a matrix of 4"),
        (v2.LinearTransformation(torch.eye(4), torch.zeros(4)), replace(FLOATS, shape=(3, 224, 224)), "weights"),
    ],
    ids=repr,
)
def test_what_does_not_fit(transform: Callable[..., Any], given: ImageSpec, said: str) -> None:
    assert said in str(refusal(transform, given))


@pytest.mark.parametrize("transform", [v2.RandomPosterize(3, p=1), v1.RandomSolarize(9, p=1)], ids=repr)
def test_look_ups_behind_values_between_integers(transform: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedTransformError, match="a look-up table takes whole numbers") as caught:
        derive(v2.Compose([v2.Resize(5), transform]), BYTES)
    assert caught.value.stage == 1
    # Pixels that are only moved, filled or inverted stay whole.
    derive(v2.Compose([v2.Resize(5, "nearest"), v2.Pad(2, fill=7), v2.RandomInvert(p=1), transform]), BYTES)


class Turned(v1.RandomRotation):
    @staticmethod
    def get_params(degrees: list[float]) -> float:
        return 90.0


def _hooked() -> v2.Normalize:
    transform = v2.Normalize([0.5], [0.5])
    transform.register_forward_hook(lambda module, inputs, output: output * 0)
    return transform


def _patched() -> v2.Normalize:
    transform = v2.Normalize([0.5], [0.5])
    transform.transform = lambda image, params: image * 0  # type: ignore[method-assign]
    return transform


@pytest.mark.parametrize("transform", [Turned((0, 0)), _hooked(), _patched()])
def test_what_does_something_else_than_its_class(transform: Any) -> None:
    with pytest.raises(UnsupportedTransformError, match="own"):
        derive(transform, FLOATS)
