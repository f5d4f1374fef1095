"""Every pipeline of the catalogue is what it says, and is one layer on every kind of image."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

import onelayer
from onelayer import pipelines
from onelayer.frontends import ImageSpec, derive

# One small size each, in turn; or all, and the usual one.
FEW = [(name, [(17, 11), (40, 23)][index % 2]) for index, name in enumerate(pipelines.names())]
ALL = [(name, size) for name in pipelines.names() for size in ((17, 11), (40, 23), None)]


def levels_of(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    # In the middle of the range: there bicubic filters overshoot without saturating, which torchvision does between its
    # two passes over bytes, and the fused arithmetic does not.
    return np.random.default_rng(sum(shape)).integers(64, 192, shape, dtype=np.uint8)


def as_pil(levels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1))


def distance(one: Any, other: Any, unit: Any) -> float:
    """The largest difference of two images, in parts of a unit per channel."""
    difference = np.asarray(one, dtype=np.float32) - np.asarray(other, dtype=np.float32)
    return float(np.abs(difference / unit).max())


@lru_cache
def gain(name: str) -> NDArray[np.float32]:
    """What white is more than black, per channel, in the unit of the output for images in [0, 1]."""
    pipeline = pipelines.named(name)
    shape = (pipeline.input_shape[0], 24, 18)
    black, white = pipeline.transform(torch.stack([torch.zeros(shape), torch.ones(shape)]))
    largest: NDArray[np.float32] = (white - black).abs().amax((-2, -1), keepdim=True).numpy()
    return largest


@pytest.mark.parametrize("cases", [FEW, pytest.param(ALL, marks=pytest.mark.exhaustive)], ids=["few", "all"])
def test_every_pipeline_as_one_layer(cases: list[tuple[str, tuple[int, int] | None]]) -> None:
    for name, size in cases:
        pipeline = pipelines.named(name)
        channels, *usual = pipeline.input_shape
        height, width = size or usual
        levels = levels_of((channels, height, width))
        layer = onelayer.compile(pipeline.transform)
        unit = gain(name)

        image = torch.from_numpy(levels) / 255
        # Torch keeps weights and sums in float32, and adds up a few dozen. Without antialiasing it places samples with
        # another rounding if it has one thread: off by 2^-24 of the length, and noise changes by its range per sample.
        atol = 2e-6 if name != "yolo" else 1e-6 + max(height, width) * 2**-23
        assert distance(layer(image), pipeline.transform(image), unit) <= atol, name

        for whole in (torch.from_numpy(levels), as_pil(levels)):
            original, ours = pipeline.transform(whole), layer(whole)
            assert type(ours) is type(original), name
            # Torchvision rounds after each of the two passes of a resize, and cuts off after a conversion to gray.
            # The report stays in bytes.
            level = 1.0 if name == "report" else unit / 255
            assert distance(ours, original, level) <= 2.0, name


def test_descriptions_and_programs() -> None:
    for name in pipelines.names():
        pipeline = pipelines.named(name)
        assert pipeline.name == name
        assert pipeline.description
        assert "\n" not in pipeline.description
        # An address in memory would be another one each time.
        summary = pipeline.summary()
        assert not any(" at 0x" in step for step in summary.steps), name
        spec = ImageSpec(pipeline.input_shape, "float32", "tensor")
        program = onelayer.compile(pipeline.transform).program(spec).program
        assert len(program.stages) == 1, name
        assert program.out_shape == summary.output_shape, name


def test_a_named_pipeline_is_compiled_as_its_transform() -> None:
    image = torch.from_numpy(levels_of((3, 40, 50)))
    pipeline = pipelines.named("mnist")
    assert torch.equal(onelayer.compile(pipeline)(image[:1]), pipeline.transform(image[:1]))


# Resize and crop, as in the table of the models' own documentation.
SQUARES = {
    "resnet50": (232, 224, "bilinear"),
    "vit-b-16": (256, 224, "bilinear"),
    "swin-t": (232, 224, "bicubic"),
    "efficientnet-b0": (256, 224, "bicubic"),
    "efficientnet-v2-s": (384, 384, "bilinear"),
    "convnext-tiny": (236, 224, "bilinear"),
    "timm-resnet50-a1": (235, 224, "bicubic"),
    "timm-vit": (248, 224, "bicubic"),
    "clip": (224, 224, "bicubic"),
    "dinov2": (256, 224, "bicubic"),
    "siglip": ([224, 224], 224, "bicubic"),
    "hf-vit": ([224, 224], 224, "bilinear"),
}


OTHER_STATISTICS = {
    "timm-vit": ([0.5] * 3, [0.5] * 3),
    "siglip": ([0.5] * 3, [0.5] * 3),
    "hf-vit": ([0.5] * 3, [0.5] * 3),
    "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
}


def test_sizes_and_filters() -> None:
    image = torch.rand(3, 60, 90, generator=torch.Generator().manual_seed(0))
    for name, (resize, crop, interpolation) in SQUARES.items():
        expected = v2.functional.resize(image, resize, v2.InterpolationMode(interpolation), antialias=True)
        expected = v2.functional.center_crop(expected, [crop])
        mean, std = OTHER_STATISTICS.get(name, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        expected = (expected - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        torch.testing.assert_close(
            pipelines.named(name).transform(image), expected, rtol=0, atol=1e-6, msg=partial("{}: {}".format, name)
        )


def test_values_of_the_smaller_ones() -> None:
    levels = torch.arange(3 * 32 * 32, dtype=torch.int32).reshape(3, 32, 32).remainder(256).to(torch.uint8)
    unit, level = levels / 255, levels.float()
    transformed = {name: pipelines.named(name).transform(levels) for name in ("keras-tf", "keras-caffe", "cifar10")}
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(torch.Tensor(transformed["keras-tf"]), level / 127.5 - 1, **close)
    bgr_mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    torch.testing.assert_close(torch.Tensor(transformed["keras-caffe"]), level.flip(0) - bgr_mean, **close)
    mean, std = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]])[..., None, None]
    torch.testing.assert_close(torch.Tensor(transformed["cifar10"]), (unit - mean) / std, **close)
    mnist = pipelines.named("mnist").transform(levels[:1, :28, :28])
    torch.testing.assert_close(torch.Tensor(mnist), (unit[:1, :28, :28] - 0.1307) / 0.3081, **close)


def test_medical_is_the_middle_in_gray() -> None:
    image = torch.zeros(3, 460, 600)
    image[:, 5:455, 75:525] = 1.0
    assert pipelines.named("medical").transform(image).shape == (1, 224, 224)
    torch.testing.assert_close(
        torch.Tensor(pipelines.named("medical").transform(image)), torch.full((1, 224, 224), 0.9999), rtol=0, atol=1e-6
    )


def test_no_stage_of_the_original_is_lost_from_the_report() -> None:
    derived = derive(pipelines.named("report").transform, ImageSpec((3, 32, 32), "float32", "tensor"))
    assert len(derived.program.stages) == 4
