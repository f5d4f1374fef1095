"""Every supported transform, against torchvision's own result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models, tv_tensors
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Lookup, Quantize
from onelayer.frontends import ImageSpec, derive
from onelayer.images.containers import spec_of

Mode = v2.InterpolationMode
AWKWARD = [(3, 17, 11), (3, 40, 23), (1, 17, 11), (3, 1, 1)]
ROOMY = AWKWARD[:3]


@pytest.mark.parametrize("shape", AWKWARD, ids=str)
@pytest.mark.parametrize(
    "transform",
    [
        v2.Resize(13),
        v2.Resize([29]),
        v2.Resize((5, 31)),
        v2.Resize(8, max_size=10),
        v2.Resize(None, max_size=21),
        v2.Resize((9, 14), interpolation="bicubic"),
        v2.Resize((9, 14), interpolation=Image.Resampling.BICUBIC.value, antialias=False),
        v2.Resize((9, 14), antialias=None),
        v2.Resize((31, 7), antialias=False),
        v2.Resize((31, 1), antialias=False),
        v2.Resize((1, 1)),
        v2.Resize((1, 9), interpolation="bicubic"),
        v2.Resize((31, 7), interpolation=Mode.LANCZOS),
        v2.Resize((17, 11)),
        v1.Resize(13),
        v1.Resize((9, 14), interpolation=Mode.BICUBIC),
        v1.Resize((9, 14), interpolation=Mode.BICUBIC, antialias=False),
        v2.CenterCrop(12),
        v2.CenterCrop((9, 30)),
        v1.CenterCrop([8]),
        v2.Pad(3),
        v2.Pad((1, 2), fill=0.5),
        v2.Pad((1, 0, 2, 4), padding_mode="edge"),
        v1.Pad((1, 2, 0, 4), fill=-1.5),
        v1.Pad(1, padding_mode="symmetric"),
        v2.Pad([2], fill=None),
        v2.Grayscale(),
        v2.Grayscale(3),
        v1.Grayscale(3),
        v1.RandomGrayscale(p=1),
        v2.RandomGrayscale(p=1),
        v2.RGB(),
        v1.RandomHorizontalFlip(p=1.0),
        v2.RandomVerticalFlip(p=1),
        v2.RandomHorizontalFlip(p=0),
        v2.Normalize([0.4], [0.2]),
        v2.Identity(),
        nn.Identity(),
        v2.ToImage(),
        v2.ToPureTensor(),
        v2.RandomInvert(p=1),
        v1.RandomInvert(p=1),
        v2.GaussianBlur(1, sigma=0.7),
        partial(f2.resize, size=[7, 5]),
        partial(f1.resize, size=6, antialias=False),
        partial(f2.center_crop, output_size=[4]),
        partial(f1.crop, top=-2, left=0, height=5, width=40),
        partial(f2.pad, padding=[1], fill=0.25),
        partial(f2.normalize, mean=[0.5], std=[0.25]),
        f1.hflip,
        f2.vertical_flip,
        f1.invert,
        v1.Lambda(f2.rgb_to_grayscale),
        v2.Lambda(partial(f1.center_crop, output_size=3)),
        partial(f2.adjust_brightness, brightness_factor=1.7),
        partial(f1.adjust_brightness, brightness_factor=0.3),
        partial(f2.adjust_saturation, saturation_factor=2.5),
        partial(f1.adjust_saturation, saturation_factor=0.0),
        partial(f2.adjust_gamma, gamma=0.45),
        partial(f2.adjust_gamma, gamma=2.2, gain=1.5),
        partial(f1.adjust_gamma, gamma=2.0),
    ],
    ids=repr,
)
def test_float_tensors(assert_floats: Any, transform: Callable[..., Any], shape: tuple[int, int, int]) -> None:
    assert_floats(transform, shape)


@pytest.mark.parametrize("shape", ROOMY, ids=str)
@pytest.mark.parametrize(
    "transform",
    [
        v2.Pad((3, 7, 10, 5), padding_mode="reflect"),
        v2.Pad((11, 7, 10, 17), padding_mode="symmetric"),
        v2.Pad((-2, -3, 4, -1), fill=0.5),
        v2.GaussianBlur(5, sigma=0.7),
        v1.GaussianBlur((3, 9), sigma=(1.3, 1.3)),
        partial(f2.gaussian_blur, kernel_size=[5, 3]),
        partial(f1.gaussian_blur, kernel_size=[3, 7], sigma=[0.5, 2.0]),
    ],
    ids=repr,
)
def test_float_tensors_with_room(assert_floats: Any, transform: Any, shape: tuple[int, int, int]) -> None:
    assert_floats(transform, shape)


@pytest.mark.parametrize("interpolation", [Mode.NEAREST, Mode.NEAREST_EXACT], ids=str)
@pytest.mark.parametrize("kind", [v1, v2], ids=["v1", "v2"])
def test_nearest(assert_floats: Any, kind: Any, interpolation: Mode) -> None:
    # On float64 images torch chooses now and then, at large sizes, other samples than on float32 ones.
    for size in [(5, 31), (13, 13), (1, 50), (80, 3)]:
        assert_floats(kind.Resize(size, interpolation=interpolation), (3, 17, 11), exact=0.0)


def test_per_channel(assert_floats: Any) -> None:
    assert_floats(v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (3, 17, 11))
    assert_floats(v2.Normalize([0.5, 0.0], [0.2, -3.0]), (2, 17, 11))
    # Fills per channel go through float32 in torch, whatever the image is; these survive that.
    assert_floats(v2.Pad((1, 2, 0, 4), fill=(0.125, 0.75, -3.0)), (3, 17, 11))
    # The bias image of the zero padding is then flipped, blurred and scaled with the picture.
    assert_floats(v2.Compose([v2.Pad(4, fill=(9, 0, 1)), v2.GaussianBlur(3, 1.0), v2.Resize(7)]), (3, 17, 11))


@pytest.mark.parametrize("kind", [v1, v2], ids=["v1", "v2"])
def test_linear_transformation(assert_floats: Any, kind: Any) -> None:
    draws = torch.Generator().manual_seed(1)
    matrix = torch.rand(30, 30, generator=draws, dtype=torch.float64)
    transform = kind.LinearTransformation(matrix.float(), torch.rand(30, generator=draws))
    assert_floats(transform, (2, 5, 3), exact=None)


@pytest.mark.parametrize("shape", ROOMY, ids=str)
@pytest.mark.parametrize("container", ["tensor", "pil"])
@pytest.mark.parametrize(
    ("transform", "levels"),
    [
        # Two passes that round each, of weights that round too: one level, of which two may add up.
        (v2.Resize(13), 2),
        (v1.Resize((5, 31)), 2),
        (v2.Resize((5, 1)), 2),
        (v2.Compose([v2.Resize((30, 9)), v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]), 2),
        (v2.CenterCrop((9, 30)), 0),
        (v2.Pad((1, 2), fill=77), 0),
        (v2.Pad((1, 0, 2, 4), padding_mode="edge"), 0),
        (v1.Pad((3, 2, 4, 1), padding_mode="reflect"), 0),
        (v2.Pad((11, 7, 10, 17), padding_mode="symmetric"), 0),
        # Tensors truncate, PIL images round.
        (v2.Grayscale(), 1),
        (v1.Grayscale(3), 1),
        (v2.RGB(), 0),
        (v2.RandomHorizontalFlip(p=1), 0),
        (v1.RandomVerticalFlip(p=1), 0),
        (v2.RandomInvert(p=1), 0),
        (v1.RandomSolarize(100, p=1), 0),
        (v2.RandomSolarize(100, p=1), 0),
        (v2.RandomPosterize(3, p=1), 0),
        (v1.RandomPosterize(1, p=1), 0),
        (v2.Compose([v2.CenterCrop(20), v2.RandomInvert(p=1), v2.RandomPosterize(5, p=1), v2.Resize(9)]), 2),
        (partial(f2.solarize, threshold=9), 0),
        (partial(f1.posterize, bits=8), 0),
        (v2.GaussianBlur(5, sigma=0.7), 1),
        (partial(f2.adjust_brightness, brightness_factor=1.7), 1),
        # What rounds is the luma, and up to 1.5 times that is taken off.
        (partial(f2.adjust_saturation, saturation_factor=2.5), 2.5),
        (partial(f2.adjust_gamma, gamma=0.45, gain=1.1), 0),
        (partial(f1.adjust_gamma, gamma=2.2), 0),
        (v1.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=False)]), 0),
        (v2.Compose([v2.PILToTensor(), v1.ConvertImageDtype(torch.float32), v2.Normalize([0.5], [0.5])]), 0),
    ],
    ids=repr,
)
def test_bytes(
    assert_bytes: Any, transform: Callable[..., Any], levels: int, container: Any, shape: tuple[int, int, int]
) -> None:
    assert_bytes(transform, ImageSpec(shape, "uint8", container), levels)


@pytest.mark.parametrize("container", ["tensor", "pil"])
@pytest.mark.parametrize("mode", [Mode.BICUBIC, Mode.LANCZOS], ids=str)
def test_overshooting_filters_on_bytes(assert_bytes: Any, mode: Mode, container: Any) -> None:
    # Values in the middle stay clear of the saturation between the two passes, which is left out with the rounding.
    for size in [(30, 9), (9, 30)]:
        transform = v2.Resize(size, interpolation=mode)
        given = ImageSpec((3, 17, 11), "uint8", container)
        assert_bytes(transform, given, 2, low=80, high=175)
        stages = derive(transform, given).program.stages
        assert [type(stage) for stage in stages[1:]] == [Clamp, Quantize]


@pytest.mark.parametrize("container", ["tensor", "pil"])
def test_overshoot_saturates_at_the_end(assert_bytes: Any, container: Any) -> None:
    # Along one axis there is one pass, and the whole range can be asked for.
    transform = v2.Resize((17, 60), interpolation=Mode.BICUBIC)
    assert_bytes(transform, ImageSpec((3, 17, 11), "uint8", container), 1)
    assert len(derive(transform, ImageSpec((3, 17, 11), "float32", "tensor")).program.stages) == 1


@pytest.mark.parametrize("mode", [Mode.BOX, Mode.HAMMING, Mode.NEAREST, Mode.NEAREST_EXACT], ids=str)
def test_filters_of_pillow(assert_bytes: Any, mode: Mode) -> None:
    levels = 0 if mode in (Mode.NEAREST, Mode.NEAREST_EXACT) else 2
    for size in [(30, 9), (9, 30), (50, 60)]:
        assert_bytes(v2.Resize(size, interpolation=mode), ImageSpec((3, 17, 11), "uint8", "pil"), levels)


def test_pillow_takes_the_nearest_sample_at_every_size(assert_bytes: Any) -> None:
    # Sums of a step in float64 decide ties, so sizes with many are tried.
    for length in range(1, 90):
        assert_bytes(v1.Resize((length, 90 - length), Mode.NEAREST), ImageSpec((1, 45, 30), "uint8", "pil"), 0)


def test_pillow_always_widens(assert_bytes: Any) -> None:
    with pytest.warns(UserWarning, match="antialias is ignored"):
        assert_bytes(v2.Resize((5, 7), antialias=False), ImageSpec((3, 17, 11), "uint8", "pil"), 2)


def test_bytes_without_antialiasing(assert_bytes: Any) -> None:
    for mode in (Mode.BILINEAR, Mode.NEAREST):
        assert_bytes(v2.Resize((5, 7), mode, antialias=False), ImageSpec((3, 17, 11), "uint8", "tensor"), 1)
    bicubic = v2.Resize((30, 7), Mode.BICUBIC, antialias=False)
    assert_bytes(bicubic, ImageSpec((3, 17, 11), "uint8", "tensor"), 1, low=80, high=175)


@pytest.mark.parametrize(
    "transform",
    [
        v1.ToTensor(),
        f1.to_tensor,
        v1.Compose([v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
        v1.Lambda(f1.to_tensor),
    ],
    ids=repr,
)
def test_pil_to_float(assert_bytes: Any, transform: Callable[..., Any]) -> None:
    assert_bytes(transform, ImageSpec((3, 17, 11), "uint8", "pil"), 0)
    assert_bytes(transform, ImageSpec((1, 1, 1), "uint8", "pil"), 0)


def test_conversions_of_containers(assert_bytes: Any, assert_floats: Any) -> None:
    with pytest.warns(UserWarning, match="deprecated"):
        to_tensor = v2.ToTensor()
    assert_bytes(to_tensor, ImageSpec((3, 5, 7), "uint8", "pil"), 0)
    assert_bytes(to_tensor, ImageSpec((3, 5, 7), "uint8", "tensor"), 0)
    assert_floats(to_tensor, (3, 5, 7))
    for kind in (v1, v2):
        there_and_back = kind.Compose([kind.ToPILImage(), kind.Resize(4), v2.ToImage()])
        assert_bytes(there_and_back, ImageSpec((1, 5, 7), "uint8", "tensor"), 2)
    # The v2 classes leave PIL images alone.
    assert_bytes(v2.ToDtype(torch.float32, scale=True), ImageSpec((3, 5, 7), "uint8", "pil"), 0)
    assert_bytes(v2.ConvertImageDtype(torch.float32), ImageSpec((3, 5, 7), "uint8", "pil"), 0)
    per_type = {torch.Tensor: torch.float32, "others": torch.float32}
    assert_bytes(v2.ToDtype(per_type, scale=True), ImageSpec((3, 5, 7), "uint8", "tensor"), 0)
    image = {tv_tensors.Image: torch.float32, "others": torch.float32}
    assert_bytes(v2.Compose([v2.ToImage(), v2.ToDtype(image)]), ImageSpec((3, 5, 7), "uint8", "pil"), 0)
    assert_floats(v2.ToDtype({"others": None}), (3, 5, 7))


DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("after", DTYPES, ids=str)
@pytest.mark.parametrize("before", DTYPES, ids=str)
def test_conversions_of_dtypes(before: torch.dtype, after: torch.dtype, scale: bool) -> None:
    # Every whole number of a byte, and numbers between: as many steps as a half-precision number can tell apart.
    # White itself is left out: torch multiplies by 255.999 in that precision, which is 256, and gives black.
    values = torch.arange(256) if before == torch.uint8 else torch.arange(256) / 256 * (1 if scale else 255)
    image = values.to(before).reshape(1, 1, -1)
    transform = v2.ToDtype(after, scale=scale)
    derived = derive(transform, ImageSpec(tuple(image.shape), str(before).removeprefix("torch."), "tensor"))
    result = transform(image)
    assert derived.after == spec_of(result)
    ours = torch.from_numpy(derived.program.apply(image.double().numpy())).to(after)
    if before in (torch.float16, torch.bfloat16) and after == torch.uint8:
        assert (ours.int() - result.int()).abs().max() <= 1
    else:
        torch.testing.assert_close(ours, result, rtol=0, atol=0 if after == torch.uint8 else torch.finfo(after).eps)


def test_conversion_to_bytes_cuts_off_and_saturates() -> None:
    derived = derive(v2.ToDtype(torch.uint8, scale=True), ImageSpec((1, 1, 4), "float32", "tensor"))
    np.testing.assert_array_equal(derived.program.apply([[[-0.5, 0.5, 0.996, 1.5]]]), [[[0, 127, 254, 255]]])


def test_permuted_channels(assert_floats: Any, assert_bytes: Any) -> None:
    transform = partial(f2.permute_channels, permutation=[2, 0, 1])
    assert_floats(transform, (3, 5, 4))
    assert_bytes(transform, ImageSpec((3, 5, 4), "uint8", "pil"), 0)


def test_containers_are_those_of_torchvision() -> None:
    image = tv_tensors.Image(torch.rand(3, 8, 9))
    picture = f1.to_pil_image(image)
    array = np.array(picture)
    for transform, given_images in [
        (v2.Resize(4), [image, picture]),
        (v1.Resize(4), [image, picture]),
        (v1.Resize((8, 9)), [image]),
        (v2.Compose([v2.ToImage(), v2.Resize(4), v2.ToPureTensor()]), [image, picture, array]),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([0.5], [0.5])]), [image, picture, array]),
        (v2.Compose([v2.ToImage(), v1.Normalize([0.5], [0.5])]), [image]),
        (v2.Compose([v2.PILToTensor(), v2.Resize(4)]), [image, picture]),
        (v1.ToTensor(), [picture, array]),
        (v2.ToPILImage(), [picture, array, f1.pil_to_tensor(picture)]),
        (v1.GaussianBlur(3, 1.0), [image, picture]),
        (models.ResNet50_Weights.DEFAULT.transforms(), [image, picture]),
    ]:
        for one in given_images:
            assert derive(transform, spec_of(one)).after == spec_of(transform(one))


def test_arrays_of_floats_are_not_scaled() -> None:
    derived = derive(v1.ToTensor(), ImageSpec((3, 4, 5), "float64", "numpy"))
    assert derived.after == ImageSpec((3, 4, 5), "float64", "tensor")
    assert derived.program.stages == ()


# They normalise in float32: mean, deviation and values round by 6e-8 of themselves each.
AFTER_FLOAT32 = 2e-7

WEIGHTS = [
    models.ResNet50_Weights.IMAGENET1K_V2,
    models.ViT_B_16_Weights.DEFAULT,
    models.Swin_T_Weights.DEFAULT,
    models.EfficientNet_B0_Weights.DEFAULT,
    models.EfficientNet_V2_S_Weights.DEFAULT,
    models.ConvNeXt_Tiny_Weights.DEFAULT,
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_presets_of_models(assert_floats: Any, weights: Any) -> None:
    assert_floats(weights.transforms(), (3, 120, 97), exact=AFTER_FLOAT32)


def test_preset_at_the_size_of_imagenet(assert_floats: Any, assert_bytes: Any) -> None:
    preset = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert_floats(preset, (3, 375, 500), exact=AFTER_FLOAT32)
    # The rounding of two passes, divided by the smallest standard deviation.
    for container in ("tensor", "pil"):
        assert_bytes(preset, ImageSpec((3, 375, 500), "uint8", container), 2 / 0.224)


def test_memory_grows_with_height_plus_width() -> None:
    preset = models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    derived = derive(preset, ImageSpec((3, 3000, 4000), "uint8", "pil"))
    numbers = sum(
        stage.rows.weights.size + stage.cols.weights.size + stage.bias.size for stage in derived.program.stages
    )
    # Bilinear taps on either side of each output, twice; the crops and the channels beside that are few.
    assert numbers < 4 * (3000 + 4000)


def test_look_ups_stand_before_new_values() -> None:
    derived = derive(v2.RandomPosterize(2, p=1), ImageSpec((3, 2, 2), "uint8", "tensor"))
    assert isinstance(derived.program.stages[0], Lookup)
    image = np.array([[[0, 63], [64, 255]]] * 3)
    np.testing.assert_array_equal(derived.program.apply(image)[0], [[0, 0], [64, 192]])
