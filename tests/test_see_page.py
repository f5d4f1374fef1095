"""The page that shows resizes: its arithmetic, run by V8 without a browser, against onelayer and the libraries."""

from __future__ import annotations

import html.parser
import http.server
import io
import json
import mimetypes
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional as f1
from torchvision.transforms import v2

from onelayer.algebra import AxisMap
from onelayer.algebra.fixed_point import bits_of, in_fixed_point
from onelayer.algebra.float32_sum import multiplied_and_added, resized_in_float32
from onelayer.frontends import opencv

py_mini_racer = pytest.importorskip("py_mini_racer")

PAGE = Path(__file__).parent.parent / "docs" / "see" / "index.html"
ARITHMETIC = re.findall(r'<script id="arithmetic">(.*?)</script>', PAGE.read_text(encoding="utf-8"), re.DOTALL)

Bytes = NDArray[np.uint8]
Size = tuple[int, int]

# Height and width before and after: larger, smaller, both at once, whole factors, one axis that stays, a single pixel,
# and images that Pillow 13 resizes along rows first.
SIZES: list[tuple[Size, Size]] = [
    ((17, 11), (8, 5)),
    ((11, 17), (23, 40)),
    ((1, 1), (7, 5)),
    ((1, 9), (6, 3)),
    ((9, 1), (4, 6)),
    ((50, 41), (24, 63)),
    ((64, 48), (32, 24)),
    ((60, 45), (20, 9)),
    ((30, 20), (30, 11)),
    ((30, 20), (13, 20)),
    ((140, 9), (20, 7)),
    ((97, 131), (64, 80)),
    ((23, 19), (23, 19)),
]
FILTERS = "bilinear", "bicubic", "lanczos", "hamming", "box", "nearest"

# ONNX Runtime adds in float32; see test_onnx_runtime.
ONNX = {
    "onnx-linear": {"mode": "linear"},
    "onnx-linear-antialias": {"mode": "linear", "antialias": 1},
    "onnx-cubic-75": {"mode": "cubic", "cubic_coeff_a": -0.75},
    "onnx-cubic-50": {"mode": "cubic", "cubic_coeff_a": -0.5},
    "onnx-cubic-75-antialias": {"mode": "cubic", "cubic_coeff_a": -0.75, "antialias": 1},
    "onnx-cubic-50-antialias": {"mode": "cubic", "cubic_coeff_a": -0.5, "antialias": 1, "exclude_outside": 1},
}


class Page:
    """The page's block of arithmetic in V8."""

    def __init__(self, context: Any) -> None:
        self._context = context
        context.eval(ARITHMETIC[0])

    def value(self, expression: str) -> Any:
        """Compute what JSON can hold."""
        return json.loads(self._context.eval(f"JSON.stringify({expression})"))

    def array(self, expression: str, dtype: Any) -> NDArray[Any]:
        """Compute a typed array; it is copied, because its memory is V8's."""
        return np.frombuffer(self._context.eval(expression), dtype).copy()

    def _put(self, image: Bytes) -> None:
        height, width, _ = image.shape
        memory = self._context.eval(f"globalThis.pixels = new Uint8ClampedArray({image.size})")
        memory[:] = image.tobytes()
        self._context.eval(f"globalThis.image = {{height: {height}, width: {width}, values: pixels}}")

    def resized(self, name: str, image: Bytes, size: Size) -> NDArray[Any]:
        """Resize an image [H, W, 3] by a pipeline; bytes, or float32 where the pipeline has that, not yet rounded."""
        self._put(image)
        sizes = f"{image.shape[0]}, {image.shape[1]}, {size[0]}, {size[1]}"
        self._context.eval(f"globalThis.result = planned('{name}', {sizes}).compute(image)")
        dtype = np.float32 if self.value("result.values instanceof Float32Array") else np.uint8
        return self.array("result.values", dtype).reshape(*size, 3)

    def rounded(self, values: NDArray[Any]) -> Bytes:
        """Round a result to bytes as the page does."""
        memory = self._context.eval(f"globalThis.reals = new Float32Array({values.size})")
        memory[:] = values.astype(np.float32).tobytes()
        return self.array("asBytes({values: reals}).values", np.uint8).reshape(values.shape)

    def processed(self, name: str, image: Bytes, size: str) -> Bytes:
        """Resize and crop, to bytes."""
        self._put(image)
        self._context.eval(f"globalThis.result = processed(image, '{name}', '{size}')")
        return self.array("result.values", np.uint8).reshape(*self.value("[result.height, result.width]"), 3)

    def built_in(self, name: str) -> Bytes:
        """Make one of the page's images."""
        self._context.eval(f"globalThis.result = BUILT_IN.{name}()")
        return self.array("result.values", np.uint8).reshape(*self.value("[result.height, result.width]"), 3)

    def matrix(self, taps: str, n_in: int) -> NDArray[np.float64]:
        """Compute the taps of an axis as a matrix."""
        self._context.eval(f"globalThis.taps = {taps}")
        n_out, width = self.value("[taps.nOut, taps.width]")
        counts, samples = self.array("taps.counts", np.int32), self.array("taps.samples", np.int32)
        weights = self.array("taps.weights", np.float64).reshape(n_out, width)
        matrix = np.zeros((n_out, n_in))
        for i, row in enumerate(samples.reshape(n_out, width)):
            np.add.at(matrix[i], row[: counts[i]], weights[i, : counts[i]])
        return matrix


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    # An engine that is not closed keeps the process from ending.
    with py_mini_racer.MiniRacer() as context:
        yield Page(context)


