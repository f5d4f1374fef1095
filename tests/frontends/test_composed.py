"""Transforms that consist of others: lambdas and the presets of weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torchvision import models, tv_tensors
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends import ImageSpec, derive
from onelayer.images.containers import spec_of

RESNET = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
# They normalise in float32: mean, deviation and values round by 6e-8 of themselves each.
AFTER_FLOAT32 = 2e-7


def test_lambdas(assert_floats: Any, assert_bytes: Any, assert_refused: Any) -> None:
    assert_floats(v1.Lambda(f2.rgb_to_grayscale), (3, 17, 11))
    assert_floats(v2.Lambda(partial(f1.center_crop, output_size=3)), (3, 17, 11))
    assert_bytes(v1.Lambda(f1.to_tensor), ImageSpec((3, 17, 11), "uint8", "pil"), 0)
    floats = ImageSpec((3, 17, 11), "float32", "tensor")
    assert "Register" not in assert_refused(v2.Lambda(f2.hflip, torch.Tensor), floats, "some types only").hint


def test_presets_of_models(assert_floats: Any) -> None:
    for weights in (
        models.ResNet50_Weights.IMAGENET1K_V2,
        models.ViT_B_16_Weights.DEFAULT,
        models.Swin_T_Weights.DEFAULT,
        models.EfficientNet_B0_Weights.DEFAULT,
        models.EfficientNet_V2_S_Weights.DEFAULT,
        models.ConvNeXt_Tiny_Weights.DEFAULT,
    ):
        # Some sizes of the weights' own, a quarter as large.
        preset = weights.transforms()
        small = weights.transforms(crop_size=preset.crop_size[0] // 4, resize_size=preset.resize_size[0] // 4)
        assert_floats(small, (3, 120, 97), exact=AFTER_FLOAT32)


def test_preset_at_the_size_of_imagenet(assert_floats: Any, assert_bytes: Any) -> None:
    assert_floats(RESNET, (3, 375, 500), exact=AFTER_FLOAT32)
    # The rounding of two passes, divided by the smallest standard deviation.
    for container in ("tensor", "pil"):
        assert_bytes(RESNET, ImageSpec((3, 375, 500), "uint8", container), 2 / 0.224)


def test_presets_return_plain_tensors() -> None:
    image = tv_tensors.Image(torch.rand(3, 8, 9))
    for one in (image, f1.to_pil_image(image)):
        assert derive(RESNET, spec_of(one)).output_spec == spec_of(RESNET(one))
    array = derive(RESNET, ImageSpec((3, 8, 9), "uint8", "numpy"))
    assert array.output_spec == ImageSpec((3, 224, 224), "float32", "tensor")


def test_memory_grows_with_height_plus_width() -> None:
    derived = derive(RESNET, ImageSpec((3, 3000, 4000), "uint8", "pil"))
    numbers = sum(
        stage.rows.weights.size + stage.cols.weights.size + stage.bias.size for stage in derived.program.stages
    )
    # Bilinear taps on either side of each output, twice; the crops and the channels beside that are few.
    assert numbers < 4 * (3000 + 4000)
