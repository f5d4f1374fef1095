"""All peers, as a table: other software that does the same work, and onelayer itself."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.bench.peers import (
    albumentationsx,
    dali,
    dense_weights,
    kornia,
    library,
    onnx_runtime,
    opencv,
    openvino,
    pillow,
    pytorch,
)
from onelayer.bench.peers.base import Device, Peer
from onelayer.bench.peers.pytorch import channels_last, contiguous, on_tensors
from onelayer.bench.record import OURS
from onelayer.bench.workloads import WORKLOADS, Work

_ONELAYER = {"onelayer": "onelayer", "numba": "numba"}
_ONELAYER_TORCH = {"onelayer": "onelayer", "torch": "torch"}
_TORCHVISION = {"torch": "torch", "torchvision": "torchvision"}
_KORNIA_RS = {"kornia-rs": "kornia_rs"}
_ANY: tuple[Device, ...] = ("cpu", "cuda")

PEERS: tuple[Peer[Work], ...] = (
    Peer(OURS, "onelayer (uint8: bit for bit)", on_tensors(pytorch.onelayer_default), _ONELAYER, devices=_ANY),
    Peer(
        "onelayer-fused", "onelayer, rounding fused", on_tensors(pytorch.onelayer_fused), _ONELAYER,
        pytorch.refuse_floats, _ANY,
    ),
    Peer(
        "onelayer-out", "onelayer, rounding fused, out= the same memory", on_tensors(pytorch.onelayer_into_memory),
        _ONELAYER, devices=_ANY,
    ),
    Peer(
        "onelayer-torch", "onelayer, rounding fused, backend torch", on_tensors(pytorch.onelayer_in_pytorch),
        _ONELAYER_TORCH, devices=_ANY,
    ),
    Peer(
        "torchvision", "torchvision v2, HWC", on_tensors(pytorch.image_by_image, channels_last), _TORCHVISION,
        devices=_ANY,
    ),
    Peer(
        "torchvision-chw", "torchvision v2, CHW", on_tensors(pytorch.image_by_image, contiguous), _TORCHVISION,
        devices=_ANY,
    ),
    Peer(
        "torchvision-batched", "torchvision v2, batches, CHW", on_tensors(pytorch.whole_batches, contiguous),
        _TORCHVISION, pytorch.refuse_single_images, _ANY,
    ),
    Peer(
        "torchvision-batched-hwc", "torchvision v2, batches, HWC", on_tensors(pytorch.whole_batches, channels_last),
        _TORCHVISION, pytorch.refuse_single_images, _ANY,
    ),
    Peer(
        "torchvision-compiled", "torchvision v2, torch.compile", on_tensors(pytorch.compiled_by_pytorch), _TORCHVISION,
        pytorch.refuse_without_compiler, _ANY,
    ),
    Peer(
        "torchvision-v1", "torchvision v1, PIL images", pytorch.prepare_pil,
        {"torchvision": "torchvision", "pillow": "PIL"}, pytorch.refuse_what_pil_cannot_hold,
    ),
    Peer("library", "the library's own pipeline, PIL images", library.prepare, {"pillow": "PIL"}, library.refuse),
    Peer(
        "onelayer-library", "onelayer, of the library's pipeline, PIL images (bit for bit)", library.prepare_compiled,
        _ONELAYER, library.refuse,
    ),
    Peer("pillow", "Pillow and NumPy", pillow.prepare, {"pillow": "PIL"}, pillow.refuse),
    Peer("pillow-simd", "Pillow-SIMD and NumPy", pillow.prepare_simd, refuse=pillow.refuse_simd),
    Peer("opencv", "OpenCV, INTER_AREA", opencv.prepare, {"opencv": "cv2"}),
    Peer(
        "albumentationsx", "AlbumentationsX, INTER_AREA", albumentationsx.prepare,
        {"albumentationsx": "albumentations", "opencv": "cv2"}, albumentationsx.refuse,
    ),
    Peer("kornia", "Kornia, batches", kornia.prepare, {"kornia": "kornia", "torch": "torch"}, devices=_ANY),
    Peer(
        "kornia-rs", "kornia-rs (bilinear without antialiasing)", kornia.prepare_rust, _KORNIA_RS, kornia.refuse_rust,
    ),
    Peer(
        "kornia-rs-fused", "kornia-rs, fused (bilinear without antialiasing)", kornia.prepare_rust_fused, _KORNIA_RS,
        kornia.refuse_rust_fused,
    ),
    Peer("dali", "NVIDIA DALI, CPU operators", dali.prepare, {"nvidia-dali": "nvidia.dali"}),
    Peer(
        "dense", "dense layer, torch", on_tensors(pytorch.dense_product, contiguous), {"torch": "torch"},
        dense_weights.refuse, _ANY,
    ),
    Peer(
        "onnxruntime-dense", "ONNX Runtime, one dense matrix", onnx_runtime.prepare,
        {"onnxruntime": "onnxruntime", "onnx": "onnx"}, dense_weights.refuse,
    ),
    Peer(
        "openvino-dense", "OpenVINO, one dense matrix", openvino.prepare, {"openvino": "openvino"},
        dense_weights.refuse,
    ),
)  # fmt: skip


def peers_table() -> Table:
    """Lay out all peers, and whether they can work here, for the terminal."""
    table = Table("peer", "what", "here", box=box.SIMPLE_HEAD, pad_edge=False)
    for peer in PEERS:
        reason = why_not_here(peer)
        table.add_row(peer.name, peer.label, Text("yes", "green") if reason is None else Text(reason, "yellow"))
    return table


def why_not_here(peer: Peer[Work]) -> str | None:
    """Return why a peer can do none of the workloads here, as it says of the first; None if it can do one."""
    reasons = [peer.why_not(workload.work, workload.example) for workload in WORKLOADS]
    return None if None in reasons else reasons[0]
