"""Random cases for each kind of rounding: a transform and an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import AxisMap
from onelayer.frontends.torchvision.resize import resizes_bytes
from onelayer.frontends.torchvision.rounding_rules import TORCH_BYTES, tensors_have_lanczos
from onelayer.image_spec import RoundingMode
from onelayer.pipelines.training import installed_recipes
from onelayer.selfcheck.contents import Bytes, Size, as_pil, as_tensor, length, pixels, size
from onelayer.selfcheck.thresholds import lines_at_thresholds

_LONGEST = 96
_ANTIALIASED = ("bilinear", "bicubic", "lanczos")
_OF_PILLOW = (*_ANTIALIASED, "box", "hamming")
_OF_TENSORS = _ANTIALIASED if tensors_have_lanczos() else _ANTIALIASED[:2]
_SELECTED = tuple(kind for kind in _ANTIALIASED[:2] if resizes_bytes(kind))
"""Interpolations that are known bit for bit here without antialiasing: those that need no float32."""


@dataclass(frozen=True)
class Case:
    """A transform of torchvision and an image.

    Args:
        transform: The transform.
        image: A tensor or a PIL image.
        rounding: ``exact`` where the layer has the original's bits; ``fused`` where it has its values up to float32
            rounding, and the bits of its own program.
        others: Other parts of the sample, behind the image.
        state: Name of the state that PyTorch is in; see :data:`onelayer.selfcheck.pieces.STATES`.
        is_whole: Whether the transform is to be compiled as a whole.
        seed: Seed of the numbers that the transform draws.
    """

    transform: Any
    image: Any
    rounding: RoundingMode = "exact"
    others: tuple[Any, ...] = ()
    state: str = "usual"
    is_whole: bool = True
    seed: int = 1


Family = Callable[[Generator], Case]


def _mode(name: str) -> v2.InterpolationMode:
    return v2.InterpolationMode(name)


def _image(rng: Generator, channels: int | None = None) -> Bytes:
    return pixels(rng, channels or int(rng.choice([1, 3])), size(rng, _LONGEST))


def _resized_size(rng: Generator, before: Size) -> list[int]:
    """Draw height and width to resize to, of which one stays at times; never 1×1, at which PyTorch crashes."""
    height, width = (length(rng, _LONGEST) if rng.random() < 0.85 else old for old in before)
    return [height, max(width, 2)]


def torch_resize_of_bytes(rng: Generator) -> Case:
    """Draw a resize in PyTorch's fixed point, with antialiasing or without."""
    image = _image(rng, int(rng.integers(1, 5)))
    antialias = rng.random() < 0.7
    kind = str(rng.choice(_OF_TENSORS if antialias else _SELECTED))
    resize = v2.Resize(_resized_size(rng, image.shape[1:]), _mode(kind), antialias=antialias)
    return Case(resize, as_tensor(rng, image))


def torch_resize_in_float32(rng: Generator) -> Case:
    """Draw a resize through float32, as v1 and the presets do with tensors, or of a float32 image."""
    image = _image(rng)
    to = _resized_size(rng, image.shape[1:])
    mode = _mode(str(rng.choice(_ANTIALIASED[:2])))
    tensor = as_tensor(rng, image)
    if rng.random() < 0.5:
        return Case(v1.Resize(to, mode, antialias=True), tensor.as_subclass(torch.Tensor))
    return Case(v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Resize(to, mode, antialias=True)]), tensor)


def pillow_resize(rng: Generator) -> Case:
    """Draw a resize in Pillow's fixed point, in the order of passes of its version."""
    image = _image(rng)
    library = v1 if rng.random() < 0.5 else v2
    kind = str(rng.choice(_OF_PILLOW))
    return Case(library.Resize(_resized_size(rng, image.shape[1:]), _mode(kind)), as_pil(image))


def luma(rng: Generator) -> Case:
    """Draw a grayscale: v1's or v2's of a tensor, or Pillow's."""
    image = _image(rng, 3)
    library = v1 if rng.random() < 0.5 else v2
    transform = library.Grayscale(int(rng.choice([1, 3])))
    if rng.random() < 0.4:
        return Case(transform, as_pil(image))
    tensor = as_tensor(rng, image)
    return Case(transform, tensor.as_subclass(torch.Tensor) if library is v1 else tensor)


