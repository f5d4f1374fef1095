"""Policies, random warps and erasing through quicker functions: torchvision's bits and random numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from original_results import assert_same_for_seed, same
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import autoaugment as policies_v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.frontends.base import Function, quicker_function
from onelayer.frontends.torchvision import policies
from onelayer.frontends.torchvision.warp_functions import as_recorded
from onelayer.images.containers import spec_of

BILINEAR, NEAREST = v2.InterpolationMode.BILINEAR, v2.InterpolationMode.NEAREST
BICUBIC, LANCZOS = v2.InterpolationMode.BICUBIC, v2.InterpolationMode.LANCZOS
AUTO = v2.AutoAugmentPolicy


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> PIL.Image.Image:
    """Make an image of waves with a little noise, and information that is kept or not."""
    rng = np.random.default_rng((height, width, seed))
    y, x = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin(x / 9 + i) * np.cos(y / 7 - i) + rng.normal(size=x.shape) for i in range(3)]
    image = PIL.Image.fromarray(np.stack(waves, -1).clip(0, 255).astype(np.uint8)).convert(mode)
    image.info = {"comment": "kept", "list": [1, 2]}
    return image


def tensor(image: PIL.Image.Image) -> torch.Tensor:
    return f2.pil_to_tensor(image).contiguous()


def function_of(transform: Any, image: Any) -> Function:
    function = quicker_function(transform, spec_of(image), _compiled)
    assert function is not None, (transform, type(image))
    return function


def _compiled(transforms: Any) -> Any:
    raise AssertionError(f"nothing has parts: {transforms}")


def of_both(make: Any) -> list[Any]:
    return [make(library) for library in (v1, v2)]


POLICIES = {
    "trivial": of_both(lambda library: library.TrivialAugmentWide(interpolation=BILINEAR)),
    "trivial, few magnitudes": of_both(lambda library: library.TrivialAugmentWide(4, fill=9)),
    "random": of_both(lambda library: library.RandAugment(interpolation=BILINEAR)),
    "random, several": of_both(lambda library: library.RandAugment(4, 20, 25, BILINEAR, fill=(1, 2, 3))),
    "random, bicubic": of_both(lambda library: library.RandAugment(3, interpolation=BICUBIC)),
    "random, none": of_both(lambda library: library.RandAugment(0)),
} | {f"learned, {each.value}": of_both(lambda library, each=each: library.AutoAugment(each, BILINEAR)) for each in AUTO}


MIXES = of_both(lambda library: library.AugMix(severity=7, fill=5)) + of_both(
    lambda library: library.AugMix(mixture_width=2, chain_depth=1, all_ops=False, interpolation=NEAREST)
)


def test_mixes() -> None:
    image = picture(23, 31)
    planes = tensor(image)
    for transform in MIXES:
        images: list[Any] = [image, picture(20, 31, "L"), planes, torch.stack([planes, planes.flip(-1)])]
        if isinstance(transform, v2.Transform):
            images.append(tv_tensors.Image(planes))
        for each in images:
            function = function_of(transform, each)
            for seed in range(4):
                assert_same_for_seed(transform, function, each, seed)


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name: str) -> None:
    image = picture(41, 67)
    for transform in POLICIES[name]:
        function = function_of(transform, image)
        for seed in range(60):
            assert_same_for_seed(transform, function, image, seed)
        ours = function_of(transform, tensor(image)) if "bicubic" not in name else transform
        for seed in range(15):
            assert_same_for_seed(transform, ours, tensor(image), seed)
        sizes: list[Any] = [picture(1, 1), picture(1, 9), picture(9, 1), picture(90, 12)]
        if "several" not in name:
            sizes.append(picture(20, 30, "L"))
        for other in sizes:
            for seed in range(5):
                assert_same_for_seed(transform, function_of(transform, other), other, seed)


def test_policies_of_batches_and_tv_tensors() -> None:
    planes = tensor(picture(20, 31))
    for transform in (POLICIES["trivial"][1], POLICIES["random"][1], POLICIES["learned, svhn"][1]):
        for image in (tv_tensors.Image(planes), torch.stack([planes, planes.flip(-1)])):
            function = function_of(transform, image)
            for seed in range(15):
                assert_same_for_seed(transform, function, image, seed)


def test_every_operation() -> None:
    """Each operation has the bits of the original's at every magnitude, also where a policy has it not."""
    warps, colors = policies._WARPS, policies._COLORS
    v2_policy = v2.RandAugment()
    magnitudes: dict[str, list[float]] = {name: [0.0] for name in [*warps, *colors]}
    for name in ("ShearX", "ShearY"):
        magnitudes[name] = [0.0, -0.0, 0.09, -0.3, 0.99]
    for name in ("TranslateX", "TranslateY"):
        magnitudes[name] = [0.0, 3.99, -14.2, 32.0, -200.0]
    magnitudes["Rotate"] = [0.0, -0.0, 9.0, -30.0, 90.0, 135.0]
    for name in ("Brightness", "Color", "Contrast", "Sharpness"):
        magnitudes[name] = [0.0, 0.27, -0.9, 0.99]
    magnitudes["Posterize"] = [8.0, 5.0, 2.0]
    magnitudes["Solarize"] = [0.0, 0.3, 76.5, 255.0]
    images: list[Any] = [picture(23, 31), picture(30, 30), picture(16, 9, "L"), tensor(picture(23, 31))]
    for name, each in magnitudes.items():
        for magnitude in each:
            for image in images:
                for interpolation in (BILINEAR, NEAREST, *([BICUBIC] if isinstance(image, PIL.Image.Image) else [])):
                    arguments = name, magnitude, interpolation
                    fill = [5.0] if isinstance(image, torch.Tensor) else 5
                    ours = policies.operated(image, (name, magnitude), interpolation, fill, f1)
                    assert same(ours, policies_v1._apply_op(image, *arguments, fill)), arguments
                    if name != "Solarize" or magnitude <= 1:
                        ours = policies.operated(image, (name, magnitude), interpolation, fill, f2)
                        theirs = v2_policy._apply_image_or_video_transform(image, *arguments, {"others": fill})
                        assert same(ours, theirs), arguments


