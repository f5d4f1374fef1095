"""The kernel under Triton's interpreter, on the CPU; ``test_triton.py`` runs this in another process."""

from __future__ import annotations

import ctypes
import mmap
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
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

import onelayer
from onelayer import pipelines
from onelayer.algebra import AxisMap, Clamp, Program, Quantize, Separable, Stage
from onelayer.backends import Apply, LoweringTarget, choose


def lower(program: Program, target: LoweringTarget) -> Apply:
    return choose("triton", program, target).lower()


def pixels(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)


def same(*axes: AxisMap, channels: int = 2) -> Separable:
    return Separable.of_axes(channels, *axes)


PROGRAMS: dict[str, tuple[tuple[int, int, int], list[Stage]]] = {
    "identity": ((3, 17, 11), [same(AxisMap.identity(17), AxisMap.identity(11), channels=3)]),
    "smaller and larger": ((3, 17, 11), [same(resize(17, 5), resize(11, 23), channels=3)]),
    "rows in a loop": ((1, 60, 8), [same(resize(60, 5, "bicubic"), resize(8, 8), channels=1)]),
    "cells of many samples": ((2, 8, 200), [same(resize(8, 3), resize(200, 35))]),
    "cells, the other way": ((2, 8, 200), [same(resize(8, 3), AxisMap.flip(35) @ resize(200, 35))]),
    "cells, steps in a loop": ((1, 4, 300), [same(resize(4, 3), resize(300, 3, "lanczos"), channels=1)]),
    "wider than a tile": ((1, 3, 90), [same(AxisMap.flip(3), resize(90, 75), channels=1)]),
    "taller than a tile": ((1, 75, 3), [same(resize(75, 70), AxisMap.flip(3), channels=1)]),
    "a wide output": ((1, 2, 5), [same(AxisMap.identity(2), resize(5, 130), channels=1)]),
    "crops": ((2, 7, 9), [same(AxisMap.crop(7, 2, 3), AxisMap.crop(9, 5, 4))]),
    "fill": ((3, 7, 9), [same(AxisMap.crop(7, -2, 12), AxisMap.crop(9, 3, 14), channels=3).with_fill([0.5, 0, 2])]),
    "reflection": ((2, 7, 9), [same(AxisMap.identity(7), AxisMap.pad(9, 3, 2, "reflect"))]),
    "nothing is read": ((1, 3, 4), [same(AxisMap.crop(3, 5, 2), AxisMap.identity(4), channels=1).with_fill(0.5)]),
    "swapped axes": ((3, 17, 11), [Separable.of_axes(3, resize(11, 5), resize(17, 23), transpose=True)]),
    "swapped channels": ((3, 5, 4), [Separable.of_channels(np.eye(3)[::-1], [0.0, 1.0, 2.0], (5, 4))]),
    "a channel of zeros": ((3, 5, 4), [Separable.of_channels([[0, 0, 0], [0, 2, 0]], [3.0, 1.0], (5, 4))]),
    "mixed, a bias image": ((3, 9, 8), [Separable(normal(2, 3), resize(9, 7), resize(8, 16), normal(2, 7, 16))]),
    "one pixel": ((1, 1, 1), [same(AxisMap.identity(1), resize(1, 3), channels=1)]),
    "one column": ((3, 9, 1), [same(resize(9, 4), AxisMap.identity(1), channels=3)]),
    "clamped and scaled": (
        (2, 9, 8),
        [
            same(resize(9, 14, "bicubic"), resize(8, 5, "bicubic")),
            Clamp(0.25, 0.5),
            Separable.of_channels(np.diag([4.0, -2.0]), [-1.0, 0.5], (14, 5)),
        ],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16], ids=["float32", "uint8", "float16"])
def test_is_the_reference(name: str, dtype: torch.dtype) -> None:
    in_shape, stages = PROGRAMS[name]
    program = Program(in_shape, tuple(stages))
    images = pixels(2, *in_shape, dtype=dtype)
    outputs = lower(program, FLOAT32)(images)
    assert (outputs.dtype, outputs.shape) == (torch.float32, (2, *program.out_shape))
    # Weights of a few units, rounded to 24 bits, in sums of a few dozen.
    atol = 5e-6 * (255 if dtype == torch.uint8 else 1)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.float().numpy()), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["smaller and larger", "cells of many samples", "mixed, a bias image"])
