"""Rotations, affine maps and perspectives, against torchvision's own result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pairwise import pairwise
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Separable, SpatialSparse
from onelayer.algebra.operator import ROUNDING
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.target import LoweringTarget
from onelayer.frontends import Derived, ImageSpec, UnsupportedTransformError, derive

Mode = v2.InterpolationMode
MODES = [Mode.NEAREST, Mode.BILINEAR]
SHAPES = [(3, 17, 11), (1, 40, 23), (3, 12, 12), (3, 1, 1)]
CORNERS = [[0, 0], [10, 0], [10, 16], [0, 16]]
MOVED = [[1, 2], [9, 0], [10, 13], [2, 16]]


def warps(functions: Any) -> dict[str, Callable[..., Any]]:
    """What still lacks an interpolation, of one of torchvision's two versions."""
    return {
        "rotated": partial(functions.rotate, angle=30),
        "rotated and filled": partial(functions.rotate, angle=-163.7, fill=0.7),
        "enlarged": partial(functions.rotate, angle=37.3, expand=True),
        "enlarged and filled": partial(functions.rotate, angle=200.0, expand=True, fill=[0.25]),
        "about a corner": partial(functions.rotate, angle=12.5, center=[0, 0], fill=0),
        "affine": partial(functions.affine, angle=10, translate=[2, -3], scale=1.3, shear=[5.0, 3.0], fill=0.9),
        "reduced": partial(functions.affine, angle=-80, translate=(0, 0), scale=0.4, shear=12, center=[5.5, 8]),
        "magnified": partial(functions.affine, angle=0, translate=[0, 0], scale=2.5, shear=[0.0, 0.0]),
        "perspective": partial(functions.perspective, startpoints=CORNERS, endpoints=MOVED, fill=0.3),
        "perspective without a fill": partial(functions.perspective, startpoints=MOVED, endpoints=CORNERS),
    }


NAMES = list(warps(f2))


def few_and_all(*choices: Sequence[Any]) -> Any:
    """Marks the test of all rows of a product as exhaustive, beside one of few in which any two choices meet."""
    every = pytest.param(list(product(*choices)), marks=pytest.mark.exhaustive)
    return pytest.mark.parametrize("cases", [pairwise(*choices), every], ids=["few", "all"])


def both(transform: Callable[..., Any], spec: ImageSpec) -> tuple[np.ndarray, np.ndarray, Derived]:
    """Torchvision's result on an image of noise, the derived one, and what was derived."""
    random = np.random.default_rng(sum(spec.shape))
    if spec.dtype == "uint8":
        image = random.integers(0, 256, spec.shape, dtype=np.uint8)
    else:
        image = random.random(spec.shape).astype(spec.dtype)
    derived = derive(transform, spec)
    if spec.container == "pil":
        result = np.asarray(transform(Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))))
        expected = result[None] if result.ndim == 2 else np.moveaxis(result, -1, 0)
    else:
        expected = transform(torch.from_numpy(image)).numpy()
    assert derived.output_spec == ImageSpec(expected.shape, spec.dtype, spec.container)
    return expected, derived.program.apply(image), derived


@few_and_all(NAMES, [f1, f2], SHAPES, ["float32", "float64", "uint8"])
def test_nearest_reads_the_very_same_pixels(cases: Any) -> None:
    for name, functions, shape, dtype in cases:
        expected, found, _ = both(
            partial(warps(functions)[name], interpolation=Mode.NEAREST), ImageSpec(shape, dtype, "tensor")
        )
        np.testing.assert_array_equal(found.astype(dtype), expected, err_msg=f"{name} of {dtype} {shape}")


@few_and_all(NAMES, [f1, f2], SHAPES, ["float32", "float64", "uint8"])
def test_bilinear_tensors(assert_floats: Any, assert_bytes: Any, cases: Any) -> None:
    for name, functions, shape, dtype in cases:
        transform = partial(warps(functions)[name], interpolation=Mode.BILINEAR)
        if dtype == "uint8":
            # Torchvision samples floats and rounds once, but those end at a half otherwise in float32.
            assert_bytes(transform, ImageSpec(shape, "uint8", "tensor"), 1)
        elif dtype == "float32":
            # The weights of a float32 image are those of torchvision's float32 grid.
            assert_floats(transform, shape, exact=None)
        else:
            expected, found, _ = both(transform, ImageSpec(shape, "float64", "tensor"))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13, err_msg=f"{name} of {shape}")