WARPS = {
    "rotation": of_both(lambda library: library.RandomRotation(30, BILINEAR)),
    "rotation, larger": of_both(lambda library: library.RandomRotation(180, BILINEAR, expand=True, fill=9)),
    "rotation, elsewhere": of_both(lambda library: library.RandomRotation(90, BILINEAR, center=(3, 4))),
    "right angles": of_both(lambda library: library.RandomRotation((90, 90), BILINEAR)),
    "affine": of_both(lambda library: library.RandomAffine(20, (0.1, 0.3), (0.5, 2), (-10, 10, -5, 20), BILINEAR, 8)),
    "shear": of_both(lambda library: library.RandomAffine(0, shear=15, interpolation=BILINEAR)),
    "nearest rotation": of_both(lambda library: library.RandomRotation(180, expand=True, fill=9)),
    "nearest affine": of_both(lambda library: library.RandomAffine(20, (0.1, 0.3), (0.5, 2), (-10, 10, -5, 20))),
    "nearest perspective": of_both(lambda library: library.RandomPerspective(0.7, 0.9, NEAREST, (3, 4, 5))),
    "cubic rotation": of_both(lambda library: library.RandomRotation(30, BICUBIC)),
    "cubic shear": of_both(lambda library: library.RandomAffine(0, shear=15, interpolation=BICUBIC, fill=7)),
    "cubic perspective": of_both(lambda library: library.RandomPerspective(0.7, 0.9, BICUBIC, 3)),
    "moves": of_both(lambda library: library.RandomAffine(0, (0.3, 0.3), interpolation=BILINEAR, fill=7)),
    "perspective": of_both(lambda library: library.RandomPerspective(0.7, 0.6, BILINEAR, 3)),
    "functions": [
        *(partial(functional.rotate, angle=33.3, interpolation=BILINEAR) for functional in (f1, f2)),
        partial(
            f1.affine, angle=0.0, translate=[0, 0], scale=2.0, shear=[0.0, 0.0], center=[0, 0], interpolation=BILINEAR
        ),
        partial(f1.affine, angle=5.0, translate=[1, 2], scale=1.2, shear=[3.0, 0.0], interpolation=BILINEAR),
        partial(
            f2.perspective,
            startpoints=[[0, 0], [30, 0], [30, 30], [0, 30]],
            endpoints=[[2, 1], [27, 3], [30, 28], [1, 30]],
        ),
    ],
}