def images(size: Size, seed: int) -> list[Bytes]:
    """Noise, black and white, and a single value."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return [noise, np.where(noise > 127, 255, 0).astype(np.uint8), np.full_like(noise, noise[0, 0, 0])]


def compare(page: Page, name: str, original: Callable[[Bytes, Size], Any], sizes: list[tuple[Size, Size]]) -> None:
    """Compare a pipeline with its original, in every byte."""
    for number, (size, new_size) in enumerate(sizes):
        for image in images(size, number):
            expected, result = np.asarray(original(image, new_size)), page.resized(name, image, new_size)
            np.testing.assert_array_equal(result, expected.reshape(result.shape), f"{name}, {size} to {new_size}")


def random_sizes(count: int, largest: int, seed: int) -> list[tuple[Size, Size]]:
    numbers = np.random.default_rng(seed).integers(1, largest, (count, 4)).tolist()
    return [((height, width), (new_height, new_width)) for height, width, new_height, new_width in numbers]


def pillow_resize(filter_name: str) -> Callable[[Bytes, Size], Any]:
    return lambda image, size: Image.fromarray(image).resize(size[::-1], Image.Resampling[filter_name.upper()])


def columns_first(filter_name: str) -> Callable[[Bytes, Size], Any]:
    """Resize as Pillow up to 12.1 does, by two resizes of one axis each."""
    resize = pillow_resize(filter_name)
    return lambda image, size: resize(np.asarray(resize(image, (len(image), size[1]))), size)


def torch_resize(
    mode: str, antialias: bool, memory_format: torch.memory_format
) -> Callable[[NDArray[Any], Size], NDArray[Any]]:
    def resize(image: NDArray[Any], size: Size) -> NDArray[Any]:
        planes = torch.from_numpy(image).movedim(-1, 0)[None].contiguous(memory_format=memory_format)
        result = torch.nn.functional.interpolate(planes, size=size, mode=mode, antialias=antialias)
        return result[0].movedim(0, -1).contiguous().numpy()

    return resize


def in_float32(mode: str) -> Callable[[Bytes, Size], NDArray[Any]]:
    resize = torch_resize(mode, True, torch.contiguous_format)
    return lambda image, size: resize(image.astype(np.float32), size)


def without_a_width_of_one(sizes: list[tuple[Size, Size]]) -> list[tuple[Size, Size]]:
    """Leave out what PyTorch 2.15 computes wrongly."""
    return [(size, new_size) for size, new_size in sizes if new_size[1] > 1 or size == new_size]


def compare_with_pillow(page: Page, sizes: list[tuple[Size, Size]]) -> None:
    for name in FILTERS:
        if int(PIL.__version__.split(".")[0]) >= 13:
            compare(page, f"pillow-{name}", pillow_resize(name), sizes)
        if name in ("bilinear", "bicubic"):
            compare(page, f"pillow12-{name}", columns_first(name), sizes)


def compare_with_torch(page: Page, sizes: list[tuple[Size, Size]]) -> None:
    sizes = without_a_width_of_one(sizes)
    for mode in ("bilinear", "bicubic"):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            compare(page, f"torch-bytes-{mode}", torch_resize(mode, True, memory_format), sizes)
            compare(page, f"torch-bytes-{mode}-narrow", torch_resize(mode, False, memory_format), sizes)
        if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
            compare(page, f"torch-float32-{mode}", in_float32(mode), sizes)


def compare_with_opencv(page: Page, sizes: list[tuple[Size, Size]]) -> None:
    cv2 = pytest.importorskip("cv2")
    compare(page, "opencv-linear", lambda image, size: cv2.resize(image, size[::-1]), sizes)
    whole = [
        (size, new_size)
        for size, new_size in sizes
        if any(new > old for old, new in zip(size, new_size, strict=True))
        or all(opencv.is_whole(old, new) for old, new in zip(size, new_size, strict=True))
    ]
    assert len(whole) > 4
    compare(page, "opencv-area", lambda image, size: cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), whole)


@cache
def onnx_session(name: str) -> Any:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    node = onnx.helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **ONNX[name])
    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    inputs = [value("x", kinds.FLOAT, [1, 3, None, None]), value("sizes", kinds.INT64, [4])]
    graph = onnx.helper.make_graph([node], "resize", inputs, [value("y", kinds.FLOAT, [1, 3, None, None])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare_with_onnx_runtime(page: Page, sizes: list[tuple[Size, Size]]) -> dict[str, float]:
    """Compare before rounding to bytes; return the largest difference of each pipeline, in grey levels."""
    largest = dict.fromkeys(ONNX, 0.0)
    for name in ONNX:
        for number, (size, new_size) in enumerate(sizes):
            for image in images(size, number):
                planes = np.moveaxis(image, -1, 0)[None].astype(np.float32)
                expected = onnx_session(name).run(None, {"x": planes, "sizes": np.array([1, 3, *new_size])})[0][0]
                difference = np.abs(page.resized(name, image, new_size) - np.moveaxis(expected, 0, -1)).max()
                largest[name] = max(largest[name], float(difference))
    return largest


def test_pillow(page: Page) -> None:
    compare_with_pillow(page, SIZES)


def test_pytorch(page: Page) -> None:
    compare_with_torch(page, SIZES)


def test_opencv(page: Page) -> None:
    compare_with_opencv(page, SIZES)


def test_onnx_runtime(page: Page) -> None:
    """The order of its float32 sums is followed; another build may add in another one."""
    assert max(compare_with_onnx_runtime(page, SIZES).values()) <= 1e-4


@pytest.mark.exhaustive
def test_all_libraries_at_many_sizes(page: Page) -> None:
    sizes = random_sizes(40, 90, 1) + random_sizes(3, 400, 2)
    factors = np.random.default_rng(3).integers(1, 6, (10, 2)).tolist()
    sizes += [((13 * rows, 9 * cols), (13, 9)) for rows, cols in factors]
    compare_with_pillow(page, sizes)
    compare_with_torch(page, sizes)
    compare_with_opencv(page, sizes)
    assert max(compare_with_onnx_runtime(page, sizes).values()) <= 1e-4


def test_weights_are_ours(page: Page) -> None:
    """The whole weights of bytes, the weights in float32, and OpenCV's, as matrices."""
    for n_in, n_out in [(1, 5), (17, 11), (11, 17), (375, 256), (500, 224), (40, 301), (9, 9)]:
        for name in ("box", "bilinear", "hamming", "bicubic", "lanczos"):
            for limit, text in ((None, "null"), (1 << 15, "1 << 15")):
                axis = AxisMap.resample(n_in, n_out, name, True)
                if axis.is_identity:
                    continue
                ours = in_fixed_point(axis, limit).to_dense() * 2.0 ** bits_of(axis, limit)
                theirs = page.matrix(f"inFixedPoint(widened({n_in}, {n_out}, '{name}'), {text})", n_in)
                np.testing.assert_array_equal(theirs, ours, f"{name}, {n_in} to {n_out}, {limit}")
        for name in ("bilinear", "bicubic"):
            axis = AxisMap.resample(n_in, n_out, name, False)
            if not axis.is_identity:
                ours = in_fixed_point(axis, 1 << 15).to_dense() * 2.0 ** bits_of(axis, 1 << 15)
                theirs = page.matrix(f"inFixedPoint(narrow({n_in}, {n_out}, '{name}'), 1 << 15)", n_in)
                np.testing.assert_array_equal(theirs, ours, f"{name} without antialiasing, {n_in} to {n_out}")
            ours = resized_in_float32(n_in, n_out, name, fused=True).axis.to_dense()
            theirs = page.matrix(f"resizedInFloat32({n_in}, {n_out}, '{name}')", n_in)
            np.testing.assert_array_equal(theirs, ours, f"{name} in float32, {n_in} to {n_out}")
        for is_area, clamps in ((False, True), (False, False), (True, True)):
            first, second, weights = opencv.taps(n_in, n_out, is_area, clamps)
            ours = np.zeros((n_out, n_in))
            for samples, column in ((first, 0), (second, 1)):
                np.add.at(ours, (np.arange(n_out), samples), weights[:, column])
            theirs = page.matrix(f"opencvTaps({n_in}, {n_out}, {json.dumps(is_area)})", n_in)
            np.testing.assert_array_equal(theirs, ours, f"OpenCV, {n_in} to {n_out}, {is_area}, {clamps}")


