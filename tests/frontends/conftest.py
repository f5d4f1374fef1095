"""What a derived program is compared with: the real torchvision transform on the same image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from onelayer.algebra import Shape
from onelayer.frontends import Derived, ImageSpec, UnsupportedTransformError, base, derive
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
    """The range of an image's values, at least that of the input."""
    return max(1.0, float(np.ptp(image)))


def assert_spec(derived: Derived, result: Any, case: str) -> None:
    """The output spec is that of the original's result."""
    assert derived.output_spec == spec_of(result), case
    assert derived.program.out_shape == derived.output_spec.shape, case


@pytest.fixture
def assert_floats() -> Callable[..., None]:
    """Compares on float tensors in [0, 1], as float32 and as float64."""

    def check(transform: Callable[..., Any], shape: Shape, exact: float | None = 1e-13) -> None:
        image, case = np.random.default_rng(0).random(shape), f"{transform} of {shape}"
        if exact is not None:
            derived = derive(transform, ImageSpec(shape, "float64", "tensor"))
            expected = as_array(transform(torch.from_numpy(image)))
            # In float64 only roundings of 1e-16 each are left, unless the pipeline itself goes to float32.
            atol = exact * reach(expected)
            np.testing.assert_allclose(derived.program.apply(image), expected, rtol=0, atol=atol, err_msg=case)
        derived = derive(transform, ImageSpec(shape, "float32", "tensor"))
        single = image.astype(np.float32)
        result = transform(torch.from_numpy(single))
        assert_spec(derived, result, case)
        # Torch keeps weights and sums in float32, of 6e-8 relative precision, and adds up a few dozen of them.
        atol = 2e-6 * reach(as_array(result))
        np.testing.assert_allclose(derived.program.apply(single), as_array(result), rtol=0, atol=atol, err_msg=case)

    return check


@pytest.fixture
def assert_bytes() -> Callable[..., None]:
    """Compares on uint8 tensors or PIL images, of values low … high; ``levels`` are those of uint8."""

    def check(transform: Callable[..., Any], spec: ImageSpec, levels: float, low: int = 0, high: int = 255) -> None:
        image, case = pixels(spec.shape, low, high), f"{transform} of {spec}"
        derived = derive(transform, spec)
        result = transform(as_pil(image) if spec.container == "pil" else torch.from_numpy(image))
        assert_spec(derived, result, case)
        # Of floats of 1/255 each, torch keeps float32.
        atol = levels if derived.output_spec.dtype == "uint8" else levels / 255 + 2e-6
        np.testing.assert_allclose(derived.program.apply(image), as_array(result), rtol=0, atol=atol, err_msg=case)

    return check


@pytest.fixture
def assert_refused() -> Callable[..., UnsupportedTransformError]:
    """Sees that a transform is refused with some text, and gives the error."""

    def check(transform: Any, spec: ImageSpec, text: str, rounding: Any = "fused") -> UnsupportedTransformError:
        pipeline = v2.Compose([v2.Identity(), v2.Compose([v2.RandomHorizontalFlip(p=1), transform])])
        with pytest.raises(UnsupportedTransformError) as caught:
            derive(pipeline, spec, rounding)
        error = caught.value
        assert text in str(error), transform
        assert error.stage == 2, transform
        assert (error.shape, error.dtype) == (spec.shape, spec.dtype), transform
        assert error.hint, transform
        assert f"in {error.transform} (step 2)" in str(error), transform
        return error

    return check


@pytest.fixture
def handlers() -> Iterator[dict[Any, Any]]:
    """Forgets the handlers that a test registers, and what their transforms were stated as before."""
    registries: list[Any] = [base.HANDLERS, base.STEPS, base.SEQUENCES, base.ANY_SIZE]
    before = [registry.copy() for registry in registries]
    yield base.HANDLERS
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)
