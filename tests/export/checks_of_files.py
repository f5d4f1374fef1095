"""Exported files give the original's bytes in every runtime, and say where they come from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import PIL.Image
import pytest
import torch
from export.export_cases import CASES, NORMALIZE, images
from torchvision.transforms import InterpolationMode, v2

import onelayer
from onelayer.backends.portable.steps import Add, Clip, Products, Round, Take
from onelayer.exports.graph import Graph
from onelayer.exports.nodes import Values, add_steps
from onelayer.exports.runtimes import RUNTIMES
from onelayer.images.containers import pixels_of
from onelayer.plans import portable_output


def spec(height: int, width: int, container: str = "tensor", dtype: str = "uint8", channels: int = 3) -> Any:
    return onelayer.ImageSpec((channels, height, width), dtype, container)  # type: ignore[arg-type]


def export(transform: Any, path: Path, like: Any, **options: Any) -> Any:
    layer = transform if isinstance(transform, onelayer.OneLayer) else onelayer.compile(transform)
    size = {"height": like.shape[1], "width": like.shape[2]}
    return onelayer.export(layer, path, like=like, **(size | {"check": False} | options))


@pytest.mark.parametrize("name", CASES)
def test_files_give_the_originals_bits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    transform = case.make()
    for container in case.containers:
        for number, (height, width) in enumerate([(17, 11), (45, 64)]):
            written = export(transform, tmp_path / "file.onnx", spec(height, width, container))
            assert written.provenance.rounding == "exact"
            for runtime in RUNTIMES:
                run = onelayer.ExportedLayer(written.path, runtime)
                for image in images((3, height, width), container, number):
                    expected = of_array(transform, image) if container == "numpy" else pixels_of(transform(image))
                    result = pixels_of(run(image))
                    assert result.dtype == expected.dtype
                    assert torch.equal(result, expected), (container, height, width, runtime)


def of_array(transform: Any, image: Any) -> torch.Tensor:
    """Compute an array's result by its tensor: torchvision leaves arrays alone."""
    result: torch.Tensor = transform(torch.from_numpy(image).movedim(-1, 0).contiguous())
    return result


def test_a_single_pixel_and_a_strong_reduction(tmp_path: Path) -> None:
    bicubic = v2.Resize((5, 7), interpolation=InterpolationMode.BICUBIC)
    for size in ((1, 1), (3, 4000)):
        for container in ("pil", "tensor"):
            written = export(bicubic, tmp_path / "file.onnx", spec(*size, container))
            for runtime in RUNTIMES:
                run = onelayer.ExportedLayer(written.path, runtime)
                for image in images((3, *size), container):
                    assert torch.equal(pixels_of(run(image)), pixels_of(bicubic(image))), (size, container, runtime)


def test_parts_of_parts_are_cut_out_at_once() -> None:
    graph = Graph()
    values = Values(graph, "image", "HWC")
    add_steps(
        values,
        [Take("rows", np.arange(2, 12)), Take("cols", np.arange(1, 9)), Take("rows", np.arange(3, 7)), Add(np.ones(1))],
    )
    values.finish("result", "HWC", np.float32)
    assert [node.op_type for node in graph.nodes].count("Slice") == 1
    model = graph.model({"image": (np.uint8, (20, 10, 3))}, {"result": (np.float32, (4, 8, 3))}, 8)
    image = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    (result,) = ort.InferenceSession(model.SerializeToString()).run(None, {"image": image})
    assert np.array_equal(result, image[5:9, 1:9] + np.float32(1))


def test_layouts_and_batches(tmp_path: Path) -> None:
    transform = v2.Compose([v2.Resize(20), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True)])
    batch = torch.stack(images((3, 30, 25), "tensor"))
    expected = transform(batch)
    arrays = {"NHWC": batch.permute(0, 2, 3, 1), "HWC": batch[0].permute(1, 2, 0), "NCHW": batch, "CHW": batch[0]}
    for layout, array in arrays.items():
        written = export(transform, tmp_path / f"{layout}.onnx", spec(30, 25), layout=layout)
        session = ort.InferenceSession(written.path)
        (result,) = session.run(None, {"image": array.contiguous().numpy()})
        assert np.array_equal(result, expected if "N" in layout else expected[0]), layout
        assert torch.equal(onelayer.ExportedLayer(written.path)(batch), expected)
    # What the original makes of PIL images is an image, too: its channels stay behind.
    written = export(v2.Resize((4, 6)), tmp_path / "pil.onnx", spec(30, 25, "pil"), layout="HWC")
    assert ort.InferenceSession(written.path).get_outputs()[0].shape == [4, 6, 3]
    photograph = images((3, 30, 25), "pil")[0]
    result = onelayer.ExportedLayer(written.path)(photograph)
    assert isinstance(result, PIL.Image.Image)
    assert result.tobytes() == v2.Resize((4, 6))(photograph).tobytes()


