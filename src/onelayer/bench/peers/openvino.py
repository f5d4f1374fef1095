"""OpenVINO on the CPU, with the work as one dense matrix: a linear layer, exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onelayer.bench.peers.base import Images, Prepared, Resources
from onelayer.bench.peers.dense_weights import dense_weights, ends_in_bytes, output_shape
from onelayer.bench.workloads import Work
from onelayer.exports.runtimes import openvino_core


def prepare(work: Work, images: Sequence[Images], resources: Resources) -> Prepared:
    """Compile a model for each batch shape: one for all batch sizes would be slower."""
    batches = [item[None] if item.ndim == 3 else item for item in images]
    core = openvino_core()
    properties = {
        "INFERENCE_NUM_THREADS": resources.threads,
        "PERFORMANCE_HINT": "LATENCY",
        # It would take bfloat16 where the processor has it, and be grey levels off.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    models = {
        shape: core.compile_model(_model(work, shape, images[0].dtype), "CPU", properties).create_infer_request()
        for shape in {tuple(batch.shape) for batch in batches}
    }
    single = images[0].ndim == 3

    def apply(batch: Any) -> Any:
        return models[batch.shape].infer({0: batch}, share_inputs=True, share_outputs=True)[0]

    def tensor(output: Any) -> torch.Tensor:
        # A copy: the next result is written to the same memory.
        copied = torch.from_numpy(np.array(output))
        return copied[0] if single else copied

    return Prepared([batch.contiguous().numpy() for batch in batches], apply, tensor)


def _model(work: Work, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    import openvino
    from openvino import opset13 as ops

    count, channels, height, width = shape
    weight, bias = dense_weights(work, (channels, height, width), dtype)
    in_bytes = dtype == torch.uint8
    images = ops.parameter([count, channels, height, width], np.uint8 if in_bytes else np.float32, name="images")
    floats = ops.convert(images, "f32") if in_bytes else images
    flat = ops.reshape(floats, np.array([count, -1]), special_zero=False)
    result = ops.add(ops.matmul(flat, ops.constant(weight), transpose_a=False, transpose_b=True), ops.constant(bias))
    if ends_in_bytes(work, dtype):
        rounded = ops.clamp(ops.round(result, mode="half_to_even"), 0.0, 255.0)
        result = ops.convert(rounded, "u8")
    out_shape = np.array([count, *output_shape(work, height, width)])
    return openvino.Model([ops.reshape(result, out_shape, special_zero=False)], [images], "work")
