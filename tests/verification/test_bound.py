from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import onelayer
from onelayer import DenseLayer, OneLayer, Pipeline, pipelines
from onelayer.algebra import Program, Quantize, Range
from onelayer.frontends import ImageSpec, derive
from onelayer.images.containers import TORCH_DTYPES, image_of, pixels_of
from onelayer.verification import NoBoundError, proved_bound
from onelayer.verification.adversarial import KnownPrograms, extreme_images, plain_images
from onelayer.verification.measurement import GreyScale
from onelayer.verification.rounding import UNIT_ROUNDOFF

Exactly = Callable[[Pipeline], DenseLayer]

FLOAT = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = ImageSpec((3, 17, 11), "uint8", "tensor")
NORMALIZE = v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
EVALUATION = v2.Compose([v2.Resize((9, 8)), v2.CenterCrop(7), NORMALIZE])


def test_one_weight_that_is_off(exactly: Exactly) -> None:
    pipeline = pipelines.named("report")
    layer = exactly(pipeline)
    with torch.no_grad():
        layer.weight[100, 5] += 0.25
    bound = proved_bound(layer, pipeline, ImageSpec((3, 32, 32), "float32", "tensor"))
    assert bound.pixel == (0, 100 // 28, 100 % 28)
    # 0.25 and the rounding of weights and of sums of some dozen terms.
    assert 0.25 <= bound.units <= 0.25 + 1e-5
    assert 0 < bound.rounding_units < 1e-5
    # White is 0.9999 behind torchvision's grayscale.
    assert bound.grey_levels == pytest.approx(bound.units * 255 / 0.9999, rel=1e-6)


def test_over_another_range(exactly: Exactly) -> None:
    pipeline = Pipeline("mirror", v2.RandomHorizontalFlip(p=1), (2, 5, 3))
    layer = exactly(pipeline)
    with torch.no_grad():
        layer.weight[7, 2] -= 0.5
        layer.bias[7] += 0.25
    given = ImageSpec((2, 5, 3), "float32", "tensor")
    # −0.5·x + 0.25 over [0, 1], and over [−1, 3]. Sums are of three terms of at most 3: roundings of 1e-6.
    assert proved_bound(layer, pipeline, given).units == pytest.approx(0.25, abs=1e-6)
    assert proved_bound(layer, pipeline, given, (-1.0, 3.0)).units == pytest.approx(1.25, abs=3e-6)


PIPELINES: dict[str, tuple[Any, ImageSpec]] = {
    "evaluation": (EVALUATION, FLOAT),
    "evaluation in float64": (EVALUATION, ImageSpec(FLOAT.shape, "float64", "tensor")),
    "evaluation in float16": (EVALUATION, ImageSpec(FLOAT.shape, "float16", "tensor")),
    "evaluation in bfloat16": (EVALUATION, ImageSpec(FLOAT.shape, "bfloat16", "tensor")),
    "upwards, bicubic": (v2.Resize((40, 23), interpolation=3), FLOAT),
    "one pixel": (v2.Compose([v2.Grayscale(), v2.Pad(2, fill=0.3)]), ImageSpec((3, 1, 1), "float32", "tensor")),
    "blur, then an idle clamp": (
        v2.Compose([v2.GaussianBlur(5, 1.1), partial(F.adjust_saturation, saturation_factor=0.3)]),
        FLOAT,
    ),
    "float of bytes": (v2.Compose([v2.ToDtype(torch.float32, scale=True), EVALUATION]), BYTES),
    "gray bytes": (v2.Compose([v2.RandomVerticalFlip(p=1), v2.Grayscale()]), BYTES),
    "gray PIL": (v2.Grayscale(3), ImageSpec((3, 17, 11), "uint8", "pil")),
    "float to bytes": (v2.Compose([v2.Resize((8, 6)), v2.ToDtype(torch.uint8, scale=True)]), FLOAT),
    "mirrored bytes": (v2.RandomHorizontalFlip(p=1), BYTES),
    "rotated": (partial(F.rotate, angle=30.0, interpolation=v2.InterpolationMode.BILINEAR), FLOAT),
}


# Every pipeline on the default backend, and each kind of arithmetic on the others.
FAST = {("evaluation", "torch"), ("evaluation in float16", "torch"), ("float to bytes", "torch")} | {
    ("evaluation in float64", "reference"), ("blur, then an idle clamp", "reference"), ("gray bytes", "reference"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param(
            name, backend, marks=() if backend == "auto" or (name, backend) in FAST else pytest.mark.exhaustive
        )
        for name in PIPELINES
        for backend in ("auto", "torch", "reference")
    ],
)
def test_a_derived_layer_stays_within_its_bound(name: str, backend: Any) -> None:
    transform, given = PIPELINES[name]
    layer = onelayer.compile(transform, backend=backend, rounding="fused")
    bound = proved_bound(layer, transform, given)
    derived = derive(transform, given)
    # Real arithmetic, but for the original's own rounding to whole numbers, which is not that of the layer.
    exact = Program(derived.program.in_shape, tuple(s for s in derived.program.stages if not isinstance(s, Quantize)))
    half = 1.0 if not derived.output_spec.is_float else 0.0
    known, outputs = KnownPrograms(derived.program, None), np.linspace(0, np.prod(exact.out_shape) - 1, 30).astype(int)
    images = plain_images(given.shape, 0.0, given.white, seed=3), extreme_images(known, outputs, 0.0, given.white)
    pixels = [pixels_of(image_of(torch.tensor(image), given)) for _, image in chain(*images)]
    furthest = 0.0
    for image in pixels:
        output = pixels_of(layer(image_of(image, given))).double().numpy()
        furthest = max(furthest, float(np.abs(output - exact.apply(image.double().numpy())).max()))
    assert furthest <= bound.units + half
    if derived.output_spec.is_float and backend != "reference" and given.dtype == "float32":
        # Not the worst of all images, but within a few hundred times the actual rounding.
        assert bound.units <= 300 * max(furthest, 2**-24)


@pytest.mark.parametrize("name", ["gray bytes", "gray PIL", "float to bytes", "mirrored bytes"])
def test_bytes_are_within_the_bound_of_the_original(name: str) -> None:
    transform, given = PIPELINES[name]
    bound = proved_bound(onelayer.compile(transform, rounding="fused"), transform, given)
    assert bound.units == (0.0 if name == "mirrored bytes" else 1.0), "what is cut off may be a whole level"
    assert bound.grey_levels == bound.units
    random = np.random.default_rng(0)
    image = image_of(torch.tensor(random.uniform(0, given.white, given.shape)), given)
    ours, theirs = (pixels_of(side(image)).int() for side in (onelayer.compile(transform, rounding="fused"), transform))
    assert int((ours - theirs).abs().max()) <= bound.units


EXACT: dict[str, tuple[Any, ImageSpec]] = {
    "resized": (v2.Compose([v2.Resize((8, 5)), v2.Grayscale()]), BYTES),
    "PIL": (v2.Resize((8, 5), interpolation=v2.InterpolationMode.BICUBIC), ImageSpec((3, 17, 11), "uint8", "pil")),
    "normalised": (v2.Compose([v2.ToDtype(torch.float32, scale=True), NORMALIZE]), BYTES),
    "crops": (v2.FiveCrop(5), BYTES),
}
NORMALIZE_OTHERWISE = v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.41])


