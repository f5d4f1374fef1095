"""Compare exported files, and modules of plain operations, with the originals: in ONNX Runtime, OpenVINO and PyTorch.

Exactness: pipelines with the original's rounding, as files for ten sizes each, on photographs, noise, and noise of
black and white; every value counts. Real arithmetic: floating point images and bytes, against the same program in
float64. One file for any size: a hundred sizes, no two alike. A ResNet-18 with random weights behind its preprocessing,
from JPEG bytes to logits. Time: ImageNet evaluation in ONNX Runtime, one thread, against ONNX Runtime's own antialiased
Resize in a graph of the same pipeline, in turn, on images of one size each.

    python benchmarks/exported.py --json docs/results/exported.json --page docs/export.md

With ``--part exact`` and so on it goes on with the record that is there.
"""

from __future__ import annotations

import io
import itertools
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import onnxruntime
import PIL.Image
import torch
import torchvision
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table
from torchvision import transforms as v1
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2

import onelayer
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled, varied_sizes
from onelayer.environment import current_environment
from onelayer.errors import OnelayerError
from onelayer.exports.runtimes import RUNTIMES
from onelayer.images.containers import image_of, pixels_of

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TIMED_SIZES = (375, 500), (1080, 1920)
BEGIN, END = "<!-- made by benchmarks/exported.py -->", "<!-- end -->"

Transform = Callable[[Any], Any]
Case = TypeVar("Case")


def to_floats() -> list[Any]:
    """Make the end of most pipelines."""
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


BICUBIC, NEAREST, LANCZOS = InterpolationMode.BICUBIC, InterpolationMode.NEAREST, InterpolationMode.LANCZOS
IMAGENET = v2.Compose([v2.Resize(256), v2.CenterCrop(224), *to_floats()])
EXACT: dict[str, tuple[Transform, str]] = {
    "ImageNet evaluation, PIL": (IMAGENET, "pil"),
    "ImageNet evaluation, tensors": (IMAGENET, "tensor"),
    "ResNet-50's preset, PIL": (ResNet50_Weights.DEFAULT.transforms(), "pil"),
    "CLIP, PIL": (v2.Compose([v2.Resize(224, interpolation=BICUBIC), v2.CenterCrop(224), *to_floats()]), "pil"),
    "bicubic to 224×224, tensors": (v2.Compose([v2.Resize((224, 224), interpolation=BICUBIC), *to_floats()]), "tensor"),
    "v1, ToTensor": (v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(MEAN, STD)]), "pil"),
    "Lanczos, PIL": (v2.Resize(200, interpolation=LANCZOS), "pil"),
    "without antialiasing, tensors": (v2.Resize((160, 240), antialias=False), "tensor"),
    "grayscale, tensors": (v2.Compose([v2.Resize(128), v2.Grayscale(3), *to_floats()]), "tensor"),
    "grayscale and border, PIL": (v2.Compose([v2.Grayscale(), v2.Resize(96), v2.Pad(8, fill=99)]), "pil"),
    "nearest, crop, flips": (
        v2.Compose([v2.Resize(300, interpolation=NEAREST), v2.CenterCrop(280), v2.RandomHorizontalFlip(1.0)]),
        "tensor",
    ),
    "posterize, resize, reflected border": (
        v2.Compose([v2.RandomPosterize(4, 1.0), v2.Resize(100), v2.Pad(6, padding_mode="reflect"), *to_floats()]),
        "pil",
    ),
}
DYNAMIC = {name: EXACT[name] for name in ("ImageNet evaluation, PIL", "ImageNet evaluation, tensors", "CLIP, PIL")}
REAL: dict[str, Transform] = {
    "ImageNet evaluation": IMAGENET,
    "bicubic": v2.Compose([v2.Resize(224, interpolation=BICUBIC), *to_floats()]),
    "blur, rotation, grayscale": v2.Compose(
        [v2.GaussianBlur(5, 1.0), v2.RandomRotation((20, 20)), v2.Grayscale(), v2.ToDtype(torch.float32, scale=True)]
    ),
}


