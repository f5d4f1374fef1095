"""The Triton kernel: under Triton's interpreter, compiled for a GPU that is not there, and on a GPU that is.

Triton decides when its kernels are imported whether it interprets them, so the first two run in other processes, and
this one never interprets.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError, pipelines
from onelayer.algebra import AxisMap, Clamp, Gamma, Program, Quantize, Separable, Stage
from onelayer.backends import LoweringTarget, choose
from onelayer.backends.triton.launch import prepare

FOLDER = Path(__file__).parent / "under_interpreter"
IDENTITY = Program((1, 2, 2), (Separable.identity((1, 2, 2)),))


def float32_on(device: str) -> LoweringTarget:
    return LoweringTarget(torch.device(device), torch.float32, torch.float32)


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(
    isinstance(prepare(IDENTITY, float32_on("cuda")), str),
    reason="no NVIDIA GPU of compute capability 8.0 with Triton",
)


def run(arguments: list[str], cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=others | {"TRITON_CACHE_DIR": str(cache)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def under_the_interpreter(cache: Path, *checks: str) -> str:
    """Run checks of the file, or all of it, and return what pytest printed."""
    configuration = str(Path(__file__).parents[2] / "pyproject.toml")
    file = FOLDER / "checks_of_triton.py"
    chosen = [f"{file}::{check}" for check in checks] or [str(file)]
    # The interpreter of Triton 3.4, which PyTorch 2.8 brings, does what NumPy warns of.
    options = [
        "-c",
        configuration,
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-W",
        "ignore:Conversion of an array with ndim",
    ]
    ended = run(["-m", "pytest", *options, *chosen], cache, TRITON_INTERPRET="1")
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


QUICK = [
    "test_is_the_reference[uint8-mixed, a bias image]",
    "test_is_the_reference[float32-cells, steps in a loop]",
    "test_nan_and_infinity_stay_where_they_are_read[nan-fill]",
    "test_all_bytes_arrive",
]


@needs_triton
def test_a_little_under_the_interpreter(tmp_path: Path) -> None:
    printed = under_the_interpreter(tmp_path, *QUICK)
    assert re.search(rf"^{len(QUICK)} passed in", printed, re.MULTILINE), printed[-500:]


@needs_triton
@pytest.mark.exhaustive
def test_under_the_interpreter(tmp_path: Path) -> None:
    printed = under_the_interpreter(tmp_path)
    # All of them, and none left out.
    assert re.search(r"^\d{3} passed in", printed, re.MULTILINE), printed[-500:]


def _can_compile() -> bool:
    """Whether Triton brings what compiles for NVIDIA's GPUs and tells what the result takes; nothing is imported."""
    found = importlib.util.find_spec("triton")
    folders = found.submodule_search_locations if found else None
    tools = Path(folders[0]) / "backends" / "nvidia" / "bin" if folders else Path()
    return all((tools / tool).exists() for tool in ("ptxas", "cuobjdump"))


@pytest.mark.skipif(not _can_compile(), reason="no Triton with ptxas and cuobjdump")
@pytest.mark.parametrize("cases", [["report, uint8, CHW"], pytest.param([], marks=pytest.mark.exhaustive, id="all")])
def test_compiled_for_hopper_nothing_spills(cases: list[str], tmp_path: Path) -> None:
    ended = run(["-W", "error", str(FOLDER / "compiled_for_hopper.py"), *cases], tmp_path)
    assert ended.returncode == 0, ended.stderr[-5000:]
    taken = json.loads(ended.stdout)
    assert len(taken) == (len(cases) or 7 * 3 * 2)
    for name, each in taken.items():
        assert (each["STACK"], each["LOCAL"]) == (0, 0), name
        # Four programs of 128 threads at a time on a multiprocessor with 65,536 registers, so that loads of one hide
        # behind the arithmetic of others. How far below depends on Triton's version: the report in float32 takes 72
        # registers with Triton 3.8, and 40 with the one of PyTorch 2.15.
        assert each["REG"] <= 128, name


@needs_triton
def test_on_the_cpu_only_under_the_interpreter() -> None:
    with pytest.raises(OnelayerError, match="'triton' cannot run this pipeline: the images are on the CPU"):
        choose("triton", IDENTITY, float32_on("cpu"))


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for device in ("cpu", "cuda"):
        with pytest.raises(OnelayerError, match=f"the images are on {device}, and Triton is not installed"):
            choose("triton", IDENTITY, float32_on(device))
    assert choose("auto", IDENTITY, float32_on("cuda")).name == "torch"


def test_on_another_device() -> None:
    with pytest.raises(OnelayerError, match="the images are on mps, not on an NVIDIA GPU"):
        choose("triton", IDENTITY, float32_on("mps"))


