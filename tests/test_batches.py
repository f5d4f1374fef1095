"""Batches of samples whose images are preprocessed in the collate function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils._pytree import tree_flatten
from torch.utils.data import default_collate
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer import batches

BYTES = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
PICTURES = [PIL.Image.fromarray(BYTES[n:, : 50 - n]) for n in range(5)]
TENSORS = [v2.functional.to_image(picture) for picture in PICTURES]
VALUES = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.4], [0.3])]


class Pair(NamedTuple):
    image: Any
    label: Any


KINDS: dict[str, Callable[[Any, int], Any]] = {
    "alone": lambda image, number: image,
    "with a label": lambda image, number: (image, number),
    "in a list": lambda image, number: [image, float(number)],
    "behind a name": lambda image, number: (f"{number}.jpg", image),
    "in a dictionary": lambda image, number: {
        "key": "abc"[:number],
        "image": image,
        "more": {"id": number, "box": [1, 2]},
    },
    "in a named tuple": lambda image, number: Pair(image, torch.tensor([number])),
    "before arrays": lambda image, number: (image, np.array([0.0, 1.0, number]), np.ones((3, 4)), np.int64(number)),
    "behind tensors": lambda image, number: (torch.tensor(number), {"boxes": torch.ones(2, 4)}, image),
}
IN_PLACE = {
    "evaluation": v2.Compose([v2.Resize(20), v2.CenterCrop(16), *VALUES]),
    "v1": v1.Compose([v1.Resize((9, 7)), v1.ToTensor(), v1.Normalize([0.4], [0.3])]),
    "random": v2.Compose([v2.RandomResizedCrop((9, 7)), v2.RandomHorizontalFlip(), *VALUES]),
    "half precision": v2.Compose([v2.Resize((8, 9)), v2.ToImage(), v2.ToDtype(torch.float16, scale=True)]),
    "gray bytes": v2.Compose([v2.Resize((8, 9)), v2.Grayscale(), v2.ToImage()]),
}
AS_A_LIST = {
    "with a break": v2.Compose([v2.RandomResizedCrop(12), v2.ColorJitter(0.5, 0.5), *VALUES]),
}
OF_OTHER_SHAPES = {"shorter side": v2.Compose([v2.Resize(9), *VALUES]), "images": v2.Resize((9, 9))}


Put = Callable[[Any, int], Any]


def outcomes(transform: Any, images: list[Any], put: Put, preprocess: Put) -> Iterator[tuple[Any, torch.Tensor]]:
    """Make the batch as the layer does, and as transforms in the data set do; with the generator's state after it."""
    layer = onelayer.compile(transform)
    numbers = range(len(images))
    for make in (
        lambda: layer.collate([put(images[number], number) for number in numbers]),
        lambda: default_collate([preprocess(images[number], number) for number in numbers]),
    ):
        torch.manual_seed(3)
        try:
            made = make()
        except (RuntimeError, TypeError) as error:
            made = type(error), str(error).splitlines()[0]
        yield made, torch.get_rng_state()


def assert_same(transform: Any, images: list[Any], put: Put, *, is_whole: bool = False) -> Any:
    """Compare the layer's batch of samples with that of images which were transformed, or of whole samples."""

    def preprocess(image: Any, number: int) -> Any:
        return transform(put(image, number)) if is_whole else put(transform(image), number)

    (ours, our_state), (theirs, their_state) = outcomes(transform, images, put, preprocess)
    (our_leaves, our_tree), (their_leaves, their_tree) = tree_flatten(ours), tree_flatten(theirs)
    assert our_tree == their_tree
    for our, their in zip(our_leaves, their_leaves, strict=True):
        assert type(our) is type(their)
        if isinstance(our, torch.Tensor):
            assert (our.dtype, our.shape, our.stride()) == (their.dtype, their.shape, their.stride())
        assert torch.equal(our, their) if isinstance(our, torch.Tensor) else our == their
    assert torch.equal(our_state, their_state)
    return ours


@pytest.mark.parametrize("name", [*IN_PLACE, *AS_A_LIST, *OF_OTHER_SHAPES])
def test_batches_are_those_of_transforms_in_the_data_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transform = {**IN_PLACE, **AS_A_LIST, **OF_OTHER_SHAPES}[name]
    calls = []
    monkeypatch.setattr(batches, "default_collate", lambda samples: calls.append(1) or default_collate(samples))
    for images in (PICTURES, TENSORS):
        if name == "v1" and images is TENSORS:
            continue
        for put in KINDS.values():
            assert_same(transform, images, put)
        assert_same(transform, images[:1], KINDS["alone"])
    # What is copied into a batch went through PyTorch's function.
    assert bool(calls) == (name not in IN_PLACE)


def test_other_samples_go_through_the_layer_one_by_one() -> None:
    transform = v2.Compose([v2.Resize((20, 30)), v2.RandomHorizontalFlip(), *VALUES[:2]])
    boxes = [
        tv_tensors.BoundingBoxes([[3.0, 2, 30, 33]], format="XYXY", canvas_size=image.shape[-2:])  # type: ignore[call-overload]
        for image in TENSORS
    ]
    assert_same(transform, TENSORS, lambda image, number: {"image": image, "boxes": boxes[number]}, is_whole=True)
    assert_same(transform, TENSORS, lambda image, _: (image, image), is_whole=True)
    # One sample of another kind is enough.
    other = torch.ones(3, 20, 30), TENSORS[1]
    assert_same(transform, TENSORS[:2], lambda image, number: (image, other[number]), is_whole=True)


@pytest.mark.parametrize("transform", [IN_PLACE["v1"], lambda image: np.array(image.resize((5, 4)))])
def test_pipelines_that_take_images_alone(transform: Any) -> None:
    """torchvision's first transforms and functions of a user's refuse samples; the collate function does without."""
    for put in KINDS.values():
        assert_same(transform, PICTURES, put)
    layer = onelayer.compile(transform)
    if transform is IN_PLACE["v1"]:
        arrays = [np.array(picture) for picture in PICTURES]
        assert_same(v1.Compose([v1.ToTensor(), v1.Resize((9, 7))]), arrays, KINDS["before arrays"])
    with pytest.raises((TypeError, AttributeError)) as raised:
        layer.collate([(PICTURES[0], PICTURES[1])])
    assert any("no lone image" in note for note in raised.value.__notes__)


def test_gradients_and_batches_of_videos() -> None:
    transform = v2.Compose([v2.Resize((8, 9)), v2.Normalize([0.4], [0.3])])
    images = [(tensor[:, :30, :30] / 255).as_subclass(torch.Tensor) for tensor in TENSORS]
    layer = onelayer.compile(transform)
    expected = torch.stack([transform(image) for image in images])
    torch.testing.assert_close(layer.collate(images), expected, rtol=0, atol=1e-6)
    of_videos = layer.collate([image.expand(2, -1, -1, -1) for image in images])
    torch.testing.assert_close(of_videos, expected[:, None].expand(-1, 2, -1, -1, -1), rtol=0, atol=1e-6)
    images[0].requires_grad_()
    layer.collate(images).sum().backward()
    assert images[0].grad is not None


def test_nothing_and_errors() -> None:
    layer = onelayer.compile(IN_PLACE["evaluation"])
    with pytest.raises(IndexError):
        default_collate([])
    with pytest.raises(IndexError):
        layer.collate([])
