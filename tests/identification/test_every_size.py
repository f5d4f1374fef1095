"""Functions that are only called, identified for images of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2

import onelayer
from onelayer.algebra.operator import Shape
from onelayer.any_size import AnySizePipeline
from onelayer.identification.size_rules import (
    SizeRule,
    WindowBorder,
    WindowCrop,
    WindowRule,
    resize_arguments,
    size_rules,
    window_rules,
)
from onelayer.image_spec import ImageSpec

SIZES = [(45, 60), (65, 40), (33, 50)]
UNSEEN = [(71, 38), (40, 41), (30, 77), (52, 52)]
NORMALIZED = [
    v2.PILToTensor(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
]


def pictures(mode: str = "RGB") -> list[Any]:
    return [PIL.Image.new(mode, (width, height)) for height, width in SIZES]


def specs(dtype: Any, container: Any = "tensor") -> list[ImageSpec]:
    return [ImageSpec((3, *size), dtype, container) for size in SIZES]


def image_like(example: Any, size: tuple[int, int]) -> Any:
    generator = np.random.default_rng(size[0])
    levels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    if isinstance(example, PIL.Image.Image):
        return PIL.Image.fromarray(levels).convert(example.mode)
    if isinstance(example, np.ndarray):
        return levels
    pixels = torch.from_numpy(levels).movedim(-1, 0)
    return pixels if example.dtype == "uint8" else pixels / 255


def check(function: Callable[[Any], Any], examples: list[Any], tolerance: float = 0.0) -> onelayer.IdentifiedPipeline:
    """Identify a function, and compare it with its layer at sizes of which the identification knows nothing."""
    found = onelayer.identify(lambda image: function(image), examples)
    layer = found.layer()
    assert found.largest_error <= tolerance
    assert len(found.held_out) > 4
    assert not set(found.held_out) & set(found.examples)
    for size in UNSEEN:
        image = image_like(examples[0], size)
        ours, theirs = layer(image), function(image)
        assert type(ours) is type(theirs)
        one, another = (np.asarray(each, np.float64) for each in (ours, theirs))
        assert one.shape == another.shape
        assert np.abs(one - another).max() <= tolerance, size
        if not isinstance(image, np.ndarray):
            assert isinstance(layer._of_any_size(image), AnySizePipeline)
    return found


def test_the_short_side_a_crop_and_a_normalization() -> None:
    found = check(v2.Compose([v2.Resize(32), v2.CenterCrop(28), *NORMALIZED]), pictures())
    assert found.description["resize"] == "short side to 32; the other is length·target/side, cut off"
    assert found.description["filter"] == "bilinear antialias, of its container"
    assert found.description["values"].endswith("deviations 0.229, 0.224, 0.225")
    assert [type(step).__name__ for step in found.transform.transforms][:2] == ["Resize", "CenterCrop"]
    assert "28×28" in str(found)
    assert found.transform.transforms[0].size == [32]


def test_the_long_side_within_a_border() -> None:
    def function(image: Any) -> Any:
        width, height = image.size
        ratio = 32 / max(width, height)
        resized = image.resize((round(width * ratio), round(height * ratio)), PIL.Image.Resampling.BICUBIC)
        whole = PIL.Image.new("RGB", (32, 32), (114, 20, 200))
        whole.paste(resized, (-(-(32 - resized.width) // 2), -(-(32 - resized.height) // 2)))
        return f1.to_tensor(whole)

    found = check(function, pictures())
    assert found.description["resize"].startswith("long side to 32; the other is")
    assert found.description["window"].endswith("borders rounded up")


def test_a_squash_of_floats_up_to_rounding() -> None:
    function = v2.Compose([v2.Resize((24, 30)), v2.Normalize([0.5] * 3, [0.25] * 3)])
    found = check(function, specs("float32"), tolerance=1e-5)
    assert found.description["resize"] == "squash to 24×30"


def _floored(image: Any) -> Any:
    width, height = image.size
    scale = 32 / min(width, height)
    image = image.resize((int(width * scale + 0.5), int(height * scale + 0.5)), PIL.Image.Resampling.BICUBIC)
    left, top = (image.width - 24) // 2, (image.height - 24) // 2
    image = image.crop((left, top, left + 24, top + 24)).transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy((np.asarray(image).astype(np.float32) / 127.5 - 1).transpose(2, 0, 1).copy())


def _below_and_right(image: Any) -> Any:
    pixels = v2.Compose([v2.Resize(24, max_size=36), *NORMALIZED])(image)
    return f1.pad(pixels, [0, 0, 40 - pixels.shape[2], 40 - pixels.shape[1]])


MORE: dict[str, tuple[Callable[[Any], Any], list[Any], str, str]] = {
    "half up, floor, flipped": (_floored, pictures(), "length·target/side, half up", "crops rounded down"),
    "capped": (_below_and_right, pictures(), "short side to 24, long side at most 36", "borders at the start"),
    "only a crop": (v2.Compose([v2.CenterCrop(30), v2.PILToTensor()]), pictures(), "none", "30×30"),
    "blue first": (
        lambda image: f1.pil_to_tensor(image.resize((20, 30))).flip(0).float(),
        pictures(),
        "squash",
        "none",
    ),
    "Pillow in between": (
        lambda array: np.asarray(PIL.Image.fromarray(array).resize((20, 30), PIL.Image.Resampling.LANCZOS)),
        [np.zeros((*size, 3), np.uint8) for size in SIZES],
        "squash to 30×20",
        "none",
    ),
    "torchvision v1": (v1.Resize(24, v1.InterpolationMode.BICUBIC), specs("uint8"), "short side to 24", "none"),
    "not antialiased": (v2.Resize(24, antialias=False), specs("uint8"), "short side to 24", "none"),
    "gray pictures": (v2.Compose([v2.Resize(24), v2.PILToTensor()]), pictures("L"), "short side to 24", "none"),
    "not square": (v2.Compose([v2.Resize(None, max_size=30), *NORMALIZED]), pictures(), "long side to 30", "none"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MORE)
def test_more_functions(name: str) -> None:
    function, examples, resize, window = MORE[name]
    found = check(function, examples)
    assert resize in found.description["resize"]
    assert window in found.description["window"]


def test_what_no_rule_explains_is_refused_with_what_was_seen() -> None:
    def halved(image: Any) -> Any:
        return image.resize((image.width // 2, image.height // 3), PIL.Image.Resampling.BILINEAR)

    with pytest.raises(onelayer.NotAffineError, match=r"no known rule explains the resizes.*45×60: bilinear .*45→15"):
        onelayer.identify(halved, pictures())


def test_a_function_that_is_another_beyond_the_examples_is_refused() -> None:
    def function(image: Any) -> Any:
        is_known = image.size in [(width, height) for height, width in SIZES]
        return image.resize((20, 30), PIL.Image.Resampling.BILINEAR if is_known else PIL.Image.Resampling.BICUBIC)

    with pytest.raises(onelayer.NotAffineError, match=r"at other sizes nothing gives the same.*to 30×20.*off by"):
        onelayer.identify(function, pictures())


def test_a_function_that_takes_only_the_examples_is_refused() -> None:
    def function(image: Any) -> Any:
        if image.size not in [(width, height) for height, width in SIZES]:
            raise ValueError(image.size)
        return image.resize((20, 30))

    with pytest.raises(onelayer.NotAffineError, match="the function takes 0 of the other sizes"):
        onelayer.identify(function, pictures())


@pytest.mark.parametrize(
    ("function", "examples", "problem"),
    [
        (lambda image: image.convert("L").resize((20, 20)), pictures(), "it mixes channels"),
        (v2.Resize(20), pictures()[:1], "1 examples of 1 kinds"),
        (v2.Resize(20), [*pictures()[:2], *pictures()[:1]], "3 examples of 1 kinds"),
        (v2.Resize(20), [*pictures()[:2], *pictures("L")[2:]], "3 examples of 2 kinds"),
        pytest.param(
            v2.Compose([v2.CenterCrop(30), v2.Resize(15)]),
            pictures(),
            "it crops before it resizes",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            v2.Pad(2, padding_mode="reflect"), pictures(), "it pads with reflect", marks=pytest.mark.exhaustive
        ),
    ],
    ids=["gray", "one size", "one twice", "two kinds", "crop first", "reflected"],
)
def test_refusals(function: Callable[[Any], Any], examples: list[Any], problem: str) -> None:
    with pytest.raises(onelayer.OnelayerError, match=problem):
        onelayer.identify(lambda image: function(image), examples)


# --- rules ----------------------------------------------------------------------------------------------------------

RULES = [
    SizeRule("squash", 30, 40),
    SizeRule("cover", 32, 32),
    SizeRule("cover", 32, 32, most=50),
    SizeRule("fit", 64, 64),
    SizeRule("fit", 64, 64, "length/(side/target)", "half to even"),
    SizeRule("cover", 30, 44, "length·(target/side)", "half up"),
    SizeRule("unchanged"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rule_is_among_those_that_explain_it(rule: SizeRule) -> None:
    sizes: list[tuple[int, int]] = [(90, 120), (130, 80), (67, 101), (33, 200), (100, 100)]
    explained = size_rules({size: rule(*size) for size in sizes})
    assert rule in explained
    assert all(other(*size) == rule(*size) for other in explained for size in sizes)


def test_rules_are_torchvisions_where_it_has_them() -> None:
    generator = np.random.default_rng(0)
    for rule in RULES:
        arguments = resize_arguments(rule)
        for height, width in generator.integers(5, 300, (50, 2)) if arguments is not None else ():
            shape: Shape = (1, int(height), int(width))
            resized = v2.Resize(**arguments)(torch.zeros(shape, dtype=torch.uint8))  # type: ignore[arg-type]
            assert tuple(resized.shape[1:]) == rule(*shape[1:]), (rule, shape)


@pytest.mark.parametrize(
    "rule",
    [
        WindowRule("whole"),
        WindowRule("square", pad="rounded up"),
        WindowRule("fixed", 40, 33, "rounded down", "at the start"),
        WindowRule("fixed", 40, 33, "half to even", "rounded down"),
    ],
    ids=str,
)
def test_windows(rule: WindowRule) -> None:
    sizes = [(90, 120), (30, 20), (67, 21), (33, 200), (40, 33)]
    seen = [(size, rule.starts(*size), rule.size(*size)) for size in sizes]
    assert rule in window_rules(seen)
    for height, width in sizes:
        image = torch.arange(1, height * width + 1).reshape(1, height, width)
        top, left, kept_height, kept_width = WindowCrop(rule)(height, width)
        cropped = v2.functional.crop(image, top, left, kept_height, kept_width)
        padded = v2.functional.pad(cropped, list(WindowBorder(rule)(kept_height, kept_width)))
        assert tuple(padded.shape[1:]) == rule.size(height, width)
        first_row, first_col = rule.starts(height, width)
        assert padded[0, max(-first_row, 0), max(-first_col, 0)] == image[0, max(first_row, 0), max(first_col, 0)]
        if rule.is_centre_crop:
            assert torch.equal(padded, v2.CenterCrop((40, 33))(image))
