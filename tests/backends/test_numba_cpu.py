"""The fused kernel against the slow reference, ``Program.apply``, and where it may be called from."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import v2

import onelayer
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
from onelayer.backends import choose
from onelayer.backends.cpu import launch as numba_calls
from onelayer.backends.cpu import program as numba_cpu
from onelayer.backends.cpu import result_memory
from onelayer.backends.cpu.program import lower, why_not
from onelayer.backends.target import LoweringTarget

CPU = torch.device("cpu")
FLOAT32 = LoweringTarget(CPU, torch.float32, torch.float32)
BYTES = LoweringTarget(CPU, torch.float32, torch.uint8)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def resize(n_in: int, n_out: int, kind: Any = "bilinear") -> AxisMap:
    return AxisMap.resample(n_in, n_out, kind, True)


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


FAR_APART = AxisMap.select(4000, np.tile([0, 3999], 1000))
"""Both ends of a line in turn: eight neighbours would read all of it."""


def memories(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same images in every layout that memory has them in."""
    apart = torch.zeros(*(2 * size for size in images.shape), dtype=images.dtype)[tuple([slice(None, None, 2)] * 4)]
    apart.copy_(images)
    return {
        "CHW": images,
        "HWC": images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        "WHC": images.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1),
        "every second": apart,
        "a window": torch.nn.functional.pad(images, (1, 2, 3, 0))[..., 3:, 1:-2],
        "one for all": images[:1].expand(len(images), -1, -1, -1),
    }


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16])
def test_is_the_reference_in_every_layout(name: str, dtype: torch.dtype) -> None:
    in_shape, stages = STAGES[name]
    program = Program(in_shape, tuple(stages))
    assert why_not(program, CPU, torch.float32) is None
    kernel = lower(program, FLOAT32)
    images = torch.rand(3, *in_shape, generator=torch.Generator().manual_seed(0))
    images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
    for layout, memory in memories(images).items():
        expected = program.apply(memory.float().numpy())
        outputs = kernel(memory)
        assert (outputs.dtype, outputs.shape) == (torch.float32, expected.shape), layout
        # Weights of a few units, rounded to 24 bits, in sums of a few dozen.
        atol = 5e-6 * (255 if dtype == torch.uint8 else 1)
        np.testing.assert_allclose(outputs.numpy(), expected, rtol=0, atol=atol, err_msg=layout)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3), (2, 0)])
def test_any_batch(batch: tuple[int, ...]) -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(*batch, *in_shape)
    outputs = lower(program, FLOAT32)(images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=5e-6)


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "truncate"])
def test_bytes_are_rounded_and_saturate(rounding: Any) -> None:
    # Halves, and values beyond both ends; all of them exact in float32.
    scale = Separable.of_channels([[2.0]], [-20.5], (1, 16))
    program = Program((1, 1, 16), (scale, Clamp(-10.0, 250.0), Quantize(rounding)))
    images = torch.tensor([0, 9, 10, 10.25, 10.5, 11, 11.5, 12, 100, 135, 135.25, 136, 137, 140, 200, 255])
    outputs = lower(program, BYTES)(images.reshape(1, 1, 16))
    assert outputs.dtype == torch.uint8
    np.testing.assert_array_equal(outputs.numpy(), program.apply(images.reshape(1, 1, 16).numpy()))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4),
    st.integers(1, 4), st.sampled_from(["box", "bilinear", "bicubic", "lanczos"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_shape(
    height: int, width: int, rows: int, cols: int, channels: int, mixed: int, kind: str, flip: bool, interleaved: bool
) -> None:
    axes = resize(height, rows, kind), resize(width, cols, kind)
    if flip:
        axes = AxisMap.flip(rows) @ axes[0], axes[1] @ AxisMap.flip(width)
    program = Program((channels, height, width), (Separable(normal(mixed, channels), *axes, normal(mixed)),))
    images = torch.rand(2, channels, height, width)
    if interleaved:
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    outputs = lower(program, FLOAT32)(images)
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=3e-5)


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_calls, "MULTIPLICATIONS_PER_THREAD", 1)
    program = Program((2, 170, 110), (Separable.of_axes(2, resize(170, 67), resize(110, 30)),))
    kernel = lower(program, FLOAT32)
    images = torch.rand(7, 2, 170, 110)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = kernel(images)
        torch.set_num_threads(3)
        # By images, and by rows where there are fewer images than threads.
        assert torch.equal(kernel(images), alone)
        assert torch.equal(kernel(images[:1]), alone[:1])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_stays_where_it_is_read(value: float) -> None:
    program = Program((1, 40, 40), (Separable.of_axes(1, resize(40, 13), resize(40, 31)),))
    images = torch.rand(2, 1, 40, 40)
    images[1, 0, 20, 20] = 0.0
    finite = program.apply(images.numpy())
    images[1, 0, 20, 20] = 1.0
    reads = program.apply(images.numpy()) != finite
    images[1, 0, 20, 20] = value
    outputs = lower(program, FLOAT32)(images).numpy()
    np.testing.assert_array_equal(~np.isfinite(outputs), reads)


