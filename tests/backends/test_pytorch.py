"""The PyTorch backend against the slow reference, ``Program.apply``."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from float_programs import CPU, FLOAT32, normal, resize
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Program,
    Quantize,
    Range,
    Separable,
    SpatialSparse,
    Stage,
    Taps,
    simplify,
)
from onelayer.backends import reference
from onelayer.backends.pytorch.lowering import lower
from onelayer.backends.pytorch.separable import BLOCK
from onelayer.backends.target import LoweringTarget

FLOAT64 = LoweringTarget(CPU, torch.float64, torch.float64)
GENERATOR = np.random.default_rng(0)


STAGES: dict[str, tuple[tuple[int, int, int], list[Stage]]] = {
    "nothing": ((3, 17, 11), []),
    "resize": ((3, 17, 11), [Separable.of_axes(3, resize(17, 5), resize(11, 23))]),
    "blocks": ((1, 375, 300), [Separable.of_axes(1, resize(375, 2 * BLOCK + 1), resize(300, 224))]),
    "flipped blocks": ((1, 375, 9), [Separable.of_axes(1, AxisMap.flip(100) @ resize(375, 100), AxisMap.flip(9))]),
    "crop and padding": ((2, 7, 9), [Separable.of_axes(2, AxisMap.crop(7, -2, 12), AxisMap.crop(9, 3, 4))]),
    "reflection": ((2, 7, 9), [Separable.of_axes(2, AxisMap.pad(7, 3, 2, "reflect"), AxisMap.identity(9))]),
    "transposed": ((2, 7, 9), [Separable.of_axes(2, resize(9, 4), AxisMap.flip(7), transpose=True)]),
    "gray": ((3, 17, 11), [Separable.of_channels([[0.3, 0.6, 0.1]], [0.0], (17, 11))]),
    "normalise": ((3, 2, 3), [Separable.of_channels(np.diag([2.0, 3.0, 4.0]), [1.0, 0.0, -1.0], (2, 3))]),
    "all at once": ((3, 9, 8), [Separable(normal(2, 3), resize(9, 4), resize(8, 16), normal(2, 4, 16))]),
    "one pixel": ((1, 1, 1), [Separable.of_axes(1, AxisMap.identity(1), resize(1, 3))]),
    "sparse": (
        (2, 5, 4),
        [
            SpatialSparse(
                normal(3, 2), sparse.random_array((6, 20), density=0.3, rng=GENERATOR), (5, 4), (2, 3), normal(3)
            )
        ],
    ),
    "dense": ((2, 3, 4), [Dense(normal(5, 24), normal(5), (2, 3, 4), (1, 5, 1))]),
    "clamp": ((2, 3, 4), [Clamp(0.25, 0.5)]),
    "gamma": ((2, 3, 4), [Gamma(1.5, 0.7)]),
    "half even": (
        (2, 3, 4),
        [_scaled := Separable.of_channels(np.eye(2) * 300, [-20.0, 0.5], (3, 4)), Quantize("half_even")],
    ),
    "half up": ((2, 3, 4), [_scaled, Quantize("half_up")]),
    "truncate": ((2, 3, 4), [_scaled, Quantize("truncate")]),
    "look-up": ((2, 3, 4), [_scaled, Quantize("half_even"), Lookup(np.arange(256)[::-1] / 7)]),
    "look-up per channel": ((2, 3, 4), [_scaled, Quantize("half_even"), Lookup(normal(2, 256))]),
}


def test_is_the_reference() -> None:
    for name, (in_shape, stages) in STAGES.items():
        program = Program(in_shape, tuple(stages))
        functions = lower(program, FLOAT64), reference.lower(program, FLOAT64)
        for batch in [(), (2,), (0,), (2, 3)]:
            images = np.random.default_rng(1).random((*batch, *in_shape))
            expected = program.apply(images)
            for function in functions:
                outputs = function(torch.from_numpy(images))
                assert outputs.shape == expected.shape, name
                # the same float64 products, added up in another order
                np.testing.assert_allclose(outputs.numpy(), expected, rtol=0, atol=1e-11, err_msg=name)


def test_halves_are_rounded_as_they_should_be() -> None:
    values = np.concatenate([np.arange(-3, 6, 0.25), [254.5, 255.5, 1e6]]).reshape(1, 1, -1)
    for rounding, dtype in itertools.product(("half_even", "half_up", "truncate"), ("uint8", "int8")):
        program = Program(values.shape, (Quantize(rounding, dtype),))
        result = lower(program, FLOAT64)(torch.from_numpy(values))
        np.testing.assert_array_equal(result.numpy(), program.apply(values), err_msg=f"{rounding} {dtype}")


def test_float32() -> None:
    for name in ("resize", "blocks", "all at once", "normalise", "gray", "sparse", "dense"):
        in_shape, stages = STAGES[name]
        program = Program(in_shape, tuple(stages))
        images = np.random.default_rng(1).random((2, *in_shape), dtype=np.float32)
        outputs = lower(program, FLOAT32)(torch.from_numpy(images))
        assert outputs.dtype == torch.float32, name
        # weights of a few units, rounded to 24 bits, in sums of a few dozen
        np.testing.assert_allclose(outputs.numpy(), program.apply(images), rtol=0, atol=5e-6, err_msg=name)


def test_gradient_is_the_adjoint() -> None:
    for name in ("resize", "transposed", "all at once", "sparse", "dense", "reflection"):
        in_shape, stages = STAGES[name]
        program = Program(in_shape, tuple(stages))
        images = torch.rand(*in_shape, dtype=torch.float64, requires_grad=True)
        outputs = lower(program, FLOAT64)(images)
        direction = np.random.default_rng(2).normal(size=outputs.shape)
        outputs.backward(torch.from_numpy(direction))
        (stage,) = stages
        assert images.grad is not None, name
        expected = stage.apply_transposed(direction)  # type: ignore[union-attr]
        np.testing.assert_allclose(images.grad.numpy(), expected, rtol=0, atol=1e-11, err_msg=name)


def test_strides_as_they_are() -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    memory = torch.rand(2, 9, 8, 3, dtype=torch.float64)  # HWC, as a decoder gives it
    images = memory.permute(0, 3, 1, 2).flip(-1)
    outputs = lower(program, FLOAT64)(images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=1e-11)


def test_what_is_no_number_stays_where_it_is_read() -> None:
    for name in ("resize", "blocks", "crop and padding", "gray", "all at once", "sparse", "clamp"):
        in_shape, stages = STAGES[name]
        program = Program(in_shape, tuple(stages))
        function = lower(program, FLOAT64)
        images = np.random.default_rng(1).random((2, *in_shape))
        place = (1, 0, in_shape[1] // 2, in_shape[2] // 2)
        images[place] = 0.0
        finite = program.apply(images)
        impulse = np.zeros_like(images)
        impulse[place] = 1.0
        reads = program.apply(images + impulse) != finite
        assert reads.any(), name
        for value in (np.nan, np.inf, -np.inf):
            images[place] = value
            outputs = function(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(outputs[~reads], finite[~reads], rtol=0, atol=1e-11, err_msg=name)
            assert name == "clamp" or not np.isfinite(outputs[reads]).any(), name


def test_infinity_of_both_signs_is_nan() -> None:
    program = Program((1, 1, 9), (Separable.of_axes(1, AxisMap.identity(1), resize(9, 3)),))
    images = torch.zeros(1, 1, 9)
    images[0, 0, 0], images[0, 0, 1] = float("inf"), float("-inf")
    outputs = lower(program, FLOAT32)(images)
    assert outputs.isnan().tolist() == [[[True, False, False]]]


@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(1, 80), st.integers(1, 80),
    st.sampled_from(["box", "bilinear", "bicubic", "nearest"]), st.booleans(),
)  # fmt: skip
def test_any_resize(height: int, width: int, rows: int, cols: int, interpolation: str, transpose: bool) -> None:
    antialias = interpolation in ("box", "bilinear", "bicubic")
    first = Separable.of_axes(
        2,
        AxisMap.resample(height, rows, interpolation, antialias),  # type: ignore[arg-type]
        AxisMap.resample(width, cols, interpolation, antialias),  # type: ignore[arg-type]
    )
    second = Separable.of_axes(
        2, AxisMap.flip(cols if transpose else rows), AxisMap.identity(rows if transpose else cols), transpose
    )
    program = Program((2, height, width), (first, second))
    images = np.random.default_rng(3).random((2, height, width))
    expected = program.apply(images)
    for candidate in (program, simplify(program, Range.of(2, 0, 1)).program):
        outputs = lower(candidate, FLOAT64)(torch.from_numpy(images))
        np.testing.assert_allclose(outputs.numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda() -> None:
    target = LoweringTarget(torch.device("cuda"), torch.float64, torch.float64)
    for name, (in_shape, stages) in STAGES.items():
        program = Program(in_shape, tuple(stages))
        images = np.random.default_rng(1).random((2, *in_shape))
        outputs = lower(program, target)(torch.from_numpy(images).to(target.device))
        np.testing.assert_allclose(outputs.cpu().numpy(), program.apply(images), rtol=0, atol=1e-11, err_msg=name)


def test_sums_in_float32_with_and_without_the_kernel() -> None:
    for unfused, along in itertools.product((0, 1, 4), (0, 1, 2)):
        random = np.random.default_rng(unfused + along)
        counts = random.integers(1, 12, 9)
        taps = Taps(17, random.integers(0, 6, 9), counts, random.normal(size=(9, 11)).astype(np.float32))
        factors: list[AxisMap | Taps] = [AxisMap.identity(3), AxisMap.flip(17), AxisMap.select(17, [3, 16, 0, 5, 5])]
        factors[along] = taps
        operator = Float32Sum(factors[0], factors[1], factors[2], unfused)
        program = Program(operator.in_shape, (operator,))
        function = lower(program, FLOAT64)
        for batch in ((), (2,), (0,), (2, 3)):
            images = random.normal(size=(*batch, *operator.in_shape)).astype(np.float32)
            expected = program.apply(images)
            for wants_gradient in (False, True):
                result = function(torch.from_numpy(images).double().requires_grad_(wants_gradient))
                np.testing.assert_array_equal(result.detach().numpy(), expected, err_msg=f"{unfused} {along} {batch}")


def test_arithmetic_in_float32() -> None:
    random = np.random.default_rng(0)
    images = (random.normal(size=(2, 3, 4, 5)) * 200).astype(np.float32)
    for stage in (
        FloatOp("multiply", np.array([1 / 255])),
        FloatOp("subtract", np.array([0.485, 0.456, 0.406])),
        FloatOp("divide", np.array([0.229, 0.224, 0.225])),
        FloatOp("divide", np.array([0.3]), "float64"),
    ):
        program = Program((3, 4, 5), (stage,))
        result = lower(program, FLOAT64)(torch.from_numpy(images).double())
        np.testing.assert_array_equal(result.numpy(), program.apply(images))