@pytest.mark.parametrize(("transform", "given"), EXACT.values(), ids=EXACT.keys())
def test_the_pipelines_own_program_is_no_different(transform: Any, given: ImageSpec) -> None:
    bound = proved_bound(onelayer.compile(transform), transform, given)
    assert (bound.units, bound.grey_levels, bound.rounding_units) == (0.0, 0.0, 0.0)
    assert bound.bit_exact


def test_copies_are_bit_exact_and_what_only_adds_up_to_copies_is_not() -> None:
    for given in (FLOAT, BYTES):
        for copy in (v2.Identity(), v2.Compose([v2.RandomHorizontalFlip(p=1), v2.CenterCrop(7)])):
            assert proved_bound(onelayer.compile(copy, rounding="fused"), copy, given).bit_exact
    # Real arithmetic makes nothing of both; float32 may not.
    there_and_back = v2.Compose([v2.Normalize([0.1] * 3, [1.0] * 3), v2.Normalize([-0.1] * 3, [1.0] * 3)])
    bound = proved_bound(onelayer.compile(there_and_back), there_and_back, FLOAT)
    assert (bound.units, bound.bit_exact) == (0.0, False)
    image = torch.full(FLOAT.shape, 1e-9)
    assert not torch.equal(onelayer.compile(there_and_back)(image), there_and_back(image))


