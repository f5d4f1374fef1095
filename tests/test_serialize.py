"""Layers as folders: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from float_programs import normal
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from scipy import sparse
from torch import nn
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import onelayer
from onelayer import DenseLayer, ImageSpec, OnelayerError
from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Operator,
    Program,
    Quantize,
    Separable,
    Simplified,
    SpatialSparse,
    Stage,
    Taps,
)
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms

BYTES = np.random.default_rng(0).integers(0, 256, (17, 11, 3), dtype=np.uint8)
FLOATS = torch.rand(3, 17, 11, generator=torch.Generator().manual_seed(0))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


class TestLearned:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        onelayer.save(DenseLayer((3, 5, 4), (1, 2, 3)), tmp_path / "layer", pipeline="report")
        return tmp_path / "layer"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_gives_the_same_layer_back(self, tmp_path: Path, dtype: torch.dtype) -> None:
        layer = DenseLayer((3, 17, 11), (2, 1, 1)).to(dtype)
        folder = tmp_path / "deep" / "layer"
        onelayer.save(layer, folder)
        loaded = onelayer.load(folder)
        images = torch.rand(4, 3, 17, 11, dtype=dtype)
        assert torch.equal(loaded(images), layer(images))
        assert loaded.weight.dtype == dtype
        assert not loaded.training
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_loads_from_the_run_folder_too(self, folder: Path) -> None:
        assert torch.equal(onelayer.load(folder.parent).weight, onelayer.load(str(folder)).weight)

    def test_a_loaded_layer_can_learn_on(self, folder: Path) -> None:
        layer = onelayer.load(folder)
        layer(torch.rand(3, 5, 4)).sum().backward()
        assert layer.weight.grad is not None

    def test_one_of_the_first_format_is_read(self, folder: Path) -> None:
        edit(folder, lambda config: config.update(format_version=1))
        assert onelayer.load(folder).input_shape == (3, 5, 4)

    def test_missing(self, tmp_path: Path, folder: Path) -> None:
        with pytest.raises(OnelayerError, match="no layer in"):
            onelayer.load(tmp_path / "nowhere")
        (folder / "model.safetensors").unlink()
        with pytest.raises(OnelayerError, match=r"no model\.safetensors"):
            onelayer.load(folder)

    def test_truncated_weights(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        whole = weights.read_bytes()
        for keep in (0, 7, 60, -1):
            weights.write_bytes(whole[:keep])
            with pytest.raises(OnelayerError, match="cannot be read"):
                onelayer.load(folder)

    def test_broken_configuration(self, folder: Path) -> None:
        for text in ("", "{", "[]", '{"format_version": 1}', '{"format_version": 0}', "null"):
            (folder / "config.json").write_text(text)
            with pytest.raises(OnelayerError, match=r"config\.json cannot be read"):
                onelayer.load(folder)

    def test_a_newer_format_says_so(self, folder: Path) -> None:
        edit(folder, lambda config: config.update(format_version=3, something_new=True))
        with pytest.raises(OnelayerError, match=r"format version 3; expected at most 2\. A newer onelayer"):
            onelayer.load(folder)

    def test_weights_of_another_shape(self, folder: Path) -> None:
        edit(folder, lambda config: config.update(output_shape=[1, 3, 3]))
        with pytest.raises(OnelayerError, match=r"\(6, 60\).*expected.*\(9, 60\)"):
            onelayer.load(folder)

    def test_configuration_that_asks_for_all_memory_is_refused(self, folder: Path) -> None:
        edit(folder, lambda config: config.update(input_shape=[10_000, 10_000, 10_000]))
        with pytest.raises(OnelayerError, match="expected at most"):
            onelayer.load(folder)

    def test_weights_that_are_no_numbers(self, folder: Path) -> None:
        layer = onelayer.load(folder)
        with torch.no_grad():
            layer.weight[0, 0] = float("nan")
        onelayer.save(layer, folder)
        with pytest.raises(OnelayerError, match="not all finite"):
            onelayer.load(folder)
        weights = {"weight": torch.zeros(6, 60, dtype=torch.int32), "bias": torch.zeros(6, dtype=torch.int32)}
        save_tensors(weights, folder / "model.safetensors")
        with pytest.raises(OnelayerError, match="expected one floating point dtype"):
            onelayer.load(folder)


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


def resize(n_in: int, n_out: int) -> AxisMap:
    return AxisMap.resample(n_in, n_out, "bicubic", True)


TAPS = Taps(9, np.array([0, 3, 5]), np.array([2, 3, 4]), normal(3, 4).astype(np.float32))
PIXELS = sparse.csr_array(([1.5, -1.0, 0.25, 2.0], ([0, 0, 2, 5], [7, 19, 3, 3])), shape=(6, 20))

STAGES: dict[str, tuple[tuple[int, int, int], Stage]] = {
    "separable": ((3, 9, 8), Separable(normal(2, 3), resize(8, 4), resize(9, 16), normal(2, 4, 16), transpose=True)),
    "spatial sparse": ((3, 5, 4), SpatialSparse(normal(2, 3), PIXELS, (5, 4), (2, 3), np.array([1.0, -1.0]))),
    "dense": ((2, 3, 4), Dense(normal(5, 24), normal(5), (2, 3, 4), (1, 5, 1))),
    "float32 sum": ((3, 7, 9), Float32Sum(AxisMap.identity(3), AxisMap.flip(7), TAPS, 4)),
    "float op": ((3, 2, 2), FloatOp("divide", np.array([0.5, -3.0, 0.1]))),
    "clamp": ((1, 2, 2), Clamp(-np.inf, 0.75)),
    "quantize": ((1, 2, 2), Quantize("truncate", "int16")),
    "lookup": ((2, 2, 2), Lookup(normal(2, 256))),
    "gamma": ((1, 2, 2), Gamma(1.5, 2.2)),
}


def layer_of(in_shape: tuple[int, int, int], stage: Stage) -> OneLayer:
    program = Program(in_shape, (stage,))
    dtype = "uint8" if isinstance(stage, Lookup) else "float64"
    spec, after = ImageSpec(in_shape, dtype, "tensor"), ImageSpec(program.out_shape, "float64", "tensor")
    return OneLayer(SavedPrograms({spec: Outputs((Output(Simplified(program, ((0,),), (), ()), after),), "one")}))


def only_stage(layer: OneLayer) -> Stage:
    assert isinstance(layer.source, SavedPrograms)
    ((outputs),) = layer.source.programs.values()
    (stage,) = outputs.each[0].simplified.program.stages
    return stage


@pytest.mark.parametrize("kind", STAGES)
def test_every_kind_of_stage(tmp_path: Path, kind: str) -> None:
    in_shape, stage = STAGES[kind]
    assert stage.kind == kind
    layer = layer_of(in_shape, stage)
    onelayer.save(layer, tmp_path)
    loaded = onelayer.load(tmp_path)
    again = only_stage(loaded)
    assert again.is_same(stage)
    assert not again.is_same(Gamma(3.0, 4.0))
    assert again.description == stage.description
    image = np.random.default_rng(1).integers(0, 256, in_shape).astype(np.float64)
    np.testing.assert_array_equal(again.apply(image), stage.apply(image))
    # Saved once more, it has the sizes that it was loaded with.
    onelayer.save(loaded, tmp_path / "again")
    assert only_stage(onelayer.load(tmp_path / "again")).is_same(stage)


def test_a_stage_that_differs_is_not_the_same() -> None:
    """In any one array or parameter."""
    for in_shape, stage in STAGES.values():
        for name, array in stage.arrays().items():
            if array.dtype.kind != "f":
                continue
            changed = {**stage.arrays(), name: array * 0.5}
            other = type(stage).from_parts(stage.parameters(), changed)
            assert not stage.is_same(other), name
            assert not Program(in_shape, (stage,)).is_same(Program(in_shape, (other,)))
    assert not Quantize("half_up").is_same(Quantize("half_even"))
    assert not Clamp(0.0, 1.0).is_same(Clamp(0.0, 2.0))


class Unnamed(Operator):
    in_shape = out_shape = (1, 2, 2)

    def apply(self, x: Any) -> Any:
        return np.asarray(x)

    apply_transposed = apply


def test_a_stage_without_a_name_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(OnelayerError, match="a Unnamed has no name in files"):
        onelayer.save(layer_of((1, 2, 2), Unnamed()), tmp_path)
    assert not list(tmp_path.iterdir())


NUMBERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "NaN": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 0, np.nan, x),
    "an infinity": lambda x: np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, -np.inf, x),
    "one short": lambda x: x[:-1],
    "one dimension more": lambda x: x[..., None],
    "empty": lambda x: x[:0],
    "truth": lambda x: x > 0,
    "half precision": lambda x: x.astype(np.float16),
}
PLACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negative": lambda x: x - 1 - x.min(),
    "as far as it goes": lambda x: np.full_like(x, 2**63 - 1),
    "one of them as far as it goes": lambda x: np.where(np.arange(x.size) == 1, 2**63 - 1, x),
    "as low as it goes": lambda x: np.full_like(x, -(2**63)),
    "rising and falling as far as it goes": lambda x: np.where(np.arange(x.size) % 2 == 1, 2**63 - 1, -2),
    "beyond the axis": lambda x: x + 1000,
    "unsigned": lambda x: x.astype(np.uint64),
    "fractions": lambda x: x + 0.5,
    "one short": lambda x: x[:-1],
    "one dimension more": lambda x: x[:, None],
    "empty": lambda x: x[:0],
}
LENGTHS = [-1, 0, 1.5, True, None, "3", [3], {}, 2**31, 2**63, 10**400, float("nan"), float("inf")]
WORDS = ["", "float33", 1, None, True, ["float32"], {}]
REALS = ["1", [1.0], {}, True, 10**400, float("nan")]
PARAMETERS: dict[tuple[str, str], list[Any]] = {
    ("separable", "rows.n_in"): [*LENGTHS, 1],
    ("separable", "cols.n_in"): [*LENGTHS, 2],
    ("separable", "transpose"): [0, 1, "true", None, [], 2**63],
    ("spatial sparse", "in_size"): [*([5, length] for length in LENGTHS), [5], [5, 4, 1], 20, None],
    ("spatial sparse", "out_size"): [*([length, 3] for length in LENGTHS), [2], {}],
    ("dense", "in_shape"): [*([2, 3, length] for length in LENGTHS), [24], None],
    ("dense", "out_shape"): [*([1, length, 1] for length in LENGTHS), [5], "5"],
    ("float32 sum", "along"): WORDS,
    ("float32 sum", "in_shape"): [*([3, 7, length] for length in LENGTHS), [3, 7], None],
    ("float32 sum", "unfused"): [-1, 1.5, True, None, "4", 2**31, 2**63],
    ("float op", "operation"): [*WORDS, "add"],
    ("float op", "dtype"): [*WORDS, "float16"],
    ("clamp", "low"): [*REALS, 0.8, float("inf")],
    ("clamp", "high"): [*REALS, -float("inf")],
    ("quantize", "rounding"): [*WORDS, "up"],
    ("quantize", "dtype"): [*WORDS, "float32", "uint32"],
    ("gamma", "gain"): [*REALS, None, float("inf")],
    ("gamma", "gamma"): [*REALS, None, float("inf"), -1.0],
}
"""Values that no stage can be built from, by kind and parameter."""
UNFIT: dict[tuple[str, str], list[Any]] = {
    ("separable", "rows.n_in"): [9, 7, 2**31 - 1],
    ("separable", "cols.n_in"): [8, 10],
    ("separable", "transpose"): [False],
    ("spatial sparse", "in_size"): [[4, 5], [2, 10], [2**31 - 1, 4]],
    ("spatial sparse", "out_size"): [[3, 3], [3, 2], [2**31 - 1, 2**31 - 1]],
    ("dense", "in_shape"): [[2, 3, 5], [3, 2, 4], [2**31 - 1] * 3],
    ("dense", "out_shape"): [[2, 5, 1], [5, 1, 1]],
    ("float32 sum", "along"): ["rows", "channel"],
    ("float32 sum", "in_shape"): [[3, 6, 9], [2, 7, 9], [3, 7, 8], [4, 7, 9]],
}
"""Values that do not go with the stage's arrays, or with the images."""


