from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from skimage.metrics import structural_similarity
from torch import nn
from torchvision.transforms import v2

from onelayer import DenseLayer, OnelayerError, Pipeline
from onelayer.layer import compile as compile_transforms
from onelayer.reproduction.comparison import compare
from onelayer.reproduction.records import MetricsRecord
from onelayer.reproduction.run_folder import RunFolder

Pixels = Callable[..., NDArray[np.uint8]]


class Off(nn.Module):
    """The pipeline, with one output value of one image moved by so much."""

    def __init__(self, pipeline: Pipeline, by: float, where: tuple[int, ...], marker: float) -> None:
        super().__init__()
        self.pipeline, self.by, self.where, self.marker = pipeline, by, where, marker

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.pipeline(images).clone()
        for image, output in zip(images, outputs, strict=True):
            if float(image[0, 0, 0]) == self.marker:
                output[self.where] += self.by
        return outputs


def test_one_wrong_value_in_one_image(flip: Pipeline, random_pixels: Pixels) -> None:
    pixels = random_pixels(1201, flip.input_shape)  # three batches, the last of another size
    pixels[:, 0, 0, 0] = np.minimum(pixels[:, 0, 0, 0], 254)
    pixels[1107, 0, 0, 0] = 255
    record = compare(flip, {"off": Off(flip, -0.5, (1, 4, 2), 1.0)}, pixels).record
    (metrics,) = record.layers
    assert metrics.worst_image == 1107
    assert metrics.max_grey_levels == pytest.approx(127.5, rel=1e-6)
    assert metrics.mse == pytest.approx(0.25 / (1201 * 2 * 5 * 3), rel=1e-6)
    assert metrics.psnr_db == pytest.approx(10 * np.log10(1 / metrics.mse), rel=1e-6)
    assert metrics.ssim is None, "5×3 is smaller than SSIM's window"


def test_an_exact_layer(flip: Pipeline, random_pixels: Pixels) -> None:
    metrics = compare(flip, {"itself": Exact(flip)}, random_pixels(3, flip.input_shape)).record.layers[0]
    assert (metrics.mse, metrics.psnr_db, metrics.max_grey_levels) == (0.0, None, 0.0)


class Exact(nn.Module):
    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pipeline(images)


def test_ssim_is_that_of_scikit_image(random_pixels: Pixels) -> None:
    pipeline = Pipeline("gray", lambda images: images.mean(-3, keepdim=True), (3, 17, 23))
    noise = torch.linspace(-0.2, 0.2, 17 * 23).reshape(1, 17, 23)

    class Noisy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return pipeline(images) + noise

    pixels = random_pixels(4, (3, 17, 23))
    ours = compare(pipeline, {"noisy": Noisy()}, pixels).record.layers[0].ssim
    truth = (torch.from_numpy(pixels).double() / 255).mean(1).numpy()
    # Wang et al.'s settings. torchmetrics mirrors the image at its border by half a window and averages over all of
    # it; scikit-image averages over what is half a window from the border, so it is given the mirrored image.
    expected = [
        structural_similarity(
            np.pad(image, 5, "reflect"), np.pad(image + noise[0].double().numpy(), 5, "reflect"), data_range=1.0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for image in truth
    ]  # fmt: skip
    assert ours == pytest.approx(np.mean(expected), abs=1e-4)


def test_pictures_are_the_examples_and_the_worst(tmp_path: Path, flip: Pipeline, random_pixels: Pixels) -> None:
    pixels = random_pixels(21, flip.input_shape)
    pixels[:, 0, 0, 0] = np.minimum(pixels[:, 0, 0, 0], 254)
    pixels[7, 0, 0, 0] = 255
    comparison = compare(flip, {"learned": Off(flip, 0.1, (0, 0, 0), 1.0), "exact": Exact(flip)}, pixels)
    comparison.write(RunFolder(tmp_path))
    record = MetricsRecord.read(tmp_path / "metrics.json")
    assert record == comparison.record
    assert record.examples == (0, 5, 10, 15, 20)
    pictures = load_file(tmp_path / "comparison.safetensors")
    shown = pixels[[0, 5, 10, 15, 20, 7]]
    np.testing.assert_array_equal(pictures["inputs"], shown.astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_array_equal(pictures["truth"], pictures["inputs"][..., ::-1])
    np.testing.assert_array_equal(pictures["layer.exact"], pictures["truth"])
    assert np.argwhere(pictures["layer.learned"] != pictures["truth"]).tolist() == [[5, 0, 0, 0]]


def test_fewer_images_than_examples(flip: Pipeline, random_pixels: Pixels) -> None:
    comparison = compare(flip, {"itself": Exact(flip)}, random_pixels(2, flip.input_shape))
    assert comparison.record.examples == (0, 1)
    assert len(comparison.pictures["inputs"]) == 3


def test_nothing_to_compare(flip: Pipeline, random_pixels: Pixels) -> None:
    with pytest.raises(OnelayerError, match="0 images and 1 layers"):
        compare(flip, {"itself": Exact(flip)}, random_pixels(0, flip.input_shape))


def test_the_weights_of_one_output_value(random_pixels: Pixels) -> None:
    pipeline = Pipeline("small", v2.Compose([v2.Resize((5, 8)), v2.Grayscale()]), (3, 9, 11))
    dense = DenseLayer(pipeline.input_shape, pipeline.output_shape)
    layers = {"learned": dense, "derived": compile_transforms(pipeline.transform)}
    found = compare(pipeline, layers, random_pixels(3, pipeline.input_shape))
    assert found.record.weight_pixel == (0, 2, 4)
    np.testing.assert_array_equal(found.pictures["weights.learned"].ravel(), dense.weight[2 * 8 + 4].detach().numpy())
    # The transforms are linear: each weight is what an image that is white in one value gives there.
    impulses = torch.eye(3 * 9 * 11).reshape(-1, *pipeline.input_shape)
    np.testing.assert_allclose(
        found.pictures["weights.derived"].ravel(), pipeline(impulses)[:, 0, 2, 4].numpy(), rtol=0, atol=1e-6
    )
    opaque = compare(pipeline, {"opaque": nn.Sequential(dense)}, random_pixels(3, pipeline.input_shape))
    assert opaque.record.weight_pixel is None
    assert "weights.opaque" not in opaque.pictures


def test_what_is_proved_stands_beside_what_is_measured(random_pixels: Pixels) -> None:
    pipeline = Pipeline("mirror", v2.RandomHorizontalFlip(p=1), (2, 5, 3))
    layer = DenseLayer(pipeline.input_shape, pipeline.output_shape)
    with torch.no_grad():
        layer.weight.copy_(pipeline(torch.eye(30).reshape(30, 2, 5, 3)).reshape(30, 30).T)
        layer.bias.zero_()
        layer.weight[4, 9] += 0.125
    pixels = random_pixels(6, pipeline.input_shape)
    learned, derived, unknown = compare(
        pipeline,
        {"learned": layer, "derived": compile_transforms(pipeline.transform), "unknown": Exact(pipeline)},
        pixels,
    ).record.layers
    # An eighth of white, and the rounding of two products.
    assert learned.bound_grey_levels == pytest.approx(255 / 8, abs=1e-3)
    assert learned.max_grey_levels < learned.bound_grey_levels
    assert derived.bound_grey_levels == 0.0
    assert unknown.bound_grey_levels is None