def test_another_program_that_rounds_in_between_has_no_bound() -> None:
    transform, given = EXACT["normalised"]
    other = v2.Compose([v2.ToDtype(torch.float32, scale=True), NORMALIZE_OTHERWISE])
    with pytest.raises(NoBoundError, match="another program"):
        proved_bound(onelayer.compile(other), transform, given)
    with pytest.raises(NoBoundError, match="not known bit for bit"):
        proved_bound(onelayer.compile(transform), v2.GaussianBlur(3, 1.0), given)


UNPROVED: dict[str, tuple[Any, ImageSpec, str]] = {
    "rounds between passes": (v2.Resize((8, 5)), BYTES, "the original rounds between its steps, .* after Resize"),
    "rounds before": (
        v2.Compose([v2.Grayscale(), v2.ToDtype(torch.float32, scale=True)]),
        BYTES,
        "the original rounds between its steps, .* after Grayscale",
    ),
    "acts in between": (
        v2.Compose([partial(F.adjust_brightness, brightness_factor=2.0), v2.Normalize([0.5], [0.5])]),
        FLOAT,
        "the pipeline is not affine: it has a Clamp between",
    ),
    "solarised": (v2.RandomSolarize(100, p=1), BYTES, "the pipeline is not affine: it ends with a Lookup"),
    "gamma": (partial(F.adjust_gamma, gamma=2.2), FLOAT, "the pipeline is not affine"),
    "several": (v2.FiveCrop(5), FLOAT, "several images of one"),
}


@pytest.mark.parametrize(("transform", "given", "reason"), UNPROVED.values(), ids=UNPROVED.keys())
def test_nothing_is_proved(transform: Any, given: ImageSpec, reason: str) -> None:
    with pytest.raises(NoBoundError, match=reason):
        proved_bound(onelayer.compile(transform, rounding="fused"), transform, given)


def test_a_clamp_at_the_end_brings_nothing_further_apart() -> None:
    bright = partial(F.adjust_brightness, brightness_factor=2.0)
    bound = proved_bound(onelayer.compile(bright), bright, FLOAT)
    assert bound.units <= 1e-6


def test_other_activations_at_the_end() -> None:
    bright = partial(F.adjust_brightness, brightness_factor=2.0)
    with pytest.raises(NoBoundError, match="end with different activations"):
        proved_bound(onelayer.compile(v2.Identity()), bright, FLOAT)


def test_what_is_not_known(exactly: Exactly) -> None:
    layer = exactly(Pipeline("identity", v2.Identity(), (3, 17, 11)))
    with pytest.raises(NoBoundError, match="neither a OneLayer nor a DenseLayer"):
        proved_bound(torch.nn.Identity(), v2.Identity(), FLOAT)
    with pytest.raises(NoBoundError, match="RandomErasing in the pipeline is not known as operators: it is random"):
        proved_bound(layer, v2.RandomErasing(), FLOAT)
    with pytest.raises(NoBoundError, match=r"takes images \(3, 17, 11\), not \(3, 5, 5\)"):
        proved_bound(layer, v2.Identity(), ImageSpec((3, 5, 5), "float32", "tensor"))
    with pytest.raises(NoBoundError, match="the pipeline \\(1, 17, 11\\)"):
        proved_bound(layer, v2.Grayscale(), FLOAT)
    with pytest.raises(NoBoundError, match="computes in float16"):
        proved_bound(layer.half(), v2.Identity(), FLOAT)
    layer.float()
    with torch.no_grad():
        layer.bias[0] = torch.inf
    with pytest.raises(NoBoundError, match="not finite"):
        proved_bound(layer, v2.Identity(), FLOAT)