def refusal(folder: Path, case: object) -> str:
    """What is said when a damaged layer is read."""
    caught: OnelayerError | None = None
    try:
        onelayer.load(folder)
    except OnelayerError as error:
        caught = error
    assert caught is not None, f"{case} was taken"
    assert "does not fit together" in caught.problem, case
    assert caught.hint == "Save the layer again, or get the folder anew.", case
    return str(caught)


def test_damaged_arrays_are_refused_by_name(tmp_path: Path) -> None:
    for kind, (in_shape, stage) in STAGES.items():
        folder = tmp_path / kind
        onelayer.save(layer_of(in_shape, stage), folder)
        whole = load_file(folder / "model.safetensors")
        for full, array in whole.items():
            field = full.removeprefix("0.0.0.")
            for damage, change in (NUMBERS if array.dtype.kind == "f" else PLACES).items():
                save_file({**whole, full: np.ascontiguousarray(change(array))}, folder / "model.safetensors")
                text = refusal(folder, (kind, field, damage))
                # Where lengths differ, either of two arrays is named, or the shape of the image.
                if "short" not in damage and "empty" not in damage:
                    assert all(word in text for word in (f"({kind})", *field.split("."))), (kind, field, damage, text)
            save_file({name: left for name, left in whole.items() if name != full}, folder / "model.safetensors")
            text = refusal(folder, field)
            assert "there is no" in text
            assert all(word in text for word in (f"({kind})", *field.split("."))), (kind, field, text)
        for first, second in itertools.combinations(whole, 2):
            swapped = {**whole, first: whole[second], second: whole[first]}
            save_file(swapped, folder / "model.safetensors")
            refusal(folder, f"{kind}: {first} and {second} swapped")


