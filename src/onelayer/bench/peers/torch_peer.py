"""Peers that compute on PyTorch tensors, and therefore on CUDA as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch

from onelayer.bench.peers.peer import Images, Prepared, any_work
from onelayer.bench.peers.work import Work

Function = Callable[[torch.Tensor], torch.Tensor]

MakeFunction = Callable[[Work, Images, torch.device], Function]
"""Takes the work, the first images, and the device that all of them come on."""


def as_given(images: Images) -> torch.Tensor:
    """Images in the memory that they come in."""
    return images


def hwc(images: Images) -> torch.Tensor:
    """Images in HWC memory, as decoders give them; PyTorch's ``channels_last``."""
    return images.movedim(-3, -1).contiguous().movedim(-1, -3)


def chw(images: Images) -> torch.Tensor:
    """Images in CHW memory."""
    return images.contiguous()


@dataclass(frozen=True)
class TorchPeer:
    """A :class:`onelayer.bench.peers.peer.Peer` whose work is one function of tensors.

    Args:
        name: As on the command line.
        label: For people.
        make: Makes the function.
        memory: Lays the images out, which is not timed.
        refuse: Gives why it cannot do some work; see ``Peer.why_not``.
        packages: That do the work.
    """

    name: str
    label: str
    make: MakeFunction
    memory: Callable[[Images], torch.Tensor] = as_given
    refuse: Callable[[Work, Images], str | None] = any_work
    packages: tuple[str, ...] = ("torch", "torchvision")

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``."""
        return self.refuse(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:  # noqa: ARG002 - PyTorch's own
        """See ``Peer.prepare``; the threads are those that PyTorch is set to."""
        return self.prepare_on(work, images, torch.device("cpu"))

    def on_cuda(self) -> OnCuda:
        """The same work on the CUDA device, from host memory and back to it."""
        return OnCuda(self)

    def prepare_on(self, work: Work, images: Sequence[Images], device: torch.device) -> Prepared:
        """Get ready to work on a device, from host memory and back to it; on the CPU that moves nothing."""
        function = self.make(work, images[0], device)
        return Prepared(
            inputs=[self.memory(one) for one in images],
            apply=lambda one: function(one.to(device)).contiguous().cpu(),
            tensor=as_given,
            versions={name: version(name) for name in self.packages},
        )


@dataclass(frozen=True)
class OnCuda:
    """A peer on the CUDA device. Copying the images there, and what becomes of them back, is timed.

    Args:
        peer: What it is on the CPU.
    """

    peer: TorchPeer

    @property
    def name(self) -> str:
        """That of the peer."""
        return self.peer.name

    @property
    def label(self) -> str:
        """That of the peer."""
        return self.peer.label

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``."""
        return self.peer.why_not(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:  # noqa: ARG002 - PyTorch's own
        """See ``Peer.prepare``."""
        return self.peer.prepare_on(work, images, torch.device("cuda"))
