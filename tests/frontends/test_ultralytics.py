"""LetterBox and a predictor's preprocess against the installed ultralytics, bit for bit."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import onelayer

cv2 = pytest.importorskip("cv2")
LetterBox = pytest.importorskip("ultralytics.data.augment").LetterBox
BasePredictor = pytest.importorskip("ultralytics.engine.predictor").BasePredictor

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"auto": True},
    {"auto": True, "center": False, "stride": 16},
    {"scale_fill": True},
    {"scaleup": False},
    {"center": False, "padding_value": 7},
    {"new_shape": 64, "interpolation": cv2.INTER_NEAREST},
)


def image_of(generator: np.random.Generator, smallest: int = 1) -> NDArray[np.uint8]:
    shape = *generator.integers(smallest, 200, 2), int(generator.choice((3, 3, 1, 4)))
    return generator.integers(0, 256, shape, np.uint8)


def compare(cases: int) -> None:
    generator = np.random.default_rng(1)
    for options in OPTIONS:
        letter_box = LetterBox(**{"new_shape": (96, 64), **options})
        layer = onelayer.compile(letter_box)
        for _ in range(cases):
            image = image_of(generator)
            expected, result = letter_box(image=image), layer(image=image)
            assert result.dtype == expected.dtype
            assert result.shape == expected.shape
            assert np.array_equal(result, expected), (options, image.shape)
            assert result.flags.c_contiguous
        assert layer._layers[3] is not None


def test_letter_boxes() -> None:
    compare(25)


@pytest.mark.exhaustive
def test_many_letter_boxes() -> None:
    compare(2000)


def test_labels_are_left_to_the_original() -> None:
    letter_box = LetterBox((96, 64))
    layer = pickle.loads(pickle.dumps(onelayer.compile(letter_box)))
    image = image_of(np.random.default_rng(2), smallest=50)
    expected = letter_box({"img": image, "rect_shape": (32, 64)})
    assert np.array_equal(layer({"img": image, "rect_shape": (32, 64)})["img"], expected["img"])
    assert np.array_equal(layer(image=image[..., 0]), letter_box(image=image[..., 0]))
    assert np.array_equal(layer(None, image), letter_box(None, image))
    assert layer.new_shape == (96, 64)


class Predictor(BasePredictor):  # type: ignore[misc, unused-ignore]
    """A predictor without a model."""

    def __init__(self, rect: bool) -> None:
        self.imgsz = [96, 128]
        self.args = SimpleNamespace(rect=rect)
        self.scale_fill = False
        self.model = SimpleNamespace(format="pt", stride=32, fp16=False, dynamic=False)
        self.device = torch.device("cpu")


def test_preprocessing_of_predictors() -> None:
    generator = np.random.default_rng(3)
    for rect in (False, True):
        predictor = Predictor(rect)
        preprocess = onelayer.compile(predictor.preprocess)
        for number in range(12):
            images = [image_of(generator, 20)[..., :1].repeat(3, 2) for _ in range(1 + number % 3)]
            images = [generator.integers(0, 256, image.shape, np.uint8) for image in images]
            if rect or number % 2:
                images = [images[0]] * len(images)
            expected, result = predictor.preprocess(list(images)), preprocess(list(images))
            assert torch.equal(result, expected)
            assert result.dtype == torch.float32
        assert all(layer is not None for layer in preprocess._layers.values())
        tensor = torch.rand(1, 3, 32, 32)
        assert torch.equal(preprocess(tensor), predictor.preprocess(tensor))


def test_predictors_that_differ_are_left() -> None:
    class Classifier(Predictor):
        def pre_transform(self, im: Any) -> Any:
            return [image[:16, :16] for image in im]

    predictor = Classifier(rect=False)
    preprocess = onelayer.compile(predictor.preprocess)
    images = [image_of(np.random.default_rng(4), 20)[..., :1].repeat(3, 2)]
    for _ in range(2):
        assert torch.equal(preprocess(list(images)), predictor.preprocess(list(images)))
    assert not preprocess._layers
