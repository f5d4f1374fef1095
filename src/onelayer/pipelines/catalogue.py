"""Build the report's pipeline and the everyday pipelines of image models from torchvision transforms.

Each takes a float tensor in [0, 1], a uint8 tensor or a PIL image, of any size that its steps can take, and resizes
before it converts to floating point, as the pipelines that it reproduces do. Those of torchvision are its own
``weights.transforms()``; building these downloads nothing. The sources of the others are named at each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torchvision import models
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from onelayer.frontends import Transform
from onelayer.pipelines.fitting import PadTo, ResizeLongSide
from onelayer.records import Shape

PHOTOGRAPH: Shape = (3, 375, 500)
"""The most common size of ImageNet's photographs, landscape."""


@dataclass(frozen=True)
class Entry:
    """A pipeline of the catalogue.

    Args:
        description: Model and transforms, in one line.
        build: Constructor of the transform.
        shape: Channels, height and width of the usual images.
    """

    description: str
    build: Callable[[], Transform]
    shape: Shape = PHOTOGRAPH


Numbers = tuple[float, ...]

_IMAGENET: tuple[Numbers, Numbers] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES: tuple[Numbers, Numbers] = ((0.5,) * 3, (0.5,) * 3)
# openai/CLIP, clip/clip.py
_CLIP: tuple[Numbers, Numbers] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_MNIST: tuple[Numbers, Numbers] = ((0.1307,), (0.3081,))
_CIFAR10: tuple[Numbers, Numbers] = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
# The mean of ImageNet in blue, green, red and in grey levels, as in keras.applications.imagenet_utils.
_CAFFE_MEAN = (103.939, 116.779, 123.68)