def test_programs_for_other_backends() -> None:
    def separable(*axes: AxisMap) -> Separable:
        return Separable.of_axes(2, *axes)

    identity, smaller = Separable.identity((2, 2, 2)), AxisMap.resample(9, 4, "bilinear", True)
    smallest = AxisMap.resample(4, 3, "bilinear", True)
    both_ends = AxisMap.select(4000, np.tile([0, 3999], 1000))
    refused: list[tuple[str, list[Stage]]] = [
        ("the program is empty", []),
        ("another kind .* Gamma", [Gamma(1.0, 2.0)]),
        ("another dtype", [identity, Quantize("half_up", "int16")]),
        ("far apart", [separable(AxisMap.identity(2), both_ends)]),
        ("far apart", [separable(AxisMap.identity(2), AxisMap(9000, [0], np.ones((1, 9000))))]),
        ("more than 8 channels", [Separable.of_channels(np.ones((1, 9)), [0.0], (1, 1))]),
        ("2 kernels", [separable(smaller, smaller), Clamp(0, 1), separable(smallest, smallest)]),
    ]
    for reason, stages in refused:
        in_shape = stages[0].in_shape if stages and isinstance(stages[0], Separable) else (1, 2, 2)
        with pytest.raises(OnelayerError, match=f"'triton' cannot run this pipeline.*{reason}"):
            choose("triton", Program(in_shape, tuple(stages)), float32_on("cpu"))
    double = LoweringTarget(torch.device("cpu"), torch.float64, torch.float64)
    with pytest.raises(OnelayerError, match="not in float64"):
        choose("triton", IDENTITY, double)


EVALUATION = ResNet50_Weights.IMAGENET1K_V1.transforms()
REPORT = pipelines.report_transform()


@needs_gpu
@pytest.mark.parametrize("shape", [(1000, 3, 32, 32), (0, 3, 32, 32), (3, 32, 32), (2, 3, 3, 32, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16])
def test_the_report_on_a_gpu(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
    layer = onelayer.compile(REPORT, rounding="fused")
    outputs = layer(images.cuda())
    assert outputs.is_cuda
    # Both add up in float32, in another order; a byte or a half that lies between two may be either.
    atol = {torch.float32: 2e-6, torch.uint8: 1, torch.float16: 1e-3}[dtype]
    torch.testing.assert_close(outputs.cpu(), layer(images), rtol=0, atol=atol)


@needs_gpu
@pytest.mark.parametrize("size", [(1, 1), (17, 11), (375, 500), (500, 375), (1200, 1600), (3000, 4000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("interleaved", [False, True])
def test_photographs_on_a_gpu(size: tuple[int, int], dtype: torch.dtype, interleaved: bool) -> None:
    photographs = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    photographs = (photographs * 255).to(torch.uint8) if dtype == torch.uint8 else photographs
    layer = onelayer.compile(EVALUATION, rounding="fused")
    expected = onelayer.compile(EVALUATION, rounding="fused", backend="reference")(photographs)
    memory = photographs.cuda()
    if interleaved:
        memory = memory.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    # Values divided by a deviation of 0.22, whose range is 4.6.
    torch.testing.assert_close(layer(memory).cpu(), expected, rtol=0, atol=1e-5)


@needs_gpu
def test_nan_stays_where_it_is_read_on_a_gpu() -> None:
    layer = onelayer.compile(v2.Resize((13, 31), antialias=True), rounding="fused")
    images = torch.rand(2, 1, 40, 140)
    images[1, 0, 20, 70] = float("nan")
    impulse = torch.zeros(1, 1, 40, 140, dtype=torch.float64)
    impulse[0, 0, 20, 70] = 1.0
    reads = (
        onelayer.compile(v2.Resize((13, 31), antialias=True), rounding="fused", backend="reference")(impulse)[0] != 0
    )
    outputs = layer(images.cuda()).cpu()
    assert torch.equal(outputs[1].isnan(), reads)
    assert not outputs[0].isnan().any()


@needs_gpu
def test_a_call_waits_for_nothing_on_a_gpu() -> None:
    layer = onelayer.compile(REPORT, rounding="fused")
    images = torch.rand(64, 3, 32, 32, device="cuda")
    expected = layer(images)
    graph = torch.cuda.CUDAGraph()
    # What waits for the GPU cannot be recorded.
    with torch.cuda.graph(graph):
        outputs = layer(images)
    graph.replay()
    assert torch.equal(outputs, expected)


@needs_gpu
def test_from_many_threads_on_a_gpu() -> None:
    # Not under the interpreter, which changes Triton's module while a kernel runs.
    layer = onelayer.compile(REPORT, rounding="fused")
    images = [torch.rand(8, 3, 32, 32, device="cuda") for _ in range(4)]
    expected = [layer(each) for each in images]
    with ThreadPoolExecutor(4) as pool:
        for result, right in zip(pool.map(layer, images * 10), expected * 10, strict=True):
            assert torch.equal(result, right)


@needs_gpu
def test_chosen_on_a_gpu() -> None:
    program: Any = Program(
        (3, 9, 8), (Separable.of_axes(3, AxisMap.flip(9), AxisMap.resample(8, 5, "bilinear", True)),)
    )
    choice = choose("auto", program, float32_on("cuda"))
    assert choice.name == "triton"
    images = np.random.default_rng(0).random((2, 3, 9, 8), dtype=np.float32)
    outputs = choice.lower()(torch.from_numpy(images).cuda())
    np.testing.assert_allclose(outputs.cpu().numpy(), program.apply(images), rtol=0, atol=2e-6)
