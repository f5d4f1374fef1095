"""Functions of colors: our kernels, the formulas in NumPy, and torchvision, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import color_formulas as formulas
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends.torchvision import color_functions as ours
from onelayer.frontends.torchvision.rounding_rules import torch_float32

SIZES = (1, 1), (2, 2), (3, 3), (1, 33), (33, 1), (17, 11), (8, 32), (4, 70), (9, 131)
FACTORS = 0.0, 1.0, 0.5, 0.123, 1.7, 5.5
FUSED = torch_float32().luma_unfused == 0

ROUNDED_IN_PARTS = "adjust_contrast", "adjust_saturation", "adjust_sharpness", "rgb_to_grayscale"
"""Functions of v2 that are left to torchvision where not all numbers of a tensor are rounded alike."""

CONTENTS: dict[str, Callable[[np.random.Generator, tuple[int, int, int]], Any]] = {
    "black": lambda rng, shape: np.zeros(shape),
    "white": lambda rng, shape: np.full(shape, 255),
    "a color": lambda rng, shape: np.broadcast_to(rng.integers(0, 256, shape[2]), shape),
    "two values": lambda rng, shape: rng.choice([3, 250], shape),
    "a slope": lambda rng, shape: np.broadcast_to(np.linspace(0, 255, shape[1])[:, None], shape),
    "few values": lambda rng, shape: rng.integers(100, 110, shape),
    "noise": lambda rng, shape: rng.integers(0, 256, shape),
    "a photograph's": lambda rng, shape: np.clip(rng.normal(128, 40, shape), 0, 255),
}


def picture(content: str, height: int, width: int, channels: int) -> formulas.Bytes:
    made = CONTENTS[content](np.random.default_rng((height, width)), (height, width, channels))
    return np.ascontiguousarray(made.astype(np.uint8))


def pil(pixels: formulas.Bytes) -> PIL.Image.Image:
    return PIL.Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])


def tensors(pixels: formulas.Bytes) -> dict[str, torch.Tensor]:
    """The same picture, in batches with itself upside down, in the layouts that images lie in."""
    side_by_side = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    planes = side_by_side.contiguous()
    wide = torch.nn.functional.pad(planes, (3, 2, 1, 4))
    wide_pixels = torch.from_numpy(np.pad(pixels, ((2, 1), (3, 4), (0, 0)))).permute(2, 0, 1)
    height, width, _ = pixels.shape
    both = torch.stack([planes, planes.flip(-2)])
    return {
        "planes": planes,
        "side by side": side_by_side,
        "a part of planes": wide[:, 1 : 1 + height, 3 : 3 + width],
        "a part of pixels": wide_pixels[:, 2 : 2 + height, 3 : 3 + width],
        "a batch": both,
        "a batch of one": planes[None],
        "channels last": both.contiguous(memory_format=torch.channels_last),
        "five dimensions": planes[None, None],
        "every other column": torch.stack([planes, planes], -1)[..., 0],
        "an image": tv_tensors.Image(planes),
    }


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever the original raises, ours has to raise
        return type(error)


def assert_same(our: Any, their: Any, image: Any, where: Any) -> None:
    """Compare two results: type, bits, mode, information, strides, and whether it is the image itself."""
    assert (our is image) == (their is image), where
    assert our is their if isinstance(their, type) else type(our) is type(their), (where, our, their)
    if isinstance(their, PIL.Image.Image):
        assert (our.mode, our.size, our.info) == (their.mode, their.size, their.info), where
        assert our.tobytes() == their.tobytes(), where
    elif isinstance(their, torch.Tensor):
        assert (our.dtype, our.shape, our.stride()) == (their.dtype, their.shape, their.stride()), where
        assert torch.equal(our, their), where


Arguments = tuple[Any, ...]


def calls(number: int) -> Iterator[tuple[str, Arguments]]:
    """Names of functions, and arguments that differ with a number."""
    factor = FACTORS[number % len(FACTORS)]
    for name in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_sharpness"):
        yield name, (factor,)
    yield "adjust_hue", ((-0.5, 0.5, 0.0, 0.1234, -0.3)[number % 5],)
    yield "posterize", (1 + number % 8,)
    yield "solarize", ((0, 128, 255, 100.5, 255.0, 256, -3, 300.5)[number % 8],)
    for name in ("invert", "autocontrast", "equalize", "rgb_to_grayscale"):
        yield name, ()


def our_function(functional: Any, name: str, image: Any, arguments: Arguments) -> Any:
    function = ours.to_luma if name == "rgb_to_grayscale" else getattr(ours, name)
    return function(image, *arguments, functional=functional)


def their_function(functional: Any, name: str, image: Any, arguments: Arguments) -> Any:
    if name == "rgb_to_grayscale":
        return functional.rgb_to_grayscale(image, num_output_channels=ours.channels_of(image))
    return getattr(functional, name)(image, *arguments)


def compared(functional: Any, name: str, image: Any, arguments: Arguments, *where: Any) -> Any:
    """Our result, which is torchvision's; or the type of the error of both."""
    their, our = (outcome(function, functional, name, image, arguments) for function in (their_function, our_function))
    assert_same(our, their, image, (name, arguments, *where))
    return our