def test_in_every_layout(name: str) -> None:
    in_shape, stages = PROGRAMS[name]
    program = Program(in_shape, tuple(stages))
    for layout, memory in memories(pixels(2, *in_shape, dtype=torch.uint8)).items():
        expected = program.apply(memory.float().numpy())
        outputs = lower(program, FLOAT32)(memory).numpy()
        atol = 5e-6 * 255
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=atol, err_msg=layout)


@pytest.mark.parametrize("batch", [(), (0,), (1,), (5,), (2, 3), (2, 0)])
def test_any_batch(batch: tuple[int, ...]) -> None:
    in_shape, stages = PROGRAMS["mixed, a bias image"]
    program = Program(in_shape, tuple(stages))
    images = pixels(*batch, *in_shape)
    outputs = lower(program, FLOAT32)(images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=5e-6)


@pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="memory cannot be protected here")
@pytest.mark.parametrize("taps", [5, 7, 9])
@pytest.mark.parametrize("cols", [AxisMap.identity(300), resize(300, 20)])
def test_nothing_is_read_behind_an_image(taps: int, cols: AxisMap) -> None:
    # Taps are filled up to 6, 8 and 12, with weights of zero, so that only where they read can tell. The image ends
    # where a page begins that kills the process when it is read.
    rows = AxisMap(taps, [0], np.ones((1, taps)))
    length = -(-taps * cols.n_in // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, length + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    behind = ctypes.c_void_p(address + length), ctypes.c_size_t(mmap.PAGESIZE)
    assert libc.mprotect(*behind, 0) == 0
    try:
        image = torch.frombuffer(memory, dtype=torch.uint8)[length - taps * cols.n_in : length].view(1, taps, cols.n_in)
        image.fill_(1)
        program = Program((1, taps, cols.n_in), (same(rows, cols, channels=1),))
        np.testing.assert_allclose(lower(program, FLOAT32)(image).numpy(), taps, rtol=0, atol=5e-5)
    finally:
        assert libc.mprotect(*behind, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "truncate"])
def test_bytes_are_rounded_and_saturate(rounding: Any) -> None:
    # Halves, and values beyond both ends; all of them exact in float32.
    scale = Separable.of_channels([[2.0]], [-20.5], (1, 16))
    program = Program((1, 1, 16), (scale, Clamp(-10.0, 250.0), Quantize(rounding)))
    images = torch.tensor([0, 9, 10, 10.25, 10.5, 11, 11.5, 12, 100, 135, 135.25, 136, 137, 140, 200, 255])
    images = images.reshape(1, 1, 16)
    expected = program.apply(images.numpy())
    for target in (BYTES, FLOAT32):
        outputs = lower(program, target)(images)
        assert outputs.dtype == target.result_dtype
        np.testing.assert_array_equal(outputs.numpy(), expected)


def test_all_bytes_arrive() -> None:
    program = Program((1, 1, 256), (same(AxisMap.identity(1), AxisMap.flip(256), channels=1),))
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256)
    assert torch.equal(lower(program, BYTES)(every), every.flip(-1))


@pytest.mark.parametrize("result", [torch.float16, torch.float32])
def test_memory_that_is_given(result: torch.dtype) -> None:
    in_shape, stages = PROGRAMS["smaller and larger"]
    program = Program(in_shape, tuple(stages))
    apply = lower(program, LoweringTarget(CPU, torch.float32, result))
    images = pixels(2, *in_shape)
    expected = apply(images)
    shape = expected.shape
    for memory in (torch.empty(shape, dtype=result), torch.empty(*shape[:-1], 30, dtype=result)[..., : shape[-1]]):
        assert apply(images, memory) is memory
        assert torch.equal(memory, expected)


