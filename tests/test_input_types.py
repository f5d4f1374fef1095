"""Images of any dtype, mode and shape: the original's result, or the original's error."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.selfcheck.checking import difference_of

BYTES = np.random.default_rng(0).integers(0, 256, (29, 23, 4), dtype=np.uint8)
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
RGB = TENSOR[:3]
PICTURE = PIL.Image.fromarray(BYTES[..., :3])
NUMBERS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
INPUTS: dict[str, Any] = {
    **{
        str(dtype): RGB.to(dtype)
        for dtype in (torch.uint16, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint32)
    },
    "bool": RGB > 99,
    "complex": RGB.to(torch.complex64),
    "a channel": RGB[0],
    "two channels": RGB[:2],
    "four channels": TENSOR,
    "five dimensions": RGB.expand(2, 3, -1, -1, -1),
    "no images": RGB.expand(0, -1, -1, -1),
    "no rows": RGB[:, :0],
    "a video": tv_tensors.Video(RGB.expand(2, -1, -1, -1)),
    "a mask": tv_tensors.Mask(RGB[0]),
    "a mask of bools": tv_tensors.Mask(RGB[:1] > 99),
    "boxes": tv_tensors.BoundingBoxes(torch.tensor([[1, 2, 9, 8]]), format="XYXY", canvas_size=(29, 23)),
    **{mode: PICTURE.convert(mode) for mode in ("L", "RGBA", "P", "1", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "LA")},
    "I;16": PIL.Image.fromarray(BYTES[..., 0].astype(np.uint16) * 256),
    "an array of words": BYTES[..., :3].astype(np.uint16),
    "text": "photo.jpg",
    "nothing": None,
    "a number": 3,
}
PIPELINES: dict[str, Any] = {
    "evaluation of v1": v1.Compose([v1.Resize(20), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(*NUMBERS)]),
    "evaluation of v2": v2.Compose(
        [v2.ToImage(), v2.Resize(20), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*NUMBERS)]
    ),
    "to bytes": v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.Resize(9)]),
    "to words": v2.Compose([v2.Resize(9), v2.ToDtype(torch.uint16, scale=True)]),
    "to whole numbers": v2.Compose([v2.CenterCrop(9), v2.ToDtype(torch.int64, scale=True), v2.ToDtype(torch.float32)]),
    "to half precision": v2.Compose([v2.Resize(9), v2.ToDtype(torch.float16, scale=True), v2.Normalize(*NUMBERS)]),
    "to bfloat16": v2.Compose([v2.Resize(9), v2.ToDtype(torch.bfloat16, scale=True)]),
    "to RGB": v2.Compose([v2.RGB(), v2.Resize(9), v2.PILToTensor()]),
    "converted": v1.Compose([v1.Lambda(lambda image: image.convert("RGB")), v1.Resize(9), v1.ToTensor()]),
    "copies": v2.Compose([v2.CenterCrop(32), v2.RandomHorizontalFlip(1), v2.Pad(2)]),
    "luma": v2.Grayscale(3),
    "a picture": v1.Compose([v1.ToPILImage(), v1.Resize(9)]),
    "of types": v2.Compose([v2.ToImage(), v2.Resize(9), v2.ToDtype({tv_tensors.Image: torch.float32, "others": None})]),
    "of others": v2.Compose([v2.Resize(9), v2.ToDtype({tv_tensors.Image: torch.float64, "others": torch.float16})]),
}


def outcome(function: Any, image: Any) -> Any:
    torch.manual_seed(0)
    try:
        return function(image)
    except Exception as error:  # noqa: BLE001 - whatever the original raises
        return error


def assert_same(ours: Any, theirs: Any, about: str) -> None:
    if isinstance(theirs, Exception):
        assert (type(ours), str(ours)) == (type(theirs), str(theirs)), about
    elif isinstance(theirs, torch.Tensor | PIL.Image.Image | np.ndarray):
        if isinstance(theirs, PIL.Image.Image):
            assert ours.info == theirs.info
        elif theirs.size in (0, torch.Size([0])) or (isinstance(theirs, torch.Tensor) and not theirs.numel()):
            assert ours.shape == theirs.shape, about
            return
        assert type(ours) is type(theirs), about
        if isinstance(theirs, torch.Tensor) and theirs.dtype in (torch.bool, torch.bfloat16, torch.complex64):
            assert ours.dtype == theirs.dtype, about
            assert torch.equal(ours, theirs), about
        else:
            assert difference_of(ours, theirs) is None, about
    else:
        assert ours == theirs, about


@pytest.mark.filterwarnings("ignore")  # torchvision's, of modes and scales; the same of both
def test_every_input_of_every_pipeline() -> None:
    for name, pipeline in PIPELINES.items():
        layer = onelayer.compile(pipeline)
        for kind, image in INPUTS.items():
            theirs = outcome(pipeline, image)
            if kind == "five dimensions" and isinstance(theirs, Exception):
                continue  # Layers take as many dimensions as there are, where v1 takes four.
            for _ in range(2):
                assert_same(outcome(layer, image), theirs, f"{name} of {kind}")


def test_numbers_to_normalize_by() -> None:
    image = RGB
    mean, std = (torch.tensor(numbers) for numbers in NUMBERS)
    for numbers in (
        (mean, std),
        (mean.view(3, 1, 1), std.view(3, 1, 1)),
        (mean.numpy(), std.numpy()),
        ([0.5], [0.25]),
        (tuple(NUMBERS[0]), mean.double()),
    ):
        for library in (v1, v2):
            pipeline = v2.Compose([v2.Resize(9), v2.ToDtype(torch.float32, scale=True)])
            pipeline = v2.Compose([pipeline, library.Normalize(*numbers)])
            ours = outcome(onelayer.compile(pipeline), image)
            assert_same(ours, outcome(pipeline, image), f"{numbers}")
            if not isinstance(ours, Exception):
                onelayer.compile(pipeline, fullgraph=True, example=image)


def test_images_that_are_changed_in_place() -> None:
    for pipeline in (
        v1.Normalize(*NUMBERS, inplace=True),
        v2.Normalize(*NUMBERS, inplace=True),
        v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(*NUMBERS, inplace=True)]),
    ):
        layer = onelayer.compile(pipeline)
        ours, theirs = RGB / 255, RGB / 255
        assert torch.equal(layer(ours), pipeline(theirs))
        assert torch.equal(ours, theirs)
    onelayer.compile(pipeline, fullgraph=True, example=RGB)
    with pytest.raises(OnelayerError, match="in place"):
        onelayer.compile(pipeline, fullgraph=True, example=ours)


def test_dtypes_by_type_are_compiled() -> None:
    of_images = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
    whole = v2.Compose([v2.ToImage(), v2.Resize(9), of_images])
    onelayer.compile(whole, fullgraph=True, example=PICTURE)
    with pytest.raises(OnelayerError, match="warns that images stay"):
        onelayer.compile(of_images, fullgraph=True, example=RGB)
