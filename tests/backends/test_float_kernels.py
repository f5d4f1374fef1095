"""The float kernels against the slow reference, ``Program.apply``."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from float_programs import (
    BYTES,
    CPU,
    FLOAT32,
    check_gradients_are_pytorchs,
    interleaved,
    memories,
    normal,
    resize,
    separable_programs,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from torch._subclasses.fake_tensor import FakeTensorMode

from onelayer import OnelayerError
from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Gamma,
    Lookup,
    Program,
    Quantize,
    Separable,
    SpatialSparse,
    Stage,
)
from onelayer.backends import Apply, LoweringTarget, choose
from onelayer.backends.cpu import program as cpu_program


def lower(program: Program, target: LoweringTarget) -> Apply:
    return choose("numba", program, target).lower()


def scattered(
    channels: int, size: tuple[int, int], out: tuple[int, int], mix: np.ndarray | None = None, bias: Any = None
) -> SpatialSparse:
    """Some pixels wherever they lie, none for some outputs."""
    outputs, pixels = out[0] * out[1], size[0] * size[1]
    matrix = sparse.random_array((outputs, pixels), density=0.08, rng=np.random.default_rng(outputs))
    mix = np.eye(channels) if mix is None else mix
    return SpatialSparse(mix, matrix, size, out, np.zeros(len(mix)) if bias is None else bias)


STAGES: dict[str, tuple[tuple[int, int, int], list[Stage]]] = {
    "identity": ((3, 17, 11), [Separable.of_axes(3, AxisMap.identity(17), AxisMap.identity(11))]),
    "resize": ((3, 17, 11), [Separable.of_axes(3, resize(17, 5), resize(11, 23))]),
    "many taps": ((2, 170, 110), [Separable.of_axes(2, resize(170, 5, "lanczos"), resize(110, 3, "lanczos"))]),
    "flips": ((3, 17, 11), [Separable.of_axes(3, AxisMap.flip(17), AxisMap.flip(11))]),
    "crop": ((2, 7, 9), [Separable.of_axes(2, AxisMap.crop(7, 2, 3), AxisMap.crop(9, 5, 4))]),
    "padding": ((2, 7, 9), [Separable.of_axes(2, AxisMap.crop(7, -2, 12), AxisMap.crop(9, 3, 14)).with_fill(0.5)]),
    "fill per channel": (
        (3, 7, 9),
        [Separable.of_axes(3, AxisMap.crop(7, -2, 12), AxisMap.identity(9)).with_fill([0.5, 0, 2])],
    ),
    "reflection": ((2, 7, 9), [Separable.of_axes(2, AxisMap.pad(7, 3, 2, "reflect"), AxisMap.identity(9))]),
    "rows in any order": (
        (2, 9, 12),
        [
            Separable(
                np.diag([2.0, -1.0]), AxisMap.select(9, [0, 2, 1, 3, 4, 5, 6, 7]), AxisMap.identity(12), [0.5, 0.0]
            )
        ],
    ),
    "rows in reverse, scaled": (
        (3, 9, 12),
        [
            Separable(np.diag([2.0, -1.0, 0.5]), AxisMap.flip(9), AxisMap.crop(12, 2, 9), [0.5, 0.0, 1.0]),
            Clamp(0.0, 0.9),
        ],
    ),
    "gray, some rows": (
        (3, 17, 11),
        [Separable([[0.3, 0.6, 0.1], [0, 1, 0]], AxisMap.crop(17, 3, 12), AxisMap.crop(11, 1, 9), [0.5, 0.0])],
    ),
    "gray": ((3, 17, 11), [Separable.of_channels([[0.3, 0.6, 0.1]], [0.0], (17, 11))]),
    "swapped": ((3, 5, 4), [Separable.of_channels(np.eye(3)[::-1], [0.0, 1.0, 2.0], (5, 4))]),
    "a channel of zeros": ((3, 5, 4), [Separable.of_channels([[0, 0, 0], [0, 2, 0]], [3.0, 1.0], (5, 4))]),
    "all at once": ((3, 9, 8), [Separable(normal(2, 3), resize(9, 7), resize(8, 16), normal(2, 7, 16))]),
    "five channels": ((5, 9, 8), [Separable(normal(4, 5), resize(9, 4), resize(8, 3), normal(4))]),
    "one pixel": ((1, 1, 1), [Separable.of_axes(1, AxisMap.identity(1), resize(1, 3))]),
    "one column": ((3, 9, 1), [Separable.of_axes(3, resize(9, 4), AxisMap.identity(1))]),
    "height and width swapped": ((3, 17, 11), [Separable.of_axes(3, resize(11, 5), resize(17, 23), transpose=True)]),
    "letterbox": (
        (3, 40, 30),
        [Separable.of_axes(3, AxisMap.crop(20, -7, 34) @ resize(40, 20), resize(30, 15)).with_fill([0.1, 0.2, 0.3])],
    ),
    "nothing is read": ((1, 3, 4), [Separable.of_axes(1, AxisMap.crop(3, 5, 2), AxisMap.identity(4)).with_fill(0.5)]),
    "any pixels": ((3, 7, 5), [scattered(3, (7, 5), (6, 11))]),
    "any pixels, mixed": ((3, 7, 5), [scattered(3, (7, 5), (17, 3), normal(2, 3), normal(2, 17, 3))]),
    "normalised after a clamp": (
        (2, 9, 8),
        [
            Separable.of_axes(2, resize(9, 14, "bicubic"), resize(8, 5, "bicubic")),
            Clamp(0.25, 0.5),
            Separable.of_channels(np.diag([4.0, -2.0]), [-1.0, 0.5], (14, 5)),
        ],
    ),
    "clamps and scales in turn": (
        (3, 5, 4),
        [
            Separable.of_channels(np.eye(3), [0.0, 0.25, -0.25], (5, 4)),
            Clamp(0.25, np.inf),
            Separable.of_channels(np.diag([2.0, 0.0, -1.0]), [0.5, 3.0, 0.0], (5, 4)),
            Clamp(-0.5, 1.75),
            Separable.of_channels(np.diag([-1.0, 1.0, 8.0]), [0.0, 0.0, 1.0], (5, 4)),
        ],
    ),
    "a bias image, then a scale": (
        (2, 3, 4),
        [
            Separable(np.eye(2), AxisMap.identity(3), AxisMap.identity(4), normal(2, 3, 4)),
            Clamp(0.0, 1.0),
            Separable.of_channels(np.diag([2.0, 3.0]), [0.5, 0.0], (3, 4)),
        ],
    ),
    "three kernels": (
        (3, 17, 11),
        [
            Separable.of_axes(3, resize(17, 12, "bicubic"), resize(11, 15, "bicubic")),
            Clamp(0.1, 0.9),
            scattered(3, (12, 15), (9, 10)),
            Clamp(0.0, 0.5),
            Separable(normal(2, 3), resize(9, 7), resize(10, 16), normal(2, 7, 16)),
        ],
    ),
    "clamp": ((2, 3, 4), [Separable.of_axes(2, resize(3, 5, "bicubic"), resize(4, 7, "bicubic")), Clamp(0.25, 0.5)]),
}


# Compiled for float16 nowhere else.
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.uint8, pytest.param(torch.float16, marks=pytest.mark.exhaustive)]
)
def test_is_the_reference_in_every_layout(dtype: torch.dtype) -> None:
    for name, (in_shape, stages) in STAGES.items():
        program = Program(in_shape, tuple(stages))
        kernel = lower(program, FLOAT32)
        images = torch.rand(3, *in_shape, generator=torch.Generator().manual_seed(0))
        images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
        for layout, memory in memories(images).items():
            case = f"{name}, {layout}"
            expected = program.apply(memory.float().numpy())
            outputs = kernel(memory)
            assert (outputs.dtype, outputs.shape) == (torch.float32, expected.shape), case
            # Weights of a few units, rounded to 24 bits, in sums of a few dozen.
            atol = 5e-6 * (255 if dtype == torch.uint8 else 1)
            np.testing.assert_allclose(outputs.numpy(), expected, rtol=0, atol=atol, err_msg=case)


def test_any_batch() -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    for batch in ((), (0,), (2, 3), (2, 0)):
        images = torch.rand(*batch, *in_shape)
        outputs = lower(program, FLOAT32)(images)
        np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=5e-6)


def test_bytes_are_rounded_and_saturate() -> None:
    # Halves, and values beyond both ends; all of them exact in float32.
    scale = Separable.of_channels([[2.0]], [-20.5], (1, 16))
    values = [0, 9, 10, 10.25, 10.5, 11, 11.5, 12, 100, 135, 135.25, 136, 137, 140, 200, 255]
    images = torch.tensor(values).reshape(1, 1, 16)
    for rounding in ("half_even", "half_up", "truncate"):
        program = Program((1, 1, 16), (scale, Clamp(-10.0, 250.0), Quantize(rounding)))
        outputs = lower(program, BYTES)(images)
        assert outputs.dtype == torch.uint8
        np.testing.assert_array_equal(outputs.numpy(), program.apply(images.numpy()), err_msg=rounding)


@given(separable_programs((60, 60), (40, 40), (4, 4), ["box", "bilinear", "bicubic", "lanczos"]), st.booleans())
def test_any_shape(program: Program, interleave: bool) -> None:
    images = torch.rand(2, *program.in_shape)
    outputs = lower(program, FLOAT32)(interleaved(images) if interleave else images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=3e-5)


def test_nan_and_infinity_stay_where_they_are_read() -> None:
    program = Program((1, 40, 40), (Separable.of_axes(1, resize(40, 13), resize(40, 31)),))
    images = torch.rand(2, 1, 40, 40)
    images[1, 0, 20, 20] = 0.0
    finite = program.apply(images.numpy())
    images[1, 0, 20, 20] = 1.0
    reads = program.apply(images.numpy()) != finite
    for value in (np.nan, np.inf):
        images[1, 0, 20, 20] = value
        outputs = lower(program, FLOAT32)(images).numpy()
        np.testing.assert_array_equal(~np.isfinite(outputs), reads)


def test_gradients_are_left_to_pytorch() -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    check_gradients_are_pytorchs(lower(program, FLOAT32), program)


def test_images_that_are_no_numbers_in_memory_are_left_to_pytorch() -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    kernel = lower(program, FLOAT32)
    images = torch.rand(2, *in_shape)
    expected = kernel(images)
    torch.testing.assert_close(kernel(torch._neg_view(-images)), expected, rtol=0, atol=5e-6)
    # PyTorch says that it cannot; there are no addresses to read from.
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(kernel)(images)
    with FakeTensorMode() as mode, pytest.raises(AssertionError, match="FakeTensor"):
        kernel(mode.from_tensor(images))


def test_bytes_between_two_kernels() -> None:
    double = Separable.of_channels([[2.0]], [0.25], (4, 5))
    program = Program((1, 4, 5), (double, Quantize("half_even"), double, Clamp(-np.inf, 300.0)))
    images = torch.arange(0, 200, 5, dtype=torch.float32).reshape(2, 1, 4, 5)
    outputs = lower(program, FLOAT32)(images)
    np.testing.assert_array_equal(outputs.numpy(), program.apply(images.numpy()))


def test_many_images_through_two_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    in_shape, stages = STAGES["three kernels"]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(11, *in_shape)
    expected = program.apply(images.numpy())
    # Four images at a time, the last time three.
    monkeypatch.setattr(cpu_program, "_BETWEEN", 4 * 4 * 3 * 12 * 15)
    np.testing.assert_allclose(lower(program, FLOAT32)(images).numpy(), expected, rtol=0, atol=5e-6)
    assert lower(program, FLOAT32)(images[:0]).shape == (0, 2, 7, 16)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float64, pytest.param(torch.float16, marks=pytest.mark.exhaustive)]
)
def test_results_of_other_dtypes(dtype: torch.dtype) -> None:
    for name in ("all at once", "three kernels", "clamp"):
        in_shape, stages = STAGES[name]
        program = Program(in_shape, tuple(stages))
        images = torch.rand(2, *in_shape)
        outputs = lower(program, LoweringTarget(CPU, torch.float32, dtype))(images)
        # Rounded from float32 to the nearest, as PyTorch does.
        assert torch.equal(outputs, lower(program, FLOAT32)(images).to(dtype)), name


@pytest.mark.parametrize("name", ["all at once", "three kernels"])
def test_memory_for_the_result(name: str) -> None:
    in_shape, stages = STAGES[name]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(2, *in_shape)
    kernel = lower(program, FLOAT32)
    expected = kernel(images)
    whole = torch.full((2, *program.out_shape), torch.nan)
    strided = torch.full((*program.out_shape, 2), torch.nan).movedim(-1, 0)
    for memory in (whole, strided):
        assert kernel(images, memory) is memory
        assert torch.equal(memory, expected)
    images[0, 0, 0, 0] = torch.nan
    assert torch.equal(kernel(images, whole).nan_to_num(), kernel(images).nan_to_num())


FAR_APART = AxisMap.select(4000, np.tile([0, 3999], 1000))
"""Both ends of a line in turn: eight neighbours would read all of it."""


def test_programs_for_other_backends() -> None:
    identity = Separable.identity((1, 2, 2))
    refused: list[tuple[str, list[Stage], torch.device, torch.dtype]] = [
        ("on cuda", [identity], torch.device("cuda"), torch.float32),
        ("not in float64", [identity], CPU, torch.float64),
        ("the program is empty", [], CPU, torch.float32),
        ("another kind .* Dense", [Dense(np.eye(4), np.zeros(4), (1, 2, 2), (1, 2, 2))], CPU, torch.float32),
        ("another kind .* Lookup", [Lookup(np.arange(256))], CPU, torch.float32),
        ("another kind .* Gamma", [identity, Gamma(1.0, 2.0)], CPU, torch.float32),
        ("another dtype", [identity, Quantize("half_up", "int16")], CPU, torch.float32),
        ("rows .* far apart", [Separable.of_axes(1, FAR_APART, AxisMap.identity(2))], CPU, torch.float32),
        ("columns .* far apart", [Separable.of_axes(1, AxisMap.identity(2), FAR_APART)], CPU, torch.float32),
    ]
    for reason, stages, device, dtype in refused:
        in_shape = stages[0].in_shape if stages and isinstance(stages[0], Separable) else (1, 2, 2)
        program, target = Program(in_shape, tuple(stages)), LoweringTarget(device, dtype, dtype)
        with pytest.raises(OnelayerError, match=f"'numba' cannot run this pipeline.*{reason}"):
            choose("numba", program, target)
        if device == CPU:
            choice = choose("auto", program, target)
            assert choice.name == "torch"
            assert re.search(reason, choice.reason)
