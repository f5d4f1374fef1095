"""What is said of each transform, against numbers worked out by hand."""

from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from onelayer import OnelayerError, pipelines
from onelayer import compile as compile_
from onelayer.explanation import Explanation, explain
from onelayer.frontends import ImageSpec, UnsupportedTransformError
from onelayer.frontends.torchvision.by_rule import ResizeBy

REPORT = pipelines.report_transform()
BICUBIC = v2.Compose(
    [
        v2.RandomSolarize(128, p=1),
        v2.Resize(20, interpolation=InterpolationMode.BICUBIC),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5], [0.25]),
    ]
)


@pytest.fixture(scope="module")
def report() -> Explanation:
    return explain(REPORT, (3, 32, 32))


@pytest.fixture(scope="module")
def bicubic() -> Explanation:
    return explain(BICUBIC, (3, 45, 60), dtype="uint8", rounding="fused")


def test_the_report_has_a_row_per_transform(report: Explanation) -> None:
    rows = report.transforms
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert [row.name for row in rows] == ["Resize", "Grayscale", "RandomHorizontalFlip", "RandomVerticalFlip"]
    words = [[part.description for part in row.parts] for row in rows]
    assert words == [["resample 32×32 → 28×28"], ["mix channels 3→1"], ["flip cols"], ["flip rows"]]
    # 32/28 samples to either side of a centre: at most 2 · 32/28 = 2.29, so three whole samples.
    assert [row.parts[0].taps for row in rows] == [(3, 3), (1, 1), (1, 1), (1, 1)]
    assert [row.stages for row in rows] == [(0,)] * 4
    assert [row.output_spec.shape for row in rows] == [(3, 28, 28), (1, 28, 28), (1, 28, 28), (1, 28, 28)]
    assert rows[0].text.startswith("Resize(size=[28, 28]")


def test_cost_of_the_report(report: Explanation) -> None:
    taps = 28 * 3
    # Along 32 rows, then along 28 columns, of three channels; then three channels into one.
    each = [taps * 3 * 32 + taps * 3 * 28, 3 * 28 * 28, 0, 0]
    assert [row.cost.multiplications for row in report.transforms] == each
    assert report.cost_before.multiplications == sum(each) == 17_472
    samples = (3 * 32 * 32 + 3 * 28 * 28) + (3 * 28 * 28 + 28 * 28) + 2 * (28 * 28 + 28 * 28)
    assert (report.cost_before.samples, report.cost_before.bytes) == (samples, 4 * samples)
    # One channel first, which is then all there is to resize.
    assert report.cost_after.multiplications == 3 * 32 * 32 + taps * 32 + taps * 28 == 8_112
    assert (report.cost_after.samples, report.cost_after.bytes) == (3 * 32 * 32 + 28 * 28, 4 * (3 * 32 * 32 + 28 * 28))


def test_the_one_stage_of_the_report(report: Explanation) -> None:
    (stage,) = report.stages
    assert stage.description == "resample 32×32 → 28×28, mix channels 3→1"
    assert (stage.in_shape, stage.out_shape, stage.taps) == ((3, 32, 32), (1, 28, 28), (3, 3))
    assert stage.transforms == (0, 1, 2, 3)
    assert stage.cost == report.cost_after
    assert {rewrite.rule for rewrite in report.rewrites} == {"fuse neighbours"}
    assert all(rewrite.done for rewrite in report.rewrites)


def test_what_was_not_fused_says_why(bicubic: Explanation) -> None:
    look_up, resize, scale, normal = bicubic.transforms
    assert [part.description for part in look_up.parts] == ["look up in a table"]
    assert [(part.description, part.taps) for part in resize.parts] == [
        ("resample 45×60 → 20×26", (9, 10)),
        ("clamp to 0 … 255", None),
    ]
    assert (look_up.stages, resize.stages, scale.stages, normal.stages) == ((0,), (1, 2), (3,), (3,))
    refused = {rewrite.rule: rewrite for rewrite in bicubic.rewrites if not rewrite.done}
    apart = refused["fuse neighbours"]
    assert apart.transforms == (1, 2, 3)
    assert apart.reason == "between stages 1 and 3 values go through: clamp to 0 … 255"
    assert "it clamps to 0 … 255" in refused["drop idle clamp"].reason