def test_a_fused_multiply_add_rounds_once(page: Page) -> None:
    """Where the sum in float64 lies midway between two float32, what float64 lost decides."""
    a, b = 1354025 * 2.0**-30, 793 * 2.0**-24  # Their product is 2⁻²⁴ + 2⁻⁵⁴.
    below = (1 + 2.0**-23, 2.0**-24 * (1 - 2.0**-23))  # 2⁻²⁴ − 2⁻⁷⁰.
    cases = [(a, b, 1.0), (-a, b, -1.0), (*below, 1 + 2.0**-23), (2.0**-12, 2.0**-12, 1.0), (3.0, 0.1, -0.3)]
    generator = np.random.default_rng(4)
    cases += np.column_stack([generator.normal(size=(500, 2)), generator.normal(size=500) * 4]).tolist()
    operands = np.array(cases, np.float32)
    theirs = page.value(f"{json.dumps(operands.astype(float).tolist())}.map((each) => multipliedAndAdded(...each))")
    ours = multiplied_and_added(*operands.T)
    np.testing.assert_array_equal(np.array(theirs, np.float32), ours)
    assert ours[0] != 1.0
    assert ours[2] == np.float32(1 + 2.0**-23)


def test_crops_are_torchvisions(page: Page) -> None:
    """The presets' sizes and crops, and the rounding to bytes of weight presets."""
    presets = {
        "imagenet": [v2.Resize(256), v2.CenterCrop(224)],
        "clip": [v2.Resize(224), v2.CenterCrop(224)],
    }
    for name, steps in presets.items():
        # The longer side of the last four becomes 257 or 259, whose crops would begin at 16.5 and 17.5.
        for size in ((41, 67), (67, 43), (251, 250), (253, 250), (250, 251), (250, 253)):
            image = images(size, 5)[0]
            expected = np.asarray(v2.Compose(steps)(Image.fromarray(image)))
            pipeline = "pillow-bilinear" if int(PIL.__version__.split(".")[0]) >= 13 else "pillow12-bilinear"
            np.testing.assert_array_equal(page.processed(pipeline, image, name), expected)
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        image = images((67, 43), 6)[1]
        tensor = torch.from_numpy(image).movedim(-1, 0)
        expected = f1.resize(tensor, [31, 29], f1.InterpolationMode.BICUBIC, antialias=True).movedim(0, -1).numpy()
        np.testing.assert_array_equal(page.processed("torch-float32-bicubic", image, "29x31"), expected)
    halves = np.array([-3.0, -0.5, 0.5, 1.5, 2.5, 254.5, 255.5, 300.0], np.float32)
    assert page.rounded(halves).tolist() == [0, 0, 0, 2, 2, 254, 255, 255]


