"""Every recipe learns a layer, and says how far it is."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from onelayer import OnelayerError, Pipeline
from onelayer.reproduction.recipes import WHITENED_SETTINGS, LearnedLayer, learn
from onelayer.reproduction.records import TrainingSettings

TRANSFORM = v2.Compose([v2.Resize((4, 3)), v2.Grayscale(), v2.RandomHorizontalFlip(p=1)])


def smooth_images(count: int, seed: int = 0, size: tuple[int, int] = (6, 5)) -> NDArray[np.uint8]:
    """Neighbouring pixels are nearly equal, as in photographs."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(size=(count, 3, 3, 3)))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True).numpy()
    return np.clip(127 + 60 * smooth + random.normal(size=smooth.shape), 0, 255).astype(np.uint8)


IMAGES = smooth_images(400)


def psnr(learned: LearnedLayer) -> float:
    return float(-10 * np.log10(learned.history[-1].validation_mse))


@pytest.fixture(scope="module")
def exact() -> LearnedLayer:
    """The transforms, learned by least squares."""
    return learn(TRANSFORM, IMAGES)


def test_least_squares_is_exact_but_for_float32(exact: LearnedLayer) -> None:
    # Targets are float32, with errors of 3e-8.
    assert psnr(exact) > 130
    assert (len(exact.history), exact.images, exact.recipe) == (1, 360, "least-squares")
    images = torch.from_numpy(IMAGES[:5]) / 255
    torch.testing.assert_close(exact.layer()(images), TRANSFORM(images), atol=1e-5, rtol=0)
    # Least squares knows nothing of directions that images do not have; here noise leaves none out.
    assert exact.certificate.record.bound_units is not None
    assert exact.certificate.record.bound_units < 1e-3


def test_it_prints_in_one_line(exact: LearnedLayer) -> None:
    text = repr(exact)
    assert text.startswith("LearnedLayer(3×6×5 → 1×4×3, least-squares, 360 images, ")
    assert f"({psnr(exact):.1f} dB), proved error at most " in text
    assert text.endswith(" grey levels)")
    assert len(text) < 200


def test_adam_on_whitened_images_learns() -> None:
    learned = learn(TRANSFORM, IMAGES, recipe="adam-whitened")
    assert (learned.recipe, len(learned.history)) == ("adam-whitened", WHITENED_SETTINGS.epochs)
    assert learned.history[-1].validation_mse < learned.history[0].validation_mse


@pytest.mark.exhaustive
def test_whitening_is_what_gradient_descent_lacks() -> None:
    images = smooth_images(900, size=(8, 9))
    settings = TrainingSettings(epochs=12, batch_size=32, patience=12, lr=0.01)
    plain = learn(TRANSFORM, images, recipe="report", settings=settings)
    whitened = learn(TRANSFORM, images, recipe="adam-whitened", settings=settings)
    assert len(plain.history) == len(whitened.history) == 12
    # As many steps, which begin with the same size.
    assert psnr(whitened) > psnr(plain) + 8


def test_the_same_seed_gives_the_same_layer() -> None:
    settings = TrainingSettings(epochs=2, batch_size=128, seed=5)
    one, other = (learn(TRANSFORM, IMAGES, recipe="report", settings=settings) for _ in range(2))
    np.testing.assert_array_equal(one.operator.weight, other.operator.weight)
    assert [epoch.epoch for epoch in one.history] == [1, 2]


def test_any_function_of_batches_and_images_to_validate() -> None:
    def function(images: torch.Tensor) -> torch.Tensor:
        batch, _, _, _ = images.shape  # one image has no batch to name
        return (2 * images - 1).flip(-1).reshape(batch, 3, 6, 5)

    learned = learn(function, torch.from_numpy(IMAGES), validation=smooth_images(50, 1))
    assert (learned.images, learned.certificate.record.bound_units) == (400, None)
    assert psnr(learned) > 130
    assert repr(learned).endswith("no proved bound)")


def test_too_few_images_are_warned_of_by_both_numbers() -> None:
    with pytest.warns(UserWarning, match=r"90 images to learn from, but 90 values in each.*do not determine the layer"):
        learn(TRANSFORM, IMAGES[:90], validation=IMAGES[90:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(TRANSFORM, IMAGES[:91], validation=IMAGES[91:])


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
        ({"transform": 3}, "int was given as a function"),
        (
            {"transform": lambda images: images[0]},
            r"gave float32 \(3, 6, 5\) for a batch of two.*float32 \[2, C', H', W'",
        ),
        ({"transform": lambda images: images.double()}, r"gave float64 \(2, 3, 6, 5\)"),
        ({"transform": lambda images: images.numpy()}, "gave ndarray for a batch"),
        (
            {"transform": lambda images: 1 / 0},
            r"failed on a batch of images: ZeroDivisionError.*\[N, C, H, W\] in \[0, 1\]",
        ),
    ],
)
def test_what_is_refused(changed: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"transform": TRANSFORM, "images": IMAGES} | changed
    with pytest.raises(OnelayerError, match=said):
        learn(arguments.pop("transform"), arguments.pop("images"), **arguments)


def test_it_is_silent_unless_progress_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    learn(TRANSFORM, IMAGES)
    assert capfd.readouterr() == ("", "")
    learn(TRANSFORM, IMAGES, progress=True)
    captured = capfd.readouterr()
    assert "Summing" in captured.err
    assert captured.out == ""


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert learn(TRANSFORM, IMAGES).recipe == "least-squares"
    with pytest.raises(OnelayerError, match=r"gradient descent needs tensorboard.*pip install 'onelayer\[reproduce\]'"):
        learn(TRANSFORM, IMAGES, recipe="report")
