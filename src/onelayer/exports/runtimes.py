"""Exported files as layers: run by ONNX Runtime or OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.errors import OnelayerError, require
from onelayer.exports.provenance import Provenance
from onelayer.images.containers import TORCH_DTYPES, Image, image_of, pixels_of, spec_of

RuntimeName = Literal["onnxruntime", "openvino"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


class ExportedLayer:
    """A file that :func:`onelayer.export` wrote, run by a runtime: takes an image and gives what the original gives.

    Args:
        model: The file, or its content.
        runtime: ``onnxruntime`` or ``openvino``, on the CPU.
        threads: Number of threads; None for the runtime's own choice.

    Raises:
        OnelayerError: If the runtime is not installed, or cannot load the file; if onelayer did not write it; or if it
            holds a model behind the preprocessing, so that its results are no images.
    """

    def __init__(
        self, model: str | Path | bytes, runtime: RuntimeName = "onnxruntime", threads: int | None = None
    ) -> None:
        if runtime not in RUNTIMES:
            raise OnelayerError(f"the runtime {runtime!r} was asked for", expected=f"one of {', '.join(RUNTIMES)}")
        self.runtime = runtime
        self.name = "an exported layer" if isinstance(model, bytes) else Path(model).name
        content = model if isinstance(model, bytes) else _read(Path(model))
        self.provenance = Provenance.of_file(content, self.name)
        if self.provenance.model is not None:
            raise OnelayerError(
                f"{self.name} holds a model behind the preprocessing",
                expected="a file of the preprocessing alone",
                hint="Export without a model to verify the preprocessing.",
            )
        try:
            self._run = _STARTS[runtime](content, threads)
        except OnelayerError:
            raise
        except Exception as error:
            raise OnelayerError(f"{runtime} cannot load {self.name}: {error}") from error

    def __call__(self, image: Image) -> Image:
        """Compute the result of an image, or of a batch of tensors.

        Raises:
            OnelayerError: If the file is for other images.
        """
        expected, spec = self.provenance.input_spec, spec_of(image)
        is_other = any(size not in (0, actual) for size, actual in zip(self.provenance.shape, spec.shape, strict=True))
        if is_other or (spec.dtype, spec.container) != (expected.dtype, expected.container):
            raise OnelayerError(
                f"the image is {spec.shape} {spec.dtype} ({spec.container})",
                expected=f"{self.provenance.shape_text} {expected.dtype} ({expected.container}), as {self.name} takes",
            )
        pixels = pixels_of(image)
        *batch, channels, height, width = pixels.shape
        images = pixels.reshape(-1, channels, height, width)
        layout, output_layout = self.provenance.layout, self.provenance.output_layout
        if "N" in layout:
            results = _planes(self._run(_arranged(images, layout)), output_layout)
        else:
            each = [_planes(self._run(_arranged(single, layout)), output_layout) for single in images]
            results = torch.stack(each)
        # OpenVINO's memory is its own, and used again.
        result = results.reshape(*batch, *results.shape[1:]).to(TORCH_DTYPES[self.provenance.output_spec.dtype])
        return image_of(result, self.provenance.output_spec)

    def __repr__(self) -> str:
        return f"{self.name} in {self.runtime} {version(self.runtime)}"


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise OnelayerError(f"there is no file {path}", expected="a file that onelayer export wrote")
    return path.read_bytes()


def _arranged(images: torch.Tensor, layout: str) -> NDArray[Any]:
    order = "NCHW"[-len(layout) :]
    array: NDArray[Any] = images.permute([order.index(letter) for letter in layout]).cpu().numpy()
    return np.ascontiguousarray(array)


def _planes(array: NDArray[Any], layout: str) -> torch.Tensor:
    order = "NCHW"[-len(layout) :]
    return torch.from_numpy(np.array(array)).permute([layout.index(letter) for letter in order]).contiguous()


Run = Callable[[NDArray[Any]], NDArray[Any]]


def _start_onnxruntime(content: bytes, threads: int | None) -> Run:
    runtime = require("onnxruntime", extra="export", purpose="Running an ONNX file")
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = session.run(None, {name: images})[0]
        return result

    return run


@lru_cache(maxsize=1)
def openvino_core() -> Any:
    """Return the ``openvino.Core`` of this process.

    There is no second: OpenVINO's plugin for the CPU gives the thread a stack for signals, and when it is freed puts
    back the one before, whether that still exists or not (2026.4). Of two that are freed in the order in which they
    were made, the second leaves a stack that is unmapped: the next signal with a handler in Python ends the process
    without a word, or, where other memory was mapped there since, is written into that.
    """
    return require("openvino", extra="export", purpose="Running an ONNX file in OpenVINO").Core()


def _start_openvino(content: bytes, threads: int | None) -> Run:
    core = openvino_core()
    # On processors with bfloat16 it would compute in that.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(core.read_model(model=content), "CPU", settings)
    request = compiled.create_infer_request()

    def run(images: NDArray[Any]) -> NDArray[Any]:
        request.infer([images])
        result: NDArray[Any] = request.get_output_tensor(0).data
        return result

    return run


_STARTS: dict[RuntimeName, Callable[[bytes, int | None], Run]] = {
    "onnxruntime": _start_onnxruntime,
    "openvino": _start_openvino,
}
