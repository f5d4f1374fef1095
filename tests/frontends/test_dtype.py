"""Conversions between containers and between dtypes, against torchvision's own result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive
from onelayer.images.containers import spec_of

FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")
PICTURE = replace(BYTES, container="pil")


def test_what_changes_no_value(assert_floats: Any) -> None:
    for transform in (v2.Identity(), nn.Identity(), v2.ToImage(), v2.ToPureTensor()):
        assert_floats(transform, (3, 17, 11))


def test_bytes(assert_bytes: Any) -> None:
    for transform, levels in (
        (v1.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=False)]), 0),
        (v2.Compose([v2.PILToTensor(), v1.ConvertImageDtype(torch.float32), v2.Normalize([0.5], [0.5])]), 0),
        (v2.Compose([v2.Resize((30, 9)), v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]), 2),
    ):
        for shape in ((3, 17, 11), (1, 17, 11)):
            for container in ("tensor", "pil"):
                assert_bytes(transform, ImageSpec(shape, "uint8", container), levels)


def test_pil_to_float(assert_bytes: Any) -> None:
    for transform in (
        v1.ToTensor(),
        f1.to_tensor,
        v1.Compose([v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
    ):
        assert_bytes(transform, PICTURE, 0)
        assert_bytes(transform, ImageSpec((1, 1, 1), "uint8", "pil"), 0)


def test_conversions_of_containers(assert_bytes: Any, assert_floats: Any) -> None:
    with pytest.warns(UserWarning, match="deprecated"):
        to_tensor = v2.ToTensor()
    assert_bytes(to_tensor, PICTURE, 0)
    assert_bytes(to_tensor, BYTES, 0)
    assert_floats(to_tensor, (3, 5, 7))
    for kind in (v1, v2):
        there_and_back = kind.Compose([kind.ToPILImage(), kind.Resize(4), v2.ToImage()])
        assert_bytes(there_and_back, ImageSpec((1, 5, 7), "uint8", "tensor"), 2)
    # The v2 classes leave PIL images alone.
    assert_bytes(v2.ToDtype(torch.float32, scale=True), PICTURE, 0)
    assert_bytes(v2.ConvertImageDtype(torch.float32), PICTURE, 0)
    per_type = {torch.Tensor: torch.float32, "others": torch.float32}
    assert_bytes(v2.ToDtype(per_type, scale=True), BYTES, 0)
    image = {tv_tensors.Image: torch.float32, "others": torch.float32}
    assert_bytes(v2.Compose([v2.ToImage(), v2.ToDtype(image)]), PICTURE, 0)
    assert_floats(v2.ToDtype({"others": None}), (3, 5, 7))


DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def test_conversions_of_dtypes() -> None:
    for before in DTYPES:
        for after in DTYPES:
            for scale in (True, False):
                compare_dtypes(before, after, scale)


def compare_dtypes(before: torch.dtype, after: torch.dtype, scale: bool) -> None:
    # Every value of a byte, and numbers between: as many steps as a half-precision number can tell apart.
    # White itself is left out: torch multiplies by 255.999 in that precision, which is 256, and gives black.
    case = f"{before} to {after}, {scale=}"
    values = torch.arange(256) if before == torch.uint8 else torch.arange(511) / 512 * (1 if scale else 255)
    image = values.to(before).reshape(1, 1, -1)
    transform = v2.ToDtype(after, scale=scale)
    spec, result = spec_of(image), transform(image)
    derived = derive(transform, spec)
    assert derived.output_spec == spec_of(result), case
    ours = torch.from_numpy(derived.program.apply(image.double().numpy())).to(after)
    if before in (torch.float16, torch.bfloat16) and after == torch.uint8:
        assert (ours.int() - result.int()).abs().max() <= 1, case
    else:
        atol = 0 if after == torch.uint8 else torch.finfo(after).eps
        torch.testing.assert_close(ours, result, rtol=0, atol=atol, msg=lambda text: f"{case}: {text}")
    is_known = before in (torch.uint8, after) or after == torch.float64
    if is_known:
        program = derive(transform, spec, "exact").program
        assert torch.equal(torch.from_numpy(program.apply(image.double().numpy())).to(after), result), case
    else:
        with pytest.raises(UnsupportedTransformError, match="bit for bit"):
            derive(transform, spec, "exact")


def test_conversions_to_bytes_are_exact_where_values_are_known() -> None:
    """What PyTorch makes of values beyond 0 … 255 depends on their place in memory."""
    there = v2.ToDtype(torch.float32, scale=True)
    back = v2.ToDtype(torch.uint8, scale=True)
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    for steps, is_known in (
        ([there, back], True),
        ([there, v2.Resize((9, 7)), back], True),
        ([there, v2.Resize((9, 7), v2.InterpolationMode.BICUBIC), back], False),
        ([v2.ToDtype(torch.float32), back], False),
        ([there, v2.Normalize([0.5], [0.5]), back, v2.Grayscale()], False),
        ([there, v2.Normalize([0.0], [1.0]), v2.ToDtype(torch.uint8)], True),
    ):
        transform = v2.Compose(steps)
        spec = ImageSpec((3, 17, 11), "uint8", "tensor")
        if is_known:
            derive(transform, spec, "exact")
        else:
            with pytest.raises(UnsupportedTransformError, match="beyond black and white"):
                derive(transform, spec, "exact")
        assert torch.equal(onelayer.compile(transform)(image), transform(image))


def test_conversion_to_bytes_cuts_off_and_saturates() -> None:
    derived = derive(v2.ToDtype(torch.uint8, scale=True), ImageSpec((1, 1, 4), "float32", "tensor"))
    np.testing.assert_array_equal(derived.program.apply([[[-0.5, 0.5, 0.996, 1.5]]]), [[[0, 127, 254, 255]]])


def test_containers_are_those_of_torchvision() -> None:
    image = tv_tensors.Image(torch.rand(3, 8, 9))
    picture = f1.to_pil_image(image)
    array = np.array(picture)
    for transform, images in [
        (v2.Resize(4), [image, picture]),
        (v1.Resize(4), [image, picture]),
        (v1.Resize((8, 9)), [image]),
        (v1.RandomVerticalFlip(1), [image, tv_tensors.Image(torch.rand(3, 1, 9))]),
        (v1.RandomGrayscale(0), [image]),
        (v2.Compose([v2.ToImage(), v2.Resize(4), v2.ToPureTensor()]), [image, picture, array]),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([0.5], [0.5])]), [image, picture, array]),
        (v2.Compose([v2.ToImage(), v1.Normalize([0.5], [0.5])]), [image]),
        (v2.Compose([v2.PILToTensor(), v2.Resize(4)]), [image, picture]),
        (v1.ToTensor(), [picture, array]),
        (v2.ToPILImage(), [picture, array, f1.pil_to_tensor(picture)]),
        (v1.GaussianBlur(3, 1.0), [image, picture]),
    ]:
        for one in images:
            assert derive(transform, spec_of(one)).output_spec == spec_of(transform(one)), transform


def test_arrays_of_floats_are_not_scaled() -> None:
    derived = derive(v1.ToTensor(), ImageSpec((3, 4, 5), "float64", "numpy"))
    assert derived.output_spec == ImageSpec((3, 4, 5), "float64", "tensor")
    assert derived.program.stages == ()


def test_refusals(assert_refused: Any) -> None:
    for transform, spec, text in (
        (v2.ToDtype(torch.int64, scale=True), BYTES, "from uint8 to torch.int64"),
        (v1.ConvertImageDtype(torch.int16), FLOATS, "from float32 to torch.int16"),
        (v1.ConvertImageDtype(torch.float32), PICTURE, "it does not take a PIL image; expected a tensor or a"),
        (partial(f2.to_dtype, dtype=torch.float32), PICTURE, "it does not take a PIL image; expected a tensor or a"),
        (
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}),
            replace(BYTES, container="numpy"),
            "its diction",
        ),
        (v2.ToDtype({tv_tensors.Mask: torch.float32}), BYTES, "its dictionary"),
        (v1.ToTensor(), BYTES, "it does not take a tensor; expected a PIL image"),
        (v1.PILToTensor(), FLOATS, "it does not take a tensor; expected a PIL image"),
        (
            v1.ToPILImage(),
            PICTURE,
            "it does not take a PIL image; expected a tensor or a tv_tensors.Image or a NumPy array",
        ),
        (v2.ToPILImage(), FLOATS, "a uint8 tensor"),
        (v2.ToPILImage("HSV"), BYTES, "mode HSV"),
    ):
        for rounding in ("fused", "exact"):
            assert "Register" not in assert_refused(transform, spec, text, rounding).hint
