"""What a derived program is compared with: the real torchvision transform on the same image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from onelayer.algebra import Shape
from onelayer.frontends import Derived, ImageSpec, derive
from onelayer.images.containers import spec_of


def pixels(shape: Shape, low: int = 0, high: int = 255) -> NDArray[np.uint8]:
    return np.random.default_rng(sum(shape)).integers(low, high, shape, dtype=np.uint8, endpoint=True)


def as_pil(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))


def as_array(result: Any) -> NDArray[np.float64]:
    if isinstance(result, Image.Image):
        array = np.asarray(result)
        return (array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)).astype(np.float64)
    return result.numpy().astype(np.float64)


def reach(image: NDArray[np.float64]) -> float:
    """The range of an image's values, at least that of what was given."""
    return max(1.0, float(np.ptp(image)))


def assert_kind(derived: Derived, result: Any) -> None:
    """What is said to leave the pipeline is what leaves it."""
    assert derived.after == spec_of(result)
    assert derived.program.out_shape == derived.after.shape


@pytest.fixture
def assert_floats() -> Callable[..., None]:
    """Float tensors in [0, 1], as float32 and as float64."""

    def check(transform: Callable[..., Any], shape: Shape, exact: float | None = 1e-13) -> None:
        image = np.random.default_rng(0).random(shape)
        if exact is not None:
            derived = derive(transform, ImageSpec(shape, "float64", "tensor"))
            expected = as_array(transform(torch.from_numpy(image)))
            # In float64 only roundings of 1e-16 each are left, unless the pipeline itself goes to float32.
            np.testing.assert_allclose(derived.program.apply(image), expected, rtol=0, atol=exact * reach(expected))
        derived = derive(transform, ImageSpec(shape, "float32", "tensor"))
        single = image.astype(np.float32)
        result = transform(torch.from_numpy(single))
        assert_kind(derived, result)
        # Torch keeps weights and sums in float32, of 6e-8 relative precision, and adds up a few dozen of them.
        atol = 2e-6 * reach(as_array(result))
        np.testing.assert_allclose(derived.program.apply(single), as_array(result), rtol=0, atol=atol)

    return check


@pytest.fixture
def assert_bytes() -> Callable[..., None]:
    """uint8 tensors or PIL images, of values low … high; ``levels`` are those of uint8."""

    def check(transform: Callable[..., Any], given: ImageSpec, levels: float, low: int = 0, high: int = 255) -> None:
        image = pixels(given.shape, low, high)
        derived = derive(transform, given)
        result = transform(as_pil(image) if given.container == "pil" else torch.from_numpy(image))
        assert_kind(derived, result)
        # Of floats of 1/255 each, torch keeps float32.
        atol = levels if derived.after.dtype == "uint8" else levels / 255 + 2e-6
        np.testing.assert_allclose(derived.program.apply(image), as_array(result), rtol=0, atol=atol)

    return check
