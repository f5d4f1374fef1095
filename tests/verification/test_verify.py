from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer import DenseLayer, OnelayerError, Pipeline, pipelines
from onelayer.frontends import ImageSpec
from onelayer.verification import proved_bound, verify
from onelayer.verification.certificate import CertificateRecord

Exactly = Callable[[Pipeline], DenseLayer]

MIRROR = Pipeline("mirror", v2.RandomHorizontalFlip(p=1), (2, 5, 3))
NORMALIZE = v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def as_bytes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


class Off(nn.Module):
    """A pipeline, wrong by so much in one place."""

    def __init__(self, transform: Any, by: float, place: tuple[int, int, int]) -> None:
        super().__init__()
        self.transform, self.by, self.place = transform, by, place

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.transform(image).clone()
        output[(..., *self.place)] += self.by
        return output


def test_a_wrong_weight_is_found_and_proved(exactly: Exactly) -> None:
    layer = exactly(MIRROR)
    with torch.no_grad():
        # Of two channels at the same place, which the plain images do not tell apart: they see half of it.
        layer.weight[7, 3] += 0.25
        layer.weight[7, 18] -= 0.125
    certificate = verify(layer, MIRROR)
    record = certificate.record
    assert record.worst_pixel == record.bound_pixel == (0, 2, 1)
    # The first image to be white in the one and black in the other: of the pixel that copies the first.
    assert record.worst_image == "highest value of output pixel (0, 1, 2)"
    assert certificate.worst_image.ravel()[[3, 18]].tolist() == [1.0, 0.0]
    # The measured error is the bound, but for the rounding that the bound allows for: sums of three terms below 1.5.
    assert record.adversarial.max_units == pytest.approx(0.25, abs=1e-7)
    assert record.bound_units is not None
    assert record.adversarial.max_units <= record.bound_units <= record.adversarial.max_units + 1e-6
    assert record.adversarial.max_grey_levels == pytest.approx(63.75, rel=1e-6)
    assert np.argwhere(certificate.error_map > 1e-6).tolist() == [[0, 2, 1]]
    assert certificate.error_map[0, 2, 1] == pytest.approx(0.25, abs=1e-7)
    assert record.extreme_pixels == 30
    assert record.extreme_images == 120
    assert record.adversarial.count == record.all.count == 130
    assert record.images is None
    assert record.no_bound_because is record.no_extremes_because is None


def test_only_the_extreme_of_the_difference_attains_the_bound(exactly: Exactly) -> None:
    layer = exactly(MIRROR)
    random = np.random.default_rng(1)
    with torch.no_grad():
        wrong = torch.tensor(random.normal(size=30), dtype=torch.float32) / 100
        layer.weight[11] += wrong
    record = verify(layer, MIRROR).record
    assert record.worst_image in (
        "largest difference of output pixel (0, 3, 2)",
        "smallest difference of output pixel (0, 3, 2)",
    )
    ends = float(wrong.clamp(min=0).sum()), float(-wrong.clamp(max=0).sum())
    # 31 terms, rounded to 6e-8 of their size.
    assert record.adversarial.max_units == pytest.approx(max(ends), abs=1e-6)
    assert record.bound_units == pytest.approx(max(ends), abs=1e-5)
    assert record.bound_units >= record.adversarial.max_units


def test_the_report_layer(exactly: Exactly) -> None:
    pipeline = pipelines.named("report")
    layer = exactly(pipeline)
    with torch.no_grad():
        layer.bias[400] -= 0.1
    record = verify(layer, pipeline, noise(5, 3, 32, 32), adversarial=10).record
    assert record.extreme_pixels == 12, "10 evenly spread, among them two corners, and the other two"
    assert record.images is not None
    assert record.images.count == 5
    assert record.images.max_units == pytest.approx(0.1, abs=1e-5)
    assert record.images.mse == pytest.approx(0.01 / 784, rel=1e-3)
    # The peak is white behind torchvision's grayscale, 0.9999.
    assert record.images.psnr_db == pytest.approx(10 * np.log10(784 / 0.01 * 0.9999**2), abs=0.01)
    assert record.images.ssim is not None
    assert 0.9 < record.images.ssim < 1
    assert record.all.count == 5 + record.adversarial.count


