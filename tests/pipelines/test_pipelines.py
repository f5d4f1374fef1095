"""The ground truth is what it says: checked against arithmetic written out here, and against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from onelayer import OnelayerError, pipelines

REPORT = pipelines.named("report")


def triangle_weights(n_in: int, n_out: int) -> np.ndarray:
    """Bilinear antialiased resampling as a matrix, straight from its definition."""
    scale = n_in / n_out
    support = max(scale, 1.0)
    centres = (np.arange(n_out) + 0.5) * scale
    distance = np.abs(np.arange(n_in) + 0.5 - centres[:, None]) / support
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)


def test_report_is_resize_gray_and_both_flips() -> None:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    resize = triangle_weights(32, 28)
    gray = np.tensordot([0.2989, 0.587, 0.114], images.double().numpy(), (0, 1))
    expected = (resize @ gray @ resize.T)[:, None, ::-1, ::-1]
    # PyTorch computes weights in float32 too, from coordinates up to 32: errors of a few 1e-7 each, twice.
    np.testing.assert_allclose(REPORT(images).numpy(), expected, rtol=0, atol=2e-6)


def test_report_agrees_with_pillow_up_to_its_rounding() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((28, 28), Image.Resampling.BILINEAR).convert("L")
    image = image.transpose(Image.Transpose.ROTATE_180)
    ours = REPORT(torch.from_numpy(pixels).permute(2, 0, 1) / 255)[0].numpy() * 255
    # Pillow rounds after each of the two passes and after the conversion: at most half a level each time.
    assert np.abs(ours - np.asarray(image, dtype=float)).max() <= 1.5


def test_one_image_and_a_batch_and_none() -> None:
    images = torch.rand(3, 3, 32, 32)
    one_by_one = torch.stack([REPORT(image) for image in images])
    torch.testing.assert_close(REPORT(images), one_by_one, rtol=0, atol=1e-6)
    assert REPORT.output_shape == (1, 28, 28)
    assert REPORT(torch.zeros(0, 3, 32, 32)).shape == (0, 1, 28, 28)


@pytest.mark.parametrize("images", [torch.zeros(3, 28, 28), torch.zeros(1, 32, 32), torch.zeros(3, 32, 32).byte()])
def test_wrong_images_are_named(images: torch.Tensor) -> None:
    with pytest.raises(OnelayerError, match=r"'report'.*expected floating point") as caught:
        REPORT(images)
    assert caught.value.shape == tuple(images.shape)
    assert caught.value.dtype == str(images.dtype)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(OnelayerError, match=r"'nonsense'; expected one of cifar10, .*report.*, yolo$"):
        pipelines.named("nonsense")
    with pytest.raises(OnelayerError, match="Did you mean resnet50"):
        pipelines.named("ResNet-50")


def test_summary_names_every_step() -> None:
    summary = REPORT.summary()
    assert [step.split("(")[0] for step in summary.steps] == [
        "Resize", "Grayscale", "RandomHorizontalFlip", "RandomVerticalFlip",
    ]  # fmt: skip
    assert "size=[28, 28]" in summary.steps[0]
    assert "antialias=True" in summary.steps[0]
