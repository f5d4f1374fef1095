"""The presets of all of torchvision's weights: compiled, and equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.models import get_model_weights, list_models

import onelayer
from onelayer import OnelayerError
from onelayer.selfcheck.checking import difference_of

BYTES = np.random.default_rng(0).integers(0, 256, (67, 53, 3), dtype=np.uint8)
PICTURE = PIL.Image.fromarray(BYTES)
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
VIDEO = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 3, 40, 50), dtype=np.uint8))
COMPILED = ("ImageClassification", "ObjectDetection", "SemanticSegmentation")


@pytest.fixture(scope="module")
def presets() -> dict[str, Any]:
    """The presets of all weights; those that are alike once."""
    every = [weights.transforms() for name in list_models() for weights in get_model_weights(name)]
    assert len(every) >= 166
    return {repr(each): each for each in every}


def inputs_of(transform: Any) -> list[tuple[Any, ...]]:
    match type(transform).__name__:
        case "VideoClassification":
            return [(VIDEO,), (torch.stack([VIDEO, VIDEO.flip(-1)]),), (tv_tensors.Video(VIDEO),)]
        case "OpticalFlow":
            return [(TENSOR, TENSOR.flip(-1)), (PICTURE, PICTURE), (TENSOR[None], TENSOR[None])]
    return [(PICTURE,), (TENSOR,), (tv_tensors.Image(TENSOR),), (TENSOR.expand(2, -1, -1, -1),)]


def parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_every_preset_is_equal(presets: dict[str, Any]) -> None:
    for transform in presets.values():
        layer = onelayer.compile(transform)
        for inputs in inputs_of(transform):
            theirs, ours = parts(transform(*inputs)), parts(layer(*inputs))
            for our, their in zip(ours, theirs, strict=True):
                assert difference_of(our, their) is None, (transform, type(inputs[0]))


def test_those_of_single_images_are_compiled_whole(presets: dict[str, Any]) -> None:
    for transform in presets.values():
        if type(transform).__name__ in COMPILED:
            layer = onelayer.compile(transform, fullgraph=True, example=TENSOR)
            assert difference_of(layer(PICTURE), transform(PICTURE)) is None


def test_floats_come_back_as_they_are(presets: dict[str, Any]) -> None:
    transform = next(each for each in presets.values() if type(each).__name__ == "ObjectDetection")
    image = tv_tensors.Image(torch.rand(3, 9, 8))
    for each in (image, image.as_subclass(torch.Tensor)):
        ours, theirs = onelayer.compile(transform)(each), transform(each)
        assert type(ours) is type(theirs)
        assert torch.equal(ours, theirs)
    with pytest.raises(OnelayerError, match="comes back as it is"):
        onelayer.compile(transform, fullgraph=True)(image)
