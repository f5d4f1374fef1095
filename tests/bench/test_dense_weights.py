"""A work as one matrix, and as sizes and places."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Literal

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from onelayer.bench.peers import dense_weights, pillow_worker
from onelayer.bench.workloads import Work

NORMALISED = Work(9, "bilinear", crop=7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def test_the_matrix_is_the_pipeline() -> None:
    images = torch.rand(4, 3, 17, 11, generator=torch.Generator().manual_seed(0))
    for work in (NORMALISED, Work((5, 8), "bicubic", grayscale=True, vertical_flip=True)):
        weight, bias = dense_weights.dense_weights(work, (3, 17, 11), torch.float32)
        expected = work.transform(images)
        assert expected.shape[1:] == dense_weights.output_shape(work, 17, 11)
        result = torch.nn.functional.linear(images.flatten(1), torch.from_numpy(weight), torch.from_numpy(bias))
        # Float32 sums of some ten products, in another order.
        torch.testing.assert_close(result.reshape(expected.shape), expected, atol=1e-5, rtol=0)


def test_the_matrix_takes_bytes_as_they_are() -> None:
    of_bytes, _ = dense_weights.dense_weights(NORMALISED, (3, 17, 11), torch.uint8)
    of_floats, _ = dense_weights.dense_weights(NORMALISED, (3, 17, 11), torch.float32)
    torch.testing.assert_close(torch.from_numpy(of_bytes) * 255, torch.from_numpy(of_floats))


def test_too_large_a_matrix_is_refused_with_its_size() -> None:
    side = 60
    work = Work((side, side), "bilinear")
    assert f"{(3 * side * side) ** 2:,}" in str(dense_weights.refuse(work, torch.zeros(3, side, side)))


def test_a_clamp_between_two_steps_is_no_matrix() -> None:
    for interpolation, refused in (("bilinear", False), ("bicubic", True)):
        kind: Literal["bilinear", "bicubic"] = interpolation  # type: ignore[assignment]
        work = Work(9, kind, mean=NORMALISED.mean, std=NORMALISED.std)
        assert (dense_weights.refuse(work, torch.zeros(3, 17, 11, dtype=torch.uint8)) is not None) == refused


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_the_crop_keeps_what_torchvisions_keeps(height: int, width: int, crop: int) -> None:
    work = Work(max(height, width, crop), "bilinear", crop=crop)
    places = torch.arange(torch.Size(work.resized_size(height, width)).numel())
    places = places.reshape(1, *work.resized_size(height, width))
    rows, columns = work.crop_slices(height, width)
    assert torch.equal(places[:, rows, columns], F.center_crop(places, [crop, crop]))


def test_what_runs_in_another_environment_imports_pillow_and_numpy_only() -> None:
    tree = ast.parse(inspect.getsource(pillow_worker))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    standard = {"__future__", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in imported} - standard == {"PIL", "numpy"}