def test_differences_and_checksums(page: Page) -> None:
    first, second = images((5, 7), 7)[:2]
    second[2:] = first[2:]
    figures = "compared({height: 5, width: 7, values: %s}, {height: 5, width: 7, values: %s})"
    found = page.value(figures % (first.ravel().tolist(), second.ravel().tolist()))
    difference = np.abs(first.astype(int) - second)
    assert [found["largest"][str(k)] for k in range(35)] == difference.max(axis=2).ravel().tolist()
    assert found["most"] == difference.max()
    assert found["mean"] == pytest.approx(difference.mean())
    assert found["share"] == np.mean(difference.max(axis=2) > 0)
    assert page.value(f"crc32({first.ravel().tolist()})") == f"{zlib.crc32(first.tobytes()):08x}"


def test_refusals_say_what_was_given(page: Page) -> None:
    def refusal(name: str, size: str, image: Bytes) -> str:
        with pytest.raises(py_mini_racer.JSEvalException) as raised:
            page.processed(name, image, size)
        return str(raised.value)

    image = np.zeros((20, 30, 3), np.uint8)
    assert "From 30×20 to 20×10 the factors are 1.500 and 2.000" in refusal("opencv-area", "20x10", image)
    assert "“axb” is no size" in refusal("pillow-box", "axb", image)
    assert "“0x5” is no size" in refusal("pillow-box", "0x5", image)
    assert "would become 4000×4000" in refusal("pillow-box", "4000x4000", image)
    assert "Sides of 30×20 are not divisible by 4" in refusal("pillow-box", "quarter", image)
    assert "would become 256×128000" in refusal("pillow-box", "imagenet", np.zeros((500, 1, 3), np.uint8))