def _numbers(rng: Generator, channels: int) -> list[float]:
    return [float(number) for number in np.round(rng.uniform(0.1, 0.9, channels), int(rng.integers(1, 9)))]


def conversion(rng: Generator) -> Case:
    """Draw a conversion of bytes to floating point numbers, normalised or not."""
    image = _image(rng)
    normalise = [(_numbers(rng, len(image)), _numbers(rng, len(image)))] if rng.random() < 0.7 else []
    if rng.random() < 0.4:
        return Case(v1.Compose([v1.ToTensor(), *(v1.Normalize(*numbers) for numbers in normalise)]), as_pil(image))
    scaled = v2.ToDtype(torch.float32, scale=True) if rng.random() < 0.7 else v2.ConvertImageDtype(torch.float32)
    return Case(v2.Compose([scaled, *(v2.Normalize(*numbers) for numbers in normalise)]), as_tensor(rng, image))


def function_of_values(rng: Generator) -> Case:
    """Draw a function that acts on every byte alone."""
    image = _image(rng)
    is_pil = rng.random() < 0.5
    functions = f1 if rng.random() < 0.5 else f2
    transform = _function_of_values(rng, functions)
    tensor = as_tensor(rng, image)
    return Case(transform, as_pil(image) if is_pil else tensor.as_subclass(torch.Tensor))


def _function_of_values(rng: Generator, functions: Any) -> Any:
    drawn: list[Callable[[], Any]] = [
        lambda: functions.invert,
        lambda: partial(functions.solarize, threshold=int(rng.integers(0, 256))),
        lambda: partial(functions.posterize, bits=int(rng.integers(1, 9))),
        lambda: partial(functions.adjust_brightness, brightness_factor=float(rng.uniform(0, 2))),
        lambda: partial(functions.adjust_gamma, gamma=float(rng.uniform(0.3, 3))),
    ]
    return drawn[rng.integers(len(drawn))]()


def copying(rng: Generator) -> Case:
    """Draw crops, flips, padding and nearest neighbours."""
    image = _image(rng)
    is_pil = rng.random() < 0.5
    transform = _copies(rng, int(rng.integers(1, 4)))
    return Case(v2.Compose(transform), as_pil(image) if is_pil else as_tensor(rng, image))


def _copies(rng: Generator, count: int) -> list[Any]:
    drawn: list[Callable[[], Any]] = [
        lambda: v2.CenterCrop([length(rng, _LONGEST), length(rng, _LONGEST)]),
        lambda: v2.RandomHorizontalFlip(p=1),
        lambda: v2.RandomVerticalFlip(p=1),
        lambda: v2.Pad([int(n) for n in rng.integers(0, 9, 4)], fill=int(rng.integers(0, 256))),
        lambda: v2.Resize([length(rng, 40), length(rng, 40)], v2.InterpolationMode.NEAREST),
    ]
    return [drawn[rng.integers(len(drawn))]() for _ in range(count)]


def pipeline(rng: Generator) -> Case:
    """Draw a pipeline of all of these."""
    image = _image(rng, 3 if rng.random() < 0.8 else 1)
    is_pil = rng.random() < 0.5
    kind = str(rng.choice(_ANTIALIASED if is_pil else _OF_TENSORS))
    short, (height, width) = length(rng, _LONGEST) + 1, image.shape[1:]
    # The short side of very long images would make them very large.
    proportionate = max(height, width) <= 8 * min(height, width)
    resize = short if proportionate else [short, short]
    steps: list[Any] = [*_copies(rng, int(rng.integers(0, 2))), v2.Resize(resize, _mode(kind))]
    if rng.random() < 0.1:
        steps.append(v2.Resize([length(rng, 40) + 1] * 2, _mode(kind)))
    steps += _copies(rng, int(rng.integers(0, 3)))
    channels = len(image)
    if rng.random() < 0.3:
        channels = int(rng.choice([1, 3]))
        steps.insert(int(rng.integers(len(steps) + 1)), v2.Grayscale(channels))
    if rng.random() < 0.15:
        steps.append(_function_of_values(rng, f2))
    if rng.random() < 0.7:
        if rng.random() < 0.3 and is_pil:
            steps.append(v1.ToTensor())
        else:
            steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        steps.append(v2.Normalize(_numbers(rng, channels), _numbers(rng, channels)))
        steps += _copies(rng, int(rng.integers(0, 2)))
    return Case(v2.Compose(steps), as_pil(image) if is_pil else as_tensor(rng, image))