def test_damaged_parameters_are_refused_by_name(tmp_path: Path) -> None:
    assert set(PARAMETERS) == {(kind, name) for kind in STAGES for name in STAGES[kind][1].parameters()}
    for (kind, field), values in PARAMETERS.items():
        in_shape, stage = STAGES[kind]
        folder = tmp_path / kind
        onelayer.save(layer_of(in_shape, stage), folder)
        whole = json.loads((folder / "config.json").read_text())

        def written(parameters: dict[str, Any], whole: Any = whole, folder: Path = folder) -> None:
            config = copy.deepcopy(whole)
            config["programs"][0]["outputs"][0]["stages"][0]["parameters"] = parameters
            (folder / "config.json").write_text(json.dumps(config))

        parameters = whole["programs"][0]["outputs"][0]["stages"][0]["parameters"]
        for value in values:
            written({**parameters, field: value})
            text = refusal(folder, (kind, field, value))
            assert all(word in text for word in (f"({kind})", *field.split("."))), (kind, field, value, text)
        for value in UNFIT.get((kind, field), []):
            written({**parameters, field: value})
            refusal(folder, (kind, field, value))
        written({name: value for name, value in parameters.items() if name != field})
        text = refusal(folder, (kind, field))
        assert "there is no" in text
        assert field.rpartition(".")[2] in text
        written({**parameters, "more": 1})
        assert f"({kind}): it has no more" in refusal(folder, "more")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pipeline = v2.Compose([v2.Resize(9), v2.Normalize([0.5], [0.5])])
    onelayer.save(onelayer.compile(pipeline), tmp_path, images=[FLOATS])
    return tmp_path


