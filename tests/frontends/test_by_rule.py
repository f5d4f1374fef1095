"""Resizes, crops and pads by rules, against torchvision's functions called with the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode as Mode

import onelayer
from onelayer.any_size import AnySizePipeline
from onelayer.frontends.torchvision.by_rule import CropBy, PadBy, ResizeBy
from onelayer.image_spec import ImageSpec

SIZES = [(41, 67), (67, 41), (17, 11), (50, 50), (2, 3), (90, 300)]


def half(height: int, width: int) -> tuple[int, int]:
    return max(round(height / 2), 2), max(round(width / 2), 2)


def to_multiples(height: int, width: int) -> tuple[int, int]:
    return -(-height // 7) * 7, -(-width // 7) * 7


def floor_of_middle(height: int, width: int) -> tuple[int, int, int, int]:
    return max(height - 8, 0) // 2, max(width - 8, 0) // 2, min(height, 8), min(width, 8)


def to_square(height: int, width: int) -> tuple[int, int, int, int]:
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return left, top, side - width - left, side - height - top


PIPELINES = {
    "to half, cropped, padded": [ResizeBy(half, Mode.BILINEAR), CropBy(floor_of_middle), PadBy(to_square, 114)],
    "padded, to multiples": [PadBy(to_square), CropBy(floor_of_middle), ResizeBy(to_multiples, Mode.BICUBIC)],
    "as v1": [ResizeBy(half, Mode.BILINEAR, function=f1.resize), CropBy(floor_of_middle)],
    "nearest": [CropBy(floor_of_middle), ResizeBy(to_multiples, Mode.NEAREST_EXACT), PadBy(to_square, (1, 2, 3))],
    "only copied": [CropBy(floor_of_middle), PadBy(to_square, 7)],
}
TAIL = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)]


def images(height: int, width: int) -> list[Any]:
    array = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = torch.from_numpy(array).permute(2, 0, 1)
    return [PIL.Image.fromarray(array), planes, planes.contiguous(), tv_tensors.Image(planes)]


def as_tensor(image: Any) -> torch.Tensor:
    return v2.functional.pil_to_tensor(image) if isinstance(image, PIL.Image.Image) else image


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("tail", [[], TAIL], ids=["bytes", "floats"])
def test_equal_to_the_functions_at_every_size(name: str, tail: list[Any]) -> None:
    pipeline = v2.Compose([*PIPELINES[name], *tail])
    layer = onelayer.compile(pipeline, fullgraph=True)
    for height, width in SIZES:
        for image in images(height, width):
            expected, found = pipeline(image), layer(image)
            assert type(found) is type(expected)
            assert torch.equal(as_tensor(found), as_tensor(expected)), (height, width, type(image))
            by_program = layer.apply_program(image)
            assert torch.equal(as_tensor(by_program), as_tensor(expected)), (height, width, type(image))


def test_no_size_takes_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = onelayer.compile(v2.Compose([*PIPELINES["to half, cropped, padded"], *TAIL]))
    monkeypatch.setattr(type(layer), "_of_one_size", None)
    for height, width in SIZES:
        for image in images(height, width):
            assert isinstance(layer._of_any_size(image), AnySizePipeline)
            layer(image)


@pytest.mark.parametrize("is_float", [False, True])
def test_another_rule_takes_other_tables(is_float: bool) -> None:
    """For images of one size too, as when numbers are drawn."""
    drawn = [(9, 14), (30, 20), (9, 14), (9, 15), (41, 67)]
    calls = iter([size for size in drawn for _ in range(2)])
    turns = ResizeBy(lambda _height, _width: next(calls), Mode.BILINEAR)
    layer = onelayer.compile(v2.Compose([turns, v2.Pad(1)]))
    image = torch.randint(0, 256, (3, 41, 67), dtype=torch.uint8)
    image = image / 255 if is_float else image
    for size in drawn:
        expected = v2.Pad(1)(v2.functional.resize(image, list(size)))
        next(calls)
        torch.testing.assert_close(layer(image), expected, rtol=0, atol=2e-6 if is_float else 0)


def test_floats_and_batches_of_one_size() -> None:
    pipeline = v2.Compose(PIPELINES["to half, cropped, padded"])
    layer = onelayer.compile(pipeline)
    for height, width in SIZES:
        batch = torch.rand(2, 3, height, width)
        torch.testing.assert_close(layer(batch), pipeline(batch), rtol=0, atol=2e-6)


def test_a_size_that_a_rule_refuses_is_left_to_the_original() -> None:
    def no_rule(height: int, width: int) -> tuple[int, int]:
        return (5, 5) if height > 20 else (0, 5)

    layer = onelayer.compile(ResizeBy(no_rule, Mode.BILINEAR))
    assert layer(torch.zeros(3, 30, 30, dtype=torch.uint8)).shape == (3, 5, 5)
    for wrong in (layer, ResizeBy(no_rule, Mode.BILINEAR)):
        with pytest.raises(RuntimeError, match="greater than 0"):
            wrong(torch.zeros(3, 10, 30, dtype=torch.uint8))


def test_explained_with_the_numbers_of_a_size() -> None:
    explanation = onelayer.explain(v2.Compose(PIPELINES["to half, cropped, padded"]), (3, 41, 67), dtype="uint8")
    assert "none takes a plan of its own" in str(explanation)
    assert "resized to 34" in str(explanation)


class Doubled:
    """A pipeline that is called with keywords and returns a dictionary."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.transform = call

    def __call__(self, *, image: Any) -> dict[str, Any]:
        return {"image": self.transform(image)}


class OfDoubled:
    def owns(self, pipeline: object) -> bool:
        return isinstance(pipeline, Doubled)

    def transforms(self, pipeline: Any, _spec: ImageSpec) -> list[Any]:
        return [pipeline.transform]

    def compile(self, pipeline: Any, make_layer: Callable[[Any], Any]) -> Doubled:
        return Doubled(make_layer(pipeline.transform))


def test_an_object_with_a_call_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onelayer.frontends.front_end, "FRONT_ENDS", [OfDoubled()])
    original = Doubled(v2.Resize([5, 6]))
    compiled = onelayer.compile(original, fullgraph=True)
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    assert isinstance(compiled.transform, onelayer.OneLayer)
    assert torch.equal(compiled(image=image)["image"], original(image=image)["image"])
    assert "Resize" in str(onelayer.explain(original, image))


def test_a_kind_is_registered_by_name() -> None:
    class Later:
        def __call__(self, image: Any) -> Any:
            return v2.functional.horizontal_flip(image)

    onelayer.register_sequence(f"{__name__}.{Later.__qualname__}")(
        lambda _transform, _spec: [v2.functional.horizontal_flip]
    )
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    assert torch.equal(onelayer.compile(Later(), fullgraph=True)(image), image.flip(-1))

    class Below(Later):
        def __call__(self, image: Any) -> Any:
            return image

    with pytest.raises(onelayer.OnelayerError, match="has its own __call__"):
        onelayer.compile(Below(), fullgraph=True)(image)