def test_activations_ride_along(bicubic: Explanation) -> None:
    look_up = bicubic.transforms[0].cost
    # Alone it reads and writes bytes; in the program it is done where values are read anyway.
    assert (look_up.multiplications, look_up.bytes) == (0, 2 * 3 * 45 * 60)
    assert [stage.cost.bytes for stage in bicubic.stages] == [
        0,
        3 * 45 * 60 + 4 * 3 * 20 * 26,
        0,
        2 * 4 * 3 * 20 * 26,
    ]


def test_a_dropped_clamp_says_why() -> None:
    # What is cut to integers of 0 … 255 afterwards saturates anyway.
    pipeline = v2.Compose([v2.Resize(9, interpolation=InterpolationMode.BICUBIC)])
    explanation = explain(pipeline, (3, 17, 11), dtype="uint8", container="pil", rounding="fused")
    resize, clamp = explanation.transforms[0].parts
    assert (resize.stages, resize.dropped) == ((0,), None)
    assert (clamp.stages, clamp.dropped) == ((), "the rounding to uint8 after it saturates")
    assert "(dropped)" in str(explanation)
    # The rounding of the result belongs to no transform.
    assert [stage.transforms for stage in explanation.stages] == [(0,), ()]


def test_a_clamp_that_never_acts() -> None:
    gamma = partial(F.adjust_gamma, gamma=2.0, gain=0.5)
    pipeline = v2.Compose([v2.ToDtype(torch.float32, scale=True), gamma])
    explanation = explain(pipeline, (1, 5, 7), dtype="uint8", rounding="fused")
    scale, power = explanation.transforms
    assert power.text == "adjust_gamma(gamma=2.0, gain=0.5)"
    assert [part.description for part in power.parts] == ["0.5 · x^2", "clamp to 0 … 1"]
    assert power.parts[1].dropped is not None
    assert "values from 0 to 0.5 reach it" in power.parts[1].dropped
    # uint8 in, float32 out; the power rides along.
    assert explanation.cost_after.bytes == 35 + 4 * 35
    assert explanation.cost_before.bytes == 35 + 4 * 35 + 2 * 4 * 35
    assert scale.cost.multiplications == 35


def test_transforms_that_cancel() -> None:
    explanation = explain(v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomHorizontalFlip(1)]), (3, 17, 11))
    assert explanation.stages == ()
    for row in explanation.transforms:
        assert row.stages == ()
        assert row.parts[0].dropped == "it changes nothing"
    assert (explanation.cost_before.bytes, explanation.cost_after.bytes) == (4 * 4 * 3 * 17 * 11, 0)
    assert "0 stages" in str(explanation)


def test_a_change_of_dtype_alone_reads_and_writes() -> None:
    explanation = explain(v2.ToDtype(torch.float64), (3, 5, 7))
    assert explanation.stages == ()
    assert explanation.transforms[0].parts == ()
    assert explanation.cost_before == explanation.cost_after
    assert explanation.cost_after.bytes == 105 * (4 + 8)


def test_inside_a_preset_the_narrower_dtype_is_counted() -> None:
    preset = ResNet50_Weights.IMAGENET1K_V2.transforms()
    explanation = explain(preset, ImageSpec((3, 375, 500), "uint8", "pil"), rounding="fused")
    (row,) = explanation.transforms
    assert [part.stages for part in row.parts] == [(0,)] * 4
    # Resize, crop, scale, normalise; all but the last write bytes.
    resized, cropped = 3 * 232 * 309, 3 * 224 * 224
    assert row.cost.bytes == (3 * 375 * 500 + resized) + 2 * cropped + 2 * cropped + (cropped + 4 * cropped)
    assert row.cost.samples == (3 * 375 * 500 + resized) + 6 * cropped
    assert len(row.text) <= 90