@given(separable_programs((40, 90), (20, 50), (3, 2), ["box", "bilinear", "bicubic"]), st.booleans())
def test_any_shape(program: Program, interleave: bool) -> None:
    images = pixels(1, *program.in_shape)
    outputs = lower(program, FLOAT32)(interleaved(images) if interleave else images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", ["smaller and larger", "cells of many samples", "mixed, a bias image", "fill"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinity_stay_where_they_are_read(name: str, value: float) -> None:
    in_shape, stages = PROGRAMS[name]
    program = Program(in_shape, tuple(stages))
    images = pixels(2, *in_shape)
    place = (1, 0, in_shape[1] // 2, in_shape[2] // 2)
    images[place] = 0.0
    finite = program.apply(images.numpy())
    impulse = torch.zeros_like(images)
    impulse[place] = 1.0
    # Of the impulse alone: weights as small as rounding errors read too, and would vanish beside other values.
    reads = stages[0].apply_linear(impulse.numpy()) != 0  # type: ignore[union-attr]
    assert reads.any()
    assert not reads.all()
    images[place] = value
    outputs = lower(program, FLOAT32)(images).numpy()
    np.testing.assert_array_equal(~np.isfinite(outputs), reads)
    np.testing.assert_allclose(outputs[~reads], finite[~reads], rtol=0, atol=5e-6)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_infinity_of_both_signs_is_nan_and_nan_is_no_byte() -> None:
    stage = same(AxisMap.identity(1), resize(9, 3), channels=1)
    images = torch.zeros(1, 1, 9)
    images[0, 0, 0], images[0, 0, 1] = float("inf"), float("-inf")
    outputs = lower(Program((1, 1, 9), (stage,)), FLOAT32)(images)
    assert outputs.isnan().tolist() == [[[True, False, False]]]
    assert lower(Program((1, 1, 9), (stage, Quantize("half_up"))), BYTES)(images).tolist() == [[[0, 0, 0]]]


REPORT = pipelines.report_transform()
EVALUATION = ResNet50_Weights.IMAGENET1K_V1.transforms()
SMALL = v2.Compose(
    [
        v2.Resize(14),
        v2.CenterCrop(12),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


@pytest.mark.parametrize("interleave", [False, True])
def test_the_report_is_torchvisions(interleave: bool) -> None:
    images = pixels(3, 3, 32, 32)
    if interleave:
        images = interleaved(images)
    layer = onelayer.compile(REPORT, rounding="fused", backend="triton")
    # A few roundings of float32 on either side.
    torch.testing.assert_close(layer(images), REPORT(images), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(17, 11), (1, 1), (37, 51)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16])
@pytest.mark.parametrize("interleave", [False, True])
def test_evaluation_of_photographs(size: tuple[int, int], dtype: torch.dtype, interleave: bool) -> None:
    photographs = pixels(1, 3, *size, dtype=dtype)
    if interleave:
        photographs = interleaved(photographs)
    outputs = onelayer.compile(SMALL, rounding="fused", backend="triton")(photographs)
    if dtype == torch.float32:
        # Values divided by a deviation of 0.22, whose range is 4.6.
        torch.testing.assert_close(outputs, SMALL(photographs), rtol=0, atol=1e-5)
    expected = onelayer.compile(SMALL, rounding="fused", backend="reference")(photographs)
    # Half precision is rounded once, at the end, where two neighbours may be equally near.
    atol = 2e-3 if dtype == torch.float16 else 1e-5
    torch.testing.assert_close(outputs, expected, rtol=0, atol=atol)


def test_imagenets_evaluation() -> None:
    photograph = pixels(3, 17, 11)
    outputs = onelayer.compile(EVALUATION, rounding="fused", backend="triton")(photograph)
    torch.testing.assert_close(outputs, EVALUATION(photograph), rtol=0, atol=1e-5)


def test_gradients_are_left_to_pytorch() -> None:
    in_shape, stages = PROGRAMS["mixed, a bias image"]
    program = Program(in_shape, tuple(stages))
    check_gradients_are_pytorchs(lower(program, FLOAT32), program)


# PyTorch's own, when it first makes a dual number.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_forward_derivatives_are_left_to_pytorch() -> None:
    in_shape, stages = PROGRAMS["smaller and larger"]
    program = Program(in_shape, tuple(stages))
    images, direction = pixels(*in_shape), pixels(*in_shape).flip(-1)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(images, direction)
        tangent = torch.autograd.forward_ad.unpack_dual(lower(program, FLOAT32)(dual)).tangent
    assert tangent is not None
    np.testing.assert_allclose(tangent.numpy(), program.apply(direction.numpy()), rtol=0, atol=5e-6)


def test_by_name_only_on_the_cpu() -> None:
    program = Program((1, 2, 2), (Separable.identity((1, 2, 2)),))
    assert choose("triton", program, FLOAT32).name == "triton"
    assert choose("auto", program, FLOAT32).name == "numba"