def preset(rng: Generator) -> Case:
    """Draw a preset of torchvision's weights, for a tensor or a PIL image."""
    image = _image(rng, 3)
    short = length(rng, _LONGEST) + 1
    kind = _mode(str(rng.choice(_ANTIALIASED[:2])))
    height, width = image.shape[1:]
    if max(height, width) > 8 * min(height, width):
        image = image[:, : min(height, 8), : min(width, 8)]
    transform = ImageClassification(crop_size=length(rng, short), resize_size=short, interpolation=kind)
    is_pil = rng.random() < 0.5
    return Case(transform, as_pil(image) if is_pil else as_tensor(rng, image).as_subclass(torch.Tensor))


def float_pipeline(rng: Generator) -> Case:
    """Draw a pipeline of floating point tensors, with one resize of any kind."""
    image = _image(rng)
    antialias = rng.random() < 0.7
    kind = str(rng.choice([*_OF_TENSORS, "nearest"] if antialias else ["bilinear", "bicubic", "nearest-exact"]))
    resize = v2.Resize(_resized_size(rng, image.shape[1:]), _mode(kind), antialias=antialias)
    steps: list[Any] = [resize, *_float_copies(rng, int(rng.integers(0, 3)))]
    if rng.random() < 0.3:
        steps.insert(0, v2.CenterCrop([length(rng, side) for side in image.shape[1:]]))
    channels = len(image)
    if rng.random() < 0.3:
        channels = int(rng.choice([1, 3]))
        steps.insert(int(rng.integers(len(steps) + 1)), v2.Grayscale(channels))
    if rng.random() < 0.7:
        steps.append(v2.Normalize(_numbers(rng, channels), _numbers(rng, channels)))
    return Case(v2.Compose(steps), v2.functional.to_dtype(as_tensor(rng, image), torch.float32, scale=True), "fused")


def _float_copies(rng: Generator, count: int) -> list[Any]:
    drawn: list[Callable[[], Any]] = [
        lambda: v2.CenterCrop([length(rng, _LONGEST), length(rng, _LONGEST)]),
        lambda: v2.RandomHorizontalFlip(p=1),
        lambda: v2.RandomVerticalFlip(p=1),
        lambda: v2.Pad([int(n) for n in rng.integers(0, 9, 4)], fill=float(rng.choice([0.0, 0.5, -1.25]))),
    ]
    return [drawn[rng.integers(len(drawn))]() for _ in range(count)]


def _sizes_at_thresholds(rng: Generator) -> tuple[int, int]:
    """Draw the lengths of an axis before and after, which differ."""
    n_in, n_out = 1 + length(rng, _LONGEST), 1 + length(rng, 40)
    return n_in, n_out + (n_in == n_out)


def _one_axis(rng: Generator, lines: Bytes, channels: int, n_out: int) -> tuple[Bytes, list[int]]:
    """Make an image of lines along its rows or its columns, and the size that resizes them alone."""
    image = np.stack([np.roll(lines, channel, axis=0) for channel in range(channels)])
    if rng.random() < 0.5:
        return image, [len(lines), n_out]
    return np.ascontiguousarray(image.swapaxes(1, 2)), [n_out, len(lines)]


def pillow_threshold(rng: Generator) -> Case:
    """Draw a resize by Pillow along an axis, at the thresholds of its sums."""
    n_in, n_out = _sizes_at_thresholds(rng)
    kind: Any = rng.choice(_OF_PILLOW)
    lines = lines_at_thresholds(rng, AxisMap.resample(n_in, n_out, str(kind), True), None)  # type: ignore[arg-type]
    image, to = _one_axis(rng, lines, int(rng.choice([1, 3])), n_out)
    # Small images that stay PIL images would be left to Pillow.
    return Case(v2.Compose([v2.Resize(to, _mode(str(kind))), v2.ToImage()]), as_pil(image))