def test_configurations_that_do_not_fit(folder: Path) -> None:
    whole = (folder / "config.json").read_text()
    first_output = lambda config: config["programs"][0]["outputs"][0]  # noqa: E731
    changes: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
        (lambda config: config.update(format_version=3), "format version 3; expected at most 2"),
        (lambda config: config.update(format_version=1), "format version 1; expected version 2. Compile and save"),
        (lambda config: config.update(kind="pickle"), "cannot be read at kind"),
        (lambda config: config.update(programs=[]), "cannot be read at programs"),
        (lambda config: first_output(config)["spec"].update(shape=[3, 1, 1]), "gives images"),
        (lambda config: config["programs"][0]["spec"].update(shape=[3, 18, 11]), "takes images"),
        (lambda config: config["programs"][0]["spec"].update(shape=[0, -1, 11]), "at least 1"),
        (lambda config: config["programs"][0]["spec"].update(dtype="int8"), "cannot be read at programs.0.spec.dtype"),
        (lambda config: first_output(config).update(rounding="roughly"), "cannot be read at programs.0.outputs.0"),
        (lambda config: first_output(config)["stages"].pop(), "gives images"),
        (
            lambda config: first_output(config)["stages"][0].update(kind="lambda"),
            "is of kind 'lambda'; expected one of",
        ),
        (lambda config: first_output(config)["stages"][0].update(kind=None), "cannot be read at programs.0.outputs.0"),
        (
            lambda config: first_output(config)["stages"][0].update(kind="gamma"),
            r"stage 0\.0\.0 \(gamma\): there is no g",
        ),
        (
            lambda config: first_output(config)["stages"].append({"kind": "lookup", "parameters": {}}),
            r"stage 0\.0\.1 \(lookup\): there is no table",
        ),
    ]
    for change, text in changes:
        (folder / "config.json").write_text(whole)
        edit(folder, change)
        with pytest.raises(OnelayerError, match=text):
            onelayer.load(folder)