def test_a_result_of_many_megabytes() -> None:
    program = Program((1, 9, 8), (Separable.of_axes(1, resize(9, 60), resize(8, 70)),))
    images = torch.rand(600, 1, 9, 8)
    outputs = lower(program, FLOAT32)(images)
    assert outputs.nbytes > result_memory.LARGEST
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=5e-6)


def test_gradients_are_left_to_pytorch() -> None:
    in_shape, stages = STAGES["all at once"]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(*in_shape, requires_grad=True)
    lower(program, FLOAT32)(images).sum().backward()
    (stage,) = stages
    assert images.grad is not None
    expected = stage.apply_transposed(np.ones(program.out_shape))  # type: ignore[union-attr]
    np.testing.assert_allclose(images.grad.numpy(), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not lower(program, FLOAT32)(images).requires_grad


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


@pytest.mark.parametrize(
    ("stages", "device", "dtype", "reason"),
    [
        ([Separable.identity((1, 2, 2))], "cuda", torch.float32, "on cuda"),
        ([Separable.identity((1, 2, 2))], "cpu", torch.float64, "not in float64"),
        ([], "cpu", torch.float32, "the program is empty"),
        ([Dense(np.eye(4), np.zeros(4), (1, 2, 2), (1, 2, 2))], "cpu", torch.float32, "another kind .* Dense"),
        ([Lookup(np.arange(256))], "cpu", torch.float32, "another kind .* Lookup"),
        ([Separable.identity((1, 2, 2)), Gamma(1.0, 2.0)], "cpu", torch.float32, "another kind .* Gamma"),
        ([Separable.identity((1, 2, 2)), Quantize("half_up", "int16")], "cpu", torch.float32, "another dtype"),
        (
            [Separable.of_axes(1, FAR_APART, AxisMap.identity(2))],
            "cpu",
            torch.float32,
            "neighbouring rows .* far apart",
        ),
        ([Separable.of_axes(1, AxisMap.identity(2), FAR_APART)], "cpu", torch.float32, "neighbouring columns"),
    ],
)
def test_what_it_cannot_run_is_pytorchs(stages: list[Stage], device: str, dtype: torch.dtype, reason: str) -> None:
    in_shape = stages[0].in_shape if stages and isinstance(stages[0], Separable) else (1, 2, 2)
    program = Program(in_shape, tuple(stages))
    assert re.search(reason, why_not(program, torch.device(device), dtype) or "")
    if device == "cpu":
        choice = choose("auto", program, torch.device(device), dtype)
        assert choice.name == "torch"
        assert re.search(reason, choice.reason)
    with pytest.raises(OnelayerError, match=f"'numba' cannot run this pipeline.*{reason}"):
        choose("numba", program, torch.device(device), dtype)


IMAGES = [torch.randint(0, 256, (3, 60 + n, 50), dtype=torch.uint8) for n in range(6)]

LOADER = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models import ResNet50_Weights
import onelayer

class Photographs(Dataset):
    def __init__(self):
        self.layer = onelayer.compile(ResNet50_Weights.DEFAULT.transforms())
        self.images = [torch.full((3, 60 + n, 50), n, dtype=torch.uint8) for n in range(6)]
    def __len__(self):
        return 6
    def __getitem__(self, index):
        return self.layer(self.images[index])

if __name__ == "__main__":
    data = Photographs()
    expected = torch.stack([data[index] for index in range(6)])
    (batch,) = DataLoader(data, batch_size=6, num_workers=2, multiprocessing_context=sys.argv[1])
    raise SystemExit(0 if torch.equal(batch, expected) else 1)
"""


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_in_workers(context: str, tmp_path: Path) -> None:
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    (tmp_path / "loader.py").write_text(LOADER)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(tmp_path / "loader.py"), context], timeout=120, check=False
    )
    assert ended.returncode == 0


def test_after_a_fork_that_followed_threads() -> None:
    code = (
        "import os, torch, onelayer, torchvision\n"
        "from onelayer.backends import numba_calls\n"
        "numba_calls.MULTIPLICATIONS_PER_THREAD = 1\n"
        "torch.set_num_threads(3)\n"
        "layer = onelayer.compile(torchvision.models.ResNet50_Weights.DEFAULT.transforms())\n"
        "images = torch.zeros(6, 3, 60, 50)\n"
        "expected = layer(images)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        # Not torch.equal: after a fork PyTorch's own threads are gone, and it would wait for them.
        "    os._exit(0 if (layer(images).numpy() == expected.numpy()).all() else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=120, check=False)
    assert ended.returncode == 0


def test_from_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_calls, "MULTIPLICATIONS_PER_THREAD", 1)
    layer = onelayer.compile(v2.Compose([v2.Resize(40), v2.ToDtype(torch.float32, scale=True)]))
    expected = [layer(image) for image in IMAGES]
    wrong: list[int] = []

    def work(start: int) -> None:
        for step in range(30):
            index = (start + step) % len(IMAGES)
            if not torch.equal(layer(IMAGES[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_work_that_is_shared_is_all_done_once() -> None:
    from onelayer.backends.cpu.threads import share

    left, done, ended = list(range(2000)), [], threading.Semaphore(0)

    def work() -> None:
        while left:
            with contextlib.suppress(IndexError):
                done.append(left.pop())
        ended.release()

    share(work, 3)
    work()
    for _ in range(4):
        assert ended.acquire(timeout=30)
    assert sorted(done) == list(range(2000))


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
    monkeypatch.setattr(numba_cpu, "_BETWEEN", 4 * 4 * 3 * 12 * 15)
    np.testing.assert_allclose(lower(program, FLOAT32)(images).numpy(), expected, rtol=0, atol=5e-6)
    assert lower(program, FLOAT32)(images[:0]).shape == (0, 2, 7, 16)


def test_memory_of_results_is_used_again() -> None:
    def result(rows: int = 1000) -> torch.Tensor:
        return result_memory.empty((100, rows), torch.float32)

    first = result()
    place = first.data_ptr()
    assert place % 64 == 0
    part = first[3:]
    del first
    # Held by a part of it, and by an array.
    assert result().data_ptr() != place
    array = part.numpy()
    del part
    assert result().data_ptr() != place
    del array
    assert result(990).data_ptr() == place
    small, large = result_memory.empty((5,), torch.uint8), result_memory.empty((9 << 20,), torch.uint8)
    assert (small.shape, large.shape, large.data_ptr() % 64) == ((5,), (9 << 20,), 0)


def test_no_more_memory_is_kept_than_said() -> None:
    results = [result_memory.empty((8 << 20,), torch.uint8) for _ in range(8)]
    places = {result.data_ptr() for result in results}
    assert len(places) == 8
    del results
    assert result_memory._MEMORY.free_bytes <= result_memory.KEPT


@pytest.mark.parametrize("name", ["all at once", "three kernels", "clamp"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_results_of_other_dtypes(name: str, dtype: torch.dtype) -> None:
    in_shape, stages = STAGES[name]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(2, *in_shape)
    outputs = lower(program, LoweringTarget(CPU, torch.float32, dtype))(images)
    # Rounded from float32 to the nearest, as PyTorch does.
    assert torch.equal(outputs, lower(program, FLOAT32)(images).to(dtype))


@pytest.mark.parametrize("name", ["all at once", "three kernels"])
def test_memory_for_the_result(name: str) -> None:
    in_shape, stages = STAGES[name]
    program = Program(in_shape, tuple(stages))
    images = torch.rand(2, *in_shape)
    kernel = lower(program, FLOAT32)
    expected = kernel(images)
    whole = torch.full((2, *program.out_shape), torch.nan)
    apart = torch.full((*program.out_shape, 2), torch.nan).movedim(-1, 0)
    for memory in (whole, apart):
        assert kernel(images, memory) is memory
        assert torch.equal(memory, expected)
    images[0, 0, 0, 0] = torch.nan
    assert torch.equal(kernel(images, whole).nan_to_num(), kernel(images).nan_to_num())


def test_no_more_threads_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_calls, "MULTIPLICATIONS_PER_THREAD", 1)
    others = []
    monkeypatch.setattr(numba_calls, "share", lambda work, count: others.append(count))
    images = torch.rand(9, 3, 17, 11)
    program = Program((3, 17, 11), tuple(STAGES["resize"][1]))
    lower(program, FLOAT32)(images)
    for threads in (1, 2, 3):
        lower(program, LoweringTarget(CPU, torch.float32, torch.float32, threads))(images)
    assert others[-2:] == [1, 2]