def test_padding_with_a_colour_adds_an_image() -> None:
    explanation = explain(v2.Pad(2, fill=0.5), (1, 3, 3))
    assert explanation.stages[0].description == "zero-pad 3×3 → 7×7, add an image"
    # Read, written, and the image that is added.
    assert explanation.cost_after.bytes == 4 * (9 + 49 + 49)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (v2.CenterCrop(5), "crop 17×11 → 5×5"),
        (v2.Pad([1, 0], padding_mode="reflect"), "copy cols 11→13"),
        (v2.GaussianBlur(3, 1.0), "filter 17×11"),
        (v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomVerticalFlip(1)]), "flip rows and cols"),
        (v2.Compose([v2.CenterCrop(5), v2.RandomVerticalFlip(1)]), "crop and flip rows 17→5, crop cols 11→5"),
        (partial(F.permute_channels, permutation=[2, 1, 0]), "take channels 2 1 0"),
        (v2.Normalize([0.1, 0.2, 0.3], [0.5, 1.0, 2.0]), "scale per channel, add per channel"),
        (v2.Normalize([0.5], [0.5]), "scale by 2, add -1"),
        (partial(F.crop, top=-1, left=0, height=18, width=11), "zero-pad rows 17→18"),
        (partial(F.crop, top=-1, left=0, height=5, width=11), "crop and zero-pad rows 17→5"),
    ],
)
def test_stages_in_words(transform: object, words: str) -> None:
    (stage,) = explain(transform, (3, 17, 11)).stages  # type: ignore[arg-type]
    assert stage.description == words


def test_images_in_place_of_their_shape() -> None:
    resize = v2.Resize((5, 6))
    expected = explain(resize, (3, 17, 11), dtype="uint8")
    tensor = torch.zeros(3, 17, 11, dtype=torch.uint8)
    assert explain(resize, tensor) == expected
    assert explain(resize, torch.zeros(4, 3, 17, 11, dtype=torch.uint8)) == expected
    assert explain(resize, tv_tensors.Image(tensor)).input_spec.container == "image"
    assert explain(resize, PIL.Image.new("RGB", (11, 17))).input_spec == ImageSpec((3, 17, 11), "uint8", "pil")
    assert explain(resize, np.zeros((17, 11, 3), np.uint8)).input_spec == ImageSpec((3, 17, 11), "uint8", "numpy")


def test_a_compiled_layer() -> None:
    assert explain(compile_(REPORT), (3, 32, 32)) == explain(REPORT, (3, 32, 32))
    slow = explain(compile_(REPORT, backend="reference"), (3, 32, 32))
    assert slow.backend.startswith("reference: ")


def test_one_of_several_crops() -> None:
    crops = v2.Compose([v2.Resize(9), v2.FiveCrop(5)])
    last = explain(crops, (3, 17, 11), output=4)
    assert (last.output, last.outputs, last.output_spec.shape) == (4, 5, (3, 5, 5))
    assert last != explain(crops, (3, 17, 11))
    assert "image 4 of 5" in str(last)
    with pytest.raises(OnelayerError, match=r"0 … 4"):
        explain(crops, (3, 17, 11), output=5)


def test_one_pixel() -> None:
    explanation = explain(REPORT, (3, 1, 1))
    assert explanation.stages[0].taps == (1, 1)
    assert explanation.output_spec.shape == (1, 28, 28)


def test_as_json(bicubic: Explanation) -> None:
    plain = bicubic.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["transforms"][1]["parts"][0]["taps"] == [9, 10]
    assert plain["input_spec"] == {"shape": [3, 45, 60], "dtype": "uint8", "container": "tensor"}
    assert plain["cost_after"]["multiplications"] == bicubic.cost_after.multiplications
    assert "program" not in plain