def test_products_less_precise_than_float32() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(NoBoundError, match="set_float32_matmul_precision"):
            proved_bound(onelayer.compile(EVALUATION), EVALUATION, FLOAT)
    finally:
        torch.set_float32_matmul_precision(before)


def test_grey_levels_behind_a_normalize() -> None:
    scale = GreyScale.of_derived(derive(EVALUATION, FLOAT), Range.of(3, 0, 1))
    np.testing.assert_allclose(scale.level, 1 / (255 * np.array([0.2, 0.3, 0.4])), rtol=1e-12)
    np.testing.assert_allclose(scale.black, [-2.5, -4 / 3, -0.75], rtol=1e-12)
    unit = scale.to_unit_range(np.array([-2.5, -4 / 3 + 1 / 0.3, -0.75 + 0.5 / 0.4]).reshape(3, 1, 1))
    np.testing.assert_allclose(unit.ravel(), [0.0, 1.0, 0.5], rtol=0, atol=1e-12)


def test_grey_levels_of_bytes_and_of_an_inversion() -> None:
    assert GreyScale.of_derived(derive(v2.RandomInvert(p=1), BYTES), Range.of(3, 0, 255)).level.tolist() == [1.0] * 3
    inverted = GreyScale.of_derived(derive(v2.RandomInvert(p=1), FLOAT), Range.of(3, 0, 1))
    np.testing.assert_allclose(inverted.level, [1 / 255] * 3, rtol=1e-12)
    assert inverted.black.tolist() == [0.0] * 3


def test_padding_is_no_grey() -> None:
    # What is filled is the same for black and for white.
    scale = GreyScale.of_derived(derive(v2.Pad(30, fill=0.7), FLOAT), Range.of(3, 0, 1))
    np.testing.assert_allclose(scale.level, [1 / 255] * 3, rtol=1e-12)


def test_grey_levels_where_black_and_white_are_the_same() -> None:
    # x₀ − x₁ is 0 for both, and between −1 and 1.
    edges = v2.LinearTransformation(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2))
    given = ImageSpec((1, 1, 2), "float32", "tensor")
    scale = GreyScale.of_derived(derive(edges, given), Range.of(1, 0, 1))
    np.testing.assert_allclose(scale.level, [2 / 255], rtol=1e-12)
    constant = np.full((1, 3, 3), 0.5)
    nothing = GreyScale.between(constant, constant, lambda: Range.of(1, 0.5, 0.5), is_float=True)
    assert nothing.level.tolist() == [1 / 255]


def test_every_floating_point_dtype_has_a_roundoff() -> None:
    assert {*UNIT_ROUNDOFF, "uint8"} == set(TORCH_DTYPES)
    for name, roundoff in UNIT_ROUNDOFF.items():
        assert roundoff == torch.finfo(TORCH_DTYPES[name]).eps / 2


def test_nothing_is_proved_of_a_layer_that_does_more_than_its_weights() -> None:
    pipeline, given = v2.Resize((5, 6)), ImageSpec((3, 17, 11), "float32", "tensor")

    class Other(OneLayer):
        pass

    hooked = onelayer.compile(pipeline)
    hooked.register_forward_hook(lambda module, inputs, output: output + 1)
    for layer in (Other(hooked.source), hooked):
        with pytest.raises(NoBoundError):
            proved_bound(layer, pipeline, given)
    assert proved_bound(onelayer.compile(pipeline), pipeline, given).units < 1e-5