@few_and_all(NAMES, [f1, f2], SHAPES, [*MODES, Mode.BICUBIC])
def test_pil_images(assert_bytes: Any, cases: Any) -> None:
    for name, functions, shape, mode in cases:
        # Pillow cuts fractions off where it computes any.
        levels = 0 if mode is Mode.NEAREST else 1
        assert_bytes(partial(warps(functions)[name], interpolation=mode), ImageSpec(shape, "uint8", "pil"), levels)


@few_and_all([(255, 0, 17), [12.6, 3.4, 254.9], 200], MODES, [f1, f2], ["tensor", "pil"])
def test_fills_per_channel_of_bytes(assert_bytes: Any, cases: Any) -> None:
    for fill, mode, functions, container in cases:
        transform = partial(functions.rotate, angle=45, interpolation=mode, expand=True, fill=fill)
        assert_bytes(transform, ImageSpec((3, 17, 11), "uint8", container), 0 if mode is Mode.NEAREST else 1)


def test_bilinear_blends_the_border_with_a_fill_of_zero() -> None:
    # A fill of 0 multiplies by the mask once more than none does.
    for functions in (f1, f2):
        none, zero = (
            both(
                partial(functions.rotate, angle=20, interpolation=Mode.BILINEAR, fill=fill),
                ImageSpec((1, 9, 8), "float64", "tensor"),
            )
            for fill in (None, 0)
        )
        np.testing.assert_allclose(none[1], none[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(zero[1], zero[0], rtol=0, atol=1e-13)
        assert np.abs(none[1] - zero[1]).max() > 0.01


@few_and_all(
    [(3, 17, 11), (1, 12, 12), (3, 10, 4), (3, 1, 1)],
    [0, 90, 180, 270, -90, 450],
    [False, True],
    MODES,
    [f1, f2],
    ["tensor", "pil"],
)
def test_right_angles_copy_pixels(cases: Any) -> None:
    for shape, angle, expand, mode, functions, container in cases:
        case = f"{shape}, {angle} degrees, {expand=}, {mode}, {functions.__name__}, {container}"
        transform = partial(functions.rotate, angle=angle, expand=expand, interpolation=mode, fill=7)
        expected, found, derived = both(transform, ImageSpec(shape, "uint8", container))
        np.testing.assert_array_equal(found, expected, err_msg=case)
        assert not any(isinstance(stage, SpatialSparse) for stage in derived.program.stages), case
        (step,) = derived.steps
        assert len(step.stages) == (0 if angle % 360 == 0 or shape == (3, 1, 1) else 1), case
        for stage in derived.program.stages[:-1]:
            assert isinstance(stage, Separable), case
            assert stage.transpose is (angle % 180 != 0), case
            assert stage.cost.multiplications == 0, case


@few_and_all(
    [(90, [0, 0]), (180, [0, 0]), (0, [3, -2]), (-90, [-4, 1])],
    ["float32", "float64"],
    [f1, f2],
)
def test_whole_pixels_of_floats(cases: Any) -> None:
    shape = (2, 64, 200)
    for (angle, translate), dtype, functions in cases:
        transform = partial(
            functions.affine, angle=angle, translate=translate, scale=1.0, shear=[0.0], interpolation=Mode.BILINEAR,
            fill=0.5,
        )  # fmt: skip
        expected, found, derived = both(transform, ImageSpec(shape, dtype, "tensor"))
        (stage,) = derived.program.stages
        assert isinstance(stage, Separable)
        # Places are rounded about four times at half the precision, relative to the longest axis; noise changes by its
        # range, 1, per pixel, in both directions, and the mask of a fill once more.
        atol = 4 * max(shape) * np.finfo(dtype).eps
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=f"{transform} of {dtype}")


def test_a_turn_that_meets_pixels_halfway_is_no_copy() -> None:
    # 40 and 23 rows: their middles lie half a pixel apart, so that every output lies between two pixels of each axis.
    transform = partial(f2.rotate, angle=90, interpolation=Mode.BILINEAR)
    expected, found, derived = both(transform, ImageSpec((1, 40, 23), "float64", "tensor"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    (stage,) = derived.program.stages
    assert isinstance(stage, SpatialSparse)


def test_a_row_that_is_hardly_met_is_no_copy() -> None:
    # The only row is turned to 0.998 of a pixel beside itself: a weight of 0.002, of which the fill's mask makes 4e-6.
    for functions, dtype in ((f1, "float32"), (f2, "float64")):
        transform = partial(functions.rotate, angle=180.0, center=[1.0, 0.001], fill=1.0, interpolation=Mode.BILINEAR)
        expected, found, derived = both(transform, ImageSpec((1, 1, 9), dtype, "tensor"))
        assert 0.9 < expected.min() < 0.999
        np.testing.assert_allclose(found, expected, rtol=0, atol=16 * np.finfo(dtype).eps)
        (stage,) = derived.program.stages
        assert isinstance(stage, SpatialSparse)


CERTAIN = [
    v1.RandomRotation((30.1, 30.1)),
    v2.RandomRotation((30.1, 30.1)),
    v1.RandomRotation((-5, -5), expand=True, fill=(1, 2, 3)),
    v2.RandomRotation((-5, -5), expand=True, fill=(1, 2, 3)),
    v1.RandomRotation((90, 90), center=(3, 4), fill=9),
    v2.RandomRotation((90, 90), center=(3, 4), fill=None),
    v2.RandomRotation(0),
    v1.RandomAffine((-12.3, -12.3)),
    v2.RandomAffine((-12.3, -12.3), translate=(0, 0), fill=77),
    v1.RandomAffine(0, scale=(1.1, 1.1), shear=(5.3, 5.3), center=(0, 1)),
    v2.RandomAffine(0, scale=(1.1, 1.1), shear=(5.3, 5.3, 7.7, 7.7), center=(0, 1)),
    v1.RandomPerspective(p=0),
    v2.RandomPerspective(p=0),
]


def test_classes_with_nothing_to_draw() -> None:
    for transform in CERTAIN:
        for container in ("tensor", "pil"):
            expected, found, derived = both(transform, ImageSpec((3, 17, 11), "uint8", container))
            np.testing.assert_array_equal(found, expected, err_msg=f"{transform} of a {container}")
            # They take the nearest pixel, so nothing is rounded.
            stages = derive(transform, derived.input_spec, "exact").program.stages
            assert all(isinstance(stage, Separable | SpatialSparse) for stage in stages), transform


def test_what_is_drawn_at_random(assert_refused: Any) -> None:
    for transform in (
        v1.RandomRotation(30),
        v2.RandomRotation((0, 1e-3)),
        v1.RandomAffine(10),
        v2.RandomAffine(0, translate=(0, 0.1)),
        v1.RandomAffine(0, scale=(0.9, 1.1)),
        v2.RandomAffine(0, shear=5),
        v2.RandomAffine(0, shear=(1, 1, 2, 3)),
        v1.RandomPerspective(),
        v2.RandomPerspective(p=1),
    ):
        assert assert_refused(transform, TENSOR, "it is random").transform == type(transform).__name__


TENSOR = ImageSpec((3, 17, 11), "float32", "tensor")
PICTURE = ImageSpec((3, 17, 11), "uint8", "pil")


def test_refusals(assert_refused: Any) -> None:
    for transform, spec, text in (
        (partial(f1.rotate, angle=30, interpolation=Mode.BICUBIC), TENSOR, "mode 'bicubic' is unsupported with Tensor"),
        (partial(f2.rotate, angle=30, interpolation=Mode.BICUBIC), TENSOR, "mode 'bicubic' is unsupported with Tensor"),
        (v2.RandomRotation((30, 30), Mode.NEAREST_EXACT), TENSOR, "mode 'nearest-exact' is unsupported with Tensor"),
        (v2.RandomRotation((30, 30), Mode.LANCZOS), PICTURE, "cannot be used"),
        (partial(f2.rotate, angle=30, interpolation="cubic"), TENSOR, "torchvision refuses it"),
        (partial(f1.rotate, angle=30, interpolation="nearest"), TENSOR, "should be a InterpolationMode"),
        (partial(f2.rotate, angle=torch.tensor(30.0), center="ab"), TENSOR, "torchvision refuses it"),
        (partial(f2.affine, angle=0, translate=[0, 0], scale=0, shear=0), TENSOR, "scale should be positive"),
        (partial(f1.affine, angle=0, translate=[0], scale=1, shear=0), TENSOR, "sequence of length 2"),
        (partial(f2.perspective, startpoints=None, endpoints=None), TENSOR, "startpoints/endpoints or the coeff"),
        (partial(f2.perspective, startpoints=[[0, 0]] * 4, endpoints=[[0, 0]] * 4), TENSOR, "full rank"),
        (partial(f1.perspective, startpoints=[[0]] * 4, endpoints=[[0, 1]] * 4), TENSOR, "torchvision refuses it"),
        (partial(f1.rotate, angle=3, fill=[1, 2]), TENSOR, "a fill of 2 numbers; expected one, or 3"),
        (v2.RandomRotation((3, 3), fill={"others": 3}), TENSOR, "a dictionary of types"),
        (partial(f2.rotate, angle=3, fill=256), PICTURE, "the fill 256 for a uint8 image"),
        (partial(f2.rotate, angle=3, fill=float("nan")), TENSOR, "not finite"),
        (partial(f2.rotate, angle=3), ImageSpec((3, 17, 11), "float16", "tensor"), "misses pixels"),
        (partial(f2.rotate, angle=3), ImageSpec((3, 17, 11), "bfloat16", "tensor"), "misses pixels"),
        # The denominator 1 − 0.4·x is zero at the centres of the third column, x = 2.5.
        (
            partial(f2.perspective, startpoints=None, endpoints=None, coefficients=[1, 0, 0, 0, 1, 0, -0.4, 0]),
            TENSOR,
            "not finite",
        ),
    ):
        error = assert_refused(transform, spec, text)
        assert error.expected
        assert "Register" not in error.hint
    bilinear = partial(f2.rotate, angle=30.0, interpolation=Mode.BILINEAR)
    assert_refused(bilinear, PICTURE, "cannot be reproduced bit for bit", "exact")


def test_the_horizon_beside_every_centre() -> None:
    coefficients = [1.0, 0.1, 0.0, 0.0, 0.9, 1.0, -0.41, 0.02]
    transform = partial(f2.perspective, startpoints=None, endpoints=None, coefficients=coefficients, fill=0.5)
    expected, found, _ = both(transform, ImageSpec((3, 17, 11), "float64", "tensor"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_a_matrix_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.algebra.sampling.MAX_TAPS", 400)
    with pytest.raises(UnsupportedTransformError, match=r"at least \d+ taps; expected at most 400"):
        derive(v2.RandomRotation((30, 30), Mode.BILINEAR), TENSOR)
    # Copies of rows and columns need no such matrix.
    derive(v2.RandomRotation((90, 90), Mode.BILINEAR, expand=True), TENSOR)


def test_bicubic_overshoot_of_pil_images_is_clamped() -> None:
    transform = partial(f2.rotate, angle=30, interpolation=Mode.BICUBIC)
    operator, clamp = derive(transform, PICTURE).program.stages[:2]
    assert clamp == Clamp(0.0, 255.0)
    assert operator.apply(255.0 * np.random.default_rng(0).integers(0, 2, (3, 17, 11))).max() > 256


def test_batches_on_the_torch_backend() -> None:
    for batch in ((), (4,), (0,), (2, 3)):
        for fill in (None, [0.1, 0.5, 0.9]):
            transform = partial(f2.rotate, angle=33, interpolation=Mode.BILINEAR, expand=True, fill=fill)
            images = torch.rand(*batch, 3, 17, 11, generator=torch.Generator().manual_seed(0))
            target = LoweringTarget(torch.device("cpu"), torch.float32, torch.float32)
            layer = pytorch.lower(derive(transform, TENSOR).program, target)
            expected = transform(images)
            found = layer(images)
            assert found.shape == expected.shape
            # Four products of float32 each.
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


angles = st.floats(-720, 720, width=32) | st.sampled_from([0.0, 45.0, 90.0, 180.0, 270.0])
coordinates = st.floats(-5, 45, width=16)
fills = st.none() | st.floats(-2, 2, width=16)
keywords_of_rotations = st.fixed_dictionaries(
    {"angle": angles, "expand": st.booleans(), "center": st.none() | st.lists(coordinates, min_size=2, max_size=2)}
)
keywords_of_affines = st.fixed_dictionaries(
    {
        "angle": angles,
        "translate": st.lists(st.integers(-9, 9), min_size=2, max_size=2),
        "scale": st.floats(0.25, 4, width=16),
        "shear": st.lists(st.floats(-60, 60, width=16), min_size=2, max_size=2),
        "center": st.none() | st.lists(coordinates, min_size=2, max_size=2),
    }
)
transforms = st.one_of(
    st.builds(lambda f, keywords: partial(f.rotate, **keywords), st.sampled_from([f1, f2]), keywords_of_rotations),
    st.builds(lambda f, keywords: partial(f.affine, **keywords), st.sampled_from([f1, f2]), keywords_of_affines),
)
shapes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 24), st.integers(1, 24))


@given(transforms, fills, shapes, st.sampled_from(["float32", "float64"]))
def test_any_warp_of_tensors(transform: Callable[..., Any], fill: float | None, shape: Any, dtype: Any) -> None:
    spec = ImageSpec(shape, dtype, "tensor")
    expected, found, _ = both(partial(transform, interpolation=Mode.NEAREST, fill=fill), spec)
    np.testing.assert_array_equal(found.astype(dtype), expected)
    expected, found, derived = both(partial(transform, interpolation=Mode.BILINEAR, fill=fill), spec)
    # Weights are torchvision's own; each of four products with values of up to 2 is rounded, and so is their sum. Only
    # where copies of pixels are recognised the rounding of places is left out (see test_whole_pixels_of_floats).
    copies = all(isinstance(stage, Separable) for stage in derived.program.stages)
    roundings = 3 * 4 * max(*shape, *expected.shape) if copies else 16
    # A matrix leaves out weights that could be the rounding of a zero: at most three of an output's four, of values up
    # to 2.
    left_out = 0.0 if copies else 3 * 2 * ROUNDING
    np.testing.assert_allclose(found, expected, rtol=0, atol=roundings * np.finfo(dtype).eps + left_out)


@given(transforms, st.integers(0, 255), shapes, st.sampled_from([*MODES, Mode.BICUBIC]))
def test_any_warp_of_pil_images(transform: Callable[..., Any], fill: int, shape: Any, mode: Mode) -> None:
    expected, found, _ = both(partial(transform, interpolation=mode, fill=fill), ImageSpec(shape, "uint8", "pil"))
    # Pillow cuts fractions off where it computes any.
    assert np.abs(found - expected).max() <= (0 if mode is Mode.NEAREST else 1)


points = st.lists(st.lists(st.integers(-3, 20), min_size=2, max_size=2), min_size=4, max_size=4)


@given(points, points, st.sampled_from([f1, f2]), fills, shapes)
def test_any_perspective(start: Any, end: Any, functions: Any, fill: float | None, shape: Any) -> None:
    for mode in MODES:
        transform = partial(functions.perspective, startpoints=start, endpoints=end, interpolation=mode, fill=fill)
        try:
            expected, found, derived = both(transform, ImageSpec(shape, "float32", "tensor"))
        except UnsupportedTransformError as error:
            # Three corners on a line have no perspective, and a horizon may pass through a centre.
            assert "full rank" in str(error) or "not finite" in str(error)  # noqa: PT017 - some examples only
            continue
        copies = all(isinstance(stage, Separable) for stage in derived.program.stages)
        roundings = 3 * 4 * max(*shape, *expected.shape) if copies else 16
        np.testing.assert_allclose(found, expected, rtol=0, atol=roundings * 2**-23)