def formula(name: str, pixels: formulas.Bytes, arguments: Arguments, version: int) -> formulas.Bytes:
    """The result by the formulas; ``version`` is 0 for Pillow."""
    plain = {"rgb_to_grayscale": "luma"}.get(name, name.removeprefix("adjust_"))
    stated = getattr(formulas, plain)
    if plain in ("invert", "posterize", "solarize", "equalize"):
        result = stated(pixels, *arguments)
    elif plain == "autocontrast":
        result = stated(pixels, version)
    elif plain == "hue":
        result = stated(pixels, *arguments, version, FUSED)
    else:
        result = stated(pixels, *arguments, version, FUSED)
    return result


def test_pil_images() -> None:
    known = 0
    for number, (height, width) in enumerate(SIZES):
        for content in CONTENTS:
            for channels in (3, 1):
                pixels = picture(content, height, width, channels)
                image = pil(pixels)
                image.info = {"dpi": (72, 72), "comment": ["a"]}
                number += 1
                for name, arguments in calls(number):
                    result = compared((f1, f2)[number % 2], name, image, arguments, content, image.size, image.mode)
                    if not isinstance(result, type):
                        assert result.tobytes() == formula(name, pixels, arguments, 0).tobytes(), (name, arguments)
                        known += 1
                assert image.tobytes() == pixels.tobytes()
    assert known > 1200


def test_tensors() -> None:
    known = 0
    for number, (height, width) in enumerate(SIZES):
        for content in list(CONTENTS)[number % 4 :: 4]:
            for channels in (3, 1):
                pixels = picture(content, height, width, channels)
                number += 1
                for layout, image in list(tensors(pixels).items())[number % 2 :: 2]:
                    before = image.clone()
                    for version, functional in ((1, f1), (2, f2)):
                        is_known = ours.is_known(image, functional)
                        for name, arguments in calls(number):
                            result = compared(functional, name, image, arguments, content, layout, image.shape, version)
                            # A negative whole number is a byte to PyTorch.
                            is_stated = arguments != (-3,) and not isinstance(result, type)
                            if version == 2 and height * width % 32 and name in ROUNDED_IN_PARTS:
                                is_stated = False
                            if layout == "planes" and is_known and is_stated:
                                stated = formula(name, pixels, arguments, version)
                                assert np.array_equal(result.movedim(-3, -1).numpy(), stated), (name, arguments)
                                known += 1
                    assert torch.equal(image, before)
    assert known > 100


@given(
    st.integers(1, 40),
    st.integers(1, 80),
    st.sampled_from(list(CONTENTS)),
    st.floats(-1, 8, width=32),
    st.floats(-0.5, 0.5),
    st.one_of(st.integers(-2, 260), st.floats(0, 256)),
    st.sampled_from([3, 1]),
)
def test_the_space_between(
    height: int, width: int, content: str, factor: float, turn: float, threshold: float, channels: int
) -> None:
    pixels = picture(content, height, width, channels)
    by_name: dict[str, Arguments] = dict.fromkeys(("autocontrast", "equalize", "rgb_to_grayscale"), ())
    by_name |= {f"adjust_{name}": (factor,) for name in ("brightness", "contrast", "saturation", "sharpness")}
    by_name |= {"adjust_hue": (turn,), "solarize": (threshold,)}
    planes = torch.from_numpy(pixels).movedim(-1, 0).contiguous()
    for functional, image in ((f1, pil(pixels)), (f1, planes), (f2, planes)):
        for name, arguments in by_name.items():
            compared(functional, name, image, arguments, functional.__name__)


