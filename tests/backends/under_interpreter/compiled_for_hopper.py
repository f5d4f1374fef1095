"""Compile the kernel for an H200, which need not be there, and print what it takes: see ``test_triton.py``.

Without arguments all cases are compiled, else those that are named.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from torchvision.models import ResNet50_Weights
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import onelayer
from onelayer import pipelines
from onelayer.backends import LoweringTarget
from onelayer.backends.segments import segments_of
from onelayer.backends.triton.kernels import separable
from onelayer.backends.triton.launch import _Kernel
from onelayer.frontends import ImageSpec

HOPPER = GPUTarget("cuda", 90, 32)
REPORT, EVALUATION = pipelines.report_transform(), ResNet50_Weights.IMAGENET1K_V1.transforms()
PIPELINES: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "report": (REPORT, (3, 32, 32)),
    "375×500": (EVALUATION, (3, 375, 500)),
    "500×375": (EVALUATION, (3, 500, 375)),
    "1200×1600": (EVALUATION, (3, 1200, 1600)),
    "3000×4000": (EVALUATION, (3, 3000, 4000)),
    "17×11": (EVALUATION, (3, 17, 11)),
    "1×1": (EVALUATION, (3, 1, 1)),
}
POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.uint8: "*u8", torch.int32: "*i32"}


class Launch:
    """Stands in for the kernel and keeps what it is called with."""

    def __getitem__(self, grid: object) -> Launch:
        return self

    def __call__(self, *arguments: Any, **constants: Any) -> None:
        self.arguments, self.constants = arguments, constants


def compiled(transform: Any, shape: tuple[int, int, int], dtype: torch.dtype, interleaved: bool) -> bytes:
    spec = ImageSpec(shape, str(dtype).removeprefix("torch."), "tensor")
    (output,) = onelayer.compile(transform, rounding="fused").source.outputs(spec).each
    result = getattr(torch, output.spec.dtype)
    (segment,) = segments_of(output.simplified.program)
    kernel = _Kernel(segment, LoweringTarget(torch.device("cpu"), torch.float32, result))
    launch = kernel._launcher = Launch()
    images = torch.zeros(2, *shape, dtype=dtype)
    kernel(images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) if interleaved else images, None)
    signature: dict[str, str] = {}
    constants = {name: value for name, value in launch.constants.items() if name in separable.arg_names}
    options = {name: value for name, value in launch.constants.items() if name not in constants}
    aligned: dict[tuple[int], Any] = {}
    # As Triton does at a launch.
    for at, (name, value) in enumerate(zip(separable.arg_names, launch.arguments, strict=False)):
        if isinstance(value, torch.Tensor):
            signature[name], aligned[at,] = POINTERS[value.dtype], [["tt.divisibility", 16]]
        elif value == 1:
            constants[name] = 1
        else:
            signature[name] = "i32"
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {name: signature[name] for name in separable.arg_names}
    return triton.compile(ASTSource(separable, signature, constants, aligned), target=HOPPER, options=options).asm[
        "cubin"
    ]


def takes(binary: bytes) -> dict[str, int]:
    """Return the registers of a thread, and bytes of its memory outside of them; spilled registers lie on its stack."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(binary)
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(re.search(rf"\b{name}:(\d+)", printed)[1]) for name in ("REG", "STACK", "LOCAL")}  # type: ignore[index]


def cases() -> Iterator[tuple[str, Any]]:
    for name, (transform, shape) in PIPELINES.items():
        for dtype in (torch.float32, torch.uint8, torch.float16):
            for layout in ("CHW", "HWC"):
                case = transform, shape, dtype, layout == "HWC"
                yield f"{name}, {str(dtype).removeprefix('torch.')}, {layout}", case


if __name__ == "__main__":
    wanted = sys.argv[1:]
    taken = {name: takes(compiled(*case)) for name, case in cases() if not wanted or name in wanted}
    print(json.dumps(taken))  # noqa: T201
