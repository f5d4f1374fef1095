"""Launches: how work is shared by threads, and the types of the kernels' arguments."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from float_programs import CPU, resize
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.algebra import AxisMap, Lookup, Program, Separable
from onelayer.backends import LoweringTarget, choose
from onelayer.backends.cpu import any_size, float_any_size, launch, memory
from onelayer.backends.cpu.launch import KernelLaunch, SeparableLaunch
from onelayer.backends.cpu.split import Frame, Pass, byte_segments_of
from onelayer.backends.cpu.warmup import compilations
from onelayer.backends.segments import segments_of


def lowered(program: Program, threads: int | None = None) -> Any:
    return choose("numba", program, LoweringTarget(CPU, torch.float32, torch.float32, threads)).lower()


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MULTIPLICATIONS_PER_THREAD", 1)
    kernel = lowered(Program((2, 170, 110), (Separable.of_axes(2, resize(170, 67), resize(110, 30)),)))
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


def test_a_result_of_many_megabytes() -> None:
    program = Program((1, 9, 8), (Separable.of_axes(1, resize(9, 60), resize(8, 70)),))
    images = torch.rand(600, 1, 9, 8)
    outputs = lowered(program)(images)
    assert outputs.nbytes > memory.LARGEST
    np.testing.assert_allclose(outputs.numpy(), program.apply(images.numpy()), rtol=0, atol=5e-6)


def test_no_more_threads_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MULTIPLICATIONS_PER_THREAD", 1)
    others = []
    monkeypatch.setattr(launch, "share", lambda work, count: others.append(count))
    images = torch.rand(9, 3, 17, 11)
    program = Program((3, 17, 11), (Separable.of_axes(3, resize(17, 5), resize(11, 23)),))
    lowered(program)(images)
    for threads in (1, 2, 3):
        lowered(program, threads)(images)
    assert others[-2:] == [1, 2]


def test_layers_need_no_other_signatures_than_warmup_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba compiles a kernel again for each combination of types, also for arrays that must not be written to."""
    found: defaultdict[str, set[Any]] = defaultdict(set)

    def note(self: KernelLaunch, images: torch.Tensor, out: torch.Tensor, threads: int) -> bool:
        pixels, shared = self._readable(launch.as_batch(images)), np.zeros(3, np.uint64)
        arguments = self.arguments(pixels, out, launch.shares_of(len(pixels), self.shared_rows, threads), shared)
        found[self.kernel.__name__].add(tuple(numba.typeof(argument) for argument in arguments))
        out.zero_()
        return False

    def note_bytes(*arguments: object) -> None:
        found["resized_bytes"].add(tuple(numba.typeof(argument) for argument in arguments))

    def note_floats(*arguments: object) -> None:
        found["separable"].add(tuple(numba.typeof(argument) for argument in arguments))

    monkeypatch.setattr(KernelLaunch, "__call__", note)
    monkeypatch.setattr(any_size, "resized_bytes", note_bytes)
    monkeypatch.setattr(float_any_size, "separable", note_floats)
    for compilation in compilations():
        if compilation.kernel in ("resized_bytes", "separable", "gathered"):
            compilation.compile()
    warm = {kernel: set(signatures) for kernel, signatures in found.items()}
    assert {kernel: len(signatures) for kernel, signatures in warm.items()} == {
        "resized_bytes": 3, "separable": 9, "gathered": 9
    }  # fmt: skip

    photograph = torch.randint(0, 256, (4, 3, 30, 40), dtype=torch.uint8)
    pillow = v2.functional.to_pil_image(photograph[0])
    evaluation = [v2.Resize(20), v2.CenterCrop(14)]
    normalized = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.25])]
    gray = [v2.Grayscale(3), v2.Pad(3, fill=7), v2.RandomHorizontalFlip(p=1)]
    rotated = [v2.RandomRotation((30, 30), interpolation=v2.InterpolationMode.BILINEAR), v2.Normalize([0.5], [0.25])]
    for transforms in (evaluation, [*evaluation, *normalized], [*evaluation, *gray], [*evaluation, *gray, *normalized]):
        for rounding in ("exact", "fused"):
            for image in (photograph, photograph[0].movedim(0, -1).contiguous().movedim(-1, 0), pillow):
                layer = onelayer.compile(v2.Compose(transforms), rounding=rounding)  # type: ignore[call-overload]
                layer(image)
                layer.apply_program(image)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        layer = onelayer.compile(v2.Compose([*evaluation, v2.Normalize([0.5], [0.25])]), rounding="fused")
        layer(photograph.to(dtype))
        layer.apply_program(photograph.to(dtype))
    for transforms in (rotated, [*evaluation, *rotated], [*rotated, v2.ToDtype(torch.float16)]):
        onelayer.compile(v2.Compose(transforms), rounding="fused")(photograph.float())
    for kernel, signatures in found.items():
        assert signatures == warm[kernel], kernel


def test_images_of_another_shape_are_refused() -> None:
    """Kernels' addresses follow from the tables alone."""
    program = Program((3, 17, 11), (Separable.of_axes(3, resize(17, 5), resize(11, 23)),))
    byte_layer = onelayer.compile(v2.Resize((5, 7)))
    spec = onelayer.ImageSpec((3, 17, 11), "uint8", "tensor")
    target = LoweringTarget(CPU, torch.uint8, torch.uint8)
    kernels = {
        torch.float32: lowered(program),
        torch.uint8: choose("numba", byte_layer.program(spec).program, target).lower(),
    }
    for dtype, kernel in kernels.items():
        kernel(torch.zeros(2, 3, 17, 11, dtype=dtype))
        for shape in ((3, 16, 11), (3, 17, 12), (2, 17, 11), (1, 3, 11, 17)):
            with pytest.raises(OnelayerError, match="a kernel was given images"):
                kernel(torch.zeros(shape, dtype=dtype))


def test_reads_outside_are_refused() -> None:
    """Whatever became of a map after it was checked."""
    good = resize(17, 5)
    far, low = (AxisMap(17, good.starts, good.weights) for _ in range(2))
    object.__setattr__(far, "starts", np.full(5, 17 - good.taps + 1))
    object.__setattr__(low, "starts", np.full(5, -1))
    huge = AxisMap(17, good.starts, good.weights)
    object.__setattr__(huge, "starts", np.full(5, 2**63 - 2))
    for rows in (far, low, huge):
        with pytest.raises(OnelayerError, match="rows has reads from"):
            SeparableLaunch(
                segments_of(Program((3, 17, 11), (Separable.of_axes(3, rows, resize(11, 23)),)))[0]  # type: ignore[arg-type]
            )
        segment = byte_segments_of(Program((3, 17, 11), (Lookup(np.arange(256.0)),)))[0]
        with pytest.raises(OnelayerError, match="rows has reads from"):
            replace(segment, rows=Pass(rows, np.ones(rows.weights.shape, np.int64), 1))  # type: ignore[type-var]
    for field, values in (
        ("channels", [0, 1, 3]),
        ("between", np.arange(1, 18)),
        ("frame", Frame(0, -1, (17, 11), np.zeros(3))),
    ):
        with pytest.raises(OnelayerError, match="has reads from"):
            replace(segment, **{field: values if field == "frame" else np.array(values)})  # type: ignore[type-var]
