"""torchvision's v1 transforms on PIL images, one by one: what most training scripts still do; of a batch, stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from onelayer.bench.peers.peer import Images, Prepared
from onelayer.bench.peers.transforms import v1_transforms
from onelayer.bench.peers.work import Work

Photographs = Image.Image | list[Image.Image]
"""One image, or a batch."""


class TorchvisionV1:
    """See :class:`onelayer.bench.peers.peer.Peer`."""

    name = "torchvision-v1"
    label = "torchvision v1, PIL images"

    def why_not(self, work: Work, images: Images) -> str | None:  # noqa: ARG002 - any work will do
        """See ``Peer.why_not``."""
        return None if images.dtype == torch.uint8 else "PIL images hold uint8, and these are floating point numbers"

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:  # noqa: ARG002 - Pillow has one
        """See ``Peer.prepare``; Pillow works in one thread."""
        transforms: Callable[[Image.Image], torch.Tensor] = v1_transforms(work)

        def apply(given: Photographs) -> torch.Tensor:
            if isinstance(given, Image.Image):
                return transforms(given).contiguous()
            return torch.stack([transforms(image) for image in given])

        return Prepared(
            inputs=[_photographs(one) for one in images],
            apply=apply,
            tensor=lambda result: result,
            versions={name: version(name) for name in ("torchvision", "pillow")},
        )


def _photographs(images: Images) -> Photographs:
    return F.to_pil_image(images) if images.ndim == 3 else [F.to_pil_image(image) for image in images]


PEER = TorchvisionV1()
