"""ONNX Runtime on the CPU, with the work as one dense matrix: a linear layer, exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onelayer.algebra import Shape
from onelayer.bench.peers.base import Images, Prepared, Resources
from onelayer.bench.peers.dense_weights import dense_weights, ends_in_bytes, output_shape
from onelayer.bench.workloads import Work

_OPSET, _IR = 17, 8
"""Old enough for any ONNX Runtime that is still in use."""


def prepare(work: Work, images: Sequence[Images], resources: Resources) -> Prepared:
    """Export the matrix for each image shape, and start a session for each."""
    import onnxruntime  # only where it is installed

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = resources.threads
    options.inter_op_num_threads = 1
    # Its threads would go on spinning into the time of whoever comes next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    batches = [item[None] if item.ndim == 3 else item for item in images]
    sessions = {
        shape: onnxruntime.InferenceSession(
            _model(work, shape, images[0].dtype).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for shape in {_image_shape(batch.shape) for batch in batches}
    }
    single = images[0].ndim == 3

    def apply(batch: Any) -> Any:
        return sessions[_image_shape(batch.shape)].run(None, {"images": batch})[0]

    def tensor(output: Any) -> torch.Tensor:
        return torch.from_numpy(output)[0] if single else torch.from_numpy(output)

    return Prepared([batch.contiguous().numpy() for batch in batches], apply, tensor)


def _image_shape(batch_shape: Sequence[int]) -> Shape:
    """Drop the batch size: batches of all sizes share a model."""
    _, channels, height, width = batch_shape
    return channels, height, width


def _model(work: Work, shape: Shape, dtype: torch.dtype) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    out_shape = output_shape(work, *shape[1:])
    weight, bias = dense_weights(work, shape, dtype)
    in_bytes, out_bytes = dtype == torch.uint8, ends_in_bytes(work, dtype)
    element = {True: TensorProto.UINT8, False: TensorProto.FLOAT}
    nodes = [helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)] if in_bytes else []
    nodes += [
        helper.make_node("Flatten", ["floats" if in_bytes else "images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["product"], transB=1),
    ]
    last = "product"
    if out_bytes:
        nodes += [
            helper.make_node("Round", ["product"], ["rounded"]),
            helper.make_node("Clip", ["rounded", "black", "white"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        ]
        last = "bytes"
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["result"]))
    constants: dict[str, Any] = {"weight": weight, "bias": bias, "shape": np.array([-1, *out_shape])}
    if out_bytes:
        constants |= {"black": np.float32(0), "white": np.float32(255)}
    graph = helper.make_graph(
        nodes,
        "work",
        [helper.make_tensor_value_info("images", element[in_bytes], ["batch", *shape])],
        [helper.make_tensor_value_info("result", element[out_bytes], ["batch", *out_shape])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