def test_what_cannot_be_derived_is_refused_as_ever() -> None:
    with pytest.raises(UnsupportedTransformError, match="RandomGrayscale") as caught:
        explain(compile_(v2.Compose([v2.Resize(8), v2.RandomGrayscale(p=0.5)]), fullgraph=True), (3, 9, 9))
    assert caught.value.stage == 1


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ((32, 32), "shape of an image"),
        ((3, 32, 32.0), "shape of an image"),
        ((3, 0, 32), "at least 1"),
        ("photo.jpg", "str was given"),
        (torch.zeros(3, 0, 4), "without pixels"),
    ],
)
def test_what_is_no_image(image: object, text: str) -> None:
    with pytest.raises(OnelayerError, match=text):
        explain(REPORT, image)  # type: ignore[arg-type]


def test_a_pil_image_of_floats() -> None:
    with pytest.raises(OnelayerError, match="PIL image of float32"):
        explain(REPORT, (3, 32, 32), container="pil")


def test_what_happens_for_other_sizes() -> None:
    evaluation = v2.Compose([v2.Resize(24), v2.CenterCrop(20), F.horizontal_flip])
    for transform, keywords, text in (
        (evaluation, {"container": "pil"}, "rows 0 … 30 resized to 24, of which 2 … 22 are kept, columns 0"),
        (evaluation, {"container": "pil"}, "of which 6 … 26 are kept, in reverse order"),
        (evaluation, {}, "none takes a plan of its own; tables are filled for each"),
        (v2.CenterCrop(9), {}, "slices and flips of PyTorch and Pillow, whatever the size"),
        (evaluation, {"rounding": "fused"}, "none takes a plan .* of which 6 … 26 are kept, in reverse order$"),
        (v2.Compose([v2.CenterCrop(50), v2.Resize(9)]), {}, "but one like this does"),
    ):
        explanation = explain(transform, (3, 30, 40), dtype="uint8", **keywords)  # type: ignore[arg-type]
        assert re.search(text, explanation.sizes), explanation.sizes
        assert explanation.sizes in " ".join(str(explanation).split())
    nearest = v2.Resize(24, v2.InterpolationMode.NEAREST)
    for transform, text in (
        (evaluation, "in reverse order$"),
        (nearest, "4 columns for one are left to PyTorch, and planes of 65,536 pixels$"),
        (v2.Compose([nearest, v2.Normalize([0.5], [0.5])]), "4 columns for one are left to PyTorch$"),
        (
            v2.Compose([evaluation, v2.ToDtype(torch.float64)]),
            "because the kernels compute in float32, not in float64$",
        ),
    ):
        assert re.search(text, explain(transform, (3, 30, 40)).sizes)
    numpy = explain(compile_(evaluation, backend="reference"), ImageSpec((3, 30, 40), "uint8", "numpy"))
    assert "the backend 'reference' computes programs for one size" in numpy.sizes


def test_what_is_drawn_is_shown_with_numbers_of_one_image() -> None:
    pipeline = v2.Compose([v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32)])
    before = torch.get_rng_state()
    explanation = explain(compile_(pipeline, fullgraph=True), (3, 9, 11), dtype="uint8")
    assert torch.equal(torch.get_rng_state(), before)
    assert [row.name for row in explanation.transforms] == ["RandomCrop", "RandomHorizontalFlip", "ToDtype"]
    assert "numbers are drawn for each image" in explanation.sizes
    assert "for this image: " in explanation.transforms[0].text
    assert explanation.output_spec.shape == (3, 8, 8)


def test_functions_are_named_without_addresses() -> None:
    def _half(height: int, width: int) -> tuple[int, int]:
        return height // 2, width // 2

    (row,) = explain(ResizeBy(_half, InterpolationMode.BILINEAR), (3, 20, 30)).transforms
    assert row.text.startswith("ResizeBy(rule=test_functions_are_named_without_addresses, interpolation=")