@dataclass(frozen=True)
class Images:
    """Images of a container.

    Args:
        container: Container.
    """

    container: str

    def spec(self, height: int, width: int, dtype: str = "uint8") -> onelayer.ImageSpec:
        """Return the spec of an image."""
        return onelayer.ImageSpec((3, height, width), dtype, self.container)  # type: ignore[arg-type]

    def of(self, height: int, width: int, count: int) -> Iterator[Any]:
        """Yield photographs, noise, and noise of black and white, in turn."""
        generator = np.random.default_rng(height * 10_000 + width)
        photographs = itertools.cycle(bundled())
        for number in range(count):
            kind = number % 3
            if kind == 0:
                pixels = next(photographs).at(height, width, 3)
            else:
                noise = generator.integers(0, 256, (3, height, width), dtype=np.uint8)
                pixels = torch.from_numpy(noise if kind == 1 else (noise // 128 * 255).astype(np.uint8))
            yield image_of(pixels, self.spec(height, width))


def mismatches(transform: Transform, container: str, sizes: list[tuple[int, int]], count: int) -> dict[str, Any]:
    """Count the values that differ from the original in files for some sizes, in each runtime."""
    images, layer = Images(container), onelayer.compile(transform)
    found = dict.fromkeys(RUNTIMES, 0)
    values = 0
    with tempfile.TemporaryDirectory() as folder:
        for height, width in sizes:
            written = onelayer.export(
                layer, Path(folder) / "file.onnx", like=images.spec(1, 1), height=height, width=width, check=False
            )
            runs = {runtime: onelayer.ExportedLayer(written.path, runtime) for runtime in RUNTIMES}
            for image in images.of(height, width, count // len(sizes)):
                expected = pixels_of(transform(image))
                values += expected.numel()
                for runtime, run in runs.items():
                    found[runtime] += int((pixels_of(run(image)) != expected).sum())
    return {"images": count // len(sizes) * len(sizes), "values": values, "mismatches": found}


def dynamic(transform: Transform, container: str, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Compare one file for any size with the original."""
    images, layer = Images(container), onelayer.compile(transform)
    found: dict[str, dict[str, float]] = {runtime: {"mismatches": 0, "largest": 0.0} for runtime in RUNTIMES}
    values = 0
    with tempfile.TemporaryDirectory() as folder:
        written = onelayer.export(layer, Path(folder) / "file.onnx", like=images.spec(1, 1), check=False)
        runs = {runtime: onelayer.ExportedLayer(written.path, runtime) for runtime in RUNTIMES}
        for height, width in sizes:
            for image in images.of(height, width, 2):
                expected = pixels_of(transform(image))
                values += expected.numel()
                for runtime, run in runs.items():
                    difference = (pixels_of(run(image)).double() - expected.double()).abs()
                    found[runtime]["mismatches"] += int((difference > 0).sum())
                    found[runtime]["largest"] = max(found[runtime]["largest"], float(difference.max()))
        return {"sizes": len(sizes), "values": values, "bytes": written.path.stat().st_size, "runtimes": found}


def real(transform: Transform, dtype: str) -> dict[str, float]:
    """Find the largest error of real arithmetic, relative to the range of the results, in each runtime."""
    height, width = 375, 500
    images = Images("tensor")
    layer = onelayer.compile(transform, rounding="fused")
    reference = onelayer.compile(transform, rounding="fused", backend="reference")
    found = dict.fromkeys(RUNTIMES, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.onnx"
        written = onelayer.export(layer, path, like=images.spec(1, 1, dtype), height=height, width=width, check=False)
        for runtime in RUNTIMES:
            run = onelayer.ExportedLayer(written.path, runtime)
            for image in images.of(height, width, 9):
                pixels = image if dtype == "uint8" else image / 255
                expected = reference(pixels)
                span = float(expected.max() - expected.min())
                found[runtime] = max(found[runtime], float((run(pixels) - expected).abs().max()) / span)
    return found


def resnet() -> dict[str, Any]:
    """Compare a ResNet-18 of random weights behind its preprocessing with PyTorch, from JPEG bytes to logits."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    height, width = 300, 451
    spec, encoded = Images("pil").spec(height, width), io.BytesIO()
    next(Images("pil").of(height, width, 1)).save(encoded, "JPEG")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), path, dynamo=True, verbose=False, external_data=False)
        layer = onelayer.compile(IMAGENET)
        differences = {}
        for name, size in (("one size", {"height": height, "width": width}), ("any size", {})):
            options: dict[str, Any] = {"like": spec, "layout": "HWC", "model": path, "check": False}
            written = onelayer.export(layer, Path(folder) / "merged.onnx", **options, **size)
            photograph = PIL.Image.open(encoded).convert("RGB")
            expected = model(IMAGENET(photograph)[None]).numpy()
            session = onnxruntime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
            (logits,) = session.run(None, {"image": np.asarray(photograph)})
            differences[name] = float(np.abs(logits - expected).max() / np.abs(expected).max())
    return differences


def own_graph(height: int, width: int, resizes_bytes: bool) -> bytes:
    """Write ImageNet evaluation with ONNX Runtime's own antialiased Resize.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        resizes_bytes: Whether bytes are resized, and made float32 then; or float32.
    """
    short = min(height, width)
    new_height, new_width = 256 * height // short, 256 * width // short
    top, left = round((new_height - 224) / 2), round((new_width - 224) / 2)
    deviation = np.array(STD, np.float32)[:, None, None]
    constants: dict[str, NDArray[Any]] = {
        "sizes": np.array([1, 3, new_height, new_width]),
        "starts": np.array([top, left]),
        "ends": np.array([top + 224, left + 224]),
        "axes": np.array([2, 3]),
        "factor": (1 / 255 / deviation).astype(np.float32),
        "offset": (-np.array(MEAN, np.float32)[:, None, None] / deviation).astype(np.float32),
    }
    resized = helper.make_node(
        "Resize", ["", "", "", "sizes"], ["resized"], mode="linear", antialias=1, exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    steps = [
        helper.make_node("Transpose", [""], ["planes"], perm=[0, 3, 1, 2]),
        resized,
        helper.make_node("Slice", ["", "starts", "ends", "axes"], ["cropped"]),
    ]
    steps.insert(3 if resizes_bytes else 1, helper.make_node("Cast", [""], ["floats"], to=TensorProto.FLOAT))
    steps += [helper.make_node("Mul", ["", "factor"], ["scaled"]), helper.make_node("Add", ["", "offset"], ["result"])]
    last = "image"
    for step in steps:
        step.input[0], last = last, step.output[0]
    graph = helper.make_graph(
        steps,
        "evaluation",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, 3, 224, 224])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def timed(height: int, width: int, seconds: float) -> dict[str, Any]:
    """Time exported files and ONNX Runtime's own Resize in turn, and the loading of each, in milliseconds."""
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rounding, is_fixed in itertools.product(("exact", "fused"), (True, False)):
            size = {"height": height, "width": width} if is_fixed else {}
            layer = onelayer.compile(IMAGENET, rounding=rounding)  # type: ignore[call-overload]
            spec = Images("pil").spec(1, 1)
            written = onelayer.export(layer, Path(folder) / "file.onnx", like=spec, check=False, **size)
            files[f"onelayer, {rounding}, {'one size' if is_fixed else 'any size'}"] = written.path.read_bytes()
    files["Resize of bytes"], files["Resize of float32"] = (own_graph(height, width, each) for each in (True, False))
    loads, sessions = {}, {}
    for name, content in files.items():
        start = time.perf_counter()
        sessions[name] = _session(content)
        loads[name] = 1000 * (time.perf_counter() - start)
    images = [np.asarray(image)[None] for image in Images("pil").of(height, width, 6)]
    functions = {
        name: lambda image, session=session: session.run(None, {"image": image}) for name, session in sessions.items()
    }
    medians = medians_in_turn(functions, images, seconds=seconds, turns=12)
    return {
        "size": f"{height}×{width}",
        "milliseconds": {name: 1000 * median for name, median in medians.items()},
        "load_milliseconds": loads,
        "bytes": {name: len(content) for name, content in files.items()},
    }


def paths_of_pytorch() -> dict[str, str]:
    """Send a module of plain operations, and a model behind a layer, through PyTorch's paths; say what came of each."""
    images = torch.randint(0, 256, (2, 3, 120, 90), dtype=torch.uint8)
    layer = onelayer.compile(IMAGENET)
    module, expected = layer.to_module(images[0]), IMAGENET(images)
    model = torch.nn.Sequential(layer, torch.nn.Identity())

    def aot(module: torch.nn.Module) -> Transform:
        with tempfile.TemporaryDirectory() as folder:
            program = torch.export.export(module, (images,))
            package = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/module.pt2")
            loaded: Transform = torch._inductor.aoti_load_package(package)
            return loaded

    paths: dict[str, Callable[[], Transform]] = {
        "to_module: torch.export": lambda: torch.export.export(module, (images,)).module(),
        "to_module: torch.compile(fullgraph=True)": lambda: torch.compile(module, fullgraph=True),
        "to_module: AOTInductor": lambda: aot(module),
        "to_module: torch.jit.trace": lambda: torch.jit.trace(module, (images,)),
        "to_module: torch.func.vmap": lambda: torch.func.vmap(module),
        "layer: torch.export": lambda: torch.export.export(model, (images,)).module(),
        "layer: torch.compile(fullgraph=True)": lambda: torch.compile(model, fullgraph=True),
        "layer: torch.jit.trace": lambda: torch.jit.trace(model, (images,)),
    }
    found = {}
    for name, path in paths.items():
        torch.compiler.reset()
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                found[name] = "the same bits" if torch.equal(path()(images), expected) else "other bits"
        except Exception as error:  # noqa: BLE001 - whatever a path raises is its result
            found[name] = f"{type(error).__name__}"
    meta = layer.to_module(images[0]).to("meta")(images.to("meta"))
    found["to_module: meta device"] = "the shape" if meta.shape == expected.shape else "another shape"
    on_meta = layer(images.to("meta"))
    found["layer: meta device"] = "the shape" if on_meta.shape == expected.shape else "another shape"
    return found


def rows_of(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Lay the record out, or the parts that there are, as rows of runtime, feature and result."""
    names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    titles = {runtime: f"{name} {record['versions'][runtime]}" for runtime, name in names.items()}
    rows = []
    for runtime, title in titles.items():
        if exact := record.get("exact", {}).values():
            images, differing = (
                sum(case["images"] for case in exact),
                sum(case["mismatches"][runtime] for case in exact),
            )
            feature = f"one size, exact: {len(exact)} pipelines, {images:,} images"
            rows.append((title, feature, f"{differing:,} values differ"))
        for dtype, cases in record.get("real", {}).items():
            largest = max(case[runtime] for case in cases.values())
            rows.append((title, f"one size, real arithmetic, {dtype}", f"at most {largest:.1e} of the range"))
        if dynamic := record.get("dynamic", {}).values():
            differing = sum(case["runtimes"][runtime]["mismatches"] for case in dynamic)
            share = differing / sum(case["values"] for case in dynamic)
            sizes = next(iter(dynamic))["sizes"]
            # All of them divide by the deviation.
            levels = max(case["runtimes"][runtime]["largest"] for case in dynamic) * 255 * max(STD)
            result = f"{share:.2%} of the values differ, by at most {levels:.1f} grey levels"
            result = "0 values differ" if differing == 0 else result
            rows.append((title, f"any size, exact: one file each, {sizes} sizes", result))
    for name, difference in record.get("resnet", {}).items():
        feature = f"ResNet-18 behind its preprocessing, {name}: JPEG bytes to logits"
        rows.append((titles["onnxruntime"], feature, f"{difference:.1e} of the largest logit from PyTorch's"))
    pytorch = f"PyTorch {record['versions']['torch']}"
    rows += [(pytorch, name, result) for name, result in record.get("pytorch", {}).items()]
    for case in record.get("time", []):
        for name, milliseconds in case["milliseconds"].items():
            loads, size = case["load_milliseconds"][name], case["bytes"][name]
            feature = f"ImageNet evaluation of {case['size']}, 1 thread: {name}"
            result = f"{milliseconds:.2f} ms; {size / 1000:,.0f} kB, loaded in {loads:.0f} ms"
            rows.append((titles["onnxruntime"], feature, result))
    return rows


def write_page(path: Path, rows: list[tuple[str, str, str]]) -> None:
    """Replace the table of a page."""
    lines = ["| runtime | feature | result |", "|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines)
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


class Part(StrEnum):
    """Part of the record."""

    exact = "exact"
    dynamic = "dynamic"
    real = "real"
    resnet = "resnet"
    pytorch = "pytorch"
    time = "time"


def main(
    images: Annotated[int, typer.Option(help="Images of each pipeline.")] = 500,
    sizes: Annotated[int, typer.Option(help="Sizes of each file for any size.")] = 100,
    seconds: Annotated[float, typer.Option(help="Time for each timed row.")] = 5.0,
    parts: Annotated[
        list[Part] | None, typer.Option("--part", help="Part to compare; the record in --json keeps the others.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
    page: Annotated[Path | None, typer.Option(help="Page whose table to write.")] = None,
) -> None:
    """Compare exported files with the originals."""
    torch.set_num_threads(1)
    record = started_record(json_file if parts else None)
    wanted = parts or list(Part)
    if Part.exact in wanted:
        record["exact"] = {
            name: mismatches(*case, varied_sizes(10), images) for name, case in shown(EXACT, "one size, exact")
        }
    if Part.dynamic in wanted:
        record["dynamic"] = {
            name: dynamic(*case, varied_sizes(sizes, seed=1)) for name, case in shown(DYNAMIC, "any size, exact")
        }
    if Part.real in wanted:
        record["real"] = {
            dtype: {name: real(transform, dtype) for name, transform in shown(REAL, f"real arithmetic, {dtype}")}
            for dtype in ("float32", "uint8")
        }
    if Part.resnet in wanted:
        record["resnet"] = resnet()
    if Part.pytorch in wanted:
        record["pytorch"] = paths_of_pytorch()
    if Part.time in wanted:
        record["time"] = [timed(*size, seconds) for size in TIMED_SIZES]
    rows = rows_of(record)
    table = Table("runtime", "feature", "result")
    for row in rows:
        table.add_row(*row)
    results.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if page is not None:
        write_page(page, rows)


def started_record(path: Path | None) -> dict[str, Any]:
    """Begin a record, or go on with one of the same versions."""
    packages = ("torch", "torchvision", "pillow", "onnx", "onnxruntime", "openvino")
    record: dict[str, Any] = {
        "environment": current_environment().model_dump(),
        "versions": {name: version(name) for name in packages},
    }
    if path is None or not path.is_file():
        return record
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if earlier["versions"] != record["versions"]:
        raise OnelayerError(
            f"{path} is of other versions: {earlier['versions']}",
            expected=f"those that are installed: {record['versions']}",
            hint="Leave out --part.",
        )
    return earlier | record


def shown(cases: dict[str, Case], title: str) -> Iterator[tuple[str, Case]]:
    """Yield the cases, and show how far they are."""
    with progress() as display:
        yield from display.track(cases.items(), description=title)


if __name__ == "__main__":
    typer.run(main)