@pytest.mark.parametrize("image", [noise(3, 17, 11), as_bytes(3, 17, 11)], ids=["float", "bytes"])
def test_an_exact_layer(image: torch.Tensor) -> None:
    mirror = v2.RandomHorizontalFlip(p=1)
    certificate = verify(onelayer.compile(mirror), mirror, [image], adversarial=20)
    record = certificate.record
    for figures in (record.images, record.adversarial, record.all):
        assert figures is not None
        assert (figures.max_units, figures.max_grey_levels, figures.mse, figures.mismatch_rate) == (0.0, 0.0, 0.0, 0.0)
        assert figures.psnr_db is None
        assert figures.ssim == 1.0
    assert record.worst_image is record.worst_shape is record.worst_pixel is None
    assert record.bound_units == record.bound_grey_levels == 0.0
    assert record.guarantee == "Proved: identical for every image of 3×17×11."
    np.testing.assert_array_equal(certificate.worst_image, image.numpy())
    np.testing.assert_array_equal(certificate.prediction, image.numpy()[..., ::-1])
    assert not certificate.error_map.any()


def test_errors_are_counted_where_they_are() -> None:
    transform = v2.Identity()
    images = [noise(1, 17, 11, seed=1), noise(1, 4, 5, seed=2), noise(1, 17, 11, seed=3)]

    def layer(image: torch.Tensor) -> torch.Tensor:
        return image + 0.5 if image.shape == (1, 4, 5) else image

    record = verify(layer, transform, images).record
    assert record.worst_image == "image 1"
    assert record.worst_shape == (1, 4, 5)
    assert record.images is not None
    assert record.images.max_grey_levels == pytest.approx(127.5)
    assert record.images.mse == pytest.approx(0.25 * 20 / (2 * 187 + 20), rel=1e-6)
    assert record.images.mismatch_rate == pytest.approx(20 / (2 * 187 + 20))
    assert record.images.ssim == 1.0, "4×5 is smaller than SSIM's window"
    assert record.input_shapes == record.adversarial_shapes == ((1, 17, 11), (1, 4, 5)), "the most frequent first"


def test_grey_levels_of_each_channel() -> None:
    # 0.05 is more of the range of 1 / 0.4 than 0.09 of that of 1 / 0.2.
    class BothOff(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return NORMALIZE(image) + torch.tensor([0.09, 0.0, 0.05])[:, None, None]

    record = verify(BothOff(), NORMALIZE, [noise(3, 12, 13)]).record
    assert record.worst_pixel[0] == 2
    assert record.all.max_units == pytest.approx(0.09, abs=1e-6)
    assert record.all.max_grey_levels == pytest.approx(0.05 * 0.4 * 255, rel=1e-4)
    np.testing.assert_allclose(record.grey_level_units, 1 / (255 * np.array([0.2, 0.3, 0.4])), rtol=1e-9)
    mean = (0.09**2 * 0.2**2 + 0.05**2 * 0.4**2) / 3
    assert record.all.psnr_db == pytest.approx(-10 * np.log10(mean), abs=1e-3)
    assert record.all.mse == pytest.approx((0.09**2 + 0.05**2) / 3, rel=1e-4)
    assert record.no_bound_because == "the layer is neither a OneLayer nor a DenseLayer, so its weights are not known"
    assert record.extreme_images == 2 * record.extreme_pixels, "the pipeline is known all the same"


EVALUATION = v2.Compose(
    [v2.Resize(12), v2.CenterCrop(11), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), NORMALIZE]
)


