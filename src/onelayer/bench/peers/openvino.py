"""OpenVINO on the CPU, with the work as one dense matrix: a linear layer, exported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from onelayer.bench.peers import dense_weights
from onelayer.bench.peers.packages import missing
from onelayer.bench.peers.peer import Images, Prepared
from onelayer.bench.peers.work import Work


class OpenVino:
    """See :class:`onelayer.bench.peers.peer.Peer`."""

    name = "openvino-dense"
    label = "OpenVINO, one dense matrix"

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``."""
        return missing("openvino") or dense_weights.why_not(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:
        """See ``Peer.prepare``."""
        import openvino  # only where it is installed

        batches = [one[None] if one.ndim == 3 else one for one in images]
        core = openvino.Core()
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # It would take bfloat16 where the processor has it, and be grey levels off.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        # A model for each size of batch: one for all sizes would be slower.
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

        return Prepared(
            inputs=[batch.contiguous().numpy() for batch in batches],
            apply=apply,
            tensor=tensor,
            versions={"openvino": version("openvino")},
        )


def _model(work: Work, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    import openvino
    from openvino import opset13 as ops

    count, channels, height, width = shape
    weight, bias = dense_weights.of(work, (channels, height, width), dtype)
    in_bytes = dtype == torch.uint8
    images = ops.parameter([count, channels, height, width], np.uint8 if in_bytes else np.float32, name="images")
    floats = ops.convert(images, "f32") if in_bytes else images
    flat = ops.reshape(floats, np.array([count, -1]), special_zero=False)
    result = ops.add(ops.matmul(flat, ops.constant(weight), transpose_a=False, transpose_b=True), ops.constant(bias))
    if in_bytes and work.mean is None:
        rounded = ops.clamp(ops.round(result, mode="half_to_even"), 0.0, 255.0)
        result = ops.convert(rounded, "u8")
    out_shape = np.array([count, *dense_weights.out_shape(work, height, width)])
    return openvino.Model([ops.reshape(result, out_shape, special_zero=False)], [images], "work")


PEER = OpenVino()