def test_real_arithmetic_is_the_layers_to_float32(tmp_path: Path) -> None:
    floats = v2.Compose([v2.Resize(20, antialias=True), v2.CenterCrop(16), v2.Pad(1), v2.Normalize(**NORMALIZE)])
    blur = v2.Compose([v2.GaussianBlur(3, 1.0), v2.RandomRotation((20, 20)), v2.Grayscale()])
    for transform, like in ((floats, spec(31, 26, dtype="float32")), (blur, spec(31, 26, dtype="float32"))):
        written = export(transform, tmp_path / "file.onnx", like)
        image = torch.rand(3, 31, 26)
        reference = onelayer.compile(transform, backend="reference")(image)
        for runtime in RUNTIMES:
            result = onelayer.ExportedLayer(written.path, runtime)(image)
            span = float(reference.max() - reference.min())
            assert (result - reference).abs().max() <= 2e-6 * span
    # Of bytes, real arithmetic is asked for by name.
    written = export(blur, tmp_path / "file.onnx", spec(31, 26), rounding="fused")
    (image, *_) = images((3, 31, 26), "tensor")
    layer = onelayer.compile(blur, rounding="fused", backend="reference")
    assert torch.equal(onelayer.ExportedLayer(written.path)(image), layer(image))


def test_the_file_says_where_it_comes_from_and_how_it_was_checked(tmp_path: Path) -> None:
    transform = v2.Compose([v2.Resize(12), v2.CenterCrop(8)])
    written = export(transform, tmp_path / "file.onnx", spec(20, 30, "pil"), check=True)
    model = onnx.load(written.path)
    record = json.loads({entry.key: entry.value for entry in model.metadata_props}["onelayer"])
    assert "CenterCrop" in record["pipeline"]
    assert record["shape"] == [3, 20, 30]
    assert record["rounding"] == "exact"
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert set(written.certificates) == set(RUNTIMES)
    for certificate in record["certificates"].values():
        assert certificate["all"]["mismatch_rate"] == 0
        assert certificate["all"]["count"] == 12
    assert str(written).count("no value differs on 12 images") == len(RUNTIMES)
    operators = "Cast Transpose Slice MatMul Concat Floor Mul Add Clip Gather Unsqueeze Identity"
    assert {node.op_type for node in model.graph.node} <= {*operators.split()}
    # A layer that is verified later is a side like any other.
    certificate = onelayer.verify(
        onelayer.ExportedLayer(written.path, "openvino"), transform, images((3, 20, 30), "pil"), adversarial=0
    )
    assert certificate.record.all.mismatch_rate == 0
    assert "openvino" in certificate.record.layer


def test_a_check_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onelayer.exports import exporting

    def cut_off(*arguments: Any) -> Any:
        output, steps = portable_output(*arguments)
        assert all(isinstance(step, Products) for step in steps)
        return output, [part for step in steps for part in (replace(step, clip=None), Round("truncate"), Clip(0, 255))]

    monkeypatch.setattr(exporting, "portable_output", cut_off)
    with pytest.raises(onelayer.OnelayerError, match=r"onnxruntime .* gives other values than the original"):
        export(v2.Resize(12), tmp_path / "file.onnx", spec(20, 30, "pil"), check=True)
    assert not (tmp_path / "file.onnx").exists()