def all_colors(step: int = 1) -> formulas.Bytes:
    """Every color, or every so manieth in each channel, as a picture."""
    values = np.arange(0, 256, step, dtype=np.uint8)
    red, green, blue = np.meshgrid(values, values, values, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(len(values) ** 2, len(values), 3)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_every_color(step: int) -> None:
    """Hue and luma, whose arithmetic is of single colors, with all of them."""
    pixels = all_colors(step)
    image, planes = pil(pixels), torch.from_numpy(pixels).movedim(-1, 0).contiguous()
    for turn in (0.0, 0.31):
        assert ours.adjust_hue(image, turn).tobytes() == f1.adjust_hue(image, turn).tobytes()
        assert formulas.hue(pixels, turn, 0, FUSED).tobytes() == f1.adjust_hue(image, turn).tobytes()
        for functional in (f1, f2):
            assert torch.equal(ours.adjust_hue(planes, turn, functional), functional.adjust_hue(planes, turn))
    assert ours.to_luma(image).tobytes() == f1.rgb_to_grayscale(image, 3).tobytes()
    for functional in (f1, f2):
        assert torch.equal(ours.to_luma(planes, functional), functional.rgb_to_grayscale(planes, 3))
        assert torch.equal(ours.adjust_saturation(planes, 1.37, functional), functional.adjust_saturation(planes, 1.37))


@pytest.mark.exhaustive
def test_every_hue_saturation_and_value() -> None:
    """The way back from Pillow's mode HSV, which each color reaches only in part."""
    every = all_colors()
    assert (
        np.asarray(PIL.Image.fromarray(every, "HSV").convert("RGB")).tobytes()
        == formulas.colors_of_pillow(every).tobytes()
    )


def test_several_adjustments_are_one_after_another() -> None:
    generator, known = np.random.default_rng(0), 0
    for number in range(24):
        pixels = picture("noise", *SIZES[2 + number % 7], (3, 1)[number % 5 == 0])
        order = generator.permutation(4).tolist()
        factors = generator.uniform(0, 2, 3).tolist()
        for functional, image in ((f1, pil(pixels)), *((f, t) for f in (f1, f2) for t in tensors(pixels).values())):
            if not ours.is_known(image, functional) or not ours.is_exact(ours.SATURATION, image, functional):
                continue
            known += 1
            steps, expected = [], image
            for step in order:
                if step == ours.HUE and ours.channels_of(image) == 3:
                    steps.append(ours.Adjustment.turn(image, 0.2))
                    expected = functional.adjust_hue(expected, 0.2)
                elif step == ours.BRIGHTNESS or (step == ours.SATURATION and ours.channels_of(image) == 3):
                    name = "brightness" if step == ours.BRIGHTNESS else "saturation"
                    steps.append(ours.Adjustment.blend(step, factors[step]))
                    expected = getattr(functional, f"adjust_{name}")(expected, factors[step])
                elif step == ours.CONTRAST:
                    steps.append(ours.Adjustment.blend(step, factors[step]))
                    expected = functional.adjust_contrast(expected, factors[step])
            assert_same(ours.adjusted(image, steps, functional), expected, image, (order, factors))
    assert known > 100


def test_images_that_are_left_to_torchvision() -> None:
    """Other modes and dtypes, no pixels, other defaults, a transparent color, sums that are not exact, huge images."""
    noise = picture("noise", 20, 30, 3)
    transparent = pil(noise)
    transparent.info = {"transparency": (1, 2, 3)}
    images: list[Any] = [
        *(pil(noise).convert(mode) for mode in ("RGBA", "P", "CMYK", "HSV", "1", "I", "F")),
        PIL.Image.new("RGB", (0, 5)),
        transparent,
        torch.rand(3, 9, 9),
        torch.randint(0, 255, (3, 9, 9)),
        torch.zeros(3, 0, 9, dtype=torch.uint8),
        torch.zeros(4, 9, 9, dtype=torch.uint8),
        torch.zeros(9, 9, dtype=torch.uint8),
        torch.from_numpy(noise).movedim(-1, 0)[None].expand(2, -1, -1, -1),
        torch.from_numpy(picture("noise", 300, 310, 3)).movedim(-1, 0).contiguous(),
        noise,
    ]
    for image in images:
        for name, arguments in calls(3):
            if name == "rgb_to_grayscale" and not isinstance(image, PIL.Image.Image):
                continue
            compared(f2, name, image, arguments, image)
    planes = torch.from_numpy(noise).movedim(-1, 0).contiguous()
    torch.set_default_dtype(torch.float64)
    try:
        assert_same(ours.adjust_hue(planes, 0.1), f2.adjust_hue(planes, 0.1), planes, "float64")
    finally:
        torch.set_default_dtype(torch.float32)
    for factor in (float("nan"), float("inf")):
        for image in (planes, pil(noise)):
            compared(f2, "adjust_contrast", image, (factor,))


def test_an_image_in_several_blocks_of_memory() -> None:
    """Pillow has images of more than 16 MiB in several pieces."""
    image = pil(np.resize(picture("noise", 131, 257, 3), (2200, 2500, 3)))
    for name, arguments in (("adjust_contrast", (1.3,)), ("adjust_sharpness", (0.2,)), ("equalize", ())):
        compared(f1, name, image, arguments)