@pytest.mark.parametrize("name", WARPS)
def test_warps(name: str) -> None:
    for transform in WARPS[name]:
        images = [picture(41, 67), picture(30, 30), picture(1, 1), picture(1, 9)]
        images += [picture(33, 20, "L")] if name != "nearest perspective" else []
        for image in images:
            function = function_of(transform, image)
            for seed in range(8):
                assert_same_for_seed(transform, function, image, seed)


def test_images_that_are_large_enough_for_nearest_pixels() -> None:
    image = picture(130, 150)
    for name, transforms in (WARPS | POLICIES).items():
        if "nearest" in name or name in ("trivial, few magnitudes", "random, none"):
            for transform in transforms:
                function = function_of(transform, image)
                for seed in range(20):
                    assert_same_for_seed(transform, function, image, seed)


def test_the_fourth_byte() -> None:
    """What means nothing of a pixel is as Pillow leaves it, too."""
    image = picture(20, 30)
    for angle in (30.0, 90.0, 180.0):
        for mode in (BILINEAR, BICUBIC):
            ours = as_recorded(image, f1.rotate, angle, mode, fill=[1, 2, 3])
            theirs = f1.rotate(image, angle, mode, fill=[1, 2, 3])
            assert ours.tobytes("raw", "RGBX") == theirs.tobytes("raw", "RGBX")


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    name=st.sampled_from([*WARPS, *POLICIES]),
)
def test_any_size_and_seed(seed: int, height: int, width: int, name: str) -> None:
    image = picture(height, width, seed=seed)
    for transform in (WARPS | POLICIES)[name]:
        assert_same_for_seed(transform, function_of(transform, image), image, seed)


def test_what_is_left_to_the_original() -> None:
    """Warps of floats, and policies that were changed, have no quicker function."""
    image = picture(20, 30)

    class Changed(v1.RandAugment):
        def _augmentation_space(self, *_: Any) -> Any:
            return {"Identity": (torch.tensor(0.0), False)}

    class Other(v2.TrivialAugmentWide):
        _AUGMENTATION_SPACE = {"Identity": (lambda *_: None, False)}  # noqa: RUF012 - as torchvision's

    left: list[tuple[Any, Any]] = [
        (v2.RandomAffine(30, interpolation=LANCZOS), image),
        (v2.RandomRotation(30, BILINEAR, fill={PIL.Image.Image: 3}), image),
        (v2.RandomRotation(30, BILINEAR), tensor(image).float()),
        (v2.RandAugment(), tensor(image).float()),
        (v2.RandAugment(interpolation=BICUBIC), tensor(image)),
        (v1.RandAugment(), tv_tensors.Image(tensor(image))),
        (v1.RandomErasing(), image),
        (v2.RandomErasing(value=(1, 2)), tensor(image)),
        (Changed(), image),
        (Other(), image),
    ]
    for transform, each in left:
        assert quicker_function(transform, spec_of(each), _compiled) is None, transform


def test_images_that_the_kernel_does_not_take() -> None:
    """Other fills, other modes and matrices go to Pillow, with the numbers that were drawn."""
    image = picture(20, 30)
    odd: list[tuple[Any, PIL.Image.Image]] = [
        (v1.RandomRotation(30, BILINEAR, fill=300), image),
        (v2.RandomRotation(30, BILINEAR, fill=-1), image),
        (v1.RandomRotation(30, BILINEAR), image.convert("RGBA")),
        (v1.RandomRotation(30, BILINEAR), image.convert("F")),
        (v1.RandomRotation(30, BILINEAR), image.convert("P")),
        (partial(f1.affine, angle=0.0, translate=[0, 0], scale=1e-200, shear=[0.0], interpolation=BILINEAR), image),
    ]
    for transform, each in odd:
        for seed in range(4):
            assert_same_for_seed(transform, partial(as_recorded, function=transform), each, seed)