def test_look_ups_beyond_their_table(tmp_path: Path) -> None:
    """PyTorch's indexing ends the process's use of a GPU then."""
    for weight, is_taken in ((1.0, True), (1.1, False), (-0.1, False), (1e308, False)):
        stages = Separable.of_channels(np.full((2, 2), weight) * np.eye(2), np.zeros(2), (2, 2)), Lookup(normal(2, 256))
        program = Program((2, 2, 2), stages)
        output = Output(Simplified(program, ((0,), (1,)), (), ()), ImageSpec((2, 2, 2), "float64", "tensor"))
        onelayer.save(
            OneLayer(SavedPrograms({ImageSpec((2, 2, 2), "uint8", "tensor"): Outputs((output,), "one")})), tmp_path
        )
        if is_taken:
            onelayer.load(tmp_path)
        else:
            assert any(text in refusal(tmp_path, weight) for text in ("a look-up was given values", "the range"))


def test_outputs_that_cannot_be_joined(tmp_path: Path) -> None:
    onelayer.save(onelayer.compile(v2.FiveCrop(5)), tmp_path, images=[FLOATS])
    for joined in ("one", "stacked", "tuple"):
        edit(tmp_path, lambda config, joined=joined: config["programs"][0].update(joined=joined))  # type: ignore[misc]
        if joined == "one":
            assert "program 0: 5 images were given as joined to one" in refusal(tmp_path, joined)
        else:
            onelayer.load(tmp_path)
    edit(tmp_path, lambda config: config["programs"][0].update(joined="stacked"))
    edit(tmp_path, lambda config: config["programs"][0]["outputs"][0]["spec"].update(dtype="float64"))
    assert "program 0: images were given as stacked" in refusal(tmp_path, "stacked")


def test_huge_parameters_in_float32(tmp_path: Path) -> None:
    """PyTorch refuses numbers beyond the dtype."""
    for stage, right in ((Clamp(-1e300, 1e308), FLOATS), (Gamma(1e308, 1.0), FLOATS * np.inf)):
        program = Program((3, 17, 11), (stage,))
        spec = ImageSpec((3, 17, 11), "float32", "tensor")
        layer = OneLayer(SavedPrograms({spec: Outputs((Output(Simplified(program, ((0,),), (), ()), spec),), "one")}))
        torch.testing.assert_close(layer(FLOATS), right, rtol=0, atol=0, equal_nan=True)


def test_arrays_without_a_stage(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    save_file(arrays | {"0.0.1.weight": np.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(OnelayerError, match=r"belong to no stage: 0\.0\.1\.weight"):
        onelayer.load(folder)
    save_file(arrays | {"0.0.0.more": np.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(OnelayerError, match=r"\(separable\): it has no more"):
        onelayer.load(folder)


def test_arrays_that_numpy_does_not_have(folder: Path) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in load_file(folder / "model.safetensors").items()}
    tensors["0.0.0.channel"] = tensors["0.0.0.channel"].to(torch.bfloat16)
    save_tensors(tensors, folder / "model.safetensors")
    with pytest.raises(OnelayerError, match="channel is of dtype bfloat16"):
        onelayer.load(folder)


def test_only_the_sizes_that_were_saved(tmp_path: Path) -> None:
    layer = onelayer.compile(v2.Resize(9))
    onelayer.save(layer, tmp_path, images=[FLOATS, ImageSpec((1, 40, 30), "uint8", "pil")])
    loaded = onelayer.load(tmp_path)
    assert "(1, 40, 30) uint8 (pil)" in repr(loaded)
    loaded(PIL.Image.fromarray(np.zeros((40, 30), np.uint8)))
    with pytest.raises(OnelayerError, match=r"saved without a program for such images; expected one of: \(3, 17, 11\)"):
        loaded(FLOATS[..., :10])
    with pytest.raises(OnelayerError, match="no transforms"):
        _ = loaded.transform


def test_only_a_layer_that_was_saved_says_so() -> None:
    spec = ImageSpec((3, 17, 11), "float32", "tensor")
    outputs = onelayer.compile(v2.Resize(9)).source.outputs(spec)
    for origin, text in [
        ("identified", r"identified for other images; expected one of: \(3, 17, 11\).*Identify the function"),
        ("recognised", "recognised in weights for other images"),
    ]:
        layer = OneLayer(SavedPrograms({spec: outputs}, origin))
        with pytest.raises(OnelayerError, match=text) as caught:
            layer(FLOATS[..., :10])
        assert "saved" not in str(caught.value)


def test_sizes_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(OnelayerError, match="without any image size"):
        onelayer.save(onelayer.compile(v2.Resize(9)), tmp_path)
    with pytest.raises(OnelayerError, match="Identity was to be saved"):
        onelayer.save(nn.Identity(), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
