"""Exact rounding against torchvision, bit for bit, on every backend that runs here."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode as Mode
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer import pipelines
from onelayer.algebra import Range, simplify
from onelayer.data.photographs import bundled
from onelayer.frontends import derive
from onelayer.frontends.torchvision.rounding_rules import tensors_have_lanczos
from onelayer.images.containers import spec_of
from onelayer.selfcheck.checking import difference_of

NORMAL = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8))


def as_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())


# All colours of which v1 and v2 make another grey: with FMA, their luma ends on the other side of a whole number.
DIVIDING_COLOURS = torch.tensor(
    [
        (20, 152, 7), (40, 244, 244), (40, 252, 80), (110, 111, 26), (140, 160, 81), (140, 236, 23), (140, 252, 195),
        (170, 61, 170), (190, 175, 206), (220, 222, 52), (230, 225, 177), (240, 222, 175), (250, 9, 228), (250, 17, 64),
        (250, 47, 199), (250, 55, 35), (250, 95, 215), (250, 117, 14), (250, 133, 186), (250, 171, 157), (250, 247, 99),
    ],
    dtype=torch.uint8,
).T.reshape(3, 3, 7)  # fmt: skip

TENSORS: dict[str, tuple[Any, torch.Tensor]] = {
    "shrunk": (v2.Resize((9, 5)), noise(3, 17, 11)),
    "enlarged, bicubic": (v2.Resize((40, 23), Mode.BICUBIC), noise(3, 17, 11)),
    "not antialiased": (v2.Resize((9, 5), antialias=False), noise(3, 17, 11)),
    "bicubic, not antialiased": (v2.Resize((9, 50), Mode.BICUBIC, antialias=False), noise(1, 17, 11)),
    "one axis": (v2.Resize((17, 5)), noise(3, 17, 11)),
    "from one pixel": (v2.Resize((4, 3)), noise(3, 1, 1)),
    "nearest": (v2.Resize((9, 50), Mode.NEAREST_EXACT), noise(3, 17, 11)),
    "v1 in float32": (v1.Resize((9, 5), antialias=True), noise(3, 17, 11)),
    "v1 in float32, bicubic": (v1.Resize((29, 25), Mode.BICUBIC, antialias=True), noise(3, 17, 11)),
    "float32": (v2.Compose([TO_FLOAT, v2.Resize((9, 5)), NORMAL]), noise(3, 17, 11)),
    "gray": (v2.Grayscale(), noise(3, 17, 11)),
    "gray thrice": (v2.Grayscale(3), noise(3, 17, 11)),
    "gray of v1": (v1.Grayscale(), noise(3, 17, 11)),
    "gray of colours that divide v1 and v2": (v2.Grayscale(), DIVIDING_COLOURS),
    "gray of v1 of colours that divide v1 and v2": (v1.Grayscale(), DIVIDING_COLOURS),
    "gray of v1, with a probability": (v1.RandomGrayscale(p=1), noise(3, 17, 11)),
    "gray of v2, with a probability": (v2.RandomGrayscale(p=1), noise(3, 17, 11)),
    "channels reordered": (partial(f2.permute_channels, permutation=[2, 0, 1]), noise(3, 17, 11)),
    "flipped and padded": (v2.Compose([v2.RandomVerticalFlip(p=1), v2.Pad((1, 2), fill=77)]), noise(3, 17, 11)),
    "gray in float32": (v2.Compose([TO_FLOAT, v2.Grayscale()]), noise(3, 17, 11)),
    "colours of gray": (v2.Compose([v2.RGB(), TO_FLOAT, NORMAL]), noise(1, 17, 11)),
    "in a Lambda": (v2.Lambda(partial(f2.rgb_to_grayscale, num_output_channels=3)), noise(3, 17, 11)),
    "normalised": (v2.Compose([TO_FLOAT, NORMAL]), noise(3, 17, 11)),
    "padded behind": (v2.Compose([TO_FLOAT, NORMAL, v2.Pad(2)]), noise(3, 17, 11)),
    "float64": (v2.Compose([v2.ToDtype(torch.float64, scale=True), NORMAL]), noise(3, 17, 11)),
    "float16": (v2.ToDtype(torch.float16, scale=True), noise(3, 17, 11)),
    "to bytes again": (v2.Compose([TO_FLOAT, v2.ToDtype(torch.uint8, scale=True)]), noise(3, 17, 11)),
    "unscaled": (v2.ToDtype(torch.float32, scale=False), noise(3, 17, 11)),
    "brighter": (partial(f2.adjust_brightness, brightness_factor=1.37), noise(3, 17, 11)),
    "solarised behind a resize": (v2.Compose([v2.Resize(9), v2.RandomSolarize(100, p=1)]), noise(3, 17, 11)),
    "gamma": (partial(f1.adjust_gamma, gamma=0.7, gain=1.2), noise(3, 17, 11)),
    "rotated by nearest": (partial(f2.rotate, angle=90.0), noise(3, 17, 11)),
    "preset": (models.ResNet50_Weights.IMAGENET1K_V2.transforms(resize_size=20, crop_size=16), noise(3, 33, 41)),
    "report": (pipelines.report_transform(), noise(2, 3, 32, 32)),
    "empty batch": (pipelines.report_transform(), noise(0, 3, 32, 32)),
}

if tensors_have_lanczos():
    TENSORS["lanczos"] = (v2.Resize((5, 30), Mode.LANCZOS), noise(4, 17, 11))

PICTURES: dict[str, tuple[Any, Image.Image]] = {
    "shrunk": (v2.Resize((9, 5)), as_pil(noise(3, 17, 11))),
    "bicubic": (v1.Resize((40, 5), Mode.BICUBIC), as_pil(noise(1, 17, 11))),
    "box": (v1.Resize((3, 25), Mode.BOX), as_pil(noise(3, 17, 11))),
    "hamming": (v2.Resize((6, 4), Mode.HAMMING), as_pil(noise(3, 17, 11))),
    "rows first": (v2.Resize((9, 30)), as_pil(noise(3, 80, 40))),
    "very tall": (v2.Resize((30, 5)), as_pil(noise(3, 500, 3))),
    "gray": (v2.Grayscale(), as_pil(noise(3, 17, 11))),
    "gray thrice": (v1.Grayscale(3), as_pil(noise(3, 17, 11))),
    "inverted": (v2.RandomInvert(p=1), as_pil(noise(3, 17, 11))),
    "posterised": (v1.RandomPosterize(3, p=1), as_pil(noise(3, 17, 11))),
    "as a tensor": (v1.Compose([v1.ToTensor(), v1.Normalize([0.5], [0.2])]), as_pil(noise(1, 17, 11))),
    "preset": (models.Swin_T_Weights.IMAGENET1K_V1.transforms(resize_size=20, crop_size=16), as_pil(noise(3, 33, 41))),
}
CASES = {**TENSORS, **{f"PIL, {name}": case for name, case in PICTURES.items()}}


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_every_bit_is_the_originals(backend: Any) -> None:
    for name, (transform, image) in CASES.items():
        layer = onelayer.compile(transform, rounding="exact", backend=backend)
        assert difference_of(layer(image), transform(image)) is None, name


def test_rules_keep_every_bit() -> None:
    for name, (transform, image) in CASES.items():
        spec = spec_of(image)
        program = derive(transform, spec, "exact").program
        simplified = simplify(program, Range.of(spec.shape[0], 0.0, 255.0)).program
        content = np.random.default_rng(3).choice([0.0, 255.0, 17.0], (2, *spec.shape))
        np.testing.assert_array_equal(simplified.apply(content), program.apply(content), err_msg=name)


# One photograph and one container each; or all.
PHOTOGRAPHED = [(name, ("tensor", "pil")[index % 2]) for index, name in enumerate(pipelines.names())]
ALL_PHOTOGRAPHED = [(name, container) for name in pipelines.names() for container in ("tensor", "pil")]


@pytest.mark.parametrize(
    ("cases", "count"),
    [(PHOTOGRAPHED, 1), pytest.param(ALL_PHOTOGRAPHED, 2, marks=pytest.mark.exhaustive)],
    ids=["few", "all"],
)
def test_every_pipeline_on_photographs(cases: list[tuple[str, str]], count: int) -> None:
    photographs = bundled()
    for name, container in cases:
        pipeline = pipelines.named(name)
        channels, height, width = pipeline.input_shape
        layer = onelayer.compile(pipeline.transform)
        for photograph in photographs[:: len(photographs) // count][:count]:
            pixels = photograph.at(height, width, channels)
            image = as_pil(pixels) if container == "pil" else pixels
            case = f"{name} of {photograph.name} as {container}"
            assert difference_of(layer(image), pipeline.transform(image)) is None, case


def test_bytes_are_exact_by_default_and_floats_are_not() -> None:
    layer = onelayer.compile(v2.Resize((9, 5), Mode.BICUBIC))
    image = noise(3, 17, 11)
    assert layer.source.outputs(spec_of(image)).each[0].rounding == "exact"
    assert layer.source.outputs(spec_of(image.float())).each[0].rounding == "fused"
    fused = onelayer.compile(v2.Resize((9, 5), Mode.BICUBIC), rounding="fused")
    assert fused.source.outputs(spec_of(image)).each[0].rounding == "fused"
    assert not torch.equal(fused(image), layer(image)), "noise shows what is rounded between the passes"
    with pytest.raises(onelayer.OnelayerError, match="'nearest' was asked for"):
        onelayer.compile(v2.Resize(9), rounding="nearest")  # type: ignore[call-overload]


def test_a_refused_transform_can_stay_as_it_is() -> None:
    transform = v2.Compose([v2.Resize(9), v2.GaussianBlur(3, 1.0), TO_FLOAT, NORMAL])
    image = noise(3, 17, 11)
    layer = onelayer.compile(transform)
    assert difference_of(layer(image), transform(image)) is None