ERASING = {
    "now and then": of_both(lambda library: library.RandomErasing(0.5)),
    "noise": of_both(lambda library: library.RandomErasing(1, value="random")),
    "a color": of_both(lambda library: library.RandomErasing(0.9, (0.02, 0.9), (0.1, 9), value=(1, 2.7, 3))),
    "no window fits": of_both(lambda library: library.RandomErasing(1, (1, 1), (5, 6), value=3)),
    "a whole number": of_both(lambda library: library.RandomErasing(1, value=200)),
}


@pytest.mark.parametrize("name", ERASING)
def test_erasing(name: str) -> None:
    planes = tensor(picture(41, 67))
    for transform in ERASING[name]:
        images: list[Any] = [planes, planes.float(), planes.float()[None].repeat(2, 1, 1, 1), planes.permute(0, 2, 1)]
        if isinstance(transform, v2.Transform):
            images.append(tv_tensors.Image(planes))
        for image in images:
            before = image.clone()
            function = function_of(transform, image)
            for seed in range(8):
                assert_same_for_seed(transform, function, image, seed)
            assert torch.equal(image, before)


def test_erasing_in_place() -> None:
    for library in (v1, v2):
        transform = library.RandomErasing(1, inplace=True, value=7)
        theirs, ours = tensor(picture(20, 31)), tensor(picture(20, 31))
        torch.manual_seed(0)
        assert transform(theirs) is theirs
        torch.manual_seed(0)
        assert function_of(transform, ours)(ours) is ours
        assert torch.equal(theirs, ours)


def test_in_another_precision() -> None:
    """Under another default dtype numbers are drawn in it."""
    image = picture(20, 31)
    torch.set_default_dtype(torch.float64)
    try:
        for transform in [each for both in (POLICIES | WARPS).values() for each in both]:
            function = function_of(transform, image)
            for seed in range(4):
                assert_same_for_seed(transform, function, image, seed)
        for transform in [each for both in ERASING.values() for each in both]:
            planes = tensor(image).float()
            for seed in range(4):
                assert_same_for_seed(transform, function_of(transform, planes), planes, seed)
    finally:
        torch.set_default_dtype(torch.float32)


def classification(policy: str | None, library: Any, erase: float = 0.3) -> Any:
    """Return ``ClassificationPresetTrain`` of torchvision's references, for images of 32×32."""
    parts = [library.RandomResizedCrop(32, interpolation=BILINEAR, antialias=True), library.RandomHorizontalFlip()]
    if policy == "ra":
        parts.append(library.RandAugment(interpolation=BILINEAR, magnitude=9))
    elif policy == "ta_wide":
        parts.append(library.TrivialAugmentWide(interpolation=BILINEAR))
    elif policy == "augmix":
        parts.append(library.AugMix(interpolation=BILINEAR, severity=3))
    elif policy is not None:
        parts.append(library.AutoAugment(policy=AUTO(policy), interpolation=BILINEAR))
    parts += [library.PILToTensor()] if library is v1 else [v2.PILToTensor()]
    parts.append(library.ConvertImageDtype(torch.float) if library is v1 else v2.ToDtype(torch.float, scale=True))
    parts.append(library.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    parts.append(library.RandomErasing(p=erase))
    return library.Compose(parts if library is v1 else [*parts, v2.ToPureTensor()])


@pytest.mark.parametrize("policy", [None, "ra", "ta_wide", "augmix", *(each.value for each in AUTO)])
def test_torchvisions_training_preset(policy: str | None) -> None:
    for library in (v1, v2):
        recipe = classification(policy, library)
        layer = onelayer.compile(recipe)
        for seed in range(20 if policy != "augmix" else 3):
            assert_same_for_seed(recipe, layer, picture(60 + seed, 75), seed)


@pytest.mark.exhaustive
def test_many_seeds() -> None:
    for both in POLICIES.values():
        for transform in both:
            for size in ((41, 67), (224, 224)):
                image = picture(*size)
                function = function_of(transform, image)
                for seed in range(1000):
                    assert_same_for_seed(transform, function, image, seed)