def test_pil_images_of_different_sizes() -> None:
    images = [Image.fromarray(as_bytes(*size, 3).numpy()) for size in ((17, 11), (1, 1), (30, 40), (17, 11))]
    certificate = verify(onelayer.compile(EVALUATION, rounding="fused"), EVALUATION, images, adversarial=4)
    record = certificate.record
    assert record.inputs == ("uint8 pil",)
    assert record.input_shapes == ((3, 17, 11), (3, 1, 1), (3, 30, 40))
    assert (record.low, record.high) == (0.0, 255.0)
    assert record.output_dtypes == ("float32",)
    # Pillow rounds after each pass of a resize.
    assert 0.0 < record.all.max_grey_levels <= 2.0
    assert record.no_bound_because == "the original rounds between its steps, as it gives uint8 values after Resize"
    assert record.extreme_images > 0
    assert certificate.worst_image.dtype == np.uint8
    assert certificate.error_map.shape == (3, 11, 11)


def test_a_layer_that_rounds_as_the_original_does() -> None:
    images = [Image.fromarray(as_bytes(*size, 3).numpy()) for size in ((17, 11), (30, 40), (17, 11))]
    record = verify(onelayer.compile(EVALUATION), EVALUATION, images, adversarial=4).record
    assert record.all.count > 50
    assert (record.all.max_units, record.all.mismatch_rate, record.all.psnr_db) == (0.0, 0.0, None)
    assert (record.bound_units, record.bound_grey_levels, record.bound_rounding_units) == (0.0, 0.0, 0.0)
    assert record.extreme_images > 0, "the pipeline's weights are known"
    assert record.bit_exact
    assert record.guarantee == "Proved: identical for every image of 3×17×11 or 3×30×40."
    other = v2.Compose([v2.Resize(13), *EVALUATION.transforms[1:]])
    wrong = verify(onelayer.compile(other), EVALUATION, images, adversarial=0).record
    assert wrong.all.max_grey_levels > 1
    assert wrong.no_bound_because is not None
    assert not wrong.bit_exact
    assert "another program than the pipeline's" in wrong.no_bound_because


def test_arrays_and_wrapped_tensors() -> None:
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), NORMALIZE])
    arrays = [as_bytes(17, 11, 3).numpy(), as_bytes(1, 1, 3).numpy()]
    record = verify(onelayer.compile(transform, rounding="fused"), transform, arrays, adversarial=2).record
    assert record.inputs == ("uint8 numpy",)
    # Float32 roundings of values below 3.
    assert record.all.max_units <= 1e-6
    assert record.bound_units is not None
    wrapped = verify(
        onelayer.compile(transform, rounding="fused"), transform, [tv_tensors.Image(as_bytes(3, 4, 5))], adversarial=2
    ).record
    assert wrapped.inputs == ("uint8 image",)
    stacked = np.stack([arrays[0]] * 3)
    layer = onelayer.compile(transform, rounding="fused")
    batch = verify(layer, lambda x: transform(torch.from_numpy(x).movedim(-1, -3)), stacked, adversarial=2).record
    assert batch.images is not None
    assert batch.images.count == 3


