"""Evaluation pipelines of timm against timm, bit for bit."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from original_results import assert_equal, outcome, same
from torchvision import tv_tensors
from torchvision.transforms import functional as f1

import onelayer
from onelayer.any_size import AnySizePipeline

pytest.importorskip("timm")

from timm.data import create_transform, naflex_transforms
from timm.data import transforms as timm_transforms

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

SIZES = [(75, 50), (50, 75), (48, 48), (33, 300), (17, 9), (131, 97)]

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "center": {"interpolation": "bicubic", "crop_pct": 0.9},
    "center, not square": {"input_size": (3, 36, 52), "interpolation": "bilinear", "crop_pct": 0.875},
    "squash": {"crop_mode": "squash", "interpolation": "bicubic", "crop_pct": 1.0},
    "squash, not square": {"input_size": (3, 36, 52), "crop_mode": "squash", "interpolation": "bilinear"},
    "border": {"crop_mode": "border", "interpolation": "bicubic", "crop_pct": 1.0},
    "border, cropped": {"crop_mode": "border", "interpolation": "bilinear", "crop_pct": 0.8, "mean": (0.5,) * 3},
    "trimmed": {"crop_border_pixels": 3, "interpolation": "bicubic"},
    "prefetcher": {"use_prefetcher": True, "interpolation": "bicubic"},
    "border, not normalized": {"normalize": False, "crop_mode": "border", "mean": (0.1,), "interpolation": "bilinear"},
    "lanczos": {"interpolation": "lanczos"},
    "box": {"interpolation": "box", "crop_mode": "squash"},
    "nearest": {"interpolation": "nearest", "crop_mode": "squash", "use_prefetcher": True},
    "training without augmentation": {"is_training": True, "no_aug": True, "interpolation": "bicubic"},
    "sequence": {"naflex": True, "patch_size": 8, "max_seq_len": 40, "interpolation": "bicubic"},
}


def made(name: str) -> Any:
    return create_transform(**{"input_size": (3, 44, 44), **CONFIGURATIONS[name]})


def picture(height: int, width: int, mode: str = "RGB") -> PIL.Image.Image:
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    levels = np.random.default_rng(height * width).integers(0, 256, shape, dtype=np.uint8)
    levels[: height // 2] = np.where(levels[: height // 2] < 128, 0, 255)
    return PIL.Image.fromarray(levels)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_equal_and_whole_at_every_size(name: str) -> None:
    original = made(name)
    layer, strict = onelayer.compile(original), onelayer.compile(original, fullgraph=True)
    is_pil_only = CONFIGURATIONS[name]["interpolation"] in ("lanczos", "box") or "border" in name
    keeps_channels = "use_prefetcher" in CONFIGURATIONS[name]
    for size in SIZES:
        images: list[Any] = [picture(*size)]
        images += [] if is_pil_only else [f1.pil_to_tensor(images[0])]
        images += [picture(*size, "L")] if keeps_channels else []
        for image in images:
            if isinstance(outcome(original, image), type):
                assert_equal(layer, original, image)
                continue
            assert isinstance(strict._of_any_size(image), AnySizePipeline), name
            assert same(strict(image), original(image)), (name, size, type(image))
            assert same(strict.apply_program(image), original(image)), (name, size, type(image))


def test_only_colors_fit_the_statistics_of_three_channels() -> None:
    original = made("center")
    assert_equal(onelayer.compile(original), original, picture(60, 50, "L"))


def test_no_size_takes_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [onelayer.compile(made(name)) for name in CONFIGURATIONS]
    monkeypatch.setattr(onelayer.OneLayer, "_of_one_size", None)
    for layer, size in itertools.product(layers, SIZES[:4]):
        layer(picture(*size))


@pytest.mark.parametrize("name", ["center", "center, not square", "squash", "sequence"])
def test_floats_up_to_rounding(name: str) -> None:
    original = made(name)
    layer = onelayer.compile(original, fullgraph=True)
    for height, width in SIZES[:4]:
        batch = torch.rand(2, 3, height, width)
        torch.testing.assert_close(layer(batch), original(batch), rtol=0, atol=2e-5)


def test_a_border_of_three_numbers_is_refused_for_tensors_as_timm_does() -> None:
    original = made("border")
    for size in SIZES:
        assert_equal(onelayer.compile(original), original, f1.pil_to_tensor(picture(*size)))
    one_number = timm_transforms.CenterCropOrPad((40, 30), fill=7)
    layer = onelayer.compile(one_number, fullgraph=True)
    for size in SIZES:
        assert_equal(layer, one_number, f1.pil_to_tensor(picture(*size)))


def test_patches_are_cut_behind_the_layer() -> None:
    original = create_transform(
        input_size=(3, 64, 64), naflex=True, patchify=True, patch_size=8, max_seq_len=40, interpolation="bicubic"
    )
    layer = onelayer.compile(original)
    for size in SIZES:
        ours, theirs = layer(picture(*size)), original(picture(*size))
        assert list(ours) == list(theirs) == ["patches", "patch_coord", "patch_valid"]
        assert all(same(ours[key], theirs[key]) for key in theirs)
    assert "Patchify" in str(onelayer.explain(original, picture(60, 50)))


SINGLE = {
    "ratio kept": timm_transforms.ResizeKeepRatio((30, 20), longest=0.0),
    "ratio kept, longest": timm_transforms.ResizeKeepRatio(30, longest=1.0, interpolation="bicubic"),
    "ratio kept, between": timm_transforms.ResizeKeepRatio((31, 20), longest=0.3),
    "cropped or padded": timm_transforms.CenterCropOrPad((40, 33), fill=(9, 130, 255)),
    "cropped or padded, one length": timm_transforms.CenterCropOrPad(41, fill=5),
    "mirrored": timm_transforms.CenterCropOrPad((50, 60), padding_mode="reflect"),
    "trimmed": timm_transforms.TrimBorder(7),
    "trimmed away": timm_transforms.TrimBorder(40),
    "nothing trimmed": timm_transforms.TrimBorder(0),
    "to a tensor of floats": timm_transforms.ToTensor(torch.float16),
    "to a tensor": timm_transforms.MaybePILToTensor(),
    "to a scaled tensor": timm_transforms.MaybeToTensor(),
    "to a sequence": naflex_transforms.ResizeToSequence((8, 4), 30, divisible_by_patch=False),
    "to a sequence, at most": naflex_transforms.ResizeToSequence(8, 30, max_ratio=1.0),
    "to an impossible sequence": naflex_transforms.ResizeToSequence(8, 0),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_transforms_return_what_they_return(name: str) -> None:
    original = SINGLE[name]
    layer = onelayer.compile(original)
    for size in [*SIZES, (30, 20), (40, 33), (1, 1), (1, 90), (80, 2)]:
        image = picture(*size)
        image.info = {"from": "a camera"}
        pixels = f1.pil_to_tensor(image)
        for each in (image, picture(*size, "L"), pixels, pixels[:1], tv_tensors.Image(pixels)):
            assert_equal(layer, original, each)


@pytest.mark.parametrize(
    "transform",
    [
        timm_transforms.RandomPad((90, 100)),
        timm_transforms.RandomCropOrPad((50, 100), padding_mode="reflect"),
        naflex_transforms.RandomResizedCropToSequence(8, 30, interpolation="random"),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_random_transforms_are_left_to_timm(transform: Any) -> None:
    layer, image = onelayer.compile(transform), picture(60, 75)
    results = []
    for function in (layer, transform, layer, transform):
        random.seed(5)
        results.append(np.asarray(function(image)))
    assert all(np.array_equal(results[0], result) for result in results)
    with pytest.raises(onelayer.OnelayerError, match=r"reflect|not a transform that onelayer knows"):
        onelayer.compile(transform, fullgraph=True)(image)


def test_a_subclass_with_a_call_of_its_own_is_called() -> None:
    class Mirrored(timm_transforms.ResizeKeepRatio):
        def __call__(self, img: Any) -> Any:
            return f1.hflip(super().__call__(img))

    class Smaller(naflex_transforms.ResizeToSequence):
        def __init__(self) -> None:
            super().__init__(8, 9)

    for original in (Mirrored(30), Smaller()):
        assert_equal(onelayer.compile(original), original, picture(60, 75))
    assert same(onelayer.compile(Smaller(), fullgraph=True)(picture(60, 75)), Smaller()(picture(60, 75)))
    with pytest.raises(onelayer.OnelayerError, match="has its own __call__"):
        onelayer.compile(Mirrored(30), fullgraph=True)(picture(60, 75))


def test_nothing_is_drawn() -> None:
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is watched
    before = random.getstate(), torch.random.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    for name in CONFIGURATIONS:
        onelayer.compile(made(name))(picture(60, 75))
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert str(np.random.get_state()) == before[2]  # noqa: NPY002


@pytest.fixture
def configurations(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from front_ends import timm_configurations

    return timm_configurations()


@pytest.mark.exhaustive
def test_every_configuration_of_the_registry(configurations: Any) -> None:
    assert len(configurations) > 150
    generator = random.Random(3)
    for configuration in configurations:
        original = create_transform(**dict(configuration))
        layer = onelayer.compile(original, fullgraph=True)
        for _ in range(2):
            image = picture(generator.randint(2, 700), generator.randint(2, 700))
            assert isinstance(layer._of_any_size(image), AnySizePipeline), configuration
            assert same(layer(image), original(image)), (configuration, image)