def _normalised(steps: Sequence[Transform], statistics: tuple[Numbers, Numbers]) -> v2.Compose:
    mean, std = statistics
    return v2.Compose(
        [v2.ToImage(), *steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    )


def _resized(size: int | list[int], interpolation: Literal["bilinear", "bicubic"]) -> v2.Resize:
    return v2.Resize(size, interpolation=v2.InterpolationMode(interpolation), antialias=True)


def _cropped(
    resize: int, crop: int, interpolation: Literal["bilinear", "bicubic"], statistics: tuple[Numbers, Numbers]
) -> v2.Compose:
    return _normalised([_resized(resize, interpolation), v2.CenterCrop(crop)], statistics)


def _squashed(interpolation: Literal["bilinear", "bicubic"]) -> v2.Compose:
    return _normalised([_resized([224, 224], interpolation)], _HALVES)


def report_transform() -> v2.Compose:
    """Build the report's chain: resize to 28×28 (bilinear, antialias), grayscale, horizontal flip, vertical flip."""
    return v2.Compose(
        [
            v2.Resize((28, 28), antialias=True),
            v2.Grayscale(),
            v2.RandomHorizontalFlip(p=1),
            v2.RandomVerticalFlip(p=1),
        ]
    )


def _keras_caffe() -> v2.Compose:
    """Build blue, green, red minus their means, in grey levels: (x − m/255) / (1/255) is 255·x − m."""
    reverse = partial(F.permute_channels, permutation=[2, 1, 0])
    return _normalised([reverse], (tuple(mean / 255 for mean in _CAFFE_MEAN), (1 / 255,) * 3))


def _letterbox() -> v2.Compose:
    """Build the ``LetterBox`` of ultralytics with ``auto=False``, then /255."""
    return v2.Compose(
        [
            v2.ToImage(),
            ResizeLongSide(640, antialias=False),
            PadTo(640, fill=114),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def _sam() -> v2.Compose:
    """Build ``ResizeLongestSide`` and ``Sam.preprocess`` of segment-anything: the zeros come after normalising."""
    normalised = _normalised([ResizeLongSide(1024, halves="up")], _IMAGENET)
    return v2.Compose([*normalised.transforms, PadTo(1024, fill=0, place="top-left")])


def _medical() -> v2.Compose:
    """Build a square from the middle of a photograph of the skin, 224×224, grey, 0 … 1."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.CenterCrop(450),
            _resized([224, 224], "bilinear"),
            v2.Grayscale(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


CATALOGUE: dict[str, Entry] = {
    "report": Entry("the report: resize 28×28, bilinear, one channel, both flips", report_transform, (3, 32, 32)),
    "resnet50": Entry(
        "torchvision's ResNet-50, IMAGENET1K_V2: resize 232, crop 224, bilinear",
        models.ResNet50_Weights.IMAGENET1K_V2.transforms,
    ),
    "vit-b-16": Entry(
        "torchvision's ViT-B/16, IMAGENET1K_V1: resize 256, crop 224, bilinear",
        models.ViT_B_16_Weights.IMAGENET1K_V1.transforms,
    ),
    "swin-t": Entry(
        "torchvision's Swin-T, IMAGENET1K_V1: resize 232, crop 224, bicubic",
        models.Swin_T_Weights.IMAGENET1K_V1.transforms,
    ),
    "efficientnet-b0": Entry(
        "torchvision's EfficientNet-B0, IMAGENET1K_V1: resize 256, crop 224, bicubic",
        models.EfficientNet_B0_Weights.IMAGENET1K_V1.transforms,
    ),
    "efficientnet-v2-s": Entry(
        "torchvision's EfficientNetV2-S, IMAGENET1K_V1: resize 384, crop 384, bilinear",
        models.EfficientNet_V2_S_Weights.IMAGENET1K_V1.transforms,
    ),
    "convnext-tiny": Entry(
        "torchvision's ConvNeXt-Tiny, IMAGENET1K_V1: resize 236, crop 224, bilinear",
        models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1.transforms,
    ),
    "timm-resnet50-a1": Entry(
        "timm's resnet50.a1_in1k: resize 235, crop 224, bicubic", lambda: _cropped(235, 224, "bicubic", _IMAGENET)
    ),
    "timm-vit": Entry(
        "timm's usual ViT: resize 248, crop 224, bicubic, to [−1, 1]", lambda: _cropped(248, 224, "bicubic", _HALVES)
    ),
    "clip": Entry(
        "CLIP: resize 224, crop 224, bicubic, its own mean and deviation", lambda: _cropped(224, 224, "bicubic", _CLIP)
    ),
    "dinov2": Entry("DINOv2: resize 256, crop 224, bicubic", lambda: _cropped(256, 224, "bicubic", _IMAGENET)),
    "siglip": Entry("SigLIP-B/16: squash to 224×224, bicubic, to [−1, 1]", lambda: _squashed("bicubic")),
    "hf-vit": Entry(
        "Hugging Face's ViTImageProcessor: squash to 224×224, bilinear, to [−1, 1]", lambda: _squashed("bilinear")
    ),
    "mnist": Entry("MNIST: normalise with its mean and deviation", lambda: _normalised([], _MNIST), (1, 28, 28)),
    "cifar10": Entry(
        "CIFAR-10: pad 4, crop 32 from the middle, normalise",
        lambda: _normalised([v2.Pad(4), v2.CenterCrop(32)], _CIFAR10),
        (3, 32, 32),
    ),
    "keras-tf": Entry("Keras, mode tf: to [−1, 1]", lambda: _normalised([], _HALVES), (3, 224, 224)),
    "keras-caffe": Entry("Keras, mode caffe: BGR minus its mean, in grey levels", _keras_caffe, (3, 224, 224)),
    "yolo": Entry(
        "YOLO's letterbox: long side 640, bilinear without antialias, padded to 640×640 with grey 114",
        _letterbox,
        (3, 720, 1280),
    ),
    "sam": Entry("SAM: long side 1024, bilinear, normalise, padded to 1024×1024 at the bottom and the right", _sam),
    "medical": Entry(
        "skin photographs: crop 450 from the middle, resize 224, bilinear, one channel", _medical, (3, 450, 600)
    ),
}
"""Pipelines by name."""
