from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import onelayer
from onelayer import DenseLayer, OnelayerError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onelayer.save(DenseLayer((3, 5, 4), (1, 2, 3)), tmp_path / "layer", pipeline="report")
    return tmp_path / "layer"


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gives_the_same_layer_back(tmp_path: Path, dtype: torch.dtype) -> None:
    layer = DenseLayer((3, 17, 11), (2, 1, 1)).to(dtype)
    onelayer.save(layer, tmp_path / "deep" / "layer")
    loaded = onelayer.load(tmp_path / "deep" / "layer")
    images = torch.rand(4, 3, 17, 11, dtype=dtype)
    assert torch.equal(loaded(images), layer(images))
    assert loaded.weight.dtype == dtype
    assert not loaded.training
    assert sorted(path.name for path in (tmp_path / "deep" / "layer").iterdir()) == ["config.json", "model.safetensors"]


def test_loads_from_the_run_folder_too(folder: Path) -> None:
    assert torch.equal(onelayer.load(folder.parent).weight, onelayer.load(str(folder)).weight)


def test_a_loaded_layer_can_learn_on(folder: Path) -> None:
    layer = onelayer.load(folder)
    layer(torch.rand(3, 5, 4)).sum().backward()
    assert layer.weight.grad is not None


def test_missing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(OnelayerError, match="no layer in"):
        onelayer.load(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OnelayerError, match=r"no model\.safetensors"):
        onelayer.load(folder)


@pytest.mark.parametrize("keep", [0, 7, 60, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(OnelayerError, match="cannot be read"):
        onelayer.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 1}', '{"format_version": 0}', "null"])
def test_broken_configuration(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(OnelayerError, match=r"config\.json cannot be read"):
        onelayer.load(folder)


def test_newer_format_says_so(folder: Path) -> None:
    edit(folder, format_version=2, something_new=True)
    with pytest.raises(OnelayerError, match=r"format version 2; expected at most 1\. A newer onelayer"):
        onelayer.load(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    edit(folder, output_shape=[1, 3, 3])
    with pytest.raises(OnelayerError, match=r"\(6, 60\).*expected.*\(9, 60\)"):
        onelayer.load(folder)


def test_configuration_that_asks_for_all_memory_is_refused(folder: Path) -> None:
    edit(folder, input_shape=[10_000, 10_000, 10_000])
    with pytest.raises(OnelayerError, match="expected at most"):
        onelayer.load(folder)


def test_weights_that_are_no_numbers(folder: Path) -> None:
    layer = onelayer.load(folder)
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
    onelayer.save(layer, folder)
    with pytest.raises(OnelayerError, match="not all finite"):
        onelayer.load(folder)


def test_integer_weights(folder: Path) -> None:
    save_file(
        {"weight": torch.zeros(6, 60, dtype=torch.int32), "bias": torch.zeros(6, dtype=torch.int32)},
        folder / "model.safetensors",
    )
    with pytest.raises(OnelayerError, match="expected one floating point dtype"):
        onelayer.load(folder)
