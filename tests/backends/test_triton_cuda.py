"""The kernel in Triton: under Triton's interpreter, compiled for a GPU that is not there, and on one that is.

Triton decides when its kernels are imported whether it interprets them, so both of the former run in processes of their
own, and nothing else in this one meets an interpreter.
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
from onelayer.algebra import AxisMap, Program, Separable
from onelayer.backends import choose
from onelayer.backends.triton import launch as triton_cuda

FOLDER = Path(__file__).parent / "under_interpreter"
IDENTITY = Program((1, 2, 2), (Separable.identity((1, 2, 2)),))

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(
    triton_cuda.why_not(IDENTITY, torch.device("cuda"), torch.float32) is not None,
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


@needs_triton
def test_under_the_interpreter(tmp_path: Path) -> None:
    configuration = str(Path(__file__).parents[2] / "pyproject.toml")
    checks = ["-m", "pytest", "-c", configuration, "-p", "no:cacheprovider", str(FOLDER / "checks_of_triton.py")]
    ended = run(checks, tmp_path, TRITON_INTERPRET="1")
    assert ended.returncode == 0, ended.stdout[-5000:]
    # All of them, and none left out.
    assert re.search(r"^\d{3} passed in", ended.stdout, re.MULTILINE), ended.stdout[-500:]


def _can_compile() -> bool:
    """Whether Triton brings what compiles for NVIDIA's GPUs and tells what the result takes; nothing is imported."""
    found = importlib.util.find_spec("triton")
    folders = found.submodule_search_locations if found else None
    tools = Path(folders[0]) / "backends" / "nvidia" / "bin" if folders else Path()
    return all((tools / tool).exists() for tool in ("ptxas", "cuobjdump"))


@pytest.mark.skipif(not _can_compile(), reason="no Triton with ptxas and cuobjdump")
def test_compiled_for_hopper_nothing_spills(tmp_path: Path) -> None:
    ended = run(["-W", "error", str(FOLDER / "compiled_for_hopper.py")], tmp_path)
    assert ended.returncode == 0, ended.stderr[-5000:]
    taken = json.loads(ended.stdout)
    assert len(taken) == 7 * 3 * 2
    for name, each in taken.items():
        assert (each["STACK"], each["LOCAL"]) == (0, 0), name
    # Twelve programs of 128 threads at a time on a multiprocessor with 65,536 registers keep its memory busy.
    for pipeline in ("report", "375×500"):
        for dtype in ("torch.float32", "torch.uint8"):
            assert taken[f"{pipeline}, {dtype}, CHW"]["REG"] <= 40, (pipeline, dtype)


def test_importing_onelayer_imports_no_kernel(tmp_path: Path) -> None:
    # Torchvision imports Triton by itself, where it is installed; but the kernels need not be compiled by anybody.
    code = (
        "import sys, torch, onelayer\n"
        "from onelayer.backends import triton_cuda\n"
        "from torchvision.transforms import v2\n"
        "onelayer.compile(v2.Resize(4))(torch.zeros(1, 3, 9, 8))\n"
        "raise SystemExit(any(name.startswith('onelayer.backends.triton.kernels') for name in sys.modules))"
    )
    ended = run(["-c", code], tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]


@needs_triton
def test_on_the_cpu_only_under_the_interpreter() -> None:
    with pytest.raises(OnelayerError, match="'triton' cannot run this pipeline: the images are on the CPU"):
        choose("triton", IDENTITY, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_triton(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OnelayerError, match=f"the images are on {device}, and Triton is not installed"):
        choose("triton", IDENTITY, torch.device(device), torch.float32)
    if device == "cuda":
        assert choose("auto", IDENTITY, torch.device(device), torch.float32).name == "torch"


def test_on_another_device() -> None:
    with pytest.raises(OnelayerError, match="the images are on mps, not on an NVIDIA GPU"):
        choose("triton", IDENTITY, torch.device("mps"), torch.float32)


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
def test_what_is_no_number_stays_where_it_is_read_on_a_gpu() -> None:
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
    assert choose("auto", program, torch.device("cuda"), torch.float32).name == "triton"
    images = np.random.default_rng(0).random((2, 3, 9, 8), dtype=np.float32)
    setting = onelayer.backends.LoweringTarget(torch.device("cuda"), torch.float32, torch.float32)
    outputs = triton_cuda.lower(program, setting)(torch.from_numpy(images).cuda())
    np.testing.assert_allclose(outputs.cpu().numpy(), program.apply(images), rtol=0, atol=2e-6)
