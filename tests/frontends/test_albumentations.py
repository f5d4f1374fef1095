"""Pipelines of albumentations, or AlbumentationsX, against the installed one: the same dictionaries, bit for bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import onelayer
from onelayer.frontends import UnsupportedTransformError
from onelayer.frontends.libraries.albumentations import CompiledCompose

A = pytest.importorskip("albumentations")
cv2 = pytest.importorskip("cv2")
ToTensorV2 = pytest.importorskip("albumentations.pytorch").ToTensorV2

HALF = (0.5, 0.5, 0.5)

COMPILED: dict[str, list[Any]] = {
    "classification": [A.SmallestMaxSize(40), A.CenterCrop(33, 36), A.Normalize(), ToTensorV2()],
    "an array": [A.SmallestMaxSize(40), A.CenterCrop(33, 36), A.Normalize()],
    "squashed": [A.Resize(31, 44), A.Normalize(HALF, HALF), ToTensorV2()],
    "bytes": [A.Resize(31, 44), ToTensorV2()],
    "padded": [A.LongestMaxSize(48), A.PadIfNeeded(48, 50, border_mode=0, fill=(1, 20, 255)), A.ToFloat()],
    "padded floats": [
        A.LongestMaxSize(max_size_hw=(30, None)),
        A.Normalize(),
        A.PadIfNeeded(99, 98, border_mode=0, fill=0.3),
        ToTensorV2(),
    ],
    "corners": [A.PadIfNeeded(None, None, 32, 16, border_mode=0, position="bottom_left"), A.HorizontalFlip(p=1)],
    "sides": [A.SmallestMaxSize(max_size_hw=(25, 30)), A.VerticalFlip(p=1), A.NoOp(), A.HorizontalFlip(p=0)],
    "nearest": [A.Resize(20, 27, interpolation=cv2.INTER_NEAREST), A.HorizontalFlip(p=1), A.VerticalFlip(p=1)],
    "nearest exact": [A.SmallestMaxSize(27, interpolation=cv2.INTER_NEAREST_EXACT)],
    "area": [A.Resize(20, 25, area_for_downscale="image"), A.Normalize(), ToTensorV2()],
    "values": [A.Normalize(), ToTensorV2()],
    "window": [A.CenterCrop(20, 21)],
}

LEFT: dict[str, list[Any]] = {
    "cubic": [A.Resize(20, 25, interpolation=cv2.INTER_CUBIC), A.Normalize()],
    "two resizes": [A.Resize(20, 25), A.Resize(10, 11)],
    "statistics of the image": [A.Resize(20, 25), A.Normalize(normalization="image")],
    "unknown": [A.Transpose(p=1), A.Resize(20, 25)],
    "reflected": [A.PadIfNeeded(99, 98, border_mode=cv2.BORDER_REFLECT_101)],
    "fractions": [A.PadIfNeeded(99, 98, border_mode=0, fill=7.4)],
}


def images(count: int, smallest: int = 21, largest: int = 90, channels: int = 3) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(count)
    made = [
        generator.integers(0, 256, (*generator.integers(smallest, largest, 2), channels), np.uint8)
        for _ in range(count - 2)
    ]
    return [*made, generator.integers(0, 256, (40, 50, channels), np.uint8), np.full((80, 80, channels), 255, np.uint8)]


def compare(pipeline: Any, layer: Any, image: NDArray[Any], **others: Any) -> None:
    try:
        expected = pipeline(image=image, **others)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the same
        with pytest.raises(type(error)):
            layer(image=image, **others)
        return
    result = layer(image=image, **others)
    assert list(result) == list(expected)
    for name, value in expected.items():
        assert type(result[name]) is type(value), name
        if isinstance(value, np.ndarray | torch.Tensor):
            assert result[name].dtype == value.dtype
            assert result[name].shape == value.shape
            assert np.array_equal(np.asarray(result[name]), np.asarray(value)), image.shape
        else:
            assert result[name] == value


def is_compiled(layer: Any, channels: int = 3) -> bool:
    return layer._layers[channels] is not None


@pytest.mark.parametrize("name", COMPILED)
def test_images_alone(name: str) -> None:
    pipeline = A.Compose(COMPILED[name])
    layer = onelayer.compile(pipeline)
    for image in images(20):
        compare(pipeline, layer, image)
    assert is_compiled(layer)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", COMPILED)
def test_many_images_alone(name: str) -> None:
    pipeline = A.Compose(COMPILED[name])
    layer = onelayer.compile(pipeline)
    for image in images(2000, 2, 300):
        compare(pipeline, layer, image)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_original(name: str) -> None:
    pipeline = A.Compose(LEFT[name])
    layer = onelayer.compile(pipeline)
    for image in images(4):
        compare(pipeline, layer, image)
    assert not is_compiled(layer)
    with pytest.raises(UnsupportedTransformError):
        onelayer.compile(pipeline, fullgraph=True)(image=images(3)[0])


def test_other_channels() -> None:
    normalize = A.Normalize(0.5, 0.25)
    pipeline = A.Compose([A.SmallestMaxSize(40), A.CenterCrop(33, 36), normalize, ToTensorV2()])
    layer = onelayer.compile(pipeline)
    classes = A.Compose(COMPILED["classification"])
    compare(classes, onelayer.compile(classes), images(3, 50, channels=4)[0])
    for channels in (1, 2, 4, 5):
        for image in images(4, channels=channels):
            compare(pipeline, layer, image)
        assert is_compiled(layer, channels) == (channels < 5)
    compare(pipeline, layer, images(3)[0][..., 0])
    compare(pipeline, layer, images(3)[0].astype(np.float32) / 255)


def test_other_targets_and_values() -> None:
    pipeline = A.Compose([A.SmallestMaxSize(40), A.CenterCrop(33, 36), A.Normalize(), ToTensorV2()])
    layer = onelayer.compile(pipeline)
    for image in images(4, smallest=40):
        compare(pipeline, layer, image, mask=image[..., 0].copy())
        compare(pipeline, layer, image, mask=None, label=3, name="x")
        compare(pipeline, layer, image, label=np.ones(3))
        compare(pipeline, layer, image, force_apply=True)
    with pytest.raises(KeyError):
        layer(images(3)[0])
    boxes = A.Compose([A.Resize(20, 30)], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]))
    layer = onelayer.compile(boxes)
    compare(boxes, layer, images(3)[0], bboxes=[[1, 2, 9, 12]], labels=[5])


def test_sizes_that_the_original_refuses() -> None:
    pipeline = A.Compose([A.CenterCrop(33, 36), A.Normalize()])
    layer = onelayer.compile(pipeline)
    for image in images(12, smallest=20, largest=50):
        compare(pipeline, layer, image)
    assert is_compiled(layer)


def test_random_pipelines_draw_what_they_would_draw() -> None:
    image = images(3, smallest=50)[0]
    made = (
        lambda: [A.HorizontalFlip(p=0.5), A.Resize(9, 11)],
        lambda: [A.SmallestMaxSize([20, 30, 40]), A.CenterCrop(9, 9)],
    )
    for make in made:
        # Transforms draw from the Compose that they are in.
        pipeline, other = (A.Compose(make(), seed=7) for _ in range(2))
        layer = onelayer.compile(other)
        for _ in range(12):
            compare(pipeline, layer, image)
        assert not is_compiled(layer)


def test_patched_transforms_and_subclasses_are_left() -> None:
    class Inverted(A.Resize):  # type: ignore[misc, unused-ignore]
        def apply(self, img: Any, **params: Any) -> Any:
            return 255 - super().apply(img, **params)

    patched = A.Resize(9, 11)
    patched.apply = lambda img, **_: img[:9, :11] * 0
    for transform in (Inverted(9, 11), patched):
        pipeline = A.Compose([transform])
        layer = onelayer.compile(pipeline)
        compare(pipeline, layer, images(3)[0])
        assert not is_compiled(layer)


def test_one_transform_alone() -> None:
    transform = A.Resize(9, 11)
    layer = onelayer.compile(transform)
    compare(transform, layer, images(3)[0])
    assert is_compiled(layer)


def test_it_is_pickled_and_has_what_the_original_has() -> None:
    pipeline = A.Compose(COMPILED["classification"])
    layer = onelayer.compile(pipeline)
    assert isinstance(layer, CompiledCompose)
    assert layer.transforms is pipeline.transforms
    assert "SmallestMaxSize" in repr(layer)
    copy = pickle.loads(pickle.dumps(layer))
    for image in images(4, smallest=40):
        compare(pipeline, copy, image)
    assert is_compiled(copy)
    assert not hasattr(layer, "no_such_thing")


def test_explain_shows_what_becomes_of_it() -> None:
    pipeline = A.Compose(COMPILED["classification"])
    for each in (pipeline, onelayer.compile(pipeline)):
        text = str(onelayer.explain(each, (3, 60, 80), dtype="uint8", container="numpy"))
        assert "SmallestMaxSize" in text
        assert "Normalize" in text
    with pytest.raises(UnsupportedTransformError, match="INTER_CUBIC"):
        onelayer.explain(A.Compose(LEFT["cubic"]), (3, 60, 80), dtype="uint8", container="numpy")
