"""Images as pixels and specs, and back."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from onelayer import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import image_of, pixels_of, spec_of

BYTES = np.random.default_rng(0).integers(0, 256, (17, 11, 3), dtype=np.uint8)

IMAGES = {
    "tensor": (torch.from_numpy(BYTES).movedim(-1, 0), ImageSpec((3, 17, 11), "uint8", "tensor")),
    "batch": (torch.rand(0, 3, 17, 11).bfloat16(), ImageSpec((3, 17, 11), "bfloat16", "tensor")),
    "image": (tv_tensors.Image(torch.rand(1, 2, 3)), ImageSpec((1, 2, 3), "float32", "image")),
    "pil": (PIL.Image.fromarray(BYTES), ImageSpec((3, 17, 11), "uint8", "pil")),
    "gray pil": (PIL.Image.fromarray(BYTES[..., 0]), ImageSpec((1, 17, 11), "uint8", "pil")),
    "numpy": (BYTES, ImageSpec((3, 17, 11), "uint8", "numpy")),
    "plane": (BYTES[..., 0] / 255, ImageSpec((1, 17, 11), "float64", "numpy")),
    "arrays": (np.zeros((2, 17, 11, 5), np.float16), ImageSpec((5, 17, 11), "float16", "numpy")),
}


@pytest.mark.parametrize("name", IMAGES)
def test_specs(name: str) -> None:
    image, spec = IMAGES[name]
    assert spec_of(image) == spec
    assert tuple(pixels_of(image).shape[-3:]) == spec.shape


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "plane"])
def test_there_and_back(name: str) -> None:
    image, spec = IMAGES[name]
    back = image_of(pixels_of(image), spec)
    assert type(back) is type(image) or isinstance(image, PIL.Image.Image)
    assert spec_of(back) == spec
    np.testing.assert_array_equal(pixels_of(back).double(), pixels_of(image).double())


@pytest.mark.parametrize("view", [BYTES[::-1], BYTES[:, ::-2], BYTES.transpose(1, 0, 2), BYTES[..., ::-1], BYTES[3:9]])
def test_any_strides(view: np.ndarray) -> None:
    np.testing.assert_array_equal(pixels_of(view).numpy(), view.transpose(2, 0, 1))


def test_memory_is_shared_where_it_can_be() -> None:
    array = BYTES.copy()
    pixels = pixels_of(array)
    array[0, 0, 0] ^= 1
    assert int(pixels[0, 0, 0]) == array[0, 0, 0]
    array.setflags(write=False)
    np.testing.assert_array_equal(pixels_of(array).numpy(), array.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("photo.jpg", "str was given"),
        (None, "NoneType was given"),
        (torch.zeros(32, 32), r"shape \(32, 32\)"),
        (np.zeros(7), r"shape \(7,\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), object), "object"),
        (torch.zeros(3, 0, 4), "without pixels"),
        (np.zeros((0, 4, 3)), "without pixels"),
        (PIL.Image.new("CMYK", (2, 2)), r"mode CMYK.*\.convert\('RGB'\) before"),
        (PIL.Image.new("I;16", (2, 2)), r"mode I;16.*would cut them off"),
        (PIL.Image.new("F", (2, 2)), r"mode F.*would cut them off"),
        (PIL.Image.new("RGB", (0, 2)), "without pixels"),
    ],
)
def test_bad_images(image: object, text: str) -> None:
    with pytest.raises(OnelayerError, match=text):
        spec_of(image)  # type: ignore[arg-type]