def torch_threshold(rng: Generator) -> Case:
    """Draw a resize of bytes by PyTorch along an axis, at the thresholds of its sums."""
    n_in, n_out = _sizes_at_thresholds(rng)
    antialias = rng.random() < 0.7
    kind: Any = str(rng.choice(_OF_TENSORS if antialias else _SELECTED))
    lines = lines_at_thresholds(rng, AxisMap.resample(n_in, n_out, kind, antialias), TORCH_BYTES.limit)
    image, to = _one_axis(rng, lines, int(rng.integers(1, 5)), n_out)
    return Case(v2.Resize(to, _mode(kind), antialias=antialias), as_tensor(rng, image))


def float32_weights(rng: Generator) -> Case:
    """Draw a resize in float32 along an axis, of lines with a single one in them: the result is the weights."""
    n_in, n_out = _sizes_at_thresholds(rng)
    image, to = _one_axis(rng, 255 * np.eye(n_in, dtype=np.uint8), 1, n_out)
    resize = v2.Resize(to, _mode(str(rng.choice(_ANTIALIASED[:2]))), antialias=True)
    return Case(v2.Compose([v2.ToDtype(torch.float32, scale=True), resize]), as_tensor(rng, image))


def augmentation(rng: Generator) -> Case:
    """Draw random crops, flips, resizes and borders, as for training."""
    image = _image(rng, 3)
    is_pil = rng.random() < 0.5
    # The transforms of v1 take no tensors that are none any more.
    library: Any = v1 if is_pil and rng.random() < 0.5 else v2
    steps = [_random_geometry(rng, library) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.7:
        floats = [v1.ToTensor()] if library is v1 else [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        steps += [*floats, library.Normalize(_numbers(rng, 3), _numbers(rng, 3))]
    made = as_pil(image) if is_pil else as_tensor(rng, image)
    return Case(library.Compose(steps), made, is_whole=False, seed=int(rng.integers(1 << 31)))


def random_colors(rng: Generator) -> Case:
    """Draw random changes of colors, among crops and flips."""
    image = _image(rng, 3 if rng.random() < 0.8 else 1)
    is_pil = rng.random() < 0.6
    library: Any = v1 if rng.random() < 0.5 else v2
    steps = [_random_color(rng, library) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.3:
        steps.insert(0, _random_geometry(rng, library))
    tensor = as_tensor(rng, image)
    made = as_pil(image) if is_pil else tensor.as_subclass(torch.Tensor) if library is v1 else tensor
    return Case(library.Compose(steps), made, is_whole=False, seed=int(rng.integers(1 << 31)))


def _random_color(rng: Generator, library: Any) -> Any:
    widths = [float(number) for number in rng.choice([0, 0.1, 0.4, 1.5], 3)]
    hue, p = float(rng.choice([0, 0.1, 0.5])), float(rng.choice([0, 0.5, 1]))
    number = float(rng.choice([0, 1, 0.3, 2.5]))
    drawn: list[Callable[[], Any]] = [
        lambda: library.ColorJitter(*widths, hue),
        lambda: library.ColorJitter(*widths),
        lambda: library.RandomGrayscale(p),
        lambda: library.RandomInvert(p),
        lambda: library.RandomPosterize(int(rng.integers(1, 9)), p),
        lambda: library.RandomSolarize(int(rng.integers(0, 256)), p),
        lambda: library.RandomAutocontrast(p),
        lambda: library.RandomEqualize(p),
        lambda: library.RandomAdjustSharpness(number, p),
        lambda: library.RandomApply([library.ColorJitter(*widths, hue)], p),
        lambda: library.RandomOrder([library.RandomEqualize(p), library.ColorJitter(*widths)]),
    ]
    return drawn[rng.integers(len(drawn))]()


def _random_geometry(rng: Generator, library: Any) -> Any:
    kind = _mode(str(rng.choice(_ANTIALIASED[:2])))
    low, high = sorted(float(number) for number in rng.uniform(0.01, 1, 2))
    sizes = [length(rng, 40) + 1, length(rng, 40) + 1]
    padding = [None, int(rng.integers(0, 9)), [int(number) for number in rng.integers(0, 9, 4)]]
    fill, border = int(rng.integers(0, 256)), str(rng.choice(["edge", "reflect", "symmetric"]))
    drawn: list[Callable[[], Any]] = [
        lambda: library.RandomResizedCrop(sizes, (low, high), (low, 1 / low), kind),
        lambda: library.RandomResizedCrop(sizes, interpolation=kind),
        lambda: library.RandomCrop(sizes, padding[rng.integers(3)], bool(rng.random() < 0.7), fill),
        lambda: library.RandomCrop(sizes, padding[rng.integers(3)], bool(rng.random() < 0.7), padding_mode=border),
        lambda: library.RandomHorizontalFlip(float(rng.choice([0, 0.5, 1]))),
        lambda: library.RandomVerticalFlip(float(rng.random())),
    ]
    if library is v2:
        drawn += [
            lambda: v2.RandomResize(min(sizes), max(sizes) + 1, interpolation=kind),
            lambda: v2.RandomShortestSize(sizes, max_size=_LONGEST, interpolation=kind),
            lambda: v2.ScaleJitter((sizes[0], sizes[1]), interpolation=kind),
            lambda: v2.RandomZoomOut(fill, (1.0, 1 + 2 * high)),
        ]
    return drawn[rng.integers(len(drawn))]()


def recipe(rng: Generator) -> Case:
    """Draw a whole recipe for training, for a PIL image."""
    recipes = installed_recipes()
    transform = recipes[str(rng.choice(list(recipes)))](int(rng.integers(8, 49)))
    return Case(transform, as_pil(_image(rng, 3)), is_whole=False, seed=int(rng.integers(1 << 31)))


def policy(rng: Generator) -> Case:
    """Draw a policy, a rotation or another warp, or an erased rectangle."""
    image = _image(rng)
    is_pil = rng.random() < 0.7
    library: Any = v1 if rng.random() < 0.5 else v2
    made = as_pil(image) if is_pil else as_tensor(rng, image).as_subclass(torch.Tensor)
    steps = [_policy_step(rng, library, is_pil)]
    if rng.random() < 0.3:
        steps.insert(0, library.RandomResizedCrop([length(rng, 60) + 1, length(rng, 60) + 1], antialias=True))
    if rng.random() < 0.3:
        steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        if library is v2:
            steps.append(v2.RandomErasing(float(rng.random()), value=[0, "random", 0.5][rng.integers(3)]))
    return Case(v2.Compose(steps), made, is_whole=False, seed=int(rng.integers(1 << 31)))


def _policy_step(rng: Generator, library: Any, is_pil: bool) -> Any:
    # Torchvision has no bicubic warps of tensors.
    kind = _mode(str(rng.choice(["bilinear", "nearest", "bicubic" if is_pil else "nearest"])))
    fill = int(rng.integers(0, 256))
    angle, share = float(rng.uniform(0, 180)), float(rng.uniform(0, 1))
    bins = int(rng.integers(2, 40))
    drawn: list[Callable[[], Any]] = [
        lambda: library.TrivialAugmentWide(bins, kind, fill),
        lambda: library.RandAugment(int(rng.integers(0, 4)), int(rng.integers(bins)), bins, kind, fill),
        lambda: library.AutoAugment(list(v2.AutoAugmentPolicy)[rng.integers(3)], kind, fill),
        lambda: library.RandomRotation(angle, kind, bool(rng.random() < 0.3), fill=fill),
        lambda: library.RandomAffine(angle, (share, share), (0.3, 2), angle / 4, kind, fill),
        lambda: library.RandomAffine(0, shear=angle / 3, interpolation=kind, fill=fill),
        lambda: library.RandomPerspective(share, 0.8, kind, fill),
    ]
    if not is_pil:
        drawn.append(
            lambda: library.RandomErasing(share, (0.01, 0.01 + 0.9 * share), value=[fill, "random"][rng.integers(2)])
        )
    return drawn[rng.integers(len(drawn))]()