class _Names(html.parser.HTMLParser):
    """Collects ids, and addresses of what the page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        self.addresses += [str(named[name]) for name in ("href", "src", "action") if name in named]


def test_the_page_needs_nothing_else() -> None:
    """It loads nothing, its links lead to pages that are there, and its script names elements that are there."""
    text = PAGE.read_text(encoding="utf-8")
    assert len(ARITHMETIC) == 1
    names = _Names()
    names.feed(text)
    assert len(names.ids) == len(set(names.ids))
    for address in names.addresses:
        page = re.fullmatch(r"\.\./([a-z-]+)/", address)
        assert address == "data:," or (page and (PAGE.parent.parent / f"{page[1]}.md").is_file()), address
    assert not re.search(r"https?:|@import|url\(|importScripts|XMLHttpRequest|\bfetch\(", text)
    named = set(re.findall(r'\$\("([a-z-]+)"\)', text)) | set(re.findall(r'for="([a-z-]+)"', text))
    assert named <= set(names.ids), named - set(names.ids)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

# Shows the page in a frame, does what a visitor does, and sends what the page says to the test.
VISITOR = """<!doctype html><iframe id="frame" width="1200" height="900" src="index.html#%s"></iframe><script>
const said = { errors: [] };
const $ = (id) => frame.contentDocument.getElementById(id);
const settled = async (unlike) => {
  while (!["done", "error"].includes($("main")?.dataset.state) || JSON.stringify($("main").dataset) === unlike) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { ...$("main").dataset, summary: $("summary").textContent, message: $("message").textContent };
};
const change = (id, value) => {
  const before = JSON.stringify($("main").dataset);
  $(id).value = value;
  $(id).dispatchEvent(new Event("change"));
  return settled(before);
};
const press = (key) => $("view-a").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
frame.onload = async () => {
  frame.contentWindow.onerror = (message) => said.errors.push(message);
  frame.contentWindow.onunhandledrejection = (event) => said.errors.push(String(event.reason));
  said.first = await settled();
  press("ArrowRight");
  press("ArrowDown");
  press("+");
  await settled();
  said.weights = $("axis-cols").textContent;
  said.address = frame.contentWindow.location.hash;
  said.same = await change("b", "pillow-bicubic");
  said.refused = await change("b", "opencv-area");
  await change("b", "opencv-linear");
  said.dropped = {};
  for (const name of ["notes.txt", "wide.png", "clear.png", "turned.jpg", "own.png"]) {
    const before = $("message").textContent, blob = await (await fetch(name)).blob();
    const files = new frame.contentWindow.DataTransfer();
    files.items.add(new frame.contentWindow.File([blob], name, { type: blob.type }));
    frame.contentDocument.dispatchEvent(new frame.contentWindow.DragEvent("drop", { dataTransfer: files }));
    while ($("message").textContent === before) await new Promise((resolve) => setTimeout(resolve, 20));
    said.dropped[name] = await settled();
  }
  await fetch("/said", { method: "POST", body: JSON.stringify(said) });
};
</script>"""


def what_the_page_says(chosen: str, files: dict[str, bytes], folder: Path) -> tuple[dict[str, Any], str]:
    """Open the page in a browser and drop files on it; return what it says, and what the browser logs."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()
    answers = {"/": (VISITOR % chosen).encode(), "/index.html": PAGE.read_bytes()}
    answers |= {f"/{name}": content for name, content in files.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Type", mimetypes.guess_type(self.path)[0] or "text/html")
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def do_POST(self) -> None:
            said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder}"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, (folder / "log").open("w") as log:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [str(CHROMIUM), *options, f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            return said.get(timeout=90), (folder / "log").read_text()
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG" if name.endswith("jpg") else "PNG", **options)
    return content.getvalue()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