def test_a_saved_layer_is_exported_for_its_images(tmp_path: Path) -> None:
    transform = v2.Compose([v2.Resize(12), v2.CenterCrop(8)])
    onelayer.save(onelayer.compile(transform), tmp_path / "layer", images=[spec(20, 30, "pil")])
    written = onelayer.export(onelayer.load(tmp_path / "layer"), tmp_path / "file.onnx")
    assert written.provenance.shape == (3, 20, 30)
    assert all(certificate.record.all.mismatch_rate == 0 for certificate in written.certificates.values())
    with pytest.raises(onelayer.OnelayerError, match="saved with rounding='exact'"):
        onelayer.export(onelayer.load(tmp_path / "layer"), tmp_path / "file.onnx", rounding="fused")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that adds up each channel of [N, 3, 16, 16]."""
    path = tmp_path_factory.mktemp("model") / "sum.onnx"
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["logits"]),
        ],
        "model",
        [helper.make_tensor_value_info("pixels", kinds.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["N", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_a_model_behind_the_preprocessing(tmp_path: Path, model: Path) -> None:
    transform = v2.Compose([v2.Resize(20), v2.CenterCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    photograph = images((3, 30, 25), "pil")[0]
    expected = transform(photograph).mean(dim=(1, 2))
    for given in (model, onnx.load(model)):
        written = export(transform, tmp_path / "file.onnx", spec(30, 25, "pil"), layout="NHWC", model=given, check=True)
        session = ort.InferenceSession(written.path)
        assert [each.name for each in session.get_outputs()] == ["logits"]
        (logits,) = session.run(None, {"image": np.asarray(photograph)[None]})
        assert np.allclose(logits[0], expected, rtol=1e-6)
        # Its certificates are those of the preprocessing.
        assert written.provenance.model
        assert len(written.certificates) == len(RUNTIMES)
    # One image at a time, of any size, with a choice of the first pass in the graph.
    layer = onelayer.compile(transform)
    path = tmp_path / "any.onnx"
    onelayer.export(layer, path, like=spec(1, 1, "pil"), layout="HWC", model=model, check=False)
    for size in ((30, 25), (90, 21)):
        photograph = images((3, *size), "pil")[0]
        (logits,) = ort.InferenceSession(path).run(None, {"image": np.asarray(photograph)})
        assert np.allclose(logits, transform(photograph).mean(dim=(1, 2)), rtol=1e-6)
    with pytest.raises(onelayer.OnelayerError, match="holds a model behind the preprocessing"):
        onelayer.ExportedLayer(tmp_path / "file.onnx")
    larger = v2.Compose([v2.Resize((20, 20)), *transform.transforms[2:]])
    takes, gives = r"takes float32 \[any, 3, 16, 16\]", r"gives float32 \[any, 3, 20, 20\]"
    with pytest.raises(onelayer.OnelayerError, match=f"{takes}.*{gives}"):
        export(larger, tmp_path / "file.onnx", spec(30, 25), model=model)


def test_what_cannot_be_exported_says_why(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    with_a_break = onelayer.compile(v2.Compose([v2.Resize(8), v2.Lambda(torch.sin)]))
    refused: list[tuple[Any, Any, dict[str, Any], str]] = [
        (v2.RandomCrop(8), spec(20, 20), {}, "random"),
        (with_a_break, spec(20, 20), {}, "not a transform that onelayer knows|cannot be"),
        (v2.FiveCrop(8), spec(20, 20), {}, "makes 5 images"),
        (v2.Resize(8), spec(20, 20, dtype="float64"), {}, "images of float64"),
        (v2.Resize(8), spec(20, 20), {"layout": "WHC"}, "layout 'WHC'"),
        (v2.Resize(8), spec(20, 20), {"dtype": "float32"}, "like= is an image of uint8"),
        (v2.ToDtype(torch.float64, scale=True), spec(20, 20), {}, "float64"),
        (v2.GaussianBlur(3, 1.0), spec(20, 20), {}, "cannot be reproduced bit for bit.*rounding='fused'"),
    ]
    for transform, like, options, message in refused:
        with pytest.raises(onelayer.OnelayerError, match=message):
            export(transform, path, like, **options)
        assert not path.exists()
    from torchvision.models import ResNet50_Weights

    # PyTorch's float32 sums of tensors; of PIL images the same preset is exact.
    with pytest.raises(onelayer.OnelayerError, match=r"fused multiply-add.*like= a PIL image"):
        export(ResNet50_Weights.DEFAULT.transforms(), path, spec(20, 20))
    written = export(v2.Resize(8), path, spec(20, 20))
    with pytest.raises(onelayer.OnelayerError, match=r"image is \(3, 20, 21\).*3×20×20 uint8 \(tensor\)"):
        onelayer.ExportedLayer(written.path)(torch.zeros(3, 20, 21, dtype=torch.uint8))
    with pytest.raises(onelayer.OnelayerError, match="runtime 'tensorrt'"):
        onelayer.ExportedLayer(written.path, "tensorrt")  # type: ignore[arg-type]
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(onelayer.OnelayerError, match=r"text.onnx is no ONNX file"):
        onelayer.ExportedLayer(tmp_path / "text.onnx")
    with pytest.raises(onelayer.OnelayerError, match="there is no file"):
        onelayer.ExportedLayer(tmp_path / "none.onnx")


DROPPED = """
import os, signal, sys, onelayer
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
runs = [onelayer.ExportedLayer(sys.argv[1], "openvino") for _ in range(2)]
while runs:
    del runs[0]
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signals")
def test_signals_are_handled_after_files_in_openvino(tmp_path: Path) -> None:
    """A DataLoader handles one for each worker that ends."""
    written = export(v2.Resize(12), tmp_path / "file.onnx", spec(20, 20))
    command = [sys.executable, "-c", DROPPED, str(written.path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "handled\n"), ran.stderr


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(onelayer.OnelayerError, match=r"onelayer\[export\]"):
        export(v2.Resize(8), tmp_path / "file.onnx", spec(20, 20))
