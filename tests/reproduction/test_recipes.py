"""Every recipe learns a layer, and says how far it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from onelayer import OnelayerError, Pipeline
from onelayer.reproduction.recipes import WHITENED_SETTINGS, learn
from onelayer.reproduction.records import TrainingSettings

SHAPE = (3, 8, 9)
TRANSFORM = v2.Compose([v2.Resize((4, 5)), v2.Grayscale(), v2.RandomHorizontalFlip(p=1)])


def smooth_images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Neighbouring pixels are nearly equal, as in photographs."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(size=(count, 3, 3, 3)))
    smooth = torch.nn.functional.interpolate(coarse, size=SHAPE[1:], mode="bicubic", align_corners=True).numpy()
    return np.clip(127 + 60 * smooth + random.normal(size=smooth.shape), 0, 255).astype(np.uint8)


IMAGES = smooth_images(900)


def psnr(learned: Any) -> float:
    return float(-10 * np.log10(learned.history[-1].validation_mse))


def test_least_squares_is_exact_but_for_float32() -> None:
    learned = learn(TRANSFORM, IMAGES)
    # Targets are float32, with errors of 3e-8.
    assert psnr(learned) > 130
    assert (len(learned.history), learned.images, learned.recipe) == (1, 810, "least-squares")
    images = torch.from_numpy(IMAGES[:5]) / 255
    torch.testing.assert_close(learned.layer()(images), TRANSFORM(images), atol=1e-5, rtol=0)
    # Least squares knows nothing of directions that images do not have; here noise leaves none out.
    assert learned.certificate.record.bound_units is not None
    assert learned.certificate.record.bound_units < 1e-3


def test_whitening_is_what_gradient_descent_lacks() -> None:
    settings = TrainingSettings(epochs=12, batch_size=32, patience=12, lr=0.01)
    plain = learn(TRANSFORM, IMAGES, recipe="report", settings=settings)
    whitened = learn(TRANSFORM, IMAGES, recipe="adam-whitened", settings=settings)
    assert len(plain.history) == len(whitened.history) == 12
    # As many steps, which begin with the same size.
    assert psnr(whitened) > psnr(plain) + 8
    assert WHITENED_SETTINGS.epochs == 5


def test_the_report_is_what_it_was() -> None:
    settings = TrainingSettings(epochs=2, batch_size=64, seed=5)
    one, other = (learn(TRANSFORM, IMAGES, recipe="report", settings=settings) for _ in range(2))
    np.testing.assert_array_equal(one.operator.weight, other.operator.weight)
    assert [epoch.epoch for epoch in one.history] == [1, 2]


def test_any_function_and_images_to_validate() -> None:
    learned = learn(lambda images: 2 * images.flip(-1) - 1, torch.from_numpy(IMAGES), validation=smooth_images(50, 1))
    assert (learned.images, learned.certificate.record.bound_units) == (900, None)
    assert psnr(learned) > 130
    assert learned.certificate.record.given is not None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe": "guess"}, "one of report, least-squares, adam-whitened"),
        ({"images": IMAGES / 255}, r"uint8 \[N, C, H, W\]"),
        ({"images": IMAGES[0]}, r"uint8 \[N, C, H, W\]"),
        ({"images": IMAGES[:1]}, "at least 2"),
        ({"validation": IMAGES[:5, :, 1:]}, "of one size"),
        ({"validation": IMAGES[:0]}, "at least one of each"),
        ({"transform": Pipeline("mine", TRANSFORM, (3, 8, 8))}, r"\(3, 8, 8\)"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"transform": TRANSFORM, "images": IMAGES} | changed
    with pytest.raises(OnelayerError, match=said):
        learn(arguments.pop("transform"), arguments.pop("images"), **arguments)
