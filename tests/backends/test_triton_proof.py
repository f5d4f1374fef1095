"""The kernel for GPUs before anybody's pixels depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from onelayer.algebra import Program, Separable
from onelayer.backends import LoweringTarget, choose
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.segments import segments_of
from onelayer.backends.triton import launch, proof

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    proof.problem_on.cache_clear()
    monkeypatch.setattr(launch, "prepare", lambda program, target: lambda: pytorch.lower(program, target))


def test_what_it_is_tried_on_is_what_it_runs() -> None:
    for program, _, _ in proof._programs():
        segments = segments_of(program)
        assert not isinstance(segments, str)
        assert len(segments) == 1


def test_right_results_are_a_proof() -> None:
    assert proof.problem_on(CPU) is None


def test_every_kind_of_result_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype, mistake in ((torch.float32, 1e-3), (torch.float16, 0.05), (torch.uint8, 2)):

        def wrong(program: Program, target: LoweringTarget, dtype: Any = dtype, mistake: float = mistake) -> Any:
            def lower() -> Callable[[torch.Tensor], torch.Tensor]:
                apply = pytorch.lower(program, target)
                return lambda images: apply(images) + (mistake if target.result_dtype == dtype else 0)

            return lower

        monkeypatch.setattr(launch, "prepare", wrong)
        proof.problem_on.cache_clear()
        with pytest.warns(UserWarning, match=r"not used on cpu: its values are up to .* Please report this"):
            problem = proof.problem_on(CPU)
        assert problem is not None


def test_auto_takes_pytorch_where_the_kernel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("ptxas died\n of something")

    program = Program((3, 5, 7), (Separable.identity((3, 5, 7)),))
    target = LoweringTarget(CPU, torch.float32, torch.float32)
    monkeypatch.setattr(launch, "prepare", lambda *_: broken)
    with pytest.warns(UserWarning, match="RuntimeError: ptxas died of something"):
        assert proof.problem_on(CPU) is not None
    on_gpu = LoweringTarget(torch.device("cuda", 0), torch.float32, torch.float32)
    monkeypatch.setattr("onelayer.backends.problem_on", lambda _: "it failed")
    monkeypatch.setitem(choose.__globals__["_PREPARE"], "triton", lambda *_: broken)
    choice = choose("auto", program, on_gpu)
    assert choice.name == "torch"
    assert "has not proved itself on this device: it failed" in choice.reason
    assert choose("auto", program, target).name == "numba"
