"""Whole samples: the rule of torchvision's v2 transforms, in the same containers."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils._pytree import tree_flatten
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.selfcheck.checking import difference_of

BYTES = np.random.default_rng(0).integers(0, 256, (41, 37, 3), dtype=np.uint8)
PICTURE = PIL.Image.fromarray(BYTES)
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
IMAGE = tv_tensors.Image(TENSOR)
MASK = tv_tensors.Mask(TENSOR[:1] > 99)
BOXES = tv_tensors.BoundingBoxes(torch.tensor([[3.0, 2, 30, 33], [5, 5, 9, 9]]), format="XYXY", canvas_size=(41, 37))
LABEL = torch.tensor([1, 2])
VIDEO = tv_tensors.Video(TENSOR.expand(2, -1, -1, -1))


class Pair(NamedTuple):
    image: Any
    label: Any


SAMPLES: dict[str, tuple[Any, ...]] = {
    **{
        f"{type(image).__name__} {name}": inputs
        for image in (PICTURE, TENSOR, IMAGE)
        for name, inputs in {
            "and a label": (image, 3),
            "and a tensor": (image, LABEL),
            "behind a tensor": (LABEL.expand(3, 4, 2), image),
            "in a tuple": ((image, "name"),),
            "in a list": ([image, None],),
            "in a dictionary": ({"image": image, "target": {"id": 7, "classes": LABEL}},),
            "in an ordered one": (collections.OrderedDict(label=1.5, image=image),),
            "in a named tuple": (Pair(image, 3),),
            "in a tuple of its own": ((image,),),
            "with a mask": (image, MASK),
            "with boxes": ({"image": image, "boxes": BOXES, "labels": LABEL},),
            "with an array": (image, BYTES),
            "twice": (image, image),
            "with another": ([PICTURE, image],),
            "with a video": (image, VIDEO),
        }.items()
    },
    "no image": (LABEL.expand(3, 5, 2), 4),
    "nothing": ([],),
    "words": ({"a": "b"},),
    "plain tensors": ((TENSOR, TENSOR, TENSOR),),
}
NUMBERS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PIPELINES: dict[str, Any] = {
    "whole": v2.Compose(
        [v2.ToImage(), v2.Resize(20), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*NUMBERS)]
    ),
    "bytes": v2.Compose([v2.Resize((20, 20)), v2.RandomHorizontalFlip(1), v2.Pad(2)]),
    "with a break": v2.Compose([v2.Resize(30), v2.RandomCrop(20), v2.RandomHorizontalFlip(), v2.Resize(9)]),
    "plain": v2.Compose([v2.PILToTensor(), v2.ToPureTensor(), v2.Resize(9), v2.Grayscale()]),
    "lambda": v2.Compose([v2.Resize(9), v2.Lambda(lambda each: each), v2.CenterCrop(5)]),
    "types": v2.Compose([v2.Resize(9), v2.ToDtype({tv_tensors.Image: torch.float32, "others": None})]),
    "random": v2.Compose(
        [
            v2.RandomZoomOut(p=0.9),
            v2.RandomResizedCrop(12),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.ToPureTensor(),
        ]
    ),
    "plain before masks": v2.Compose([v2.ToPureTensor(), v2.Resize(9)]),
    "v1": v1.Compose([v1.Resize(20), v1.CenterCrop(16), v1.ToTensor()]),
    "functions": v2.Compose([v2.Resize(20), v2.functional.horizontal_flip]),
    "crops": v2.Compose([v2.ToImage(), v2.FiveCrop(9)]),
    "boxes": v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(labels_getter=None), v2.Resize((9, 9))]),
    "alone": v2.Resize(9),
}


def outcome(function: Any, inputs: tuple[Any, ...]) -> Any:
    torch.manual_seed(7)
    try:
        return function(*inputs), torch.get_rng_state().tolist()
    except Exception as error:  # noqa: BLE001 - whatever the original raises
        return error


def assert_same(ours: Any, theirs: Any, about: str) -> None:
    assert type(ours) is type(theirs), (about, ours, theirs)
    if isinstance(theirs, Exception):
        return
    assert ours[1] == theirs[1], f"{about}: the generator"
    (our_parts, our_tree), (their_parts, their_tree) = tree_flatten(ours[0]), tree_flatten(theirs[0])
    assert our_tree == their_tree, about
    for our, their in zip(our_parts, their_parts, strict=True):
        assert type(our) is type(their), about
        if isinstance(their, tv_tensors.BoundingBoxes):
            assert (our.format, our.canvas_size) == (their.format, their.canvas_size), about
        if isinstance(their, torch.Tensor) and (their.dtype == torch.bool or not their.numel()):
            assert torch.equal(our, their), about
        elif isinstance(their, torch.Tensor | PIL.Image.Image | np.ndarray):
            assert difference_of(our, their) is None, about
        else:
            assert our == their, about


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.filterwarnings("ignore:.*FiveCrop.*|.*pure tensor.*|.*scale.*")
def test_samples_come_out_as_from_the_original(name: str) -> None:
    transform = PIPELINES[name]
    layer = onelayer.compile(transform)
    for about, inputs in SAMPLES.items():
        theirs = outcome(transform, inputs)
        for _ in range(2):
            assert_same(outcome(layer, inputs), theirs, f"{name}: {about}")


def test_images_with_labels_are_compiled() -> None:
    for name in ("whole", "bytes", "plain", "alone"):
        layer = onelayer.compile(PIPELINES[name], fullgraph=True)
        for inputs in ((PICTURE, 3), ({"image": IMAGE, "label": LABEL},), ([TENSOR, "name"],)):
            assert_same(outcome(layer, inputs), outcome(PIPELINES[name], inputs), name)
    for inputs, problem in (((IMAGE, VIDEO), "other parts that transforms may change"), ((IMAGE, IMAGE), "several")):
        with pytest.raises(OnelayerError, match=problem):
            layer(*inputs)


def test_the_image_of_a_sample_with_boxes_goes_through_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes and masks go through the original's kernels, with the same numbers, and it never sees the image."""
    seen: list[Any] = []
    original = v2.Resize.transform

    def looks(self: Any, part: Any, params: Any) -> Any:
        seen.append(part)
        return original(self, part, params)

    boxes = tv_tensors.BoundingBoxes([[1, 2, 9, 8]], format="XYXY", canvas_size=(40, 50))
    mask = tv_tensors.Mask(torch.zeros(40, 50, dtype=torch.uint8))
    image = tv_tensors.Image(torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8))
    transform = v2.Compose([v2.RandomCrop(30), v2.Resize((9, 11)), v2.RandomHorizontalFlip()])
    layer = onelayer.compile(transform)
    label = torch.arange(3)
    for sample in ({"image": image, "boxes": boxes, "mask": mask, "label": label}, (image, {"boxes": boxes}, label)):
        assert_same(outcome(layer, (sample,)), outcome(transform, (sample,)), "sample")
    layer(image, boxes)
    monkeypatch.setattr(v2.Resize, "transform", looks)
    layer(image, boxes, mask)
    assert [type(part) for part in seen] == [tv_tensors.BoundingBoxes, tv_tensors.Mask]
    # What the original refuses, it refuses.
    smaller = tv_tensors.Mask(torch.zeros(4, 5, dtype=torch.uint8))
    assert_same(outcome(layer, (image, smaller)), outcome(transform, (image, smaller)), "another size")


def test_a_layer_that_was_saved_takes_labels_too(tmp_path: Any) -> None:
    transform = PIPELINES["whole"]
    onelayer.save(onelayer.compile(transform), tmp_path, images=[IMAGE])
    loaded = onelayer.load(tmp_path)
    image, label = loaded(IMAGE, 3)
    assert difference_of(image, transform(IMAGE)) is None
    assert label == 3
    with pytest.raises(OnelayerError, match=r"layer\.batch"):
        loaded([IMAGE, IMAGE])


def test_a_list_of_images_is_a_sample_and_the_error_names_batch() -> None:
    layer = onelayer.compile(PIPELINES["v1"])
    with pytest.raises(TypeError) as caught:
        layer([PICTURE, PICTURE])
    assert any("layer.batch(images)" in note for note in caught.value.__notes__)
    first, second = layer.batch([PICTURE, PICTURE])
    assert torch.equal(first, second)
