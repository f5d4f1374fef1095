"""CLIP's preprocessing, of open_clip and of OpenAI, against the originals, bit for bit."""

from __future__ import annotations

import random
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from original_results import assert_equal
from torchvision import transforms as v1
from torchvision.transforms import functional as f1

import onelayer
from onelayer.any_size import AnySizePipeline

pytest.importorskip("open_clip")

from open_clip import transform as open_clip_transform
from open_clip.transform import PreprocessCfg, image_transform, image_transform_v2

SIZES = [(75, 50), (50, 75), (48, 48), (33, 300), (17, 9), (131, 97)]
MODES = ("RGB", "L", "RGBA", "P", "LA", "CMYK", "1")


def _convert_image_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    return image.convert("RGB")


def _of_openai(side: int) -> v1.Compose:
    """Make ``clip.clip._transform``, whose package is in no registry; its function has the name that it has there."""
    function = types.FunctionType(_convert_image_to_rgb.__code__, {}, "_convert_image_to_rgb")
    function.__module__ = "clip.clip"
    function.__qualname__ = "_convert_image_to_rgb"
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return v1.Compose(
        [
            v1.Resize(side, interpolation=v1.InterpolationMode.BICUBIC),
            v1.CenterCrop(side),
            function,
            v1.ToTensor(),
            v1.Normalize(mean, std),
        ]
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "shortest": lambda: image_transform(44, is_train=False),
    "shortest, not square": lambda: image_transform((36, 52), is_train=False),
    "shortest, bilinear": lambda: image_transform(44, is_train=False, interpolation="bilinear", mean=(0.5,), std=0.5),
    "longest": lambda: image_transform(44, is_train=False, resize_mode="longest", fill_color=9),
    "longest, not square": lambda: image_transform((36, 52), is_train=False, resize_mode="longest"),
    "squash": lambda: image_transform(44, is_train=False, resize_mode="squash", interpolation="bilinear"),
    "of a configuration": lambda: image_transform_v2(PreprocessCfg(size=44, resize_mode="longest"), is_train=False),
    "OpenAI": lambda: _of_openai(44),
}


def picture(height: int, width: int, mode: str) -> PIL.Image.Image:
    levels = np.random.default_rng(height * width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    levels[: height // 2] = np.where(levels[: height // 2] < 128, 0, 255)
    image = PIL.Image.fromarray(levels)
    image.info = {"from": "a camera"}
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


@pytest.mark.parametrize("name", PIPELINES)
def test_equal_for_pictures_of_every_mode(name: str) -> None:
    original = PIPELINES[name]()
    layer = onelayer.compile(original)
    for size in SIZES:
        for mode in MODES:
            assert_equal(layer, original, picture(*size, mode))
        pixels = f1.pil_to_tensor(picture(*size, "RGB"))
        for tensor in (pixels, pixels[:1]):
            assert_equal(layer, original, tensor)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_whole_at_every_size(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PIPELINES[name]()
    layer = onelayer.compile(original, fullgraph=True)
    for size in SIZES:
        image = picture(*size, mode)
        assert isinstance(layer._of_any_size(image), AnySizePipeline)
        assert torch.equal(layer.apply_program(image), original(image)), size
        with monkeypatch.context() as patch:
            patch.setattr(onelayer.OneLayer, "_of_one_size", None)
            assert torch.equal(layer(image), original(image)), size


SINGLE = {
    "to RGB": open_clip_transform.MaybeConvertMode(),
    "to luma": open_clip_transform.MaybeConvertMode("L"),
    "to CMYK": open_clip_transform.MaybeConvertMode("CMYK"),
    "to RGB by a function": open_clip_transform._convert_to_rgb,
    "to a tensor": open_clip_transform.MaybeToTensor(),
    "ratio kept": open_clip_transform.ResizeKeepRatio((30, 20), longest=0.4),
    "ratio drawn": open_clip_transform.ResizeKeepRatio(30, random_scale_prob=0.0, random_aspect_prob=0.0),
    "cropped or padded": open_clip_transform.CenterCropOrPad((40, 33), fill=(9, 130, 255)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_transforms_return_what_they_return(name: str) -> None:
    original = SINGLE[name]
    layer = onelayer.compile(original)
    for size in [*SIZES, (30, 20), (40, 33), (1, 1), (1, 90), (80, 2)]:
        pixels = f1.pil_to_tensor(picture(*size, "RGB"))
        for image in (*(picture(*size, mode) for mode in ("RGB", "L", "RGBA")), pixels):
            assert_equal(layer, original, image)


def test_training_is_left_to_open_clip() -> None:
    original = image_transform(44, is_train=True)
    layer, image = onelayer.compile(original), picture(90, 70, "RGB")
    results = []
    for function in (layer, original):
        torch.manual_seed(3)
        results.append(function(image))
    assert torch.equal(*results)


TRAINING: dict[str, dict[str, Any]] = {
    "plain": {},
    "larger crops": {"aug_cfg": {"scale": (0.2, 1.0)}, "mean": (0.5,), "std": 0.5},
    "colors": {"aug_cfg": {"color_jitter": (0.3, 0.3, 0.3, 0.1), "color_jitter_prob": 0.6, "gray_scale_prob": 0.4}},
    "of timm": {"aug_cfg": {"use_timm": True, "re_prob": 0.5}, "interpolation": "random"},
}


@pytest.mark.filterwarnings("ignore:Unused augmentation cfg items")
@pytest.mark.parametrize("name", TRAINING)
def test_training(name: str) -> None:
    if name == "of timm":
        pytest.importorskip("timm")
    original = image_transform(44, is_train=True, **TRAINING[name])
    layer = onelayer.compile(original)
    for size in SIZES:
        for mode in ("RGB", "L") if name == "plain" else ("RGB",):
            image = PIL.Image.effect_noise(size, 80).convert(mode)
            for seed in range(6):
                found = []
                for call in (layer, original):
                    torch.manual_seed(seed)
                    random.seed(seed)
                    found.append((call(image), torch.get_rng_state().tolist(), random.getstate()))
                (ours, *our_states), (theirs, *states) = found
                assert torch.equal(ours, theirs), (size, mode, seed)
                assert our_states == states, (size, mode, seed)
    is_whole = isinstance(layer._of_any_size(PIL.Image.new("RGB", (40, 40))), AnySizePipeline)
    assert is_whole == (name in ("plain", "larger crops"))
    if name == "colors":
        shown = str(onelayer.explain(layer, PIL.Image.effect_noise((60, 50), 80).convert("RGB")))
        assert re.findall(r"(\w+) {2,}kernel ", shown) == ["color_jitter", "gray_scale"]