def test_the_page_in_a_browser(page: Page, tmp_path: Path) -> None:
    """It compares a built-in image without an error, and reports the checksums that Python computes."""
    if int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("the page's Pillow is 13")
    chosen = "image=text&a=pillow-bicubic&b=torch-bytes-bilinear-narrow&size=97x61&x=20&y=30"
    own, exif = Image.fromarray(images((43, 67), 8)[0]), Image.Exif()
    exif[0x0112] = 6
    files = {
        "notes.txt": b"no image",
        "wide.png": encoded(Image.new("RGB", (4097, 3)), "wide.png"),
        "clear.png": encoded(Image.new("RGBA", (30, 20), (0, 0, 0, 0)), "clear.png"),
        "turned.jpg": encoded(own, "turned.jpg", exif=exif),
        "own.png": encoded(own, "own.png"),
    }
    said, log = what_the_page_says(chosen, files, tmp_path)
    assert said["errors"] == []
    assert "CONSOLE" not in log
    image, first_said = page.built_in("text"), said["first"]
    first = np.asarray(pillow_resize("bicubic")(image, (61, 97)))
    second = torch_resize("bilinear", False, torch.contiguous_format)(image, (61, 97))
    difference = np.abs(first.astype(int) - second)
    assert first_said["state"] == "done"
    assert first_said["a"] == f"{zlib.crc32(first.tobytes()):08x}"
    assert first_said["b"] == f"{zlib.crc32(second.tobytes()):08x}"
    assert int(first_said["most"]) == difference.max()
    assert float(first_said["mean"]) == pytest.approx(difference.mean())
    assert float(first_said["share"]) == np.mean(difference.max(axis=2) > 0)
    assert f"by at most {difference.max()} grey levels" in first_said["summary"]
    # Column 21 of 97 lies at 21.5 · 480 / 97 = 106.4 of the source, and reads two of its units to both sides.
    assert "Source columns 96 to 115" in said["weights"]
    total = in_fixed_point(AxisMap.resample(480, 97, "bicubic", True), None).weights[21].sum() * 2**22
    assert f"÷ 222, in all {total:,.0f}" in said["weights"]
    assert said["address"] == "#a=pillow-bicubic&b=torch-bytes-bilinear-narrow&size=97x61&image=text&x=21&y=31"
    assert (said["same"]["state"], said["same"]["share"]) == ("done", "0")
    assert "give the same bytes" in said["same"]["summary"]
    assert said["refused"]["state"] == "error"
    assert "for whole factors only. From 480×360 to 97×61" in said["refused"]["message"]
    dropped = said["dropped"]
    assert "“notes.txt” (text/plain) could not be read as an image" in dropped["notes.txt"]["message"]
    assert "“wide.png” has 4097×3 pixels. This page takes up to 4096×4096" in dropped["wide.png"]["message"]
    assert "Its transparent parts were put on white." in dropped["clear.png"]["message"]
    assert dropped["clear.png"]["a"] == f"{zlib.crc32(bytes([255]) * 97 * 61 * 3):08x}"
    assert "“turned.jpg”, 43×67. EXIF orientation 6" in dropped["turned.jpg"]["message"]
    assert "“own.png”, 67×43." in dropped["own.png"]["message"]
    resized = np.asarray(pillow_resize("bicubic")(np.asarray(own), (61, 97)))
    assert dropped["own.png"]["a"] == f"{zlib.crc32(resized.tobytes()):08x}"
