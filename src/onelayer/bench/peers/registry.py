"""All peers, by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from onelayer.bench.peers import (
    albumentationsx,
    dali,
    dense_torch,
    kornia_rust,
    kornia_torch,
    onelayer_exact,
    onelayer_fused,
    onelayer_torch,
    onnx_runtime,
    opencv,
    openvino,
    pillow,
    pillow_simd,
    torchvision_batched,
    torchvision_compiled,
    torchvision_sequential,
    torchvision_v1,
)
from onelayer.bench.peers.peer import Peer
from onelayer.errors import OnelayerError

OURS = onelayer_fused.PEER.name
"""The peer that the others are measured against."""

PEERS: tuple[Peer, ...] = (
    onelayer_fused.PEER,
    onelayer_fused.PEER_THERE,
    onelayer_exact.PEER,
    onelayer_torch.PEER,
    torchvision_sequential.PEER,
    torchvision_sequential.PEER_CHW,
    torchvision_batched.PEER,
    torchvision_batched.PEER_HWC,
    torchvision_compiled.PEER,
    torchvision_v1.PEER,
    pillow.PEER,
    pillow_simd.PEER,
    opencv.PEER,
    albumentationsx.PEER,
    kornia_torch.PEER,
    kornia_rust.PEER,
    kornia_rust.PEER_FUSED,
    dali.PEER,
    dense_torch.PEER,
    onnx_runtime.PEER,
    openvino.PEER,
)


def named(names: Sequence[str]) -> list[Peer]:
    """The peers of those names, in the order of :data:`PEERS`.

    Raises:
        OnelayerError: If there is none of a name.
    """
    known = [peer.name for peer in PEERS]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            raise OnelayerError(
                f"there is no peer named {name!r}",
                expected=f"all, or some of {', '.join(known)}",
                hint=f"Did you mean {near[0]}?" if near else None,
            )
    return [peer for peer in PEERS if peer.name in names]