def test_batches_go_in_as_batches() -> None:
    sizes = []

    def layer(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return nn.Sequential(nn.Flatten(), nn.Identity(), nn.Unflatten(1, (2, 5, 3)))(images)

    record = verify(layer, v2.Identity(), noise(70, 2, 5, 3)).record
    assert record.images is not None
    assert record.images.count == 70
    assert sizes[:3] == [64, 6, 10]
    assert record.all.max_units == 0.0


def test_nothing_is_known_of_functions() -> None:
    def original(image: torch.Tensor) -> torch.Tensor:
        return image.flip(-1) * 2

    record = verify(Off(original, 0.2, (1, 3, 2)), original, [noise(2, 5, 3)]).record
    assert record.transform == "test_nothing_is_known_of_functions.<locals>.original"
    assert record.adversarial.count == 10
    assert record.extreme_images == 0
    assert record.no_extremes_because is not None
    assert "original is not a transform that onelayer knows" in record.no_extremes_because
    assert "neither a OneLayer nor a DenseLayer" in record.no_extremes_because
    assert record.no_bound_because is not None
    assert "original is not a transform that onelayer knows" in record.no_bound_because
    # White is 2, as it was seen.
    assert record.all.max_grey_levels == pytest.approx(0.1 * 255, rel=1e-5)
    assert record.worst_pixel == (1, 3, 2)


def test_grey_levels_of_a_function_that_gives_the_same_for_black_and_white() -> None:
    def edges(image: torch.Tensor) -> torch.Tensor:
        return image[..., 1:] - image[..., :-1]

    record = verify(Off(edges, 0.2, (0, 3, 1)), edges, [noise(1, 5, 3)]).record
    # Stripes are the furthest apart: −1 and 1.
    np.testing.assert_allclose(record.grey_level_units, [2 / 255], rtol=1e-6)
    assert record.all.max_grey_levels == pytest.approx(0.1 * 255, rel=1e-4)


def test_nan_and_infinity_on_both_sides_are_equal() -> None:
    def strange(image: torch.Tensor) -> torch.Tensor:
        return torch.stack([image[0] / image[0], 1 / image[0]])

    image = noise(1, 12, 12)
    image[0, 0, 0] = 0.0
    record = verify(Off(strange, 0.5, (1, 4, 4)), strange, [image]).record
    assert record.images is not None
    assert record.images.max_units == pytest.approx(0.5, rel=1e-5)
    assert record.images.mismatch_rate == pytest.approx(1 / 288)
    with pytest.raises(OnelayerError, match=r"the layer gave 0.0 for image 0 at \(0, 0, 0\); expected nan"):
        verify(lambda x: strange(x).nan_to_num(), strange, [image])
    with pytest.raises(OnelayerError, match=r"expected inf"):
        verify(lambda x: torch.stack([strange(x)[0], -strange(x)[1]]), lambda x: strange(x), [image])


def test_a_transform_that_works_in_place_leaves_the_images_alone() -> None:
    inplace = v2.Normalize([0.5], [0.5], inplace=True)
    image = noise(1, 6, 7)
    before = image.clone()
    record = verify(onelayer.compile(inplace), inplace, [image]).record
    assert torch.equal(image, before)
    assert record.all.max_units <= 1e-6
    batch = noise(2, 1, 6, 7)
    before = batch.clone()
    verify(onelayer.compile(inplace), inplace, batch)
    assert torch.equal(batch, before)


def test_crops_are_compared_one_by_one() -> None:
    crops = v2.FiveCrop(5)
    layer = onelayer.compile(crops)

    def wrong(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, *others = layer(image)
        return first, *others[:-1], others[-1] + 0.25

    record = verify(wrong, crops, [noise(2, 8, 9)]).record
    assert record.worst_pixel[0] in (8, 9), "the fifth crop's channels"
    assert record.all.max_units == pytest.approx(0.25, abs=1e-6)
    stacked = v1.Compose([crops, v1.Lambda(torch.stack)])
    for images in ([noise(2, 8, 9)], noise(3, 2, 8, 9)):
        exact = verify(onelayer.compile(stacked), stacked, images).record
        assert exact.all.max_units == 0.0
        assert exact.no_bound_because is not None


def test_other_containers_and_dimensions_are_noticed() -> None:
    cases: list[tuple[Any, Any, str, str]] = [
        (lambda x: x, lambda x: x[..., 0], "an array of 3 dimensions", "an array of 2 dimensions"),
        (torch.from_numpy, lambda x: x, "a tensor of 3 dimensions", "an array of 3 dimensions"),
        (tv_tensors.Image, torch.from_numpy, "a tv_tensors.Image of 3 dimensions", "a tensor of 3 dimensions"),
        (lambda x: Image.fromarray(x[..., 0]), lambda x: x, "a PIL image", "an array of 3 dimensions"),
        (lambda x: (x,), lambda x: [x], "a tuple of an array of 3 dimensions", "a list of an array of 3 dimensions"),
    ]
    for layer, transform, ours, theirs in cases:
        record = verify(layer, transform, [as_bytes(1, 1, 1).numpy()]).record
        assert record.all.mismatch_rate == 0.0
        assert record.result_difference == f"the layer gives {ours}, the pipeline {theirs}"


def test_the_same_form_is_no_difference() -> None:
    for images in ([noise(2, 8, 9)], noise(3, 2, 8, 9), [as_bytes(8, 9, 3).numpy()]):
        for transform in (v2.FiveCrop(5), v2.Pad(2)):
            if isinstance(images[0], np.ndarray):
                transform = v2.Compose([v2.ToImage(), transform])
            certificate = verify(onelayer.compile(transform), transform, images, adversarial=0)
            assert certificate.record.result_difference is None


def test_nothing_is_printed_unless_progress_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    verify(v2.Identity(), v2.Identity(), [noise(1, 2, 2)])
    assert capfd.readouterr() == ("", "")
    verify(v2.Identity(), v2.Identity(), [noise(1, 2, 2)], progress=True)
    assert "images" in capfd.readouterr().err


def test_images_outside_of_the_range_are_counted() -> None:
    images = [noise(1, 4, 4), noise(1, 4, 4) * 3, noise(1, 4, 4) - 1]
    record = verify(onelayer.compile(v2.Identity()), v2.Identity(), images).record
    assert record.outside_range == 2
    wide = verify(onelayer.compile(v2.Identity()), v2.Identity(), images, input_range=(-1, 3)).record
    assert wide.outside_range == 0
    assert (wide.low, wide.high) == (-1.0, 3.0)
    assert wide.grey_level_units == pytest.approx([4 / 255])


def test_of_many_sizes_the_most_frequent_get_adversarial_images() -> None:
    images = [noise(1, side, 3) for side in (1, 2, 3, 4, 5, 6, 6, 5)]
    record = verify(onelayer.compile(v2.Identity()), v2.Identity(), images).record
    assert record.adversarial_shapes == record.bound_shapes == ((1, 5, 3), (1, 6, 3), (1, 1, 3), (1, 2, 3))
    assert len(record.input_shapes) == 6
    assert record.adversarial.count == 4 * 10 + record.extreme_images


def test_the_seed_is_that_of_the_noise() -> None:
    def marked(image: torch.Tensor) -> torch.Tensor:
        seen.append(float(image.flatten()[0]))
        return image

    drawn = []
    for seed in (1, 1, 2):
        seen: list[float] = []
        verify(marked, v2.Identity(), [noise(1, 2, 2)], seed=seed)
        drawn.append(seen)
    assert drawn[0] == drawn[1] != drawn[2]


REFUSED: dict[str, tuple[Any, str]] = {
    "no images": ([], "no images were given"),
    "an empty batch": (torch.zeros(0, 3, 4, 4), "no images were given"),
    "one image": (noise(3, 4, 4), "Put one image into a list"),
    "a path": (3, "int was given as images"),
    "a text": ([torch.rand(3, 4, 4), "photograph.jpg"], "image 1: str was given as an image"),
    "a batch in a list": ([noise(2, 3, 4, 4)], "image 0 of the list has 4 dimensions"),
    "integers": ([torch.zeros(3, 4, 4, dtype=torch.int64)], "image 0: an image of this dtype"),
    "no pixels": ([torch.zeros(3, 0, 4)], "image 0: an image without pixels"),
    "two dtypes": ([noise(3, 4, 4), as_bytes(3, 4, 4)], "images of float32 and uint8"),
}


@pytest.mark.parametrize(("images", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_images_that_are_refused(images: Any, problem: str) -> None:
    with pytest.raises(OnelayerError, match=problem):
        verify(v2.Identity(), v2.Identity(), images)


def test_sides_that_do_not_fit() -> None:
    image = [noise(3, 8, 8)]
    with pytest.raises(OnelayerError, match=r"gave float32 \(3, 8, 8\) for image 0; expected float32 \(1, 8, 8\)"):
        verify(v2.Identity(), v2.Grayscale(), image)
    with pytest.raises(OnelayerError, match=r"gave float64 \(3, 8, 8\) for image 0; expected float32 \(3, 8, 8\)"):
        verify(v2.ToDtype(torch.float64), v2.Identity(), image)
    with pytest.raises(OnelayerError, match="the layer gave NoneType"):
        verify(lambda _: None, v2.Identity(), image)
    with pytest.raises(OnelayerError, match="the pipeline gave a tensor of shape"):
        verify(v2.Identity(), lambda x: x[0], image)
    with pytest.raises(OnelayerError, match="the pipeline failed on image 0: ValueError: too dark"):
        verify(v2.Identity(), failing, image)
    with pytest.raises(OnelayerError, match="the layer failed on a batch from image 0 to image 1"):
        verify(failing, v2.Identity(), noise(2, 3, 8, 8))
    with pytest.raises(OnelayerError, match="for a batch of 2 images"):
        verify(lambda x: x[:1], v2.Identity(), noise(2, 3, 8, 8))


def failing(image: torch.Tensor) -> torch.Tensor:
    raise ValueError("too dark")


def test_the_size_must_come_from_somewhere() -> None:
    with pytest.raises(OnelayerError, match="neither the layer nor the pipeline says which size"):
        verify(onelayer.compile(v2.Identity()), v2.Identity())
    assert verify(onelayer.compile(MIRROR.transform), MIRROR, adversarial=0).record.adversarial.count == 10


@pytest.mark.parametrize("input_range", [(1, 0), (0, float("inf")), (float("nan"), 1), (0.5, 0.5)])
def test_no_range(input_range: tuple[float, float]) -> None:
    with pytest.raises(OnelayerError, match="the input range"):
        verify(v2.Identity(), v2.Identity(), [noise(1, 2, 2)], input_range=input_range)


def test_bytes_have_a_range_of_their_own() -> None:
    for input_range in ((-1, 255), (0, 256), (0.5, 200)):
        with pytest.raises(OnelayerError, match=r"whole numbers in 0 … 255"):
            verify(v2.Identity(), v2.Identity(), [as_bytes(1, 2, 2)], input_range=input_range)


def test_a_negative_number_of_pixels() -> None:
    with pytest.raises(OnelayerError, match="extreme images of -1 output pixels"):
        verify(v2.Identity(), v2.Identity(), [noise(1, 2, 2)], adversarial=-1)


def test_half_precision() -> None:
    image = noise(3, 12, 11).bfloat16()
    certificate = verify(onelayer.compile(NORMALIZE), NORMALIZE, [image], adversarial=3)
    assert certificate.worst_image.dtype == np.float32, "NumPy has no bfloat16"
    bound = proved_bound(onelayer.compile(NORMALIZE), NORMALIZE, ImageSpec((3, 12, 11), "bfloat16", "tensor"))
    assert certificate.record.bound_units == bound.units


def test_a_certificate_comes_back_from_json(exactly: Exactly) -> None:
    certificate = verify(exactly(MIRROR), MIRROR, noise(2, 2, 5, 3))
    assert CertificateRecord.model_validate_json(certificate.to_json()) == certificate.record


def test_a_layer_in_the_place_of_the_pipeline() -> None:
    transform = v2.Resize((4, 5))
    layer = onelayer.compile(transform)
    images = [torch.zeros(3, 8, 9, dtype=torch.uint8)]
    with pytest.raises(
        OnelayerError, match=r"(?s)OneLayer was given as the pipeline.*verify\(layer, transform, images\)"
    ):
        verify(transform, layer, images, adversarial=0)
    # Two layers can be compared.
    assert verify(onelayer.compile(transform), layer, images, adversarial=0).record is not None
