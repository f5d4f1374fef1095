"""Five and ten crops, against torchvision's own."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer import OnelayerError
from onelayer.frontends import ImageSpec, derive

IMAGE = torch.rand(3, 17, 11, generator=torch.Generator().manual_seed(0))
BYTES = (IMAGE * 255).to(torch.uint8)


CROPS = [
    v2.FiveCrop(5),
    v2.FiveCrop((17, 11)),
    v2.TenCrop((6, 9)),
    v2.TenCrop(4, vertical_flip=True),
    v1.FiveCrop([8]),
    v1.TenCrop(1),
    partial(f2.five_crop, size=[3, 10]),
    partial(f1.ten_crop, size=7, vertical_flip=True),
    v2.Compose([v2.Resize(24), v2.ToImage(), v2.FiveCrop(20), v2.Normalize([0.5], [0.25])]),
]


def test_a_tuple_of_crops() -> None:
    for transform in CROPS:
        for image in (IMAGE, tv_tensors.Image(IMAGE), IMAGE.expand(2, 3, 17, 11)):
            ours, theirs = onelayer.compile(transform)(image), transform(image)
            assert isinstance(ours, tuple)
            for one, other in zip(ours, theirs, strict=True):
                assert type(one) is type(other), transform
                torch.testing.assert_close(one, other, rtol=0, atol=4e-6, msg=partial("{}: {}".format, transform))


def test_pictures() -> None:
    picture = f1.to_pil_image(BYTES)
    for transform in (v1.TenCrop(6), v2.FiveCrop(5)):
        for ours, theirs in zip(onelayer.compile(transform)(picture), transform(picture), strict=True):
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_stacked() -> None:
    for transform in (
        v2.Compose([v2.FiveCrop(5), torch.stack]),
        v1.Compose([v1.TenCrop(5), v1.Lambda(torch.stack), v1.Normalize([0.5], [0.25])]),
        v2.Compose([v2.ToImage(), v2.FiveCrop(5), v2.Resize(3), partial(torch.stack, dim=0), v2.Grayscale()]),
    ):
        for image in (IMAGE, tv_tensors.Image(IMAGE)):
            ours, theirs = onelayer.compile(transform)(image), transform(image)
            assert type(ours) is type(theirs), transform
            torch.testing.assert_close(ours, theirs, rtol=0, atol=4e-6, msg=partial("{}: {}".format, transform))


def test_each_crop_has_its_program() -> None:
    layer = onelayer.compile(v2.Compose([v2.ToImage(), v2.TenCrop(5), v2.RandomVerticalFlip(p=1)]))
    outputs = layer.source.outputs(ImageSpec((3, 17, 11), "float32", "tensor"))
    assert outputs.joined == "tuple"
    assert [len(output.simplified.program.stages) for output in outputs.each] == [1] * 10
    with pytest.raises(OnelayerError, match="10 images of each"):
        layer.program(ImageSpec((3, 17, 11), "float32", "tensor"))


def test_what_is_refused() -> None:
    for transform, text in (
        (v2.FiveCrop(12), "a crop of 12×12.* at most the image's 17×11"),
        (v2.Compose([v2.FiveCrop(5), v2.FiveCrop(3)]), "several images"),
        (v2.Compose([v2.FiveCrop(5), partial(torch.stack, dim=1)]), "several images"),
        (v2.Compose([v2.FiveCrop(5), v2.ElasticTransform()]), "random.*ElasticTransform .step 1."),
        (v2.Compose([v2.FiveCrop(5), v2.Resize(3)]), "change the first only.*Resize .step 1."),
        (v1.Compose([v1.FiveCrop(5), v1.Resize(3)]), "takes one image, and several.*Resize .step 1."),
    ):
        with pytest.raises(OnelayerError, match=text):
            onelayer.compile(transform, fullgraph=True)(IMAGE)


def test_pictures_are_not_stacked() -> None:
    with pytest.raises(OnelayerError, match="cannot be stacked"):
        onelayer.compile(v2.Compose([v2.FiveCrop(5), torch.stack]), fullgraph=True)(f1.to_pil_image(BYTES))


def test_one_program_cannot_hold_them() -> None:
    with pytest.raises(OnelayerError, match="several images"):
        derive(v2.FiveCrop(5), ImageSpec((3, 17, 11), "float32", "tensor"))
