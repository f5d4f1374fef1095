"""Names of workloads and peers, to be checked before torch is imported, which takes seconds."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from onelayer.errors import OnelayerError

WORKLOAD_NAMES = (
    "report-float32",
    "report-uint8",
    "imagenet-375x500",
    "imagenet-1080x1920",
    "imagenet-3000x4000",
    "imagenet-stream",
    "clip-375x500",
    "siglip-375x500",
)
"""Names of :data:`onelayer.bench.workloads.WORKLOADS`."""

PEER_NAMES = (
    "onelayer",
    "onelayer-fused",
    "onelayer-out",
    "onelayer-torch",
    "torchvision",
    "torchvision-chw",
    "torchvision-batched",
    "torchvision-batched-hwc",
    "torchvision-compiled",
    "torchvision-v1",
    "pillow",
    "pillow-simd",
    "opencv",
    "albumentationsx",
    "kornia",
    "kornia-rs",
    "kornia-rs-fused",
    "dali",
    "dense",
    "onnxruntime-dense",
    "openvino-dense",
)
"""Names of :data:`onelayer.bench.peers.PEERS`."""


def check_workloads(names: Sequence[str]) -> None:
    """Refuse names that no workload has.

    Raises:
        OnelayerError: If there is one.
    """
    for name in names:
        if name not in WORKLOAD_NAMES:
            raise OnelayerError(
                f"there is no workload {name!r}, and no run in a folder of that name",
                expected=", ".join(WORKLOAD_NAMES),
                hint=_nearest(name, WORKLOAD_NAMES),
            )


def check_peers(names: Sequence[str]) -> None:
    """Refuse names that no peer has.

    Raises:
        OnelayerError: If there is one.
    """
    for name in names:
        if name not in PEER_NAMES:
            raise OnelayerError(
                f"there is no peer named {name!r}",
                expected=f"all, or some of {', '.join(PEER_NAMES)}",
                hint=_nearest(name, PEER_NAMES),
            )


def _nearest(name: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"Did you mean {near[0]}?" if near else None
