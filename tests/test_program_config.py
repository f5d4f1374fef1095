"""Compiled layers as folders: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import onelayer
from onelayer import ImageSpec, OnelayerError
from onelayer.algebra import SpatialSparse
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms

BYTES = np.random.default_rng(0).integers(0, 256, (17, 11, 3), dtype=np.uint8)
FLOATS = torch.rand(3, 17, 11, generator=torch.Generator().manual_seed(0))

PIPELINES: dict[str, tuple[Any, Any]] = {
    "preset": (ResNet50_Weights.DEFAULT.transforms(), PIL.Image.fromarray(BYTES)),
    "bytes": (v2.Compose([v2.RandomPosterize(3, p=1), v2.Resize((9, 30), interpolation="bicubic")]), BYTES),
    "fill": (v2.Compose([v2.Pad(2, fill=0.5), v2.Grayscale()]), FLOATS),
    "gamma": (partial(F.adjust_gamma, gamma=2.2, gain=1.5), FLOATS),
    "crops": (v2.Compose([v2.FiveCrop(5), torch.stack]), FLOATS),
    "ten": (v2.TenCrop(5), FLOATS),
    "dense": (v2.LinearTransformation(torch.rand(30, 30), torch.rand(30)), FLOATS[:2, :5, :3]),
    "nothing": (nn.Identity(), FLOATS),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_gives_the_same_layer_back(tmp_path: Path, name: str) -> None:
    transform, image = PIPELINES[name]
    layer = onelayer.compile(transform)
    onelayer.save(layer, tmp_path, pipeline=name, images=[image])
    loaded = onelayer.load(tmp_path)
    assert isinstance(loaded, OneLayer)
    ours, theirs = loaded(image), layer(image)
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    else:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_sparse_stage(tmp_path: Path) -> None:
    matrix = np.random.default_rng(1).random((6, 20)) * (np.random.default_rng(2).random((6, 20)) < 0.3)
    stage = SpatialSparse(np.eye(3)[:2], matrix, (5, 4), (2, 3), np.array([1.0, -1.0]))
    simplified = onelayer.compile(nn.Identity()).program(given := ImageSpec((3, 5, 4), "float64", "tensor"))
    program = type(simplified.program)((3, 5, 4), (stage,))
    simplified = type(simplified)(program, ((0,),), (), ())
    after = ImageSpec((2, 2, 3), "float64", "tensor")
    onelayer.save(OneLayer(SavedPrograms({given: Outputs((Output(simplified, after),), "one")})), tmp_path)
    image = torch.rand(3, 5, 4, dtype=torch.float64)
    loaded = onelayer.load(tmp_path)
    np.testing.assert_allclose(loaded(image).numpy(), program.apply(image.numpy()), rtol=0, atol=1e-15)
    # Saved once more, it has the sizes that it was loaded with.
    onelayer.save(loaded, tmp_path / "again")
    assert torch.equal(onelayer.load(tmp_path / "again")(image), loaded(image))


def test_only_the_sizes_that_were_saved(tmp_path: Path) -> None:
    layer = onelayer.compile(v2.Resize(9))
    onelayer.save(layer, tmp_path, images=[FLOATS, ImageSpec((1, 40, 30), "uint8", "pil")])
    loaded = onelayer.load(tmp_path)
    assert "(1, 40, 30) uint8 (pil)" in repr(loaded)
    loaded(PIL.Image.fromarray(np.zeros((40, 30), np.uint8)))
    with pytest.raises(OnelayerError, match=r"without a program for such images; expected one of: \(3, 17, 11\)"):
        loaded(FLOATS[..., :10])
    with pytest.raises(OnelayerError, match="no transforms"):
        _ = loaded.transform


def test_sizes_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(OnelayerError, match="without any image size"):
        onelayer.save(onelayer.compile(v2.Resize(9)), tmp_path)
    with pytest.raises(OnelayerError, match="Identity was to be saved"):
        onelayer.save(nn.Identity(), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onelayer.save(onelayer.compile(v2.Compose([v2.Resize(9), v2.Normalize([0.5], [0.5])])), tmp_path, images=[FLOATS])
    return tmp_path


def edit_arrays(folder: Path, **changes: Any) -> None:
    arrays = load_file(folder / "model.safetensors")
    for name, change in changes.items():
        full = f"0.0.0.{name}"
        arrays[full] = change(arrays[full])
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("rows.starts", lambda x: x + 1000, "taps reach from 1000"),
        ("rows.starts", lambda x: x - 1, "taps reach from -1"),
        ("rows.weights", lambda x: x * np.nan, "not finite"),
        ("cols.weights", lambda x: x[:-1], "starts of shape"),
        ("cols.weights", lambda x: x.astype(complex).real[None], "starts of shape"),
        ("channel", lambda x: x[:, :2], "channel matrix|stage 0 takes images"),
        ("bias", lambda x: x[:2], "bias of shape"),
    ],
)
def test_arrays_that_do_not_fit(folder: Path, name: str, change: Any, text: str) -> None:
    edit_arrays(folder, **{name: change})
    with pytest.raises(OnelayerError, match=f"does not fit together.*({text}).*Save the layer again"):
        onelayer.load(folder)


def edit(folder: Path, change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda config: config.update(format_version=2), "format version 2; expected at most 1"),
        (lambda config: config.update(kind="pickle"), "cannot be read at kind"),
        (lambda config: config.update(programs=[]), "cannot be read at programs"),
        (lambda config: config["programs"][0]["each"][0]["after"].update(shape=[3, 1, 1]), "gives images"),
        (lambda config: config["programs"][0]["given"].update(shape=[3, 18, 11]), "takes images"),
        (lambda config: config["programs"][0]["given"].update(shape=[0, -1, 11]), "at least 1"),
        (lambda config: config["programs"][0]["each"][0]["stages"].pop(), "gives images"),
        (lambda config: config["programs"][0]["each"][0]["stages"][0].update(kind="lambda"), "cannot be read"),
        (lambda config: config["programs"][0]["each"][0]["stages"].append({"kind": "lookup"}), "make no lookup stage"),
    ],
)
def test_configurations_that_do_not_fit(folder: Path, change: Any, text: str) -> None:
    edit(folder, change)
    with pytest.raises(OnelayerError, match=text):
        onelayer.load(folder)


def test_arrays_without_a_stage(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    save_file(arrays | {"0.0.1.weight": np.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(OnelayerError, match=r"belong to no stage: 0\.0\.1\.weight"):
        onelayer.load(folder)


def test_indices_out_of_bounds_read_no_foreign_memory(tmp_path: Path) -> None:
    test_a_sparse_stage(tmp_path)
    for name, change in [
        ("indices", lambda x: x + 1_000_000),
        ("indptr", lambda x: x * 3),
        ("indices", lambda x: -x - 1),
    ]:
        edit_arrays(tmp_path, **{name: change})
        with pytest.raises(OnelayerError, match="make no spatial sparse stage"):
            onelayer.load(tmp_path)
        test_a_sparse_stage(tmp_path)


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(OnelayerError, match="cannot be read"):
        onelayer.load(folder)
