"""Layers of which some transforms are not derived, and the choice of a backend."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.layer import PartialLayer

IMAGE = torch.rand(3, 40, 31, generator=torch.Generator().manual_seed(0))


def darker(image: torch.Tensor) -> torch.Tensor:
    return image.square()


def stacked(images: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.stack(images)


UNKNOWN: dict[str, Any] = {
    "in the middle": v2.Compose(
        [v2.Resize(20), v2.CenterCrop(12), darker, v2.Normalize([0.5], [0.25]), v2.Grayscale()]
    ),
    "first": v2.Compose([darker, v2.Resize(20)]),
    "last": v2.Compose([v2.Resize(20), v2.Compose([v2.Grayscale(), darker])]),
    "alone": darker,
    "none": v2.Compose([v2.Resize(20), v2.Grayscale()]),
    "two in a row": v1.Compose([v1.Resize(20), darker, darker, v1.Resize(9)]),
    "of crops": v2.Compose([v2.Resize(20), v2.FiveCrop(12), stacked, v2.Normalize([0.5], [0.25])]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_transforms_stay(name: str) -> None:
    transform = UNKNOWN[name]
    layer = onelayer.compile(transform, fullgraph=False)
    for image in (IMAGE, IMAGE.expand(2, -1, -1, -1)[..., :29]):
        torch.testing.assert_close(layer(image), transform(image), rtol=0, atol=1e-5)


def test_random_transforms_draw_as_before() -> None:
    transform = v2.Compose([v2.Resize(20), v2.RandomErasing(p=0.5), v2.Resize(9), v2.RandomRotation(30)])
    layer = onelayer.compile(transform, fullgraph=False)
    for seed in range(8):
        torch.manual_seed(seed)
        theirs = transform(IMAGE)
        torch.manual_seed(seed)
        torch.testing.assert_close(layer(IMAGE), theirs, rtol=0, atol=1e-5)


def test_neighbours_are_fused() -> None:
    layer = onelayer.compile(UNKNOWN["in the middle"], fullgraph=False)
    assert isinstance(layer, PartialLayer)
    layer(IMAGE)
    assert sorted(layer._layers) == [(0, 2), (3, 5)]


def test_travels() -> None:
    layer = onelayer.compile(UNKNOWN["in the middle"], fullgraph=False)
    expected = layer(IMAGE)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert torch.equal(other(IMAGE), expected)
    assert layer.state_dict() == {}
    assert "darker" in repr(layer)


def test_lists_and_bad_images() -> None:
    layer = onelayer.compile(UNKNOWN["first"], fullgraph=False)
    assert [tuple(output.shape) for output in layer([IMAGE, IMAGE[..., :20]])] == [(3, 25, 20), (3, 40, 20)]
    with pytest.raises(OnelayerError, match="str was given"):
        layer("photo.jpg")


def test_the_reference_backend_is_the_float64_result() -> None:
    transform = v2.Compose([v2.Resize(20), v2.Grayscale()])
    double = IMAGE.double()
    exact = onelayer.compile(transform, backend="reference")(double)
    torch.testing.assert_close(exact, transform(double), rtol=0, atol=1e-14)
    single = onelayer.compile(transform, backend="reference")(IMAGE)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, transform(IMAGE), rtol=0, atol=2e-6)
    array = np.asarray(IMAGE.permute(1, 2, 0) * 255).astype(np.uint8)
    both = [onelayer.compile(transform, backend=backend)(array) for backend in ("auto", "reference")]  # type: ignore[arg-type]
    # They may round another way where float32 sums end at a half.
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1


def test_bad_arguments() -> None:
    with pytest.raises(OnelayerError, match=r"no backend 'gpu'.*'torch'"):
        onelayer.compile(darker, backend="gpu")  # type: ignore[call-overload]
    for wrong, hint in (
        ("resnet50", r"str was given as a transform.*pipelines\.named\(.*ResNet50_Weights\.DEFAULT\.transforms"),
        ([v2.Resize(20)], "list was given as a transform.*v2.Compose"),
        (ResNet18_Weights.DEFAULT, r"ResNet18_Weights was given as a transform.*\.transforms\(\)"),
        (224, "int was given as a transform"),
    ):
        with pytest.raises(OnelayerError, match=hint):
            onelayer.compile(wrong)  # type: ignore[call-overload]


def test_other_images_are_left_to_the_transform_that_converts_them() -> None:
    transform = v2.Compose([lambda image: image.convert("RGB"), v2.Resize(8)])
    for mode in ("RGBA", "P", "CMYK", "1"):
        picture = PIL.Image.new(mode, (12, 9))
        ours, theirs = onelayer.compile(transform, fullgraph=False)(picture), transform(picture)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    whole = v2.Compose([lambda image: (image * 255).to(torch.int32), lambda image: image.float(), v2.Resize(8)])
    torch.testing.assert_close(onelayer.compile(whole, fullgraph=False)(IMAGE), whole(IMAGE), rtol=0, atol=1e-3)
