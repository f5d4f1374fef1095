"""What a peer is: another way to do the work, from images as it likes them to an array as it gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from onelayer.bench.peers.work import Work

Images = torch.Tensor
"""One image [3, H, W] or a batch [N, 3, H, W]; uint8, or float32 in [0, 1]. Photographs lie in memory as HWC."""


@dataclass(frozen=True)
class Prepared:
    """A peer, ready for work.

    Args:
        inputs: The same images as the workload's, one for each, in the type and memory that the peer likes best:
            converting them is not timed.
        apply: Takes one of the inputs and does the work; this is timed. What it gives is what its users would go on
            with, but on the CPU, computed to the end, and contiguous [..., C', H', W'] in memory.
        tensor: Takes what ``apply`` gives, and makes it a tensor of the output's shape; not timed.
        versions: Of the packages that do the work, by name.
    """

    inputs: Sequence[Any]
    apply: Callable[[Any], Any]
    tensor: Callable[[Any], torch.Tensor]
    versions: dict[str, str]


def any_work(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    """The refusal of a peer that does all work on all images; see :meth:`Peer.why_not`."""
    return None


class Peer(Protocol):
    """A way to do the work; one module each, with one object of this kind, named ``PEER``."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def label(self) -> str:
        """As in tables and charts, for people."""

    def why_not(self, work: Work, images: Images) -> str | None:
        """Why it cannot do this on such images, or cannot do it here (a package that is missing); None if it can.

        Cheap: what it needs is looked for, not imported.
        """

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:
        """Get ready, with so many threads where the peer has a say in that."""
